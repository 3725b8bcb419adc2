package chat

import "time"

// Limits of a search (contract §3.3). Lengths are in code points, after trimming.
const (
	MinSearchText    = 2
	MaxSearchText    = 100
	MaxSearchResults = 50
)

// SearchQuery is what a user looks for. Zero fields do not narrow.
type SearchQuery struct {
	// Text is words, "phrases", AND, OR, NOT and parentheses; package storage/search has the grammar.
	Text           string
	Conversation   ConversationID
	Sender         UserID
	From, Before   time.Time // messages sent at or after From, and before Before
	HasAttachments *bool
	Limit          int // at most MaxSearchResults; 0: that
}

// IndexQuery is what an index is asked on a user's behalf.
type IndexQuery struct {
	SearchQuery
	Tenant TenantID
	// Conversations are those that the user may read, narrowed to SearchQuery.Conversation. Never empty: the index
	// finds nothing outside of them.
	Conversations []ConversationID
	Offset        int // hits to leave out, for callers that had to drop some
}

// SearchHit is where an index found something. It may be stale: who asked checks it against the log.
type SearchHit struct {
	Conversation ConversationID
	Seq          uint64
	Message      MessageID
}

// SearchAnswer of an index, newest first.
type SearchAnswer struct {
	Hits []SearchHit
	More bool // there are more hits after these
	// Highlight returns content escaped for HTML with <mark> around what the query found there, in its original
	// case; false if the query does not match that content. Never nil; safe for concurrent use.
	Highlight func(content string) (string, bool)
}

// SearchItem is a found message as the one who asked sees it.
type SearchItem struct {
	MessageItem
	ConversationName string
	Highlight        string // HTML: all but <mark> and </mark> is escaped
}

// IndexChange is what happened in a conversation since an index last heard of it.
type IndexChange struct {
	Key ConversationKey
	// Gone: the conversation was deleted; nothing of it may be found any more. Events is empty then.
	Gone bool
	// Events have consecutive seqs. Rows of messages show the present, so that an edit may be there before its own
	// event comes.
	Events []Event
}

// Last is the seq up to which the change leads; 0 if Gone.
func (c *IndexChange) Last() uint64 {
	if len(c.Events) == 0 {
		return 0
	}
	return c.Events[len(c.Events)-1].Seq
}
