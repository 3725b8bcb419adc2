package projection

import (
	"context"
	"errors"
	"math"

	"github.com/zumodra/hub/chat"
)

// Consumer of the logs. It is called from several goroutines, but never with changes of one conversation at a time
// that overlap.
type Consumer interface {
	// Name is a short constant, as "search": it is stored, and a label of metrics.
	Name() string
	// Apply takes changes of several conversations in and returns when they survive a crash. Events at or below a
	// conversation's cursor may come again. After an error any part may have been applied.
	Apply(ctx context.Context, changes []chat.IndexChange) error
	// Cursors returns the seq of the last event applied of each conversation, 0 where there is none.
	Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error)
	// Generation is the identity of the consumer's data: when it is another one than before, everything is fed again.
	Generation(ctx context.Context) (string, error)
}

// Rebuilder is implemented by a Consumer whose data can be made anew beside the one in use.
type Rebuilder interface {
	Rebuild(ctx context.Context) (Rebuild, error)
}

// Rebuild is new data that is being fed. Apply and Cursors are as in Consumer.
type Rebuild interface {
	Apply(ctx context.Context, changes []chat.IndexChange) error
	Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error)
	// Commit puts the new data in the place of the old, under a new Generation.
	Commit(ctx context.Context) error
	Abort(ctx context.Context) error
}

// Gone is the seq by which a conversation that is there no more is reported as followed.
const Gone = math.MaxUint64

// Position of a conversation.
type Position struct {
	Head   uint64 // the log may be read up to here
	Exists bool   // false: it was deleted, or never was
	// Later says that it cannot be told right now; Err why, if something failed.
	Later bool
	Err   error
}

// Followed says that everything up to Seq of a conversation has been applied by all consumers; Gone.
type Followed struct {
	Key chat.ConversationKey
	Seq uint64
}

// Conversations authorise reading.
type Conversations interface {
	// Positions says how far each conversation's log may be read.
	Positions(ctx context.Context, keys []chat.ConversationKey) ([]Position, error)
	// Rewritten are rows of messages that the store does not show yet.
	Rewritten(key chat.ConversationKey) []*chat.Event
	// Followed takes the dirty marks away that nobody needs any more, now or when the conversations are at rest. It
	// returns those of which it could not be told: they are reported again later.
	Followed(ctx context.Context, list []Followed) (failed []chat.ConversationKey)
}

// Store holds the logs, the marks and what is remembered of consumers; storage.Store is one.
type Store interface {
	ReadEvents(ctx context.Context, key chat.ConversationKey, from, to uint64, limit int) ([]chat.Event, error)
	DirtyShard(ctx context.Context, shard int, after chat.ConversationKey, limit int) ([]chat.ConversationKey, error)
	Conversations(ctx context.Context, yield func(key chat.ConversationKey, head uint64) bool) error
	Consumers(ctx context.Context) ([]chat.ConsumerState, error)
	PutConsumer(ctx context.Context, c chat.ConsumerState) error
	ForgetConsumer(ctx context.Context, name string) error
}

var (
	// ErrRebuilding answers a Rebuild while one runs.
	ErrRebuilding = errors.New("projection: a rebuild is running")
	// ErrNoRebuild answers a Rebuild of a consumer that is not there or cannot be rebuilt, and a Cancel while none runs.
	ErrNoRebuild = errors.New("projection: nothing to rebuild")
)
