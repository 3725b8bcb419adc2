package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// watch counts what an Observer is told.
type watch struct {
	activated, passivated, restarted, rejected, retried, duplicates atomic.Int64
}

func (w *watch) Activated()                            { w.activated.Add(1) }
func (w *watch) Passivated()                           { w.passivated.Add(1) }
func (w *watch) Restarted()                            { w.restarted.Add(1) }
func (w *watch) Rejected()                             { w.rejected.Add(1) }
func (w *watch) Committed(int, time.Duration)          {}
func (w *watch) CommitRetried()                        { w.retried.Add(1) }
func (w *watch) Answered(string, error, time.Duration) {}
func (w *watch) Published(int, time.Duration)          {}
func (w *watch) Duplicates(n int)                      { w.duplicates.Add(int64(n)) }

// Conversations leave memory all the time while they are written to: nothing is lost, and order holds.
func TestPassivationUnderLoad(t *testing.T) {
	w := &watch{}
	r := newRig(t, actors.Config{Idle: time.Millisecond, Observer: w})
	const convs, each = 5, 400
	var ids [convs]chat.ConversationID
	for i := range ids {
		ids[i] = r.direct("1", chat.UserID(fmt.Sprint(2+i)))
		r.open("1", ids[i], chat.SessionID(i+1))
	}
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			for n := range each {
				res, err := r.Do(bg, as("1"), chat.Send{Conversation: id, ClientID: fmt.Sprint(n), Content: text(n)})
				if err != nil || res.Event.MsgNo != uint64(n)+1 {
					t.Errorf("%d: %+v, %v", n, res.Event, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range ids {
		eventually(t, "deliveries", func() bool { return len(r.edge.notices(chat.SessionID(i+1))) >= each })
		for n, x := range r.edge.notices(chat.SessionID(i + 1)) {
			if x.Event.Seq != uint64(n)+2 {
				t.Fatalf("conversation %d: event %d at %d", i, x.Event.Seq, n)
			}
		}
	}
	eventually(t, "all left memory", func() bool { return r.Stats().Live == 0 })
	if w.passivated.Load() == 0 || w.activated.Load() != w.passivated.Load() {
		t.Fatalf("%d activations, %d passivations", w.activated.Load(), w.passivated.Load())
	}
	for _, id := range ids {
		if r.store.Dirty(chat.ConversationKey{Tenant: tenant, ID: id}) {
			t.Fatal("a dirty mark is left")
		}
	}
}

// A commit that happened and did not say so is written again until it says so; the sender hears of it once.
func TestUnknownOutcomeIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watch{}
		r := newRig(t, actors.Config{Observer: w})
		c := r.direct("1", "2")
		var lost atomic.Int64
		lost.Store(5)
		r.store.SetFaults(nil, func(op string, _ chat.ConversationKey) error {
			if op == "AppendEvents" && lost.Add(-1) >= 0 {
				return fmt.Errorf("%w: timeout", chat.ErrUnknown)
			}
			return nil
		})
		var answers atomic.Int64
		r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, Content: "x"}, func(res chat.Result, err error) {
			answers.Add(1)
			if err != nil || res.Event.Seq != 2 {
				t.Errorf("%+v, %v", res.Event, err)
			}
		})
		r.Submit(as("2"), chat.Origin{}, chat.Send{Conversation: c, Content: "y"}, func(res chat.Result, err error) {
			if err != nil || res.Event.Seq != 3 {
				t.Errorf("%+v, %v", res.Event, err)
			}
		})
		if answers.Load() != 0 {
			t.Fatal("answered before it was known")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if answers.Load() != 1 || w.retried.Load() != 5 {
			t.Fatalf("%d answers, %d retries", answers.Load(), w.retried.Load())
		}
		if log := r.store.Log(chat.ConversationKey{Tenant: tenant, ID: c}); len(log) != 3 {
			t.Fatalf("%d events", len(log))
		}
	})
}

// A refusal after an unknown outcome is no refusal: the first attempt may have happened.
func TestRefusalAfterUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, actors.Config{})
		c := r.direct("1", "2")
		var calls atomic.Int64
		r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "AppendEvents" && calls.Load() > 0 && calls.Add(1) < 5 {
				return chat.ErrUnavailable
			}
			return nil
		}, func(op string, _ chat.ConversationKey) error {
			if op == "AppendEvents" && calls.CompareAndSwap(0, 1) {
				return errors.New("connection reset")
			}
			return nil
		})
		if e := r.do("1", chat.Send{Conversation: c, Content: "x"}).Event; e.Seq != 2 {
			t.Fatalf("%+v", e)
		}
		if calls.Load() < 5 {
			t.Fatalf("%d calls", calls.Load())
		}
	})
}

// Close answers everything, saves and leaves no goroutine.
func TestClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	store := faultstore.New()
	store.AddUsers(tenant, "1", "2")
	h := actors.New(actors.Config{Store: store, Edge: &edge{}})
	res, err := h.Do(bg, as("1"), chat.Create{Kind: chat.Direct, Members: []chat.UserID{"2"}})
	if err != nil {
		t.Fatal(err)
	}
	c := res.View.Head.Key.ID
	const n = 500
	var ok, refused atomic.Int64
	var wg sync.WaitGroup
	wg.Add(n)
	for i := range n {
		go h.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, ClientID: fmt.Sprint(i), Content: "x"}, func(_ chat.Result, err error) {
			defer wg.Done()
			switch {
			case err == nil:
				ok.Add(1)
			case errors.Is(err, chat.ErrShutdown):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	if err := h.Close(bg); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	key := chat.ConversationKey{Tenant: tenant, ID: c}
	head, _, err := store.LoadConversation(bg, key)
	if err != nil || head.MsgNo != uint64(ok.Load()) || ok.Load()+refused.Load() != n || store.Dirty(key) {
		t.Fatalf("%d acknowledged, %d refused, head %+v, %v", ok.Load(), refused.Load(), head, err)
	}
	h.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c}, func(_ chat.Result, err error) {
		if !errors.Is(err, chat.ErrShutdown) {
			t.Error(err)
		}
	})
}

// A store that hangs does not keep Close beyond its time; whoever waits is told that the outcome is unknown.
func TestCloseGivesUp(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	store := faultstore.New()
	store.AddUsers(tenant, "1", "2")
	h := actors.New(actors.Config{Store: store, Edge: &edge{}})
	res, err := h.Do(bg, as("1"), chat.Create{Kind: chat.Direct, Members: []chat.UserID{"2"}})
	if err != nil {
		t.Fatal(err)
	}
	c := res.View.Head.Key.ID
	store.SetFaults(func(op string, _ chat.ConversationKey) error {
		if op == "AppendEvents" {
			return errors.New("timeout")
		}
		return nil
	}, nil)
	answers := make(chan error, 2)
	before := store.Calls("AppendEvents")
	for range 2 {
		h.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, Content: "x"}, func(_ chat.Result, err error) { answers <- err })
	}
	eventually(t, "the first is under way", func() bool { return store.Calls("AppendEvents") > before })
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	if err := h.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := <-answers; !errors.Is(err, chat.ErrUnknown) {
		t.Fatal(err)
	}
	if err := <-answers; !errors.Is(err, chat.ErrUnknown) && !errors.Is(err, chat.ErrShutdown) {
		t.Fatal(err)
	}
}

// bomb is a command that blows up while it is judged.
type bomb struct {
	c     chat.ConversationID
	armed *atomic.Bool
}

func (b bomb) Target() chat.ConversationID { return b.c }
func (b bomb) Name() string {
	if b.armed.Swap(false) {
		panic("bomb")
	}
	return "bomb"
}

// A panic in the core costs its conversation a reload, its callers an answer of unknown, and nobody a message.
func TestPanicInTheCore(t *testing.T) {
	w := &watch{}
	r := newRig(t, actors.Config{Observer: w})
	c := r.direct("1", "2")
	var wg sync.WaitGroup
	acked := make(chan string, 100)
	for i := range 100 {
		if i == 50 {
			wg.Add(1)
			var armed atomic.Bool
			armed.Store(true)
			r.Submit(as("1"), chat.Origin{}, bomb{c, &armed}, func(_ chat.Result, err error) {
				defer wg.Done()
				if !errors.Is(err, chat.ErrUnknown) {
					t.Errorf("bomb: %v", err)
				}
			})
		}
		wg.Add(1)
		r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, ClientID: fmt.Sprint(i), Content: "x"}, func(_ chat.Result, err error) {
			defer wg.Done()
			if err == nil {
				acked <- fmt.Sprint(i)
			} else if !errors.Is(err, chat.ErrUnknown) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(acked)
	for i := range 100 { // clients retry
		r.do("1", chat.Send{Conversation: c, ClientID: fmt.Sprint(i), Content: "x"})
	}
	once := map[string]int{}
	for _, e := range r.store.Log(chat.ConversationKey{Tenant: tenant, ID: c}) {
		once[e.ClientID]++
	}
	for i := range 100 {
		if once[fmt.Sprint(i)] != 1 {
			t.Fatalf("message %d is there %d times", i, once[fmt.Sprint(i)])
		}
	}
	if w.restarted.Load() != 1 {
		t.Fatalf("%d restarts", w.restarted.Load())
	}
}

// A reload after a panic waits for the write that was under way: its message must not be written again.
func TestPanicWhileACommitIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, actors.Config{})
		c := r.direct("1", "2")
		entered, release := make(chan struct{}, 1), make(chan struct{})
		r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "AppendEvents" {
				entered <- struct{}{}
				<-release
			}
			return nil
		}, nil)
		answers := make(chan error, 2)
		r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, ClientID: "a", Content: "x"}, func(_ chat.Result, err error) { answers <- err })
		<-entered
		var armed atomic.Bool
		armed.Store(true)
		r.Submit(as("1"), chat.Origin{}, bomb{c, &armed}, func(_ chat.Result, err error) { answers <- err })
		for range 2 {
			if err := <-answers; !errors.Is(err, chat.ErrUnknown) {
				t.Fatal(err)
			}
		}
		loads := r.store.Calls("LoadConversation")
		retried := make(chan chat.Result, 1)
		r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, ClientID: "a", Content: "x"}, func(res chat.Result, err error) {
			if err != nil {
				t.Error(err)
			}
			retried <- res
		})
		synctest.Wait() // everybody waits for the store
		if r.store.Calls("LoadConversation") != loads {
			t.Fatal("loaded while a commit was under way")
		}
		close(release)
		if res := <-retried; !res.Duplicate || res.Event.Seq != 2 {
			t.Fatalf("%+v", res)
		}
	})
}

// A conversation whose store stands still takes a bounded number of commands.
func TestReq166_OverloadIsRefused(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.direct("1", "2")
	release := make(chan struct{})
	r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
		if op == "AppendEvents" {
			<-release
		}
		return nil
	}, nil)
	const n = 5000
	var ok, over atomic.Int64
	var wg sync.WaitGroup
	wg.Add(n)
	for range n {
		r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, Content: "x"}, func(_ chat.Result, err error) {
			defer wg.Done()
			if err == nil {
				ok.Add(1)
			} else if errors.Is(err, chat.ErrOverloaded) {
				over.Add(1)
			} else {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	if ok.Load()+over.Load() != n || over.Load() == 0 || ok.Load() < 1000 {
		t.Fatalf("%d carried out, %d refused", ok.Load(), over.Load())
	}
}

// All of a large group may read a message while the store stands still: none of them is refused, nor who sends meanwhile.
// There is a bound to it all the same.
func TestReq166_ReadersDoNotCrowdOutSenders(t *testing.T) {
	r := newRig(t, actors.Config{})
	const members = 6000
	users := make([]chat.UserID, members)
	for i := range users {
		users[i] = chat.UserID(fmt.Sprintf("u%04d", i))
	}
	r.store.AddUsers(tenant, users...)
	c := r.group("1", users...)
	r.do("1", chat.Send{Conversation: c, Content: "read me"})
	stalled := make(chan struct{})
	release := sync.OnceFunc(func() { close(stalled) })
	t.Cleanup(release)
	r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
		if op == "SaveWatermarks" {
			<-stalled
		}
		return nil
	}, nil)
	var ok, over atomic.Int64
	var wg sync.WaitGroup
	submit := func(u chat.UserID) {
		wg.Add(1)
		r.Submit(as(u), chat.Origin{}, chat.MarkRead{Conversation: c}, func(_ chat.Result, err error) {
			defer wg.Done()
			if err == nil {
				ok.Add(1)
			} else if errors.Is(err, chat.ErrOverloaded) {
				over.Add(1)
			} else {
				t.Error(err)
			}
		})
	}
	for _, u := range users {
		submit(u)
	}
	r.do("1", chat.Send{Conversation: c, Content: "and this"})
	if n := over.Load(); n > 0 {
		t.Errorf("%d of %d readers were refused", n, members)
	}
	for range 5 * members { // one of them again and again
		submit(users[0])
	}
	release()
	wg.Wait()
	if over.Load() == 0 || ok.Load() < members {
		t.Errorf("%d carried out, %d refused", ok.Load(), over.Load())
	}
	if n, _, err := r.store.CountReaders(bg, chat.ConversationKey{Tenant: tenant, ID: c}, "1", 2); err != nil || n != members {
		t.Errorf("%d of %d have read it, %v", n, members, err)
	}
}

// After a crash, Start brings derived rows up to the log before the first command.
func TestRepairAtStart(t *testing.T) {
	store := faultstore.New()
	r := newRig(t, actors.Config{Store: store})
	c := r.direct("1", "2")
	m := r.do("1", chat.Send{Conversation: c, Content: "x"}).Event.Message
	store.SetFaults(func(op string, _ chat.ConversationKey) error {
		if op == "SaveDerived" {
			return chat.ErrUnavailable
		}
		return nil
	}, nil)
	r.do("1", chat.Edit{Conversation: c, Message: m, Content: "better"})
	page, err := r.Messages(bg, as("2"), chat.MessageQuery{Conversation: c, Limit: 1})
	if err != nil || page.Items[0].Event.Content != "better" {
		t.Fatalf("an edit must show before its row is saved: %+v, %v", page, err)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_ = r.Close(ctx)
	store.SetFaults(nil, nil)
	key := chat.ConversationKey{Tenant: tenant, ID: c}
	if !store.Dirty(key) || store.Log(key)[1].Content != "x" {
		t.Fatal("the crash did not leave anything to repair")
	}
	var progress atomic.Int64
	h := actors.New(actors.Config{Store: store, Edge: &edge{}})
	if err := h.Start(bg, func(int) { progress.Add(1) }); err != nil {
		t.Fatal(err)
	}
	defer h.Close(bg)
	head, _, err := store.LoadConversation(bg, key)
	if err != nil || head.Seq != 3 || head.Last.Text != "better" || store.Log(key)[1].Content != "better" || store.Dirty(key) || progress.Load() != 1 {
		t.Fatalf("%+v, %v, %d", head, err, progress.Load())
	}
}

// fickle stops owning conversations at some time.
type fickle struct{ lost atomic.Bool }

func (f *fickle) Term(int) (uint64, bool) { return 1, !f.lost.Load() }
func (f *fickle) MayAck(int, uint64) bool { return !f.lost.Load() }

// I4: a write that returned after ownership was lost is not acknowledged.
func TestNotAckedWithoutOwnership(t *testing.T) {
	owner := &fickle{}
	r := newRig(t, actors.Config{Owner: owner})
	c := r.direct("1", "2")
	r.open("2", c, 12)
	r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
		owner.lost.Store(owner.lost.Load() || op == "AppendEvents")
		return nil
	}, nil)
	r.fails("1", chat.Send{Conversation: c, ClientID: "a", Content: "x"}, chat.ErrUnknown)
	// Nor is anything else answered meanwhile, as if it were known: a successor may know better.
	r.fails("1", chat.Send{Conversation: c, ClientID: "a", Content: "x"}, chat.ErrMoved)
	r.fails("2", chat.Attach{Conversation: c}, chat.ErrMoved)
	r.store.SetFaults(nil, nil)
	owner.lost.Store(false)
	if res := r.do("1", chat.Send{Conversation: c, ClientID: "a", Content: "x"}); res.Event.Seq != 2 || !res.Duplicate {
		t.Fatalf("%+v", res)
	}
}

// I4: a conversation that was written under a newer epoch than ours is not ours to write: readers would drop the events.
func TestOlderEpochIsRefused(t *testing.T) {
	newer := newRig(t, actors.Config{Epoch: 2})
	c := newer.direct("1", "2")
	newer.do("1", chat.Send{Conversation: c, ClientID: "a", Content: "x"})
	if err := newer.Close(bg); err != nil {
		t.Fatal(err)
	}
	older := newRig(t, actors.Config{Epoch: 1, Store: newer.store})
	older.fails("1", chat.Send{Conversation: c, ClientID: "b", Content: "y"}, chat.ErrMoved)
	same := newRig(t, actors.Config{Epoch: 3, Store: newer.store})
	if res := same.do("1", chat.Send{Conversation: c, ClientID: "b", Content: "y"}); res.Event.Seq != 3 {
		t.Fatalf("%+v", res)
	}
}

// I4: that goes for positions as well, which are not in the log.
func TestPositionsAreNotAckedWithoutOwnership(t *testing.T) {
	owner := &fickle{}
	r := newRig(t, actors.Config{Owner: owner})
	c := r.direct("1", "2")
	r.do("1", chat.Send{Conversation: c, Content: "x"})
	r.open("1", c, 11)
	r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
		owner.lost.Store(owner.lost.Load() || op == "SaveWatermarks")
		return nil
	}, nil)
	r.fails("2", chat.MarkRead{Conversation: c}, chat.ErrUnknown)
	r.store.SetFaults(nil, nil)
	for _, n := range r.edge.notices(11) {
		if n.Read != nil {
			t.Errorf("%+v was told", n.Read)
		}
	}
	owner.lost.Store(false)
	if res := r.do("2", chat.MarkRead{Conversation: c}); res.Marked != 0 { // it did happen
		t.Fatalf("%+v", res)
	}
}

func TestDoGivesUpWithItsContext(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.direct("1", "2")
	release := make(chan struct{})
	r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
		if op == "AppendEvents" {
			<-release
		}
		return nil
	}, nil)
	ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
	defer cancel()
	_, err := r.Do(ctx, as("1"), chat.Send{Conversation: c, Content: "x"})
	if !errors.Is(err, chat.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	close(release)
}
