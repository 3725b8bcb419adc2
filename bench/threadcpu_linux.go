package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// onOneThread keeps the caller on its thread, so that threadCPU counts the caller, until release.
func onOneThread() (release func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// threadCPU is the processor time that this thread has had.
func threadCPU() (time.Duration, bool) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
