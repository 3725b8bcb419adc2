package conversation

import (
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// Bounds of one conversation (I7).
const (
	// MaxPending is how many commands may wait; more are answered chat.ErrOverloaded.
	MaxPending = 1024
	// MaxMarks is how many commands may wait when read and delivered positions are among them, which are small and do not
	// take the place of others: all members of a large group may read a message at once. maxMarksWrite bounds one write of
	// them.
	MaxMarks      = 16 << 10
	maxMarksWrite = 4 << 10
	// MaxBatch and MaxBatchBytes bound one commit. A single larger event is committed alone.
	MaxBatch      = 256
	MaxBatchBytes = 40 << 10
	// MaxReactions is how many reactions one message may carry, and MaxReactionsEach how many of them of one member: else one
	// could leave no room for the others, and make a row of half a megabyte, which is written anew with each.
	MaxReactions     = 5000
	MaxReactionsEach = 20
	// MaxUnsaved is how many messages may lie beyond the derived state before it is saved at once; at eight
	// times as many, commands are answered chat.ErrOverloaded.
	MaxUnsaved = 1024
	// maxResume is how many events a resume may bring.
	maxResume = 1000
	// maxResumeBytes is how long the texts of those that it reads may be together. It is more than a connection takes at
	// once, so that a resume beyond it would end as a gap anyhow.
	maxResumeBytes = 256 << 10
)

// SaveDelay is how long after a commit the derived state is saved at the latest.
const SaveDelay = time.Second

var errGone = fmt.Errorf("%w (%w)", chat.ErrNotFound, chat.ErrGone)

type phase uint8

const (
	fresh   phase = iota // nothing known
	loading              // commands wait in deferred
	ready
	dead // aborted
)

// Params of a State.
type Params struct {
	Key   chat.ConversationKey
	Epoch uint64
	Rules *chat.Rules // with defaults filled in
	Seen  *SeenBudget // default: one of its own
}

// State is the pure core of one conversation. It is not safe for concurrent use.
type State struct {
	key   chat.ConversationKey
	epoch uint64
	rules *chat.Rules

	phase phase
	gone  bool // the last member left
	head  chat.Head
	roster
	recent recent
	window window
	rows   map[uint64]*row // messages whose row is not as in the store, or will not be

	pending  []item
	batch    *Batch // kept for reuse; on its way if inflight
	inflight bool
	barrier  uint64   // ord of an accepted change of membership that has not taken effect: commands wait in deferred
	held     []Output // of the barrier's commit, until its derived rows are saved
	deferred []*Request
	parked   map[*Read]struct{}
	// answering are the senders one of whose messages waits for the one that it answers to be read. Their others wait in
	// deferred: a sender's messages stay in order.
	answering map[chat.UserID]struct{}

	ord, committedOrd uint64
	lastAt            time.Time // of the newest accepted event

	write      *Write // on its way
	marks      []mark
	writes     uint64 // of derived rows that are done
	savedSeq   uint64 // head of the derived rows in the store
	unsaved    []sentRef
	removed    []chat.UserID // members whose rows are to go
	dirtySince time.Time     // zero: derived rows are as the log says
	urgent     bool          // save now
	// derivedLast alternates derived rows and positions when both are due.
	derivedLast bool

	typing map[chat.UserID]typist
	crowd  crowd
	bar    barState
	// announcing: the head is to be told once it is known.
	announcing bool

	now time.Time
	fx  *Effects
}

type sentRef struct {
	chat.SenderClientID
	seq     uint64
	replyTo uint64 // place of the message that it answers; 0: none
}

type typist struct {
	name  string
	until time.Time
}

// row is a message that was changed since its row was saved.
type row struct {
	accepted  *chat.Event // with every accepted change
	committed *chat.Event // with every committed change; nil: as in the store
	ord       uint64      // of the newest accepted change
	save      bool        // committed is to be saved
	saved     uint64      // number of the write since which the store shows it; 0: it does not, or that is not known
	replies   int         // accepted messages that answer it: the row stays until they are committed
}

// New returns a state that knows nothing yet: its first command makes it ask for Load.
func New(c Params) *State {
	if c.Seen == nil {
		c.Seen = NewSeenBudget(DefaultSeenBytes)
	}
	return &State{key: c.Key, epoch: c.Epoch, rules: c.Rules, window: window{older: seen{budget: c.Seen}}}
}

// Discard gives back what a state that is not used any more shares with others.
func (s *State) Discard() { s.window.forget() }

// Step takes one input at a time that never goes back and leaves what is to be done in fx.
func (s *State) Step(in Input, now time.Time, fx *Effects) {
	s.now, s.fx = now.UTC().Truncate(time.Microsecond), fx
	switch in := in.(type) {
	case *Request:
		s.command(in)
	case *Batch:
		s.committed(in)
	case *Read:
		s.readDone(in)
	case *Write:
		s.written(in)
	case *Loaded:
		s.loaded(in)
	case Open:
		s.open()
	case Announce:
		if s.open(); s.phase == ready {
			s.announce()
		} else {
			s.announcing = true
		}
	case Flush:
		s.urgent = s.urgent || !s.dirtySince.IsZero()
	case Abort:
		if in.Refused != nil && in.Refused == s.batch {
			s.inflight, s.pending = false, append(in.Refused.items[:len(in.Refused.items):len(in.Refused.items)], s.pending...)
		}
		s.abort(in.Err)
	}
	s.expireTyping()
	s.tellCrowd()
	s.form()
	s.save()
	s.fx = nil
}

func (s *State) open() {
	if s.phase == fresh {
		s.phase = loading
		s.fx.Load = true
	}
}

// announce tells the members how far the log reaches.
func (s *State) announce() {
	s.announcing = false
	if s.exists() {
		s.publish(&chat.Delivery{Key: s.key, Recipients: s.set, AcceptedAt: s.now,
			Notices: []chat.Notice{{Head: &chat.HeadNotice{Seq: s.head.Seq}}}})
	}
}

// command judges a request now, or puts it off until the state allows it.
func (s *State) command(r *Request) {
	switch {
	case s.phase == dead:
		s.fail(r, chat.ErrUnavailable)
	case s.full(r.Command) || len(s.unsaved) >= 8*MaxUnsaved:
		s.fail(r, chat.ErrOverloaded)
	case s.phase == fresh:
		s.phase = loading
		s.fx.Load = true
		s.deferred = append(s.deferred, r)
	case s.phase == loading || s.barrier != 0:
		s.deferred = append(s.deferred, r)
	default:
		s.accept(r, nil)
	}
}

// full reports whether there is no room for a command.
func (s *State) full(c chat.Command) bool {
	if isMark(c) {
		return len(s.parked) >= MaxPending || s.backlog() >= MaxMarks
	}
	return s.backlog()-len(s.marks) >= MaxPending
}

func isMark(c chat.Command) bool {
	switch c.(type) {
	case chat.MarkRead, chat.MarkDelivered:
		return true
	}
	return false
}

func (s *State) backlog() int { return len(s.pending) + len(s.deferred) + len(s.parked) + len(s.marks) }

// undefer judges what was put off, until the next barrier.
func (s *State) undefer() {
	if len(s.deferred) == 0 {
		return
	}
	queue := s.deferred
	s.deferred = nil
	for i, r := range queue {
		if s.barrier != 0 || s.phase != ready {
			s.deferred = append(s.deferred, queue[i:]...)
			return
		}
		s.accept(r, nil)
	}
}

// release lets out what the barrier held back: it is committed, and saved as far as that was possible.
func (s *State) release() {
	if len(s.held) == 0 {
		return
	}
	s.fx.Out = append(s.fx.Out, s.held...)
	s.held, s.barrier = nil, 0
}

func (s *State) reply(r *Request, res chat.Result) {
	s.fx.Out = append(s.fx.Out, Output{Reply: Reply{Request: r, Result: res}})
}

func (s *State) fail(r *Request, err error) {
	s.fx.Out = append(s.fx.Out, Output{Reply: Reply{Request: r, Err: err}})
}

func (s *State) publish(d *chat.Delivery) {
	d.Epoch = s.epoch
	s.fx.Out = append(s.fx.Out, Output{Delivery: d})
}

// loaded takes the stored state and replays what it lacks.
func (s *State) loaded(in *Loaded) {
	if s.phase != loading {
		return
	}
	if in.Err != nil {
		s.phase, s.announcing = fresh, false
		queue := s.deferred
		s.deferred = nil
		for _, r := range queue {
			s.fail(r, in.Err)
		}
		return
	}
	s.phase = ready
	s.head = in.Head
	s.head.Key = s.key
	s.savedSeq = in.Head.Seq
	s.lastAt = in.Head.UpdatedAt
	s.roster.reset(in.Members, in.Head.Seq)
	s.bar = barState{in.Barred, in.BarVersion}
	s.head.MemberCount = len(s.members)
	from := in.Head.Seq + 1
	if len(in.Recent) > 0 {
		from = in.Recent[0].Seq
	}
	s.window.starts(from)
	for i := range in.Recent {
		e := &in.Recent[i]
		s.lastAt = later(s.lastAt, e.At)
		s.recent.push(e)
		s.remember(e)
	}
	for i := range in.Rows {
		s.setRow(&in.Rows[i])
	}
	for i := range in.Tail {
		e := &in.Tail[i]
		s.lastAt = later(s.lastAt, e.At)
		about := subject(e)
		message := s.lookup(about, nil)
		if message == nil && about >= in.Tail[0].Seq && about < e.Seq {
			message = &in.Tail[about-in.Tail[0].Seq]
		}
		if row := changed(message, e); row != nil {
			s.setRow(row)
			s.rows[row.Seq].save = true
			s.recent.replace(row)
		}
		s.apply(e)
	}
	if len(in.Tail) > 0 {
		s.urgent = true
		for i := range s.members {
			s.members[i].dirty = true
		}
	}
	if s.head.Seq > 0 && len(s.members) == 0 {
		s.end()
	}
	if s.announcing {
		s.announce()
	}
	s.undefer()
}

// setRow notes a committed row that differs from the one stored, or may.
func (s *State) setRow(e *chat.Event) {
	if s.rows == nil {
		s.rows = make(map[uint64]*row)
	}
	if r := s.rows[e.Seq]; r != nil {
		r.accepted, r.committed = e, e
		return
	}
	s.rows[e.Seq] = &row{accepted: e, committed: e}
}

func (s *State) remember(e *chat.Event) {
	if e.Type == chat.EventMessage && e.ClientID != "" {
		s.window.put(chat.SenderClientID{Sender: e.Actor, ClientID: e.ClientID}, e.Seq, s.savedSeq)
	}
}

// end is the state of a conversation without members: only its rows are left, and they are to go.
func (s *State) end() {
	s.gone = true
	s.typing = nil
	s.urgent = true
	if s.dirtySince.IsZero() {
		s.dirtySince = s.now
	}
}

// exists reports whether there is a conversation to talk about.
func (s *State) exists() bool { return s.head.Seq > 0 && !s.gone }

func (s *State) abort(err error) {
	if errors.Is(err, chat.ErrMoved) {
		s.forsake()
	} else {
		s.release()
	}
	if s.inflight {
		for i := range s.batch.items {
			s.fail(s.batch.items[i].req, lostError(err))
		}
	}
	for i := range s.pending {
		s.fail(s.pending[i].req, err)
	}
	for _, r := range s.deferred {
		s.fail(r, err)
	}
	for r := range s.parked {
		s.fail(r.req, err)
	}
	if s.write != nil {
		for _, m := range s.write.marks {
			s.fail(m.req, lostError(err))
		}
	}
	for _, m := range s.marks {
		s.fail(m.req, err)
	}
	s.pending, s.deferred, s.parked, s.marks, s.typing, s.answering = nil, nil, nil, nil, nil, nil
	s.inflight, s.write, s.batch, s.crowd = false, nil, nil, crowd{}
	s.phase = dead
}

// Quiet reports that nothing waits and nothing is on its way.
func (s *State) Quiet() bool {
	return s.phase != loading && !s.inflight && s.write == nil && s.barrier == 0 && s.backlog() == 0
}

// Saved reports that the derived rows are as the log says, and that nobody is still to be told who read.
func (s *State) Saved() bool { return s.dirtySince.IsZero() && s.write == nil && s.crowd.due.IsZero() }

// Dead reports that the state was aborted.
func (s *State) Dead() bool { return s.phase == dead }

// Vacant reports that there is no conversation here, or none any more, as far as the store was asked.
func (s *State) Vacant() bool { return s.phase == fresh || s.phase == ready && !s.exists() }

// Wake is when the next Tick is due; zero: never.
func (s *State) Wake() time.Time {
	var at time.Time
	if !s.dirtySince.IsZero() && s.write == nil && s.phase == ready {
		at = s.dirtySince.Add(SaveDelay)
	}
	if c := s.crowd.due; !c.IsZero() && (at.IsZero() || c.Before(at)) {
		at = c
	}
	for _, t := range s.typing {
		if at.IsZero() || t.until.Before(at) {
			at = t.until
		}
	}
	return at
}

// Peek is what a list of conversations shows of this one: the head, the members, and the row of user.
func (s *State) Peek(user chat.UserID) (head chat.Head, me chat.Member, set *chat.MemberSet, ok bool) {
	if s.phase != ready || !s.exists() {
		return head, me, nil, false
	}
	if m := s.find(user); m != nil {
		me = m.Member
	}
	return s.head, me, s.set, true
}

// Known reports whether the state was loaded, so that Peek answers for sure.
func (s *State) Known() bool { return s.phase == ready }

// Gone reports that the last member left.
func (s *State) Gone() bool { return s.gone }

// Members copies the members' rows, in the order of joining, at most limit of them.
func (s *State) Members(limit int) []chat.Member { return oldest(s.members, limit) }

// Rewritten are the committed message rows that the store does not show yet.
func (s *State) Rewritten() []*chat.Event {
	var out []*chat.Event
	for _, r := range s.rows {
		if r.committed != nil {
			out = append(out, r.committed)
		}
	}
	return out
}

// view is the conversation as m sees it.
func (s *State) view(m *member) *chat.View {
	v := &chat.View{Head: s.head, Members: s.set, ReadSeq: s.readSeq, ReadBy: s.readBy, ReadSeqOther: s.readSeqOther}
	if m != nil {
		v.Me = m.Member
	}
	return v
}
