package lease_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
)

var errUnknown = errors.New("outcome unknown")

// memory is the rows that all nodes of a test share.
type memory struct {
	mu     sync.Mutex
	leases map[chat.NodeID]lease.NodeLease
	owners map[int]lease.Owner
	epochs map[int]uint64 // to check that they rise

	reads atomic.Int64 // of the owners
}

func newMemory() *memory {
	return &memory{leases: map[chat.NodeID]lease.NodeLease{}, owners: map[int]lease.Owner{}, epochs: map[int]uint64{}}
}

// faults of one node's way to the store.
type faults struct {
	*memory
	cut    atomic.Bool                   // nothing arrives
	paused atomic.Pointer[chan struct{}] // calls wait until it is closed, before and after they are carried out
	// swap decides what happens to a swap, if set.
	swap   atomic.Pointer[func() fault]
	single bool // rows are swapped one by one
}

type fault struct {
	before, after time.Duration
	drop          bool          // not carried out
	unknown       bool          // an error whatever happened
	late          time.Duration // carried out so much later, after the error
}

func (f *faults) gate(ctx context.Context) error {
	if p := f.paused.Load(); p != nil {
		<-*p // a stopped process does not look at contexts
	}
	if f.cut.Load() {
		<-ctx.Done()
	}
	return ctx.Err()
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *faults) around(ctx context.Context, do func()) error {
	if err := f.gate(ctx); err != nil {
		return err
	}
	var x fault
	if s := f.swap.Load(); s != nil {
		x = (*s)()
	}
	if err := wait(ctx, x.before); err != nil {
		return err
	}
	switch {
	case x.late > 0:
		go func() { // the test waits for it: a bubble ends when all of its goroutines have
			time.Sleep(x.late)
			do()
		}()
		return errUnknown
	case !x.drop:
		do()
	}
	if x.unknown || x.drop {
		return errUnknown
	}
	if err := wait(ctx, x.after); err != nil {
		return err
	}
	return f.gate(ctx)
}

func (f *faults) Leases(ctx context.Context) ([]lease.NodeLease, error) {
	if err := f.gate(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	var list []lease.NodeLease
	for _, l := range f.leases {
		list = append(list, l)
	}
	f.mu.Unlock()
	return list, f.gate(ctx)
}

func (f *faults) SwapLease(ctx context.Context, old, next lease.NodeLease) (lease.NodeLease, bool, error) {
	var found lease.NodeLease
	var applied bool
	err := f.around(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if found = f.leases[next.ID]; found == old {
			f.leases[next.ID] = next
			applied = true
		}
	})
	if err != nil {
		return lease.NodeLease{}, false, err
	}
	return found, applied, nil
}

func (f *faults) DeleteLease(ctx context.Context, id chat.NodeID) error {
	return f.around(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.leases[id].State == lease.Alive {
			panic("a lease that is alive is removed")
		}
		delete(f.leases, id)
	})
}

func (f *faults) Owners(ctx context.Context) ([]lease.Owner, error) {
	if err := f.gate(ctx); err != nil {
		return nil, err
	}
	f.reads.Add(1)
	f.mu.Lock()
	var list []lease.Owner
	for _, o := range f.owners {
		list = append(list, o)
	}
	f.mu.Unlock()
	return list, f.gate(ctx)
}

func (f *faults) SwapOwner(ctx context.Context, old, next lease.Owner) (lease.Owner, bool, error) {
	var found lease.Owner
	var applied bool
	err := f.around(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		var there bool
		if found, there = f.owners[next.Shard]; !there {
			found = lease.Owner{Shard: next.Shard}
		}
		if found != old && (there || old.Epoch != 0) {
			return
		}
		if next.Epoch < f.epochs[next.Shard] || next.Epoch == f.epochs[next.Shard] && !next.Released {
			panic("an epoch does not rise")
		}
		f.epochs[next.Shard] = next.Epoch
		f.owners[next.Shard] = next
		applied = true
	})
	if err != nil {
		return lease.Owner{}, false, err
	}
	return found, applied, nil
}

// SwapOwners is one step, like the transaction that it stands for; or it declines.
func (f *faults) SwapOwners(ctx context.Context, old, next []lease.Owner) (bool, error) {
	if f.single {
		return false, nil
	}
	applied := false
	err := f.around(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := range old {
			found, there := f.owners[next[i].Shard]
			if !there {
				found = lease.Owner{Shard: next[i].Shard}
			}
			if found != old[i] && (there || old[i].Epoch != 0) {
				return
			}
		}
		for _, n := range next {
			if n.Epoch < f.epochs[n.Shard] || n.Epoch == f.epochs[n.Shard] && !n.Released {
				panic("an epoch does not rise")
			}
			f.epochs[n.Shard], f.owners[n.Shard] = n.Epoch, n
		}
		applied = true
	})
	if err != nil {
		return false, err // what was left under way may go on
	}
	return applied, nil
}

// holders counts the shards of each node by the rows.
func (m *memory) holders() map[chat.NodeID]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := map[chat.NodeID]int{}
	for _, o := range m.owners {
		if !o.Released {
			n[o.Node]++
		}
	}
	return n
}

func (m *memory) states() (list []lease.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.leases {
		list = append(list, l.State)
	}
	slices.Sort(list)
	return list
}
