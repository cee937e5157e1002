// Package cpu reads how much processor time this process took.
package cpu

import (
	"syscall"
	"time"
)

// Time returns the time that this process spent on all processors so far, in user and kernel mode, or zero where that
// cannot be read.
func Time() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
