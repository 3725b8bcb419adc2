package scylla

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
)

// Engine is a storage.Engine over CQL. It is safe for concurrent use.
type Engine struct {
	cfg     Config
	session *gocql.Session
	tables  map[uint16]*statements
	clock   clock
	stats   stats
	groups  groups

	mu     sync.RWMutex // guards closed against begin
	closed bool
	ops    sync.WaitGroup

	health struct {
		sync.Mutex
		at  time.Time
		err error
	}
}

var (
	_ storage.Engine        = (*Engine)(nil)
	_ storage.GroupApplier  = (*Engine)(nil)
	_ storage.FencedApplier = (*Engine)(nil)
)

// Open connects to a keyspace that Migrate has prepared. It fails with storage.ErrUnreachable if no server answers and
// with storage.ErrSchema if there is no keyspace, or one of another version.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	e, err := connect(ctx, cfg, true)
	if err != nil {
		if missing := checkKeyspace(ctx, cfg); missing != nil {
			return nil, missing
		}
		return nil, err
	}
	v, err := e.schemaVersion(ctx)
	if err == nil && v != storage.SchemaVersion {
		err = schemaError(e.cfg.Keyspace, v)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.look()
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.groups.stop = stop
	e.groups.done.Go(func() { e.watch(watching) })
	return e, nil
}

// checkKeyspace reports a keyspace that is not there. The driver says of it no more than that it could not connect.
func checkKeyspace(ctx context.Context, cfg Config) error {
	sys, err := connect(ctx, cfg, false)
	if err != nil {
		return nil // the servers are the problem
	}
	defer sys.Close()
	m := &migration{sys: sys, cfg: &sys.cfg}
	if err := m.survey(ctx); err != nil || m.exists {
		return nil
	}
	return fmt.Errorf("%w: there is no keyspace %s at %v; run \"hub migrate\"", storage.ErrSchema, sys.cfg.Keyspace, cfg.Hosts)
}

// connect makes an engine without looking at the schema. Without inKeyspace the session has none.
func connect(ctx context.Context, cfg Config, inKeyspace bool) (*Engine, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, tables: make(map[uint16]*statements, len(cfg.Tables)), clock: clock{now: cfg.Now}}
	for _, t := range cfg.Tables {
		if slices.ContainsFunc(append(append(append([]storage.Column(nil), t.Partition...), t.Clustering...), t.Columns...),
			func(c storage.Column) bool { return c.Name == liveColumn || c.Name == fenceColumn }) {
			return nil, fmt.Errorf("storage: table %s: the names %q and %q are the engine's own", t.Name, liveColumn, fenceColumn)
		}
		if t.Fenced && (len(t.Clustering) == 0 || t.TTL > 0) {
			return nil, fmt.Errorf("storage: table %s: fences need clustering columns and no TTL", t.Name)
		}
		e.tables[t.ID] = newStatements(t)
	}
	keyspace := ""
	if inKeyspace {
		keyspace = cfg.Keyspace
	}
	var err error
	if e.session, err = newSession(ctx, cfg.cluster(keyspace, &e.stats)); err != nil {
		return nil, connectError(&e.cfg, err)
	}
	e.stats.session = e.session
	return e, nil
}

// newSession connects; the driver cannot be interrupted, so what it makes after ctx has ended is closed again.
func newSession(ctx context.Context, c *gocql.ClusterConfig) (*gocql.Session, error) {
	type result struct {
		s   *gocql.Session
		err error
	}
	ch := make(chan result, 1)
	go func() {
		s, err := c.CreateSession()
		ch <- result{s, err}
	}()
	select {
	case r := <-ch:
		return r.s, r.err
	case <-ctx.Done():
		go func() {
			if r := <-ch; r.err == nil {
				r.s.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func connectError(c *Config, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("storage: connect to %v: %w", c.Hosts, err)
	}
	return fmt.Errorf("%w: connect to %v: %w", storage.ErrUnreachable, c.Hosts, err)
}

// begin counts an operation in; end counts it out.
func (e *Engine) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return storage.ErrClosed
	}
	e.ops.Add(1)
	return nil
}

func (e *Engine) end() { e.ops.Done() }

// Close implements storage.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	again := e.closed
	e.closed = true
	e.mu.Unlock()
	if again {
		return storage.ErrClosed
	}
	if e.groups.stop != nil {
		e.groups.stop()
	}
	e.ops.Wait()
	e.session.Close() // the watcher may be waiting for an answer
	e.groups.done.Wait()
	return nil
}

func (e *Engine) statements(t *storage.Table) (*statements, error) {
	if s := e.tables[t.ID]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("storage: table %s is not one that the engine was opened with", t.Name)
}

// checkKey wants a whole key, or a prefix of one.
func checkKey(t *storage.Table, what string, cols []storage.Column, k storage.Key, whole bool) error {
	if len(k) > len(cols) || whole && len(k) != len(cols) {
		return fmt.Errorf("storage: %s: %s key has %d of %d values", t.Name, what, len(k), len(cols))
	}
	for i := range k {
		if !k[i].Set {
			return fmt.Errorf("storage: %s: key column %s is not set", t.Name, cols[i].Name)
		}
	}
	return nil
}

func checkRow(t *storage.Table, partition, clustering storage.Key) error {
	if err := checkKey(t, "partition", t.Partition, partition, true); err != nil {
		return err
	}
	return checkKey(t, "clustering", t.Clustering, clustering, true)
}

// healthEvery is how old an answer of Health may be: many may ask.
const healthEvery = 500 * time.Millisecond

// Health implements storage.Engine: it reads one row at a quorum.
func (e *Engine) Health(ctx context.Context) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	e.health.Lock()
	defer e.health.Unlock()
	if !e.health.at.IsZero() && time.Since(e.health.at) < healthEvery {
		return e.health.err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := e.get(ctx, e.tables[storage.TableMeta.ID], schemaKey, nil, gocql.LocalQuorum, 0)
	if errors.Is(err, storage.ErrNoRow) {
		err = nil
	}
	e.health.at, e.health.err = time.Now(), err
	return err
}

// Clock is the newest timestamp that a write may have got.
func (e *Engine) Clock() int64 { return max(e.clock.last.Load(), e.cfg.Now().UnixMicro()) }

// RaiseClock makes all further writes newer than t, a value of another engine's Clock: whoever takes over from it must
// win against what it wrote, also if this machine's clock is behind.
func (e *Engine) RaiseClock(t int64) { e.clock.raise(t) }
