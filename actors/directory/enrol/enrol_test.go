package enrol_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors/directory/enrol"
	"github.com/zumodra/hub/actors/directory/home"
	"github.com/zumodra/hub/chat"
)

func user(n int) chat.UserKey {
	return chat.UserKey{Tenant: "t", User: chat.UserID(fmt.Sprint("u", n))}
}

type parcel struct {
	to chat.NodeID
	p  chat.Parcel
}

// cluster is what an enrolment sees of one.
type cluster struct {
	mu      sync.Mutex
	owner   chat.NodeID // of all shards
	answer  func(to chat.NodeID, p chat.Parcel) error
	hold    bool // answers wait
	held    []func()
	sent    []parcel
	resumed []chat.UserKey
}

func (c *cluster) Owner(int) chat.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owner
}

func (c *cluster) Parcel(to chat.NodeID, p chat.Parcel, done func(error)) {
	c.mu.Lock()
	c.sent = append(c.sent, parcel{to, p})
	f := c.answer
	if c.hold {
		c.held = append(c.held, func() { done(nil) })
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	if f == nil {
		done(nil)
		return
	}
	done(f(to, p))
}

func (c *cluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *cluster) release() {
	c.mu.Lock()
	held := c.held
	c.hold, c.held = false, nil
	c.mu.Unlock()
	for _, f := range held {
		f()
	}
}

// about returns what was sent of a user's shard since the last call.
func (c *cluster) about(k chat.UserKey) (to []chat.NodeID, list []*chat.Enrol) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.sent {
		if p, ok := x.p.(*chat.Enrol); ok && p.Shard == k.Shard() {
			to, list = append(to, x.to), append(list, p)
		}
	}
	c.sent = nil
	return to, list
}

// bubble runs a test with an enrolment whose shards are registered, empty, at node 1.
func bubble(t *testing.T, f func(*cluster, *enrol.Enrolment)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		c := &cluster{owner: 1}
		e := enrol.New(enrol.Config{Cluster: c, Resume: func(k chat.UserKey) { c.set(func() { c.resumed = append(c.resumed, k) }) }})
		defer e.Close()
		time.Sleep(time.Second)
		c.about(user(0))
		f(c, e)
	})
}

// session enters a user, and tells what became of it.
func session(e *enrol.Enrolment, k chat.UserKey) (outcome chan error) {
	outcome = make(chan error, 1)
	if e.Enter(k, func(err error) { outcome <- err }) {
		outcome <- nil
	}
	return outcome
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A session opens when the home has confirmed its user, a second one at once; the user is taken off some time after the
// last has closed, and not if another opens before.
func TestComingAndGoing(t *testing.T) {
	bubble(t, func(c *cluster, e *enrol.Enrolment) {
		k := user(1)
		c.set(func() { c.hold = true })
		first := session(e, k)
		time.Sleep(100 * time.Millisecond)
		if _, p := c.about(k); len(p) != 1 || p[0].All || !slices.Equal(p[0].Came, []chat.UserKey{k}) {
			t.Fatalf("%+v", p)
		}
		if len(first) != 0 || e.Stats().Waiting != 1 {
			t.Fatal("it opened before the home knew")
		}
		c.release()
		must(t, <-first)
		if !e.Enter(k, nil) {
			t.Error("the second waits")
		}
		e.Exit(k)
		e.Exit(k)
		time.Sleep(500 * time.Millisecond)
		if !e.Enter(k, nil) {
			t.Error("one that is back waits")
		}
		time.Sleep(5 * time.Second)
		if _, p := c.about(k); len(p) != 0 {
			t.Errorf("%+v", p)
		}
		e.Exit(k)
		e.Exit(k) // once too often
		time.Sleep(2 * time.Second)
		if _, p := c.about(k); len(p) != 1 || p[0].All || !slices.Equal(p[0].Left, []chat.UserKey{k}) {
			t.Errorf("%+v", p)
		}
		if st := e.Stats(); st.Users != 0 || st.Waiting != 0 || st.Unsettled != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// When the shard has another owner everybody is enrolled there, sessions that are open stay so, and answers of the former
// home are of no interest.
func TestTheHomeMoves(t *testing.T) {
	bubble(t, func(c *cluster, e *enrol.Enrolment) {
		k, l := user(1), user(2)
		for l.Shard() != k.Shard() {
			l.User += "x"
		}
		must(t, <-session(e, k))
		c.set(func() { c.hold = true })
		waits := session(e, l)
		time.Sleep(10 * time.Millisecond)
		c.about(k)
		c.set(func() { c.owner = 2 })
		e.Moved()
		time.Sleep(10 * time.Millisecond)
		to, p := c.about(k)
		if len(p) != 1 || to[0] != 2 || !p[0].All || !p[0].Open || len(p[0].Came) != 2 {
			t.Fatalf("%v %+v", to, p)
		}
		var old func()
		c.set(func() { old, c.held = c.held[0], c.held[1:] })
		old()
		time.Sleep(10 * time.Millisecond)
		if len(waits) != 0 {
			t.Error("opened by the word of the former home")
		}
		c.release()
		must(t, <-waits)
		if st := e.Stats(); st.Unsettled != 0 || st.Resumed != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// What homes refuse, or what gets lost, is tried again, with pauses; sessions wait so long and no longer.
func TestHomesThatRefuse(t *testing.T) {
	for _, cause := range []error{chat.ErrMoved, chat.ErrUnavailable} {
		bubble(t, func(c *cluster, e *enrol.Enrolment) {
			k := user(1)
			c.set(func() { c.answer = func(chat.NodeID, chat.Parcel) error { return cause } })
			first := session(e, k)
			time.Sleep(9 * time.Second)
			_, p := c.about(k)
			if len(p) < 5 || len(p) > 30 {
				t.Errorf("%d attempts in nine seconds", len(p))
			}
			late := session(e, k)
			time.Sleep(2 * time.Second)
			if err := <-first; !errors.Is(err, chat.ErrUnavailable) {
				t.Errorf("who waited in vain is told %v", err)
			}
			c.set(func() { c.answer = nil })
			must(t, <-late)
			if st := e.Stats(); st.TimedOut != 1 || st.Failed == 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// When a home cannot tell what this node missed, sessions that opened before are ended, and those alone; then it takes
// the others.
func TestWhoMayHaveMissedSomething(t *testing.T) {
	bubble(t, func(c *cluster, e *enrol.Enrolment) {
		k := user(1)
		elsewhere := user(2)
		for elsewhere.Shard() == k.Shard() {
			elsewhere.User += "x"
		}
		must(t, <-session(e, k))
		must(t, <-session(e, elsewhere))
		c.about(k)
		c.set(func() {
			c.answer = func(_ chat.NodeID, p chat.Parcel) error {
				if x, ok := p.(*chat.Enrol); ok && x.Open && x.Shard == k.Shard() {
					return chat.ErrNotFound
				}
				return nil
			}
			c.owner = 2
		})
		e.Moved()
		time.Sleep(time.Second)
		c.set(func() {
			if !slices.Equal(c.resumed, []chat.UserKey{k}) {
				t.Errorf("%v were ended", c.resumed)
			}
		})
		if _, p := c.about(k); len(p) != 2 || !p[0].Open || p[1].Open || !p[1].All {
			t.Errorf("%+v", p)
		}
		e.Recount(2, &chat.Recount{Shards: shardsOf(elsewhere), Missed: true})
		c.set(func() {
			if !slices.Equal(c.resumed, []chat.UserKey{k, elsewhere}) {
				t.Errorf("%v were ended", c.resumed)
			}
		})
		if st := e.Stats(); st.Resumed != 2 || st.Unsettled != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func shardsOf(users ...chat.UserKey) *chat.ShardSet {
	s := new(chat.ShardSet)
	for _, u := range users {
		s.Add(u.Shard())
	}
	return s
}

// A home that asks gets everybody, though this node does not know it as the owner yet; if it does not become that, the
// shard goes back.
func TestHomesThatAsk(t *testing.T) {
	bubble(t, func(c *cluster, e *enrol.Enrolment) {
		k := user(1)
		must(t, <-session(e, k))
		c.about(k)
		e.Recount(2, &chat.Recount{Shards: shardsOf(k)})
		time.Sleep(100 * time.Millisecond)
		if to, p := c.about(k); len(p) != 1 || to[0] != 2 || !p[0].All || len(p[0].Came) != 1 {
			t.Fatalf("%v %+v", to, p)
		}
		time.Sleep(5 * time.Second)
		if to, p := c.about(k); len(p) != 1 || to[0] != 1 {
			t.Errorf("%v %+v", to, p)
		}
	})
}

// Who waits when it ends is told so.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := enrol.New(enrol.Config{Cluster: &cluster{}, Resume: func(chat.UserKey) {}})
		waits := session(e, user(1))
		time.Sleep(time.Second)
		e.Close()
		if err := <-waits; !errors.Is(err, chat.ErrShutdown) {
			t.Error(err)
		}
	})
}

// twoHomes are real ones, of which one owns all shards at a time.
type twoHomes struct {
	mu    sync.Mutex
	rnd   *rand.Rand
	lossy bool
	owner chat.NodeID
	epoch uint64
	homes [3]*home.Home // by number
	enrol *enrol.Enrolment
}

// side is the cluster as one of the nodes sees it; 0: the edge, which is called 9.
type side struct {
	*twoHomes
	id chat.NodeID
}

func (s side) Owner(int) chat.NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

func (s side) Term(int) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch, s.owner == s.id
}

func (s side) Edges() []chat.NodeID { return []chat.NodeID{9} }

func (s side) Parcel(to chat.NodeID, p chat.Parcel, done func(error)) {
	s.mu.Lock()
	lost, mute := s.lossy && s.rnd.IntN(4) == 0, s.lossy && s.rnd.IntN(4) == 0
	s.mu.Unlock()
	err := error(nil)
	if lost {
		done(chat.ErrUnavailable)
		return
	}
	switch p := p.(type) {
	case *chat.Enrol:
		err = s.homes[to].Enrol(9, p)
	case *chat.Digests:
		s.homes[to].Digests(9, p)
	case *chat.Recount:
		s.enrol.Recount(s.id, p)
	}
	if mute {
		err = chat.ErrUnavailable
	}
	done(err)
}

// Whoever comes and goes, and whatever gets lost, while homes move: in the end the home has those who are there, and
// nobody else; and a session that opened was known at its home.
func TestHomesKnowWhoIsThere(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			w := &twoHomes{rnd: rand.New(rand.NewPCG(seed, 1)), owner: 1, epoch: 1, lossy: seed%3 != 0}
			for i := chat.NodeID(1); i <= 2; i++ {
				w.homes[i] = home.New(home.Config{Cluster: side{w, i}})
				defer w.homes[i].Close()
			}
			w.enrol = enrol.New(enrol.Config{Cluster: side{w, 0}, Resume: func(chat.UserKey) {}})
			defer w.enrol.Close()
			rnd := rand.New(rand.NewPCG(seed, 2))
			const users = 40
			var sessions [users]int
			for range 400 {
				switch u := rnd.IntN(users); {
				case rnd.IntN(40) == 0:
					w.mu.Lock()
					w.owner, w.epoch = 3-w.owner, w.epoch+1
					w.mu.Unlock()
					if rnd.IntN(2) == 0 { // else it is found out
						w.enrol.Moved()
					}
				case rnd.IntN(2) == 0:
					if err := <-session(w.enrol, user(u)); err != nil {
						w.enrol.Exit(user(u))
						break
					}
					sessions[u]++
				case sessions[u] > 0:
					sessions[u]--
					w.enrol.Exit(user(u))
				}
				time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
			}
			w.mu.Lock()
			w.lossy = false
			h := w.homes[w.owner]
			w.mu.Unlock()
			time.Sleep(15 * time.Second) // for the digests
			there := 0
			for u, n := range sessions {
				if n > 0 {
					there++
				}
				if on, mine := h.Online(user(u)); on != (n > 0) || !mine {
					t.Errorf("seed %d: user %d with %d sessions is there: %v", seed, u, n, on)
				}
			}
			if st := h.Stats(); st.Users != int64(there) || w.enrol.Stats().Unsettled != 0 {
				t.Errorf("seed %d: %d are there, %+v, %+v", seed, there, st, w.enrol.Stats())
			}
		})
	}
}
