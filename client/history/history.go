package history

import (
	"fmt"
	"sync"
)

// Kind of a violation.
type Kind string

// The kinds, explained in the package comment.
const (
	Lost       Kind = "lost"
	Changed    Kind = "changed"
	Duplicate  Kind = "duplicate"
	Phantom    Kind = "phantom"
	Refused    Kind = "refused"
	Skip       Kind = "skip"
	Repeat     Kind = "repeat"
	Divergence Kind = "divergence"
	Vanished   Kind = "vanished"
	Unobserved Kind = "unobserved"
	SenderOrd  Kind = "sender order"
	RealTime   Kind = "real-time order"
	Misuse     Kind = "misuse" // of the checker
)

// Violation is one contradiction.
type Violation struct {
	Kind         Kind
	Conversation string
	Text         string
}

func (v Violation) String() string { return string(v.Kind) + ": " + v.Conversation + ": " + v.Text }

// Entry is something that stands in a log. Key is what the sender named the message by (a client id, or a
// token in its content); ID is what the server named it. Both are empty for an event that is no message.
type Entry struct {
	Seq uint64
	ID  string
	Key string
}

// IsMessage reports whether the entry is a message.
func (e Entry) IsMessage() bool { return e.ID != "" }

// maxKept bounds the violations of one kind that are kept with their text; all are counted.
const maxKept = 50

// Checker collects a run. Its zero value is not usable: New.
type Checker struct {
	mu    sync.Mutex
	tick  uint64
	convs map[string]*conversation
	sends map[string]*send // by key
	obs   []*Observer

	counts map[Kind]int
	kept   []Violation
	acked  int
}

type send struct {
	conversation string
	sender       string
	key          string
	no           int // among the sends of the sender to the conversation
	start, end   uint64
	ack          Entry // ID empty: no ack
	refused      bool
}

type conversation struct {
	at     map[uint64]Entry // what observers saw
	bySend map[string]int   // sends per sender
	final  []Entry
	read   bool
}

// New returns an empty Checker.
func New() *Checker {
	return &Checker{convs: map[string]*conversation{}, sends: map[string]*send{}, counts: map[Kind]int{}}
}

func (c *Checker) conv(id string) *conversation {
	cv := c.convs[id]
	if cv == nil {
		cv = &conversation{at: map[uint64]Entry{}, bySend: map[string]int{}}
		c.convs[id] = cv
	}
	return cv
}

func (c *Checker) report(k Kind, conversation, format string, args ...any) {
	c.counts[k]++
	if c.counts[k] <= maxKept {
		c.kept = append(c.kept, Violation{k, conversation, fmt.Sprintf(format, args...)})
	}
}

// Sent records that sender is about to send the message key. Keys are unique in a run.
func (c *Checker) Sent(sender, conversation, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key == "" || c.sends[key] != nil {
		c.report(Misuse, conversation, "Sent with the key %q, which is empty or in use", key)
		return
	}
	c.tick++
	cv := c.conv(conversation)
	cv.bySend[sender]++
	c.sends[key] = &send{conversation: conversation, sender: sender, key: key, no: cv.bySend[sender], start: c.tick}
}

// Acked records that the send of key was acknowledged with id and seq.
func (c *Checker) Acked(key, id string, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sends[key]
	switch {
	case s == nil:
		c.report(Phantom, "", "%s was acknowledged and never sent", key)
	case id == "" || seq == 0:
		c.report(Changed, s.conversation, "%s was acknowledged without an id or a seq", key)
	case s.ack.ID == "":
		c.tick++
		c.acked++
		s.end, s.ack = c.tick, Entry{seq, id, key}
	case s.ack.ID != id || s.ack.Seq != seq:
		c.report(Changed, s.conversation, "%s was acknowledged as %d %s and again as %d %s", key, s.ack.Seq, s.ack.ID, seq, id)
	}
}

// Refused records that the server said no to the send of key: it must not appear.
func (c *Checker) Refused(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sends[key]; s != nil {
		s.refused = true
	} else {
		c.report(Misuse, "", "Refused with the unknown key %q", key)
	}
}

// Observer is one reader of conversations.
type Observer struct {
	c    *Checker
	name string
	last map[string]uint64
}

// Observer adds a reader. The name is for reports.
func (c *Checker) Observer(name string) *Observer {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := &Observer{c: c, name: name, last: map[string]uint64{}}
	c.obs = append(c.obs, o)
	return o
}

// Follow says that the observer reads the conversation after seq, and is to see all that comes. Without it the
// first event that it sees is where it begins.
func (o *Observer) Follow(conversation string, seq uint64) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.last[conversation] = seq
}

// Last is the seq up to which the observer has seen the conversation.
func (o *Observer) Last(conversation string) uint64 {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	return o.last[conversation]
}

// Saw records the next event of a conversation.
func (o *Observer) Saw(conversation string, e Entry) {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Seq == 0 {
		c.report(Skip, conversation, "%s saw an event without a seq", o.name)
		return
	}
	last, known := o.last[conversation]
	switch {
	case known && e.Seq <= last:
		c.report(Repeat, conversation, "%s saw seq %d after %d", o.name, e.Seq, last)
	case known && e.Seq != last+1:
		c.report(Skip, conversation, "%s saw seq %d after %d", o.name, e.Seq, last)
	}
	o.last[conversation] = max(last, e.Seq)
	c.agree(o.name, conversation, e)
}

// Gap records that the observer was told that it cannot have the events up to seq one by one, and got these
// messages of them instead, oldest first.
func (o *Observer) Gap(conversation string, upTo uint64, messages []Entry) {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	last := o.last[conversation]
	if upTo < last {
		c.report(Repeat, conversation, "%s was set back from seq %d to %d", o.name, last, upTo)
	}
	for _, e := range messages {
		if e.Seq <= last || e.Seq > upTo {
			c.report(Repeat, conversation, "%s got seq %d for the gap %d…%d", o.name, e.Seq, last+1, upTo)
		}
		c.agree(o.name, conversation, e)
	}
	o.last[conversation] = max(o.last[conversation], upTo)
}

func (c *Checker) agree(who, conversation string, e Entry) {
	cv := c.conv(conversation)
	if old, ok := cv.at[e.Seq]; !ok {
		cv.at[e.Seq] = e
	} else if old.ID != e.ID || (old.Key != "" && e.Key != "" && old.Key != e.Key) {
		c.report(Divergence, conversation, "seq %d is %q (%s) for %s and %q (%s) for somebody before", e.Seq, e.ID, e.Key, who, old.ID, old.Key)
	}
}

// Final records the messages of a conversation as one reader found them when everything had ended, oldest
// first. It may be called for several readers: they must agree.
func (c *Checker) Final(reader, conversation string, messages []Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cv := c.conv(conversation)
	if cv.read {
		c.sameFinal(reader, conversation, cv.final, messages)
		return
	}
	cv.read, cv.final = true, messages
}

func (c *Checker) sameFinal(reader, conversation string, a, b []Entry) {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i].Seq != b[i].Seq || a[i].ID != b[i].ID {
			c.report(Divergence, conversation, "the history that %s read (%d messages) differs from another's (%d) at place %d", reader, len(b), len(a), i)
			return
		}
	}
}
