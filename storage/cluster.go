package storage

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

// LeaseState of a NodeLease. Only NodeAlive ones change.
type LeaseState uint8

const (
	NodeAlive    LeaseState = 1
	NodeReleased LeaseState = 2
	NodeDead     LeaseState = 3
)

// NodeLease is the row of one life of a node. The zero value stands for no row.
type NodeLease struct {
	ID       chat.NodeID
	Name     string
	Version  uint64 // from 1
	Duration time.Duration
	State    LeaseState
	Clock    int64 // of its writes, microseconds
}

// ShardOwner is the row of a shard. The zero value, but for Shard, stands for no row.
type ShardOwner struct {
	Shard    int
	Node     chat.NodeID
	Epoch    uint64 // from 1
	Released bool
	Heir     chat.NodeID // with Released: whom for; 0: nobody in particular
	Clock    int64       // of Node's writes, microseconds
}

// id and its inverse keep all 64 bits of a node's id.
func id(n chat.NodeID) Value      { return Value{Set: true, I: int64(n)} }
func (v Value) node() chat.NodeID { return chat.NodeID(v.I) }

func nodeLeaseKey(n chat.NodeID) (partition, clustering Key) {
	return Key{number(uint64(n) % LeaseSlots)}, Key{id(n)}
}

func shardOwnerKey(shard int) (partition, clustering Key) {
	return Key{number(uint64(shard) % OwnerSlots)}, Key{number(uint64(shard))}
}

func (l *NodeLease) columns() []Value {
	return []Value{leaseName: text(l.Name), leaseVersion: number(l.Version), leaseDuration: {Set: true, I: l.Duration.Microseconds()},
		leaseState: number(uint64(l.State)), leaseClock: {Set: true, I: l.Clock}}
}

func decodeNodeLease(node Value, c []Value) (l NodeLease, err error) {
	l = NodeLease{ID: node.node(), Name: c[leaseName].string(), Version: c[leaseVersion].uint(),
		Duration: time.Duration(c[leaseDuration].I) * time.Microsecond, Clock: c[leaseClock].I}
	l.State, err = small(c[leaseState], NodeDead, "state")
	if err == nil && (l.State < NodeAlive || c[leaseVersion].I < 1 || l.Duration <= 0) {
		err = fmt.Errorf("%w: a lease of version %d for %v in state %d", ErrCorrupt, c[leaseVersion].I, l.Duration, l.State)
	}
	return l, err
}

func (o *ShardOwner) columns() []Value {
	return []Value{ownerNode: id(o.Node), ownerEpoch: number(o.Epoch), ownerReleased: boolean(o.Released), ownerHeir: id(o.Heir),
		ownerClock: {Set: true, I: o.Clock}}
}

func decodeShardOwner(shard Value, c []Value) (o ShardOwner, err error) {
	o = ShardOwner{Shard: int(shard.I), Node: c[ownerNode].node(), Epoch: c[ownerEpoch].uint(), Released: c[ownerReleased].bool(),
		Heir: c[ownerHeir].node(), Clock: c[ownerClock].I}
	if shard.I < 0 || shard.I >= chat.Shards || c[ownerEpoch].I < 1 || o.Node == 0 {
		err = fmt.Errorf("%w: shard %d is of node %d under epoch %d", ErrCorrupt, shard.I, o.Node, c[ownerEpoch].I)
	}
	return o, err
}

// slots reads all rows of a table that is spread over n partitions, all partitions at once.
func slots[T any](ctx context.Context, s *Store, t *Table, n int, decode func(Value, []Value) (T, error)) ([]T, error) {
	parts := make([][]T, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.ParallelReads)
	for slot := range n {
		g.Go(func() error {
			var failed error
			err := s.engine.Scan(ctx, Range{Table: t, Partition: Key{number(uint64(slot))}, Hint: chat.Shards / OwnerSlots}, func(r Row) bool {
				var row T
				if row, failed = decode(r.Clustering[0], r.Columns); failed != nil {
					return false
				}
				parts[slot] = append(parts[slot], row)
				return true
			})
			if err == nil {
				err = failed
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fail(err, "read", tableName{t})
	}
	var all []T
	for _, p := range parts {
		all = append(all, p...)
	}
	return all, nil
}

type tableName struct{ *Table }

func (n tableName) String() string { return n.Name }

// NodeLeases returns the leases of all lives of nodes, in no order. It sees every change that was answered before it
// began.
func (s *Store) NodeLeases(ctx context.Context) ([]NodeLease, error) {
	return slots(ctx, s, TableNodeLeases, LeaseSlots, decodeNodeLease)
}

// ShardOwners returns the rows of all shards that have one, in no order. It sees every change that was answered before
// it began.
func (s *Store) ShardOwners(ctx context.Context) ([]ShardOwner, error) {
	return slots(ctx, s, TableShardOwners, OwnerSlots, decodeShardOwner)
}

// swap compares and sets one row.
func swap[T any](ctx context.Context, s *Store, t *Table, partition, clustering Key, expect, set []Value, decode func(Value, []Value) (T, error)) (found T, applied bool, err error) {
	applied, row, err := s.engine.CompareAndSet(ctx, t, partition, clustering, expect, set)
	if err == nil && !applied && row.Columns != nil {
		found, err = decode(clustering[0], row.Columns)
	}
	if err != nil {
		return found, false, fail(err, "swap a row of", tableName{t})
	}
	return found, applied, nil
}

// CompareAndSetNodeLease replaces the lease old by next, which is of the same life; if old is zero, there must be none.
// If it did not, it returns the one that is there, zero if there is none. After chat.ErrUnknown it may have been done, or
// may still be: doing it again tells.
func (s *Store) CompareAndSetNodeLease(ctx context.Context, old, next NodeLease) (found NodeLease, applied bool, err error) {
	if next.ID == 0 || next.Version == 0 || next.Version > math.MaxInt64 || next.State < NodeAlive || next.State > NodeDead || next.Duration <= 0 ||
		old != (NodeLease{}) && old.ID != next.ID {
		return found, false, fmt.Errorf("lease %+v after %+v: %w", next, old, chat.ErrInvalid)
	}
	var expect []Value
	if old != (NodeLease{}) {
		expect = old.columns()
	}
	partition, clustering := nodeLeaseKey(next.ID)
	return swap(ctx, s, TableNodeLeases, partition, clustering, expect, next.columns(), decodeNodeLease)
}

// DeleteNodeLease removes the lease of a life that has ended. Nothing may change it at the same time: that is so once
// its state is not NodeAlive.
func (s *Store) DeleteNodeLease(ctx context.Context, n chat.NodeID) error {
	partition, clustering := nodeLeaseKey(n)
	return fail(s.engine.Apply(ctx, Batch{Table: TableNodeLeases, Partition: partition,
		Mutations: []Mutation{{Clustering: clustering, Delete: true}}}), "delete the lease of", n)
}

// CompareAndSetShardOwner replaces the row old of a shard by next; if the epoch of old is 0, there must be none. Epochs
// do not fall. If it did not, it returns the one that is there, of epoch 0 if there is none. After chat.ErrUnknown it may
// have been done, or may still be: doing it again tells.
func (s *Store) CompareAndSetShardOwner(ctx context.Context, old, next ShardOwner) (found ShardOwner, applied bool, err error) {
	if err := checkOwnerSwap(&old, &next); err != nil {
		return found, false, err
	}
	var expect []Value
	if old.Epoch != 0 {
		expect = old.columns()
	}
	partition, clustering := shardOwnerKey(next.Shard)
	found, applied, err = swap(ctx, s, TableShardOwners, partition, clustering, expect, next.columns(), decodeShardOwner)
	found.Shard = next.Shard
	return found, applied, err
}

// OwnerSwap replaces the row Old of a shard by Next.
type OwnerSwap struct{ Old, Next ShardOwner }

// CompareAndSetShardOwners is CompareAndSetShardOwner for several shards, all of them or none. It is not applied if one
// of the rows is another one than expected, and where that cannot be done at once: one by one it can. Shards that are
// equal modulo OwnerSlots can be swapped at once.
func (s *Store) CompareAndSetShardOwners(ctx context.Context, swaps []OwnerSwap) (applied bool, err error) {
	together, ok := s.engine.(MultiSwapper)
	if !ok || len(swaps) == 0 {
		return false, nil
	}
	rows := make([]RowSwap, len(swaps))
	partition, _ := shardOwnerKey(swaps[0].Next.Shard)
	for i := range swaps {
		old, next := &swaps[i].Old, &swaps[i].Next
		if err := checkOwnerSwap(old, next); err != nil {
			return false, err
		}
		slot, clustering := shardOwnerKey(next.Shard)
		if slot[0].I != partition[0].I {
			return false, nil
		}
		rows[i] = RowSwap{Clustering: clustering, Set: next.columns()}
		if old.Epoch != 0 {
			rows[i].Expect = old.columns()
		}
	}
	applied, err = together.CompareAndSetAll(ctx, TableShardOwners, partition, rows)
	return applied, fail(err, "swap rows of", tableName{TableShardOwners})
}

func checkOwnerSwap(old, next *ShardOwner) error {
	if next.Shard < 0 || next.Shard >= chat.Shards || next.Node == 0 || next.Epoch == 0 || next.Epoch > math.MaxInt64 ||
		old.Shard != next.Shard || next.Epoch < old.Epoch {
		return fmt.Errorf("shard owner %+v after %+v: %w", *next, *old, chat.ErrInvalid)
	}
	return nil
}

// checkCluster checks a row of one of the tables above.
func checkCluster(t *Table, p Key, r Row) error {
	slot := int64(0)
	switch t {
	case TableNodeLeases:
		if _, err := decodeNodeLease(r.Clustering[0], r.Columns); err != nil {
			return err
		}
		slot = int64(uint64(r.Clustering[0].I) % LeaseSlots)
	case TableShardOwners:
		if _, err := decodeShardOwner(r.Clustering[0], r.Columns); err != nil {
			return err
		}
		slot = r.Clustering[0].I % OwnerSlots
	}
	if p[0].I != slot {
		return fmt.Errorf("stands in slot %d, not %d", p[0].I, slot)
	}
	return nil
}
