package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/scylla"
)

// backing is the store once it is open.
type backing struct {
	engine storage.Engine
	shared bool // several processes can open it
}

// nodeLease names the claim of the one hub that may write to a keyspace.
const nodeLease = "node"

// started is the beginning of sinceStart.
var started = time.Now()

func sinceStart() time.Duration { return time.Since(started) }

// errLeaseLost ends a node whose keyspace another one has taken.
var errLeaseLost = errors.New("another hub has taken over the keyspace; this one stops (see --cql-lease)")

// CQLConfig is what the settings make of the cluster.
func CQLConfig(c *config.Config) (scylla.Config, error) {
	s := scylla.Config{Hosts: c.CQLHosts, Keyspace: c.CQLKeyspace, Datacenter: c.CQLDC, User: c.CQLUser, Replication: c.CQLReplication,
		Compress: c.CQLCompression == "snappy", Timeout: c.CQLTimeout,
		// Marks come and go all the time, and every start scans them. One that a tombstone's early end brings back is
		// only looked at once more.
		TableOptions: map[string]string{storage.TableDirty.Name: "gc_grace_seconds = 10800"}}
	if c.CQLPassword != "" {
		b, err := os.ReadFile(c.CQLPassword)
		if err != nil {
			return s, fmt.Errorf("reading the password for the cluster: %w", err)
		}
		s.Password = strings.TrimRight(string(b), "\r\n")
	}
	if !c.CQLTLS {
		return s, nil
	}
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.CQLTLSName}
	if c.CQLTLSCA != "" {
		pem, err := os.ReadFile(c.CQLTLSCA)
		if err != nil {
			return s, fmt.Errorf("reading the certificates of the cluster: %w", err)
		}
		s.TLS.RootCAs = x509.NewCertPool()
		if !s.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return s, fmt.Errorf("%s holds no PEM certificate", c.CQLTLSCA)
		}
	}
	if c.CQLTLSCert != "" {
		cert, err := tls.LoadX509KeyPair(c.CQLTLSCert, c.CQLTLSKey)
		if err != nil {
			return s, fmt.Errorf("reading the client certificate for the cluster: %w", err)
		}
		s.TLS.Certificates = []tls.Certificate{cert}
	}
	return s, nil
}

// Migrate brings the keyspace of the settings to this program's version; see scylla.Migrate.
func Migrate(ctx context.Context, c *config.Config, dryRun bool, log io.Writer) error {
	if c.Store != config.StoreScylla {
		return errors.New("the embedded store needs no migration: it is brought up when it is opened. For a cluster add --store scylla --cql-hosts …")
	}
	s, err := CQLConfig(c)
	if err != nil {
		return err
	}
	if err := scylla.Migrate(ctx, s, dryRun, log); err != nil || c.Fencing == "" {
		return err
	}
	return migrateFencing(ctx, s, storage.Fencing(c.Fencing), dryRun, log)
}

// StoreName names the store of the settings in messages.
func StoreName(c *config.Config) string {
	if c.Store == config.StoreScylla {
		return "keyspace " + c.CQLKeyspace
	}
	return c.Data
}

// Verify walks the store of the settings, which no node may have open; see storage.Store.Verify. On a cluster it takes
// must not be used by a node.
func Verify(ctx context.Context, c *config.Config, report func(storage.Problem)) (sum storage.Summary, err error) {
	if c.Store != config.StoreScylla {
		return pebble.Verify(ctx, filepath.Join(c.Data, StoreDir), report)
	}
	s, err := CQLConfig(c)
	if err != nil {
		return sum, err
	}
	e, err := scylla.Open(ctx, s)
	if err != nil {
		return sum, err
	}
	defer e.Close()
	st := storage.New(e, storage.Config{})
	if err := alone(ctx, st); err != nil {
		return sum, err
	}
	return st.Verify(ctx, report)
}

// alone waits until no node has renewed its lease for as long as it holds.
func alone(ctx context.Context, st *storage.Store) error {
	type life struct {
		version uint64
		since   time.Duration
	}
	seen := make(map[chat.NodeID]life)
	for start := uptime(); ; {
		rows, err := st.NodeLeases(ctx)
		if err != nil {
			return err
		}
		alive, now := "", uptime()
		for _, r := range rows {
			l, ok := seen[r.ID]
			if !ok || l.version != r.Version {
				l = life{r.Version, now}
				seen[r.ID] = l
			}
			if r.State == storage.NodeAlive && now-l.since < r.Duration+r.Duration/10 {
				alive = r.Name
				if ok && l.since == now && now-start > r.Duration {
					return fmt.Errorf("node %s runs on the keyspace: stop all nodes first", alive)
				}
			}
		}
		if alive == "" {
			return nil
		}
		select {
		case <-time.After(retryStore):
		case <-ctx.Done():
			return fmt.Errorf("waiting for the lease of node %s to run out: %w", alive, ctx.Err())
		}
	}
}

// retryStore is the pause between attempts to reach the store, tellStore that between lines in the log about it.
const (
	retryStore = time.Second
	tellStore  = 10 * time.Second
)

// awaitStore opens the cluster's store, waiting for servers that cannot be reached.
func (n *Node) awaitStore(ctx context.Context) error {
	told := time.Time{}
	for {
		err := n.openCluster(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, storage.ErrSchema) || errors.Is(err, storage.ErrCorrupt) ||
			errors.Is(err, storage.ErrFencing) {
			return err
		}
		text := err.Error()
		n.waiting.Store(&text)
		if time.Since(told) >= tellStore {
			told = time.Now()
			n.log.Warn("waiting for the store", "hosts", strings.Join(n.cfg.CQLHosts, ","), "error", err)
		}
		t := time.NewTimer(retryStore)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

func (n *Node) openCluster(ctx context.Context) error {
	cfg := n.cql
	cfg.Logger, cfg.Now = n.log, n.opts.Now
	if n.cfg.CQLMigrate || n.cfg.Dev {
		if err := scylla.Migrate(ctx, cfg, false, nil); err != nil {
			return err
		}
	}
	e, err := scylla.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := n.adoptFencing(ctx, e); err != nil {
		return errors.Join(err, e.Close())
	}
	n.metrics.registry.MustRegister(clusterCollector(e.Stats))
	n.use(e, true)
	return nil
}

// use makes an engine the node's.
func (n *Node) use(e storage.Engine, shared bool) {
	timed := promised(newTimedEngine(e, n.metrics.registry))
	var cfg storage.Config
	if n.strict {
		cfg.Fences = timed
	}
	n.store = storage.New(timed, cfg)
	n.backing.Store(&backing{e, shared})
}

// repair brings the index of addresses, once, and conversations up to what they are derived from. A cluster that goes away meanwhile is waited for.
func (n *Node) repair(ctx context.Context) error {
	for {
		err := n.store.IndexUsers(ctx)
		if err == nil {
			err = n.hub.Start(ctx, func(done int) { n.repaired.Store(int64(done)) })
		}
		if err == nil || ctx.Err() != nil || !n.backing.Load().shared || errors.Is(err, storage.ErrCorrupt) {
			return err
		}
		n.log.Warn("repairing conversations: the store failed, once more", "error", err)
		select {
		case <-time.After(retryStore):
		case <-n.leaseLost():
			return errLeaseLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leaseLost is closed when another process has taken the keyspace; nil if nobody can.
func (n *Node) leaseLost() <-chan struct{} {
	if c := n.cluster.Load(); c != nil {
		return c.leases.Dead()
	}
	return nil
}

// closeStore closes the engine.
func (n *Node) closeStore() {
	b := n.backing.Swap(nil)
	if b == nil {
		return
	}
	if err := b.engine.Close(); err != nil {
		n.log.Error("closing the store", "error", err)
	}
}

// storeChecks are the readiness checks of the store.
func (n *Node) storeChecks(ctx context.Context) []rest.Check {
	st := rest.Check{Name: "storage", OK: true, Detail: "ok"}
	b := n.backing.Load()
	if b == nil {
		st.OK, st.Detail = false, "not open"
		if text := n.waiting.Load(); text != nil {
			st.Detail = *text
		}
		return []rest.Check{st}
	}
	if err := b.engine.Health(ctx); err != nil {
		st.OK, st.Detail = false, err.Error()
	}
	checks := []rest.Check{st}
	if c := n.cluster.Load(); c != nil {
		checks = append(checks, c.check())
	}
	return checks
}

func clusterCollector(take func() scylla.Stats) prometheus.Collector {
	type S = scylla.Stats
	c := &snapshot[S]{take: take}
	c.gauge("hub_cql_hosts", "Nodes of the cluster that the driver knows.", func(s *S) float64 { return float64(s.Hosts) })
	c.gauge("hub_cql_hosts_up", "Nodes of the cluster that the driver takes for alive.", func(s *S) float64 { return float64(s.HostsUp) })
	c.gauge("hub_cql_connections", "Connections to the cluster.", func(s *S) float64 { return float64(s.Connections) })
	c.gauge("hub_cql_in_flight", "Requests to the cluster without an answer yet.", func(s *S) float64 { return float64(s.InFlight) })
	c.counter("hub_cql_requests_total", "Attempts at the cluster; batches and pages count once.", func(s *S) float64 { return float64(s.Requests) })
	c.counter("hub_cql_retries_total", "Attempts beyond an operation's first.", func(s *S) float64 { return float64(s.Retries) })
	c.counter("hub_cql_timeouts_total", "Attempts that timed out, here or at the cluster.", func(s *S) float64 { return float64(s.Timeouts) })
	c.counter("hub_cql_unavailable_total", "Attempts refused because too few replicas were up.", func(s *S) float64 { return float64(s.Unavailable) })
	c.counter("hub_cql_errors_total", "Attempts that failed otherwise.", func(s *S) float64 { return float64(s.Errors) })
	c.counter("hub_cql_settled_total", "Compare-and-sets whose outcome a serial read was made for.", func(s *S) float64 { return float64(s.Settled) })
	c.gauge("hub_cql_groups", "1 while every node holds every row, so that commits of several conversations make one request.", func(s *S) float64 {
		if s.Together {
			return 1
		}
		return 0
	})
	c.counter("hub_cql_group_requests_total", "Requests that carried the commits of several conversations.", func(s *S) float64 { return float64(s.GroupRequests) })
	c.counter("hub_cql_group_batches_total", "Commits of a conversation that shared a request.", func(s *S) float64 { return float64(s.GroupBatches) })
	c.counter("hub_cql_fenced_total", "Transactions on logs, with strict fencing.", func(s *S) float64 { return float64(s.Fenced) })
	c.counter("hub_cql_fenced_off_total", "Writes to logs that a later owner's fence turned away.", func(s *S) float64 { return float64(s.Refused) })
	c.counter("hub_cql_connect_errors_total", "Failed attempts to connect to a node.", func(s *S) float64 { return float64(s.ConnectErrors) })
	return c
}
