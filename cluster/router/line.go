package router

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// lineKey names the questions that must stay in order.
type lineKey struct {
	kind         uint8 // a user's commands to a conversation, preferences, declarations
	shard        int
	user         chat.UserKey
	conversation chat.ConversationID
}

// lineOf is the line of a question; false: it has none.
func lineOf(shard int, q chat.Question) (lineKey, bool) {
	switch q := q.(type) {
	case chat.CarryOut:
		if q.Command == nil {
			return lineKey{}, false
		}
		return lineKey{1, shard, q.Principal.Key(), q.Command.Target()}, true
	case chat.Prefer:
		return lineKey{kind: 2, shard: shard, user: q.User}, true
	case chat.Declare:
		return lineKey{kind: 3, shard: shard, user: q.User}, true
	}
	return lineKey{}, false
}

// stripe is a part of the lines, under one lock.
type stripe struct {
	mu    sync.Mutex
	lines map[lineKey]*line
}

// line is the questions of one lineKey that have no outcome yet, oldest first. A question without a line has one of its
// own.
type line struct {
	mu      *sync.Mutex // the stripe's; guards the line and its questions
	stripe  *stripe     // nil for a line of its own
	key     lineKey
	pending []*asking
	flying  int  // of pending, under way
	sending bool // somebody is in drain

	// The burst: what is under way, if clean, went to target, in order and without a failure, and the next of it gets
	// place, whose upper 40 bits number the burst and whose lower 24 count within it.
	target target
	place  uint64
	clean  bool
}

const burstShift = 24

// target is where a question goes: a node, and if that is this one, the term.
type target struct {
	node  chat.NodeID
	epoch uint64
}

type phase uint8

const (
	waiting    phase = iota // may go when it is its turn
	backingOff              // the oldest of its line, after a failure
	underWay                // an attempt is made
	over
)

// asking is a question on its way.
type asking struct {
	line     *line
	ctx      context.Context
	deadline time.Time
	started  time.Time
	shard    int
	q        chat.Question
	done     func(chat.Answer, error)

	// Guarded by the line's lock.
	phase    phase
	attempts int                // made so far, the present one included
	remote   bool               // the last one
	end      context.CancelFunc // of the present attempt; nil if it is made here
	unwatch  func() bool        // stops what waits for the end of the attempt's context
	failures int                // as the oldest of its line
	maybe    bool               // an attempt may have been carried out
	why      error              // of the last failure
	timer    *time.Timer        // while waiting or backing off
	ticket   int                // names the timer
}

// join puts a question into its line; the line's lock is held when it returns, and the question is not in it if that is
// full.
func (r *Router) join(a *asking) (l *line, ok bool) {
	key, ordered := lineOf(a.shard, a.q)
	if !ordered {
		l = &line{mu: new(sync.Mutex)}
		l.mu.Lock()
	} else {
		s := &r.stripes[maphash.Comparable(r.seed, key)%uint64(len(r.stripes))]
		s.mu.Lock()
		if l = s.lines[key]; l == nil {
			l = &line{mu: &s.mu, stripe: s, key: key}
			s.lines[key] = l
		}
	}
	if len(l.pending) >= r.cfg.Line {
		return l, false
	}
	a.line = l
	l.pending = append(l.pending, a)
	r.count.waiting.Add(1)
	return l, true
}

// remove takes a question that is over out of its line. The lock is held.
func (r *Router) remove(a *asking) {
	r.enter(a, over)
	l := a.line
	if i := slices.Index(l.pending, a); i >= 0 {
		l.pending = slices.Delete(l.pending, i, i+1)
	}
	if len(l.pending) == 0 && l.stripe != nil && l.stripe.lines[l.key] == l {
		delete(l.stripe.lines, l.key)
	}
}

// enter changes a question's phase. What belongs to the one before ends: its timer, or its attempt. The lock is held.
func (r *Router) enter(a *asking, p phase) {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	a.ticket++
	if a.phase == underWay {
		a.line.flying--
		if a.end != nil {
			a.unwatch()
			a.end()
			a.end, a.unwatch = nil, nil
		}
	}
	if p == underWay {
		a.line.flying++
	}
	was, is := a.phase <= backingOff, p <= backingOff
	if was && !is {
		r.count.waiting.Add(-1)
	} else if !was && is {
		r.count.waiting.Add(1)
	}
	a.phase = p
}

// drain sends what may go, in order, and unlocks. One at a time does so for a line: others leave it theirs.
func (r *Router) drain(l *line) {
	if l.sending {
		l.mu.Unlock()
		return
	}
	l.sending = true
	for {
		a, to, place := r.next(l)
		if a == nil {
			break
		}
		r.enter(a, underWay)
		a.attempts++
		attempt := a.attempts
		a.remote = to.node != r.cfg.Self
		l.mu.Unlock()
		if attempt > 1 {
			r.count.retried.Add(1)
		}
		r.send(a, attempt, to, place)
		l.mu.Lock()
	}
	l.sending = false
	for i := len(l.pending) - 1; i >= 0; i-- {
		a := l.pending[i]
		if a.phase != waiting || a.timer != nil {
			break
		}
		r.wakeIn(a, time.Until(a.deadline))
	}
	l.mu.Unlock()
}

// next is the question that may go now, nil if none. The lock is held.
func (r *Router) next(l *line) (a *asking, to target, place uint64) {
	if len(l.pending) == 0 {
		return nil, to, 0
	}
	switch oldest := l.pending[0]; oldest.phase {
	case backingOff:
		return nil, to, 0
	case waiting:
		// Behind one that failed before nothing goes: it may fail again, and all that followed with it.
		l.target, l.clean = r.target(oldest.shard), l.flying == 0 && oldest.failures == 0
		if l.stripe != nil {
			place = r.bursts.Add(1) << burstShift
		}
		l.place = place + 1
		return oldest, l.target, place
	}
	if !l.clean {
		return nil, to, 0
	}
	// Those under way come first, then those that wait.
	i := len(l.pending)
	for l.pending[i-1].phase == waiting {
		i--
	}
	if i == len(l.pending) || r.target(l.pending[i].shard) != l.target {
		return nil, to, 0
	}
	l.place++
	return l.pending[i], l.target, l.place - 1
}

func (r *Router) target(shard int) target {
	if epoch, ok := r.cfg.Shards.Term(shard); ok {
		return target{r.cfg.Self, epoch}
	}
	if node := r.cfg.Shards.Owner(shard); node != r.cfg.Self {
		return target{node: node}
	}
	return target{}
}

// wakeIn has a question that waits looked at again later. The lock is held.
func (r *Router) wakeIn(a *asking, d time.Duration) {
	ticket := a.ticket
	a.timer = time.AfterFunc(d, func() { r.wake(a, ticket) })
}

func (r *Router) wake(a *asking, ticket int) {
	l := a.line
	l.mu.Lock()
	if a.ticket != ticket {
		l.mu.Unlock()
		return
	}
	err := r.hopeless(a)
	if err != nil {
		r.remove(a)
	} else {
		r.enter(a, waiting)
	}
	r.drain(l)
	if err != nil {
		r.finish(a, nil, err)
	}
}
