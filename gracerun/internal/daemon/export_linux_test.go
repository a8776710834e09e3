package daemon

// For tests in the external package.
var (
	OpenLogsIn = openLogs
	Priority   = priority
)

const (
	MaxLine  = maxLine
	MaxQueue = maxQueue
)
