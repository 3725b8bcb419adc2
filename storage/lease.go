package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// LeaseConfig of a Lease. Name and Holder are required.
type LeaseConfig struct {
	Name   string
	Holder string // of this incarnation alone: a process that starts again has another one
	// Duration for which a renewal holds; default 10 s. It is renewed three times as often. Whoever wants the lease waits
	// for as long, and a tenth more, while it sees no renewal; no wall clocks are compared between machines.
	Duration time.Duration
	// Now is a clock that also counts while the machine sleeps; default: Go's monotonic clock, which may not.
	Now func() time.Duration
	// Clock and Raise connect the lease to the engine's clock of writes, if it has one: whoever takes the lease over
	// raises his beyond all that the former holder may have used.
	Clock func() int64
	Raise func(int64)
	// Logger; default discard.
	Logger *slog.Logger
}

func (c *LeaseConfig) defaults() {
	if c.Duration <= 0 {
		c.Duration = 10 * time.Second
	}
	if c.Now == nil {
		start := time.Now()
		c.Now = func() time.Duration { return time.Since(start) }
	}
	if c.Clock == nil {
		c.Clock = func() int64 { return 0 }
	}
	if c.Raise == nil {
		c.Raise = func(int64) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func (c *LeaseConfig) margin() time.Duration { return c.Duration / 10 }

// leaseRow is the row of a lease in TableMeta. Its number counts the changes, and this is its text.
type leaseRow struct {
	Holder   string        `json:"holder"`
	Epoch    uint64        `json:"epoch"`
	Duration time.Duration `json:"duration"`
	Clock    int64         `json:"clock,omitempty"` // of the holder's writes, microseconds
	Released bool          `json:"released,omitempty"`

	version int64
	columns []Value // as stored
}

func (r *leaseRow) encode() ([]Value, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return []Value{{Set: true, I: r.version}, {Set: true, B: text}}, nil
}

func decodeLease(columns []Value) (*leaseRow, error) {
	if columns == nil {
		return nil, nil
	}
	r := &leaseRow{version: columns[0].I, columns: columns}
	if err := json.Unmarshal(columns[1].B, r); err != nil {
		return nil, fmt.Errorf("%w: lease: %w", ErrCorrupt, err)
	}
	return r, nil
}

// Lease is an exclusive claim that is kept by compare-and-set in TableMeta, for engines that several processes can
// open. Its epoch is greater than that of every holder before. It is safe for concurrent use.
type Lease struct {
	cfg    LeaseConfig
	engine Engine
	epoch  uint64
	lost   chan struct{}
	stop   context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	row   *leaseRow
	until time.Duration // on cfg.Now
	gone  bool
}

// AcquireLease waits until the lease is free, or has run out, and takes it. Release gives it back; until then a
// goroutine of its own renews it.
func AcquireLease(ctx context.Context, engine Engine, cfg LeaseConfig) (*Lease, error) {
	cfg.defaults()
	l := &Lease{cfg: cfg, engine: engine, lost: make(chan struct{}), done: make(chan struct{})}
	if err := l.acquire(ctx); err != nil {
		return nil, fmt.Errorf("lease %s: %w", cfg.Name, err)
	}
	l.epoch = l.row.Epoch
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go l.renew(run)
	return l, nil
}

// LeaseEpoch returns the epoch of the lease's last holder, 0 if it never had one: epochs that succeed it must be above.
func LeaseEpoch(ctx context.Context, engine Engine, name string) (uint64, error) {
	l := Lease{cfg: LeaseConfig{Name: name}, engine: engine}
	row, err := l.read(ctx)
	if err != nil {
		return 0, fmt.Errorf("lease %s: %w", name, err)
	}
	if row == nil {
		return 0, nil
	}
	return row.Epoch, nil
}

func (l *Lease) key() Key { return Key{text("lease/" + l.cfg.Name)} }

func (l *Lease) read(ctx context.Context) (*leaseRow, error) {
	row, err := l.engine.Get(ctx, TableMeta, l.key(), nil)
	if errors.Is(err, ErrNoRow) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeLease(row.Columns)
}

// swap replaces the row old, nil if there is none, by next. It returns the row that is there now.
func (l *Lease) swap(ctx context.Context, old, next *leaseRow) (*leaseRow, error) {
	set, err := next.encode()
	if err != nil {
		return nil, err
	}
	var expect []Value
	if old != nil {
		expect = old.columns
	}
	applied, found, err := l.engine.CompareAndSet(ctx, TableMeta, l.key(), nil, expect, set)
	switch {
	case err != nil:
		return nil, err
	case applied:
		next.columns = set
		return next, nil
	}
	return decodeLease(found.Columns)
}

func (l *Lease) mine(r *leaseRow) bool { return r != nil && r.Holder == l.cfg.Holder && !r.Released }

func (l *Lease) acquire(ctx context.Context) error {
	var watched *leaseRow
	var since, told time.Duration
	for {
		row, err := l.read(ctx)
		if err != nil && (ctx.Err() != nil || !passing(err)) {
			return err
		}
		now := l.cfg.Now()
		switch {
		case err != nil:
		case row == nil, row.Released, watched != nil && row.version == watched.version && now-since >= row.Duration+row.Duration/10:
			next := &leaseRow{Holder: l.cfg.Holder, Epoch: 1, Duration: l.cfg.Duration, version: 1}
			if row != nil {
				next.Epoch, next.version = row.Epoch+1, row.version+1
				floor := row.Clock
				if !row.Released {
					floor += (row.Duration + row.Duration/10).Microseconds()
				}
				l.cfg.Raise(floor)
			}
			next.Clock = l.cfg.Clock()
			got, err := l.swap(ctx, row, next)
			if err == nil && l.mine(got) {
				l.row, l.until = got, now+l.cfg.Duration-l.cfg.margin()
				return nil
			}
			if err != nil && (ctx.Err() != nil || !passing(err)) {
				return err
			}
			continue // somebody was faster, or it is unknown who was: look
		case l.mine(row): // an attempt whose outcome was unknown; its time runs from before that, so renew first
			next := *row
			next.version++
			if got, err := l.swap(ctx, row, &next); err == nil && l.mine(got) {
				l.row, l.until = got, now+l.cfg.Duration-l.cfg.margin()
				return nil
			}
		case watched == nil || watched.version != row.version:
			watched, since = row, l.cfg.Now()
		}
		if row != nil && (told == 0 || now-told >= 10*time.Second) {
			told = now
			l.cfg.Logger.Info("waiting for the lease that another process holds", "lease", l.cfg.Name, "holder", row.Holder)
		}
		if !sleep(ctx, l.cfg.Duration/10) {
			return ctx.Err()
		}
	}
}

// passing reports whether an error of the engine may go away by itself.
func passing(err error) bool {
	return errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrUnreachable) || errors.Is(err, context.DeadlineExceeded)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// renew keeps the lease until ctx ends or somebody else has it.
func (l *Lease) renew(ctx context.Context) {
	defer close(l.done)
	for pause := l.cfg.Duration / 3; sleep(ctx, pause); {
		pause = l.cfg.Duration / 3
		row := l.row // written by this goroutine alone
		next := *row
		next.version++
		next.Clock = l.cfg.Clock()
		sent := l.cfg.Now()
		// An attempt that hangs must not keep the next one from being made in time.
		attempt, cancel := context.WithTimeout(ctx, l.cfg.Duration/2)
		got, err := l.swap(attempt, row, &next)
		if err != nil {
			if found, readErr := l.read(attempt); readErr == nil {
				got, err = found, nil
			}
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.cfg.Logger.Warn("the lease could not be renewed", "lease", l.cfg.Name, "error", err, "valid", l.Valid())
			pause = l.cfg.Duration / 20
		case !l.mine(got):
			l.mu.Lock()
			l.gone = true
			l.mu.Unlock()
			l.cfg.Logger.Error("another process has taken the lease", "lease", l.cfg.Name)
			close(l.lost)
			return
		default:
			l.mu.Lock()
			l.row = got
			if got == &next {
				l.until = sent + l.cfg.Duration - l.cfg.margin()
			} else { // what an attempt of unknown outcome left: ours, but renewed who knows when; again from there
				pause = l.cfg.Duration / 20
			}
			l.mu.Unlock()
		}
	}
}

// Valid reports whether the lease holds at this moment: whoever has to be its holder asks after what he did. It may
// become valid again, as long as Lost is open: then nobody else has held it.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.gone && l.cfg.Now() < l.until
}

// Epoch of this holder, greater than that of all before.
func (l *Lease) Epoch() uint64 { return l.epoch }

// Lost is closed when somebody else has taken the lease. It is lost for good then.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Release stops renewing and gives the lease back, so that the next holder need not wait.
func (l *Lease) Release(ctx context.Context) error {
	l.stop()
	<-l.done
	l.mu.Lock()
	gone := l.gone
	l.gone = true
	l.mu.Unlock()
	if gone {
		return nil
	}
	next := *l.row
	next.version, next.Released, next.Clock = next.version+1, true, l.cfg.Clock()
	if _, err := l.swap(ctx, l.row, &next); err != nil {
		return fmt.Errorf("release lease %s: %w", l.cfg.Name, err)
	}
	return nil
}
