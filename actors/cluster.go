package actors

import (
	"context"

	"github.com/zumodra/hub/chat"
)

// Cluster is the nodes that share the conversations and users of one store, as the Hub sees them. Its methods are safe
// for concurrent use and do not block.
type Cluster interface {
	// Self is this node.
	Self() chat.NodeID
	// Term says whether this node serves a shard now, and under which epoch.
	Term(shard int) (epoch uint64, ok bool)
	// MayAck reports whether it still serves it under that epoch: what was written is acknowledged only then (I4).
	MayAck(shard int, epoch uint64) bool
	// Owner is the node that holds a shard, as far as is known here; 0: not known.
	Owner(shard int) chat.NodeID
	// Ask hands a question to whoever owns the shard, this node included, and goes after it when it moves, until ctx
	// ends. done is called once, from any goroutine, the caller's included. What cannot be said, because nobody could be
	// reached in time, is chat.ErrUnavailable; chat.ErrUnknown if it may have been carried out.
	Ask(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error))
	// Parcel hands something of the directory's to a node. Parcels to one node are handled there in the order in which
	// they were handed over. done is called once: with nil when the node has handled it; else it is lost, or it is not
	// known whether it arrived.
	Parcel(node chat.NodeID, p chat.Parcel, done func(error))
	// Edges are the nodes that may have sessions, this one included if it may.
	Edges() []chat.NodeID
}
