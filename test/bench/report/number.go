package report

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// number returns a value with up to three significant digits before the zeros,
// and no needless ones: "0", "0.013", "5.1", "1,230".
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	s := strconv.FormatFloat(v, 'f', max(digits, 0), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

// axis splits what an axis shows from the unit of its numbers, if the text is, or
// ends with a comma and, one that is known.
func axis(text string) (what, unit string) {
	if i := strings.LastIndex(text, ", "); i >= 0 {
		what, unit = text[:i], text[i+2:]
	} else {
		unit = text
	}
	if !slices.Contains([]string{"us", "ms", "s", "KB", "MB", "GB", "%"}, unit) {
		return text, ""
	}
	return what, unit
}

// withUnit returns a number and its unit; 0 needs none.
func withUnit(v float64, unit string) string {
	switch {
	case unit == "" || v == 0:
		return number(v)
	case unit == "%":
		return number(v) + unit
	}
	return number(v) + " " + unit
}
