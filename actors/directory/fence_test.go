package directory_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/zumodra/hub/actors/directory"
	"github.com/zumodra/hub/chat"
)

func shards() *chat.ShardSet {
	s := new(chat.ShardSet)
	for i := range chat.Shards {
		s.Add(i)
	}
	return s
}

func toEdge(d *directory.Directory, m *chat.Delivery) error {
	ch := make(chan error, 1)
	d.ToEdge(1, &chat.ToEdge{Delivery: m, Shards: shards()}, func(err error) { ch <- err })
	return <-ch
}

// Whatever comes from homes at once, no session gets anything of a shard behind what was sent under a higher epoch, and
// what it did not get for that reason is said to be refused. What has no epoch is delivered, and keeps nothing back.
func TestFence(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		e := &edge{}
		d := open(t, e, directory.Config{Groups: 3})
		users := []chat.UserID{"1", "2", "3", "4", "5", "6"}
		for i, u := range users {
			d.Register(user(string(u)), chat.ConversationID{}, chat.SessionID(i+1))
		}
		sent := make([][]*chat.Delivery, 4) // by the home
		for i := range 400 {
			to := []chat.UserID{"1"}
			for _, u := range users[1:] {
				if rnd.IntN(2) == 0 {
					to = append(to, u)
				}
			}
			m := message(key(byte(1+rnd.IntN(4))), set(to...), uint64(i+1))
			m.Epoch = rnd.Uint64N(uint64(i/40 + 2))
			h := rnd.IntN(len(sent))
			sent[h] = append(sent[h], m)
		}
		var mu sync.Mutex
		refused := map[*chat.Delivery]bool{}
		var wg sync.WaitGroup
		for _, list := range sent {
			wg.Go(func() {
				for _, m := range list {
					switch err := toEdge(d, m); {
					case errors.Is(err, chat.ErrSuperseded):
						mu.Lock()
						refused[m] = true
						mu.Unlock()
					case err != nil:
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		got := map[*chat.Delivery]int{}
		for s, list := range e.got {
			highest := map[int]uint64{}
			for _, m := range list {
				got[m]++
				shard := m.Key.Shard()
				if m.Epoch != 0 && m.Epoch < highest[shard] {
					t.Fatalf("session %d: epoch %d after %d", s, m.Epoch, highest[shard])
				}
				highest[shard] = max(highest[shard], m.Epoch)
			}
		}
		for _, list := range sent {
			for _, m := range list {
				want := len(m.Recipients.Users)
				switch {
				case refused[m] && (got[m] == want || m.Epoch == 0):
					t.Fatalf("%+v was refused, and delivered to %d of %d", m, got[m], want)
				case !refused[m] && got[m] != want:
					t.Fatalf("%+v was delivered to %d of %d", m, got[m], want)
				}
			}
		}
		if len(refused) == 0 || d.Stats().Fenced < uint64(len(refused)) {
			t.Fatalf("%d refused, %+v", len(refused), d.Stats())
		}
	}
}

// Shards have nothing to do with one another, and the sessions of those who are told by a refused delivery that they are
// members no more come back.
func TestFencedRemoval(t *testing.T) {
	e := &edge{}
	d := open(t, e, directory.Config{Groups: 2})
	for i, u := range []string{"1", "2", "3"} {
		d.Register(user(u), chat.ConversationID{}, chat.SessionID(i+1))
	}
	d.Register(user("2"), key(1).ID, 21)
	other := byte(2)
	for key(other).Shard() == key(1).Shard() {
		other++
	}
	m := message(key(1), set("1"), 1)
	m.Epoch = 7
	if err := toEdge(d, m); err != nil {
		t.Fatal(err)
	}
	m = message(key(other), set("1", "2", "3"), 1)
	m.Epoch = 3
	if err := toEdge(d, m); err != nil {
		t.Fatal(err)
	}
	m = message(key(1), set("1", "2", "3"), 2)
	m.Epoch, m.Detached = 6, []chat.UserID{"2", "4"}
	for _, group := range []string{"1", "2"} { // those of 1 have seen the epoch, others perhaps not
		last := message(key(1), set(chat.UserID(group)), 3)
		last.Epoch = 7
		if err := toEdge(d, last); err != nil {
			t.Fatal(err)
		}
	}
	if err := toEdge(d, m); !errors.Is(err, chat.ErrSuperseded) {
		t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.overflow) != 2 || e.atOverflow[2] == 0 || e.atOverflow[21] == 0 {
		t.Errorf("sessions %d were ended", e.overflow)
	}
}

// The fence costs no memory per delivery: a delivery is as dear with an epoch as without.
func TestFenceDoesNotAllocate(t *testing.T) {
	d := open(t, &edge{}, directory.Config{Groups: 1})
	p := &chat.ToEdge{Delivery: message(key(1), set("1", "2"), 1), Shards: shards()}
	done := make(chan error, 1)
	one := func() {
		d.ToEdge(1, p, func(err error) { done <- err })
		<-done
	}
	without := testing.AllocsPerRun(200, one)
	p.Delivery.Epoch = 9
	if with := testing.AllocsPerRun(200, one); with > without+0.5 {
		t.Errorf("%v allocations, %v without an epoch", with, without)
	}
}
