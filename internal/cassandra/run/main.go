// Command run starts a local Apache Cassandra for as long as another command runs:
//
//	go run ./internal/cassandra/run [-nodes 3] -- go test ./storage/scylla
//
// The command finds the cluster by HUB_CQL_HOSTS. If that is set already, the command is run as it is, against that
// cluster. The exit code is the command's. SIGINT and SIGTERM end the command first, then the nodes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/zumodra/hub/internal/cassandra"
)

func main() { os.Exit(run()) }

func run() int {
	nodes := flag.Int("nodes", 1, "nodes, on 127.0.0.1 and up")
	first := flag.Int("first", 1, "last number of the first node's address, for several clusters beside one another")
	dir := flag.String("dir", "", "directory for data and logs, kept; default: a temporary one")
	heap := flag.String("heap", "1g", "heap of each node")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: run [-nodes N] [-dir DIR] -- COMMAND ...")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	env := os.Environ()
	if os.Getenv(cassandra.HostsEnv) == "" {
		c, err := cassandra.Start(ctx, cassandra.Config{Nodes: *nodes, First: *first, Dir: *dir, Heap: *heap, Log: os.Stderr})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer c.Close()
		url, end, err := c.Serve()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer end()
		env = append(env, cassandra.HostsEnv+"="+c.Hosts(), cassandra.ControlEnv+"="+url, fmt.Sprintf("%s=%d", cassandra.NodesEnv, *nodes))
	}
	cmd := exec.CommandContext(ctx, flag.Arg(0), flag.Args()[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "run:", err)
	return 1
}
