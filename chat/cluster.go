package chat

import (
	"strconv"
	"time"
)

// NodeID names one life of a node's process: one that starts again has another. It is random and never 0.
type NodeID uint64

// String is for logs and errors.
func (n NodeID) String() string { return strconv.FormatUint(uint64(n), 16) }

// Question is what one node asks another: the owner of a shard, or a node that it names. The types are below, each with
// the Answer that belongs to it. Questions and answers are immutable.
type Question interface {
	// Name is the question's name in metrics and logs.
	Name() string
	// Repeatable reports whether it may be asked again when it is not known whether it was carried out.
	Repeatable() bool
}

// Answer to a Question.
type Answer interface{ answer() }

type (
	// CarryOut hands a command to the owner of its conversation, which answers Done. What the Hub decides before
	// (do the users exist, are there blocks, does the caller hide receipts) is decided already.
	CarryOut struct {
		Principal Principal
		Origin    Origin
		Command   Command
	}
	// Done answers CarryOut, FoundDirect and Bar.
	Done struct{ Result Result }

	// Read asks the owner of a conversation for leave to read it, and how far; Reading.
	Read struct {
		Principal    Principal
		Conversation ConversationID
	}
	// Reading answers Read. Rewritten are message rows that the store does not show yet.
	Reading struct {
		View      *View
		Rewritten []*Event
	}

	// Peek asks for what the conversations in the node's memory show of themselves to a user; Snapshots. The keys are of
	// shards of the node that is asked, as far as the asker knows.
	Peek struct {
		User      UserID
		Keys      []ConversationKey
		Members   int  // at most so many of each
		Rewritten bool // what the store does not show yet is asked for, too
	}
	// Snapshots answers Peek, in the order of its keys, without Set. Known is false for those that are not in memory: the
	// store has them. Those with Moved are to be asked for again.
	Snapshots struct{ List []Snapshot }

	// FoundDirect asks the owner of a pair's home to carry out the Create of a direct conversation while no block can
	// come between; Done.
	FoundDirect struct {
		Principal Principal
		Origin    Origin
		Create    Create
	}
	// Relate asks the owner of a pair's home to carry out a command about it; Related.
	Relate struct {
		Caller  Principal
		Command PeopleCommand
	}
	// Related answers Relate.
	Related struct{ Pair Pair }
	// Bar tells the owner of a direct conversation whether one of its two users blocked the other; Done.
	Bar struct {
		Pair Pair
		By   Principal
	}
	// Prefer asks the owner of a user for the user's preferences, which Change alters first unless it is zero; Preferred.
	Prefer struct {
		User   UserKey
		Change PreferencesChange
	}
	// Preferred answers Prefer.
	Preferred struct{ Preferences Preferences }

	// AskPresence asks the owner of users' directory shards whether they are there; PresenceOf. They are of shards of the
	// node that is asked, as far as the asker knows.
	AskPresence struct {
		Tenant TenantID
		Users  []UserID
	}
	// PresenceOf answers AskPresence, in the order of its users.
	PresenceOf struct{ List []Presence }
	// Declare tells the owner of a user's directory shard that the user says to be there, or not to be; Noted.
	Declare struct {
		User UserKey
		On   bool
	}
	// Noted answers questions that have nothing to answer.
	Noted struct{}
)

func (CarryOut) Name() string    { return "carry_out" }
func (Read) Name() string        { return "read" }
func (Peek) Name() string        { return "peek" }
func (FoundDirect) Name() string { return "found_direct" }
func (Relate) Name() string      { return "relate" }
func (Bar) Name() string         { return "bar" }
func (Prefer) Name() string      { return "prefer" }
func (AskPresence) Name() string { return "ask_presence" }
func (Declare) Name() string     { return "declare" }

// Repeatable is false for a message without a client id: it would be there twice.
func (q CarryOut) Repeatable() bool {
	s, ok := q.Command.(Send)
	return !ok || s.ClientID != ""
}
func (Read) Repeatable() bool        { return true }
func (Peek) Repeatable() bool        { return true }
func (FoundDirect) Repeatable() bool { return true }
func (Relate) Repeatable() bool      { return false } // it may be refused the second time
func (Bar) Repeatable() bool         { return true }
func (Prefer) Repeatable() bool      { return true }
func (AskPresence) Repeatable() bool { return true }
func (Declare) Repeatable() bool     { return true }

func (Done) answer()       {}
func (Reading) answer()    {}
func (Snapshots) answer()  {}
func (Related) answer()    {}
func (Preferred) answer()  {}
func (PresenceOf) answer() {}
func (Noted) answer()      {}

// Snapshot is what a live conversation shows without being asked by message.
type Snapshot struct {
	Head    Head
	Me      Member // zero if the user is no member
	Set     *MemberSet
	Members []Member // in the order of joining, as many as were asked for
	Gone    bool     // its last member left
	Exists  bool     // false, with Known: there is no such conversation
	Known   bool     // it is in memory
	Moved   bool     // the node that was asked cannot tell: it does not own the shard, or not for long enough
	// Version, while it is not Known, of what is stored of it: what was read after one look is still true if a later
	// look shows the same. 0: the node does not say.
	Version uint64

	Rewritten []*Event // message rows that the store does not show yet, if they were asked for
}

// PreferencesChange is a change of preferences; nil leaves one as it is.
type PreferencesChange struct {
	HideReceipts *bool
	Invisible    *bool
}

// IsZero reports whether nothing changes.
func (c PreferencesChange) IsZero() bool { return c == PreferencesChange{} }

// Apply changes p.
func (c PreferencesChange) Apply(p *Preferences) {
	if c.HideReceipts != nil {
		p.HideReceipts = *c.HideReceipts
	}
	if c.Invisible != nil {
		p.Invisible = *c.Invisible
	}
}

// Presence of a user at the owner of the user's directory shard.
type Presence struct {
	Connected bool      // with a session on any node, or by their own word
	Seen      time.Time // when the user was last connected, if that is not written yet; else zero
	Moved     bool      // the node that was asked does not own the shard
}

// ShardSet is a set of shards.
type ShardSet [Shards / 64]uint64

// Add puts a shard into the set.
func (s *ShardSet) Add(shard int) { s[shard/64] |= 1 << (shard % 64) }

// Has reports whether it is in the set.
func (s *ShardSet) Has(shard int) bool { return s[shard/64]&(1<<(shard%64)) != 0 }
