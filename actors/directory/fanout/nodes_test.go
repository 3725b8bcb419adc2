package fanout_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/actors/directory"
	"github.com/zumodra/hub/actors/directory/enrol"
	"github.com/zumodra/hub/actors/directory/fanout"
	"github.com/zumodra/hub/actors/directory/home"
	"github.com/zumodra/hub/chat"
)

const tenant = chat.TenantID("t")

func user(u int) chat.UserKey {
	return chat.UserKey{Tenant: tenant, User: chat.UserID(fmt.Sprintf("u%04d", u))}
}

func key(n byte) chat.ConversationKey {
	return chat.ConversationKey{Tenant: tenant, ID: chat.ConversationID{n, 15: n}}
}

func set(version uint64, users ...int) *chat.MemberSet {
	s := &chat.MemberSet{Version: version}
	for _, u := range users {
		s.Users = append(s.Users, user(u).User)
	}
	slices.Sort(s.Users)
	return s
}

func event(c byte, to *chat.MemberSet, seq uint64) *chat.Delivery {
	return &chat.Delivery{Key: key(c), Recipients: to, Notices: []chat.Notice{{Event: &chat.Event{Seq: seq, Type: chat.EventMessage}}}}
}

func headNotice(c byte, to *chat.MemberSet, seq uint64) *chat.Delivery {
	return &chat.Delivery{Key: key(c), Recipients: to, Notices: []chat.Notice{{Head: &chat.HeadNotice{Seq: seq}}}}
}

type goer struct{}

func (goer) Schedule(f func()) { go f() }
func (goer) Throughput() int   { return 100 }

// world is a cluster in one process, whose network is the test's to break.
type world struct {
	t testing.TB

	mu    sync.Mutex
	nodes map[chat.NodeID]*node
	owner [chat.Shards]chat.NodeID
	epoch [chat.Shards]uint64
	edges []chat.NodeID
	links map[[2]chat.NodeID]*link
	rnd   *rand.Rand
	drop  float64       // of parcels; each also loses its confirmation as often
	delay time.Duration // of a parcel, at most; those behind it are not faster, but arrive at once when it has
	pace  time.Duration // between parcels of a link
	room  int           // for parcels on their way on a link; 0: for many
	cut   map[[2]chat.NodeID]bool

	heads map[byte]uint64
	sets  map[byte]*chat.MemberSet
	pubMu [256]turn // the owner of a conversation publishes one after the other
}

// link carries parcels from one node to another, in order. It takes so many that are on their way, and refuses others.
type link struct {
	queue chan carried
	last  time.Time // when the newest arrives
}

type carried struct {
	at   time.Time
	hand func()
}

type node struct {
	w     *world
	id    chat.NodeID
	dir   *directory.Directory
	home  *home.Home
	enrol *enrol.Enrolment
	pub   *fanout.Publisher
	sys   *actor.ActorSystem

	mu       sync.Mutex
	dead     bool
	got      map[chat.SessionID][]string // of sessions that are open: c:seq or c:head<=seq
	ended    map[chat.SessionID]bool
	sessions map[chat.SessionID]chat.UserKey
	present  map[chat.UserKey]bool
	hook     func(*chat.Delivery)
}

func newWorld(t testing.TB, nodes int) *world {
	w := &world{t: t, nodes: map[chat.NodeID]*node{}, links: map[[2]chat.NodeID]*link{}, rnd: rand.New(rand.NewPCG(1, 2)),
		cut: map[[2]chat.NodeID]bool{}, heads: map[byte]uint64{}, sets: map[byte]*chat.MemberSet{}}
	for i := range chat.Shards {
		w.owner[i], w.epoch[i] = chat.NodeID(1+i%nodes), 1
	}
	for n := range nodes {
		w.edges = append(w.edges, chat.NodeID(n+1))
	}
	for n := range nodes {
		w.start(chat.NodeID(n + 1))
	}
	return w
}

func (w *world) start(id chat.NodeID) *node {
	n := &node{w: w, id: id, got: map[chat.SessionID][]string{}, ended: map[chat.SessionID]bool{},
		sessions: map[chat.SessionID]chat.UserKey{}, present: map[chat.UserKey]bool{}}
	n.sys = actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	n.dir = directory.New(directory.Config{System: n.sys, Dispatcher: goer{}, Edge: n, Groups: 2})
	n.home = home.New(home.Config{Cluster: n, Presence: func(k chat.UserKey, on bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.present[k] = on
	}})
	n.pub = fanout.New(fanout.Config{Cluster: n, Announce: n.announce, Mine: func(k chat.ConversationKey) bool {
		_, ok := n.Term(k.Shard())
		return ok
	}})
	w.mu.Lock()
	w.nodes[id] = n
	w.mu.Unlock()
	n.enrol = enrol.New(enrol.Config{Cluster: n, Resume: n.dir.Evict})
	return n
}

func (w *world) close() {
	w.mu.Lock()
	nodes := w.nodes
	w.mu.Unlock()
	for _, n := range nodes {
		n.enrol.Close()
		n.pub.Close()
		n.home.Close()
	}
	w.mu.Lock()
	links := w.links
	w.links = nil
	w.mu.Unlock()
	for _, l := range links {
		close(l.queue)
	}
	for _, n := range nodes {
		n.dir.Close()
		n.sys.Shutdown()
	}
}

func (n *node) Self() chat.NodeID { return n.id }

func (n *node) Term(i int) (uint64, bool) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.w.epoch[i], n.w.owner[i] == n.id && !n.dead
}

func (n *node) Owner(i int) chat.NodeID {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.w.owner[i]
}

func (n *node) Edges() []chat.NodeID {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return slices.Clone(n.w.edges)
}

// Parcel to others goes by a link, and may get lost there, or its confirmation.
func (n *node) Parcel(to chat.NodeID, p chat.Parcel, done func(error)) {
	w := n.w
	if to == n.id {
		n.receive(to, p, done)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := [2]chat.NodeID{n.id, to}
	if w.links == nil {
		go done(chat.ErrShutdown)
		return
	}
	l := w.links[at]
	if l == nil {
		l = &link{queue: make(chan carried, 4096)}
		w.links[at] = l
		go func() {
			for c := range l.queue {
				time.Sleep(time.Until(c.at))
				c.hand()
			}
		}()
	}
	lost, mute := w.rnd.Float64() < w.drop, w.rnd.Float64() < w.drop
	delay := time.Duration(0)
	if w.delay > 0 {
		delay = time.Duration(w.rnd.Int64N(int64(w.delay)))
	}
	due := time.Now().Add(delay)
	if next := l.last.Add(w.pace); due.Before(next) {
		due = next
	}
	hand := func() {
		w.mu.Lock()
		peer := w.nodes[to]
		broken := lost || w.cut[at] || peer == nil || peer.dead || n.dead
		w.mu.Unlock()
		if broken {
			done(chat.ErrUnavailable)
			return
		}
		peer.receive(n.id, p, func(err error) {
			if mute {
				err = chat.ErrUnavailable
			}
			go func() {
				time.Sleep(delay / 2)
				done(err)
			}()
		})
	}
	if len(l.queue) >= cmp.Or(w.room, cap(l.queue)) {
		go done(chat.ErrUnavailable)
		return
	}
	l.queue <- carried{due, hand}
	l.last = due
}

func (n *node) receive(from chat.NodeID, p chat.Parcel, done func(error)) {
	switch p := p.(type) {
	case *chat.ToHome:
		n.home.ToHome(from, p, done)
	case *chat.ToEdge:
		n.dir.ToEdge(from, p, done)
	case *chat.Enrol:
		done(n.home.Enrol(from, p))
	case *chat.Digests:
		n.home.Digests(from, p)
		done(nil)
	case *chat.Recount:
		n.w.mu.Lock()
		e := n.enrol
		n.w.mu.Unlock()
		if e != nil {
			e.Recount(from, p)
		}
		done(nil)
	}
}

// Deliver implements directory.Edge.
func (n *node) Deliver(ss *chat.SessionSet, d *chat.Delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hook != nil {
		n.hook(d)
	}
	for _, s := range ss.Sessions {
		if n.ended[s] {
			continue
		}
		for _, x := range d.Notices {
			switch {
			case x.Event != nil:
				n.got[s] = append(n.got[s], fmt.Sprintf("%d:%d", d.Key.ID[0], x.Event.Seq))
			case x.Head != nil:
				n.got[s] = append(n.got[s], fmt.Sprintf("%d:head %d", d.Key.ID[0], x.Head.Seq))
			}
		}
		if slices.Contains(d.Detached, n.sessions[s].User) {
			n.got[s] = append(n.got[s], fmt.Sprintf("%d:detached", d.Key.ID[0]))
		}
	}
}

// Overflow implements directory.Overflower.
func (n *node) Overflow(ss *chat.SessionSet, _ chat.ConversationKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range ss.Sessions {
		n.ended[s] = true
	}
}

// open waits until a session is.
func (n *node) open(u int, s chat.SessionID) error {
	k := user(u)
	ch := make(chan error, 1)
	if !n.enrol.Enter(k, func(err error) { ch <- err }) {
		if err := <-ch; err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.sessions[s] = k
	n.mu.Unlock()
	n.dir.Register(k, chat.ConversationID{}, s)
	return nil
}

func (n *node) closeSession(s chat.SessionID) {
	n.mu.Lock()
	k := n.sessions[s]
	n.mu.Unlock()
	n.dir.Unregister(k, chat.ConversationID{}, s)
	n.enrol.Exit(k)
}

func (n *node) seen(s chat.SessionID) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got[s])
}

// turn is a lock that may be held while fake time passes, which it does not while a goroutine waits for a sync.Mutex.
type turn struct {
	once sync.Once
	held chan struct{}
}

func (t *turn) Lock() {
	t.once.Do(func() { t.held = make(chan struct{}, 1) })
	t.held <- struct{}{}
}

func (t *turn) Unlock() { <-t.held }

// ownerOf is the node that decides on a conversation.
func (w *world) ownerOf(c byte) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[w.owner[key(c).Shard()]]
}

// commit appends an event to a conversation and publishes it.
func (w *world) commit(c byte) uint64 {
	w.pubMu[c].Lock()
	defer w.pubMu[c].Unlock()
	n := w.ownerOf(c)
	w.mu.Lock()
	w.heads[c]++
	seq := w.heads[c]
	d := w.under(event(c, w.sets[c], seq))
	w.mu.Unlock()
	n.pub.Publish(d)
	return seq
}

// under gives a delivery the epoch of the present owner. mu is held.
func (w *world) under(d *chat.Delivery) *chat.Delivery {
	d.Epoch = w.epoch[d.Key.Shard()]
	return d
}

// announce does not block: a move may have the turn.
func (n *node) announce(k chat.ConversationKey) { go n.publishHead(k) }

func (n *node) publishHead(k chat.ConversationKey) {
	c := k.ID[0]
	n.w.pubMu[c].Lock()
	defer n.w.pubMu[c].Unlock()
	if _, ok := n.Term(k.Shard()); !ok {
		return
	}
	n.w.mu.Lock()
	d := n.w.under(headNotice(c, n.w.sets[c], n.w.heads[c]))
	n.w.mu.Unlock()
	n.pub.Publish(d)
}

// move gives a shard to another node: gracefully, or as after a death, when the new owner announces all conversations
// of the shard that are not settled, and what the old one sent may arrive at any time since.
func (w *world) move(i int, to chat.NodeID, graceful bool) {
	for c := range 256 {
		if key(byte(c)).Shard() == i {
			w.pubMu[c].Lock()
			defer w.pubMu[c].Unlock()
		}
	}
	w.mu.Lock()
	old, next := w.nodes[w.owner[i]], w.nodes[to]
	w.mu.Unlock()
	if old == next || next.dead {
		return
	}
	if graceful && !old.dead {
		var one chat.ShardSet
		one.Add(i)
		_, _ = old.pub.Flush(w.t.Context(), &one)
	}
	w.mu.Lock()
	w.owner[i] = to
	w.epoch[i]++
	w.mu.Unlock()
	old.home.Lost([]int{i})
	var one chat.ShardSet
	one.Add(i)
	old.pub.Drop(&one)
	next.home.Gained(i)
	w.mu.Lock()
	var again []*chat.Delivery
	for c, h := range w.heads {
		if key(c).Shard() == i { // every conversation: more than those with dirty marks
			again = append(again, w.under(headNotice(c, w.sets[c], h)))
		}
	}
	w.mu.Unlock()
	for _, d := range again {
		next.pub.Publish(d)
	}
	for _, n := range w.nodes {
		n.enrol.Moved()
		n.pub.Moved()
	}
}

// kill ends a node; the others take its shards.
func (w *world) kill(id chat.NodeID) {
	w.mu.Lock()
	w.nodes[id].dead = true
	w.edges = slices.DeleteFunc(w.edges, func(e chat.NodeID) bool { return e == id })
	rest := slices.Clone(w.edges)
	var mine []int
	for i, o := range w.owner {
		if o == id {
			mine = append(mine, i)
		}
	}
	w.mu.Unlock()
	for _, i := range mine {
		w.move(i, rest[i%len(rest)], false)
	}
}

// complete says what is wrong with what a session got of a conversation, that was at first when it opened: events in order, and a
// gap only where a later head notice covers it.
func complete(got []string, c byte, first, head uint64) error {
	mine := strconv.Itoa(int(c))
	last, top := first, uint64(0)
	gap := uint64(0) // the newest seq that is known to be missing, or not known
	for _, g := range got {
		conv, what, _ := strings.Cut(g, ":")
		if conv != mine {
			continue
		}
		what, isHead := strings.CutPrefix(what, "head ")
		seq, err := strconv.ParseUint(what, 10, 64)
		if err != nil {
			continue
		}
		if isHead {
			top = max(top, seq)
			continue
		}
		if seq <= first {
			continue // it was on its way
		}
		switch {
		case seq <= last:
			return fmt.Errorf("%d after %d", seq, last)
		case seq > last+1:
			gap = seq - 1
		}
		last = seq
	}
	if top < gap && gap > 0 {
		return fmt.Errorf("a gap before %d, and heads up to %d only", gap+1, top)
	}
	if last < head && top < head {
		return fmt.Errorf("it has %d and heads up to %d of %d", last, top, head)
	}
	return nil
}

func bubble(t *testing.T, nodes int, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nodes)
		time.Sleep(time.Second)
		f(w)
		w.mu.Lock()
		w.drop, w.delay = 0, 0
		w.mu.Unlock()
		w.close()
		time.Sleep(time.Second) // for what was on its way: time stands still once this returns
	})
}
