package systemd

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A message is what goes into one datagram: the manager sees all of it at once, or
// nothing. A newline ends each field.
type message []string

func (m message) add(key, value string) message { return append(m, key+"="+value) }

// status adds the line that `systemctl status` shows; "" leaves the one there is.
func (m message) status(text string) message {
	if text == "" {
		return m
	}
	return m.add("STATUS", oneLine(text))
}

func (m message) String() string { return strings.Join(m, "\n") }

func ready(status string) message { return message{"READY=1"}.status(status) }

// reloading needs the clock in the same datagram: by it the manager tells the answer
// to its own demand from that to an earlier one.
func reloading(monotonic time.Duration, status string) message {
	return message{"RELOADING=1"}.add("MONOTONIC_USEC", usec(monotonic)).status(status)
}

func stopping(status string) message { return message{"STOPPING=1"}.status(status) }

func mainPID(pid int) message { return message{}.add("MAINPID", strconv.Itoa(pid)) }

func usec(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

// maxStatus keeps a message below the size at which systemd drops it as a whole, 4096
// bytes.
const maxStatus = 1024

// oneLine makes text fit for a status: a newline in it would begin another field.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Join(strings.FieldsFunc(text, unicode.IsControl), " ")
	if len(text) <= maxStatus {
		return text
	}
	const more = "..."
	end := maxStatus - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}
