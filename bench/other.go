//go:build !linux

package main

import "errors"

var errLinux = errors.New("the measurements need Linux: epoll, process CPU clocks, processor affinity")

func runChild(string, []string) error { return errLinux }

func measurements() []measurement {
	return []measurement{{"any", "not on this system", func(options) (*report, error) { return nil, errLinux }}}
}
