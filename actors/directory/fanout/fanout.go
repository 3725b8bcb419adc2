package fanout

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/actors/directory/sets"
	"github.com/zumodra/hub/chat"
)

// Cluster is what a Publisher needs of the nodes. Its methods do not block.
type Cluster interface {
	Owner(shard int) chat.NodeID
	Edges() []chat.NodeID
	// Parcel: as in actors.Cluster; this node may be named too. It may call done before it returns.
	Parcel(node chat.NodeID, p chat.Parcel, done func(error))
}

// Config of a Publisher. Cluster and Announce are required.
type Config struct {
	Cluster Cluster
	// Announce asks the owner of a conversation, this node, to publish a head notice to its members now. It must not
	// block. It is called until such a notice was confirmed.
	Announce func(chat.ConversationKey)
	// Mine reports whether this node owns a conversation; what another owns is its to announce. Default: always.
	Mine     func(chat.ConversationKey) bool
	Queue    int           // deliveries of one conversation that wait; default 256
	UnderWay int           // deliveries of all that wait or are not confirmed; default 65,536
	Missed   int           // conversations that are; default 65,536
	Every    time.Duration // look at owners and missed conversations; default 50 ms
	Log      *slog.Logger  // default: none
}

// Publisher is safe for concurrent use and never blocks.
type Publisher struct {
	cfg     Config
	table   atomic.Pointer[table]
	stripes [64]stripe
	names   sets.Sender
	routes  routes
	missed  schedule
	resyncs resyncs

	no      atomic.Uint64 // of deliveries
	tracked atomic.Int64
	busy    [chat.Shards]atomic.Int32 // deliveries by the conversation's shard
	waiting atomic.Int64

	sent, confirmed, lost, heads, dropped, resent, abandoned atomic.Uint64

	poke chan struct{}
	stop chan struct{}
	done chan struct{}
}

// table is who owns the directory shards.
type table struct {
	version uint64
	owner   [chat.Shards]chat.NodeID
}

// stripe is some of the conversations. Whoever holds mu takes the outcomes that come meanwhile before leaving, so that
// a Parcel that answers at once is no trap.
type stripe struct {
	mu    sync.Mutex
	convs map[chat.ConversationKey]*conv

	outMu sync.Mutex
	out   []outcome
}

// conv is a conversation with something under way, waiting or missed.
type conv struct {
	key     chat.ConversationKey
	flights []*flight // in the order of sending
	waiting []*flight
	missed  *missed
	joined  map[chat.UserID]uint64 // number of the delivery that says so, as long as one before it is under way
}

// flight is one delivery on its way to the homes of its recipients.
type flight struct {
	d       *chat.Delivery
	no      uint64
	version uint64 // of the table by which it went
	left    int    // lanes that have not said
	lost    bool
	fenced  bool // by the deliveries of a later owner
	repeat  bool // tells again who is a member no more
}

type outcome struct {
	c      *conv
	f      *flight
	lane   lane
	ticket uint64
	again  bool
	err    error
}

// Stats of a Publisher: gauges, then counters since the start.
type Stats struct {
	UnderWay, Waiting, Missed int
	Sent                      uint64 // to homes
	Confirmed                 uint64 // by a home
	Lost                      uint64 // or refused by one
	Heads                     uint64 // head notices that were asked for
	Dropped                   uint64 // ephemeral ones, and receipts
	Resent                    uint64 // to a home that did not know the set
	Abandoned                 uint64 // conversations that were missed when another node became their owner
	Resyncs                   uint64 // times that there were too many missed
}

// New starts a Publisher; Close stops it.
func New(c Config) *Publisher {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&c.Queue, 256)
	def(&c.UnderWay, 65_536)
	def(&c.Missed, 65_536)
	if c.Every <= 0 {
		c.Every = 50 * time.Millisecond
	}
	if c.Mine == nil {
		c.Mine = func(chat.ConversationKey) bool { return true }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &Publisher{cfg: c, poke: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	for i := range p.stripes {
		p.stripes[i].convs = make(map[chat.ConversationKey]*conv)
	}
	p.table.Store(&table{})
	p.look()
	go p.run()
	return p
}

// Close stops the goroutine and waits for it.
func (p *Publisher) Close() {
	close(p.stop)
	<-p.done
}

func (p *Publisher) stripe(k chat.ConversationKey) *stripe {
	return &p.stripes[k.Shard()%len(p.stripes)]
}

// Publish sends a delivery on its way. Those of one conversation must be published one after the other.
func (p *Publisher) Publish(d *chat.Delivery) {
	if len(d.Recipients.Users) == 0 {
		return
	}
	s := p.stripe(d.Key)
	s.mu.Lock()
	p.publish(s, d, false)
	p.unlock(s)
}

func (p *Publisher) publish(s *stripe, d *chat.Delivery, repeat bool) {
	c := s.convs[d.Key]
	wait := c != nil && !p.free(c)
	if ephemeral(d) {
		if wait {
			p.dropped.Add(1)
		} else {
			p.toss(d)
		}
		return
	}
	if c == nil {
		c = &conv{key: d.Key}
		s.convs[d.Key] = c
	}
	f := &flight{d: d, no: p.no.Add(1), repeat: repeat}
	c.welcome(f)
	full := len(c.waiting) >= p.cfg.Queue || p.tracked.Load() >= int64(p.cfg.UnderWay)
	if full && !c.redeems(f) {
		p.lose(c, f)
		p.tidy(s, c)
		return
	}
	p.tracked.Add(1)
	p.busy[d.Key.Shard()].Add(1)
	if wait {
		p.waiting.Add(1)
		c.waiting = append(c.waiting, f)
		return
	}
	p.send(s, c, f)
}

// redeems reports whether a delivery makes up for what was missed, and is the only one that tries to: such ones go beyond
// the bounds, lest a busy conversation keep others, or itself, from saying so. They are two for each that is missed.
func (c *conv) redeems(f *flight) bool {
	return c.missed != nil && f.tries() && !c.trying(f.repeat)
}

// tries reports whether a delivery may make up for what was missed.
func (f *flight) tries() bool { return f.repeat || isHead(f.d) }

// trying reports whether a head notice, or one that repeats who is a member no more, waits or is under way.
func (c *conv) trying(repeat bool) bool {
	is := func(f *flight) bool { return f.tries() && f.repeat == repeat }
	return slices.ContainsFunc(c.flights, is) || slices.ContainsFunc(c.waiting, is)
}

// free reports whether a delivery may be sent without overtaking one that went another way.
func (p *Publisher) free(c *conv) bool {
	// Those under way are in the order of versions.
	return len(c.waiting) == 0 && (len(c.flights) == 0 || c.flights[0].version == p.table.Load().version)
}

func (p *Publisher) send(s *stripe, c *conv, f *flight) {
	t := p.table.Load()
	f.version = t.version
	lanes := p.lanes(t, f.d)
	f.left = len(lanes)
	c.flights = append(c.flights, f)
	for _, l := range lanes {
		p.hand(s, outcome{c: c, f: f, lane: l})
	}
}

func (p *Publisher) hand(s *stripe, o outcome) {
	if o.lane.node == 0 {
		o.err = chat.ErrUnavailable
		p.landed(s, o)
		return
	}
	p.sent.Add(1)
	var d *chat.Delivery
	d, o.ticket = p.names.Pack(o.lane.node, o.f.d)
	p.cfg.Cluster.Parcel(o.lane.node, &chat.ToHome{Delivery: d, Shards: o.lane.shards}, func(err error) {
		o.err = err
		p.landed(s, o)
	})
}

// toss sends something of which nobody needs to know whether it arrives.
func (p *Publisher) toss(d *chat.Delivery) {
	for _, l := range p.lanes(p.table.Load(), d) {
		if l.node == 0 {
			continue
		}
		p.sent.Add(1)
		packed, ticket := p.names.Pack(l.node, d)
		p.cfg.Cluster.Parcel(l.node, &chat.ToHome{Delivery: packed, Shards: l.shards}, func(err error) {
			switch {
			case err == nil:
				p.names.Confirmed(l.node, d, ticket)
				return
			case errors.Is(err, chat.ErrUnknownSet):
				p.names.Unknown(l.node, d, ticket)
			}
			p.dropped.Add(1)
		})
	}
}

// landed notes an outcome, which whoever has the stripe takes.
func (p *Publisher) landed(s *stripe, o outcome) {
	s.outMu.Lock()
	s.out = append(s.out, o)
	s.outMu.Unlock()
	if s.mu.TryLock() {
		p.unlock(s)
	}
}

func (p *Publisher) unlock(s *stripe) {
	for {
		for {
			s.outMu.Lock()
			out := s.out
			s.out = nil
			s.outMu.Unlock()
			if len(out) == 0 {
				break
			}
			for i := range out {
				p.settle(s, &out[i])
			}
		}
		s.mu.Unlock()
		s.outMu.Lock()
		more := len(s.out) > 0
		s.outMu.Unlock()
		if !more || !s.mu.TryLock() {
			return
		}
	}
}

func (p *Publisher) settle(s *stripe, o *outcome) {
	c, f := o.c, o.f
	switch {
	case o.err == nil:
		p.confirmed.Add(1)
		p.names.Confirmed(o.lane.node, f.d, o.ticket)
	case errors.Is(o.err, chat.ErrUnknownSet) && o.ticket != 0:
		p.names.Unknown(o.lane.node, f.d, o.ticket)
		if !o.again && c.flights[len(c.flights)-1] == f { // it overtakes nothing
			p.resent.Add(1)
			p.hand(s, outcome{c: c, f: f, lane: o.lane, again: true})
			return
		}
		fallthrough
	default:
		p.lost.Add(1)
		if errors.Is(o.err, chat.ErrSuperseded) {
			f.fenced = true
		} else {
			f.lost = true
		}
		if errors.Is(o.err, chat.ErrMoved) {
			p.Moved()
		}
	}
	if f.left--; f.left > 0 {
		return
	}
	c.flights = slices.DeleteFunc(c.flights, func(x *flight) bool { return x == f })
	p.ended(f)
	if f.lost || f.fenced && !f.repeat {
		p.lose(c, f)
	} else {
		p.arrived(c, f)
	}
	p.proceed(s, c)
	p.tidy(s, c)
}

func (p *Publisher) ended(f *flight) {
	p.tracked.Add(-1)
	p.busy[f.d.Key.Shard()].Add(-1)
}

// proceed sends what waited, if the way is free.
func (p *Publisher) proceed(s *stripe, c *conv) {
	if len(c.waiting) == 0 || len(c.flights) > 0 && c.flights[0].version != p.table.Load().version {
		return
	}
	next := c.waiting
	c.waiting = nil
	p.waiting.Add(-int64(len(next)))
	for _, f := range next {
		p.send(s, c, f)
	}
}

func (p *Publisher) tidy(s *stripe, c *conv) {
	if len(c.flights) > 0 || len(c.waiting) > 0 {
		return
	}
	if c.joined = nil; c.missed == nil {
		delete(s.convs, c.key)
	}
}

// ephemeral reports whether a delivery is neither kept nor repeated.
func ephemeral(d *chat.Delivery) bool {
	for i := range d.Notices {
		n := &d.Notices[i]
		if n.Typing == nil && (n.Read == nil || n.Read.Kind != chat.ReceiptDelivered) {
			return false
		}
	}
	return len(d.Detached) == 0 && !d.Gone
}

// Moved says that shards may have other owners.
func (p *Publisher) Moved() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// look finds out who owns the shards.
func (p *Publisher) look() {
	old := p.table.Load()
	var fresh *table
	for i := range old.owner {
		if o := p.cfg.Cluster.Owner(i); o != old.owner[i] {
			if fresh == nil {
				t := *old
				t.version++
				fresh = &t
			}
			fresh.owner[i] = o
		}
	}
	if fresh != nil {
		p.table.Store(fresh)
	}
}

func (p *Publisher) run() {
	defer close(p.done)
	t := time.NewTicker(p.cfg.Every)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-p.poke:
			p.look()
		case <-t.C:
			p.look()
			p.repeat(time.Now())
			p.resync(time.Now())
		}
	}
}

// Settled reports whether the conversation's deliveries have all arrived where they should, and it is not missed.
func (p *Publisher) Settled(k chat.ConversationKey) bool {
	s := p.stripe(k)
	s.mu.Lock()
	_, ok := s.convs[k]
	p.unlock(s)
	return !ok
}

// Flush waits until the deliveries of all conversations of these shards are confirmed or lost. It returns those that
// are missed: their next owner has to announce them, so that their dirty marks must stay.
func (p *Publisher) Flush(ctx context.Context, shards *chat.ShardSet) ([]chat.ConversationKey, error) {
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	var err error
	for err == nil && p.underWay(shards) {
		select {
		case <-t.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	var missed []chat.ConversationKey
	p.each(shards, func(_ *stripe, c *conv) {
		if c.missed != nil || len(c.waiting)+len(c.flights) > 0 {
			missed = append(missed, c.key)
		}
	})
	return missed, err
}

func (p *Publisher) underWay(shards *chat.ShardSet) bool {
	for i := range p.busy {
		if shards.Has(i) && p.busy[i].Load() > 0 {
			return true
		}
	}
	return false
}

// Drop forgets what waits and what is missed of the conversations of these shards, which another node owns now: it
// announces what was not delivered.
func (p *Publisher) Drop(shards *chat.ShardSet) {
	p.each(shards, func(s *stripe, c *conv) {
		for _, f := range c.waiting {
			p.ended(f)
		}
		p.waiting.Add(-int64(len(c.waiting)))
		c.waiting = nil
		p.abandon(c)
		p.tidy(s, c)
	})
}

func (p *Publisher) each(shards *chat.ShardSet, f func(*stripe, *conv)) {
	for i := range p.stripes {
		s := &p.stripes[i]
		s.mu.Lock()
		for k, c := range s.convs {
			if shards.Has(k.Shard()) {
				f(s, c)
			}
		}
		p.unlock(s)
	}
}

// Stats returns the counters.
func (p *Publisher) Stats() Stats {
	waiting := int(p.waiting.Load())
	return Stats{UnderWay: int(p.tracked.Load()) - waiting, Waiting: waiting, Missed: int(p.missed.n.Load()), Sent: p.sent.Load(),
		Confirmed: p.confirmed.Load(), Lost: p.lost.Load(), Heads: p.heads.Load(), Dropped: p.dropped.Load(),
		Resent: p.resent.Load(), Abandoned: p.abandoned.Load(), Resyncs: p.resyncs.n.Load()}
}
