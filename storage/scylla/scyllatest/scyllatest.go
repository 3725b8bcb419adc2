package scyllatest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
	"github.com/zumodra/hub/storage/storagetest"
)

// HostsEnv names the cluster: host:port, separated by commas.
const HostsEnv = "HUB_CQL_HOSTS"

// Hosts of the cluster; without one the test is skipped.
func Hosts(t testing.TB) []string {
	t.Helper()
	hosts := os.Getenv(HostsEnv)
	if hosts == "" {
		t.Skip(HostsEnv + " is not set: use make test-integration")
	}
	return strings.Split(hosts, ",")
}

// StorageEnv chooses the storage of tests of the whole hub; "scylla" is this one.
const StorageEnv = "HUB_TEST_STORAGE"

// Chosen reports whether tests of the whole hub are to run on the cluster.
func Chosen() bool { return os.Getenv(StorageEnv) == "scylla" }

// leaseTime is short, because tests kill hubs and start others.
const leaseTime = "3s"

// Flags make `hub serve` use a keyspace.
func Flags(t testing.TB, keyspace string) []string {
	return []string{"--store", "scylla", "--cql-hosts", strings.Join(Hosts(t), ","), "--cql-keyspace", keyspace, "--cql-lease", leaseTime, "--cql-migrate"}
}

// Environ is this process's environment without the addresses of the servers that suites run against (HUB_CQL_HOSTS,
// HUB_MEILI_URL, HUB_S3_ENDPOINT and what belongs to them), which would be settings to a hub that is started with it.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "HUB_CQL_") || strings.HasPrefix(v, "HUB_MEILI_") || strings.HasPrefix(v, "HUB_S3_")
	})
}

// Copy makes another keyspace hold what one holds at this moment, about: what the hub that writes to it would find if
// it had vanished now.
func Copy(t testing.TB, from string) (to string) {
	t.Helper()
	to = Keyspace(t)
	source, target := OpenKeyspace(t, from), OpenKeyspace(t, to)
	defer source.Close()
	defer target.Close()
	// Marks before and after all else, derived state before the log: what a real end could leave, too.
	order := append([]*storage.Table{storage.TableDirty, storage.TableConversation}, storage.Tables()...)
	for _, table := range append(order, storage.TableDirty) {
		err := source.ScanTable(t.Context(), table, func(p storage.Key, r storage.Row) bool {
			if table == storage.TableMeta {
				if string(p[0].B) == "schema" {
					return true
				}
				// A lease keeps its epoch, which must not fall, and is free at once: nobody wants to wait for its end.
				r.Columns[1].B = bytes.Replace(r.Columns[1].B, []byte("{"), []byte(`{"released":true,`), 1)
			}
			if table == storage.TableNodeLeases {
				return true // a life without a lease has ended: its shards are free at once, too
			}
			if err := target.Apply(t.Context(), storage.Batch{Table: table, Partition: p, Mutations: []storage.Mutation{
				{Clustering: r.Clustering, Columns: r.Columns, Whole: true}}}); err != nil {
				t.Fatal(err)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// Tables of the keyspaces: the product's and those of the conformance suite.
func Tables() []*storage.Table { return append(storage.Tables(), storagetest.Tables()...) }

// keyspace of the pool, with an engine to wipe it by.
type keyspace struct {
	name   string
	engine *scylla.Engine
	rests  time.Time // not to be used before: see ranAhead
}

var pool struct {
	sync.Mutex
	made int
	free []*keyspace
}

// longestRest is how long a keyspace may wait for the time at which it can be wiped. Tests that turn a hub's clock leave
// one that would wait for hours, and a server has no room for many keyspaces.
const longestRest = 10 * time.Second

// take returns an empty keyspace and what gives it back.
func take(t testing.TB) (name string, give func()) {
	t.Helper()
	cfg := Config(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	pool.Lock()
	var k *keyspace
	if i := slices.IndexFunc(pool.free, func(k *keyspace) bool { return k.rests.Before(time.Now()) }); i >= 0 {
		k = pool.free[i]
		pool.free = slices.Delete(pool.free, i, i+1)
	} else {
		// By binary and directory: the packages of one go test run at the same time.
		dir, _ := os.Getwd()
		sum := sha256.Sum256([]byte(filepath.Base(os.Args[0]) + dir))
		k = &keyspace{name: fmt.Sprintf("hub_test_%s_%d", hex.EncodeToString(sum[:4]), pool.made)}
		pool.made++
	}
	pool.Unlock()
	cfg.Keyspace = k.name
	if k.engine == nil {
		err := scylla.Migrate(ctx, cfg, false, nil)
		if err == nil {
			k.engine, err = scylla.Open(ctx, cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ahead, fenced, err := ranAhead(ctx, k.engine)
	switch {
	case err == nil && (fenced || time.Until(ahead) > longestRest):
		// Deletions do not take fences away, nor what was written with a clock that was far ahead: another keyspace.
		_ = k.engine.Close()
		drop(t, k.name)
		return take(t)
	case err == nil && ahead.After(time.Now()):
		// Another one meanwhile.
		k.rests = ahead
		pool.Lock()
		pool.free = append(pool.free, k)
		pool.Unlock()
		return take(t)
	case err == nil:
		err = wipe(ctx, k.engine, cfg.Tables)
	}
	if err != nil {
		t.Fatalf("wiping %s: %v", k.name, err)
	}
	return k.name, sync.OnceFunc(func() {
		pool.Lock()
		defer pool.Unlock()
		pool.free = append(pool.free, k)
	})
}

func drop(t testing.TB, keyspace string) {
	t.Helper()
	c := gocql.NewCluster(Hosts(t)...)
	c.Timeout = time.Minute
	s, err := c.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Query("DROP KEYSPACE " + keyspace).Exec(); err != nil {
		t.Fatal(err)
	}
}

// Keyspace returns an empty one that is this test's alone until it ends.
func Keyspace(t testing.TB) string {
	t.Helper()
	name, give := take(t)
	t.Cleanup(give)
	return name
}

// Config for the cluster, without a keyspace.
func Config(t testing.TB) scylla.Config {
	return scylla.Config{Hosts: Hosts(t), Tables: Tables(), Timeout: 15 * time.Second, Logger: slog.New(slog.DiscardHandler)}
}

// Engine of Open.
type Engine struct {
	*scylla.Engine
	give func()
}

// Close closes the engine and gives its keyspace back.
func (e *Engine) Close() error {
	err := e.Engine.Close()
	e.give()
	return err
}

// Open opens an engine on an empty keyspace; it is closed with the test if not before.
func Open(t testing.TB) *Engine {
	t.Helper()
	name, give := take(t)
	e := &Engine{OpenKeyspace(t, name), give}
	t.Cleanup(give)
	return e
}

// OpenKeyspace opens another engine on a keyspace.
func OpenKeyspace(t testing.TB, keyspace string) *scylla.Engine {
	t.Helper()
	cfg := Config(t)
	cfg.Keyspace = keyspace
	e, err := scylla.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// ranAhead is the newest time that a hub wrote by: it may be ahead of this machine's clock, since who takes shards of one that
// died raises its own. fenced: strict fencing left its fences.
func ranAhead(ctx context.Context, e storage.Engine) (newest time.Time, fenced bool, err error) {
	st := storage.New(e, storage.Config{})
	leases, err := st.NodeLeases(ctx)
	if err != nil {
		return time.Time{}, false, err
	}
	owners, err := st.ShardOwners(ctx)
	if err != nil {
		return time.Time{}, false, err
	}
	state, err := storage.ReadFencing(ctx, e)
	if err != nil {
		return time.Time{}, false, err
	}
	clock := int64(0)
	for i := range leases {
		clock = max(clock, leases[i].Clock)
	}
	for i := range owners {
		clock = max(clock, owners[i].Clock)
	}
	return time.UnixMicro(clock), state.Clock > 0, nil
}

// wipe deletes all rows but the version.
func wipe(ctx context.Context, e storage.Engine, tables []*storage.Table) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, t := range tables {
		g.Go(func() error { return wipeTable(gctx, e, t) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	// A server on this machine must give the first compare-and-set of a row that was deleted a later time.
	time.Sleep(2 * time.Millisecond)
	return nil
}

func wipeTable(ctx context.Context, e storage.Engine, t *storage.Table) error {
	partitions := make(map[string]storage.Key)
	err := e.ScanTable(ctx, t, func(p storage.Key, _ storage.Row) bool {
		name, k := "", make(storage.Key, len(p))
		for i, v := range p {
			name += fmt.Sprintf("%d %q,", v.I, v.B)
			k[i] = storage.Value{Set: true, I: v.I, B: append([]byte(nil), v.B...)}
		}
		if t != storage.TableMeta || string(p[0].B) != "schema" {
			partitions[name] = k
		}
		return true
	})
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, p := range partitions {
		g.Go(func() error {
			return e.Apply(gctx, storage.Batch{Table: t, Partition: p, Mutations: []storage.Mutation{{Delete: true}}})
		})
	}
	return g.Wait()
}
