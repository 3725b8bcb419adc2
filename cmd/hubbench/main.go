// Command hubbench loads a running hub, or a peer, checks correctness while it does, and explains what it measured. It
// parses the command line; the packages under bench do the work.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker.
var version = "dev"

type cli struct {
	Run      runCmd      `cmd:"" help:"Run a scenario and judge it."`
	Worker   workerCmd   `cmd:"" help:"Generate load for a controller, also one on another machine."`
	Compare  compareCmd  `cmd:"" help:"Compare runs: medians, significance, and an exit code."`
	Capacity capacityCmd `cmd:"" help:"Search for the highest rate at which the scenario's thresholds hold."`
	Report   reportCmd   `cmd:"" help:"Write the report of a run anew."`
	Scenario scenarioCmd `cmd:"" help:"List, check and explain scenarios."`
	Doctor   doctorCmd   `cmd:"" help:"Say what this machine's limits cap."`
	Limit    limitCmd    `cmd:"" help:"Serve a bare echo and fan-out loop, which stands for the kernel's own cost."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// Exit codes.
const (
	exitRed   = 1 // the run is valid, and red; a comparison found a regression
	exitUsage = 2
	exitNone  = 3 // there is no valid result
)

// red ends the program with a code of its own; what is to be said has been said.
type red struct{ code int }

func (r red) Error() string { return fmt.Sprintf("exit %d", r.code) }

// streams are the standard streams and the process's life, given to every command.
type streams struct {
	ctx      context.Context
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	code := run(&streams{ctx, os.Stdout, os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// shared is a writer for several at once.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

type exited struct{}

func run(s *streams, args []string) (code int) {
	if _, is := s.err.(*os.File); !is { // workers and the controller write there at once
		s.err = &shared{w: s.err}
	}
	var c cli
	p, err := kong.New(&c, kong.Name("hubbench"), kong.Description("The load harness of the hub."), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Writers(s.out, s.err), kong.Bind(s),
		kong.Exit(func(n int) { code = n; panic(exited{}) }))
	if err != nil {
		fmt.Fprintln(s.err, "hubbench:", err)
		return exitUsage
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(exited); !ok {
				panic(r)
			}
		}
	}()
	k, err := p.Parse(args)
	if err != nil {
		fmt.Fprintln(s.err, "hubbench:", err)
		return exitUsage
	}
	if err := k.Run(s); err != nil {
		var r red
		if errors.As(err, &r) {
			return r.code
		}
		fmt.Fprintln(s.err, "hubbench:", err)
		return exitNone
	}
	return 0
}

type versionCmd struct{}

func (versionCmd) Run(s *streams) error {
	_, err := fmt.Fprintln(s.out, version)
	return err
}
