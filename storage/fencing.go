package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Fencing is what keeps a node that was succeeded from writing to logs. It is one for a whole keyspace.
type Fencing string

const (
	// FencingLease: its lease. Logs are written plainly, with timestamps of the hubs' clocks.
	FencingLease Fencing = "lease"
	// FencingStrict: the store. Logs are written by transactions that depend on the writer's epoch (FencedApplier).
	FencingStrict Fencing = "strict"
)

// ErrFencing reports a keyspace whose fencing is another one than was asked for, or is being changed.
var ErrFencing = errors.New("storage: fencing of the keyspace")

// FencingState is what a keyspace knows of its fencing.
type FencingState struct {
	Mode Fencing // FencingLease if nothing was ever set
	// Changing: somebody is about to change it to Mode, or gave up in the middle. No node may run.
	Changing bool
	// Clock, microseconds: what was written to logs before Mode was set has no higher timestamps.
	Clock int64

	columns []Value // as stored; nil: there is no row
}

// fencingRow names the row of TableMeta. Its number is Clock, and its text Mode with a mark while Changing.
const (
	fencingRow   = "fencing"
	changingMark = "?"
)

// ReadFencing returns the fencing of the keyspace that an engine has open.
func ReadFencing(ctx context.Context, e Engine) (FencingState, error) {
	row, err := e.Get(ctx, TableMeta, Key{text(fencingRow)}, nil)
	if errors.Is(err, ErrNoRow) {
		return FencingState{Mode: FencingLease}, nil
	}
	if err != nil {
		return FencingState{}, fmt.Errorf("read the fencing of the keyspace: %w", err)
	}
	mode, changing := strings.CutSuffix(row.Columns[1].string(), changingMark)
	s := FencingState{Mode: Fencing(mode), Changing: changing, Clock: row.Columns[0].I, columns: row.Columns}
	if s.Mode != FencingLease && s.Mode != FencingStrict {
		return s, fmt.Errorf("%w: it is %q, which this version does not know", ErrFencing, mode)
	}
	return s, nil
}

// fencingEngine is one whose servers have clocks of their own.
type fencingEngine interface {
	Engine
	FencedApplier
	// Clock is the highest timestamp, microseconds, that a plain write of this engine may have got.
	Clock() int64
	// ServerClocks are the earliest and the latest that transactions would get now, by the server that is asked. It
	// fails unless all servers that may be asked answer.
	ServerClocks(ctx context.Context) (earliest, latest int64, err error)
}

// serverPause is the wait before the servers' clocks are looked at again.
const serverPause = 50 * time.Millisecond

// ChangeFencing sets the fencing of a keyspace on which no node runs, and none can start meanwhile; idle reports whether
// that is so. It does nothing if the keyspace has that fencing already, and goes on where an earlier call gave up.
//
// Plain writes have timestamps of the hubs' clocks, transactions those of the servers'. What is written after the change
// must be newer than all before it: before a change to strict it waits until the clocks of all servers are past what hubs
// may have used, and leaves in FencingState.Clock what the hubs' clocks must be raised to after a change to lease.
func ChangeFencing(ctx context.Context, e Engine, to Fencing, idle func(context.Context) error) error {
	servers, ok := e.(fencingEngine)
	if !ok {
		return fmt.Errorf("%w: the engine knows one only", ErrFencing)
	}
	was, err := ReadFencing(ctx, e)
	if err != nil || was.Mode == to && !was.Changing {
		return err
	}
	if was.columns == nil && to == FencingLease {
		return nil
	}
	now, err := swapFencing(ctx, e, was, FencingState{Mode: to, Changing: true, Clock: was.Clock})
	if err != nil || !now.Changing {
		return err
	}
	clock, err := settleClocks(ctx, servers, to, now.Clock, idle)
	if err != nil {
		if state, readErr := ReadFencing(ctx, e); readErr == nil && state.Mode == to && !state.Changing {
			return nil // somebody else was at it, and done before we looked
		}
		if !was.Changing { // else it is not known what it was before
			back := FencingState{Mode: was.Mode, Clock: was.Clock}
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_, undoErr := swapFencing(undo, e, now, back)
			err = errors.Join(err, undoErr)
		}
		return fmt.Errorf("change the fencing to %s: %w", to, err)
	}
	_, err = swapFencing(ctx, e, now, FencingState{Mode: to, Clock: clock})
	return err
}

// settleClocks returns what FencingState.Clock becomes.
func settleClocks(ctx context.Context, e fencingEngine, to Fencing, clock int64, idle func(context.Context) error) (int64, error) {
	if err := idle(ctx); err != nil {
		return 0, err
	}
	s := New(e, Config{})
	leases, err := s.NodeLeases(ctx)
	if err != nil {
		return 0, err
	}
	owners, err := s.ShardOwners(ctx)
	if err != nil {
		return 0, err
	}
	clock = max(clock, e.Clock())
	for i := range leases {
		clock = max(clock, leases[i].Clock+unreleased(&leases[i]).Microseconds())
	}
	for i := range owners {
		clock = max(clock, owners[i].Clock)
	}
	for {
		earliest, latest, err := e.ServerClocks(ctx)
		if err != nil {
			return 0, err
		}
		if to == FencingLease {
			return max(clock, latest), nil
		}
		if earliest > clock {
			return clock, nil
		}
		ahead := time.Duration(clock-earliest) * time.Microsecond
		if !sleep(ctx, min(max(ahead, serverPause), time.Second)) {
			return 0, fmt.Errorf("the clock of a server is still %v behind the newest write: %w", ahead, ctx.Err())
		}
	}
}

// swapFencing replaces the row; somebody who did the same at the same time is as good.
func swapFencing(ctx context.Context, e Engine, old, next FencingState) (FencingState, error) {
	mode := string(next.Mode)
	if next.Changing {
		mode += changingMark
	}
	next.columns = []Value{{Set: true, I: next.Clock}, text(mode)}
	applied, _, err := e.CompareAndSet(ctx, TableMeta, Key{text(fencingRow)}, nil, old.columns, next.columns)
	if err == nil && applied {
		return next, nil
	}
	found, readErr := ReadFencing(ctx, e)
	switch {
	case readErr != nil:
		return next, errors.Join(err, readErr)
	case found.Mode == next.Mode && (found.Changing == next.Changing || !found.Changing):
		return found, nil
	case err != nil:
		return next, fmt.Errorf("set the fencing of the keyspace: %w", err)
	}
	return next, fmt.Errorf("%w: somebody else is changing it to %s", ErrFencing, found.Mode)
}
