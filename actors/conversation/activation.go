package conversation

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/chat"
)

// activation is one live conversation: the actor's state, and what others may touch of it.
type activation struct {
	reg *Registry
	key chat.ConversationKey
	pid *actor.PID

	term  *term
	after []<-chan struct{} // what had the conversation before must have ended before anything is read
	ended chan struct{}     // set when the term is lost, closed at the end

	inbox atomic.Int32 // messages that keep it alive: admitted, not handled
	marks atomic.Int32 // positions among them
	used  atomic.Int64 // when the newest command came, Unix ns

	mu    sync.Mutex // guards state between a step and Peek
	state *State
	fx    Effects

	open     Request // head of the ring of unanswered requests
	out      int     // goroutines with I/O of this activation
	loadNext bool    // load once out is 0: after a restart old writes must have landed first
	leaving  bool
	clearing bool
	gone     bool
	aborted  bool // the term is lost, and everybody was told
	brief    bool // it was loaded to be announced, and leaves again
	repairs  []repair
	timer    *time.Timer
	wake     time.Time

	dirty   bool   // the store has a dirty mark
	delayed *Batch // a commit that waits for the mark to be cleared

	suspect atomic.Bool   // the store may have a dirty mark
	told    atomic.Uint64 // how far everything that follows the log is; Gone
}

// messages of the shell, besides the inputs of the core.
type (
	passivate struct{}
	kill      struct{}
	wakeUp    struct{}
	cleared   struct{ err error }
	repair    struct {
		done     chan repaired
		told     uint64
		announce bool // answered as soon as the state is known
	}
)

// repaired answers a repair.
type repaired struct {
	head   uint64
	exists bool
	err    error
}

// A timer or the sweeper may be late: that is no dead letter worth a line, nor the goroutine that counts them.
func (passivate) IgnoreDeadLetterLogging() {}
func (kill) IgnoreDeadLetterLogging()      {}
func (wakeUp) IgnoreDeadLetterLogging()    {}

var (
	_ actor.IgnoreDeadLetterLogging = passivate{}
	_ actor.IgnoreDeadLetterLogging = kill{}
	_ actor.IgnoreDeadLetterLogging = wakeUp{}
)

// shell is the protoactor actor. It forwards everything to its activation.
type shell struct{ a *activation }

// Receive implements actor.Actor. It never blocks on I/O and never panics.
func (s *shell) Receive(c actor.Context) {
	if s.a == nil {
		s.a, _ = c.Message().(*activation) // Started comes first, the activation second
		return
	}
	a := s.a
	if a.gone {
		return
	}
	if refused, ok := fencedOff(c.Message()); ok && !a.term.lost.Load() {
		a.out--
		if a.deposed(refused) {
			a.end(c)
		}
		return
	}
	if a.term.lost.Load() {
		if a.receiveLost(c.Message()) {
			a.end(c)
		}
		return
	}
	switch m := c.Message().(type) {
	case *Request:
		a.handled(m)
		a.link(m)
		if _, ok := m.Command.(chat.Erase); ok {
			a.suspect.Store(true) // a former owner may have left a mark behind of what is gone
		}
		a.leaving = a.reg.closing.Load() || a.term.leaving.Load()
		a.step(m)
	case *Batch:
		a.out--
		a.dirty = a.dirty || m.marked
		if m.Err != nil || m.Lost {
			a.step(m)
		} else {
			a.show(m.Events, m)
		}
	case *Read:
		a.out--
		a.step(m)
	case *Write:
		a.out--
		a.step(m)
	case *Loaded:
		a.out--
		a.failRepairs(m.Err)
		if len(m.Tail) > 0 {
			a.dirty = true
		}
		if m.Err != nil {
			a.step(m)
		} else {
			a.show(m.Tail, m)
			a.answerAnnounced()
		}
	case wakeUp:
		a.wake = time.Time{}
		a.step(Tick{})
	case repair:
		a.inbox.Add(-1)
		a.repairs = append(a.repairs, m)
		a.follow(m.told)
		if !m.announce {
			a.step(Open{})
			break
		}
		a.brief = a.brief || !a.state.Known()
		a.step(Announce{})
		a.answerAnnounced()
	case passivate:
		a.leaving = true
	case cleared:
		a.out--
		a.clearing = false
		a.dirty = false
		a.suspect.Store(false)
		a.failRepairs(m.err)
		if m.err != nil {
			a.look()
		}
		if b := a.delayed; b != nil {
			a.delayed = nil
			a.startCommit(b)
		}
	case kill:
		a.leaving = true
		a.delayed = nil
		a.step(Abort{Err: chat.ErrShutdown})
		a.answerAll(chat.ErrShutdown)
	default:
		return // lifecycle messages of the actor system
	}
	if a.loadNext && a.out == 0 {
		a.loadNext = false
		a.start(a.load)
	}
	if a.out == 0 && a.state.Saved() && a.state.Quiet() {
		a.fx = Effects{}
	}
	if a.depart() {
		a.end(c)
	}
}

// fencedOff reports whether a message is the outcome of a write, or a load, that a later owner's fence has turned away. If
// it is that of a batch of which nothing was written, it returns that.
func fencedOff(m any) (refused *Batch, ok bool) {
	var err error
	switch m := m.(type) {
	case *Batch:
		if err = m.Err; Refused(err) {
			refused = m
		}
	case *Loaded:
		err = m.Err
	case *Write:
		err = m.Err
	}
	return refused, errors.Is(err, chat.ErrFenced)
}

func (a *activation) end(c actor.Context) {
	a.gone = true
	a.mu.Lock()
	a.state.Discard()
	a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	c.Stop(c.Self())
}

func (a *activation) fresh() *State {
	return New(Params{Key: a.key, Epoch: a.term.epoch, Rules: &a.reg.rules, Seen: a.reg.seen})
}

// step runs the core and carries out what it wants.
func (a *activation) step(in Input) {
	now := a.reg.cfg.Now()
	ok := a.protected(func() {
		a.fx.Reset()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.state.Step(in, now, &a.fx)
	})
	if !ok {
		a.restart()
		return
	}
	a.perform(now)
	if a.state.Dead() {
		a.mu.Lock()
		a.state.Discard()
		a.state = a.fresh()
		a.mu.Unlock()
	}
}

// protected runs f and reports whether it came back.
func (a *activation) protected(f func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			a.reg.cfg.Log.Error("conversation panicked", slog.String("tenant", string(a.key.Tenant)),
				slog.String("conversation", a.key.ID.String()), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
	}()
	f()
	return true
}

// restart drops a state that cannot be trusted any more; the next command loads what the store knows.
func (a *activation) restart() {
	a.reg.cfg.Observer.Restarted()
	a.delayed = nil
	a.mu.Lock()
	a.state.Discard()
	a.state = a.fresh()
	a.mu.Unlock()
	a.answerAll(fmt.Errorf("%w: internal error", chat.ErrUnknown))
	a.failRepairs(chat.ErrUnavailable)
	a.fx = Effects{}
}

func (a *activation) perform(now time.Time) {
	fx, cfg := &a.fx, &a.reg.cfg
	for i := range fx.Out {
		o := &fx.Out[i]
		if d := o.Delivery; d != nil {
			cfg.Publish(d)
			cfg.Observer.Published(len(d.Recipients.Users), now.Sub(d.AcceptedAt))
			continue
		}
		a.answer(&o.Reply, now)
	}
	if fx.Duplicates > 0 {
		cfg.Observer.Duplicates(fx.Duplicates)
	}
	if fx.Load {
		if a.out > 0 {
			a.loadNext = true
		} else {
			a.start(a.load)
		}
	}
	if b := fx.Commit; b != nil {
		if a.clearing {
			a.delayed = b
		} else {
			a.startCommit(b)
		}
	}
	if w := fx.Write; w != nil {
		a.start(func() any { return a.write(w) })
	}
	for _, r := range fx.Reads {
		a.start(func() any { return a.read(r) })
	}
	if at := a.state.Wake(); !at.IsZero() && (a.wake.IsZero() || at.Before(a.wake)) {
		a.wake = at
		d := max(at.Sub(now), 0)
		if a.timer == nil {
			a.timer = time.AfterFunc(d, func() { a.reg.cfg.System.Root.Send(a.pid, wakeUp{}) })
		} else {
			a.timer.Reset(d)
		}
	}
}

// start runs f on a goroutine of its own and brings what it returns back as a message.
func (a *activation) start(f func() any) {
	a.out++
	a.reg.io.Go(func() { a.reg.cfg.System.Root.Send(a.pid, f()) })
}

func (a *activation) link(r *Request) {
	if a.open.next == nil {
		a.open.next, a.open.prev = &a.open, &a.open
	}
	r.prev, r.next = a.open.prev, &a.open
	r.prev.next, r.next.prev = r, r
}

// answer calls Done, once per request.
func (a *activation) answer(p *Reply, now time.Time) {
	r := p.Request
	if r.next == nil {
		return
	}
	r.prev.next, r.next.prev = r.next, r.prev
	r.next, r.prev = nil, nil
	a.reg.cfg.Observer.Answered(r.Command.Name(), p.Err, now.Sub(r.At))
	if !a.protected(func() { r.Done(p.Result, p.Err) }) {
		return
	}
}

func (a *activation) answerAll(err error) {
	now := a.reg.cfg.Now()
	for a.open.next != nil && a.open.next != &a.open {
		a.answer(&Reply{Request: a.open.next, Err: err}, now)
	}
}

func (a *activation) failRepairs(err error) {
	if err == nil {
		return
	}
	a.answerRepairs(repaired{err: err})
}

func (a *activation) answerRepairs(r repaired) {
	for i := range a.repairs {
		a.repairs[i].done <- r
	}
	a.repairs = nil
}

// answerAnnounced answers those who wanted the conversation announced, which has happened if its state is known.
func (a *activation) answerAnnounced() {
	if !a.state.Known() {
		return
	}
	if a.brief {
		a.brief, a.leaving = false, true
	}
	rest := a.repairs[:0]
	for _, r := range a.repairs {
		if r.announce {
			r.done <- repaired{}
		} else {
			rest = append(rest, r)
		}
	}
	clear(a.repairs[len(rest):])
	if a.repairs = rest; len(rest) == 0 {
		a.repairs = nil
	}
}

// depart brings the activation closer to its end, if it is to end, and reports whether it has.
func (a *activation) depart() bool {
	settled := a.out == 0 && a.state.Quiet()
	if len(a.repairs) > 0 && settled && a.state.Saved() {
		a.leaving = true // and with it the dirty mark goes
	}
	if settled && a.state.Vacant() {
		a.leaving = true
	}
	killed := a.reg.ctx.Err() != nil
	if !a.leaving || !settled || a.clearing || a.inbox.Load() > 0 {
		return false
	}
	if !a.state.Saved() && !killed {
		a.step(Flush{})
		return false
	}
	if a.clearable() && !killed {
		a.clearing = true
		a.clear()
		return false
	}
	head, _, _, exists := a.state.Peek("")
	a.answerRepairs(repaired{head: head.Seq, exists: exists})
	if a.reg.leave(a) {
		if a.dirty || a.suspect.Load() {
			a.look() // the mark stays: somebody has to come back for it
		}
		return true
	}
	if a.inbox.Load() == 0 && a.clearable() { // just now
		a.clearing = true
		a.clear()
	}
	return false
}

func (a *activation) startCommit(b *Batch) {
	a.out++
	b.marked = a.dirty
	a.reg.io.Add(1)
	a.reg.committers.do(commitJob{a: a, b: b})
}

// oldest is the time of use that n of the live conversations are not newer than.
func (g *Registry) oldest(n int) int64 {
	var used []int64
	g.each(func(a *activation) { used = append(used, a.used.Load()) })
	if len(used) == 0 {
		return 0
	}
	slices.Sort(used)
	return used[min(n, len(used))-1]
}
