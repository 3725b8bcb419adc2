package home

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zumodra/hub/actors/directory/sets"
	"github.com/zumodra/hub/chat"
)

var errOpen = fmt.Errorf("%w: an edge has not confirmed", chat.ErrUnavailable)

// ToHome passes a delivery on to the edges of its recipients. done is called once, from any goroutine: with nil when
// all of them have handled it, with chat.ErrSuperseded if all that stands in the way is that a later owner of the
// conversation has delivered already.
func (h *Home) ToHome(from chat.NodeID, p *chat.ToHome, done func(error)) {
	set, err := h.sets.Recipients(from, p.Delivery)
	if err != nil {
		h.refused.Add(1)
		done(err)
		return
	}
	if !h.current(p.Delivery) && len(p.Delivery.Detached) == 0 {
		h.fenced.Add(1)
		done(chat.ErrSuperseded)
		return
	}
	h.deliveries.Add(1)
	var to []batch
	if len(set.Users) < sets.Large {
		to, err = h.few(p, set)
	} else {
		to, err = h.many(p)
	}
	if err != nil {
		h.open.Add(1)
	}
	if len(to) == 0 {
		done(err)
		return
	}
	w := &way{home: h, err: err, done: done}
	w.left.Store(int32(len(to)))
	for i := range to {
		b := &to[i]
		d := p.Delivery
		switch {
		case b.users == nil && len(d.Recipients.Users) == 0: // named
			named := *d
			named.Recipients = set
			d = &named
		case b.users != nil && len(b.users) < len(set.Users):
			part := *d
			part.Recipients = &chat.MemberSet{Version: set.Version, Users: b.users}
			d = &part
		}
		h.pass(b.node, d, p.Shards, w)
	}
}

// current reports whether a delivery is not of an earlier term of its conversation's shard than one before.
func (h *Home) current(d *chat.Delivery) bool {
	if d.Epoch == 0 {
		return true
	}
	highest := &h.epochs[d.Key.Shard()]
	for {
		e := highest.Load()
		if d.Epoch <= e {
			return d.Epoch == e
		}
		if highest.CompareAndSwap(e, d.Epoch) {
			return true
		}
	}
}

// batch is what one edge gets. Without users it is for all of a large set whom the edge has.
type batch struct {
	node  chat.NodeID
	users []chat.UserID
}

func (h *Home) few(p *chat.ToHome, set *chat.MemberSet) (to []batch, err error) {
	add := func(n chat.NodeID, u chat.UserID) {
		for i := range to {
			if to[i].node == n {
				to[i].users = append(to[i].users, u)
				return
			}
		}
		to = append(to, batch{n, append(make([]chat.UserID, 0, len(set.Users)), u)})
	}
	for _, u := range set.Users {
		k := chat.UserKey{Tenant: p.Delivery.Key.Tenant, User: u}
		i := k.Shard()
		if !p.Shards.Has(i) {
			continue
		}
		s, ok := h.enter(i)
		if !ok {
			err = chat.ErrMoved
			continue
		}
		if len(s.waiting) > 0 && err == nil {
			err = errOpen
		}
		if e, ok := s.users[k]; ok {
			add(e.first, u)
			for _, n := range e.more {
				add(n, u)
			}
		}
		s.mu.Unlock()
	}
	return to, err
}

func (h *Home) many(p *chat.ToHome) (to []batch, err error) {
	for i := range chat.Shards {
		if !p.Shards.Has(i) {
			continue
		}
		s, ok := h.enter(i)
		if !ok {
			err = chat.ErrMoved
			continue
		}
		if len(s.waiting) > 0 && err == nil {
			err = errOpen
		}
		for _, n := range s.nodes {
			if n.users > 0 && !slices.ContainsFunc(to, func(b batch) bool { return b.node == n.id }) {
				to = append(to, batch{node: n.id})
			}
		}
		s.mu.Unlock()
	}
	return to, err
}

// way is a delivery that edges have not all confirmed.
type way struct {
	home *Home
	left atomic.Int32
	mu   sync.Mutex
	err  error
	done func(error)
}

func (w *way) confirm(err error) {
	if err != nil {
		w.mu.Lock()
		if w.err == nil {
			w.home.open.Add(1)
		}
		if w.err == nil || errors.Is(w.err, chat.ErrSuperseded) { // any other says more
			w.err = err
		}
		w.mu.Unlock()
	}
	if w.left.Add(-1) == 0 {
		w.done(w.err)
	}
}

func (h *Home) pass(to chat.NodeID, d *chat.Delivery, shards *chat.ShardSet, w *way) {
	h.passed.Add(1)
	if len(d.Recipients.Users) < sets.Large {
		h.cfg.Cluster.Parcel(to, &chat.ToEdge{Delivery: d, Shards: shards}, func(err error) { h.passedOn(to, err, w) })
		return
	}
	h.passLarge(&large{to: to, d: d, shards: shards, way: w})
}

// large is a delivery to a set that may be named, on its way to one edge.
type large struct {
	to     chat.NodeID
	d      *chat.Delivery
	shards *chat.ShardSet
	way    *way
	ticket uint64
	again  bool

	mu     sync.Mutex
	handed bool // over, and the order is unlocked
	told   bool // of the outcome before that
	err    error
}

// passLarge hands a delivery over. Which of a conversation's is the newest is known as long as their order is locked;
// nobody is told anything before it is unlocked.
func (h *Home) passLarge(l *large) {
	order := &h.order[l.d.Key.ID[len(l.d.Key.ID)-1]%64]
	order.Lock()
	if l.again && !h.names.Unknown(l.to, l.d, l.ticket) {
		order.Unlock()
		h.passedOn(l.to, errOpen, l.way)
		return
	}
	var packed *chat.Delivery
	packed, l.ticket = h.names.Pack(l.to, l.d)
	h.cfg.Cluster.Parcel(l.to, &chat.ToEdge{Delivery: packed, Shards: l.shards}, func(err error) {
		l.mu.Lock()
		if l.told, l.err = !l.handed, err; l.told {
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		h.passedLarge(l, err)
	})
	order.Unlock()
	l.mu.Lock()
	l.handed = true
	told, err := l.told, l.err
	l.mu.Unlock()
	if told {
		h.passedLarge(l, err)
	}
}

func (h *Home) passedLarge(l *large, err error) {
	switch {
	case err == nil:
		h.names.Confirmed(l.to, l.d, l.ticket)
	case errors.Is(err, chat.ErrUnknownSet) && !l.again:
		h.resent.Add(1)
		h.passLarge(&large{to: l.to, d: l.d, shards: l.shards, way: l.way, ticket: l.ticket, again: true})
		return
	}
	h.passedOn(l.to, err, l.way)
}

func (h *Home) passedOn(to chat.NodeID, err error, w *way) {
	switch {
	case err == nil, errors.Is(err, chat.ErrSuperseded):
	case h.gone(to):
		// Its clients come back elsewhere, and resume. If it does, it has missed this.
		h.left(to)
		err = nil
	default:
		err = errOpen
	}
	w.confirm(err)
}

// left forgets an edge that is not in the cluster.
func (h *Home) left(id chat.NodeID) {
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		if s.node(id) != nil {
			h.forget(s, func(x chat.NodeID) bool { return x == id })
		}
		s.mu.Unlock()
	}
}
