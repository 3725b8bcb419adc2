package client

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

const (
	maxResumes = 32  // resumes and history reads at once
	maxBuffer  = 256 // events of one conversation held back while a hole before them is filled
	maxStalls  = 3   // resumes without progress before the history is read instead
	retryPause = time.Second
)

// phase is how far a conversation is caught up on the current connection.
type phase uint8

const (
	phaseNew       phase = iota // no position: the first event sets it
	phaseWanted                 // to be resumed
	phaseResuming               // resume sent
	phaseHistory                // the server answered gap; the history is being read
	phaseLive                   // caught up
	phaseLagging                // the handler's queue was full; to be resumed when it has room
	phaseForgotten              // not followed any more
)

// conversation is guarded by Client.mu.
type conversation struct {
	id    string
	known bool
	last  uint64 // of the newest event in the handler's queue, or beyond it
	seen  uint64 // the highest seq that the server mentioned

	phase  phase
	ref    string // of the resume
	from   uint64 // last when the resume was sent
	stalls int
	buffer map[uint64]Event
	queued bool      // on the writer's list
	after  time.Time // nothing is sent before; zero: no restriction

	outbox   []*Outgoing // oldest first
	inflight int

	typing            *bool
	readWant, readSet uint64
}

func (cv *conversation) reset() {
	cv.phase = phaseNew
	cv.ref, cv.stalls, cv.buffer, cv.queued, cv.after = "", 0, nil, false, time.Time{}
	cv.inflight, cv.typing, cv.readSet = 0, nil, 0
	for _, o := range cv.outbox {
		o.ref = ""
	}
}

func base36(n uint64) string { return strconv.FormatUint(n, 36) }

func (c *Client) conversation(id string) *conversation {
	cv := c.convs[id]
	if cv == nil {
		cv = &conversation{id: id}
		c.convs[id] = cv
	}
	return cv
}

func unsynced(p phase) int {
	if p == phaseWanted || p == phaseResuming || p == phaseHistory {
		return 1
	}
	return 0
}

func slot(p phase) int {
	if p == phaseResuming || p == phaseHistory {
		return 1
	}
	return 0
}

// setPhase keeps the counts that belong to phases.
func (c *Client) setPhase(cv *conversation, p phase) {
	c.unsynced += unsynced(p) - unsynced(cv.phase)
	c.slots += slot(p) - slot(cv.phase)
	if slot(cv.phase) == 1 && slot(p) == 0 && len(c.wanted) > 0 {
		signal(c.wake)
	}
	if cv.phase == phaseResuming && p != phaseResuming {
		if in := c.refs[cv.ref]; in != nil {
			if in.left--; in.left == 0 {
				c.untrack(cv.ref)
			}
		}
		cv.ref = ""
	}
	cv.phase = p
	if p == phaseLive {
		c.poke(cv)
	}
}

// want asks the writer to resume the conversation.
func (c *Client) want(cv *conversation) {
	c.setPhase(cv, phaseWanted)
	c.wanted = append(c.wanted, cv)
	signal(c.wake)
}

// wantLater is want after a pause.
func (c *Client) wantLater(cv *conversation, pause time.Duration) {
	c.setPhase(cv, phaseWanted)
	c.deferUntil(cv, c.cfg.Clock.Now().Add(pause))
}

func (c *Client) deferUntil(cv *conversation, t time.Time) {
	if cv.after.IsZero() {
		c.deferred = append(c.deferred, cv)
	}
	cv.after = t
	signal(c.wake)
}

// resumeFrame asks for several conversations at once: requests are what servers limit. It waits until half of
// the slots are free, or enough for all, so that answers that trickle in do not break the batches up.
func (c *Client) resumeFrame(now time.Time) []byte {
	c.wanted = slices.DeleteFunc(c.wanted, func(cv *conversation) bool { return cv.phase != phaseWanted })
	free := maxResumes - c.slots
	if len(c.wanted) == 0 || free < min(len(c.wanted), maxResumes/2) {
		return nil
	}
	in := &inflight{kind: "resume", at: now}
	ref := c.track(in)
	f := clientFrame{Type: "resume", Ref: ref}
	for len(c.wanted) > 0 && c.slots < maxResumes {
		cv := c.wanted[0]
		c.wanted = c.wanted[1:]
		if cv.phase != phaseWanted { // listed twice
			continue
		}
		c.setPhase(cv, phaseResuming)
		cv.from, cv.ref = cv.last, ref
		in.convs = append(in.convs, cv)
		f.Conversations = append(f.Conversations, resumePoint{cv.id, cv.last})
	}
	in.left = len(in.convs)
	if len(f.Conversations) == 1 {
		p := f.Conversations[0]
		f.Conversation, f.LastSeq, f.Conversations = p.Conversation, &p.LastSeq, nil
	}
	return f.encode()
}

// onLog takes a frame that may belong to a log; it returns false if it does not.
func (c *Client) onLog(f *serverFrame) bool {
	if f.Seq == 0 || f.Conversation == "" {
		return false
	}
	cv := c.convs[f.Conversation]
	next := f.Seq
	if cv != nil && cv.known {
		next = cv.last + 1
	}
	ev := f.logEvent(next)
	if ev == nil {
		return false
	}
	if cv == nil {
		cv = c.conversation(f.Conversation)
	}
	if m, ok := ev.(*MessageEvent); ok {
		m.Own = c.acknowledge(f)
	}
	if cv.phase == phaseForgotten {
		cv.known = false
	}
	if !cv.known {
		cv.known = true
		if c.cfg.FromStart && f.Seq > 1 {
			cv.last, cv.seen = 0, f.Seq
			c.hold(cv, f.Seq, ev)
			c.want(cv)
			return true
		}
		cv.last = f.Seq - 1
		c.setPhase(cv, phaseLive)
	}
	cv.seen = max(cv.seen, f.Seq)
	switch {
	case f.Seq <= cv.last || cv.phase == phaseLagging:
	case f.Seq == cv.last+1:
		if c.advance(cv, ev) {
			c.drain(cv)
		}
	default:
		c.hold(cv, f.Seq, ev)
		if cv.phase == phaseLive {
			c.log.Info("events are missing", "conversation", cv.id, "after", cv.last, "got", f.Seq)
			c.want(cv)
		}
	}
	return true
}

func (c *Client) hold(cv *conversation, seq uint64, ev Event) {
	if cv.buffer == nil {
		cv.buffer = map[uint64]Event{}
	}
	if len(cv.buffer) < maxBuffer { // what does not fit is fetched by the next resume: seen tells
		cv.buffer[seq] = ev
	}
}

// advance hands the next event of the conversation to the handler's queue. If that is full the conversation
// falls behind and what comes for it is not kept: it is in the log.
func (c *Client) advance(cv *conversation, ev Event) bool {
	if len(c.queue) >= c.cfg.QueueLimit {
		cv.buffer = nil
		c.setPhase(cv, phaseLagging)
		c.lagging = append(c.lagging, cv)
		c.checkOnline()
		return false
	}
	cv.last++
	c.push(queued{ev: ev, conv: cv.id, seq: cv.last})
	return true
}

// drain releases held back events that are next, and forgets those that came another way.
func (c *Client) drain(cv *conversation) {
	for len(cv.buffer) > 0 {
		ev, ok := cv.buffer[cv.last+1]
		if !ok {
			break
		}
		delete(cv.buffer, cv.last+1)
		if !c.advance(cv, ev) {
			return
		}
	}
	for seq := range cv.buffer {
		if seq <= cv.last {
			delete(cv.buffer, seq)
		}
	}
}

// resuming finds the conversation that a resumed or gap frame is about.
func (c *Client) resuming(f *serverFrame) *conversation {
	cv := c.convs[f.Conversation]
	if cv == nil || cv.phase != phaseResuming || (f.Ref != "" && f.Ref != cv.ref) {
		return nil
	}
	return cv
}

func (c *Client) onResumed(s *session, f *serverFrame) {
	cv := c.resuming(f)
	if cv == nil {
		return
	}
	cv.seen = max(cv.seen, f.HeadSeq)
	c.setPhase(cv, phaseLive)
	c.settle(s, cv)
}

// onHead takes the news that the log reaches up to a seq: what lies between may have got lost on its way.
func (c *Client) onHead(f *serverFrame) {
	if f.Conversation == "" || f.HeadSeq == 0 {
		return
	}
	cv := c.convs[f.Conversation]
	switch {
	case cv == nil || !cv.known && cv.phase != phaseForgotten:
		// Nothing of it was seen: what gets lost are its first events here, of which all that is known is the last.
		if cv == nil {
			cv = c.conversation(f.Conversation)
		}
		cv.known = true
		if !c.cfg.FromStart {
			cv.last = f.HeadSeq - 1
		}
	case !cv.known || f.HeadSeq <= cv.last:
		return
	}
	cv.seen = max(cv.seen, f.HeadSeq)
	if cv.phase == phaseLive || cv.phase == phaseNew {
		c.log.Info("events may be missing", "conversation", cv.id, "after", cv.last, "head", f.HeadSeq)
		c.want(cv)
	}
}

// settle decides what a conversation needs after a resume ended.
func (c *Client) settle(s *session, cv *conversation) {
	c.drain(cv)
	switch {
	case cv.phase != phaseLive: // fell behind while draining
	case cv.seen <= cv.last:
		cv.stalls = 0
	case cv.last > cv.from:
		cv.stalls = 0
		c.want(cv)
	case cv.stalls < maxStalls:
		// The missing ones may be on their way behind this answer.
		cv.stalls++
		c.wantLater(cv, retryPause/4)
	default:
		c.log.Warn("resume makes no progress", "conversation", cv.id, "after", cv.last, "seen", cv.seen)
		cv.stalls = 0
		c.readHistory(s, cv, cv.seen)
	}
	c.checkOnline()
}

func (c *Client) onGap(s *session, f *serverFrame) {
	cv := c.resuming(f)
	switch {
	case cv == nil:
	case f.HeadSeq < cv.last:
		c.log.Warn("the log is shorter than what was seen", "conversation", cv.id, "seen", cv.last, "head", f.HeadSeq)
		c.passGap(s, cv, &GapEvent{Conversation: cv.id, From: cv.last + 1, To: f.HeadSeq, Reset: true})
	case f.HeadSeq == cv.last:
		c.setPhase(cv, phaseLive)
		c.settle(s, cv)
	default:
		c.readHistory(s, cv, f.HeadSeq)
	}
}

func (c *Client) readHistory(s *session, cv *conversation, to uint64) {
	c.setPhase(cv, phaseHistory)
	after := cv.last
	s.wg.Go(func() {
		msgs, truncated, err := c.messagesBetween(s.ctx, cv.id, after, to)
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.ctx.Err() != nil || cv.phase != phaseHistory {
			return
		}
		if err != nil {
			c.log.Warn("cannot read history", "conversation", cv.id, "error", err)
			c.wantLater(cv, retryPause)
			return
		}
		c.passGap(s, cv, &GapEvent{Conversation: cv.id, From: after + 1, To: to, Messages: msgs, Truncated: truncated})
	})
}

// passGap moves the position over a hole. The event is queued even when the queue is full: there is at most
// one per conversation and resume.
func (c *Client) passGap(s *session, cv *conversation, g *GapEvent) {
	cv.last, cv.from = g.To, 0
	if g.Reset {
		cv.seen, cv.buffer = g.To, nil
	}
	c.push(queued{ev: g, conv: cv.id, seq: g.To})
	c.setPhase(cv, phaseLive)
	c.settle(s, cv)
}

// forget stops following a conversation that the server refused to resume.
func (c *Client) forget(cv *conversation, err error) {
	c.setPhase(cv, phaseForgotten)
	cv.known, cv.last, cv.seen, cv.buffer = false, 0, 0, nil
	c.push(queued{ev: &LostEvent{Conversation: cv.id, Err: err}, conv: cv.id, forget: true})
	c.poke(cv) // its sends get their own refusal
	c.checkOnline()
}

// messagesBetween reads the messages with after < seq <= to, oldest first, at most HistoryLimit of the newest.
func (c *Client) messagesBetween(ctx context.Context, conversation string, after, to uint64) ([]Message, bool, error) {
	var out []Message
	before := ""
	truncated := false
	for {
		page, err := c.Messages(ctx, conversation, before)
		if err != nil {
			return nil, false, fmt.Errorf("history of %s: %w", conversation, err)
		}
		done := len(page.Messages) == 0 || !page.More
		for _, m := range page.Messages {
			before = m.ID
			if m.Seq != 0 && m.Seq <= after {
				done = true
				break
			}
			if m.Seq > to {
				continue
			}
			if len(out) >= c.cfg.HistoryLimit {
				done, truncated = true, true
				break
			}
			out = append(out, m)
		}
		if done {
			break
		}
	}
	slices.Reverse(out)
	return out, truncated, nil
}
