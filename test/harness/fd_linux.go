package harness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// OpenFDs returns the open descriptors of a process.
func OpenFDs(pid int) (FDs, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var fds FDs
	for _, e := range entries {
		num, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, err
		}
		fds = append(fds, FD{num, kindOf(target), target})
	}
	slices.SortFunc(fds, func(a, b FD) int { return a.Num - b.Num })
	return fds, nil
}

// Listening returns the addresses of the TCP sockets on which a process listens,
// in the order of its descriptors.
func Listening(pid int) ([]string, error) {
	fds, err := OpenFDs(pid)
	if err != nil {
		return nil, err
	}
	address := map[string]string{} // by "socket:[inode]"
	for _, table := range []string{"tcp", "tcp6"} {
		if err := readTCP(fmt.Sprintf("/proc/%d/net/%s", pid, table), address); err != nil {
			return nil, err
		}
	}
	var list []string
	for _, fd := range fds {
		if a := address[fd.Target]; a != "" && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list, nil
}

// readTCP reads a table as proc_pid_net(5) describes it: the addresses are in
// hexadecimal, 32-bit words of the host's byte order; 0A is LISTEN.
func readTCP(path string, address map[string]string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no IPv6
		}
		return err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" {
			continue
		}
		host, port, _ := strings.Cut(f[1], ":")
		ip, err := parseIP(host)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		n, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		address["socket:["+f[9]+"]"] = net.JoinHostPort(ip.String(), strconv.Itoa(int(n)))
	}
	return nil
}

func parseIP(hex string) (netip.Addr, error) {
	var b []byte
	for i := 0; i+8 <= len(hex); i += 8 {
		word, err := strconv.ParseUint(hex[i:i+8], 16, 32)
		if err != nil {
			return netip.Addr{}, err
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(word))
	}
	ip, ok := netip.AddrFromSlice(b)
	if !ok {
		return ip, fmt.Errorf("no address: %q", hex)
	}
	return ip, nil
}
