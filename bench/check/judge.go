package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// judge goes through the shards of all sources and compares what belongs to one conversation.
func judge(linear Linear, sources []*source) (*Report, error) {
	r := &Report{Counts: map[Kind]int{}}
	l := newLinearizer(linear, &r.Linear)
	var found tally
	for i := range shards {
		convs := map[string]*trial{}
		for no, s := range sources {
			b, err := s.shard(i)
			if err != nil {
				return nil, fmt.Errorf("read the record of worker %d %q: %w", no, s.Worker, err)
			}
			if err := load(convs, sources, no, b, i); err != nil {
				return nil, fmt.Errorf("read the record of worker %d %q: %w", no, s.Worker, err)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(convs)) {
			t := convs[id]
			t.decide(r)
			if err := l.decide(t); err != nil {
				return nil, err
			}
			found.merge(t.found)
		}
	}
	for no, s := range sources {
		end, err := s.end()
		if err != nil {
			return nil, fmt.Errorf("read the end of the record of worker %d %q: %w", no, s.Worker, err)
		}
		r.Observers += end.Observers
		r.ReceiptsUnchecked += end.ReceiptsUnchecked
		found.merge(end.Found)
	}
	r.Counts, r.Violations = found.Counts, found.Violations
	return r, nil
}

// sent is a send with its outcome.
type sent struct {
	src           int
	sender, user  string
	key           string
	intended      int64
	start, end    int64 // end 0: no ack
	ack           Entry
	refused       bool
	stands        []Entry // where the first final history has it
	senderOrdered bool    // its place among its sender's is a violation already
}

// witness is an op of somebody who saw, found or read something.
type witness struct {
	src int
	op
}

// trial is everything that is known of one conversation.
type trial struct {
	id      string
	sources []*source
	found   tally

	sends   map[string]*sent // by key
	order   []*sent          // as they were loaded
	acks    []witness
	refused []string
	seen    []witness
	runs    []op
	stands  []op
	members map[string][]op // by user
	finals  []op
	reads   []witness
	marks   map[string]uint64
	unread  []op
}

// load sorts the ops of a shard of one source by conversation. Times get the base of the first source.
func load(convs map[string]*trial, sources []*source, src int, record string, shard int) error {
	var local []*trial
	d := decoder{rest: record}
	var o op
	for d.next(&o) {
		if o.kind == opConversation {
			if o.conv != uint64(len(local)) || shardOf(o.id) != shard {
				return fmt.Errorf("%w: conversation %q is out of place", ErrFormat, o.id)
			}
			t := convs[o.id]
			if t == nil {
				t = &trial{id: o.id, sources: sources, sends: map[string]*sent{}, members: map[string][]op{}, marks: map[string]uint64{}}
				convs[o.id] = t
			}
			local = append(local, t)
			continue
		}
		if o.conv >= uint64(len(local)) {
			return fmt.Errorf("%w: conversation %d is not named", ErrFormat, o.conv)
		}
		o.at += sources[src].offset
		o.end += sources[src].offset
		local[o.conv].add(src, o)
	}
	return d.err
}

func (t *trial) add(src int, o op) {
	switch o.kind {
	case opSent:
		s := &sent{src: src, sender: o.who, user: cmp.Or(o.user, o.who), key: o.key, start: o.at, intended: o.end}
		if old := t.sends[o.key]; old != nil {
			t.violation(Misuse, []Op{t.sentOp(old), t.sentOp(s)}, "the key %s is used twice", o.key)
			return
		}
		t.sends[o.key] = s
		t.order = append(t.order, s)
	case opAcked:
		t.acks = append(t.acks, witness{src, o})
	case opRefused:
		t.refused = append(t.refused, o.key)
	case opSeen:
		t.seen = append(t.seen, witness{src, o})
	case opRun:
		t.runs = append(t.runs, o)
	case opStand:
		t.stands = append(t.stands, o)
	case opAdded, opRemoved:
		t.members[o.user] = append(t.members[o.user], o)
	case opFinal:
		t.finals = append(t.finals, o)
	case opRead:
		t.reads = append(t.reads, witness{src, o})
	case opMark:
		t.marks[o.user] = max(t.marks[o.user], o.seq)
	case opUnread:
		t.unread = append(t.unread, o)
	}
}

func (t *trial) violation(k Kind, history []Op, format string, args ...any) {
	t.found.add(Violation{Kind: k, Conversation: t.id, Text: fmt.Sprintf(format, args...), History: history})
}

func (t *trial) sentOp(s *sent) Op {
	when := func(ns int64) *time.Duration { d := time.Duration(ns); return &d }
	o := Op{What: "sent", Who: s.sender, Key: s.key, Sent: when(s.start)}
	if s.intended != s.start {
		o.Intended = when(s.intended)
	}
	if s.end != 0 {
		o.Acked, o.ID, o.Seq = when(s.end), s.ack.ID, s.ack.Seq
	}
	return o
}

func found(reader string, e Entry) Op {
	return Op{What: "found", Who: reader, Key: e.Key, ID: e.ID, Seq: e.Seq}
}

func (w witness) entry() Entry { return Entry{Seq: w.seq, ID: w.id, Key: w.key} }

func (w witness) sawOp() Op { return Op{What: "saw", Who: w.who, Key: w.key, ID: w.id, Seq: w.seq} }

// decide compares everything.
func (t *trial) decide(r *Report) {
	r.Sends += len(t.order)
	t.outcomes()
	for _, s := range t.order {
		switch {
		case s.ack.ID != "":
			r.Acked++
		case !s.refused:
			r.Unanswered++
		}
	}
	t.isolation()
	if len(t.finals) == 0 {
		if len(t.order)+len(t.seen)+len(t.unread) > 0 {
			t.violation(Misuse, nil, "no final history was read")
		}
		t.agreement(nil, nil)
		return
	}
	final := t.finals[0]
	r.Stored += len(final.entries)
	head := t.final(final)
	lost := t.durability(final.who)
	t.agreement(&final, lost)
	for _, f := range t.finals[1:] {
		t.sameFinal(final, f)
	}
	for _, o := range t.stands {
		if o.seq < head && t.mustSee(o.user, head) {
			t.violation(Unobserved, []Op{{What: "has come to", Who: o.who, Seq: o.seq}, found(final.who, final.entries[len(final.entries)-1])},
				"%s saw up to seq %d of %d", o.who, o.seq, head)
		}
	}
	t.unreadCounts(final)
}

// outcomes gives the sends their acks and refusals.
func (t *trial) outcomes() {
	for _, a := range t.acks {
		s := t.sends[a.key]
		op := Op{What: "was acknowledged", Key: a.key, ID: a.id, Seq: a.seq}
		switch {
		case s == nil || s.src != a.src:
			t.violation(Phantom, []Op{op}, "%s was acknowledged and never sent", a.key)
		case a.id == "" || a.seq == 0:
			t.violation(Changed, []Op{t.sentOp(s), op}, "%s was acknowledged without an id or a seq", a.key)
		case s.ack.ID == "":
			s.end, s.ack = a.at, Entry{a.seq, a.id, a.key}
		case s.ack.ID != a.id || s.ack.Seq != a.seq:
			t.violation(Changed, []Op{t.sentOp(s), op}, "%s was acknowledged as %d %s and again as %d %s", a.key, s.ack.Seq, s.ack.ID, a.seq, a.id)
		}
	}
	for _, key := range t.refused {
		if s := t.sends[key]; s != nil {
			s.refused = true
		} else {
			t.violation(Misuse, nil, "Refused with the unknown key %q", key)
		}
	}
}

// final goes through a final history once, and returns its highest seq.
func (t *trial) final(f op) (head uint64) {
	ids := make(map[string]Entry, len(f.entries))
	seqs := make(map[uint64]Entry, len(f.entries))
	type speaker struct {
		src  int
		name string
	}
	last := map[speaker]*sent{}             // the one that a sender sent last, of all before
	latest := make([]*sent, len(t.sources)) // the one that was sent last at a worker, of all before
	for _, e := range f.entries {
		if old, ok := seqs[e.Seq]; ok {
			t.violation(Duplicate, []Op{found(f.who, old), found(f.who, e)}, "seq %d holds %s and %s", e.Seq, old.ID, e.ID)
		} else if e.Seq < head {
			t.violation(Misuse, nil, "the final history is not in order: seq %d after %d", e.Seq, head)
		}
		head = max(head, e.Seq)
		seqs[e.Seq] = e
		if old, ok := ids[e.ID]; ok {
			t.violation(Duplicate, []Op{found(f.who, old), found(f.who, e)}, "%s stands at seq %d and %d", e.ID, old.Seq, e.Seq)
		}
		ids[e.ID] = e

		s := t.sends[e.Key]
		if s == nil {
			t.violation(Phantom, []Op{found(f.who, e)}, "seq %d holds %q, which nobody sent there", e.Seq, e.Key)
			continue
		}
		s.stands = append(s.stands, e)
		if len(s.stands) > 1 {
			t.violation(Duplicate, []Op{t.sentOp(s), found(f.who, s.stands[0]), found(f.who, e)}, "%s stands at seq %d and %d", e.Key, s.stands[0].Seq, e.Seq)
			continue
		}
		who := speaker{s.src, s.sender}
		if l := last[who]; l != nil && s.start < l.start {
			t.violation(SenderOrd, []Op{t.sentOp(s), t.sentOp(l), found(f.who, l.stands[0]), found(f.who, e)},
				"%s of %s stands at seq %d, behind %s, which was sent later", s.key, s.sender, e.Seq, l.key)
			s.senderOrdered = true
		} else {
			last[who] = s
		}
		t.realTime(f.who, latest, s)
		if l := latest[s.src]; l == nil || s.start > l.start {
			latest[s.src] = s
		}
	}
	return head
}

// realTime compares a message with the ones that stand before it and were sent last.
func (t *trial) realTime(reader string, latest []*sent, s *sent) {
	if s.end == 0 {
		return
	}
	for src, l := range latest {
		if l == nil || s.senderOrdered && l.src == s.src && l.sender == s.sender {
			continue
		}
		slack := int64(0)
		if src != s.src {
			slack = t.sources[src].err + t.sources[s.src].err
		}
		if s.end+slack < l.start {
			t.violation(RealTime, []Op{t.sentOp(s), t.sentOp(l), found(reader, l.stands[0]), found(reader, s.stands[0])},
				"%s at seq %d was acknowledged before %s was sent, which stands before it", s.key, s.stands[0].Seq, l.key)
			return
		}
	}
}

// durability compares the outcomes with the final history. It returns the seqs of what is lost.
func (t *trial) durability(reader string) map[uint64]string {
	lost := map[uint64]string{}
	for _, s := range t.order {
		switch there := len(s.stands) > 0; {
		case s.refused && there:
			t.violation(Refused, []Op{t.sentOp(s), {What: "was refused", Key: s.key}, found(reader, s.stands[0])}, "%s was refused and stands at seq %d", s.key, s.stands[0].Seq)
		case s.refused || s.ack.ID == "":
		case !there:
			lost[s.ack.Seq] = s.ack.ID
			history := []Op{t.sentOp(s)}
			for _, w := range t.seen {
				if w.seq == s.ack.Seq && w.id == s.ack.ID {
					history = append(history, w.sawOp())
					break
				}
			}
			t.violation(Lost, append(history, Op{What: "did not find", Who: reader, Key: s.key}), "%s of %s, acknowledged at seq %d, is not in the history", s.key, s.sender, s.ack.Seq)
		case s.stands[0].ID != s.ack.ID || s.stands[0].Seq != s.ack.Seq:
			e := s.stands[0]
			t.violation(Changed, []Op{t.sentOp(s), found(reader, e)}, "%s was acknowledged as %d %s and is stored as %d %s", s.key, s.ack.Seq, s.ack.ID, e.Seq, e.ID)
		}
	}
	return lost
}

func differ(a, b Entry) bool {
	return a.ID != b.ID || a.Key != b.Key && a.Key != "" && b.Key != ""
}

// agreement compares what observers saw with one another and with the final history, if there is one.
func (t *trial) agreement(final *op, lost map[uint64]string) {
	stored := map[uint64]Entry{}
	if final != nil {
		for _, e := range final.entries {
			stored[e.Seq] = e
		}
	}
	first := make(map[uint64]witness, len(t.seen))
	told := map[uint64]bool{} // once for each seq
	for _, w := range t.seen {
		old, again := first[w.seq]
		if !again || old.key == "" {
			first[w.seq] = w
		}
		e, ok := stored[w.seq]
		switch {
		case told[w.seq]:
		case again && differ(old.entry(), w.entry()):
			t.violation(Divergence, []Op{old.sawOp(), w.sawOp()}, "seq %d is %q (%s) for %s and %q (%s) for %s", w.seq, w.id, w.key, w.who, old.id, old.key, old.who)
			told[w.seq] = true
		case final == nil:
		case ok && differ(e, w.entry()):
			t.violation(Divergence, []Op{w.sawOp(), found(final.who, e)}, "seq %d is %q (%s) for %s and %q (%s) in the history", w.seq, w.id, w.key, w.who, e.ID, e.Key)
			told[w.seq] = true
		case !ok && w.id != "" && lost[w.seq] != w.id:
			t.violation(Vanished, []Op{w.sawOp(), {What: "did not find", Who: final.who, Seq: w.seq}}, "seq %d, which was delivered as %s, is not in the history", w.seq, w.id)
			told[w.seq] = true
		}
	}
}

func (t *trial) sameFinal(a, b op) {
	at := func(l []Entry, i int) Entry {
		if i < len(l) {
			return l[i]
		}
		return Entry{}
	}
	for i := range max(len(a.entries), len(b.entries)) {
		x, y := at(a.entries, i), at(b.entries, i)
		if x.Seq != y.Seq || differ(x, y) {
			t.violation(Divergence, []Op{found(a.who, x), found(b.who, y)}, "the history that %s read (%d messages) differs from that of %s (%d) at place %d",
				b.who, len(b.entries), a.who, len(a.entries), i)
			return
		}
	}
}
