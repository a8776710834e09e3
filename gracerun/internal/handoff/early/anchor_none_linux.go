//go:build !amd64 && !arm64

package early

// CanAnchor says that there is no handler for this processor.
const CanAnchor = false

func keepPID(Order) {}
