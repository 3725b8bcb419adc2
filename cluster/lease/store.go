package lease

import (
	"context"
	"time"

	"github.com/zumodra/hub/chat"
)

// State of a node's lease. Only Alive ones change.
type State uint8

const (
	Alive    State = 1
	Released State = 2 // given back by its holder, which serves nothing any more
	Dead     State = 3 // somebody saw it run out
)

// String is for logs and pages.
func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Released:
		return "released"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// NodeLease is the row of one life of a node. The zero value stands for no row.
type NodeLease struct {
	ID       chat.NodeID
	Name     string
	Version  uint64        // of the row, from 1, raised by every change
	Duration time.Duration // for which a version holds
	State    State
	Clock    int64 // of the holder's writes to storage when it made this version, microseconds
}

// Owner is the row of a shard. The zero value, but for Shard, stands for no row.
type Owner struct {
	Shard    int
	Node     chat.NodeID
	Epoch    uint64 // from 1
	Released bool
	Heir     chat.NodeID // with Released: who should take it; 0: nobody in particular
	Clock    int64       // of Node's writes to storage when it wrote the row, microseconds
}

// Store keeps the rows. A read sees all that was answered with success before it began. A swap replaces exactly the row
// old by next, atomically and durably; it reports whether it did, and if not, the row that is there. After an error it
// may or may not have happened, or may still happen. All methods may be called concurrently and end with their context.
type Store interface {
	// Leases returns all rows.
	Leases(ctx context.Context) ([]NodeLease, error)
	// SwapLease compares and sets the row of next.ID; if old is zero there must be none.
	SwapLease(ctx context.Context, old, next NodeLease) (found NodeLease, applied bool, err error)
	// DeleteLease removes a row whose State is not Alive: nobody swaps it any more.
	DeleteLease(ctx context.Context, id chat.NodeID) error
	// Owners returns the rows of all shards that have one, in any order.
	Owners(ctx context.Context) ([]Owner, error)
	// SwapOwner compares and sets the row of next.Shard; if old.Epoch is 0 there must be none.
	SwapOwner(ctx context.Context, old, next Owner) (found Owner, applied bool, err error)
	// SwapOwners is SwapOwner for several shards, old[i] by next[i], all of them or none. It may always answer that it did
	// none: then they are swapped one by one. It is asked for shards that are equal modulo Config.Parallel.
	SwapOwners(ctx context.Context, old, next []Owner) (applied bool, err error)
}
