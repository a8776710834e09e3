package early

import "syscall"

// An Order is what the process between the launcher and the daemon is to do: to
// itself, and so to the daemon, which inherits it.
type Order struct {
	Umask      int    // negative = unchanged
	CoreLimit  int64  // bytes; negative = unchanged
	NoNewPrivs bool   // PR_SET_NO_NEW_PRIVS in prctl(2)
	Dropped    bool   // privileges were dropped: they must be out of reach
	Dir        string // "" = unchanged
	Program    string
	Args       []string
}

// maxOrder is more than the kernel takes as arguments.
const maxOrder = 8 << 20

const (
	numberSize = 8
	numbers    = 3 // umask, core limit, flags
)

const (
	flagNoNewPrivs = 1 << iota
	flagDropped
)

// Encode returns the length of the rest, the numbers, each of eight bytes,
// big-endian, and the strings, each ended by a zero byte.
func (o Order) Encode() []byte {
	var flags uint64
	if o.NoNewPrivs {
		flags |= flagNoNewPrivs
	}
	if o.Dropped {
		flags |= flagDropped
	}
	size := numbers * numberSize
	texts := append([]string{o.Dir, o.Program}, o.Args...)
	for _, s := range texts {
		size += len(s) + 1
	}
	b := make([]byte, 0, numberSize+size)
	for _, n := range []uint64{uint64(size), uint64(o.Umask), uint64(o.CoreLimit), flags} {
		b = appendNumber(b, n)
	}
	for _, s := range texts {
		b = append(append(b, s...), 0)
	}
	return b
}

// decode reads what follows the length.
func (o *Order) decode(b []byte) (ok bool) {
	if len(b) < numbers*numberSize || len(b) > numbers*numberSize && b[len(b)-1] != 0 {
		return false
	}
	o.Umask = int(int64(number(b)))
	o.CoreLimit = int64(number(b[numberSize:]))
	flags := number(b[2*numberSize:])
	o.NoNewPrivs, o.Dropped = flags&flagNoNewPrivs != 0, flags&flagDropped != 0
	var texts []string
	begin := numbers * numberSize
	for i := begin; i < len(b); i++ {
		if b[i] == 0 {
			texts, begin = append(texts, string(b[begin:i])), i+1
		}
	}
	if len(texts) < 3 { // a program has a name
		return false
	}
	o.Dir, o.Program, o.Args = texts[0], texts[1], texts[2:]
	return true
}

func appendNumber(b []byte, n uint64) []byte {
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(n>>shift))
	}
	return b
}

func number(b []byte) (n uint64) {
	for _, c := range b[:numberSize] {
		n = n<<8 | uint64(c)
	}
	return n
}

// readOrder waits for it.
func readOrder(fd int) (o Order, ok bool) {
	head := make([]byte, numberSize)
	if !readFull(fd, head) || number(head) > maxOrder {
		return o, false
	}
	body := make([]byte, number(head))
	return o, readFull(fd, body) && o.decode(body)
}

func readFull(fd int, b []byte) bool {
	for len(b) > 0 {
		n, err := syscall.Read(fd, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// A Report is what became of an order.
type Report struct {
	Step  byte
	Value int // what the step says it is
}

// ReportSize is that of an encoded report.
const ReportSize = 1 + numberSize

// Steps: the two that are no failure say what Value is, for the others it is an
// error number.
const (
	StepStarted = 's' // the daemon's pid
	StepEnded   = 'e' // the daemon's wait status

	StepOrder      = 'o' // the order cannot be read
	StepCoreLimit  = 'c'
	StepDir        = 'd'
	StepNoNewPrivs = 'n'
	StepPrivileges = 'p' // those that were dropped could be regained
	StepExec       = 'x'
)

func (r Report) encode() []byte { return appendNumber([]byte{r.Step}, uint64(r.Value)) }

// DecodeReport reads ReportSize bytes.
func DecodeReport(b []byte) Report {
	return Report{Step: b[0], Value: int(int64(number(b[1:])))}
}
