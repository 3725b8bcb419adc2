package user

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/chat"
)

// activation is one live user's actor.
type activation struct {
	reg *Registry
	key chat.UserKey
	pid *actor.PID

	term  *term
	after []<-chan struct{} // what had the user before must have ended before anything is done
	ended chan struct{}     // set when the term is lost, closed at the end

	inbox  atomic.Int32  // messages that keep it alive: admitted, not handled
	used   atomic.Int64  // when the newest request came, Unix ns
	shared atomic.Uint32 // the preferences, for who looks from outside

	state   State
	fx      Effects
	out     int // operations under way
	leaving bool
	gone    bool
	aborted bool // the term is lost, and who waited was told
}

const (
	sharedLoaded = 1 << iota
	sharedHideReceipts
	sharedInvisible
)

func (a *activation) share() {
	p, ok := a.state.Preferences()
	var bits uint32
	for i, on := range [...]bool{ok, p.HideReceipts, p.Invisible} {
		if on {
			bits |= 1 << i
		}
	}
	a.shared.Store(bits)
}

func (a *activation) preferences() (chat.Preferences, bool) {
	bits := a.shared.Load()
	return chat.Preferences{HideReceipts: bits&sharedHideReceipts != 0, Invisible: bits&sharedInvisible != 0}, bits&sharedLoaded != 0
}

type passivate struct{}

// IgnoreDeadLetterLogging implements actor.IgnoreDeadLetterLogging: the sweeper may be late.
func (passivate) IgnoreDeadLetterLogging() {}

// shell is the protoactor actor.
type shell struct{ a *activation }

// Receive implements actor.Actor. It never blocks on I/O.
func (s *shell) Receive(c actor.Context) {
	if s.a == nil {
		s.a, _ = c.Message().(*activation) // Started comes first, the activation second
		return
	}
	a := s.a
	if a.gone {
		return
	}
	if a.term.lost.Load() {
		if a.gone = a.receiveLost(c.Message()); a.gone {
			c.Stop(c.Self())
		}
		return
	}
	switch m := c.Message().(type) {
	case *Request:
		a.inbox.Add(-1)
		a.leaving = a.reg.closing.Load() || a.term.leaving.Load()
		a.step(m)
	case Finished:
		a.out--
		a.step(m)
	case passivate:
		a.leaving = true
	default:
		return // lifecycle messages of the actor system
	}
	if a.leaving && a.out == 0 && a.state.Quiet() && a.reg.leave(a) {
		a.gone = true
		c.Stop(c.Self())
	}
}

func (a *activation) step(in any) {
	a.state.Step(in, &a.fx)
	a.share() // before anybody is answered
	for _, r := range a.fx.Answer {
		if r.Done != nil {
			r.Done(r.result, r.err)
		}
	}
	for _, r := range a.fx.Start {
		a.out++
		a.reg.io.Go(func() {
			a.carryOut(r)
			a.reg.cfg.System.Root.Send(a.pid, Finished{r})
		})
	}
	clear(a.fx.Answer)
	clear(a.fx.Start)
	a.fx.Answer, a.fx.Start = a.fx.Answer[:0], a.fx.Start[:0]
}

// carryOut does what a request asks for; it owns the request until it returns.
func (a *activation) carryOut(r *Request) {
	g := a.reg
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("%w: internal error", chat.ErrUnknown)
			g.cfg.Log.Error("operation on users panicked", slog.String("tenant", string(a.key.Tenant)),
				slog.String("panic", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
		}
	}()
	for _, ended := range a.after {
		<-ended // its I/O was given up
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		r.err = chat.ErrOverloaded
		return
	}
	switch {
	case r.Pair == (chat.PairKey{}):
		r.err = a.setPreferences(r)
	case r.Repair:
		r.err = a.repair(r)
	case r.Guard != nil:
		r.err = a.guard(r)
	default:
		r.err = a.decide(r)
	}
	if judged := r.err != nil && !errors.Is(r.err, chat.ErrUnknown) || r.Pair == (chat.PairKey{}) && r.Change == nil; judged && a.owned() != nil {
		r.err = notOwner() // nothing was written, and what was read may be out of date
	}
}

func (a *activation) setPreferences(r *Request) error {
	g := a.reg
	if r.load {
		ps, err := g.cfg.Store.GetPreferences(a.term.ctx, a.key.Tenant, []chat.UserID{a.key.User})
		if err != nil {
			return fmt.Errorf("read preferences: %w", err)
		}
		r.result.Preferences = ps[0]
		if r.Change == nil {
			return nil
		}
		r.Change(&r.result.Preferences)
	}
	if err := a.untilKnown(func() error { return g.cfg.Store.PutPreferences(a.term.ctx, a.key, r.result.Preferences) }); err != nil {
		return err
	}
	return a.owned()
}

// owned answers chat.ErrUnknown if what was written may have been written beside another owner, who may have seen it or not.
func (a *activation) owned() error {
	if a.reg.cfg.Owner.MayAck(a.term.shard, a.term.epoch) {
		return nil
	}
	return fmt.Errorf("%w: the shard moved", chat.ErrUnknown)
}

func (a *activation) decide(r *Request) error {
	g := a.reg
	before, err := g.cfg.Store.GetPair(a.term.ctx, r.Pair)
	if err != nil {
		return fmt.Errorf("read pair: %w", err)
	}
	after, err := Decide(before, r.Caller.User, r.Command, g.cfg.Now(), &g.rules)
	r.result.Pair = after
	if err != nil || after == before {
		return err
	}
	after.Version++
	r.result.Pair = after
	if err := a.untilKnown(func() error { return g.cfg.Store.SavePair(a.term.ctx, after, before) }); err != nil {
		return err
	}
	return a.settle(&after, before.Blocked(), r.Caller)
}

// settle carries out what follows from a stored pair beside the lists.
func (a *activation) settle(p *chat.Pair, was bool, by chat.Principal) error {
	g := a.reg
	if p.Blocked() || was {
		if err := a.insist(func() error { return g.cfg.Bar(a.term.ctx, p, by) }); err != nil {
			return err
		}
	}
	if err := a.owned(); err != nil {
		return err // and the pair stays unsettled: its owner carries out what follows from it
	}
	if err := g.cfg.Store.SettlePair(a.term.ctx, p.Key); err != nil {
		g.cfg.Log.Warn("pair stays unsettled: the next start will settle it", slog.String("tenant", string(p.Key.Tenant)),
			slog.Any("error", err))
	}
	return nil
}

func (a *activation) repair(r *Request) error {
	g := a.reg
	p, err := g.cfg.Store.GetPair(a.term.ctx, r.Pair)
	if err != nil {
		return fmt.Errorf("read pair: %w", err)
	}
	if p.Version > 0 {
		if err := a.insist(func() error { return g.cfg.Store.RederivePair(a.term.ctx, p) }); err != nil {
			return err
		}
	}
	return a.settle(&p, true, chat.Principal{Tenant: r.Pair.Tenant, User: r.Pair.Lo, Username: string(r.Pair.Lo)})
}

func (a *activation) guard(r *Request) error {
	p, err := a.reg.cfg.Store.GetPair(a.term.ctx, r.Pair)
	switch {
	case err != nil:
		return fmt.Errorf("read pair: %w", err)
	case p.Blocked():
		return chat.ErrBlocked
	}
	released := make(chan struct{})
	r.Guard(nil, sync.OnceFunc(func() { close(released) }))
	select {
	case <-released:
		return nil
	case <-a.term.ctx.Done(): // nothing is decided about the pair here any more
		return fmt.Errorf("%w: %w", chat.ErrUnknown, a.term.ctx.Err())
	}
}

const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
)

// untilKnown repeats a write until it is known to have happened, or was refused at the first attempt.
func (a *activation) untilKnown(write func() error) error {
	first := true
	err := a.retry(func() (again bool, err error) {
		err = write()
		again = !first || errors.Is(err, chat.ErrUnknown)
		first = false
		return again, err
	})
	return err
}

// insist repeats something idempotent until it succeeds.
func (a *activation) insist(f func() error) error {
	return a.retry(func() (bool, error) { return true, f() })
}

// retry calls f until it succeeds or wants no more; chat.ErrUnknown if the registry or the term ended.
func (a *activation) retry(f func() (again bool, err error)) error {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		again, err := f()
		if err == nil || !again {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-a.term.ctx.Done():
			t.Stop()
			return fmt.Errorf("%w: %w", chat.ErrUnknown, err)
		}
	}
}
