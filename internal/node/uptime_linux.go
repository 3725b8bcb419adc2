package node

import (
	"time"

	"golang.org/x/sys/unix"
)

// uptime is the time since the boot, that of suspension included: a lease must run out while the machine sleeps.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return sinceStart()
	}
	return time.Duration(t.Nano())
}
