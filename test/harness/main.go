package harness

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// Main runs the tests of a package, so many at the same time unless the command line says
// how many: most of the time they wait. It returns the exit status.
func Main(m interface{ Run() int }, programs *Builder, parallel int) int {
	if signal.Ignored(syscall.SIGHUP) { // under nohup(1): no program that a test starts is to inherit that
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	flag.Parse()
	const name = "test.parallel"
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == name })
	if !said {
		flag.Set(name, strconv.Itoa(parallel))
	}
	code := m.Run()
	if err := programs.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}
