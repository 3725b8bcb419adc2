package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/scylla"
)

// backing is the store once it is open.
type backing struct {
	engine storage.Engine
	lease  *storage.Lease // of an engine that several processes can open, else nil
}

// nodeLease names the claim of the one hub that may write to a keyspace.
const nodeLease = "node"

// started is the beginning of sinceStart.
var started = time.Now()

func sinceStart() time.Duration { return time.Since(started) }

// errLeaseLost ends a node whose keyspace another one has taken.
var errLeaseLost = errors.New("another hub has taken over the keyspace; this one stops (see --cql-lease)")

// owner lets conversations acknowledge only while the lease holds.
type owner struct{ lease *storage.Lease }

// Term implements conversation.Owner.
func (o owner) Term(int) (uint64, bool) { return o.lease.Epoch(), o.lease.Valid() }

// MayAck implements conversation.Owner.
func (o owner) MayAck(_ int, epoch uint64) bool { return epoch == o.lease.Epoch() && o.lease.Valid() }

// ownership is what conversations are told: the embedded engine holds its directory by a lock and is nobody else's.
func (n *Node) ownership() (conversation.Owner, uint64) {
	if b := n.backing.Load(); b.lease != nil {
		return owner{b.lease}, b.lease.Epoch()
	}
	return nil, 0
}

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
	return scylla.Migrate(ctx, s, dryRun, log)
}

// StoreName names the store of the settings in messages.
func StoreName(c *config.Config) string {
	if c.Store == config.StoreScylla {
		return "keyspace " + c.CQLKeyspace
	}
	return c.Data
}

// Verify walks the store of the settings, which no node may have open; see storage.Store.Verify. On a cluster it takes
// the lease on the keyspace meanwhile, so that none can.
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
	lease, err := storage.AcquireLease(ctx, e, leaseConfig(c, e, slog.Default()))
	if err != nil {
		return sum, err
	}
	defer func() {
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.CQLTimeout)
		defer cancel()
		err = errors.Join(err, lease.Release(release))
	}()
	return storage.New(e, storage.Config{}).Verify(ctx, report)
}

func leaseConfig(c *config.Config, e *scylla.Engine, log *slog.Logger) storage.LeaseConfig {
	name, _ := os.Hostname()
	return storage.LeaseConfig{Name: nodeLease, Holder: fmt.Sprintf("%s/%d/%s", name, os.Getpid(), rand.Text()), Duration: c.CQLLease,
		Now: uptime, Clock: e.Clock, Raise: e.RaiseClock, Logger: log}
}

// retryStore is the pause between attempts to reach the store, tellStore that between lines in the log about it.
const (
	retryStore = time.Second
	tellStore  = 10 * time.Second
)

// awaitStore opens the cluster's store, waiting for servers that cannot be reached, and takes the lease on its keyspace.
func (n *Node) awaitStore(ctx context.Context) error {
	told := time.Time{}
	for {
		err := n.openCluster(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, storage.ErrSchema) || errors.Is(err, storage.ErrCorrupt) {
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
	text := "waiting for the lease that another hub holds on keyspace " + cfg.Keyspace
	n.waiting.Store(&text)
	lease, err := storage.AcquireLease(ctx, e, leaseConfig(&n.cfg, e, n.log))
	if err != nil {
		return errors.Join(err, e.Close())
	}
	n.log.Info("the keyspace is ours", "keyspace", cfg.Keyspace, "epoch", lease.Epoch())
	n.metrics.registry.MustRegister(clusterCollector(e.Stats, lease.Valid))
	n.use(e, lease)
	return nil
}

// use makes an engine the node's.
func (n *Node) use(e storage.Engine, lease *storage.Lease) {
	n.store = storage.New(newTimedEngine(e, n.metrics.registry), storage.Config{})
	n.backing.Store(&backing{e, lease})
}

// repair brings the index of addresses, once, and conversations up to what they are derived from. A cluster that goes away meanwhile is waited for.
func (n *Node) repair(ctx context.Context) error {
	for {
		err := n.store.IndexEmails(ctx)
		if err == nil {
			err = n.hub.Start(ctx, func(done int) { n.repaired.Store(int64(done)) })
		}
		if err == nil || ctx.Err() != nil || n.backing.Load().lease == nil || errors.Is(err, storage.ErrCorrupt) {
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
	if b := n.backing.Load(); b.lease != nil {
		return b.lease.Lost()
	}
	return nil
}

// closeStore gives the lease back and closes the engine.
func (n *Node) closeStore() {
	b := n.backing.Swap(nil)
	if b == nil {
		return
	}
	if b.lease != nil {
		ctx, cancel := context.WithTimeout(context.Background(), n.cfg.CQLTimeout)
		if err := b.lease.Release(ctx); err != nil {
			n.log.Warn("the next hub has to wait for our lease to run out", "error", err)
		}
		cancel()
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
	if b.lease == nil {
		return []rest.Check{st}
	}
	le := rest.Check{Name: "storage-lease", OK: b.lease.Valid(), Detail: fmt.Sprintf("epoch %d", b.lease.Epoch())}
	if !le.OK {
		le.Detail = "could not be renewed: nothing is acknowledged"
	}
	return []rest.Check{st, le}
}

func clusterCollector(take func() scylla.Stats, valid func() bool) prometheus.Collector {
	type S = scylla.Stats
	c := &snapshot[S]{take: take}
	c.gauge("hub_cql_hosts", "Nodes of the cluster that the driver knows.", func(s *S) float64 { return float64(s.Hosts) })
	c.gauge("hub_cql_hosts_up", "Nodes of the cluster that the driver takes for alive.", func(s *S) float64 { return float64(s.HostsUp) })
	c.gauge("hub_cql_connections", "Connections to the cluster.", func(s *S) float64 { return float64(s.Connections) })
	c.gauge("hub_cql_in_flight", "Requests to the cluster without an answer yet.", func(s *S) float64 { return float64(s.InFlight) })
	c.gauge("hub_cql_lease_valid", "1 while this hub may acknowledge messages.", func(*S) float64 {
		if valid() {
			return 1
		}
		return 0
	})
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
	c.counter("hub_cql_connect_errors_total", "Failed attempts to connect to a node.", func(s *S) float64 { return float64(s.ConnectErrors) })
	return c
}
