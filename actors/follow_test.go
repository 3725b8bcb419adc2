package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/chat"
)

// reader is a consumer that keeps what it is told.
type reader struct {
	t    testing.TB
	mu   sync.Mutex
	logs map[chat.ConversationKey][]chat.Event
	down bool
	gone int
}

func newReader(t testing.TB) *reader {
	return &reader{t: t, logs: map[chat.ConversationKey][]chat.Event{}}
}

var errDown = errors.New("down")

func (r *reader) fails(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

func (r *reader) log(k chat.ConversationKey) []chat.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logs[k]
}

func (r *reader) deletions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

func (r *reader) Name() string { return "reader" }

func (r *reader) Generation(context.Context) (string, error) { return "1", nil }

func (r *reader) Cursors(_ context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]uint64, len(keys))
	for i, k := range keys {
		out[i] = uint64(len(r.logs[k]))
	}
	return out, nil
}

func (r *reader) Apply(_ context.Context, changes []chat.IndexChange) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errDown
	}
	for _, c := range changes {
		if c.Gone {
			r.gone++
			delete(r.logs, c.Key)
			continue
		}
		if c.Events[0].Seq != uint64(len(r.logs[c.Key]))+1 {
			r.t.Errorf("%s: event %d behind %d", c.Key, c.Events[0].Seq, len(r.logs[c.Key]))
		}
		r.logs[c.Key] = append(r.logs[c.Key], c.Events...)
	}
	return nil
}

func keyOf(c chat.ConversationID) chat.ConversationKey {
	return chat.ConversationKey{Tenant: tenant, ID: c}
}

func TestMarkGoesWhenConsumersHaveEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newReader(t)
		r := newRig(t, actors.Config{Consumers: []projection.Consumer{x}, Idle: 10 * time.Second})
		c := r.group("1", "2", "3")
		for i := range 5 {
			r.do("1", chat.Send{Conversation: c, Content: text(i)})
		}
		time.Sleep(5 * time.Second)
		if got := x.log(keyOf(c)); len(got) != 6 || got[5].Content != text(4) {
			t.Fatalf("%+v", got)
		}
		if !r.store.Dirty(keyOf(c)) {
			t.Fatal("the mark went while the conversation is in memory")
		}
		time.Sleep(20 * time.Second)
		if r.store.Dirty(keyOf(c)) || r.Stats().Live != 0 {
			t.Fatalf("dirty %v, %d live", r.store.Dirty(keyOf(c)), r.Stats().Live)
		}
	})
}

// A conversation does not wait in memory for a consumer that is down. Its mark stays, and goes when the consumer is back.
func TestPassivationDoesNotWaitForConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newReader(t)
		x.fails(true)
		r := newRig(t, actors.Config{Consumers: []projection.Consumer{x}, Idle: 10 * time.Second})
		var ids []chat.ConversationID
		for range 20 {
			ids = append(ids, r.group("1", "2"))
		}
		time.Sleep(time.Minute)
		if r.Stats().Live != 0 || r.store.Marks() != 20 {
			t.Fatalf("%d live, %d marks", r.Stats().Live, r.store.Marks())
		}
		r.do("1", chat.Send{Conversation: ids[3], Content: "more"}) // marked before this activation
		time.Sleep(time.Minute)
		x.fails(false)
		time.Sleep(time.Minute)
		if r.Stats().Live != 0 || r.store.Marks() != 0 {
			t.Fatalf("%d live, %d marks", r.Stats().Live, r.store.Marks())
		}
		for i, c := range ids {
			if got := len(x.log(keyOf(c))); got != 1 && (i != 3 || got != 2) {
				t.Errorf("conversation %d: %d events", i, got)
			}
		}
	})
}

// Consumers hear of a deletion, also when the process ends before they do.
func TestDeletionReachesConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := newReader(t), faultstore.New()
		r := newRig(t, actors.Config{Store: store, Consumers: []projection.Consumer{x}})
		a, b := r.group("1", "2"), r.group("1", "2")
		leave := func(c chat.ConversationID) {
			r.do("2", chat.Leave{Conversation: c})
			r.do("1", chat.Leave{Conversation: c})
		}
		time.Sleep(time.Second)
		leave(a)
		time.Sleep(10 * time.Second)
		if x.deletions() != 1 || x.log(keyOf(a)) != nil || !store.Empty(keyOf(a)) || store.Dirty(keyOf(a)) {
			t.Fatalf("gone %d, left %v, mark %v", x.deletions(), x.log(keyOf(a)), store.Dirty(keyOf(a)))
		}
		x.fails(true)
		leave(b)
		time.Sleep(10 * time.Second)
		if !store.Empty(keyOf(b)) || !store.Dirty(keyOf(b)) || x.log(keyOf(b)) == nil {
			t.Fatal("the mark went before the consumer knew")
		}
		if err := r.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		x.fails(false)
		r = newRig(t, actors.Config{Store: store, Consumers: []projection.Consumer{x}})
		time.Sleep(10 * time.Second)
		if x.deletions() != 2 || x.log(keyOf(b)) != nil || store.Marks() != 0 {
			t.Fatalf("gone %d, left %v, %d marks", x.deletions(), x.log(keyOf(b)), store.Marks())
		}
	})
}

// Rows that the store does not show yet are read as they are.
func TestConsumersSeeThePresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newReader(t)
		r := newRig(t, actors.Config{Consumers: []projection.Consumer{x}})
		synctest.Wait() // all marks were looked at: one of a conversation that is being created puts it off for a second
		c := r.direct("1", "2")
		m := r.do("1", chat.Send{Conversation: c, Content: "first"}).Event.Message
		d := r.do("1", chat.Send{Conversation: c, Content: "secret"}).Event.Message
		r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "SaveDerived" {
				return errDown
			}
			return nil
		}, nil)
		r.do("1", chat.Edit{Conversation: c, Message: m, Content: "edited"})
		r.do("1", chat.Delete{Conversation: c, Message: d})
		time.Sleep(300 * time.Millisecond)
		log := x.log(keyOf(c))
		if len(log) != 5 || log[1].Content != "edited" || log[2].Content != "" || log[2].DeletedAt.IsZero() {
			t.Errorf("%+v", log)
		}
		r.store.SetFaults(nil, nil)
	})
}

// TestFollowModel plays commands, faults of storage, a consumer that comes and goes, and kills of the hub. In the end
// the consumer has exactly the logs and no mark is left.
func TestFollowModel(t *testing.T) {
	for seed := range 25 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { followModel(t, rand.New(rand.NewPCG(uint64(seed), 3))) })
		})
	}
}

func followModel(t *testing.T, rng *rand.Rand) {
	x, store := newReader(t), faultstore.New()
	var mu sync.Mutex
	faults, dice := 0, rand.New(rand.NewPCG(rng.Uint64(), 1))
	fault := func(string, chat.ConversationKey) error {
		mu.Lock()
		defer mu.Unlock()
		if faults > 0 && dice.IntN(3) == 0 {
			faults--
			return fmt.Errorf("%w: fault", chat.ErrUnknown)
		}
		return nil
	}
	start := func() *actors.Hub {
		store.SetFaults(nil, nil)
		h := actors.New(actors.Config{Store: store, Edge: &edge{}, Consumers: []projection.Consumer{x},
			Idle: time.Duration(1+rng.IntN(20)) * 100 * time.Millisecond})
		if err := h.Start(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		return h
	}
	store.AddUsers(tenant, "1", "2", "3")
	h := start()
	defer func() { _ = h.Close(context.Background()) }()
	var ids []chat.ConversationID
	do := func(u chat.UserID, c chat.Command) (chat.Result, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		return h.Do(ctx, as(u), c)
	}
	for i := range 120 {
		if len(ids) == 0 || rng.IntN(10) == 0 {
			c := chat.Create{Kind: chat.Group, Conversation: chat.NewConversationID(), Title: "t", Members: []chat.UserID{"2"}}
			ids = append(ids, c.Conversation)
			_, _ = do("1", c)
		}
		c := ids[rng.IntN(len(ids))]
		switch rng.IntN(12) {
		case 0, 1, 2, 3, 4:
			_, _ = do("1", chat.Send{Conversation: c, Content: text(i)})
		case 5:
			_, _ = do("2", chat.Leave{Conversation: c})
			_, _ = do("1", chat.Leave{Conversation: c})
		case 6:
			x.fails(rng.IntN(2) == 0)
		case 7:
			mu.Lock()
			faults = rng.IntN(10)
			mu.Unlock()
			store.SetFaults(fault, fault)
		case 8, 9, 10:
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
		case 11:
			ctx, cancel := context.WithCancel(context.Background())
			if rng.IntN(2) == 0 {
				cancel() // killed
			}
			_ = h.Close(ctx)
			cancel()
			h = start()
		}
	}
	store.SetFaults(nil, nil)
	x.fails(false)
	for i := 0; store.Marks() > 0 || h.Stats().Live > 0; i++ {
		if i == 100 {
			t.Fatalf("%d marks, %d live, %+v", store.Marks(), h.Stats().Live, h.Projections())
		}
		time.Sleep(time.Second)
	}
	_ = h.Close(context.Background())
	for _, c := range ids {
		want, got := store.Log(keyOf(c)), x.log(keyOf(c))
		if len(want) != len(got) {
			t.Errorf("%s has %d events, the consumer %d", c, len(want), len(got))
			continue
		}
		for i := range want {
			if want[i].Seq != got[i].Seq || want[i].Type != got[i].Type || want[i].Content != got[i].Content {
				t.Errorf("%s, event %d: %+v, the consumer has %+v", c, i+1, want[i], got[i])
			}
		}
	}
}

// What was committed while the core lost its state reaches consumers although nobody asks for the conversation again.
func TestLostConversationReachesConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newReader(t)
		r := newRig(t, actors.Config{Consumers: []projection.Consumer{x}, Idle: 10 * time.Second})
		c := r.direct("1", "2")
		time.Sleep(30 * time.Second) // at rest
		if r.Stats().Live != 0 || r.store.Marks() != 0 {
			t.Fatalf("%d live, %d marks", r.Stats().Live, r.store.Marks())
		}
		hold := make(chan struct{})
		r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "AppendEvents" {
				<-hold
			}
			return nil
		}, nil)
		var armed atomic.Bool
		armed.Store(true)
		r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, Content: "x"}, func(chat.Result, error) {})
		synctest.Wait()
		r.Submit(as("1"), chat.Origin{}, bomb{c, &armed}, func(chat.Result, error) {})
		synctest.Wait()
		close(hold)
		time.Sleep(time.Minute)
		if got := x.log(keyOf(c)); len(got) != 2 || got[1].Content != "x" {
			t.Errorf("the consumer has %+v", got)
		}
		if r.Stats().Live != 0 || r.store.Marks() != 0 {
			t.Errorf("%d live, %d marks, %+v", r.Stats().Live, r.store.Marks(), r.Projections())
		}
	})
}
