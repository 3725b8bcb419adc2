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
	"github.com/zumodra/hub/chat"
)

// TestChaos sends through a store that refuses, forgets to answer and stands still, while conversations come and
// go and the process dies now and then. Clients retry with the same client id until they are acknowledged. In the
// end each message is there once, in each sender's order, and everybody's unread count is right. Commits of several
// conversations go together as a group, all or nothing; in groups of which a part may be written, now and then by
// themselves; and always by themselves.
func TestChaos(t *testing.T) {
	for seed := range uint64(4) {
		for _, commits := range []string{"together", "apart", "alone"} {
			t.Run(fmt.Sprintf("%d/%s", seed, commits), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { chaos(t, seed, commits) })
			})
		}
	}
}

func chaos(t *testing.T, seed uint64, commits string) {
	const senders, each, groups = 4, 60, 3
	store := faultstore.New()
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(7, seed))
	roll := func(n int) bool { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) == 0 }
	store.Alone = commits == "alone"
	if store.Apart = commits == "apart"; store.Apart {
		store.Together = func() bool { return !roll(8) }
	}
	before := func(op string, _ chat.ConversationKey) error {
		switch {
		case op == "ClearDirty":
			return nil // a mark that cannot be cleared stays until the next start
		case roll(20):
			return fmt.Errorf("%w: %s", chat.ErrUnavailable, op)
		case roll(20):
			return errors.New("timeout before " + op)
		case roll(10):
			time.Sleep(300 * time.Millisecond)
		}
		return nil
	}
	after := func(op string, _ chat.ConversationKey) error {
		if roll(10) {
			return errors.New("timeout after " + op)
		}
		return nil
	}
	open := func() *actors.Hub {
		store.SetFaults(nil, nil)
		h := actors.New(actors.Config{Store: store, Edge: &edge{}, Idle: 400 * time.Millisecond})
		if err := h.Start(bg, nil); err != nil {
			t.Fatal(err)
		}
		return h
	}
	store.AddUsers(tenant, "1", "2", "3", "4")
	var hub atomic.Pointer[actors.Hub] // no mutex: who waits for one stops the bubble's clock
	hub.Store(open())
	var ids [groups]chat.ConversationID
	for i := range ids {
		res, err := hub.Load().Do(bg, as("1"), chat.Create{Kind: chat.Group, Members: []chat.UserID{"2", "3", "4"}})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = res.View.Head.Key.ID
	}
	store.SetFaults(before, after)

	var wg sync.WaitGroup
	for i := 1; i <= senders; i++ {
		u := chat.UserID(fmt.Sprint(i))
		wg.Go(func() {
			for n := range each {
				c := ids[n%groups]
				for {
					h := hub.Load()
					ctx, cancel := context.WithTimeout(bg, 5*time.Second)
					res, err := h.Do(ctx, as(u), chat.Send{Conversation: c, ClientID: fmt.Sprint(n), Content: text(n)})
					cancel()
					if err == nil {
						if res.Event.Content != text(n) || res.Event.Actor != u {
							t.Errorf("%s %d: %+v", u, n, res.Event)
						}
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
				if n%10 == 0 {
					_, _ = hub.Load().Do(bg, as(u), chat.MarkRead{Conversation: c})
				}
				time.Sleep(time.Duration(n%7) * 100 * time.Millisecond)
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	for done := false; !done; {
		select {
		case <-finished:
			done = true
		case <-time.After(7 * time.Second): // a crash: nothing is saved that was not
			ctx, cancel := context.WithCancel(bg)
			cancel()
			_ = hub.Load().Close(ctx)
			hub.Store(open())
			store.SetFaults(before, after)
		}
	}
	store.SetFaults(nil, nil)
	for at, c := range ids {
		chaosChecked(t, hub.Load(), store, c, senders, each, at, groups)
	}
	if err := hub.Load().Close(bg); err != nil {
		t.Fatal(err)
	}
	for _, c := range ids {
		if store.Dirty(chat.ConversationKey{Tenant: tenant, ID: c}) {
			t.Fatal("a dirty mark is left")
		}
	}
}

// chaosChecked looks at the conversation that got the messages at, at+step … of every sender.
func chaosChecked(t *testing.T, h *actors.Hub, store *faultstore.Store, c chat.ConversationID, senders, each, at, step int) {
	t.Helper()
	next := map[chat.UserID]int{}
	log := store.Log(chat.ConversationKey{Tenant: tenant, ID: c})
	for i, e := range log[1:] {
		if want := text(at + step*next[e.Actor]); e.Seq != uint64(i)+2 || e.MsgNo != uint64(i)+1 || e.Content != want {
			t.Fatalf("event %d: %+v, want %q", i+2, e, want)
		}
		next[e.Actor]++
	}
	if len(log) != 1+senders*each/step {
		t.Fatalf("%d events", len(log))
	}
	for i := 1; i <= senders; i++ {
		u := chat.UserID(fmt.Sprint(i))
		read := uint64(1)
		for _, r := range store.Receipts(chat.ConversationKey{Tenant: tenant, ID: c}) {
			if r.User == u {
				read = max(read, r.Seq)
			}
		}
		var want uint64
		for _, e := range log[read:] {
			if e.Actor != u {
				want++
			}
		}
		item, err := h.Conversation(bg, as(u), c)
		if err != nil || item.Unread != want {
			t.Fatalf("%s: %d unread, want %d, %v", u, item.Unread, want, err)
		}
	}
}

// Above the cap the least recently used conversations leave memory, however fresh they are.
func TestCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, actors.Config{Cap: 20, Idle: time.Hour})
		for i := range 35 {
			u := chat.UserID(fmt.Sprint("u", i))
			r.store.AddUsers(tenant, u)
			r.direct("1", u)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := r.Stats().Live; n > 20 || n < 10 {
			t.Fatalf("%d live", n)
		}
	})
}
