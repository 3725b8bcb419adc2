//go:build !linux

package main

import "errors"

var errLinux = errors.New("all measurements but allocs need Linux: epoll, process CPU clocks, processor affinity")

func runChild(string, []string) error { return errLinux }

func measurements() []measurement {
	return []measurement{{"allocs", "heap allocations of a send and of a delivery, in one process", measureAllocs}}
}
