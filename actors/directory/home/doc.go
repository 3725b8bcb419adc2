// Package home is the directory of the users whose shards this node owns: on which nodes ("edges") they have sessions,
// whether they are there at all, and the way of deliveries to these edges.
//
// The state is soft. It is kept per shard and term (the epoch under which the node serves the shard), and is made of
// what edges enrol: when a term begins, every edge is asked for its users. Invariants:
//   - A delivery is confirmed only when every edge on which a recipient may have a session has confirmed it. While an
//     edge that was there when the term began has not enrolled, no delivery of that shard is: it is passed on to those
//     edges that are known, and then said to be lost.
//   - An edge whose users had sessions before, and of which it cannot be said that nothing was confirmed without it, is
//     refused once (Enrol.Open): its sessions come back and resume.
//   - An edge that left the cluster has nobody here, and is not waited for.
//   - What this node does not serve, by the term at the time of asking, it refuses (chat.ErrMoved).
//   - Deliveries that come in an order go to each edge in that order.
//   - What the former owner of a conversation's shard had on its way is refused (chat.ErrSuperseded) once something of its
//     successor's has come: whoever takes a shard over announces the head of what may not have been delivered. What tells
//     users that they are members no more is passed on all the same, and edges, which refuse likewise, see to these.
//
// Presence is decided here: a user's first edge came, or the last one went.
//
// Goroutines: one that asks edges and forgets those that left; Close stops it and waits. The package must not know sessions, conversations, or how parcels travel.
package home
