// Command bench measures the hub's performance targets, one per sub-command, as ratios to a baseline that runs
// in the same minute on the same machine: the kernel's own limit (a loop of send(2), a bare commit of the store)
// or a peer library.
//
// It is a black box to the hub: it starts the real `hub serve` as a child process and speaks WebSocket and REST to
// it; only the rows that say so take the transport or the store alone. Servers and clients are child processes
// (this program again, with a hidden sub-command), pinned to one processor each, so that a server's CPU clock
// counts the server and nothing else. Rounds of what is compared are interleaved, and medians are printed.
//
// README.md says what each measurement means and what it gave.
package main

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"time"
)

// options are the flags shared by all measurements.
type options struct {
	runs     int
	conns    int
	seconds  float64
	flight   int
	sockets  int
	hub      string
	data     string
	only     string
	json     bool
	gate     bool
	keep     bool
	profile  string
	docs     int
	queries  int
	messages int
}

// measurement is one sub-command.
type measurement struct {
	name, about string
	run         func(o options) (*report, error)
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		if err := runChild(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench child:", err)
			os.Exit(1)
		}
		return
	}
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func usage() error {
	fmt.Fprintln(os.Stderr, "usage: bench <measurement> [flags]")
	ms := measurements()
	sort.Slice(ms, func(i, j int) bool { return ms[i].name < ms[j].name })
	for _, m := range ms {
		fmt.Fprintf(os.Stderr, "  %-12s %s\n", m.name, m.about)
	}
	return fmt.Errorf("name one measurement")
}

func dispatch(args []string) error {
	if len(args) == 0 {
		return usage()
	}
	for _, m := range measurements() {
		if m.name != args[0] {
			continue
		}
		var o options
		fs := flag.NewFlagSet("bench "+m.name, flag.ContinueOnError)
		fs.IntVar(&o.runs, "runs", 5, "rounds of each row; medians are reported")
		fs.IntVar(&o.conns, "conns", 0, "connections (reads: conversations); 0: what the target says")
		fs.Float64Var(&o.seconds, "seconds", 0, "length of one timed round; 0: the default of the measurement")
		fs.IntVar(&o.flight, "flight", 0, "sends: only this many in flight (1, 64 or 1000)")
		fs.IntVar(&o.sockets, "sockets", 0, "sends: sockets that the multiplexed conversations share; 0: 4")
		fs.IntVar(&o.messages, "messages", 0, "reads: messages that are stored; default 5,000,000, in -conns conversations")
		fs.StringVar(&o.hub, "hub", "", "hub binary to measure, or \"joined\" for its layers joined in a child of this program; default: builds ./cmd/hub")
		fs.StringVar(&o.data, "data", "", "directory for the data of servers under test; default: a temporary one")
		fs.StringVar(&o.only, "only", "", "comma-separated rows to run, of those that the measurement has; default all")
		fs.IntVar(&o.docs, "docs", 1_000_000, "search: messages in the index")
		fs.IntVar(&o.queries, "queries", 0, "search: queries of each kind, scope and round; default 100")
		fs.BoolVar(&o.gate, "gate", false, "fail when a target is missed: for what does not depend on the machine, as allocs")
		fs.BoolVar(&o.json, "json", false, "print JSON instead of a table")
		fs.BoolVar(&o.keep, "keep", false, "keep the temporary directory, with the hub's log")
		fs.StringVar(&o.profile, "profile", "", "write CPU profiles of the hub (allocs: of allocations) into this directory while it is measured")
		if err := fs.Parse(args[1:]); err != nil {
			return err
		}
		start := time.Now()
		r, err := m.run(o)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		r.finish(m.name, start)
		write := r.writeTable
		if o.json {
			write = r.writeJSON
		}
		if err := write(os.Stdout); err != nil || !o.gate {
			return err
		}
		return r.missed()
	}
	return usage()
}
