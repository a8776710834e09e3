package verbs

import (
	"fmt"
	"strings"
)

func (c *call) unknownVerb(name string) error {
	if strings.HasPrefix(name, "-") {
		return c.usage("unknown flag %s: the flags of a verb follow it", name)
	}
	return c.usage("no such verb: %q%s", name, didYouMean(name, c.names(), ""))
}

// didYouMean names the nearest of names, if it is near; letters that are only
// missing at the end count for little.
func didYouMean(name string, names []string, prefix string) string {
	best, least := "", 3 // more changes than two make another word
	for _, n := range names {
		d := distance(name, n)
		if len(name) > 1 && strings.HasPrefix(n, name) {
			d = 0
		}
		if d < least && d < len(n) {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s%s?)", prefix, best)
}

// distance counts the letters to insert, delete and replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
