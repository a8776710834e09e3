package harness

import (
	"fmt"
	"os"
	"strconv"
)

// Upgrades is how many a test of that size is to make: GRACERUN_UPGRADES, or byDefault.
func Upgrades(byDefault int) (int, error) {
	text := os.Getenv("GRACERUN_UPGRADES")
	if text == "" {
		return byDefault, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("GRACERUN_UPGRADES=%q: want a number above 0", text)
	}
	return n, nil
}
