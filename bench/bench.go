package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// bench holds what a measurement has started, to be ended with it.
type bench struct {
	options
	dir   string
	ends  []func()
	build string // path of the hub binary, once built
}

func newBench(o options) (*bench, error) {
	dir, err := os.MkdirTemp(o.data, "hub-bench-")
	if err != nil {
		return nil, err
	}
	if o.keep {
		fmt.Fprintln(os.Stderr, "bench: data and logs in", dir)
	}
	return &bench{options: o, dir: dir}, nil
}

func (b *bench) atEnd(f func()) { b.ends = append(b.ends, f) }

func (b *bench) end() {
	for _, f := range slices.Backward(b.ends) {
		f()
	}
	b.ends = nil
	if !b.keep {
		os.RemoveAll(b.dir)
	}
}

// wants reports whether a row was asked for.
func (b *bench) wants(row string) bool {
	return b.only == "" || slices.Contains(strings.Split(b.only, ","), row)
}
