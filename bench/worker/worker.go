package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/target"
)

// loop is what holds the connections: vclient.Loop. All but Do is called from its own goroutine.
type loop interface {
	Open(id int32, e target.Endpoint) error
	Write(id int32, payload []byte, binary bool) error
	Drop(id int32)
	SlowDown(id int32, bytesPerSecond int)
	At(t time.Time, f func())
	Do(f func())
}

// Worker generates a share of the load. Its methods may be called from any goroutine, one after the other: Begin,
// Connect, Start, Settle, Finish, Export, Close.
type Worker struct {
	cfg  Config
	sc   *scenario.Scenario
	tgt  target.Target
	chk  *check.Checker // nil: nothing is checked
	rng  *rand.Rand
	loop loop
	// unordered: what clients see is not checked, see target.Unordered.
	unordered bool

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	jobs    chan func(context.Context)
	parts   chan measure.Part
	ended   error // of the loop; after running

	// What follows belongs to the loop's goroutine.
	rec     *measure.Recorder
	convs   []conv
	byID    map[string]int32
	conns   []conn
	mine    map[int32][]int32 // conversations of the users that are here
	names   map[int32]string
	pending map[uint64]*pending
	sends   uint64
	turn    int // whose pings are due
	buf     []byte
	ready   int
	failed  int
	why     error     // of the last connection that was lost or could not be opened
	began   time.Time // of the load: the scenario's zero, warm-up before it
	over    bool      // no more arrivals
	closing bool
	touched time.Time // the last time that something of consequence arrived
	waiting int       // requests over REST
	marks   map[place]mark
	used    [2]time.Duration // processor time at the begin and the end of the measured part
}

// conv is a conversation of the run.
type conv struct {
	id      string
	members []int32
	set     int32
	local   []int32 // connections of members that are here, in the members' order
	// The newest message seen here, and the newest own one that was acknowledged.
	last, own [36]byte
	lastLen   uint8
	ownLen    uint8
	lastSeq   uint64
	ownConn   int32
	ownKey    string
	sampled   bool
}

// conn is one connection of a user, over all its sockets one after the other.
type conn struct {
	user     int32
	socket   int16
	attempt  uint16
	ready    bool
	observed bool
	slow     bool
	was      bool // ready once: what comes now is a resume
	joining  bool // not ready before it has subscribed
	obs      *check.Observer
	convs    []int32
	seqs     []uint64 // of convs, when nothing is checked
	opened   time.Time
	lost     time.Time
	asked    []asked // conversations whose missing events were asked for
	awaiting int     // of them at a reconnection, until the session is back
	gap      bool
}

// place is a conversation as one connection has it.
type place struct{ conn, conv int32 }

// mark is how far a conversation was marked as read there, and how far that was confirmed.
type mark struct{ sent, confirmed uint64 }

// maxMarks bounds what is remembered of marks, for the unread counts at the end.
const maxMarks = 2000

// asked is a conversation that waits for resumed or gap, or had it just now.
type asked struct {
	conv int32
	done time.Time
}

// pending is a send without an answer.
type pending struct {
	conv, conn     int32
	intended, sent time.Time
	size           int
	key            string
}

// New prepares a worker: the plan is looked at, nothing is opened. The target is for it alone.
func New(cfg Config, sc *scenario.Scenario, tgt target.Target) (*Worker, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := cfg.Plan
	w := &Worker{cfg: cfg, sc: sc, tgt: tgt, byID: make(map[string]int32, len(p.IDs)), pending: map[uint64]*pending{}, mine: map[int32][]int32{},
		names: map[int32]string{}, marks: map[place]mark{}, rng: rand.New(rand.NewPCG(p.Seed, uint64(p.Part))), jobs: make(chan func(context.Context), restQueue), parts: make(chan measure.Part, 64), rec: measure.NewRecorder()}
	if !sc.Check.Off {
		var err error
		if w.chk, err = check.New(check.Config{Worker: cfg.Name, SpillDir: cfg.SpillDir, Now: cfg.Now, Linear: cfg.Linear}); err != nil {
			return nil, err
		}
	}
	members, sets := sc.World(p.Seed)
	if len(members) != len(p.IDs) || len(p.IDs) != len(p.Heads) {
		return nil, fmt.Errorf("the plan has %d conversations and %d heads, the scenario %d", len(p.IDs), len(p.Heads), len(members))
	}
	w.convs = make([]conv, len(members))
	for s, set := range sets {
		for i := set.From; i < set.To; i++ {
			w.convs[i].set = int32(s)
		}
	}
	for i, list := range members {
		c := &w.convs[i]
		c.id, c.members = strings.Clone(p.IDs[i]), make([]int32, len(list))
		c.sampled = w.chk != nil && w.chk.Sampled(c.id)
		w.byID[c.id] = int32(i)
		for j, u := range list {
			c.members[j] = int32(u)
			if u%p.Parts != p.Part {
				continue
			}
			w.mine[int32(u)] = append(w.mine[int32(u)], int32(i))
			if w.chk != nil {
				w.chk.Added(c.id, w.name(int32(u)), 1)
			}
		}
	}
	w.place()
	return w, nil
}

func (w *Worker) name(user int32) string {
	n, ok := w.names[user]
	if !ok {
		n = w.tgt.User(int(user))
		w.names[user] = n
	}
	return n
}

// isOf says of the i-th of many whether it belongs to the share of them: evenly spread and neither more nor less, which chance would not be
// where they are few.
func isOf(share float64, i int) bool { return int(float64(i+1)*share) > int(float64(i)*share) }

// place makes the connections of the users that are here.
func (w *Worker) place() {
	p, c := w.cfg.Plan, w.sc.Connections
	_, w.unordered = w.tgt.(target.Unordered)
	online := int(float64(w.sc.Users)*c.Online + 0.5)
	for u := p.Part; u < online; u += p.Parts {
		for s := range c.PerUser {
			k := conn{user: int32(u), socket: int16(s), convs: w.mine[int32(u)], slow: isOf(c.Slow, u*c.PerUser+s)}
			k.observed = w.chk != nil && w.rng.Float64() < w.sc.Check.Observers && !w.unordered
			if k.observed {
				k.obs = w.chk.Observer(fmt.Sprintf("%s.%d", w.name(k.user), s), w.name(k.user))
			} else if len(k.convs) > 0 {
				k.seqs = make([]uint64, len(k.convs))
			}
			for i, ci := range k.convs {
				if k.observed {
					k.obs.Follow(w.convs[ci].id, p.Heads[ci])
				} else {
					k.seqs[i] = p.Heads[ci]
				}
				w.convs[ci].local = append(w.convs[ci].local, int32(len(w.conns)))
			}
			w.conns = append(w.conns, k)
		}
	}
}

// Connections that the worker holds when all are open.
func (w *Worker) Connections() int { return len(w.conns) }

// Violations that were noticed so far.
func (w *Worker) Violations() int64 {
	if w.chk == nil {
		return 0
	}
	return w.chk.Violations()
}

const (
	restQueue = 4096 // requests over REST that wait for one of restLanes
	restLanes = 32
)

// lanes does requests over REST, and ships what was measured, until the worker is closed.
func (w *Worker) lanes() {
	w.running.Go(func() {
		for {
			select {
			case p := <-w.parts:
				if w.cfg.Events.Interval != nil {
					w.cfg.Events.Interval(p)
				}
			case <-w.ctx.Done():
				return
			}
		}
	})
	for range restLanes {
		w.running.Go(func() {
			for {
				select {
				case f := <-w.jobs:
					f(w.ctx)
				case <-w.ctx.Done():
					return
				}
			}
		})
	}
}

// ask has a request made by one of the lanes. False: too many wait.
func (w *Worker) ask(f func(ctx context.Context)) bool {
	select {
	case w.jobs <- f:
		w.waiting++
		return true
	default:
		return false
	}
}

// on runs f on the loop and waits for it.
func (w *Worker) on(ctx context.Context, f func()) error {
	done := make(chan struct{})
	w.loop.Do(func() { f(); close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ctx.Done():
		return fmt.Errorf("the worker has ended: %w", context.Cause(w.ctx))
	}
}

// until waits until cond, which is called on the loop, holds, or the time is up.
func (w *Worker) until(ctx context.Context, patience time.Duration, cond func() bool) (held bool, err error) {
	end := time.Now().Add(patience)
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		if err := w.on(ctx, func() { held = cond() }); err != nil || held {
			return held, err
		}
		if time.Now().After(end) {
			return false, nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
