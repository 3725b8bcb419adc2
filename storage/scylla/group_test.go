package scylla_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/datastax/go-cassandra-native-protocol/datatype"
	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/datastax/go-cassandra-native-protocol/primitive"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
)

// replication is a keyspace's with so many copies in dc1.
func replication(copies string) message.Message {
	text := func(b []byte, s string) []byte { return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...) }
	m := binary.BigEndian.AppendUint32(nil, 2)
	m = text(text(m, "class"), "org.apache.cassandra.locator.NetworkTopologyStrategy")
	m = text(text(m, "dc1"), copies)
	return &message.RowsResult{Metadata: &message.RowsMetadata{ColumnCount: 2, Columns: []*message.ColumnMetadata{
		column("keyspaces", "durable_writes", datatype.Boolean),
		column("keyspaces", "replication", datatype.NewMap(datatype.Varchar, datatype.Varchar))}},
		Data: message.RowSet{{{1}, m}}}
}

// group of n partitions with a row of so many bytes each.
func group(n, size int) []storage.Batch {
	out := make([]storage.Batch, n)
	for i := range out {
		out[i] = storage.Batch{Table: storage.TableUsers, Partition: storage.Key{{Set: true, B: []byte("t")}, {Set: true, B: fmt.Append(nil, i)}},
			Mutations: []storage.Mutation{{Columns: []storage.Value{{Set: true, B: bytes.Repeat([]byte("x"), size)}}, Whole: true}}}
	}
	return out
}

// together opens an engine on a stand-in whose only node holds every row.
func together(t *testing.T) (*standIn, *scylla.Engine) {
	s := newStandIn(t)
	s.copies = "1"
	e := s.open(func(c *scylla.Config) { c.Conns = 1 })
	if !e.Groups() || !e.Stats().Together {
		t.Fatal("one node with a copy of all: no groups")
	}
	return s, e
}

// TestGroupsAreBounded: no request for several partitions is one that a stock server warns of.
func TestGroupsAreBounded(t *testing.T) {
	for _, c := range []struct {
		partitions, size int
		want             string // partitions of each request
	}{
		{1, 100, "1"}, {2, 100, "2"}, {10, 100, "10"}, {21, 100, "1 10 10"}, {10, 1000, "2 4 4"}, {6, 2400, "2 2 2"}, {3, 6000, "1 1 1"},
	} {
		s, e := together(t)
		s.script(nil)
		if err := e.ApplyGroup(t.Context(), group(c.partitions, c.size)); err != nil {
			t.Fatal(err)
		}
		if got := shape(s.take()); got != c.want {
			t.Errorf("%d partitions of %d bytes: requests for %s, want %s", c.partitions, c.size, got, c.want)
		}
	}
}

// shape is how many statements each request has, in order of size.
func shape(rs []request) string {
	n := make([]int, 100)
	for _, r := range rs {
		n[len(r.statements)]++
	}
	var out []string
	for size, k := range n {
		for range k {
			out = append(out, fmt.Sprint(size))
		}
	}
	return strings.Join(out, " ")
}

// TestGroupsGoApart where not every node holds every row.
func TestGroupsGoApart(t *testing.T) {
	for _, copies := range []string{"", "0", "1/1", "many"} {
		s := newStandIn(t)
		s.copies = copies
		e := s.open(nil)
		if e.Groups() {
			t.Errorf("replication %q: groups", copies)
		}
		s.script(nil)
		if err := e.ApplyGroup(t.Context(), group(12, 10)); err != nil {
			t.Fatal(err)
		}
		if got := shape(s.take()); got != strings.TrimSpace(strings.Repeat("1 ", 12)) {
			t.Errorf("replication %q: requests for %s", copies, got)
		}
	}
}

// TestGroupsThatFail: a request for several partitions is sent once. Nothing of it was written only if the server refused
// to look at it: one with too few replicas may have found that out after it wrote the first partition. After it, each
// goes by itself for a while, where a refusal can be told from an unknown outcome again.
func TestGroupsThatFail(t *testing.T) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			s, e := together(t)
			s.script(func(*request) message.Message { return f.message })
			err := e.ApplyGroup(t.Context(), group(3, 10))
			definite := f.name == "invalid"
			if err == nil || errors.Is(err, storage.ErrUnknownOutcome) == definite || errors.Is(err, storage.ErrUnreachable) {
				t.Errorf("%v", err)
			}
			got := s.take()
			if f.message == hangUp && len(got) == 0 || f.message != hangUp && len(got) != 1 {
				t.Errorf("sent %d times", len(got))
			}
			for _, r := range got {
				if !r.batch || r.batchType != primitive.BatchTypeUnlogged || r.consistency != primitive.ConsistencyLevelLocalQuorum {
					t.Errorf("%+v", r)
				}
			}
			if e.Groups() {
				t.Error("the next group would share the failure")
			}
			if f.message == silence || f.message == hangUp {
				return
			}
			s.script(func(*request) message.Message { return f.message })
			err = e.ApplyGroup(t.Context(), group(3, 10))
			if err == nil || f.want != nil && !errors.Is(err, f.want) || f.want == nil && errors.Is(err, storage.ErrUnknownOutcome) {
				t.Errorf("each by itself: %v, want %v", err, f.want)
			}
			s.script(nil)
			if err := e.ApplyGroup(t.Context(), group(3, 10)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPartOfAGroupFails: what is written of a group makes the outcome of all of it unknown, also if the rest was refused.
func TestPartOfAGroupFails(t *testing.T) {
	for name, answer := range map[string]message.Message{"invalid": &message.Invalid{}, "unavailable": &message.Unavailable{Required: 2}} {
		s, e := together(t)
		var mu sync.Mutex
		first := true
		s.script(func(*request) message.Message {
			mu.Lock()
			defer mu.Unlock()
			if first {
				first = false
				return nil
			}
			return answer
		})
		if err := e.ApplyGroup(t.Context(), group(3, 6000)); !errors.Is(err, storage.ErrUnknownOutcome) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGroupsFollowTheKeyspace on a real server: the engine notices that its replication was altered.
func TestGroupsFollowTheKeyspace(t *testing.T) {
	cfg, s := fresh(t)
	if err := scylla.Migrate(t.Context(), cfg, false, nil); err != nil {
		t.Fatal(err)
	}
	e, err := scylla.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	nodes := len(s.GetHosts())
	for _, none := range []bool{false, true, false} {
		copies := nodes
		if none {
			copies = 0
		}
		if err := s.Query(fmt.Sprintf("ALTER KEYSPACE %s WITH replication = {'class': 'SimpleStrategy', 'replication_factor': %d}", cfg.Keyspace, copies)).Exec(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); e.Groups() == none; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no copies of any row: %v, groups: %v", none, e.Groups())
			}
		}
	}
}
