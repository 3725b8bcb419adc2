package testcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Servers are the processes of the store, counted from 0. A cassandra.Cluster is one.
type Servers interface {
	Nodes() int
	PID(i int) int // 0: it does not run
	StartNode(ctx context.Context, i int) error
	KillNode(i int) error
	PauseNode(i int) error
	ResumeNode(i int) error
}

// Op is something that a Control does to a process.
type Op string

// The operations. What they need is in Description.Can.
const (
	OpStart  Op = "start" // and wait until it is ready; one that ended by itself, too
	OpKill   Op = "kill"  // SIGKILL
	OpDrain  Op = "drain" // SIGTERM, and wait for the end; no server of the store
	OpPause  Op = "pause" // SIGSTOP
	OpResume Op = "resume"
	OpCut    Op = "cut" // no packet between the node and the one that arg names
	OpMend   Op = "mend"
	OpSlow   Op = "slow"  // arg: delay and bits a second, as "20ms 1000000"; "0s 0" ends it
	OpStore  Op = "store" // arg: cut or heal
	OpClock  Op = "clock" // arg: by how much the clock is wrong
)

// Abilities of a cluster that not every one has.
const (
	CanCut   = "cut"   // OpCut, OpMend
	CanRate  = "rate"  // OpSlow with a rate
	CanDelay = "delay" // OpSlow with a delay
	CanStore = "store" // OpStore
	CanClock = "clock" // OpClock
)

// Description of a running cluster, for other processes; it holds no secrets.
type Description struct {
	Hub          string        `json:"hub"` // binary
	SecretFile   string        `json:"secret_file"`
	AdminKeyFile string        `json:"admin_key_file,omitempty"`
	Control      string        `json:"control,omitempty"` // URL of Serve; empty: the nodes are not to be touched
	Nodes        []Process     `json:"nodes"`
	Store        []StoreServer `json:"store,omitempty"` // that was started with it
	Can          []string      `json:"can"`             // see Can…
}

// Process of a node.
type Process struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"` // 0: it does not run
	URL   string `json:"url"`
	Admin string `json:"admin"`
	Roles string `json:"roles,omitempty"` // empty: both
	Log   string `json:"log"`
}

// StoreServer is a process of the store: cql1 and so on.
type StoreServer struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
}

// startTime and drainTime bound the wait for a node.
const (
	startTime = 2 * time.Minute
	drainTime = 30 * time.Second
)

// Control does things to the processes of a cluster by name, for this process and, by Serve, for others. Its methods are
// for concurrent use, but for one process from one caller at a time.
type Control struct {
	c     *Cluster
	store Servers // nil: none of ours
	can   []string

	mu   sync.Mutex
	url  string
	file string
}

// NewControl of a cluster whose nodes have been added, and of its store's servers; nil: they are others' or none.
func NewControl(c *Cluster, store Servers) *Control {
	k := &Control{c: c, store: store, can: []string{}}
	if c.net != nil {
		k.can = append(k.can, CanCut, CanRate)
		if c.Delays() == nil {
			k.can = append(k.can, CanDelay)
		}
	}
	if c.cfg.Gated && !c.cfg.Embedded {
		k.can = append(k.can, CanStore)
	}
	if c.cfg.Clocks {
		k.can = append(k.can, CanClock)
	}
	return k
}

// Describe the cluster as it is now.
func (k *Control) Describe() Description {
	k.mu.Lock()
	d := Description{Hub: k.c.cfg.Bin, SecretFile: k.c.SecretFile(), Control: k.url, Can: slices.Clone(k.can)}
	k.mu.Unlock()
	if k.c.cfg.Operator {
		d.AdminKeyFile = k.c.AdminKeyFile()
	}
	for _, n := range k.c.Nodes() {
		p := Process{Name: n.Name, URL: n.OutsideURL(), Admin: n.OutsideAdminURL(), Roles: k.c.cfg.Roles[n.index], Log: n.LogFile()}
		if n.alive() {
			p.PID = n.PID()
		}
		d.Nodes = append(d.Nodes, p)
	}
	if k.store != nil {
		for i := range k.store.Nodes() {
			d.Store = append(d.Store, StoreServer{"cql" + strconv.Itoa(i+1), k.store.PID(i)})
		}
	}
	return d
}

// WriteTo keeps the description in a file, from now on: it is written again after each Do.
func (k *Control) WriteTo(file string) error {
	k.mu.Lock()
	k.file = file
	k.mu.Unlock()
	return k.write()
}

func (k *Control) write() error {
	b, err := json.MarshalIndent(k.Describe(), "", "  ")
	if err != nil {
		return fmt.Errorf("testcluster: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == "" {
		return nil
	}
	err = os.WriteFile(k.file+".new", append(b, '\n'), 0o600)
	if err == nil {
		err = os.Rename(k.file+".new", k.file)
	}
	if err != nil {
		return fmt.Errorf("testcluster: %w", err)
	}
	return nil
}

// node by name.
func (k *Control) node(name string) (*Node, error) {
	var names []string
	for _, n := range k.c.Nodes() {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return nil, fmt.Errorf("testcluster: there is no %q among %v", name, names)
}

// Do something to the process that name names.
func (k *Control) Do(ctx context.Context, op Op, name, arg string) error {
	var err error
	if i, ok := strings.CutPrefix(name, "cql"); ok && k.store != nil {
		err = k.toServer(ctx, op, i)
	} else if n, e := k.node(name); e != nil {
		err = e
	} else {
		err = k.toNode(ctx, op, n, arg)
	}
	return errors.Join(err, k.write())
}

func (k *Control) toServer(ctx context.Context, op Op, number string) error {
	i, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("testcluster: no server of the store: %w", err)
	}
	switch i--; op {
	case OpStart:
		return k.store.StartNode(ctx, i)
	case OpKill:
		return k.store.KillNode(i)
	case OpPause:
		return k.store.PauseNode(i)
	case OpResume:
		return k.store.ResumeNode(i)
	}
	return fmt.Errorf("testcluster: %s is not for servers of the store", op)
}

func (k *Control) toNode(ctx context.Context, op Op, n *Node, arg string) error {
	switch op {
	case OpStart:
		if !n.alive() {
			n.Kill() // what is left of one that ended by itself
		}
		if err := n.Start(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		return n.ready(ctx)
	case OpKill:
		n.Kill()
		return nil
	case OpDrain:
		return n.Stop(drainTime)
	case OpPause:
		return n.signal(syscall.SIGSTOP)
	case OpResume:
		return n.signal(syscall.SIGCONT)
	case OpCut, OpMend:
		other, err := k.node(arg)
		if err != nil {
			return err
		}
		f := k.c.Cut
		if op == OpMend {
			f = k.c.Mend
		}
		return errors.Join(f(n, other), f(other, n))
	case OpSlow:
		var delay, rate string
		if _, err := fmt.Sscan(arg, &delay, &rate); err != nil {
			return fmt.Errorf("testcluster: %q is no delay and rate: %w", arg, err)
		}
		d, err := time.ParseDuration(delay)
		r, err2 := strconv.ParseInt(rate, 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("testcluster: %w", err)
		}
		return k.c.Slow(n, d, r)
	case OpStore:
		if arg == "cut" {
			return n.CutStore()
		}
		n.HealStore()
		return nil
	case OpClock:
		d, err := time.ParseDuration(arg)
		if err != nil {
			return fmt.Errorf("testcluster: %w", err)
		}
		return n.SetClock(d)
	}
	return fmt.Errorf("testcluster: unknown operation %q", op)
}

// ready waits until the node serves.
func (n *Node) ready(ctx context.Context) error {
	for {
		code, body := n.Readiness(ctx)
		switch {
		case code == http.StatusOK:
			return nil
		case !n.alive():
			return fmt.Errorf("testcluster: %s ended by itself: %w", n.Name, errors.Join(n.Exit()))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("testcluster: %s is not ready: %d %s", n.Name, code, body)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Serve lets other processes of this machine Do things (POST /OP/NAME?arg=…) and ask for the Description (GET /), at a port of
// loopback, until the returned function is called.
func (k *Control) Serve() (stop func(), err error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(k.Describe())
	})
	mux.HandleFunc("POST /{op}/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" {
			http.Error(w, "testcluster: not for pages of the web", http.StatusForbidden)
			return
		}
		if err := k.Do(r.Context(), Op(r.PathValue("op")), r.PathValue("name"), r.URL.Query().Get("arg")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("testcluster: %w", err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	k.mu.Lock()
	k.url = "http://" + l.Addr().String()
	k.mu.Unlock()
	return func() { _ = srv.Close(); <-done }, nil
}
