package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/internal/cassandra"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
)

// benchKeyspace is made anew for each run and dropped after it, and so is that of the hub with strict fencing.
const (
	benchKeyspace  = "hub_bench"
	strictKeyspace = "hub_bench_strict"
)

// measureCQL keeps one message in flight in each of so many conversations of a hub whose store is a CQL server, and has as
// many writers insert as many bytes by the bare driver, and a second hub with strict fencing do the same, turn by turn on the
// same server.
func measureCQL(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if b.hub == "joined" {
		b.hub = "" // those layers know the embedded store only
	}
	if o.seconds == 0 {
		o.seconds = 5
	}
	if o.conns == 0 {
		o.conns = 64
	}
	r := &report{Title: "durable sends on a CQL server, one in flight per conversation", Unit: "per second"}
	_, keys, values, err := storedSize(filepath.Join(b.dir, "size"))
	if err != nil {
		return nil, err
	}
	hosts := os.Getenv(cassandra.HostsEnv)
	server := "the cluster in " + cassandra.HostsEnv
	if hosts == "" {
		c, err := cassandra.Start(context.Background(), cassandra.Config{Dir: filepath.Join(b.dir, "cassandra"), Heap: "1g", Log: os.Stderr})
		if err != nil {
			return nil, err
		}
		b.atEnd(c.Close)
		hosts, server = c.Hosts(), "one node of Apache Cassandra "+cassandra.Version+" beside it, commitlog_sync: batch"
	}
	if err := b.prepareKeyspace(hosts); err != nil {
		return nil, err
	}
	start := func(role string) (*child, error) {
		c, err := startChild(role, anyCPU, hosts)
		if err == nil {
			b.atEnd(c.close)
		}
		return c, err
	}
	bare, err := start("cql")
	if err != nil {
		return nil, err
	}
	alone, err := start("cql-store")
	if err != nil {
		return nil, err
	}
	h, err := b.startHub(anyCPU, "--store", "scylla", "--cql-hosts", hosts, "--cql-keyspace", benchKeyspace, "--search", "off")
	if err != nil {
		return nil, err
	}
	loaded, err := b.directConversations(h, o.conns, 0)
	if err != nil {
		return nil, err
	}
	if h, err = b.startHub(anyCPU, "--store", "scylla", "--cql-hosts", hosts, "--cql-keyspace", strictKeyspace, "--search", "off",
		"--cql-migrate", "--fencing", "strict"); err != nil {
		return nil, err
	}
	strict, err := b.directConversations(h, o.conns, 0)
	if err != nil {
		return nil, err
	}
	for round := -1; round < o.runs; round++ {
		for _, n := range b.flights() {
			if n > o.conns {
				continue
			}
			inserted, err := bare.call(command{Op: "insert", N: n, Seconds: o.seconds, Bytes: keys + values})
			if err != nil {
				return nil, err
			}
			stored, err := alone.call(command{Op: "append", N: n, Seconds: o.seconds})
			if err != nil {
				return nil, err
			}
			got, err := loaded.sends(n, o.seconds)
			if err != nil {
				return nil, err
			}
			fenced, err := strict.sends(n, o.seconds)
			if err != nil {
				return nil, err
			}
			if round < 0 {
				continue
			}
			prefix := fmt.Sprintf("%d in flight: ", n)
			add := func(what, unit, base string, v float64) *row {
				x := r.row(prefix+what, base)
				x.Unit = unit
				x.add(v)
				return x
			}
			add("bare gocql", "", "", float64(inserted.N)/o.seconds)
			add("storage alone", "", prefix+"bare gocql", float64(stored.N)/o.seconds)
			x := add("hub", "", prefix+"bare gocql", float64(got.N)/o.seconds)
			x.Target, x.AtLeast = 0.6, true
			sum := summarise(inserted.Millis)
			add("bare gocql, p50", "ms", "", sum.P50)
			add("bare gocql, p99", "ms", "", sum.P99)
			sum = summarise(got.Millis)
			add("hub, ack p50", "ms", prefix+"bare gocql, p50", sum.P50)
			add("hub, ack p99", "ms", prefix+"bare gocql, p99", sum.P99)
			add("hub, CPU", "µs/send", "", got.CPU/float64(max(1, got.N))*1e6)
			add("hub, strict", "", prefix+"hub", float64(fenced.N)/o.seconds)
			sum = summarise(fenced.Millis)
			add("hub, strict, ack p50", "ms", prefix+"hub, ack p50", sum.P50)
			add("hub, strict, ack p99", "ms", prefix+"hub, ack p99", sum.P99)
			add("hub, strict, CPU", "µs/send", prefix+"hub, CPU", fenced.CPU/float64(max(1, fenced.N))*1e6)
		}
	}
	r.note("server: %s", server)
	r.note("strict: a second hub on a keyspace of its own, with --fencing strict; the ratio is to the hub with leases")
	r.note("a bare insert is one prepared INSERT of %d bytes at LOCAL_QUORUM into a partition of the writer's, by the same driver with the same settings", keys+values)
	return r, nil
}

// prepareKeyspace makes the hub's keyspace with a table for the bare inserts in it.
func (b *bench) prepareKeyspace(hosts string) error {
	c := gocql.NewCluster(strings.Split(hosts, ",")...)
	c.Timeout = time.Minute
	s, err := c.CreateSession()
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", hosts, err)
	}
	drop := func() error {
		return errors.Join(s.Query("DROP KEYSPACE IF EXISTS "+benchKeyspace).Exec(), s.Query("DROP KEYSPACE IF EXISTS "+strictKeyspace).Exec())
	}
	b.atEnd(func() { _ = drop(); s.Close() })
	if err := drop(); err != nil {
		return fmt.Errorf("dropping the keyspace of an earlier run: %w", err)
	}
	if err := scylla.Migrate(context.Background(), scylla.Config{Hosts: strings.Split(hosts, ","), Keyspace: benchKeyspace}, false, nil); err != nil {
		return err
	}
	return s.Query("CREATE TABLE " + benchKeyspace + ".bare (w bigint, r bigint, n bigint, v blob, PRIMARY KEY ((w, r), n))").Exec()
}

// runCQL is the server's own limit: goroutines that insert by the driver, each its next when the last one is answered.
func runCQL(args []string) error {
	if len(args) != 1 {
		return errors.New("cql wants hosts")
	}
	c := gocql.NewCluster(strings.Split(args[0], ",")...)
	// The settings of storage/scylla, so that the difference is the hub and not the tuning.
	c.Keyspace, c.ProtoVersion, c.Consistency, c.Timeout = benchKeyspace, 4, gocql.LocalQuorum, 5*time.Second
	c.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy(), gocql.ShuffleReplicas())
	c.WriteCoalesceWaitTime = 0
	s, err := c.CreateSession()
	if err != nil {
		return err
	}
	defer s.Close()
	run := int64(0)
	return serveCommands(func(cmd command) reply {
		run++
		before := ownCPU()
		r := insertLoop(s, run, cmd)
		r.CPU = ownCPU() - before
		return r
	})
}

func insertLoop(s *gocql.Session, run int64, cmd command) reply {
	var mu sync.Mutex
	var r reply
	stop := time.Now().Add(time.Duration(cmd.Seconds * float64(time.Second)))
	var group sync.WaitGroup
	for w := range int64(cmd.N) {
		group.Go(func() {
			value := make([]byte, max(1, cmd.Bytes-24))
			random := rand.New(rand.NewPCG(uint64(run), uint64(w)))
			for i := range value { // text, as messages are: compressible
				value[i] = " etaoinshrdlucmf"[random.IntN(16)]
			}
			var ms []float64
			for n := int64(1); time.Now().Before(stop); n++ {
				at := time.Now()
				if err := s.Query("INSERT INTO bare (w, r, n, v) VALUES (?, ?, ?, ?)", w, run, n, value).Exec(); err != nil {
					mu.Lock()
					r.Err = err.Error()
					mu.Unlock()
					return
				}
				if now := time.Now(); now.Before(stop) {
					ms = append(ms, now.Sub(at).Seconds()*1e3)
				}
			}
			mu.Lock()
			r.Millis = append(r.Millis, ms...)
			mu.Unlock()
		})
	}
	group.Wait()
	r.N, r.Seconds = int64(len(r.Millis)), cmd.Seconds
	return r
}

// runCQLStore is the hub's store without the hub.
func runCQLStore(args []string) error {
	if len(args) != 1 {
		return errors.New("cql-store wants hosts")
	}
	e, err := scylla.Open(context.Background(), scylla.Config{Hosts: strings.Split(args[0], ","), Keyspace: benchKeyspace})
	if err != nil {
		return err
	}
	defer e.Close()
	s := storage.New(e, storage.Config{})
	return serveCommands(func(cmd command) reply {
		before := ownCPU()
		r := appendLoop(s, cmd)
		r.CPU = ownCPU() - before
		return r
	})
}
