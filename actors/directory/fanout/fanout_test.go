package fanout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors/directory/fanout"
	"github.com/zumodra/hub/chat"
)

func (w *world) n(i int) *node { return w.nodes[chat.NodeID(i)] }

// Members with sessions on different nodes get every message exactly once and in order, wherever the conversation and
// the members' directory shards are: in a small conversation, and in one whose members are named.
func TestReq164_MembersOnDifferentNodesGetEveryMessageOnce(t *testing.T) {
	for _, members := range []int{5, 300} {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			bubble(t, 3, func(w *world) {
				var all []int
				for u := range members {
					all = append(all, u)
				}
				w.sets[1] = set(1, all...)
				for u := range members {
					for k := range 1 + u%2 { // every other user on two nodes
						if err := w.n((u+k)%3+1).open(u, chat.SessionID(10*u+k+1)); err != nil {
							t.Fatal(err)
						}
					}
				}
				w.n(1).open(9999, 5) // of no member
				synctest.Wait()
				w.mu.Lock()
				w.delay = 3 * time.Millisecond
				w.mu.Unlock()
				var want []string
				for range 50 {
					want = append(want, fmt.Sprintf("1:%d", w.commit(1)))
					if len(want)%10 == 0 {
						time.Sleep(5 * time.Millisecond)
					}
				}
				time.Sleep(5 * time.Second)
				for u := range members {
					for k := range 1 + u%2 {
						if got := w.n((u+k)%3 + 1).seen(chat.SessionID(10*u + k + 1)); !slices.Equal(got, want) {
							t.Fatalf("user %d, session %d got %v", u, k, got)
						}
					}
				}
				if got := w.n(1).seen(5); len(got) != 0 {
					t.Fatalf("no member got %v", got)
				}
				for _, n := range w.nodes {
					if st := n.pub.Stats(); st.UnderWay+st.Waiting+st.Missed != 0 || st.Lost != 0 {
						t.Fatalf("%+v", st)
					}
				}
			})
		})
	}
}

// Requirement 20 is the same for the sessions of one user: each gets each message once.
func TestReq020_EverySessionOfAUserGetsEveryMessageOnce(t *testing.T) {
	bubble(t, 3, func(w *world) {
		w.sets[1] = set(1, 1, 2)
		for i := range 6 {
			if err := w.n(i%3+1).open(1, chat.SessionID(i+1)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for range 20 {
			w.commit(1)
		}
		time.Sleep(time.Second)
		for i := range 6 {
			got := w.n(i%3 + 1).seen(chat.SessionID(i + 1))
			if len(got) != 20 || got[19] != "1:20" {
				t.Fatalf("session %d got %v", i+1, got)
			}
		}
	})
}

// The first session of a user on any node makes them online, the last one that goes offline; those of a node that died
// are gone within 30 s.
func TestReq102_PresenceAcrossNodes(t *testing.T) {
	bubble(t, 3, func(w *world) {
		k := user(1)
		home := func() *node { return w.nodes[w.owner[k.Shard()]] }
		online := func(want bool) {
			t.Helper()
			on, mine := home().home.Online(k)
			home().mu.Lock()
			said := home().present[k]
			home().mu.Unlock()
			if !mine || on != want || said != want {
				t.Fatalf("online %v, said %v, want %v", on, said, want)
			}
		}
		a, b := w.n(2), w.n(3)
		if home() == a || home() == b {
			w.move(k.Shard(), 1, true)
			time.Sleep(time.Second)
		}
		_ = a.open(1, 1)
		online(true)
		_ = b.open(1, 1)
		a.closeSession(1)
		time.Sleep(3 * time.Second)
		online(true)
		b.closeSession(1)
		time.Sleep(500 * time.Millisecond)
		online(true) // it may come back
		time.Sleep(2 * time.Second)
		online(false)
		_ = b.open(1, 2)
		online(true)
		w.kill(3)
		time.Sleep(2 * time.Second)
		online(false)
		// The home dies: the next one learns who is there.
		_ = a.open(1, 3)
		online(true)
		w.kill(1)
		time.Sleep(2 * time.Second)
		if on, mine := a.home.Online(k); !mine || !on {
			t.Fatal("forgotten")
		}
		a.closeSession(3)
		time.Sleep(3 * time.Second)
		online(false)
	})
}

// Nobody gets anything after having been removed, and who was to be told of it is told in the end.
func TestRemovedMembersGetNothingMore(t *testing.T) {
	bubble(t, 3, func(w *world) {
		w.sets[1] = set(1, 1, 2)
		before := w.sets[1]
		_ = w.n(1).open(1, 1)
		_ = w.n(2).open(2, 1)
		synctest.Wait()
		w.commit(1)
		time.Sleep(time.Second)
		w.mu.Lock()
		w.drop = 1
		w.sets[1] = set(2, 1)
		w.heads[1] = 2
		w.mu.Unlock()
		d := event(1, before, 2)
		d.Detached = []chat.UserID{user(2).User}
		w.ownerOf(1).pub.Publish(d)
		time.Sleep(time.Second)
		w.mu.Lock()
		w.drop = 0
		w.mu.Unlock()
		for range 3 {
			w.commit(1)
		}
		time.Sleep(10 * time.Second)
		got := w.n(2).seen(1)
		if !slices.Contains(got, "1:detached") {
			t.Fatalf("it was not told: %v", got)
		}
		for _, g := range got[1:] {
			if g != "1:2" && g != "1:detached" {
				t.Fatalf("got %v", got)
			}
		}
		if err := complete(w.n(1).seen(1), 1, 0, 5); err != nil {
			t.Fatalf("%v: %v", err, w.n(1).seen(1))
		}
		if n := w.ownerOf(1).pub.Stats().Missed; n != 0 {
			t.Fatalf("%d missed", n)
		}
	})
}

// A conversation of which something was missed, and that then is no more, is settled: its head can be announced by nobody.
// Else its dirty mark would stay for ever.
func TestWhatIsGoneIsNotMissed(t *testing.T) {
	for _, lost := range []bool{false, true} {
		bubble(t, 3, func(w *world) {
			drop := func(p float64) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.drop = p
			}
			w.sets[1] = set(1, 1, 2)
			_ = w.n(1).open(1, 1)
			synctest.Wait()
			drop(1)
			w.commit(1)
			time.Sleep(time.Second)
			if pub := w.ownerOf(1).pub; pub.Settled(key(1)) || pub.Stats().Missed != 1 {
				t.Fatal("nothing was missed")
			}
			w.mu.Lock()
			before := w.sets[1]
			w.sets[1] = set(9) // nobody is in it: no head goes out
			w.mu.Unlock()
			if !lost {
				drop(0)
			}
			d := event(1, before, 2)
			d.Detached, d.Gone = before.Users, true
			w.ownerOf(1).pub.Publish(d)
			time.Sleep(time.Second)
			drop(0)
			time.Sleep(10 * time.Second)
			if pub := w.ownerOf(1).pub; !pub.Settled(key(1)) || pub.Stats().Missed != 0 {
				t.Errorf("lost %v: it is missed still: %+v", lost, pub.Stats())
			}
		})
	}
}

// No session opens while the home of its user cannot be reached; it is refused in the end.
func TestNoHome(t *testing.T) {
	bubble(t, 3, func(w *world) {
		u := 0
		for w.owner[user(u).Shard()] != 2 {
			u++
		}
		w.mu.Lock()
		w.cut[[2]chat.NodeID{1, 2}] = true
		w.mu.Unlock()
		at := time.Now()
		err := w.n(1).open(u, 1)
		if took := time.Since(at); err == nil || took < 10*time.Second || took > 11*time.Second {
			t.Fatalf("%v after %v", err, took)
		}
		w.mu.Lock()
		w.cut = map[[2]chat.NodeID]bool{}
		w.mu.Unlock()
		if err := w.n(1).open(u, 2); err != nil {
			t.Fatal(err)
		}
	})
}

// An edge that the others took for dead, and that did not notice, may have missed what was confirmed without it: its
// sessions have to come back.
func TestAnEdgeThatWasGoneResumes(t *testing.T) {
	bubble(t, 3, func(w *world) {
		u := 0
		for w.owner[user(u).Shard()] != 2 {
			u++
		}
		w.sets[1] = set(1, u)
		_ = w.n(1).open(u, 1)
		synctest.Wait()
		w.mu.Lock()
		w.edges = []chat.NodeID{2, 3}
		w.mu.Unlock()
		time.Sleep(time.Second)
		w.commit(1)
		time.Sleep(time.Second)
		w.mu.Lock()
		w.edges = []chat.NodeID{1, 2, 3}
		w.mu.Unlock()
		time.Sleep(15 * time.Second)
		if n := w.n(1); !n.ended[1] {
			t.Fatalf("the session goes on, with %v", n.seen(1))
		}
		if err := w.n(1).open(u, 2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.commit(1)
		time.Sleep(time.Second)
		if got := w.n(1).seen(2); !slices.Equal(got, []string{"1:2"}) {
			t.Fatal(got)
		}
	})
}

// Shards move, parcels and confirmations get lost or are late, nodes die: whoever is connected in the end got the events
// of each conversation in order, and wherever some are missing a head notice says so. Then presence is exact, and nothing
// is under way.
func TestNothingIsMissedInSilence(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, 3, func(w *world) { chaos(t, w, seed) })
		})
	}
}

// The same while links carry less than what is published, and refuse the rest.
func TestNothingIsMissedInSilenceBehindSlowLinks(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, 3, func(w *world) {
				w.mu.Lock()
				w.pace, w.room = 2*time.Millisecond, 64
				w.mu.Unlock()
				chaos(t, w, seed)
			})
		})
	}
}

// However much of its own, or of another conversation, is under way, one that is missed says so.
func TestNoticesAreNotHeldUpByDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &stuck{}
		var p *fanout.Publisher
		p = fanout.New(fanout.Config{Cluster: f, UnderWay: 8, Announce: func(k chat.ConversationKey) {
			go p.Publish(headNotice(k.ID[0], set(1, 0), 9))
		}})
		defer p.Close()
		for seq := range uint64(9) {
			p.Publish(event(1, set(1, 0), seq+1))
		}
		p.Publish(event(2, set(1, 0), 1))
		time.Sleep(20*time.Second + 10*time.Millisecond) // between two looks
		if st := p.Stats(); st.Sent != 8+2 || st.UnderWay != 8+2 || st.Missed != 2 {
			t.Fatalf("not 8 events, and one notice for each conversation: %+v", st)
		}
		p.Publish(event(1, set(1, 0), 10)) // is what a notice that is under way does not tell
		f.release()
		synctest.Wait()
		if p.Settled(key(1)) || !p.Settled(key(2)) {
			t.Fatalf("%+v", p.Stats())
		}
		time.Sleep(5*time.Second + 100*time.Millisecond)
		if st := p.Stats(); st.UnderWay != 0 || st.Missed != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// stuck is a cluster of one node that confirms nothing before release.
type stuck struct {
	mu    sync.Mutex
	open  bool
	dones []func(error)
}

func (*stuck) Owner(int) chat.NodeID { return 1 }
func (*stuck) Edges() []chat.NodeID  { return []chat.NodeID{1} }

func (f *stuck) Parcel(_ chat.NodeID, _ chat.Parcel, done func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open {
		go done(nil)
		return
	}
	f.dones = append(f.dones, done)
}

func (f *stuck) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = true
	for _, done := range f.dones {
		go done(nil)
	}
}

type life struct {
	node  *node
	user  int
	id    chat.SessionID
	first map[byte]uint64 // heads when it had opened: what a client has from its resume
}

func chaos(t *testing.T, w *world, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	const users = 90
	var all []int
	for u := range users {
		all = append(all, u)
	}
	w.sets[1], w.sets[2], w.sets[3] = set(1, 0, 1), set(1, 1, 2, 3, 4), set(1, all...)
	w.mu.Lock()
	w.rnd = rand.New(rand.NewPCG(seed, 8))
	w.drop, w.delay = []float64{0, 0.02, 0.1}[seed%3], 20*time.Millisecond
	w.mu.Unlock()

	var mu sync.Mutex
	lives := map[chat.SessionID]*life{}
	next := chat.SessionID(0)
	open := func(n *node, u int) {
		mu.Lock()
		next++
		id := next
		mu.Unlock()
		if n.open(u, id) != nil {
			return
		}
		first := map[byte]uint64{}
		w.mu.Lock()
		for c, h := range w.heads {
			first[c] = h
		}
		w.mu.Unlock()
		mu.Lock()
		lives[id] = &life{n, u, id, first}
		mu.Unlock()
	}
	var wg sync.WaitGroup
	for u := range users {
		wg.Go(func() { open(w.n(u%3+1), u) })
	}
	wg.Wait()
	stop := make(chan struct{})
	for _, c := range []byte{1, 2, 3} {
		pause := rnd.IntN(8)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w.commit(c)
				time.Sleep(time.Duration(pause+1) * time.Millisecond)
			}
		})
	}
	killed := false
	for range 60 {
		time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
		switch x := rnd.IntN(20); {
		case x < 8: // a user's or a conversation's shard moves
			i := user(rnd.IntN(10)).Shard()
			if rnd.IntN(4) == 0 {
				i = key(byte(1 + rnd.IntN(3))).Shard()
			}
			w.move(i, chat.NodeID(1+rnd.IntN(3)), rnd.IntN(2) == 0)
		case x < 12:
			n := w.n(1 + rnd.IntN(3))
			if !n.dead {
				u := rnd.IntN(users)
				wg.Go(func() { open(n, u) })
			}
		case x < 16:
			mu.Lock()
			for id, l := range lives {
				if int(id)%5 == rnd.IntN(5) {
					delete(lives, id)
					l.node.closeSession(id)
					break
				}
			}
			mu.Unlock()
		case x == 19 && !killed && seed%2 == 1:
			killed = true
			w.kill(3)
		}
	}
	close(stop)
	wg.Wait()
	time.Sleep(time.Second)
	w.mu.Lock()
	w.drop = 0
	w.mu.Unlock()
	time.Sleep(20 * time.Second)

	here := map[chat.UserKey]bool{}
	ended := 0
	for id, l := range lives {
		if l.node.dead {
			continue
		}
		here[user(l.user)] = true
		if l.node.ended[id] {
			ended++
			continue
		}
		for _, c := range []byte{1, 2, 3} {
			if !w.sets[c].Contains(user(l.user).User) {
				continue
			}
			got := l.node.seen(id)
			if err := complete(got, c, l.first[c], w.heads[c]); err != nil {
				t.Errorf("user %d, session %d, conversation %d from %d on: %v\n%s", l.user, id, c, l.first[c], err, strings.Join(got[max(0, len(got)-60):], " "))
			}
		}
	}
	t.Logf("%d sessions, %d ended, heads %v", len(lives), ended, w.heads)
	if ended > 0 {
		t.Errorf("%d sessions were ended though their nodes were there all the time", ended)
	}
	for u := range users {
		k := user(u)
		n := w.nodes[w.owner[k.Shard()]]
		if on, mine := n.home.Online(k); !mine || on != here[k] {
			t.Errorf("user %d: online %v (mine %v), but here %v", u, on, mine, here[k])
		}
	}
	for _, n := range w.nodes {
		if st := n.pub.Stats(); !n.dead && st.UnderWay+st.Waiting+st.Missed != 0 {
			t.Errorf("node %v: %+v", n.id, st)
		}
	}
}
