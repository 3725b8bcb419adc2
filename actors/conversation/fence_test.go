package conversation_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// twoOwners are nodes with strict fencing on one store, of which the first takes itself for the owner of everything for
// ever: it never notices that it was succeeded.
func twoOwners(t *testing.T) (old, next *estate, k chat.ConversationKey) {
	store := faultstore.New()
	under := func(epoch uint64) conversation.FencedStore { return store.Under(epoch) }
	old, next = newEstateOn(t, store, under), newEstateOn(t, store, under)
	k = old.create()
	next.begin(k, 2)
	return old, next, k
}

// is checks the log: who wrote each event.
func (e *estate) is(k chat.ConversationKey, epochs ...uint64) {
	e.t.Helper()
	log := e.store.Log(k)
	ok := len(log) == len(epochs)
	for i := range log {
		ok = ok && log[i].Epoch == epochs[i] && log[i].Seq == uint64(i+1)
	}
	if !ok {
		e.t.Fatalf("%+v, want events of %v", log, epochs)
	}
}

// over checks that an owner has given the conversation up, and answers for it without asking the store.
func (e *estate) over(k chat.ConversationKey, published ...uint64) {
	e.t.Helper()
	synctest.Wait()
	before := e.store.TotalCalls()
	e.fails(e.send(k, "over"), chat.ErrMoved)
	if e.Live() != 0 || e.store.TotalCalls() != before {
		e.t.Errorf("%d live, %d calls", e.Live(), e.store.TotalCalls()-before)
	}
	if got := e.published(k); fmt.Sprint(got) != fmt.Sprint(published) {
		e.t.Errorf("published %v, want %v", got, published)
	}
}

// A former owner whose lease lets it go on for ever acknowledges nothing after its successor has begun.
func TestReq160_FencedOwnerAcknowledgesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next, k := twoOwners(t)
		old.works(old.send(k, "a"), 2)
		next.works(next.send(k, "b"), 3)
		old.fails(old.send(k, "c"), chat.ErrMoved)
		old.over(k, 1, 2)
		next.works(next.send(k, "d"), 4)
		next.is(k, 1, 1, 2, 2)
		// It may come back, under an epoch of its own.
		old.begin(k, 3)
		old.works(old.send(k, "e"), 5)
		next.fails(next.send(k, "f"), chat.ErrMoved)
		next.is(k, 1, 1, 2, 2, 3)
	})
}

// The same with a write that was under way, and commands that wait behind it, and other conversations of the shard.
func TestFencedWhileAWriteIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next, k := twoOwners(t)
		hang := make(chan struct{})
		var once atomic.Bool
		old.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "AppendEvents" && once.CompareAndSwap(false, true) {
				<-hang
			}
			return nil
		}, nil)
		under := old.send(k, "a")
		synctest.Wait()
		behind := []<-chan outcome{old.send(k, "b"), old.send(k, "c")}
		next.works(next.send(k, "d"), 2)
		close(hang)
		old.fails(under, chat.ErrMoved) // nothing of it happened
		for _, o := range behind {
			old.fails(o, chat.ErrMoved)
		}
		old.over(k, 1)
		next.works(next.send(k, "a"), 3)
		next.is(k, 1, 2, 2)
	})
}

// What happened before the fence stays, and who asked is told that it may have.
func TestFencedBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next, k := twoOwners(t)
		var failed atomic.Bool
		old.store.SetFaults(nil, func(op string, _ chat.ConversationKey) error {
			if op == "AppendEvents" && failed.CompareAndSwap(false, true) {
				return chat.ErrUnknown
			}
			return nil
		})
		under := old.send(k, "a") // was written, and is tried again after a pause
		synctest.Wait()
		next.works(next.send(k, "b"), 3)
		old.fails(under, chat.ErrUnknown)
		old.over(k, 1)
		if o := <-next.send(k, "a"); o.err != nil || !o.res.Duplicate || o.res.Event.Seq != 2 {
			t.Fatalf("%+v, %v", o.res.Event, o.err)
		}
		next.is(k, 1, 1, 2)
	})
}

// A former owner that is late with what it derived does not rewrite a message, or delete a log, that another has changed since.
func TestFencedWhileDeriving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next, k := twoOwners(t)
		o := <-old.send(k, "a")
		if o.err != nil {
			t.Fatal(o.err)
		}
		id := o.res.Event.Message
		time.Sleep(time.Minute) // all is derived
		hang := make(chan struct{})
		var once atomic.Bool
		old.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "SaveDerived" && once.CompareAndSwap(false, true) {
				<-hang
			}
			return nil
		}, nil)
		if o := <-old.submit(k, chat.Edit{Conversation: k.ID, Message: id, Content: "old"}); o.err != nil {
			t.Fatal(o.err)
		}
		time.Sleep(time.Minute) // it is about to write what it has
		if o := <-next.submit(k, chat.Edit{Conversation: k.ID, Message: id, Content: "new"}); o.err != nil {
			t.Fatal(o.err)
		}
		time.Sleep(time.Minute)
		close(hang)
		old.over(k, 1, 2, 3)
		if log := next.store.Log(k); log[1].Content != "new" {
			t.Fatalf("%+v", log[1])
		}
		next.is(k, 1, 1, 1, 2)
	})
}

// A log of many parts, with a batch over the end of one: the successor fences as far as the log reaches.
func TestFencedOverTheEndOfAPart(t *testing.T) {
	for n := range 20 {
		synctest.Test(t, func(t *testing.T) {
			old, next, k := twoOwners(t)
			for i := range n {
				old.works(old.send(k, fmt.Sprint(i)), uint64(i+2))
			}
			hang := make(chan struct{})
			var once atomic.Bool
			old.store.SetFaults(func(op string, _ chat.ConversationKey) error {
				if op == "AppendEvents" && once.CompareAndSwap(false, true) {
					<-hang
				}
				return nil
			}, nil)
			late := []<-chan outcome{old.send(k, "x")}
			synctest.Wait()
			for i := range 10 { // one batch behind it
				late = append(late, old.send(k, fmt.Sprintf("x%d", i)))
			}
			next.works(next.send(k, "y"), uint64(n+2))
			close(hang)
			for _, o := range late {
				old.fails(o, chat.ErrMoved)
			}
			if log := next.store.Log(k); len(log) != n+2 || log[n+1].Epoch != 2 {
				t.Fatalf("%d events, %+v", len(log), log[len(log)-1])
			}
			for i := range 10 {
				next.works(next.send(k, fmt.Sprintf("z%d", i)), uint64(n+3+i))
			}
		})
	}
}
