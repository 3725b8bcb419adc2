package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// favoured starts a process that gets a processor before others do, where that is allowed. Workers share the machine with what they load:
// on a busy one they would be late, and wait for the target's work to be done before they give it more.
func favoured(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A priority is that of a thread, and a process gets that of the thread which starts it. Getpriority is 20 less it.
	if was, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && unix.Setpriority(unix.PRIO_PROCESS, 0, -10) == nil {
		defer unix.Setpriority(unix.PRIO_PROCESS, 0, 20-was) //nolint:errcheck // less is always allowed
	}
	return start()
}
