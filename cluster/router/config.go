package router

import (
	"context"
	"log/slog"
	"time"

	"github.com/zumodra/hub/chat"
)

// Ownership says who serves a shard. Its methods must not block, and are called from any goroutine.
type Ownership interface {
	// Term says whether this node serves the shard now, and under which epoch.
	Term(shard int) (epoch uint64, ok bool)
	// MayAck reports whether it still serves it under that epoch.
	MayAck(shard int, epoch uint64) bool
	// Owner is the node that holds the shard as far as is known here; 0: not known.
	Owner(shard int) chat.NodeID
	// Refresh asks for what Owner knows to be read again soon. It is called whenever that turned out to be wrong, so
	// calls are to be merged.
	Refresh()
}

// Transport carries bytes to other nodes. Its methods must not block, copy the payload before they return, and call done
// once, from any goroutine, the caller's included.
type Transport interface {
	// Request hands a question over; its answer is valid until done returns. Requests that a node is sent one after
	// the other are handed to it in that order, but for those that fail.
	Request(ctx context.Context, node chat.NodeID, payload []byte, done func([]byte, error))
	// Deliver hands a parcel over. Those to one node are handled there in order.
	Deliver(node chat.NodeID, payload []byte, done func(error))
}

// Handler answers for this node: the Hub. Its methods must not block and call done once, from any goroutine, the caller's
// included.
type Handler interface {
	// Answer answers a question about a shard that this node served a moment ago; chat.ErrMoved if it does not.
	Answer(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error))
	// Receive handles a parcel. It is called one at a time for each node, in the order of its parcels.
	Receive(from chat.NodeID, p chat.Parcel, done func(error))
}

// Observer is told of each question's end. Its method must not block and is called from any goroutine.
type Observer interface {
	// Asked says which question it was (chat.Question.Name), whether another node was asked last, how many attempts
	// there were, how long it took, and with which error it ended.
	Asked(question string, remote bool, attempts int, took time.Duration, err error)
}

// Config of a Router.
type Config struct {
	Self    chat.NodeID // this node
	Shards  Ownership
	Peers   Transport
	Handler Handler // may be given later, to Serve
	// Edges are the nodes that may have sessions; default: none.
	Edges func() []chat.NodeID
	// NotSent reports whether an error of Peers means that nothing of the request reached the node; default: none
	// does.
	NotSent func(error) bool

	Patience time.Duration // how long to try when the question's context has no deadline; default 10 s
	Attempt  time.Duration // how long to wait for one node's answer to a repeatable question; default 2 s
	Limit    int           // questions under way; default 65,536
	Line     int           // of those, of one user about one conversation; default 1,024
	Inbound  int           // questions of other nodes being answered; default 65,536

	Observer Observer     // default: none
	Logger   *slog.Logger // default: slog.Default
}

func (c Config) withDefaults() Config {
	if c.Edges == nil {
		c.Edges = func() []chat.NodeID { return nil }
	}
	if c.NotSent == nil {
		c.NotSent = func(error) bool { return false }
	}
	if c.Patience == 0 {
		c.Patience = 10 * time.Second
	}
	if c.Attempt == 0 {
		c.Attempt = 2 * time.Second
	}
	if c.Limit == 0 {
		c.Limit = 65_536
	}
	if c.Line == 0 {
		c.Line = 1_024
	}
	if c.Inbound == 0 {
		c.Inbound = 65_536
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

type nobody struct{}

func (nobody) Asked(string, bool, int, time.Duration, error) {}

// A failed attempt is followed by a pause of backOffMin, doubled with each up to backOffMax, less up to half of it at
// random.
const (
	backOffMin = 5 * time.Millisecond
	backOffMax = 250 * time.Millisecond
)
