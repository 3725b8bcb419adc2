package home_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors/directory/home"
	"github.com/zumodra/hub/chat"
)

func user(n int) chat.UserKey {
	return chat.UserKey{Tenant: "t", User: chat.UserID(fmt.Sprint("u", n))}
}

// parcel is one that a home sent.
type parcel struct {
	to chat.NodeID
	p  chat.Parcel
}

// cluster is what a home sees of one: the test says what is so.
type cluster struct {
	mu      sync.Mutex
	epoch   [chat.Shards]uint64 // 0: not ours
	edges   []chat.NodeID
	sent    []parcel
	confirm func(to chat.NodeID, p chat.Parcel) error // default: nil
	present []string
}

func (c *cluster) Term(i int) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch[i], c.epoch[i] != 0
}

func (c *cluster) Edges() []chat.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.edges)
}

func (c *cluster) Parcel(to chat.NodeID, p chat.Parcel, done func(error)) {
	c.mu.Lock()
	c.sent = append(c.sent, parcel{to, p})
	f := c.confirm
	c.mu.Unlock()
	var err error
	if f != nil {
		err = f(to, p)
	}
	done(err)
}

func (c *cluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// take returns what was sent since the last call: the parcels of one kind.
func take[P chat.Parcel](c *cluster) (to []chat.NodeID, list []P) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.sent {
		if p, ok := x.p.(P); ok {
			to, list = append(to, x.to), append(list, p)
		}
	}
	c.sent = nil
	return to, list
}

// bubble runs a test with a home of all shards and some edges, none of which has enrolled.
func bubble(t *testing.T, edges []chat.NodeID, f func(*cluster, *home.Home)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		c := &cluster{edges: edges}
		for i := range c.epoch {
			c.epoch[i] = 1
		}
		h := home.New(home.Config{Cluster: c, Presence: func(k chat.UserKey, on bool) {
			c.set(func() { c.present = append(c.present, fmt.Sprint(k.User, on)) })
		}})
		defer h.Close()
		f(c, h)
	})
}

func all(users ...chat.UserKey) *chat.Enrol {
	return &chat.Enrol{Shard: users[0].Shard(), All: true, Came: users}
}

func shardsOf(users ...chat.UserKey) *chat.ShardSet {
	s := new(chat.ShardSet)
	for _, u := range users {
		s.Add(u.Shard())
	}
	return s
}

// deliver sends a message to users, and returns the outcome.
func deliver(h *home.Home, change func(*chat.Delivery), users ...chat.UserKey) error {
	set := &chat.MemberSet{}
	for _, u := range users {
		set.Users = append(set.Users, u.User)
	}
	slices.Sort(set.Users)
	d := &chat.Delivery{Key: chat.ConversationKey{Tenant: "t", ID: chat.ConversationID{1}}, Recipients: set,
		Notices: []chat.Notice{{Event: &chat.Event{Seq: 1, Type: chat.EventMessage}}}}
	if change != nil {
		change(d)
	}
	ch := make(chan error, 1)
	h.ToHome(9, &chat.ToHome{Delivery: d, Shards: shardsOf(users...)}, func(err error) { ch <- err })
	return <-ch
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A delivery goes to the edges that have its recipients, and is confirmed when all edges have enrolled and those have
// confirmed it.
func TestDeliveries(t *testing.T) {
	bubble(t, []chat.NodeID{1, 2}, func(c *cluster, h *home.Home) {
		u := user(1)
		must(t, h.Enrol(1, all(u)))
		take[*chat.ToEdge](c)
		if err := deliver(h, nil, u); !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("confirmed before an edge was heard of: %v", err)
		}
		if to, _ := take[*chat.ToEdge](c); !slices.Equal(to, []chat.NodeID{1}) {
			t.Errorf("sent to %v", to)
		}
		must(t, h.Enrol(2, all(u)))
		must(t, deliver(h, nil, u))
		if to, _ := take[*chat.ToEdge](c); !slices.Equal(to, []chat.NodeID{1, 2}) {
			t.Errorf("sent to %v", to)
		}
		c.set(func() {
			c.confirm = func(to chat.NodeID, _ chat.Parcel) error {
				if to == 2 {
					return chat.ErrOverloaded
				}
				return nil
			}
		})
		if err := deliver(h, nil, u); !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("an edge did not confirm: %v", err)
		}
		must(t, h.Enrol(2, &chat.Enrol{Shard: u.Shard(), Left: []chat.UserKey{u}}))
		must(t, deliver(h, nil, u))
		if st := h.Stats(); st.Users != 1 || st.Waiting != 0 || st.Deliveries != 4 || st.Open != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// What is of an earlier term of the conversation's shard than something before is refused, unless it tells users that
// they are members no more, of which the edges take care.
func TestDeliveriesOfAFormerOwner(t *testing.T) {
	bubble(t, []chat.NodeID{1}, func(c *cluster, h *home.Home) {
		u := user(1)
		must(t, h.Enrol(1, all(u)))
		other := chat.ConversationID{2}
		for (chat.ConversationKey{Tenant: "t", ID: other}).Shard() == (chat.ConversationKey{Tenant: "t", ID: chat.ConversationID{1}}).Shard() {
			other[0]++
		}
		for i, tc := range []struct {
			change func(*chat.Delivery)
			want   error
		}{
			{func(d *chat.Delivery) { d.Epoch = 4 }, nil},
			{func(d *chat.Delivery) { d.Epoch = 3 }, chat.ErrSuperseded},
			{func(d *chat.Delivery) { d.Epoch = 4 }, nil},
			{func(d *chat.Delivery) {}, nil}, // of a version that does not say
			{func(d *chat.Delivery) { d.Epoch = 3; d.Detached = d.Recipients.Users }, nil},
			{func(d *chat.Delivery) { d.Epoch, d.Key.ID = 2, other }, nil},
			{func(d *chat.Delivery) { d.Epoch = 7 }, nil},
			{func(d *chat.Delivery) { d.Epoch = 6; d.Notices[0] = chat.Notice{Head: &chat.HeadNotice{Seq: 9}} }, chat.ErrSuperseded},
		} {
			take[*chat.ToEdge](c)
			if err := deliver(h, tc.change, u); !errors.Is(err, tc.want) {
				t.Errorf("%d: %v, want %v", i, err, tc.want)
			}
			if to, _ := take[*chat.ToEdge](c); len(to) == 0 != (tc.want != nil) {
				t.Errorf("%d: sent to %v", i, to)
			}
		}
		c.set(func() { c.confirm = func(chat.NodeID, chat.Parcel) error { return chat.ErrSuperseded } })
		if err := deliver(h, nil, u); !errors.Is(err, chat.ErrSuperseded) {
			t.Errorf("an edge refused: %v", err)
		}
		if n := h.Stats().Fenced; n != 2 {
			t.Errorf("%d", n)
		}
	})
}

// A term ends with what was known in it. In the next one edges are asked, and enrol again.
func TestTerms(t *testing.T) {
	bubble(t, []chat.NodeID{1, 2}, func(c *cluster, h *home.Home) {
		u := user(1)
		i := u.Shard()
		h.Gained(i)
		time.Sleep(100 * time.Millisecond)
		to, asked := take[*chat.Recount](c)
		slices.Sort(to)
		if !slices.Equal(to, []chat.NodeID{1, 2}) || !asked[0].Shards.Has(i) || asked[0].Missed {
			t.Fatalf("asked %v: %+v", to, asked)
		}
		must(t, h.Enrol(1, all(u)))
		must(t, h.Enrol(2, &chat.Enrol{Shard: i, All: true}))
		if on, mine := h.Online(u); !on || !mine {
			t.Error("not there")
		}
		h.Lost([]int{i}) // the row still names this node: the term is over all the same
		for what, err := range map[string]error{"enrolment": h.Enrol(1, all(u)), "delivery": deliver(h, nil, u)} {
			if !errors.Is(err, chat.ErrMoved) {
				t.Errorf("%s after the end of the term: %v", what, err)
			}
		}
		if _, mine := h.Online(u); mine || h.Stats().Users != 0 {
			t.Errorf("%+v", h.Stats())
		}
		c.set(func() { c.epoch[i] = 0 })
		if err := h.Enrol(1, all(u)); !errors.Is(err, chat.ErrMoved) {
			t.Error(err)
		}
		c.set(func() { c.epoch[i] = 3 })
		if on, mine := h.Online(u); on || !mine {
			t.Errorf("a new term begins with %v, %v", on, mine)
		}
		time.Sleep(100 * time.Millisecond)
		if to, _ := take[*chat.Recount](c); len(to) != 2 {
			t.Errorf("asked %v", to)
		}
		c.set(func() { c.present = nil })
		must(t, h.Enrol(1, all(u)))
		must(t, h.Enrol(2, &chat.Enrol{Shard: i, All: true}))
		must(t, deliver(h, nil, u))
		c.set(func() {
			if len(c.present) != 0 {
				t.Errorf("who was forgotten only has not come: %v", c.present)
			}
		})
	})
}

// An edge that was not there all the time, and has open sessions, is refused until they have come back: deliveries may
// have been confirmed without it.
func TestLateEdge(t *testing.T) {
	bubble(t, []chat.NodeID{1}, func(_ *cluster, h *home.Home) {
		u := user(1)
		must(t, h.Enrol(1, all(u)))
		late := all(u)
		late.Open = true
		for range 2 {
			if err := h.Enrol(2, late); !errors.Is(err, chat.ErrNotFound) {
				t.Fatal(err)
			}
		}
		must(t, h.Enrol(2, all(u)))
		must(t, h.Enrol(2, late)) // it has been heard since
		must(t, h.Enrol(1, late)) // it was there all the time
	})
}

// Edges that leave the cluster have nobody, and are not waited for.
func TestEdgesThatLeave(t *testing.T) {
	bubble(t, []chat.NodeID{1, 2, 3}, func(c *cluster, h *home.Home) {
		u, v := user(1), user(2)
		must(t, h.Enrol(1, all(u)))
		must(t, h.Enrol(2, all(u)))
		must(t, h.Enrol(1, &chat.Enrol{Shard: v.Shard(), All: true}))
		must(t, h.Enrol(2, all(v)))
		c.set(func() { c.edges, c.present = []chat.NodeID{1}, nil })
		time.Sleep(time.Second)
		if on, _ := h.Online(u); !on {
			t.Error("who is on another edge has gone")
		}
		if on, _ := h.Online(v); on || h.Stats().Users != 1 || h.Stats().Waiting != 0 {
			t.Errorf("%v, %+v", on, h.Stats())
		}
		c.set(func() {
			if !slices.Equal(c.present, []string{"u2false"}) {
				t.Errorf("%v", c.present)
			}
		})
		take[*chat.ToEdge](c)
		must(t, deliver(h, nil, u, v))
		if to, _ := take[*chat.ToEdge](c); !slices.Equal(to, []chat.NodeID{1}) {
			t.Errorf("sent to %v", to)
		}
	})
}

func TestNoSuchShard(t *testing.T) {
	bubble(t, []chat.NodeID{1}, func(c *cluster, h *home.Home) {
		for _, i := range []int{-1, chat.Shards} {
			if err := h.Enrol(1, &chat.Enrol{Shard: i, All: true}); !errors.Is(err, chat.ErrInvalid) {
				t.Error(err)
			}
			h.Digests(1, &chat.Digests{List: []chat.ShardDigest{{Shard: i}}})
		}
		if to, _ := take[*chat.Recount](c); len(to) != 0 || h.Stats().Shards != 0 {
			t.Errorf("%v, %+v", to, h.Stats())
		}
	})
}

// Whatever edges say in whatever order: who is there, who is told to have come and gone, how many there are, and which
// digests match, is what follows from it.
func TestEnrolmentModel(t *testing.T) {
	for seed := range uint64(20) {
		edges := []chat.NodeID{1, 2, 3}
		bubble(t, edges, func(c *cluster, h *home.Home) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			shards := map[int][]chat.UserKey{}
			for n := 0; len(shards) < 3 || n < 3000; n++ {
				i := user(n).Shard()
				if _, ok := shards[i]; ok || len(shards) < 3 {
					shards[i] = append(shards[i], user(n))
				}
			}
			for i := range shards {
				for _, e := range edges {
					must(t, h.Enrol(e, &chat.Enrol{Shard: i, All: true}))
				}
			}
			there := map[chat.NodeID]map[chat.UserKey]bool{1: {}, 2: {}, 3: {}}
			online := func(k chat.UserKey) bool { return there[1][k] || there[2][k] || there[3][k] }
			var told []string
			change := func(e chat.NodeID, k chat.UserKey, on bool) {
				was := online(k)
				if on {
					there[e][k] = true
				} else {
					delete(there[e], k)
				}
				if now := online(k); now != was {
					told = append(told, fmt.Sprint(k.User, now))
				}
			}
			numbers := slices.Sorted(maps.Keys(shards))
			for range 300 {
				e, i := edges[rnd.IntN(3)], numbers[rnd.IntN(3)]
				p := &chat.Enrol{Shard: i, All: rnd.IntN(5) == 0}
				for _, k := range shards[i] {
					switch rnd.IntN(3) {
					case 0:
						p.Came = append(p.Came, k)
						change(e, k, true)
					case 1:
						if !p.All {
							p.Left = append(p.Left, k)
						}
						change(e, k, false)
					default:
						if p.All {
							change(e, k, false)
						}
					}
				}
				must(t, h.Enrol(e, p))
			}
			n := int64(0)
			for _, list := range shards {
				for _, k := range list {
					if on, mine := h.Online(k); on != online(k) || !mine {
						t.Fatalf("%s: %v", k.User, on)
					}
					if online(k) {
						n++
					}
				}
			}
			if st := h.Stats(); st.Users != n || st.Shards != 3 {
				t.Errorf("%d users, %+v", n, st)
			}
			c.set(func() { // those of one parcel in any order
				slices.Sort(c.present)
				slices.Sort(told)
				if !slices.Equal(c.present, told) {
					t.Errorf("told\n%v, want\n%v", c.present, told)
				}
			})
			take[*chat.Recount](c)
			wrong := numbers[rnd.IntN(3)]
			for _, e := range edges {
				right := &chat.Digests{}
				for _, i := range numbers {
					d := chat.ShardDigest{Shard: i}
					for k := range there[e] {
						if k.Shard() == i {
							d.Users++
							d.Sum ^= k.Hash()
						}
					}
					right.List = append(right.List, d)
				}
				h.Digests(e, right)
				if _, asked := take[*chat.Recount](c); len(asked) != 0 {
					t.Errorf("edge %d: digests that match were answered with %+v", e, asked[0])
				}
				bad := &chat.Digests{List: slices.Clone(right.List)}
				bad.List[slices.Index(numbers, wrong)].Sum++
				h.Digests(e, bad)
				to, asked := take[*chat.Recount](c)
				var only chat.ShardSet
				only.Add(wrong)
				if len(asked) != 1 || to[0] != e || *asked[0].Shards != only {
					t.Errorf("edge %d: %v was asked for %+v", e, to, asked)
				}
			}
		})
	}
}
