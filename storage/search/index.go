package search

import (
	"context"
	"errors"
	"time"

	"github.com/zumodra/hub/chat"
)

// Index of messages. Implementations are safe for concurrent use, with one exception: changes of one conversation
// must not overlap one another. Errors wrap those of the context, ErrUnavailable or ErrClosed.
type Index interface {
	// Apply takes changes in, several conversations at once, and returns once they survive a crash and are about to
	// be found. Events at or below a conversation's cursor may come again and change nothing. After an error any part
	// of the changes may have been applied; applying them again is right. A document that the index cannot take is
	// counted, logged by its position and left out: it never holds up the others.
	Apply(ctx context.Context, changes []chat.IndexChange) error
	// Cursors returns the seq of the last event applied of each conversation, 0 where there is none.
	Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error)
	// Search finds messages, newest first: by time, within a conversation by seq. A query that cannot be understood is a *chat.FieldError.
	Search(ctx context.Context, q chat.IndexQuery) (chat.SearchAnswer, error)
	// Generation is the identity of the index as it stands: it changes when the index was made anew, by Rebuild or
	// because its files or its server's index were not there. Whoever feeds the index compares it with the one that
	// it fed, and feeds everything when they differ.
	Generation(ctx context.Context) (string, error)
	// Rebuild begins a new index beside this one, which goes on answering until Commit. One at a time: a second call
	// ends what the first one began.
	Rebuild(ctx context.Context) (Rebuild, error)
	// Health reports whether queries can be answered.
	Health(ctx context.Context) error
	// Stats returns a snapshot for metrics. It does no I/O.
	Stats() Stats
	// Close waits for running calls and releases everything. A second Close answers ErrClosed.
	Close() error
}

// Rebuild fills a new index. Apply and Cursors are those of Index.
type Rebuild interface {
	Apply(ctx context.Context, changes []chat.IndexChange) error
	Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error)
	// Commit puts the new index in the place of the old one, under a new Generation, and removes the old one.
	// Afterwards the Rebuild is over, whatever the answer. What the old index was given meanwhile and the new one was
	// not is missing then: whoever feeds the index goes on from its Cursors.
	Commit(ctx context.Context) error
	// Abort throws the new index away. It does nothing after Commit.
	Abort(ctx context.Context) error
}

// Stats of an index since it was opened.
type Stats struct {
	Documents int64         // known to be in the index; -1: unknown
	Applied   uint64        // documents written
	Removed   uint64        // documents removed
	Rejected  uint64        // documents that the index could not take
	Failures  uint64        // calls of Apply that failed
	Searches  uint64        // answered
	Tasks     int64         // handed to a server and not finished yet
	LastApply time.Duration // how long the last Apply took
}

var (
	// ErrUnavailable reports that the index cannot be reached, or not use its files, now. Trying again may help.
	ErrUnavailable = errors.New("search: index unavailable")
	// ErrClosed reports use after Close.
	ErrClosed = errors.New("search: closed")
)
