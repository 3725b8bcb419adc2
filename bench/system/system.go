package system

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zumodra/hub/bench/chaos"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/internal/cassandra"
	"github.com/zumodra/hub/internal/testcluster"
)

// Config of a System. The zero value is one hub with the embedded store.
type Config struct {
	scenario.System
	Bin  string   // the hub; empty: built from the tree that the working directory is in
	Tags []string // to build it with: chaos (its clock can be set), ackfirst (it loses messages)
	Dir  string   // for data and logs; empty: a temporary directory, removed by Close
	Log  io.Writer
	Heap string // of each server of the store, as -Xmx takes it; default 1g
	// CQLHosts are servers of a store that runs already, host:port; chaos cannot touch them. Empty: an Apache Cassandra is started.
	CQLHosts []string
	Keyspace string // made if it is not there; default hubbench
	First    int    // the servers of the store listen on 127.0.0.First and up; default 1
}

// System is what runs. Its methods are for concurrent use.
type System struct {
	names    map[string]string // as scenarios have them → as the control has them
	nodes    int               // full ones
	do       func(ctx context.Context, op testcluster.Op, name, arg string) error
	describe func() (testcluster.Description, error)
	first    testcluster.Description // what does not change
	secret   []byte
	key      string
	http     *http.Client
	close    func()
}

var _ chaos.Driver = (*System)(nil)

// Start the system and wait until it serves: seconds, with a Cassandra half a minute or more. After an error nothing runs.
func Start(ctx context.Context, cfg Config) (*System, error) {
	if err := complete(&cfg); err != nil {
		return nil, err
	}
	var ends []func()
	end := func() {
		for _, f := range slices.Backward(ends) {
			f()
		}
	}
	s, err := start(ctx, cfg, func(f func()) { ends = append(ends, f) })
	if err != nil {
		end()
		return nil, fmt.Errorf("system: %w", err)
	}
	s.close = end
	return s, nil
}

// complete fills in what is left out and refuses what makes no sense.
func complete(cfg *Config) error {
	cfg.Store = cmp.Or(cfg.Store, "embedded")
	cfg.Nodes, cfg.CQL = max(cfg.Nodes, 1), max(cfg.CQL, 1)
	cfg.Keyspace, cfg.Heap = cmp.Or(cfg.Keyspace, "hubbench"), cmp.Or(cfg.Heap, "1g")
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	switch {
	case cfg.Store != "embedded" && cfg.Store != "cassandra":
		return fmt.Errorf("system: unknown store %q: there are embedded and cassandra", cfg.Store)
	case cfg.Store == "embedded" && (cfg.Nodes > 1 || cfg.Edges > 0):
		return errors.New("system: the embedded store is for one node; several need the store cassandra")
	case cfg.Edges < 0 || cfg.Nodes+cfg.Edges > 64:
		return fmt.Errorf("system: %d nodes and %d edges: at most 64 together", cfg.Nodes, cfg.Edges)
	}
	return nil
}

func start(ctx context.Context, cfg Config, atEnd func(func())) (*System, error) {
	if cfg.Dir == "" {
		dir, err := os.MkdirTemp("", "hubbench-")
		if err != nil {
			return nil, err
		}
		atEnd(func() { _ = os.RemoveAll(dir) })
		cfg.Dir = dir
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if cfg.Bin == "" {
		fmt.Fprintln(cfg.Log, "building the hub")
		cfg.Bin = filepath.Join(dir, "hub")
		if err := testcluster.Build(ctx, cfg.Bin, "-tags", strings.Join(cfg.Tags, ",")); err != nil {
			return nil, err
		}
	}
	tc := testcluster.Config{Bin: cfg.Bin, Dir: dir, Nodes: cfg.Nodes + cfg.Edges, Lease: 6 * time.Second, Names: map[int]string{}, Roles: map[int]string{},
		Operator: true, NoDev: true, Isolated: cfg.Isolated, Doors: true, Clocks: slices.Contains(cfg.Tags, "chaos"),
		Args: append([]string{"--user-rate", "0", "--throttles", "anon=off,user=off", "--log-level", "warn"}, cfg.Args...)}
	for i := range tc.Nodes {
		tc.Names[i] = "node" + strconv.Itoa(i+1)
		if i >= cfg.Nodes {
			tc.Names[i], tc.Roles[i] = "edge"+strconv.Itoa(i-cfg.Nodes+1), "edge"
		}
	}
	var servers testcluster.Servers
	if cfg.Store == "embedded" {
		tc.Embedded = true
	} else {
		tc.Gated, tc.Keyspace, tc.CQLHosts = true, cfg.Keyspace, cfg.CQLHosts
		if len(tc.CQLHosts) == 0 {
			fmt.Fprintln(cfg.Log, "starting Apache Cassandra: half a minute, the first time longer")
			store, err := cassandra.Start(ctx, cassandra.Config{Nodes: cfg.CQL, First: cfg.First, Dir: filepath.Join(dir, "cassandra"), Heap: cfg.Heap, Log: cfg.Log})
			if err != nil {
				return nil, err
			}
			atEnd(store.Close)
			servers, tc.CQLHosts = store, strings.Split(store.Hosts(), ",")
		}
		migrate := exec.CommandContext(ctx, cfg.Bin, "migrate", "--store", "scylla", "--cql-hosts", strings.Join(tc.CQLHosts, ","), "--cql-keyspace", tc.Keyspace)
		if out, err := migrate.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("hub migrate: %w\n%s", err, out)
		}
	}
	c, err := testcluster.New(tc)
	if err != nil {
		return nil, err
	}
	atEnd(c.Close)
	if err := startNodes(ctx, c, tc); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.Logs(2000))
	}
	k := testcluster.NewControl(c, servers)
	return newSystem(k.Do, func() (testcluster.Description, error) { return k.Describe(), nil })
}

// spare descriptors of an edge, which are no clients', and of a node that keeps a store.
const spareOfEdge, spareOfNode = 500, 1500

// startNodes starts them all and waits until they know one another.
func startNodes(ctx context.Context, c *testcluster.Cluster, tc testcluster.Config) error {
	for range tc.Nodes {
		if _, err := c.Add(); err != nil {
			return err
		}
	}
	for i, n := range c.Nodes() {
		spare := spareOfNode
		if tc.Roles[i] == "edge" {
			spare = spareOfEdge
		}
		if limit := files(); limit > 4*spare {
			n.SetArgs("--max-connections", strconv.Itoa(limit-spare))
		}
		if err := n.Start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	for _, n := range c.Nodes() {
		ended := n.Ended()
		wg.Go(func() { // nobody waits for others when one has ended
			select {
			case <-ended:
				cancel()
			case <-ctx.Done():
			}
		})
	}
	err := c.Settled(ctx)
	for _, n := range c.Nodes() {
		if exit := n.Exit(); exit != nil {
			return fmt.Errorf("%s ended at its start: %w", n.Name, exit)
		}
	}
	return err
}

func newSystem(do func(context.Context, testcluster.Op, string, string) error, describe func() (testcluster.Description, error)) (*System, error) {
	d, err := describe()
	if err != nil {
		return nil, err
	}
	s := &System{do: do, describe: describe, first: d, names: map[string]string{}, http: &http.Client{Timeout: time.Minute}, close: func() {}}
	edges := 0
	for _, n := range d.Nodes {
		if n.Roles == "edge" {
			edges++
			s.names["edge"+strconv.Itoa(edges)] = n.Name
		} else {
			s.nodes++
			s.names["node"+strconv.Itoa(s.nodes)] = n.Name
		}
	}
	for _, n := range d.Store {
		s.names[n.Name] = n.Name
	}
	if s.secret, err = os.ReadFile(d.SecretFile); err != nil {
		return nil, err
	}
	if d.AdminKeyFile != "" {
		key, err := os.ReadFile(d.AdminKeyFile)
		if err != nil {
			return nil, err
		}
		s.key = string(bytes.TrimSpace(key))
	}
	return s, nil
}

// Close ends all that Start has started; of what Attach found nothing.
func (s *System) Close() {
	s.http.CloseIdleConnections()
	s.close()
}

// Secret that tokens are signed with.
func (s *System) Secret() []byte { return s.secret }

// AdminKey is the operator's; empty: there is none.
func (s *System) AdminKey() string { return s.key }

// URLs of all nodes for clients, those of edges first.
func (s *System) URLs() []string {
	urls := s.Edges()
	for _, n := range s.first.Nodes {
		if n.Roles != "edge" {
			urls = append(urls, n.URL)
		}
	}
	return urls
}

// Edges are the URLs of the edges; none if there are full nodes alone.
func (s *System) Edges() []string {
	var urls []string
	for _, n := range s.first.Nodes {
		if n.Roles == "edge" {
			urls = append(urls, n.URL)
		}
	}
	return urls
}

// Admins are the URLs of the admin ports by the names of nodes: node1, edge1.
func (s *System) Admins() map[string]string {
	return s.nodesBy(func(n testcluster.Process) string { return n.Admin })
}

// Logs are the files with the output of the nodes by their names.
func (s *System) Logs() map[string]string {
	return s.nodesBy(func(n testcluster.Process) string { return n.Log })
}

// nodesBy is what of says of each node, by the node's name here.
func (s *System) nodesBy(of func(testcluster.Process) string) map[string]string {
	out := map[string]string{}
	for name, actual := range s.names {
		for _, n := range s.first.Nodes {
			if n.Name == actual {
				out[name] = of(n)
			}
		}
	}
	return out
}

// Processes that run now, by name: node1, edge1, cql1. One that was started again has another pid.
func (s *System) Processes() map[string]int {
	d, err := s.describe()
	if err != nil {
		return nil
	}
	pids := map[string]int{}
	for name, actual := range s.names {
		for _, n := range d.Nodes {
			if n.Name == actual && n.PID != 0 {
				pids[name] = n.PID
			}
		}
		for _, n := range d.Store {
			if n.Name == actual && n.PID != 0 {
				pids[name] = n.PID
			}
		}
	}
	return pids
}

// GC makes every running node give back the memory that it does not use: for measurements.
func (s *System) GC(ctx context.Context) error {
	return s.each(ctx, http.MethodPost, "/debug/gc", func(string, []byte) error { return nil })
}

// Vitals of the running nodes by name, as far as they answer: goroutines, bytes of heap in use, and requests to the store.
func (s *System) Vitals(ctx context.Context) (map[string]measure.Vitals, error) {
	list := map[string]measure.Vitals{}
	err := s.each(ctx, http.MethodGet, "/metrics", func(name string, body []byte) error {
		list[name] = measure.Vitals{Goroutines: int(metric(body, "go_goroutines")), Heap: int64(metric(body, "go_memstats_heap_inuse_bytes")),
			Store: int64(metric(body, "hub_cql_requests_total"))}
		return nil
	})
	return list, err
}

// metric is the value of one without labels, in Prometheus' text; 0: it is not there.
func metric(text []byte, name string) float64 {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v
		}
	}
	return 0
}

// Sessions that each running node holds, by name.
func (s *System) Sessions(ctx context.Context) (map[string]int, error) {
	open := map[string]int{}
	err := s.each(ctx, http.MethodGet, "/metrics", func(name string, body []byte) error {
		open[name] = int(metric(body, "hub_sessions_open"))
		return nil
	})
	return open, err
}

// each asks the admin ports of the nodes that run.
func (s *System) each(ctx context.Context, method, path string, got func(name string, body []byte) error) error {
	var errs []error
	admins := s.Admins()
	for name := range s.Processes() {
		if url, ok := admins[name]; ok {
			body, err := s.ask(ctx, method, url+path)
			if err == nil {
				err = got(name, body)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("system: %s of %s: %w", path, name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *System) ask(ctx context.Context, method, url string) ([]byte, error) {
	return exchange(ctx, s.http, method, url)
}

func exchange(ctx context.Context, c *http.Client, method, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %.300s", resp.Status, body)
	}
	return body, err
}
