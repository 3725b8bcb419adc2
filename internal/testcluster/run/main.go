// Command run is `make cluster`: several hubs on this machine with one command. It starts a local Apache Cassandra (unless
// HUB_CQL_HOSTS names a cluster), builds the hub, makes the keyspace, starts the nodes with --dev, prints their addresses and
// runs until it is interrupted. Data and logs stay in -dir, and are there again the next time. While it runs, system.json there
// says what runs where, for programs such as hubbench.
//
// A node that ends by itself ends everything, but with -keep: then it stays dead, the others go on, and programs may kill, stop
// and start nodes and servers of the store through a port of loopback that system.json names. Whoever may connect to that port
// may do so: it is for machines of one person.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/zumodra/hub/internal/cassandra"
	"github.com/zumodra/hub/internal/testcluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	nodes := flag.Int("nodes", 3, "hubs")
	dir := flag.String("dir", "hub-cluster", "directory for data and logs")
	bin := flag.String("bin", "", "hub to run; default: built from this tree")
	keyspace := flag.String("keyspace", "hub", "keyspace")
	edges := flag.Int("edges", 0, "further hubs with the role edge alone")
	open := flag.Bool("load", false, "limits on clients off, for load tests")
	keep := flag.Bool("keep", false, "go on when a node ends, and let other programs kill and start nodes (hubbench)")
	alone := flag.Bool("alone", false, "one hub without the flags of a cluster")
	flag.Parse()
	root, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	if *bin == "" {
		*bin = filepath.Join(root, "hub")
		fmt.Println("building the hub")
		if err := testcluster.Build(ctx, *bin); err != nil {
			return err
		}
	}
	var servers testcluster.Servers
	hosts := os.Getenv(cassandra.HostsEnv)
	if hosts == "" {
		fmt.Println("starting Apache Cassandra: half a minute, the first time longer")
		store, err := cassandra.Start(ctx, cassandra.Config{Dir: filepath.Join(root, "cassandra"), Log: os.Stdout})
		if err != nil {
			return err
		}
		defer store.Close()
		hosts, servers = store.Hosts(), store
	}
	cfg := testcluster.Config{Bin: *bin, Dir: root, CQLHosts: strings.Split(hosts, ","), Keyspace: *keyspace, Nodes: *nodes + *edges, Roles: map[int]string{},
		Lease: 5 * time.Second, Fixed: true, Operator: true, Gated: *keep}
	for i := range *edges {
		cfg.Roles[*nodes+i] = "edge"
	}
	if *open {
		cfg.Args = []string{"--user-rate", "0", "--log-level", "warn"}
	}
	if *alone {
		cfg.Alone, cfg.Nodes, cfg.Roles = true, 1, nil
	}
	for i, host := range cfg.CQLHosts {
		if _, _, err := net.SplitHostPort(host); err != nil {
			cfg.CQLHosts[i] = net.JoinHostPort(host, "9042")
		}
	}
	migrate := exec.CommandContext(ctx, *bin, "migrate", "--store", "scylla", "--cql-hosts", strings.Join(cfg.CQLHosts, ","), "--cql-keyspace", *keyspace)
	if out, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("hub migrate: %w\n%s", err, out)
	}
	start, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := testcluster.Start(start, cfg)
	if err != nil {
		return fmt.Errorf("%w; the nodes' logs are %s", err, filepath.Join(root, "n*.log"))
	}
	defer c.Close()
	fmt.Printf("\n%-6s %-24s %-24s %s\n", "node", "address", "admin", "log")
	for _, n := range c.Nodes() {
		fmt.Printf("%-6s %-24s %-24s %s\n", n.Name, n.URL(), n.AdminURL(), n.LogFile())
	}
	all := c.Nodes()
	fmt.Printf("\nTry, in two terminals:\n  %[1]s chat --server %[2]s --as alice --to bob\n  %[1]s chat --server %[3]s --as bob --to alice\n\nCtrl-C stops everything.\n",
		*bin, all[0].URL(), all[len(all)-1].URL())

	control := testcluster.NewControl(c, servers)
	if *keep {
		stop, err := control.Serve()
		if err != nil {
			return err
		}
		defer stop()
	}
	file := filepath.Join(root, "system.json")
	if err := control.WriteTo(file); err != nil {
		return err
	}
	defer os.Remove(file)

	ended := make(chan error, len(all))
	for _, n := range all {
		if *keep {
			break
		}
		done := n.Ended()
		go func() { // ends with the node, and all nodes end with this process
			<-done
			ended <- fmt.Errorf("%s ended by itself: %w\n%s", n.Name, errors.Join(n.Exit()), n.LogTail(2000))
		}()
	}
	select {
	case err = <-ended:
		return err
	case <-ctx.Done():
		fmt.Println("\nstopping")
		return c.Drain(30 * time.Second)
	}
}
