package actors

import (
	"context"

	"github.com/zumodra/hub/actors/directory/enrol"
	"github.com/zumodra/hub/actors/directory/fanout"
	"github.com/zumodra/hub/actors/directory/home"
	"github.com/zumodra/hub/chat"
)

// delivery is what brings deliveries to the sessions of users on all nodes, where there are others.
type delivery struct {
	home  *home.Home
	enrol *enrol.Enrolment
	pub   *fanout.Publisher

	charges *charges
}

// nodes is the cluster as the parts of delivery see it: this node is one like the others.
type nodes struct {
	Cluster
	hub *Hub
}

func (n nodes) Parcel(to chat.NodeID, p chat.Parcel, done func(error)) {
	if to == n.Self() {
		n.hub.receive(to, p, done)
		return
	}
	n.Cluster.Parcel(to, p, done)
}

// startDelivery is called when everything that it tells is there.
func (h *Hub) startDelivery() {
	if h.cfg.Cluster == nil {
		return
	}
	c := nodes{h.cfg.Cluster, h}
	d := &delivery{
		home: home.New(home.Config{Cluster: c, Presence: func(k chat.UserKey, online bool) {
			if h.presence != nil {
				h.presence.changed(k, online)
			}
		}}),
		pub: fanout.New(fanout.Config{Cluster: c, Announce: h.announce, Log: h.cfg.Log,
			Mine: func(k chat.ConversationKey) bool {
				_, ok := c.Term(k.Shard())
				return ok
			}}),
	}
	d.charges = newCharges(c)
	d.enrol = enrol.New(enrol.Config{Cluster: c, Resume: h.dir.Evict, Log: h.cfg.Log})
	h.delivery.Store(d)
	d.enrol.Moved() // what it sent this node before was refused
}

// closeDelivery waits until what was published has arrived, or is known not to have, or ctx ends.
func (h *Hub) closeDelivery(ctx context.Context) {
	d := h.delivery.Load()
	if d == nil {
		return
	}
	var all chat.ShardSet
	for i := range chat.Shards {
		all.Add(i)
	}
	if missed, err := d.pub.Flush(ctx, &all); err != nil || len(missed) > 0 {
		h.cfg.Log.Warn("not everything was delivered", "conversations", len(missed), "error", err)
	}
	d.charges.close()
	d.enrol.Close()
	d.pub.Close()
	d.home.Close()
}

// publish is what conversations publish to where there are other nodes.
func (h *Hub) publish(m *chat.Delivery) {
	if d := h.delivery.Load(); d != nil {
		d.pub.Publish(m)
	}
}

// Receive takes a parcel of another node's. Those of one node must come one after the other. It never blocks; done is
// called once, from any goroutine: with nil when the parcel has been handled.
func (h *Hub) Receive(from chat.NodeID, p chat.Parcel, done func(error)) {
	h.ioMu.RLock()
	defer h.ioMu.RUnlock()
	if h.closed.Load() {
		done(chat.ErrShutdown)
		return
	}
	h.receive(from, p, done)
}

func (h *Hub) receive(from chat.NodeID, p chat.Parcel, done func(error)) {
	d := h.delivery.Load()
	if d == nil {
		done(chat.ErrUnavailable)
		return
	}
	switch p := p.(type) {
	case *chat.ToHome:
		d.home.ToHome(from, p, done)
	case *chat.ToEdge:
		h.dir.ToEdge(from, p, done)
	case *chat.Enrol:
		done(d.home.Enrol(from, p))
	case *chat.Digests:
		d.home.Digests(from, p)
		done(nil)
	case *chat.Recount:
		d.enrol.Recount(from, p)
		done(nil)
	case *chat.Charges:
		h.charged(p)
		done(nil)
	default:
		done(chat.ErrNotSupported)
	}
}

// Enter says that a session of a user is about to open on this node. It reports true if it may at once; if not, done
// is called once, later and from another goroutine: the session may open then unless there is an error.
func (h *Hub) Enter(k chat.UserKey, done func(error)) bool {
	d := h.delivery.Load()
	return d == nil || d.enrol.Enter(k, done)
}

// Exit takes one Enter back, whatever became of it.
func (h *Hub) Exit(k chat.UserKey) {
	if d := h.delivery.Load(); d != nil {
		d.enrol.Exit(k)
	}
}

// there reports whether the user has a session: on any node, if this one owns the user's directory shard, else on this
// one.
func (h *Hub) there(k chat.UserKey) bool {
	if d := h.delivery.Load(); d != nil {
		if online, mine := d.home.Online(k); mine {
			return online
		}
	}
	return h.dir.Online(k)
}

// TopologyMoved says that shards may have other owners than a moment ago. It does not block.
func (h *Hub) TopologyMoved() {
	if d := h.delivery.Load(); d != nil {
		d.enrol.Moved()
		d.pub.Moved()
	}
}

// DirectoryGained begins this node's term as the owner of a directory shard. It does not block.
func (h *Hub) DirectoryGained(shard int) {
	if d := h.delivery.Load(); d != nil {
		d.home.Gained(shard)
	}
}

// DirectoryLost ends this node's terms as the owner of shards: what it knows of their users is gone, and what of their
// conversations was not delivered is for their next owner to announce. It does not block for long.
func (h *Hub) DirectoryLost(shards []int) {
	if d := h.delivery.Load(); d != nil {
		d.home.Lost(shards)
		d.pub.Drop(shardSet(shards))
	}
}

// FlushDeliveries waits until the deliveries of the conversations of shards have arrived or are lost. It returns those
// that some have missed: their dirty marks must be there when another node becomes their owner, which announces them.
func (h *Hub) FlushDeliveries(ctx context.Context, shards []int) ([]chat.ConversationKey, error) {
	d := h.delivery.Load()
	if d == nil {
		return nil, nil
	}
	return d.pub.Flush(ctx, shardSet(shards))
}

// delivered reports whether everything that a conversation published has arrived: its dirty mark may go.
func (h *Hub) delivered(k chat.ConversationKey) bool {
	d := h.delivery.Load()
	return d == nil || d.pub.Settled(k)
}

func shardSet(shards []int) *chat.ShardSet {
	s := new(chat.ShardSet)
	for _, i := range shards {
		s.Add(i)
	}
	return s
}

// announce publishes how far the log of a conversation reaches. It does not block. When it fails it is asked for again.
func (h *Hub) announce(k chat.ConversationKey) {
	h.lookup(func(chat.Result, error) {}, func(ctx context.Context) error { return h.convs.Announce(ctx, k) }, func() {})
}

// TellScheduled tells the sockets of one user, members of the conversation or not, on whichever node, that a message was
// not sent at its time. It does nothing where the conversation is another node's. It does not block.
func (h *Hub) TellScheduled(k chat.ConversationKey, user chat.UserID, n *chat.ScheduledNotice) {
	t, ok := h.term(k.Shard())
	if !ok || !h.begin() {
		return
	}
	defer h.io.Done()
	d := &chat.Delivery{Key: k, Recipients: &chat.MemberSet{Users: []chat.UserID{user}}, Notices: []chat.Notice{{Scheduled: n}}, Epoch: t.epoch}
	if h.cfg.Cluster != nil {
		h.publish(d)
		return
	}
	h.dir.Publish(d)
}
