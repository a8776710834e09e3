package report

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// ThisMachine returns what can be found out about where it runs. What /proc does
// not say is "unknown" or 0.
func ThisMachine() Machine {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	memory, _ := os.ReadFile("/proc/meminfo")
	m := Machine{
		CPU:    field(cpu, "model name"),
		Cores:  runtime.NumCPU(),
		Kernel: strings.TrimSpace(string(kernel)),
		Go:     strings.TrimPrefix(runtime.Version(), "go"),
	}
	if m.CPU == "" { // not every architecture names it
		m.CPU = "unknown CPU, " + runtime.GOARCH
	}
	if m.Kernel == "" {
		m.Kernel = "unknown"
	}
	fmt.Sscanf(field(memory, "MemTotal"), "%d kB", &m.Memory)
	m.Memory *= 1 << 10
	return m
}

// String returns the machine in half a line.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %s, %s of memory, Linux %s, Go %s", m.CPU, count(m.Cores, "core"), m.MemorySize(), m.Kernel, m.Go)
}

// MemorySize returns the memory, with its unit.
func (m Machine) MemorySize() string { return fmt.Sprintf("%.1f GB", float64(m.Memory)/(1<<30)) }

// field returns the first value of a key in one of /proc's "key : value" files;
// "" = there is none.
func field(text []byte, key string) string {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if k, v, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
