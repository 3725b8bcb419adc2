package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/worker"
)

// Config of a run. Scenario, Target and Access are required.
type Config struct {
	Scenario *scenario.Scenario
	Seed     uint64 // default: of the clock
	Target   target.Target
	Access   worker.Access // the same target, for the workers
	Command  []string      // for the report

	// Workers that are waited for; default: one for each 15,000 connections.
	Workers int
	// Listen is where they join; default 127.0.0.1:0.
	Listen string
	Token  string // that they present; default: random
	// Joinable is told when workers may join.
	Joinable func(url, token string, workers int) error

	// System is what the controller can look at; nil: nothing.
	System System
	// Chaos does the scenario's actions, whose times count from the start of the measured part, until ctx ends; everything is undone when it returns.
	Chaos func(ctx context.Context, start time.Time, marked func(measure.Mark)) error
	Live  Live
	// Second is told every second of the load in order, also one of which the parts of workers are missing: the result of a long run has wider
	// intervals. May be nil.
	Second func(measure.Interval)
	// Histograms gets those of intervals, as measure.Log writes them. May be nil.
	Histograms io.Writer
	Dir        string // for pictures of histories that are not linearizable; empty: none are made
	Log        *slog.Logger
}

// System under load, where its processes can be looked at.
type System interface {
	// Processes by name, with their ids, as they are now.
	Processes() map[string]int
	// Edges are the names of those that hold sockets.
	Edges() []string
	// Vitals of them, by name; of some, or none.
	Vitals(ctx context.Context) (map[string]measure.Vitals, error)
	// Collect makes all give back the memory that they do not use.
	Collect(ctx context.Context) error
}

// Live is told how the run goes on. Methods may be called concurrently.
type Live interface {
	Phase(text string)
	Progress(p worker.Progress)
	Interval(i measure.Interval, violations int64)
	Mark(m measure.Mark)
}

const (
	maxWorkers = 1000
	perWorker  = 15_000
	// connecting, finishing: how long workers may be silent in these phases, beyond what the scenario asks for.
	connecting = 4 * time.Minute
	finishing  = 5 * time.Minute
	// lead is how far ahead the start is announced.
	lead = 500 * time.Millisecond
)

// control is one run.
type control struct {
	cfg    Config
	server *server
	run    *measure.Run
	merger *measure.Merger
	log    *slog.Logger
	linear check.Linear

	mu      sync.Mutex
	peers   []*peer
	failed  error
	changed chan struct{} // closed and made anew when a peer told something
	reading sync.WaitGroup
}

// Run does a scenario. The result is there also when it is red; an error means that there is none.
func Run(ctx context.Context, cfg Config) (*measure.Run, error) {
	if cfg.Seed == 0 {
		cfg.Seed = uint64(time.Now().UnixNano())
	}
	if cfg.Workers == 0 {
		cfg.Workers = 1 + (cfg.Scenario.Sockets()-1)/perWorker
	}
	if cfg.Workers > maxWorkers {
		return nil, fmt.Errorf("%d workers, at most %d are allowed", cfg.Workers, maxWorkers)
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Token == "" {
		cfg.Token = rand.Text()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Live == nil {
		cfg.Live = silent{}
	}
	dir, err := os.MkdirTemp("", "hubbench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := &control{cfg: cfg, log: cfg.Log, changed: make(chan struct{})}
	if c.server, err = listen(cfg.Listen, cfg.Token, dir); err != nil {
		return nil, err
	}
	defer c.server.close()
	ctx, cancel := context.WithCancel(ctx)
	defer c.reading.Wait()
	defer cancel()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range c.peers {
			_ = p.c.Close(websocket.StatusNormalClosure, "")
			close(p.done)
		}
	}()
	return c.do(ctx)
}

func (c *control) do(ctx context.Context) (*measure.Run, error) {
	sc := c.cfg.Scenario
	c.run = &measure.Run{Schema: measure.Schema, ID: strings.ToLower(rand.Text()[:8]), Seed: c.cfg.Seed, Command: c.cfg.Command,
		Scenario: measure.Scenario{Name: sc.Name, Hash: sc.Hash(), Text: sc.Text()}, Machine: measure.MachineInfo(),
		Target: measure.Target{Kind: c.cfg.Target.Kind(), URLs: c.cfg.Access.URLs}}
	c.merger = measure.NewMerger(measure.MergerConfig{Warmup: int(time.Duration(sc.Warmup) / time.Second), Seconds: sc.Seconds(), Second: c.cfg.Second})
	version, err := c.cfg.Target.Version(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the target for its version: %w", err)
	}
	c.run.Target.Version = version

	c.cfg.Live.Phase("preparing the target")
	plan, err := c.plan(ctx)
	if err != nil {
		return nil, err
	}
	c.cfg.Live.Phase("waiting for workers")
	if err := c.gather(ctx, plan); err != nil {
		return nil, err
	}
	c.cfg.Live.Phase("opening connections")
	base := c.footprint(ctx)
	if err := c.all(ctx, &message{Kind: kindConnect}); err != nil {
		return nil, err
	}
	patience := connecting + time.Duration(float64(sc.Sockets())/sc.Connections.Rate*float64(time.Second))
	if err := c.await(ctx, patience, "to have opened its connections", func(p *peer) bool { return p.connected }); err != nil {
		return nil, err
	}
	c.run.Memory = c.footprint(ctx).since(base, sc.Sockets(), c.cfg.System)

	if err := c.load(ctx); err != nil {
		return nil, err
	}
	// Who reads early would miss what another worker's clients still repeat.
	c.cfg.Live.Phase("waiting for what is on its way")
	if err := c.all(ctx, &message{Kind: kindSettle}); err != nil {
		return nil, err
	}
	if err := c.await(ctx, finishing+time.Duration(sc.Settle), "to have settled", func(p *peer) bool { return p.settled }); err != nil {
		return nil, err
	}
	c.cfg.Live.Phase("reading everything again")
	if err := c.all(ctx, &message{Kind: kindFinish}); err != nil {
		return nil, err
	}
	if err := c.await(ctx, finishing, "to have finished", func(p *peer) bool { return p.report != nil }); err != nil {
		return nil, err
	}
	return c.judge()
}

// plan prepares the world.
func (c *control) plan(ctx context.Context) (worker.Plan, error) {
	sc := c.cfg.Scenario
	members, _ := sc.World(c.cfg.Seed)
	p := worker.Plan{Scenario: sc.Text(), Seed: c.cfg.Seed, Run: c.run.ID, Parts: c.cfg.Workers, Target: c.cfg.Access}
	var err error
	if p.IDs, err = c.cfg.Target.Prepare(ctx, target.World{Run: c.run.ID, Users: sc.Users, Conversations: members}); err != nil {
		return p, fmt.Errorf("prepare the target: %w", err)
	}
	p.Heads = make([]uint64, len(p.IDs))
	sem, errs := make(chan struct{}, 16), make(chan error, 1)
	var wg sync.WaitGroup
	for i, id := range p.IDs {
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			head, err := c.cfg.Target.Head(ctx, members[i][0], id)
			if err != nil && !errors.Is(err, target.ErrNotSupported) {
				select {
				case errs <- fmt.Errorf("read how long conversation %d is: %w", i, err):
				default:
				}
			}
			p.Heads[i] = head
		})
	}
	wg.Wait()
	select {
	case err = <-errs:
	default:
	}
	c.linear = check.Linear{OneIn: max(1, uint64(len(p.IDs)/max(1, sc.Check.Sample))), HTMLDir: c.cfg.Dir}
	return p, err
}

// gather waits for the workers and gives each its part of the plan.
func (c *control) gather(ctx context.Context, plan worker.Plan) error {
	if c.cfg.Joinable != nil {
		if err := c.cfg.Joinable(c.server.url, c.cfg.Token, c.cfg.Workers); err != nil {
			return err
		}
	}
	for i := range c.cfg.Workers {
		select {
		case p := <-c.server.came:
			c.mu.Lock()
			c.peers = append(c.peers, p)
			c.mu.Unlock()
			if err := p.sync(ctx); err != nil {
				return fmt.Errorf("worker %s: %w", p.hello.Name, err)
			}
			p.part, plan.Part = i, i
			if err := send(ctx, p.c, &message{Kind: kindPlan, Plan: &plan, Linear: c.linear, Offset: int64(p.offset)}); err != nil {
				return fmt.Errorf("worker %s: %w", p.hello.Name, err)
			}
			c.reading.Go(func() { c.read(ctx, p) })
		case <-ctx.Done():
			return fmt.Errorf("%d of %d workers have joined: %w", i, c.cfg.Workers, ctx.Err())
		}
	}
	return nil
}

// read takes what a worker tells.
func (c *control) read(ctx context.Context, p *peer) {
	for {
		m, err := receive(ctx, p.c)
		c.mu.Lock()
		switch {
		case err != nil:
			if p.report == nil {
				c.fail(fmt.Errorf("worker %s: %w", p.hello.Name, err))
			}
		case m.Kind == kindFailed:
			c.fail(fmt.Errorf("worker %s: %s", p.hello.Name, m.Error))
		case m.Kind == kindProgress && m.Progress != nil:
			p.progress = *m.Progress
			var sum worker.Progress
			for _, q := range c.peers {
				sum.Ready, sum.Failed, sum.Of = sum.Ready+q.progress.Ready, sum.Failed+q.progress.Failed, sum.Of+q.progress.Of
			}
			c.cfg.Live.Progress(sum)
		case m.Kind == kindConnected:
			p.connected = true
		case m.Kind == kindSettled:
			p.settled, p.unsettled = true, m.Unsettled
		case m.Kind == kindInterval && m.Interval != nil:
			p.violations = m.Violations
			if i, whole := c.merger.Add(p.part, len(c.peers), *m.Interval); whole {
				sum := int64(0)
				for _, q := range c.peers {
					sum += q.violations
				}
				c.cfg.Live.Interval(i, sum)
			}
		case m.Kind == kindDone && m.Report != nil:
			p.report = m.Report
		}
		close(c.changed)
		c.changed = make(chan struct{})
		ended := c.failed != nil || p.report != nil
		c.mu.Unlock()
		if ended {
			return
		}
	}
}

// fail keeps the first failure; c.mu is held.
func (c *control) fail(err error) {
	if c.failed == nil {
		c.failed = err
	}
}

func (c *control) all(ctx context.Context, m *message) error {
	for _, p := range c.peers {
		if err := send(ctx, p.c, m); err != nil {
			return fmt.Errorf("worker %s: %w", p.hello.Name, err)
		}
	}
	return nil
}

// await waits until cond holds for every worker.
func (c *control) await(ctx context.Context, patience time.Duration, what string, cond func(*peer) bool) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		c.mu.Lock()
		failed, changed := c.failed, c.changed
		i := slices.IndexFunc(c.peers, func(p *peer) bool { return !cond(p) })
		c.mu.Unlock()
		switch {
		case failed != nil:
			return failed
		case i < 0:
			return nil
		}
		select {
		case <-changed:
		case <-late.C:
			return fmt.Errorf("worker %s was waited for %v %s", c.peers[i].hello.Name, patience, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// load starts the load everywhere and waits for its end.
func (c *control) load(ctx context.Context) error {
	sc := c.cfg.Scenario
	start := time.Now().Add(lead)
	zero := start.Add(time.Duration(sc.Warmup))
	end := zero.Add(time.Duration(sc.Duration))
	c.run.Started = zero
	if c.cfg.Histograms != nil {
		c.mu.Lock()
		c.merger.Log(measure.NewLog(c.cfg.Histograms, zero))
		c.mu.Unlock()
	}
	c.cfg.Live.Phase("load")
	if err := c.all(ctx, &message{Kind: kindStart, At: start.UnixNano()}); err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, end.Add(lead))
	defer cancel()
	var watching sync.WaitGroup
	if s := c.cfg.System; s != nil {
		watching.Go(func() { c.watch(ctx, s, zero) })
	}
	chaos := make(chan error, 1)
	if c.cfg.Chaos != nil && len(sc.Chaos) > 0 {
		watching.Go(func() {
			chaos <- c.cfg.Chaos(ctx, zero, func(m measure.Mark) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.run.Marks = append(c.run.Marks, m)
				c.cfg.Live.Mark(m)
			})
		})
	} else {
		chaos <- nil
	}
	err := c.await(ctx, time.Until(end)+time.Minute, "", func(*peer) bool { return false }) // until the time is up, or one fails
	cancel()
	watching.Wait()
	c.run.Ended = time.Now()
	if errors.Is(err, context.DeadlineExceeded) {
		return <-chaos
	}
	return errors.Join(err, <-chaos)
}

// judge puts together what is known.
func (c *control) judge() (*measure.Run, error) {
	r, sc := c.run, c.cfg.Scenario
	if err := c.merger.Finish(r); err != nil {
		return nil, err
	}
	unchecked := 0
	var left worker.Unsettled
	for _, p := range c.peers {
		left = left.Plus(p.unsettled)
		r.Workers = append(r.Workers, p.worker())
		unchecked += p.report.Unchecked
	}
	if !sc.Check.Off {
		c.cfg.Live.Phase("judging")
		var err error
		if r.Check, err = c.server.judge(c.peers, c.linear); err != nil {
			return nil, err
		}
	}
	if left != (worker.Unsettled{}) {
		r.Unsettled = fmt.Sprintf("%v after %v", left, sc.Settle)
	}
	r.Invalid = measure.Validity(r, measure.Bounds{})
	if unchecked > 0 {
		r.Invalid = append(r.Invalid, fmt.Sprintf("%d conversations could not be read at the end", unchecked))
	}
	r.Thresholds = sc.Judge(r)
	return r, nil
}

type silent struct{}

func (silent) Phase(string)                     {}
func (silent) Progress(worker.Progress)         {}
func (silent) Interval(measure.Interval, int64) {}
func (silent) Mark(measure.Mark)                {}
