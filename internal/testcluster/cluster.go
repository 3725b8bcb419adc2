package testcluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config of a Cluster. Bin and Dir are required, and CQLHosts and Keyspace unless it is Embedded.
type Config struct {
	Bin      string   // the hub; see Build
	Dir      string   // data and logs of the nodes
	CQLHosts []string // host:port
	Keyspace string
	Embedded bool           // one node that keeps everything in its data directory; implies Alone
	Nodes    int            // that Start starts; default 3
	Lease    time.Duration  // --cql-lease; default 3s, the least that is allowed
	Names    map[int]string // of nodes, by their numbers from 0; default: n1 and so on
	Roles    map[int]string // --roles of nodes that do not have both, by their numbers from 0
	Args     []string       // further flags of every node
	Bins     map[int]string // hubs that nodes run instead of Bin at first, by their numbers from 0; see SetBin
	Env      []string       // of every node; default: this process's without HUB_…

	// Operator: the nodes take the key in AdminKeyFile for the operator's.
	Operator bool
	// NoDev leaves out --dev: the limits are those of production, and somebody has made the keyspace.
	NoDev bool
	// Alone leaves out everything that is about clusters: for a binary that knows none of it, and one node.
	Alone bool
	// Fixed gives the nodes the well-known ports of 127.0.0.1 and the ones above, instead of free ones of 127.0.10.x.
	Fixed bool
	// Gated leads the nodes' way to the store through Gates.
	Gated bool
	// Isolated gives the cluster a network of its own, in which Cut and Slow work. It implies Gated, but for Embedded.
	Isolated bool
	// Doors make the nodes of an Isolated cluster reachable from the machine's network: see OutsideURL.
	Doors bool
	// Clocks: the binary was built with the tag chaos; SetClock works.
	Clocks bool
}

// Cluster of hubs.
type Cluster struct {
	cfg    Config
	secret string
	net    *network // nil: the machine's
	http   *http.Client

	mu    sync.Mutex
	nodes []*Node
	added int
}

// ErrNoNetwork says that there are no network namespaces to be had here.
var ErrNoNetwork = errors.New("testcluster: no network of its own")

// Build builds the hub into the file bin, with further arguments to go build, such as -race or -tags chaos.
func Build(ctx context.Context, bin string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", bin}, args...), "github.com/zumodra/hub/cmd/hub")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("testcluster: build cmd/hub: %w\n%s", err, out)
	}
	return nil
}

// Start starts the nodes and waits until they serve and know one another. After an error nothing runs.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	for range c.cfg.Nodes { // all before the first starts: each is told of the others
		if _, err := c.Add(); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes() {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return c.Settled(ctx)
}

// New returns a cluster without nodes.
func New(cfg Config) (*Cluster, error) {
	if cfg.Embedded {
		cfg.Alone, cfg.Nodes, cfg.CQLHosts = true, 1, nil
	}
	if cfg.Bin == "" || cfg.Dir == "" || !cfg.Embedded && (cfg.Keyspace == "" || len(cfg.CQLHosts) == 0) {
		return nil, errors.New("testcluster: Bin, Dir, CQLHosts and Keyspace are required")
	}
	if cfg.Nodes <= 0 {
		cfg.Nodes = 3
	}
	if cfg.Lease <= 0 {
		cfg.Lease = 3 * time.Second
	}
	if cfg.Env == nil {
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "HUB_") {
				cfg.Env = append(cfg.Env, v)
			}
		}
	}
	cfg.Gated = cfg.Gated || cfg.Isolated
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("testcluster: %w", err)
	}
	c := &Cluster{cfg: cfg}
	var err error
	if c.secret, err = kept(c.SecretFile()); err != nil {
		return nil, err
	}
	if cfg.Operator {
		if _, err := kept(c.AdminKeyFile()); err != nil {
			return nil, err
		}
	}
	dial := (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	if cfg.Isolated {
		if c.net, err = newNetwork(); err != nil {
			return nil, err
		}
		dial = c.net.dial
	}
	// One transport for everything that tests do: no connection is given up while it is good.
	c.http = &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}}
	return c, nil
}

// kept is what a file holds, which is made with something random: the same cluster again, and tokens stay good.
func kept(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err == nil {
		return string(b), nil
	}
	text := rand.Text() + rand.Text()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("testcluster: %w", err)
	}
	return text, nil
}

// SecretFile holds the secret that tokens are signed with.
func (c *Cluster) SecretFile() string { return filepath.Join(c.cfg.Dir, "secret") }

// AdminKeyFile holds the operator's key, if there is one (Config.Operator).
func (c *Cluster) AdminKeyFile() string { return filepath.Join(c.cfg.Dir, "admin-key") }

// HTTP reaches the nodes, wherever they are.
func (c *Cluster) HTTP() *http.Client { return c.http }

// Nodes that were added, also those that do not run.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.nodes...)
}

// URLs of all nodes.
func (c *Cluster) URLs() []string {
	var urls []string
	for _, n := range c.Nodes() {
		urls = append(urls, n.URL())
	}
	return urls
}

// Add makes a node, which is not started.
func (c *Cluster) Add() (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.added
	c.added++
	name := cmp.Or(c.cfg.Names[i], fmt.Sprintf("n%d", i+1))
	n := &Node{c: c, index: i, bin: cmp.Or(c.cfg.Bins[i], c.cfg.Bin), Name: name, dir: filepath.Join(c.cfg.Dir, name)}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return nil, fmt.Errorf("testcluster: %w", err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "auth-secret"), []byte(c.secret), 0o600); err != nil {
		return nil, fmt.Errorf("testcluster: %w", err)
	}
	if err := n.place(); err != nil {
		return nil, err
	}
	if c.cfg.Gated {
		if err := n.openGates(); err != nil {
			n.closeGates()
			return nil, err
		}
	}
	if c.cfg.Doors && c.net != nil {
		if err := n.openDoors(); err != nil {
			n.closeGates()
			return nil, err
		}
	}
	c.nodes = append(c.nodes, n)
	return n, nil
}

// Remove kills a node and forgets it.
func (c *Cluster) Remove(n *Node) {
	n.Kill()
	n.closeGates()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = slices.DeleteFunc(c.nodes, func(o *Node) bool { return o == n })
}

// Running nodes: started, and neither killed nor stopped. Paused ones run.
func (c *Cluster) Running() []*Node {
	var list []*Node
	for _, n := range c.Nodes() {
		if n.Runs() {
			list = append(list, n)
		}
	}
	return list
}

// Settled waits until every running node is ready, knows the running nodes as its members, and all shards have an owner,
// as far as the nodes tell (see View).
func (c *Cluster) Settled(ctx context.Context) error {
	var why error
	for {
		err := c.settled(ctx)
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil { // else the end of ctx is the reason
			why = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("testcluster: not settled: %w", why)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) settled(ctx context.Context) error {
	running := c.Running()
	for _, n := range running {
		if !n.alive() {
			return fmt.Errorf("%s has ended by itself: %w", n.Name, n.Exit())
		}
	}
	for _, n := range running {
		if code, body := n.Readiness(ctx); code != http.StatusOK {
			return fmt.Errorf("%s is not ready: %d %s", n.Name, code, body)
		}
	}
	if c.cfg.Alone {
		return nil
	}
	for _, n := range running {
		v, err := n.View(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		if err := v.agrees(running); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return nil
}

// Close kills all nodes.
func (c *Cluster) Close() {
	for _, n := range c.Nodes() {
		n.Kill()
		n.closeGates()
	}
	c.http.CloseIdleConnections()
	if c.net != nil {
		c.net.close()
	}
}

// Drain stops all nodes as an operator would, one after the other.
func (c *Cluster) Drain(timeout time.Duration) error {
	var errs []error
	for _, n := range c.Running() {
		errs = append(errs, n.Stop(timeout))
	}
	return errors.Join(errs...)
}

// Cut drops the packets from one node to another; those the other way still pass. Heal ends it.
func (c *Cluster) Cut(from, to *Node) error {
	if c.net == nil {
		return ErrNoNetwork
	}
	return c.net.cut(from.host, to.host)
}

// Mend ends one Cut.
func (c *Cluster) Mend(from, to *Node) error {
	if c.net == nil {
		return ErrNoNetwork
	}
	return c.net.mend(from.host, to.host)
}

// Slow gives both directions of a node's link a delay each, and a rate in bits a second; zero leaves either as it is without,
// and both end it. Delays need the kernel's netem.
func (c *Cluster) Slow(n *Node, delay time.Duration, rate int64) error {
	if c.net == nil {
		return ErrNoNetwork
	}
	return c.net.slow(n.index, delay, rate)
}

// Delays reports why links cannot be given a delay.
func (c *Cluster) Delays() error {
	if c.net == nil {
		return ErrNoNetwork
	}
	return c.net.delays()
}

// Heal ends all cuts between nodes.
func (c *Cluster) Heal() error {
	if c.net == nil {
		return nil
	}
	return c.net.heal()
}

// Logs is the end of every node's log, bytes of each.
func (c *Cluster) Logs(bytes int) string {
	var b strings.Builder
	for _, n := range c.Nodes() {
		fmt.Fprintf(&b, "--- %s (%s)\n%s\n", n.Name, n.LogFile(), n.LogTail(bytes))
	}
	return b.String()
}
