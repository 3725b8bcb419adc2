package check

import (
	"fmt"
	"hash/maphash"
	"sync"
)

// Observer is one reader of conversations: a session, with all its connections. Its methods may be called concurrently;
// events of one conversation must be told in the order in which they came.
type Observer struct {
	c          *Checker
	name, user string

	mu    sync.Mutex
	pos   []position
	index map[string]int32 // over pos, once there are more than a glance finds
}

// glance is up to how many conversations an observer finds by looking at each.
const glance = 8

// position is where an observer stands: 32 bytes for each pair of observer and conversation.
type position struct {
	cv      *conversation
	last    uint64 // it has come so far
	first   uint64 // it saw first to last one by one; 0: nothing since a gap
	known   bool   // last was told, or seen
	resumed bool   // and has seen nothing since
	left    bool
}

// Observer adds a reader. The name is for reports; user is whose it is, for isolation. Empty: nobody's, it may see all.
func (c *Checker) Observer(name, user string) *Observer {
	o := &Observer{c: c, name: name, user: user}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.obs = append(c.obs, o)
	return o
}

// at is the position in a conversation; o.mu is held, and the pointer is good for as long.
func (o *Observer) at(conversation string) *position {
	if p := o.find(conversation); p != nil {
		return p
	}
	o.pos = append(o.pos, position{cv: o.c.shard(conversation).conv(conversation)})
	switch n := len(o.pos); {
	case o.index != nil:
		o.index[conversation] = int32(n - 1)
	case n > glance:
		o.index = make(map[string]int32, 2*glance)
		for i := range o.pos {
			o.index[o.pos[i].cv.id] = int32(i)
		}
	}
	return &o.pos[len(o.pos)-1]
}

func (o *Observer) find(conversation string) *position {
	if o.index != nil {
		if i, ok := o.index[conversation]; ok {
			return &o.pos[i]
		}
		return nil
	}
	for i := range o.pos {
		if o.pos[i].cv.id == conversation {
			return &o.pos[i]
		}
	}
	return nil
}

// Follow says that the observer reads the conversation after seq, and is to see all that comes. Without it the
// first event that it sees is where it begins.
func (o *Observer) Follow(conversation string, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.at(conversation)
	o.endRun(p)
	p.last, p.known, p.left = seq, true, false
}

// Leave says that the observer is to see no more of the conversation, as after it was removed. What it sees nevertheless is checked.
func (o *Observer) Leave(conversation string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at(conversation).left = true
}

// Resumed says that what comes next comes after a lost connection: a hole or a repetition there is reported as such.
func (o *Observer) Resumed(conversation string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at(conversation).resumed = true
}

// Last is the seq up to which the observer has seen the conversation.
func (o *Observer) Last(conversation string) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.find(conversation); p != nil {
		return p.last
	}
	return 0
}

// endRun writes down what was seen without a hole.
func (o *Observer) endRun(p *position) {
	if p.first != 0 {
		p.cv.append(&op{kind: opRun, who: o.name, user: o.user, seq: p.first, to: p.last})
		p.first = 0
	}
}

// Saw records the next event of a conversation. It allocates nothing when another has seen the event.
func (o *Observer) Saw(conversation string, e Entry) {
	if e.Seq == 0 {
		o.c.report(Violation{Kind: Skip, Conversation: conversation, Text: o.name + " saw an event without a seq", History: []Op{o.saw(e)}})
		return
	}
	o.mu.Lock()
	p := o.at(conversation)
	cv := p.cv
	if !p.known || e.Seq == p.last+1 {
		if p.first == 0 {
			p.first = e.Seq
		}
		p.last, p.known, p.resumed = e.Seq, true, false
	} else {
		o.outOfOrder(p, e)
	}
	o.mu.Unlock()
	o.c.agree(cv, o.name, e)
}

func (o *Observer) outOfOrder(p *position, e Entry) {
	kind := Skip
	switch {
	case e.Seq <= p.last && p.resumed:
		kind = RepeatResume
	case e.Seq <= p.last:
		kind = Repeat
	case p.resumed:
		kind = SkipResume
	}
	p.resumed = false
	o.c.report(Violation{Kind: kind, Conversation: p.cv.id, Text: fmt.Sprintf("%s saw seq %d after %d", o.name, e.Seq, p.last),
		History: []Op{{What: "had come to", Who: o.name, Seq: p.last}, o.saw(e)}})
	if e.Seq > p.last {
		o.endRun(p)
		p.first, p.last = e.Seq, e.Seq
	} else {
		p.cv.append(&op{kind: opRun, who: o.name, user: o.user, seq: e.Seq, to: e.Seq})
	}
}

func (o *Observer) saw(e Entry) Op {
	return Op{What: "saw", Who: o.name, Key: e.Key, ID: e.ID, Seq: e.Seq}
}

// Gap records that the observer was told that it cannot have the events up to seq one by one, and got these
// messages of them instead, oldest first.
func (o *Observer) Gap(conversation string, upTo uint64, messages []Entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.at(conversation)
	last := p.last
	told := Op{What: "was told of a gap", Who: o.name, Seq: upTo}
	if upTo < last {
		o.c.report(Violation{Kind: Repeat, Conversation: conversation, Text: fmt.Sprintf("%s was set back from seq %d to %d", o.name, last, upTo),
			History: []Op{{What: "had come to", Who: o.name, Seq: last}, told}})
	}
	o.endRun(p)
	before := last
	for _, e := range messages {
		if e.Seq <= before || e.Seq > upTo {
			o.c.report(Violation{Kind: Repeat, Conversation: conversation,
				Text: fmt.Sprintf("%s got seq %d for the gap %d…%d", o.name, e.Seq, before+1, upTo), History: []Op{told, o.saw(e)}})
		}
		before = max(before, e.Seq)
		p.cv.append(&op{kind: opRun, who: o.name, user: o.user, seq: e.Seq, to: e.Seq})
		o.c.agree(p.cv, o.name, e)
	}
	p.last, p.known, p.resumed = max(last, upTo), true, false
}

// Receipt records that the observer was told that user has come to seq. The kind (read, delivered) is the caller's. What one
// observer is told of one user does not go back.
func (o *Observer) Receipt(conversation, user, kind string, seq uint64) {
	var h maphash.Hash
	h.SetSeed(o.c.seed)
	maphash.WriteComparable(&h, o)
	maphash.WriteComparable(&h, [2]string{user, kind})
	key := h.Sum64()
	cv := o.c.shard(conversation).conv(conversation)
	cv.mu.Lock()
	was, known := cv.receipts[key]
	switch {
	case known && seq > was:
		cv.receipts[key] = seq
	case known:
	case o.c.receipts.Add(1) > int64(o.c.cfg.Receipts):
		o.c.receipts.Add(-1)
		o.c.unchecked.Add(1)
	default:
		if cv.receipts == nil {
			cv.receipts = map[uint64]uint64{}
		}
		cv.receipts[key] = seq
	}
	cv.mu.Unlock()
	if known && seq < was {
		o.c.report(Violation{Kind: ReceiptBack, Conversation: conversation, Text: fmt.Sprintf("%s was told that %s has %s up to %d, and then up to %d", o.name, user, kind, was, seq),
			History: []Op{{What: "was told of " + kind + " by " + user, Who: o.name, Seq: was}, {What: "was told of " + kind + " by " + user, Who: o.name, Seq: seq}}})
	}
}

// finish writes down where the observer stands.
func (o *Observer) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.pos {
		p := &o.pos[i]
		o.endRun(p)
		if p.known && !p.left {
			p.cv.append(&op{kind: opStand, who: o.name, user: o.user, seq: p.last})
		}
	}
}

// slot is what stands at a seq, by hashes. 24 bytes.
type slot struct{ seq, id, key uint64 }

// agree compares what an observer saw with what others saw. What is new, differs, or is no more remembered goes to the record,
// with which the end compares it.
func (c *Checker) agree(cv *conversation, who string, e Entry) {
	id, key := maphash.String(c.seed, e.ID), uint64(0)
	if e.Key != "" {
		key = maphash.String(c.seed, e.Key) | 1
	}
	if cv.remember(c, slot{e.Seq, id, key}) {
		return
	}
	cv.append(&op{kind: opSeen, who: who, key: e.Key, id: e.ID, seq: e.Seq})
}

// remember reports whether the same was seen before.
func (cv *conversation) remember(c *Checker, n slot) bool {
	cv.mu.Lock()
	defer cv.mu.Unlock()
	if cv.ring == nil {
		cv.ring = make([]slot, 8)
	}
	old := &cv.ring[n.seq%uint64(len(cv.ring))]
	switch {
	case old.seq < n.seq:
		*old = n
		return false
	case old.seq > n.seq: // this observer is behind: others who are will be recognised
		if len(cv.ring) < c.window {
			ring := make([]slot, 2*len(cv.ring))
			for _, s := range append(cv.ring, n) {
				if at := &ring[s.seq%uint64(len(ring))]; s.seq > at.seq {
					*at = s
				}
			}
			cv.ring = ring
		}
		return false
	case old.id != n.id || old.key != n.key && old.key != 0 && n.key != 0:
		c.early.Add(1)
		return false
	case old.key == 0 && n.key != 0:
		old.key = n.key
		return false
	}
	return true
}
