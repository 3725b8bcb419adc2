package home

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/actors/directory/sets"
	"github.com/zumodra/hub/chat"
)

// Cluster is what a Home needs of the nodes. Its methods do not block.
type Cluster interface {
	Term(shard int) (epoch uint64, ok bool)
	Edges() []chat.NodeID
	// Parcel: as in actors.Cluster; this node may be named too.
	Parcel(node chat.NodeID, p chat.Parcel, done func(error))
}

// Config of a Home. Cluster is required.
type Config struct {
	Cluster Cluster
	// Presence, if set, is told that a user's first session in the cluster came, or the last one went. It must not
	// block.
	Presence func(k chat.UserKey, online bool)
	// Every is how often edges are looked after; default 500 ms.
	Every time.Duration
}

// Home is safe for concurrent use and never blocks.
type Home struct {
	cfg    Config
	shards [chat.Shards]shard
	names  sets.Sender
	sets   sets.Receiver
	order  [64]sync.Mutex             // of deliveries to large sets, by conversation
	epochs [chat.Shards]atomic.Uint64 // highest of deliveries so far, by the conversation's shard
	begun  atomic.Bool                // a term has begun since edges were asked
	wake   chan struct{}
	stop   chan struct{}

	youngMu sync.Mutex
	young   map[chat.NodeID]time.Time // edges that the cluster does not show yet, since when

	done chan struct{}

	users                                             atomic.Int64
	deliveries, passed, refused, fenced, open, resent atomic.Uint64
}

// shard is a directory shard during one term. A zero epoch: there is none.
type shard struct {
	mu      sync.Mutex
	epoch   uint64
	ended   uint64 // epoch of the term that was ended here: it does not begin again
	users   map[chat.UserKey]edges
	nodes   []*node
	waiting []chat.NodeID // edges from before the term that have not enrolled
	asked   []chat.NodeID // of those, who was asked since the last look
}

// node is an edge as one shard knows it.
type node struct {
	id    chat.NodeID
	users int
	sum   uint64
	heard bool // has enrolled everybody
	late  bool // was not there all the time: deliveries may have been confirmed without it
}

// edges of a user: one in place, which is what nearly all have.
type edges struct {
	first chat.NodeID
	more  []chat.NodeID
}

func (e edges) has(n chat.NodeID) bool { return e.first == n || slices.Contains(e.more, n) }

func (e edges) without(n chat.NodeID) edges {
	if e.first != n {
		i := slices.Index(e.more, n)
		return edges{e.first, slices.Delete(slices.Clone(e.more), i, i+1)}
	}
	if len(e.more) == 0 {
		return edges{}
	}
	return edges{e.more[0], slices.Clone(e.more[1:])}
}

// Stats are counters since the start, but for the gauges Users, Shards and Waiting.
type Stats struct {
	Users      int64  // with a session anywhere
	Shards     int    // in a term
	Waiting    int    // of those, that have not heard from every edge
	Deliveries uint64 // taken
	Passed     uint64 // to edges
	Refused    uint64 // of shards of others, or of unknown sets
	Fenced     uint64 // of conversations whose shard has a later owner, which has delivered already
	Open       uint64 // not confirmed because an edge was not heard of, or did not confirm
	Resent     uint64 // to an edge that did not know the set
}

// New starts a Home; Close stops it.
func New(c Config) *Home {
	if c.Every <= 0 {
		c.Every = 500 * time.Millisecond
	}
	h := &Home{cfg: c, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go h.run()
	return h
}

// Close stops the goroutine and waits for it.
func (h *Home) Close() {
	close(h.stop)
	<-h.done
}

// enter locks a shard if this node serves it now, beginning its term if that is news.
func (h *Home) enter(i int) (*shard, bool) {
	epoch, ok := h.cfg.Cluster.Term(i)
	if !ok {
		return nil, false
	}
	s := &h.shards[i]
	s.mu.Lock()
	if s.epoch == epoch {
		return s, true
	}
	if s.ended == epoch || s.epoch > epoch {
		s.mu.Unlock()
		return nil, false
	}
	h.clear(s)
	s.epoch = epoch
	s.waiting = slices.Clone(h.cfg.Cluster.Edges())
	s.asked = nil
	for _, e := range s.waiting {
		s.nodes = append(s.nodes, &node{id: e})
	}
	if !h.begun.Swap(true) {
		h.poke()
	}
	return s, true
}

func (h *Home) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// clear forgets what a shard knows.
func (h *Home) clear(s *shard) {
	h.users.Add(-int64(len(s.users)))
	s.epoch, s.users, s.nodes, s.waiting, s.asked = 0, nil, nil, nil, nil
}

// Gained begins the term of a shard: edges are asked for their users. It does not block. Without it a term begins when
// the first parcel for it comes.
func (h *Home) Gained(i int) {
	if s, ok := h.enter(i); ok {
		s.mu.Unlock()
	}
}

// Lost ends the terms of shards: their state is gone, and the node no longer answers for them under those epochs.
func (h *Home) Lost(shards []int) {
	for _, i := range shards {
		s := &h.shards[i]
		s.mu.Lock()
		if s.epoch != 0 {
			s.ended = s.epoch
		}
		h.clear(s)
		s.mu.Unlock()
	}
}

func (s *shard) node(id chat.NodeID) *node {
	for _, n := range s.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// Enrol takes what an edge says of its users; chat.ErrMoved if the shard is not this node's, chat.ErrNotFound if the
// edge may have missed deliveries for sessions that it has.
func (h *Home) Enrol(from chat.NodeID, p *chat.Enrol) error {
	if p.Shard < 0 || p.Shard >= chat.Shards {
		return chat.ErrInvalid
	}
	s, ok := h.enter(p.Shard)
	if !ok {
		h.refused.Add(1)
		return chat.ErrMoved
	}
	defer s.mu.Unlock()
	n := s.node(from)
	if n == nil {
		n = &node{id: from, late: true}
		h.meet(from)
		s.nodes = append(s.nodes, n)
	}
	if p.All {
		if n.late && !n.heard && p.Open {
			return chat.ErrNotFound
		}
		h.enrolAll(s, n, p.Came)
		n.heard = true
		s.waiting = slices.DeleteFunc(s.waiting, func(x chat.NodeID) bool { return x == from })
		return nil
	}
	for _, k := range p.Came {
		h.came(s, n, k, true)
	}
	for _, k := range p.Left {
		h.went(s, n, k)
	}
	return nil
}

func (h *Home) enrolAll(s *shard, n *node, all []chat.UserKey) {
	// While edges are waited for, a user who seems to come may only have been forgotten.
	news := len(s.waiting) == 0
	if n.users > 0 {
		there := make(map[chat.UserKey]struct{}, len(all))
		for _, k := range all {
			there[k] = struct{}{}
		}
		for k, e := range s.users {
			if _, ok := there[k]; !ok && e.has(n.id) {
				h.went(s, n, k)
			}
		}
	}
	for _, k := range all {
		h.came(s, n, k, news)
	}
}

func (h *Home) came(s *shard, n *node, k chat.UserKey, news bool) {
	e, ok := s.users[k]
	if e.has(n.id) {
		return
	}
	n.users++
	n.sum ^= k.Hash()
	if ok {
		s.users[k] = edges{e.first, append(slices.Clone(e.more), n.id)}
		return
	}
	if s.users == nil {
		s.users = make(map[chat.UserKey]edges)
	}
	s.users[k] = edges{first: n.id}
	h.users.Add(1)
	if news {
		h.present(k, true)
	}
}

func (h *Home) went(s *shard, n *node, k chat.UserKey) {
	e := s.users[k]
	if !e.has(n.id) {
		return
	}
	n.users--
	n.sum ^= k.Hash()
	if e = e.without(n.id); e.first != 0 {
		s.users[k] = e
		return
	}
	delete(s.users, k)
	h.users.Add(-1)
	h.present(k, false)
}

func (h *Home) present(k chat.UserKey, online bool) {
	if h.cfg.Presence != nil {
		h.cfg.Presence(k, online)
	}
}

// Digests compares what an edge has enrolled with what is known of it, and asks for the users of shards that differ.
func (h *Home) Digests(from chat.NodeID, p *chat.Digests) {
	var differ *chat.ShardSet
	for _, d := range p.List {
		if d.Shard < 0 || d.Shard >= chat.Shards {
			continue
		}
		s, ok := h.enter(d.Shard)
		if !ok {
			continue // the edge will see where it went
		}
		n := s.node(from)
		if n == nil || !n.heard || n.users != d.Users || n.sum != d.Sum {
			if differ == nil {
				differ = new(chat.ShardSet)
			}
			differ.Add(d.Shard)
		}
		s.mu.Unlock()
	}
	if differ != nil {
		h.cfg.Cluster.Parcel(from, &chat.Recount{Shards: differ}, func(error) {}) // lost: the next digest will differ too
	}
}

// Online reports whether the user has a session anywhere; mine is false if the shard is not this node's.
func (h *Home) Online(k chat.UserKey) (online, mine bool) {
	s, ok := h.enter(k.Shard())
	if !ok {
		return false, false
	}
	defer s.mu.Unlock()
	_, online = s.users[k]
	return online, true
}

// run asks edges that have not enrolled, and forgets those that left the cluster.
func (h *Home) run() {
	defer close(h.done)
	t := time.NewTicker(h.cfg.Every)
	defer t.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-t.C:
			h.look()
		case <-h.wake: // terms begin many at a time
			pause := time.NewTimer(5 * time.Millisecond)
			select {
			case <-pause.C:
			case <-h.stop:
				pause.Stop()
				return
			}
			h.begun.Store(false)
		}
		h.ask()
	}
}

// look notes which edges there are, and forgets the others.
func (h *Home) look() {
	h.youngMu.Lock()
	alive := h.cfg.Cluster.Edges()
	for id, since := range h.young {
		if slices.Contains(alive, id) || time.Since(since) > youth {
			delete(h.young, id)
		}
	}
	h.youngMu.Unlock()
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		s.asked = nil
		if slices.ContainsFunc(s.nodes, func(n *node) bool { return !slices.Contains(alive, n.id) && h.gone(n.id) }) {
			h.forget(s, h.gone)
		}
		s.mu.Unlock()
	}
}

// youth is for how long an edge may be unknown to this node's view of the cluster, which may be behind.
const youth = 10 * time.Second

// meet notes an edge that enrols here for the first time.
func (h *Home) meet(id chat.NodeID) {
	if slices.Contains(h.cfg.Cluster.Edges(), id) {
		return
	}
	h.youngMu.Lock()
	defer h.youngMu.Unlock()
	if _, ok := h.young[id]; !ok {
		if h.young == nil {
			h.young = make(map[chat.NodeID]time.Time)
		}
		h.young[id] = time.Now()
	}
}

// gone reports whether an edge has left the cluster.
func (h *Home) gone(id chat.NodeID) bool {
	h.youngMu.Lock()
	defer h.youngMu.Unlock()
	_, young := h.young[id]
	return !young && !slices.Contains(h.cfg.Cluster.Edges(), id)
}

func (h *Home) forget(s *shard, gone func(chat.NodeID) bool) {
	for _, n := range s.nodes {
		if n.users == 0 || !gone(n.id) {
			continue
		}
		for k, e := range s.users {
			if e.has(n.id) {
				h.went(s, n, k)
			}
		}
	}
	s.nodes = slices.DeleteFunc(s.nodes, func(n *node) bool { return gone(n.id) })
	s.waiting = slices.DeleteFunc(s.waiting, gone)
}

// ask asks each edge that is waited for, for all shards at once.
func (h *Home) ask() {
	whom := make(map[chat.NodeID]*chat.ShardSet)
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for _, id := range s.waiting {
			if slices.Contains(s.asked, id) {
				continue
			}
			s.asked = append(s.asked, id)
			if whom[id] == nil {
				whom[id] = new(chat.ShardSet)
			}
			whom[id].Add(i)
		}
		s.mu.Unlock()
	}
	for id, set := range whom {
		h.cfg.Cluster.Parcel(id, &chat.Recount{Shards: set}, func(error) {}) // lost: it is asked again
	}
}

// Stats returns the counters.
func (h *Home) Stats() Stats {
	st := Stats{Users: h.users.Load(), Deliveries: h.deliveries.Load(), Passed: h.passed.Load(), Refused: h.refused.Load(), Fenced: h.fenced.Load(),
		Open: h.open.Load(), Resent: h.resent.Load()}
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		if s.epoch != 0 {
			st.Shards++
			if len(s.waiting) > 0 {
				st.Waiting++
			}
		}
		s.mu.Unlock()
	}
	return st
}
