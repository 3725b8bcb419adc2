package scylla

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
)

// Config of an Engine. Hosts is required.
type Config struct {
	Hosts      []string // host or host:port; the others are found through them
	Keyspace   string   // default "hub"
	Datacenter string   // whose nodes are asked; needed in a cluster of several
	User       string
	Password   string
	TLS        *tls.Config // nil: none
	Compress   bool        // snappy between hub and server; pays off across zones only

	// Replication of a keyspace that is created: a number of copies in Datacenter (or the only one), or CQL's map.
	// Default: as many copies as there are nodes, at most 3.
	Replication string
	// TableOptions are added to the WITH of a table that is created, by table name.
	TableOptions map[string]string
	// Tables that the engine serves; default storage.Tables().
	Tables []*storage.Table

	Timeout        time.Duration // of one attempt, above the servers' own; default 5 s
	ConnectTimeout time.Duration // default 5 s
	Retries        int           // of reads and plain writes; default 2, negative: none
	Speculate      time.Duration // a read that takes longer is sent to a second node too; default 100 ms, negative: never
	PageSize       int           // rows per page where the caller gives no hint; default 1000
	Parallel       int           // reads at once of one GetMany; default 64
	MaxBatchBytes  int           // largest batch; default 8 MiB, half of the servers' default
	Conns          int           // per node of Cassandra; Scylla has one per shard; default 2

	Logger *slog.Logger     // default: discard
	Now    func() time.Time // for the timestamps of writes; default time.Now
}

var keyspaceName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

func (c *Config) defaults() error {
	if len(c.Hosts) == 0 {
		return errors.New("storage: no CQL host is given")
	}
	if c.Keyspace == "" {
		c.Keyspace = "hub"
	}
	if !keyspaceName.MatchString(c.Keyspace) {
		return fmt.Errorf("storage: keyspace %q: 1 to 48 of a-z, 0-9 and _ are allowed, a letter first", c.Keyspace)
	}
	if c.Tables == nil {
		c.Tables = storage.Tables()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Timeout, 5 * time.Second}, {&c.ConnectTimeout, 5 * time.Second}, {&c.Speculate, 100 * time.Millisecond}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.Retries, 2}, {&c.PageSize, 1000}, {&c.Parallel, 64}, {&c.MaxBatchBytes, 8 << 20}, {&c.Conns, 2}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// cluster is the driver's configuration. keyspace may be empty, for work on the schema.
func (c *Config) cluster(keyspace string, st *stats) *gocql.ClusterConfig {
	g := gocql.NewCluster(c.Hosts...)
	g.Keyspace, g.ProtoVersion = keyspace, 4
	g.Consistency, g.SerialConsistency = gocql.LocalQuorum, gocql.LocalSerial
	fallback := gocql.RoundRobinHostPolicy()
	if c.Datacenter != "" {
		// Never another data centre: LOCAL_QUORUM there is not a quorum with what was written here.
		fallback = gocql.DCAwareRoundRobinPolicy(c.Datacenter, gocql.HostPolicyOptionDisableDCFailover)
	}
	g.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(fallback, gocql.ShuffleReplicas())
	g.Timeout, g.ReadTimeout, g.WriteTimeout = c.Timeout, c.Timeout, c.Timeout
	g.MetadataSchemaRequestTimeout = c.Timeout // operations may wait for it
	g.ConnectTimeout, g.ReconnectInterval = c.ConnectTimeout, 2*time.Second
	g.ReconnectionPolicy = &gocql.ExponentialReconnectionPolicy{MaxRetries: 10, InitialInterval: 200 * time.Millisecond, MaxInterval: 5 * time.Second}
	g.RetryPolicy = never{}
	g.DefaultIdempotence, g.DefaultTimestamp = false, false
	g.PageSize, g.MaxPreparedStmts, g.MaxRoutingKeyInfo = c.PageSize, 2000, 5000
	g.WriteCoalesceWaitTime = 0 // the conversations batch already
	g.NumConns = c.Conns
	g.DisableDriverConfigReporting = true
	if c.Compress {
		g.Compressor = gocql.SnappyCompressor{}
	}
	if c.User != "" {
		g.Authenticator = gocql.PasswordAuthenticator{Username: c.User, Password: c.Password}
	}
	if c.TLS != nil {
		g.SslOpts = &gocql.SslOptions{Config: c.TLS, EnableHostVerification: !c.TLS.InsecureSkipVerify}
	}
	g.Logger = driverLog{c.Logger}
	if st != nil {
		g.QueryObserver, g.BatchObserver, g.ConnectObserver = st, st, st
	}
	return g
}

// never is the driver's retry policy. It does not implement LWTRetryPolicy on purpose: on a server other than Scylla
// the driver takes every prepared statement for a lightweight transaction (IsLWT is always true there), and would then
// go by that interface.
type never struct{}

// Attempt implements gocql.RetryPolicy.
func (never) Attempt(gocql.RetryableQuery) bool { return false }

// GetRetryType implements gocql.RetryPolicy.
func (never) GetRetryType(error) gocql.RetryType { return gocql.Rethrow }

// driverLog hands the driver's running commentary to slog, at debug level: what matters comes back as errors.
type driverLog struct{ log *slog.Logger }

// Print, Printf and Println implement gocql.StdLogger.
func (d driverLog) Print(v ...any) { d.log.Debug("cql driver", "text", fmt.Sprint(v...)) }

func (d driverLog) Printf(format string, v ...any) {
	d.log.Debug("cql driver", "text", fmt.Sprintf(format, v...))
}

func (d driverLog) Println(v ...any) { d.log.Debug("cql driver", "text", fmt.Sprint(v...)) }
