-- What the jobs do: each books its amount once.
CREATE TABLE bookings (key text PRIMARY KEY, amount bigint NOT NULL);
CREATE TABLE account (balance bigint NOT NULL);
INSERT INTO account VALUES (0);
