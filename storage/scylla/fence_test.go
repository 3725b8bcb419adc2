package scylla_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/datastax/go-cassandra-native-protocol/primitive"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
	"github.com/zumodra/hub/storage/storagetest"
)

// oneRow is a batch for the log.
func oneRow(rows int) storage.Batch {
	b := storage.Batch{Table: storage.TableLog, Partition: storage.Key{{Set: true, B: []byte("t")}, {Set: true, B: []byte("c")}, {Set: true}}}
	for i := range rows {
		b.Mutations = append(b.Mutations, storage.Mutation{Clustering: storage.Key{{Set: true, I: int64(i + 1)}, {Set: true, I: 4}},
			Columns: []storage.Value{{Set: true, I: 1}}, Whole: true})
	}
	return b
}

// notApplied is the answer to a transaction that found another fence.
func notApplied(fence []byte) message.Message {
	return rows([]string{"[applied]", "fence"}, []byte{0}, fence)
}

// TestFencedBatch: what goes over the wire. The condition is an equality of the fence, everything is one batch, and nothing
// carries a time of ours.
func TestFencedBatch(t *testing.T) {
	s := newStandIn(t)
	e := s.open(nil)
	for _, c := range []struct {
		name  string
		found [][]byte // fences found, in turn; then it is applied
		want  []string // conditions
		err   error
	}{
		{"ours", nil, []string{"= ?"}, nil},
		{"an earlier one's", [][]byte{number(3)}, []string{"= ?", "= ?"}, nil},
		{"none yet", [][]byte{nil}, []string{"= ?", "= null"}, nil},
		{"none, then somebody's", [][]byte{nil, number(2)}, []string{"= ?", "= null", "= ?"}, nil},
		{"a later one's", [][]byte{number(5)}, []string{"= ?"}, storage.ErrFenced},
		{"an earlier one's, then a later one's", [][]byte{number(1), number(9)}, []string{"= ?", "= ?"}, storage.ErrFenced},
	} {
		found := c.found
		s.script(func(r *request) message.Message {
			if len(found) == 0 {
				return nil
			}
			f := found[0]
			found = found[1:]
			return notApplied(f)
		})
		err := e.ApplyFenced(t.Context(), oneRow(2), 4)
		if !errors.Is(err, c.err) || errors.Is(err, storage.ErrUnknownOutcome) {
			t.Errorf("%s: %v", c.name, err)
		}
		got := s.take()
		if len(got) != len(c.want) {
			t.Fatalf("%s: %d requests, want %d", c.name, len(got), len(c.want))
		}
		for i, r := range got {
			text := strings.Join(r.statements, "; ")
			if !r.batch || len(r.statements) != 3 || strings.Count(text, " IF ") != 1 || !strings.HasSuffix(r.statements[0], `IF "fence" `+c.want[i]) ||
				strings.Contains(text, "TIMESTAMP") || r.serial == nil || *r.serial != primitive.ConsistencyLevelLocalSerial {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
	}
	if st := e.Stats(); st.Fenced != 11 || st.Refused != 2 {
		t.Errorf("%+v", st)
	}
}

// TestFencedBatchFails: a transaction is sent once, whatever comes back, and its outcome is unknown unless the servers refused it.
func TestFencedBatchFails(t *testing.T) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			s := newStandIn(t)
			e := s.open(func(c *scylla.Config) { c.Conns = 1 })
			s.script(func(*request) message.Message { return f.message })
			err := e.ApplyFenced(t.Context(), oneRow(1), 4)
			if err == nil || f.want != nil && !errors.Is(err, f.want) || f.want == nil && errors.Is(err, storage.ErrUnknownOutcome) || errors.Is(err, storage.ErrFenced) {
				t.Errorf("%v, want %v", err, f.want)
			}
			if n := len(s.take()); n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

// TestFencingChanges: what is written after a change of the fencing wins against all before it, though hubs' clocks and the
// servers' are apart.
func TestFencingChanges(t *testing.T) {
	ctx := t.Context()
	keyspace := scyllatest.Keyspace(t)
	off := func(d time.Duration) *scylla.Engine {
		cfg := scyllatest.Config(t)
		cfg.Keyspace, cfg.Now = keyspace, func() time.Time { return time.Now().Add(d) }
		e, err := scylla.Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	admin := off(0)
	key := storagetest.Key("t")
	says := func(want string) {
		t.Helper()
		e, err := storage.New(admin, storage.Config{}).GetEvent(ctx, key, 1)
		must(err)
		if e.Content != want {
			t.Errorf("%q, want %q", e.Content, want)
		}
	}
	edit := func(s *storage.Store, content string) error {
		e := storagetest.Message(key, 1, 1)
		e.Content, e.EditedAt = content, e.At
		return s.SaveDerived(ctx, key, chat.Derived{Head: chat.Head{Key: key, Seq: 1, Epoch: 1, Kind: chat.Direct}, Rewritten: []chat.Event{e}})
	}
	idle := func(context.Context) error { return nil }
	change := func(to storage.Fencing) storage.FencingState {
		must(storage.ChangeFencing(ctx, admin, to, idle))
		state, err := storage.ReadFencing(ctx, admin)
		must(err)
		return state
	}

	// Leases, by a node whose clock is ahead. It has ended, and its lease tells how far it was.
	ahead := off(3 * time.Second)
	plain := storage.New(ahead, storage.Config{})
	must(plain.AppendEvents(ctx, key, storagetest.Messages(key, 1, 1, 1)))
	must(edit(plain, "lease"))
	says("lease")
	_, _, err := storage.New(admin, storage.Config{}).CompareAndSetNodeLease(ctx, storage.NodeLease{}, storage.NodeLease{ID: 7, Name: "n", Version: 1,
		Duration: time.Second, State: storage.NodeReleased, Clock: ahead.Clock()})
	must(err)
	transactions := func(e *scylla.Engine) *storage.Store { return storage.New(e, storage.Config{Fences: e}).Under(5) }
	must(edit(transactions(admin), "too early"))
	says("lease") // why the change has to wait
	change(storage.FencingStrict)
	must(edit(transactions(admin), "strict"))
	says("strict")

	// And back, to a node whose clock is behind.
	behind := off(-time.Minute)
	plain = storage.New(behind, storage.Config{})
	must(edit(plain, "too early"))
	says("strict") // why nodes raise their clocks
	behind.RaiseClock(change(storage.FencingLease).Clock)
	must(edit(plain, "lease again"))
	says("lease again")
	must(plain.AppendEvents(ctx, key, storagetest.Messages(key, 2, 2, 6)))

	change(storage.FencingStrict)
	strict := transactions(off(-time.Minute)) // its clock does not matter
	must(edit(strict, "strict again"))
	says("strict again")
	must(strict.AppendEvents(ctx, key, storagetest.Messages(key, 3, 3, 6)))
	must(strict.DeleteConversation(ctx, key, nil))
	must(strict.AppendEvents(ctx, key, storagetest.Messages(key, 1, 1, 6)))
	got, err := strict.ReadEvents(ctx, key, 1, 10, 0)
	must(err)
	if len(got) != 1 || got[0].Content != storagetest.Message(key, 1, 6).Content {
		t.Errorf("%+v", got)
	}
}
