package testcluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is one member of a Cluster, whether it runs or not.
type Node struct {
	Name string

	c                     *Cluster
	index                 int
	bin                   string
	dir                   string
	host                  string // of all its addresses
	listen                string
	admin                 string
	gossip                string
	cluster               string
	gates                 []*Gate
	cql                   []string // hosts, as the node is told
	doors                 []*Gate
	outside, outsideAdmin string // URLs of doors

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of Wait, valid once exited is closed
	args   []string
}

// Well-known ports of a Fixed or Isolated cluster.
const (
	publicPort  = 8080
	adminPort   = 9090
	gossipPort  = 7946
	clusterPort = 7980
)

// place gives the node its addresses.
func (n *Node) place() error {
	at := func(host string, i int) {
		n.host = host
		n.listen, n.admin = fmt.Sprintf("%s:%d", host, publicPort+i), fmt.Sprintf("%s:%d", host, adminPort+i)
		n.gossip, n.cluster = fmt.Sprintf("%s:%d", host, gossipPort+i), fmt.Sprintf("%s:%d", host, clusterPort+i)
	}
	switch {
	case n.c.net != nil:
		host, err := n.c.net.add(n.index)
		if err != nil {
			return err
		}
		at(host, 0)
		return nil
	case n.c.cfg.Fixed:
		at("127.0.0.1", n.index)
		return nil
	}
	n.host = fmt.Sprintf("127.0.10.%d", n.index+1)
	for _, a := range []*string{&n.listen, &n.admin, &n.gossip, &n.cluster} {
		l, err := net.Listen("tcp4", n.host+":0")
		if err != nil {
			return fmt.Errorf("testcluster: %w", err)
		}
		*a = l.Addr().String()
		defer l.Close() // after the last: no two are the same
	}
	return nil
}

// openGates puts a gate between the node and each server of the store, on the server's own address and one other port: the
// driver finds servers by their addresses and takes the port that it was given.
func (n *Node) openGates() error {
	inside := func(f func() error) error { return f() }
	if n.c.net != nil {
		inside = func(f func() error) error { return n.c.net.inside(n.index, f) }
	}
	port := "0"
	for _, target := range n.c.cfg.CQLHosts {
		host, _, err := net.SplitHostPort(target)
		if err != nil {
			return fmt.Errorf("testcluster: %w", err)
		}
		var l net.Listener
		if err := inside(func() (err error) { l, err = net.Listen("tcp4", net.JoinHostPort(host, port)); return err }); err != nil {
			return fmt.Errorf("testcluster: a gate to the store: %w", err)
		}
		_, port, _ = net.SplitHostPort(l.Addr().String())
		n.gates = append(n.gates, NewGate(l, target))
		n.cql = append(n.cql, l.Addr().String())
	}
	return nil
}

func (n *Node) closeGates() {
	for _, g := range append(n.gates, n.doors...) {
		g.Close()
	}
}

// URL of the public port.
func (n *Node) URL() string { return "http://" + n.listen }

// AdminURL of the admin port.
func (n *Node) AdminURL() string { return "http://" + n.admin }

// Gossip is the address that other nodes join the node by.
func (n *Node) Gossip() string { return n.gossip }

// Log is all of the node's output so far.
func (n *Node) Log() string { return n.LogTail(1 << 30) }

// LogFile is where the node's output goes, that of all its processes.
func (n *Node) LogFile() string { return n.dir + ".log" }

// Flags that the node is started with.
func (n *Node) flags() []string {
	cfg := n.c.cfg
	cql := n.cql
	if cql == nil {
		cql = cfg.CQLHosts
	}
	f := []string{"serve", "--auth-secret-file", filepath.Join(n.dir, "auth-secret"), "--data", n.dir, "--listen", n.listen, "--admin-listen", n.admin}
	if !cfg.NoDev {
		f = append(f, "--dev")
	}
	if cfg.Operator {
		f = append(f, "--admin-key-file", n.c.AdminKeyFile())
	}
	if !cfg.Embedded {
		f = append(f, "--store", "scylla", "--cql-hosts", strings.Join(cql, ","), "--cql-keyspace", cfg.Keyspace, "--cql-lease", cfg.Lease.String(), "--search", "off")
	}
	if !cfg.Alone {
		f = append(f, "--node-name", n.Name, "--gossip-listen", n.gossip, "--cluster-listen", n.cluster, "--roles", cmp.Or(cfg.Roles[n.index], "edge,actors"),
			"--blobs-shared", filepath.Join(cfg.Dir, "blobs"))
		if cfg.Isolated { // nobody else is on that network
			f = append(f, "--cluster-insecure")
		}
		var join []string
		for _, other := range n.c.Nodes() {
			if other != n {
				join = append(join, other.gossip)
			}
		}
		if len(join) > 0 {
			f = append(f, "--join", strings.Join(join, ","))
		}
	}
	return append(append(f, cfg.Args...), n.args...)
}

// SetArgs gives the node flags of its own, from its next start on.
func (n *Node) SetArgs(args ...string) { n.args = args }

// SetBin gives the node another binary, from its next start on.
func (n *Node) SetBin(bin string) { n.bin = bin }

// Start starts the process.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return fmt.Errorf("testcluster: %s runs already", n.Name)
	}
	log, err := os.OpenFile(n.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("testcluster: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(n.bin, n.flags()...)
	fmt.Fprintf(log, "\n# %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), strings.Join(cmd.Args, " "))
	cmd.Env, cmd.Stdout, cmd.Stderr = n.c.cfg.Env, log, log
	if n.c.cfg.Clocks {
		cmd.Env = append(append([]string(nil), cmd.Env...), "HUB_CHAOS_CLOCK="+n.clockFile())
	}
	exited := make(chan struct{})
	inside := func(f func() error) error { return f() }
	if n.c.net != nil {
		inside = func(f func() error) error { return n.c.net.enter(n.index, f) }
	}
	if err := startWithParent(cmd, inside, func(err error) { n.err = err; close(exited) }); err != nil {
		return fmt.Errorf("testcluster: %w", err)
	}
	n.cmd, n.exited = cmd, exited
	return nil
}

func (n *Node) process() (*exec.Cmd, chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd, n.exited
}

// Runs reports whether the node was started and neither killed nor stopped.
func (n *Node) Runs() bool {
	cmd, _ := n.process()
	return cmd != nil
}

// alive reports whether the process is there.
func (n *Node) alive() bool {
	cmd, exited := n.process()
	if cmd == nil {
		return false
	}
	select {
	case <-exited:
		return false
	default:
		return true
	}
}

// Exit is what the process ended with, if it ended by itself.
func (n *Node) Exit() error {
	if cmd, exited := n.process(); cmd != nil {
		select {
		case <-exited:
			if n.err == nil {
				return errors.New("exit status 0")
			}
			return n.err
		default:
		}
	}
	return nil
}

// Ended is closed when the process has ended; nil if none was started.
func (n *Node) Ended() <-chan struct{} {
	_, exited := n.process()
	return exited
}

func (n *Node) forget() {
	n.mu.Lock()
	n.cmd = nil
	n.mu.Unlock()
}

// Kill ends the process without any chance to clean up (SIGKILL). A node that does not run stays as it is.
func (n *Node) Kill() {
	if cmd, exited := n.process(); cmd != nil {
		_ = cmd.Process.Kill()
		<-exited
		n.forget()
	}
}

// Stop drains the node (SIGTERM) and waits for its end; after the timeout it is killed and that is the error.
func (n *Node) Stop(timeout time.Duration) error {
	cmd, exited := n.process()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
		n.forget()
		if n.err != nil {
			return fmt.Errorf("testcluster: %s ended with %w", n.Name, n.err)
		}
		return nil
	case <-time.After(timeout):
		n.Kill()
		return fmt.Errorf("testcluster: %s did not end within %v of SIGTERM", n.Name, timeout)
	}
}

// Pause stops the process with SIGSTOP: its connections stay open and nobody answers.
func (n *Node) Pause() error { return n.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (n *Node) Resume() error { return n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) error {
	cmd, _ := n.process()
	if cmd == nil {
		return fmt.Errorf("testcluster: %s does not run", n.Name)
	}
	return cmd.Process.Signal(s)
}

// CutStore stops everything on the way between the node and the store; nothing is lost, and connections stay open. What was
// under way arrives after HealStore.
func (n *Node) CutStore() error {
	if len(n.gates) == 0 {
		return errors.New("testcluster: the cluster has no gates")
	}
	for _, g := range n.gates {
		g.Shut()
	}
	return nil
}

// HealStore ends CutStore.
func (n *Node) HealStore() {
	for _, g := range n.gates {
		g.Open()
	}
}

func (n *Node) clockFile() string { return filepath.Join(n.dir, "clock") }

// SetClock makes the node's wall clock wrong by d from now on.
func (n *Node) SetClock(d time.Duration) error {
	if !n.c.cfg.Clocks {
		return errors.New("testcluster: the cluster's clocks cannot be set")
	}
	tmp := n.clockFile() + ".new"
	if err := os.WriteFile(tmp, []byte(d.String()), 0o600); err != nil {
		return fmt.Errorf("testcluster: %w", err)
	}
	return os.Rename(tmp, n.clockFile())
}

// Readiness asks /readyz; the code is 0 if there is no answer.
func (n *Node) Readiness(ctx context.Context) (int, string) {
	code, body, err := n.get(ctx, "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	return code, string(bytes.TrimSpace(body))
}

// get asks the admin port. A paused node is not waited for.
func (n *Node) get(ctx context.Context, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.AdminURL()+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := n.c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, body, err
}

// Get asks the admin port for a path.
func (n *Node) Get(ctx context.Context, path string) ([]byte, error) {
	code, body, err := n.get(ctx, path)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("testcluster: %s answers %s with %d", n.Name, path, code)
	}
	return body, err
}

// LogTail is the end of the node's log.
func (n *Node) LogTail(bytes int) string {
	b, _ := os.ReadFile(n.LogFile())
	return string(b[max(0, len(b)-bytes):])
}

// PID of the process; 0: it does not run.
func (n *Node) PID() int {
	if cmd, _ := n.process(); cmd != nil {
		return cmd.Process.Pid
	}
	return 0
}
