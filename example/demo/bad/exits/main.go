// Command exits is a broken new version for the demo: it ends at once.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "open settings.yaml: no such file or directory")
	os.Exit(3)
}
