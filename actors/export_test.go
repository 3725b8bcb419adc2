package actors

import "context"

// SetRepaired says whether the repair of a shard that this node got is over.
func (h *Hub) SetRepaired(shard int, ok bool) { h.unrepaired[shard].Store(!ok) }

// InMemory is how many conversations and users are in memory. It takes no lock.
func (h *Hub) InMemory() int {
	n := h.convs.Live()
	if h.people != nil {
		n += h.people.Live()
	}
	return n
}

// ReleasePresence ends the node's being home of users.
func (h *Hub) ReleasePresence(ctx context.Context, shards []int) {
	h.presence.release(ctx, shardSet(shards))
}

// LosePresence is the same when it has ended already.
func (h *Hub) LosePresence(shards []int) { h.presence.lose(shardSet(shards)) }
