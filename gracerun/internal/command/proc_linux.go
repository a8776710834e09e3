package command

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A procStat is what /proc/PID/stat says of a process.
type procStat struct {
	pid, parent, group, session int
	state                       byte
	ticks                       uint64 // processor time, of children it has waited for, too
	begin                       uint64 // in ticks after the boot
	threads                     int
	pages                       int64  // resident
	status                      uint32 // of one that has ended; 0 also for who may not know
}

// ticksPerSecond is USER_HZ, which programs see whatever the kernel's own clock is.
const ticksPerSecond = 100

// gone reports whether the process has ended; its parent may not know yet. The first of
// its threads can end before the others, which have all that was the process's.
func (p procStat) gone() bool { return (p.state == 'Z' || p.state == 'X') && p.threads <= 1 }

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(pid, text)
}

// parseStat begins behind the program's name, which may hold anything.
func parseStat(pid int, text []byte) (p procStat, err error) {
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const last = 50 // the field exit_code; the first here is the third of proc_pid_stat(5)
	if len(fields) < last || len(fields[0]) != 1 {
		return p, fmt.Errorf("/proc/%d/stat cannot be read: %.200q", pid, text)
	}
	n := func(i int) int64 {
		v, perr := strconv.ParseInt(string(fields[i-3]), 10, 64)
		if perr != nil && err == nil {
			err = perr
		}
		return v
	}
	p = procStat{
		pid: pid, state: fields[0][0], parent: int(n(4)), group: int(n(5)), session: int(n(6)),
		ticks: uint64(n(14) + n(15) + n(16) + n(17)), threads: int(n(20)), begin: uint64(n(22)), pages: n(24), status: uint32(n(52)),
	}
	return p, err
}

// isOpen reports whether we may know all of an ended process: for who may not, the
// kernel has zeros (PTRACE_MODE_READ in ptrace(2)).
func (p procStat) isOpen() bool {
	var st unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d", p.pid), &st)
	return err == nil && int(st.Uid) == os.Geteuid() && int(st.Gid) == os.Getegid()
}

// bootID tells this boot from others; "" where /proc is not mounted.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// allProcesses yields those that are there, but for those that vanish meanwhile.
func allProcesses() iter.Seq[procStat] {
	return func(yield func(procStat) bool) {
		proc, err := os.Open("/proc")
		if err != nil {
			return
		}
		names, _ := proc.Readdirnames(-1)
		proc.Close()
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil { // "self", "net"
				continue
			}
			if p, err := readStat(pid); err == nil && !yield(p) {
				return
			}
		}
	}
}

// A usage is what a group uses.
type usage struct {
	cpu    float64
	memory int64
}

// groupUsage sums up each of the groups.
func groupUsage(groups map[int]bool) map[int]usage {
	sums := map[int]usage{}
	if len(groups) == 0 {
		return sums
	}
	page := int64(os.Getpagesize())
	for p := range allProcesses() {
		if groups[p.group] {
			u := sums[p.group]
			u.cpu += float64(p.ticks) / ticksPerSecond
			u.memory += p.pages * page
			sums[p.group] = u
		}
	}
	return sums
}

// inodeOf follows path.
func inodeOf(path string) (id inode, fifo bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return inode{}, false
	}
	return inode{uint64(st.Dev), st.Ino}, st.Mode&unix.S_IFMT == unix.S_IFIFO
}

// has reports whether the process has one of the FIFOs as its standard output or
// error; elsewhere is one that it has at another descriptor: it may be on its way
// to be a program, or it only reads.
func (p procStat) has(fifos [2]inode) (standard, elsewhere bool) {
	dir := fmt.Sprintf("/proc/%d/fd", p.pid)
	names, err := os.ReadDir(dir)
	if err != nil {
		return false, false
	}
	for _, name := range names {
		id, fifo := inodeOf(dir + "/" + name.Name())
		if !fifo || id != fifos[0] && id != fifos[1] {
			continue
		}
		if name.Name() == "1" || name.Name() == "2" {
			return true, false
		}
		elsewhere = true
	}
	return false, elsewhere
}
