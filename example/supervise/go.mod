module github.com/gracerun/grace/example/supervise

go 1.26.0

require (
	github.com/gracerun/grace v0.0.0
	github.com/pelletier/go-toml/v2 v2.4.3
	golang.org/x/sys v0.49.0
)

require (
	github.com/cloudflare/tableflip v1.2.3 // indirect
	github.com/netresearch/go-cron v0.9.1 // indirect
)

replace github.com/gracerun/grace => ../..
