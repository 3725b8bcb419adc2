package check

import (
	"fmt"
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Entry is something that stands in a log. Key is what the sender named the message by (a client id, or a
// token in its content); ID is what the server named it. Both are empty for an event that is no message.
type Entry struct {
	Seq uint64 `json:"seq"`
	ID  string `json:"id,omitempty"`
	Key string `json:"key,omitempty"`
}

// IsMessage reports whether the entry is a message.
func (e Entry) IsMessage() bool { return e.ID != "" }

// Send is a message that is about to leave.
type Send struct {
	Conversation string
	Sender       string // whose messages stand in the order in which it sent them: one connection, or a user with one
	User         string // whose unread messages it is not among; empty: the Sender
	Key          string // unique in the conversation, over all workers
	Intended     time.Time
}

// Config of a Checker. The zero value keeps the whole record in memory.
type Config struct {
	// Worker names the process in reports of merged runs. May be empty.
	Worker string
	// SpillDir is the directory of a file to which the record goes, so that what is in memory does not grow with the
	// run. Empty: it stays in memory. The file is removed by Close.
	SpillDir string
	// Window is how many recent seqs of a conversation are remembered at most, to recognise what was seen before; 24 bytes each,
	// taken as observers fall behind. What is seen later goes to the record once more. 0: 4096. Rounded up to a power of two.
	Window int
	// Receipts bounds the remembered positions of receipts, about 40 bytes each; Report.ReceiptsUnchecked counts what did not
	// fit. 0: one million.
	Receipts int
	// Linear says which conversations are given to the linearizability checker.
	Linear Linear
	// Now is the clock. nil: time.Now. Only differences between workers depend on it.
	Now func() time.Time
}

// Checker collects a run. New makes one. Its methods may be called concurrently; the lock that most of them take is that of
// one of 64 shards of conversations, and that of Saw is the conversation's.
type Checker struct {
	cfg    Config
	base   time.Time
	window int
	seed   maphash.Seed
	spill  *spill
	shards [shards]shard

	tick      atomic.Int64 // the last time that was given out
	receipts  atomic.Int64
	unchecked atomic.Int64
	early     atomic.Int64 // violations so far

	mu    sync.Mutex
	obs   []*Observer
	found tally
}

// New returns an empty Checker. It fails when the spill file cannot be created.
func New(cfg Config) (*Checker, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Receipts == 0 {
		cfg.Receipts = 1_000_000
	}
	if cfg.Window == 0 {
		cfg.Window = 4096
	}
	c := &Checker{cfg: cfg, base: cfg.Now(), window: 8, seed: maphash.MakeSeed()}
	for c.window < cfg.Window {
		c.window *= 2
	}
	if cfg.SpillDir != "" {
		var err error
		if c.spill, err = newSpill(cfg.SpillDir); err != nil {
			return nil, err
		}
	}
	for i := range c.shards {
		c.shards[i].spill, c.shards[i].convs = c.spill, map[string]*conversation{}
	}
	return c, nil
}

// Close removes the spill file. The Checker is of no use afterwards.
func (c *Checker) Close() error {
	if c.spill == nil {
		return nil
	}
	return c.spill.close()
}

// Violations is how many have been noticed so far. Most are found only by Check or Merge; of those that are noticed early,
// such as a hole in a delivery, none is missing from their reports.
func (c *Checker) Violations() int64 { return c.early.Load() }

// Spilled is the number of bytes that were written to the spill file.
func (c *Checker) Spilled() int64 {
	if c.spill == nil {
		return 0
	}
	return c.spill.end.Load()
}

// now is a time of its own for every caller: what was called before has the smaller one, also when the clock stands.
func (c *Checker) now() int64 {
	t := int64(c.cfg.Now().Sub(c.base))
	for {
		last := c.tick.Load()
		t = max(t, last+1)
		if c.tick.CompareAndSwap(last, t) {
			return t
		}
	}
}

func (c *Checker) shard(conversation string) *shard { return &c.shards[shardOf(conversation)] }

func (c *Checker) report(v Violation) {
	c.early.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	v.Worker = c.cfg.Worker
	c.found.add(v)
}

func (c *Checker) misuse(conversation, format string, args ...any) {
	c.report(Violation{Kind: Misuse, Conversation: conversation, Text: fmt.Sprintf(format, args...)})
}

// Sent records that a message is about to be sent. Call it before the send leaves.
func (c *Checker) Sent(s Send) {
	if s.Key == "" {
		c.misuse(s.Conversation, "%s sent without a key", s.Sender)
		return
	}
	at := c.now()
	o := &op{kind: opSent, who: s.Sender, key: s.Key, at: at, end: at}
	if s.User != s.Sender {
		o.user = s.User
	}
	if !s.Intended.IsZero() {
		o.end = int64(s.Intended.Sub(c.base))
	}
	c.shard(s.Conversation).record(s.Conversation, o)
}

// Acked records that the send of key was acknowledged with id and seq. Call it after the ack came. A second one for
// the same key, after a repeated send, must agree.
func (c *Checker) Acked(conversation, key, id string, seq uint64) {
	c.shard(conversation).record(conversation, &op{kind: opAcked, key: key, id: id, seq: seq, at: c.now()})
}

// Refused records that the server said no to the send of key: it must not appear. A send for which neither Acked
// nor Refused is called is indeterminate: it may appear once or not at all.
func (c *Checker) Refused(conversation, key string) {
	c.shard(conversation).record(conversation, &op{kind: opRefused, key: key})
}

// Added records that user may see the conversation from seq on. Once membership of a conversation is declared, at any worker and
// at any time before the end, an observer of a user who is no member may see nothing of it.
func (c *Checker) Added(conversation, user string, seq uint64) {
	c.shard(conversation).record(conversation, &op{kind: opAdded, user: user, seq: seq})
}

// Removed records that user may see nothing behind seq.
func (c *Checker) Removed(conversation, user string, seq uint64) {
	c.shard(conversation).record(conversation, &op{kind: opRemoved, user: user, seq: seq})
}

// Final records the messages of a conversation as one reader found them when everything had ended, oldest
// first. It may be called for several readers, at several workers: they must agree.
func (c *Checker) Final(reader, conversation string, messages []Entry) {
	cv := c.shard(conversation).conv(conversation)
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, e := range messages {
		maphash.WriteComparable(&h, e)
	}
	sum := h.Sum64()
	cv.mu.Lock()
	again := cv.finals > 0 && sum == cv.finalSum
	cv.finals++
	if !again {
		cv.finalSum = sum
	}
	cv.mu.Unlock()
	if !again {
		cv.append(&op{kind: opFinal, who: reader, entries: messages})
	}
}

// Marked records that the server confirmed that user has read the conversation up to seq.
func (c *Checker) Marked(conversation, user string, seq uint64) {
	c.shard(conversation).record(conversation, &op{kind: opMark, user: user, seq: seq})
}

// Unread records how many messages of others behind its last confirmed mark user is told of, when everything had ended.
func (c *Checker) Unread(conversation, user string, count uint64) {
	c.shard(conversation).record(conversation, &op{kind: opUnread, user: user, to: count})
}

// Sampled reports whether reads of the conversation are recorded: then read its history now and then while the load runs.
func (c *Checker) Sampled(conversation string) bool { return c.cfg.Linear.sampled(conversation) }

// Read begins a read of the history of a sampled conversation. Call done with what was found, the last messages, oldest first;
// whole says that there are no others before them. A read that fails is not done.
func (c *Checker) Read(reader, conversation string) (done func(last []Entry, whole bool)) {
	if !c.Sampled(conversation) {
		return func([]Entry, bool) {}
	}
	at := c.now()
	return func(last []Entry, whole bool) {
		o := &op{kind: opRead, who: reader, entries: last, at: at, end: c.now()}
		if whole {
			o.seq = 1
		}
		c.shard(conversation).record(conversation, o)
	}
}

// finish writes down where the observers stand, and gives what a record says at its end.
func (c *Checker) finish() trailer {
	c.mu.Lock()
	obs := c.obs
	c.mu.Unlock()
	for _, o := range obs {
		o.finish()
	}
	if c.spill != nil {
		if err := c.spill.failure(); err != nil {
			c.misuse("", "the record is not complete: %v", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return trailer{Observers: len(obs), ReceiptsUnchecked: c.unchecked.Load(),
		Found: tally{Counts: maps.Clone(c.found.Counts), Violations: c.found.Violations}}
}
