//go:build !linux

package main

import (
	"errors"
	"time"
)

var errLinux = errors.New("all measurements but allocs and search need Linux: epoll, process CPU clocks, processor affinity")

func runChild(string, []string) error { return errLinux }

func measurements() []measurement {
	return []measurement{
		{"allocs", "heap allocations of a send and of a delivery, in one process", measureAllocs},
		{"search", "the embedded index: messages a second, size, and how long queries take", measureSearch},
	}
}

// Without a clock of threads there is wall time alone.
func onOneThread() (release func()) { return func() {} }

func threadCPU() (time.Duration, bool) { return 0, false }
