package systemd_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// receive starts this program with descriptors from 3 on, as a manager does, and returns
// what it makes of them.
func receive(t *testing.T, env string, files ...*os.File) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", env+` exec "$0"`, "/proc/self/exe")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[3] = exe
	cmd.Env = append(os.Environ(), "SYSTEMD_HELPER=sockets")
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// fileOf returns the descriptor of a socket, blocking, as systemd passes it.
func fileOf(t *testing.T, c any, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		c.(interface{ Close() error }).Close()
	})
	return f
}

func listen(t *testing.T, network, address string) (*os.File, string) {
	t.Helper()
	ln, err := net.Listen(network, address)
	f := fileOf(t, ln, err)
	return f, ln.Addr().String()
}

func listenPacket(t *testing.T, network, address string) (*os.File, string) {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	f := fileOf(t, c, err)
	return f, c.LocalAddr().String()
}

// TestReadSockets: the kernel says what each of them is.
func TestReadSockets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a")
	abstract := "@" + strings.TrimPrefix(path, "/")
	four, fourAt := listen(t, "tcp", "127.0.0.1:0")
	both, bothAt := listen(t, "tcp", ":0")
	six, sixAt := listen(t, "tcp6", "[::]:0")
	udp, udpAt := listenPacket(t, "udp", "127.0.0.1:0")
	unixStream, _ := listen(t, "unix", path)
	packet, _ := listen(t, "unixpacket", abstract)
	gram, _ := listenPacket(t, "unixgram", path+".gram")
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	connection := os.NewFile(uintptr(pair[0]), "pair")
	defer connection.Close()
	defer unix.Close(pair[1])
	memory, err := unix.MemfdCreate("m", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	state := os.NewFile(uintptr(memory), "m")
	defer state.Close()
	got := receive(t, `LISTEN_PID=$$ LISTEN_FDS=11 LISTEN_FDNAMES=http:http:v6:dns:local:packet:gram:conn:gracerun/file/state:gracerun/tcp/%3A0:`,
		four, both, six, udp, unixStream, packet, gram, connection, state, both, four)
	want := strings.Join([]string{
		fmt.Sprintf(`3 "http" tcp4 %s false {"network":"tcp4","address":"%[1]s","label":"http","keep":true}`, fourAt),
		fmt.Sprintf(`4 "http" tcp %s false {"network":"tcp","address":"%[1]s","label":"http","keep":true}`, bothAt),
		fmt.Sprintf(`5 "v6" tcp6 %s false {"network":"tcp6","address":"%[1]s","label":"v6","keep":true}`, sixAt),
		fmt.Sprintf(`6 "dns" udp4 %s false {"network":"udp4","address":"%[1]s","label":"dns","keep":true}`, udpAt),
		fmt.Sprintf(`7 "local" unix %s false {"network":"unix","address":"%[1]s","label":"local","keep":true}`, path),
		fmt.Sprintf(`8 "packet" unixpacket %s false {"network":"unixpacket","address":"%[1]s","label":"packet","keep":true}`, abstract),
		fmt.Sprintf(`9 "gram" unixgram %s false {"network":"unixgram","address":"%[1]s","label":"gram","keep":true}`, path+".gram"),
		`10 "conn"   false {"name":"conn","label":"conn","keep":true}`,
		`11 "gracerun/file/state"   true {"name":"state","parked":true}`,
		`12 "gracerun/tcp/%3A0" tcp :0 true {"network":"tcp","address":":0","parked":true}`,
		fmt.Sprintf(`13 "" tcp4 %s false {"network":"tcp4","address":"%[1]s","keep":true}`, fourAt),
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestReadSocketsEnvironment: only what is meant for this very process counts.
func TestReadSocketsEnvironment(t *testing.T) {
	t.Parallel()
	ln, at := listen(t, "tcp", "127.0.0.1:0")
	one := fmt.Sprintf(`3 "x" tcp4 %s false {"network":"tcp4","address":"%[1]s","label":"x","keep":true}`, at)
	for _, test := range []struct{ env, want string }{
		{"", ""},
		{"LISTEN_FDS=1 LISTEN_FDNAMES=x", ""},
		{"LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=x", ""},
		{"LISTEN_PID=$PPID LISTEN_FDS=1 LISTEN_FDNAMES=x", ""},
		{"LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x", one},
		{"LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x:y", one},
		{"LISTEN_PID=$$ LISTEN_FDS=1", strings.NewReplacer(`"x" `, `"" `, `"label":"x",`, "").Replace(one)},
		{"LISTEN_PID=$$ LISTEN_FDS=0", ""},
		{"LISTEN_PID=$$", `error: LISTEN_FDS="": not a number of descriptors`},
		{"LISTEN_PID=$$ LISTEN_FDS=-1", `error: LISTEN_FDS="-1": not a number of descriptors`},
		{"LISTEN_PID=$$ LISTEN_FDS=1000 LISTEN_FDNAMES=x", "error: LISTEN_FDS=1000: descriptor "},
	} {
		got := receive(t, test.env, ln)
		if got != test.want && (!strings.HasPrefix(test.want, "error: ") || !strings.HasPrefix(got, test.want)) {
			t.Errorf("%s: %q, want %q", test.env, got, test.want)
		}
	}
}
