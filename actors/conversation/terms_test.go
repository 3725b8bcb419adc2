package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// tenure is an Owner whose terms a test begins and ends: 0 is none.
type tenure struct{ epochs [chat.Shards]atomic.Uint64 }

func (o *tenure) Term(shard int) (uint64, bool) {
	e := o.epochs[shard].Load()
	return e, e > 0
}
func (o *tenure) MayAck(shard int, epoch uint64) bool { return o.epochs[shard].Load() == epoch }

func quiet() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

// estate is a registry, its store and what it published.
type estate struct {
	*conversation.Registry
	t     *testing.T
	owner *tenure
	store *faultstore.Store
	mu    sync.Mutex
	seqs  map[chat.ConversationKey][]uint64 // published
	heads map[chat.ConversationKey][]uint64 // announced
}

// newEstate must be called in a bubble, or close be called.
func newEstate(t *testing.T) *estate { return newEstateOn(t, faultstore.New(), nil) }

// newEstateOn is newEstate on a store that others may have too.
func newEstateOn(t *testing.T, store *faultstore.Store, under func(epoch uint64) conversation.FencedStore) *estate {
	e := &estate{t: t, owner: new(tenure), store: store, seqs: map[chat.ConversationKey][]uint64{}, heads: map[chat.ConversationKey][]uint64{}}
	e.store.Alone = true
	sys := quiet()
	e.Registry = conversation.NewRegistry(conversation.RegistryConfig{System: sys, Dispatcher: goer{}, Store: e.store, Owner: e.owner,
		Publish: e.publish, Under: under})
	t.Cleanup(func() {
		if err := e.Close(bg); err != nil {
			t.Error(err)
		}
		sys.Shutdown()
	})
	return e
}

func (e *estate) publish(d *chat.Delivery) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range d.Notices {
		switch {
		case n.Event != nil:
			e.seqs[d.Key] = append(e.seqs[d.Key], n.Event.Seq)
		case n.Head != nil:
			e.heads[d.Key] = append(e.heads[d.Key], n.Head.Seq)
		}
	}
}

func (e *estate) published(k chat.ConversationKey) []uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]uint64(nil), e.seqs[k]...)
}

// begin gives the shard of a conversation, or takes it.
func (e *estate) begin(k chat.ConversationKey, epoch uint64) { e.owner.epochs[k.Shard()].Store(epoch) }

func of(keys ...chat.ConversationKey) *chat.ShardSet {
	s := new(chat.ShardSet)
	for _, k := range keys {
		s.Add(k.Shard())
	}
	return s
}

type outcome struct {
	res chat.Result
	err error
}

func (e *estate) submit(k chat.ConversationKey, cmd chat.Command) <-chan outcome {
	ch := make(chan outcome, 1)
	e.Submit(k, &conversation.Request{Principal: chat.Principal{Tenant: tenant, User: "1"}, At: time.Now(), Command: cmd,
		Done: func(r chat.Result, err error) { ch <- outcome{r, err} }})
	return ch
}

func (e *estate) create() chat.ConversationKey {
	k := chat.ConversationKey{Tenant: tenant, ID: chat.NewConversationID()}
	if e.owner.epochs[k.Shard()].Load() == 0 {
		e.begin(k, 1)
	}
	if o := <-e.submit(k, chat.Create{Conversation: k.ID, Kind: chat.Group, Title: "t", Members: []chat.UserID{"2"}}); o.err != nil {
		e.t.Fatal(o.err)
	}
	return k
}

func (e *estate) send(k chat.ConversationKey, id string) <-chan outcome {
	return e.submit(k, chat.Send{Conversation: k.ID, ClientID: id, Content: "x"})
}

func (e *estate) fails(o <-chan outcome, want error) {
	e.t.Helper()
	got := <-o
	if !errors.Is(got.err, want) || errors.Is(got.err, chat.ErrUnknown) && errors.Is(got.err, chat.ErrMoved) {
		e.t.Fatalf("%v, want %v", got.err, want)
	}
}

func (e *estate) works(o <-chan outcome, seq uint64) {
	e.t.Helper()
	if got := <-o; got.err != nil || got.res.Event.Seq != seq {
		e.t.Fatalf("%+v, %v, want %d", got.res.Event, got.err, seq)
	}
}

func TestOnlyTheOwnerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		k := chat.ConversationKey{Tenant: tenant, ID: chat.NewConversationID()}
		e.fails(e.send(k, "a"), chat.ErrMoved)
		if err := e.Repair(bg, k); !errors.Is(err, chat.ErrMoved) {
			t.Fatal(err)
		}
		if err := e.Announce(bg, k); !errors.Is(err, chat.ErrMoved) {
			t.Fatal(err)
		}
		if e.Live() > 0 || e.store.TotalCalls() > 0 {
			t.Fatal("something was begun")
		}
	})
}

// What was accepted is finished, everything derived is saved, no mark is left, and nobody is let in again under that epoch.
func TestReleaseFinishesWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		var keys []chat.ConversationKey
		for range 50 {
			keys = append(keys, e.create())
		}
		e.store.SetFaults(func(string, chat.ConversationKey) error {
			time.Sleep(5 * time.Millisecond) // a store that is a network away
			return nil
		}, nil)
		var sent []<-chan outcome
		for _, k := range keys {
			sent = append(sent, e.send(k, "a"), e.send(k, "b"))
		}
		begun := time.Now()
		if err := e.Release(bg, of(keys...)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 300*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if e.Live() != 0 {
			t.Errorf("%d live", e.Live())
		}
		for i, o := range sent {
			e.works(o, uint64(2+i%2))
		}
		for _, k := range keys {
			if head, _, err := e.store.LoadConversation(bg, k); err != nil || head.Seq != 3 || e.store.Dirty(k) || len(e.published(k)) != 3 {
				t.Fatalf("head %d, %v, dirty %v, published %v", head.Seq, err, e.store.Dirty(k), e.published(k))
			}
		}
		k := keys[0]
		e.fails(e.send(k, "c"), chat.ErrMoved) // though the row may still name this node
		e.begin(k, 0)
		e.fails(e.send(k, "c"), chat.ErrMoved)
		e.begin(k, 3)
		e.works(e.send(k, "c"), 4)
		if log := e.store.Log(k); log[3].Epoch != 3 || log[2].Epoch != 1 {
			t.Fatalf("%+v", log)
		}
	})
}

// A release that takes too long ends as if the term were lost.
func TestReleaseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		k, other := e.create(), e.create()
		hang := make(chan struct{})
		e.store.SetFaults(func(op string, key chat.ConversationKey) error {
			if op == "AppendEvents" && key == k {
				<-hang
			}
			return nil
		}, nil)
		under, behind := e.send(k, "a"), make([]<-chan outcome, 3)
		synctest.Wait()
		for i := range behind {
			behind[i] = e.send(k, fmt.Sprint(i))
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		if err := e.Release(ctx, of(k)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		e.fails(under, chat.ErrUnknown)
		for _, o := range behind {
			e.fails(o, chat.ErrMoved)
		}
		e.works(e.send(other, "a"), 2)
		close(hang)
		synctest.Wait()
		if len(e.published(k)) != 1 { // its creation
			t.Fatalf("published %v", e.published(k))
		}
	})
}

// When a term is lost, nothing of it is told to anybody, and who comes under the next one waits for its writes.
func TestDropGivesUpAtOnce(t *testing.T) {
	for _, hanging := range []string{"AppendEvents", "SaveDerived"} {
		t.Run(hanging, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEstate(t)
				k := e.create()
				e.works(e.send(k, "before"), 2)
				hang := make(chan struct{})
				var loads, hung atomic.Int32
				e.store.SetFaults(func(op string, _ chat.ConversationKey) error {
					if op == hanging && hung.Add(1) == 1 {
						<-hang
					}
					if op == "LoadConversation" {
						loads.Add(1)
					}
					return nil
				}, nil)
				loads.Store(0)
				under := e.send(k, "under")
				if hanging == "SaveDerived" {
					e.works(under, 3)
					time.Sleep(2 * time.Second)
				}
				synctest.Wait()
				before := len(e.published(k))
				behind := e.send(k, "behind")
				if hanging == "SaveDerived" {
					e.works(behind, 4)
					before++
				}
				e.begin(k, 0)
				e.Drop(of(k))
				if hanging != "SaveDerived" {
					e.fails(under, chat.ErrUnknown)
					e.fails(behind, chat.ErrMoved)
				}
				e.begin(k, 9)
				again := e.send(k, "under")
				time.Sleep(time.Second)
				synctest.Wait()
				if hung.Load() > 0 && loads.Load() != 0 {
					t.Fatal("it was read while the last term's writes are under way")
				}
				close(hang)
				if o := <-again; o.err != nil {
					t.Fatal(o.err)
				}
				if got := len(e.published(k)); got > before+1 {
					t.Fatalf("%d were published after the drop", got-before)
				}
				seen := map[string]bool{}
				for _, ev := range e.store.Log(k) {
					if ev.ClientID != "" && seen[ev.ClientID] {
						t.Fatalf("%s is there twice", ev.ClientID)
					}
					seen[ev.ClientID] = true
				}
			})
		})
	}
}

// A term that nobody said is over is, when there is a newer one.
func TestNewerTermEndsTheOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		k := e.create()
		hang := make(chan struct{})
		var once atomic.Bool
		e.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "AppendEvents" && once.CompareAndSwap(false, true) {
				<-hang
			}
			return nil
		}, nil)
		under := e.send(k, "a")
		synctest.Wait()
		e.begin(k, 2)
		again := e.send(k, "a")
		e.fails(under, chat.ErrUnknown)
		close(hang)
		if o := <-again; o.err != nil || o.res.Event.Seq != 2 || !o.res.Duplicate { // it had happened
			t.Fatalf("%+v, %v", o.res, o.err)
		}
		e.works(e.send(k, "b"), 3)
		if log := e.store.Log(k); log[1].Epoch != 1 || log[2].Epoch != 2 {
			t.Fatalf("%+v", log)
		}
		if e.Live() != 1 {
			t.Fatalf("%d live", e.Live())
		}
	})
}

// What a barrier holds back is in the log; if the term is lost before its rows are saved nobody hears of it.
func TestDropBehindABarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		k := e.create()
		hang := make(chan struct{})
		e.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "SaveDerived" {
				<-hang
			}
			return nil
		}, nil)
		added := e.submit(k, chat.AddMembers{Conversation: k.ID, Users: []chat.UserID{"3"}})
		behind := e.send(k, "a")
		synctest.Wait()
		e.Drop(of(k))
		e.fails(added, chat.ErrUnknown)
		e.fails(behind, chat.ErrMoved)
		close(hang)
		synctest.Wait()
		if got := e.published(k); len(got) != 1 {
			t.Fatalf("published %v", got)
		}
		e.begin(k, 2)
		e.works(e.send(k, "a"), 3)
	})
}

func TestAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		k := e.create()
		e.works(e.send(k, "a"), 2)
		e.Drop(of(k)) // its derived rows are behind
		e.begin(k, 2)
		if err := e.Announce(bg, k); err != nil {
			t.Fatal(err)
		}
		if got := e.heads[k]; len(got) != 1 || got[0] != 2 {
			t.Fatalf("announced %v", got)
		}
		synctest.Wait()
		if e.Live() != 0 || e.store.Dirty(k) {
			t.Fatalf("%d live, marked %v", e.Live(), e.store.Dirty(k))
		}
		if err := e.Announce(bg, chat.ConversationKey{Tenant: tenant, ID: k.ID}); err != nil {
			t.Fatal(err)
		}
		e.works(e.send(k, "b"), 3)
		if err := e.Announce(bg, k); err != nil || e.heads[k][2] != 3 {
			t.Fatal(e.heads[k], err)
		}
		none := chat.ConversationKey{Tenant: tenant, ID: chat.NewConversationID()}
		e.begin(none, 1)
		if err := e.Announce(bg, none); err != nil || len(e.heads[none]) != 0 {
			t.Fatal(e.heads[none], err)
		}
	})
}

// Terms come and go under load: what was acknowledged is in the log, once, and deliveries are in its order.
func TestTermsUnderLoad(t *testing.T) {
	e := newEstate(t)
	var keys []chat.ConversationKey
	for range 8 {
		keys = append(keys, e.create())
	}
	e.store.SetFaults(func(string, chat.ConversationKey) error {
		if rand.N(10) == 0 {
			time.Sleep(rand.N(500 * time.Microsecond))
		}
		return nil
	}, nil)
	ctx, cancel := context.WithTimeout(bg, 2*time.Minute)
	defer cancel()
	var senders, movers sync.WaitGroup
	var done atomic.Bool
	for _, k := range keys {
		for s := range 2 {
			senders.Go(func() {
				for n := 0; n < 200; {
					o := <-e.send(k, fmt.Sprint(s, "-", n))
					switch {
					case o.err == nil:
						n++
					case ctx.Err() != nil:
						t.Errorf("%d of %d: %v", n, s, o.err)
						return
					case !errors.Is(o.err, chat.ErrMoved) && !errors.Is(o.err, chat.ErrUnknown):
						t.Errorf("%v", o.err)
						return
					default:
						time.Sleep(200 * time.Microsecond)
					}
				}
			})
		}
		movers.Go(func() {
			for epoch := uint64(10); !done.Load(); epoch++ {
				time.Sleep(rand.N(20 * time.Millisecond))
				switch rand.N(3) {
				case 0:
					if err := e.Release(ctx, of(k)); err != nil {
						t.Error(err)
					}
				case 1:
					e.begin(k, 0)
					e.Drop(of(k))
				}
				e.begin(k, epoch*100+uint64(k.Shard())) // conversations may share a shard
			}
		})
	}
	senders.Wait()
	done.Store(true)
	movers.Wait()
	for _, k := range keys {
		ids := map[string]int{}
		for _, ev := range e.store.Log(k) {
			ids[ev.ClientID]++
		}
		for s := range 2 {
			for n := range 200 {
				if got := ids[fmt.Sprint(s, "-", n)]; got != 1 {
					t.Fatalf("%d of sender %d is there %d times", n, s, got)
				}
			}
		}
		var last uint64
		for _, seq := range e.published(k) {
			if seq <= last {
				t.Fatalf("%d was published after %d", seq, last)
			}
			last = seq
		}
	}
}

// What was read of a conversation after a look that showed a version is still so while a look shows the same: it has
// another one once it came into memory, once more when it is gone from there, and under another owner.
func TestVersionOfWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		k := e.create()
		look := func() uint64 {
			t.Helper()
			s, _, known := e.Peek(k, "1", 0)
			if known != (s.Version == 0) {
				t.Fatalf("known %v, version %d", known, s.Version)
			}
			return s.Version
		}
		if look() != 0 {
			t.Fatal("it is not in memory")
		}
		time.Sleep(10 * time.Minute)
		stored := look()
		if again := look(); stored == 0 || again != stored {
			t.Fatalf("versions %d and %d of what nobody touched", stored, again)
		}
		e.store.SetFaults(func(string, chat.ConversationKey) error {
			time.Sleep(time.Second)
			return nil
		}, nil)
		sent := e.send(k, "a")
		loading := look() // who reads now sees what is stored before the message
		e.works(sent, 2)
		time.Sleep(10 * time.Minute)
		gone := look()
		e.begin(k, 2)
		if moved := look(); stored == loading || loading == gone || stored == gone || gone == moved {
			t.Errorf("versions %d, %d, %d, %d", stored, loading, gone, moved)
		}
		e.begin(k, 0)
		if s, _, known := e.Peek(k, "1", 0); known || s.Version != 0 {
			t.Errorf("version %d where it is another node's", s.Version)
		}
		e.begin(k, 2)
	})
}
