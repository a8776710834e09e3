package experiment

import "testing"

func TestParseCalls(t *testing.T) {
	const trace = `12    read(7<socket:[11301204]>, "GET / HTTP/1.1\r\nHost: b\r\n\r\n", 4096) = 27
12    getpid()                          = 12
12    write(7<socket:[11301204]>, "HTTP/1.1 200 OK\r\n"..., 134) = 134
13    futex(0xa40580, FUTEX_WAKE_PRIVATE, 1) = 1
13    write(8<anon_inode:[eventfd]>, "\1\0\0\0\0\0\0\0", 8) = 8
12    epoll_pwait(4<anon_inode:[eventpoll]>, [], 128, 0, NULL, 0) = 0
12    --- SIGURG {si_signo=SIGURG, si_code=SI_TKILL, si_pid=12, si_uid=0} ---
13    +++ exited with 0 +++
`
	want := callCount{connections: 2, others: 1, scheduler: 3}
	if got := parseCalls(trace); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
