package fanout

import (
	"container/heap"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	// maxDetached is how many users of a conversation are told again that they are members no more.
	maxDetached = 4096
)

// missed is what some did not get of a conversation. Guarded by the stripe but for due and at.
type missed struct {
	key      chat.ConversationKey
	head     uint64 // number of the newest delivery of events that got lost; 0: none did
	detach   uint64 // likewise, of those that tell users that they are members no more
	detached []chat.UserID
	gone     bool
	epoch    uint64 // of the newest of those
	pause    time.Duration

	due time.Time
	at  int // in the heap
}

// schedule orders missed conversations by when they are due. Its lock is a leaf.
type schedule struct {
	n    atomic.Int64 // of those that are missed still
	mu   sync.Mutex
	heap byDue
}

type byDue []*missed

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byDue) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }
func (h *byDue) Push(x any)        { m := x.(*missed); m.at = len(*h); *h = append(*h, m) }
func (h *byDue) Pop() any {
	n := len(*h) - 1
	m := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return m
}

func (s *schedule) put(m *missed, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.due = due
	heap.Push(&s.heap, m)
}

// remove takes out one that may be in.
func (s *schedule) remove(m *missed) {
	s.n.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.at >= 0 && m.at < len(s.heap) && s.heap[m.at] == m {
		heap.Remove(&s.heap, m.at)
	}
}

func (s *schedule) next(now time.Time) *missed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heap) == 0 || s.heap[0].due.After(now) {
		return nil
	}
	return heap.Pop(&s.heap).(*missed)
}

func isHead(d *chat.Delivery) bool {
	return len(d.Notices) > 0 && d.Notices[len(d.Notices)-1].Head != nil
}

// lose notes a delivery that did not arrive everywhere.
func (p *Publisher) lose(c *conv, f *flight) {
	d := f.d
	events := !d.Gone && slices.ContainsFunc(d.Notices, func(n chat.Notice) bool { return n.Event != nil || n.Head != nil })
	// Where a delivery was fenced, the sessions of those who are members no more have been told to come back.
	var gone []chat.UserID
	if f.lost || !f.fenced {
		gone = slices.DeleteFunc(slices.Clone(d.Detached), func(u chat.UserID) bool { return c.joined[u] > f.no })
	}
	if !events && len(gone) == 0 {
		p.dropped.Add(1)
		return
	}
	m := c.missed
	if m == nil {
		if p.missed.n.Load() >= int64(p.cfg.Missed) {
			p.overflow(d)
			return
		}
		p.missed.n.Add(1)
		m = &missed{key: c.key, pause: firstPause, at: -1}
		c.missed = m
		p.missed.put(m, time.Now().Add(firstPause))
		p.cfg.Log.Debug("a delivery did not arrive everywhere", slog.String("tenant", string(c.key.Tenant)),
			slog.String("conversation", c.key.ID.String()))
	}
	if events {
		m.head = max(m.head, f.no)
	}
	if len(gone) == 0 {
		return
	}
	m.detach, m.gone, m.epoch = max(m.detach, f.no), m.gone || d.Gone, max(m.epoch, d.Epoch)
	for _, u := range gone {
		if i, ok := slices.BinarySearch(m.detached, u); !ok {
			m.detached = slices.Insert(m.detached, i, u)
		}
	}
	if len(m.detached) > maxDetached { // also of those before
		p.overflow(&chat.Delivery{Key: c.key, Recipients: &chat.MemberSet{Users: m.detached}})
		if m.detach, m.detached, m.gone = 0, nil, false; m.head == 0 { // of what is gone nothing comes any more to settle it
			c.missed = nil
			p.missed.remove(m)
		}
	}
}

// welcome takes note of who became a member: to be told then of having been removed before would end sessions for good
// that may be there.
func (c *conv) welcome(f *flight) {
	for i := range f.d.Notices {
		e := f.d.Notices[i].Event
		if e == nil || e.Change != chat.ChangeAdded {
			continue
		}
		for _, u := range e.Users {
			if c.joined == nil {
				c.joined = make(map[chat.UserID]uint64)
			}
			c.joined[u] = f.no
		}
		if m := c.missed; m != nil && m.detach > 0 {
			m.detached = slices.DeleteFunc(m.detached, func(u chat.UserID) bool { return slices.Contains(e.Users, u) })
			if len(m.detached) == 0 {
				m.detach, m.detached, m.gone = 0, nil, false // and this delivery says what becomes of the rest
			}
		}
	}
}

// arrived takes note of a delivery that did: what was missed before it may be made up for.
func (p *Publisher) arrived(c *conv, f *flight) {
	m := c.missed
	if m == nil {
		return
	}
	if (isHead(f.d) || f.d.Gone) && f.no > m.head { // of what is gone no head can be announced, and nobody is owed it
		m.head = 0
	}
	if f.repeat && f.no > m.detach {
		m.detach, m.detached, m.gone = 0, nil, false
	}
	if m.head == 0 && m.detach == 0 {
		c.missed = nil
		p.missed.remove(m)
	}
}

func (p *Publisher) abandon(c *conv) {
	if c.missed != nil {
		p.missed.remove(c.missed)
		c.missed = nil
		p.abandoned.Add(1)
	}
}

// repeat has the heads of missed conversations announced that are due.
func (p *Publisher) repeat(now time.Time) {
	for m := p.missed.next(now); m != nil; m = p.missed.next(now) {
		if p.again(m, now) {
			p.heads.Add(1)
			p.cfg.Announce(m.key)
		}
	}
}

func (p *Publisher) again(m *missed, now time.Time) (announce bool) {
	mine := p.cfg.Mine(m.key)
	s := p.stripe(m.key)
	s.mu.Lock()
	defer p.unlock(s)
	c := s.convs[m.key]
	if c == nil || c.missed != m {
		return false
	}
	if !mine {
		p.abandon(c)
		p.tidy(s, c)
		return false
	}
	p.missed.put(m, now.Add(m.pause))
	if c.trying(false) || c.trying(true) {
		return false
	}
	m.pause = min(2*m.pause, lastPause)
	announce = m.head > 0
	if m.detach > 0 {
		users := slices.Clone(m.detached)
		p.publish(s, &chat.Delivery{Key: m.key, Recipients: &chat.MemberSet{Version: m.detach, Users: users}, Detached: users,
			Gone: m.gone, Epoch: m.epoch}, true)
	}
	return announce
}

// resyncs are edges that have to end sessions, because of what nobody remembers.
type resyncs struct {
	n  atomic.Uint64
	mu sync.Mutex
	m  map[chat.NodeID]*resync
}

type resync struct {
	want, sent chat.ShardSet
	busy       bool
	after      time.Time
}

// overflow has the sessions of a delivery's recipients come back and resume.
func (p *Publisher) overflow(d *chat.Delivery) {
	p.resyncs.n.Add(1)
	p.cfg.Log.Warn("too many conversations are missed: sessions have to resume", slog.String("tenant", string(d.Key.Tenant)),
		slog.String("conversation", d.Key.ID.String()), slog.Int("users", len(d.Recipients.Users)))
	p.resyncs.mu.Lock()
	defer p.resyncs.mu.Unlock()
	for _, e := range p.cfg.Cluster.Edges() {
		r := p.resyncs.m[e]
		if r == nil {
			r = &resync{}
			if p.resyncs.m == nil {
				p.resyncs.m = make(map[chat.NodeID]*resync)
			}
			p.resyncs.m[e] = r
		}
		for _, u := range d.Recipients.Users {
			r.want.Add(chat.UserKey{Tenant: d.Key.Tenant, User: u}.Shard())
		}
	}
}

func (p *Publisher) resync(now time.Time) {
	ask := make(map[chat.NodeID]*chat.Recount)
	rs := &p.resyncs
	rs.mu.Lock()
	for e, r := range rs.m {
		switch {
		case r.busy || now.Before(r.after):
		case r.want == chat.ShardSet{}:
			delete(rs.m, e)
		default:
			shards := r.want
			ask[e] = &chat.Recount{Shards: &shards, Missed: true}
			r.sent, r.want, r.busy = r.want, chat.ShardSet{}, true
		}
	}
	rs.mu.Unlock()
	for e, q := range ask {
		p.cfg.Cluster.Parcel(e, q, func(err error) {
			rs.mu.Lock()
			defer rs.mu.Unlock()
			r := rs.m[e]
			r.busy = false
			if err == nil {
				return
			}
			if !slices.Contains(p.cfg.Cluster.Edges(), e) {
				delete(rs.m, e)
				return
			}
			for i := range r.want {
				r.want[i] |= r.sent[i]
			}
			r.after = now.Add(time.Second)
		})
	}
}
