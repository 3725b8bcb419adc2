package conversation

import (
	"time"

	"github.com/zumodra/hub/chat"
)

// Request is a command on its way through the conversation. The core never calls Done: it is the opaque token
// by which the shell answers.
type Request struct {
	Principal chat.Principal
	Origin    chat.Origin
	Command   chat.Command
	At        time.Time // when the Hub accepted it
	Done      func(chat.Result, error)
	// MaxMembers bounds the group that Create and AddMembers make; 0: Rules do.
	MaxMembers int

	next, prev *Request // the activation's list of unanswered requests
	run        func()   // set in the goroutine that sends the request, if that is to run its actor
}

// Carry implements mailbox.Carrier. Only the judging of a message is known to be short.
func (r *Request) Carry(run func()) bool {
	if _, ok := r.Command.(chat.Send); ok {
		r.run = run
	}
	return r.run != nil
}

// Reply answers a request.
type Reply struct {
	Request *Request
	Result  chat.Result
	Err     error
}

// Output is one thing for the outside, in the order in which it must leave: an answer (Delivery is nil) or a
// delivery.
type Output struct {
	Reply    Reply
	Delivery *chat.Delivery
}

// Effects is what a Step wants done. The caller owns it and clears it with Reset between steps.
type Effects struct {
	// Out leaves in order, before any later step's.
	Out []Output
	// Load asks for the state in the store; answered by *Loaded.
	Load bool
	// Commit is to be made durable; answered by handing the same batch back with Err set. One at a time.
	Commit *Batch
	// Write is to be carried out; answered by handing it back with Err set. One at a time.
	Write *Write
	// Reads are to be carried out; each is answered by handing it back.
	Reads []*Read
	// Duplicates counts commands that turned out to have been carried out before.
	Duplicates int
	// Committed is the number of events that the step made visible.
	Committed int
}

// Reset empties the effects for the next step and keeps the memory, within bounds.
func (fx *Effects) Reset() {
	out := fx.Out[:0]
	clear(fx.Out)
	if cap(out) > 4*MaxBatch {
		out = nil
	}
	*fx = Effects{Out: out, Reads: fx.Reads[:0]}
}

// Input of Step: *Request, *Loaded, *Batch, *Write, *Read, Open, Announce, Tick, Flush or Abort.
type Input interface{ input() }

// Loaded is the answer to Effects.Load.
type Loaded struct {
	// Head and Members as derived; Head.Seq is 0 if there are none.
	Head    chat.Head
	Members []chat.Member
	// Tail are all events after Head.Seq.
	Tail []chat.Event
	// Recent are the newest events up to Head.Seq without a gap, ascending; they fill the window.
	Recent []chat.Event
	// Rows are the messages, at or before Head.Seq, that events of the tail refer to.
	Rows []chat.Event
	// Barred and BarVersion are as in Bar, of a direct conversation.
	Barred     bool
	BarVersion uint64
	Err        error
}

// Open makes a state that knows nothing ask for Load, without a command.
type Open struct{}

// Announce makes the state tell the members how far the log reaches, once it knows.
type Announce struct{}

// Tick tells that time has passed.
type Tick struct{}

// Flush asks for all derived state to be saved now.
type Flush struct{}

// Abort ends the state: whatever waits is answered with Err, commands whose batch is in flight with
// chat.ErrUnknown, unless that is Refused: of it nothing was written.
type Abort struct {
	Err     error
	Refused *Batch
}

func (*Request) input() {}
func (*Loaded) input()  {}
func (*Batch) input()   {}
func (*Write) input()   {}
func (*Read) input()    {}
func (Open) input()     {}
func (Announce) input() {}
func (Tick) input()     {}
func (Flush) input()    {}
func (Abort) input()    {}

// Write is a change of derived rows: exactly one of Derived, Watermarks and Delete is meant. The shell retries
// one whose outcome is unknown until it is known; a Derived or Delete is retried whatever the error.
type Write struct {
	Derived *chat.Derived

	Watermarks bool
	Members    []chat.Member
	Receipts   []chat.Receipt
	Personal   chat.Personal

	Delete bool
	Users  []chat.UserID

	Err error
	// Lost says, of Watermarks, that the write happened while the conversation was not ours any more.
	Lost bool

	marks []mark
	seq   uint64
}

// ReadKind says what a Read wants.
type ReadKind uint8

const (
	ReadOne    ReadKind = iota + 1 // the event at To
	ReadRange                      // the events From … To
	ReadBack                       // the events from To downwards until a message has been seen
	ReadCount                      // how many messages of User lie in From … To
	ReadHidden                     // the event at To, and what User has hidden
)

// Read is a look into the log below the committed head.
type Read struct {
	Kind     ReadKind
	From, To uint64
	User     chat.UserID
	// Conceal asks for what User has hidden as well.
	Conceal bool

	// The answer.
	Events []chat.Event
	Large  bool // ReadRange: there is more than maxResumeBytes; Events are none then
	Count  uint64
	Hidden []chat.HiddenMessage // by seq
	Err    error

	req *Request
	dup bool // the answer is a duplicate's event
	// replyTo: of the message that a Send answers.
	replyTo bool
	since   uint64       // writes that were done when it was asked for: it sees them
	hidden  uint64       // how many messages User had hidden when it was asked for
	late    []chat.Event // ReadRange: events committed since
}
