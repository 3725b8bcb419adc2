package node

import (
	"context"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
	"github.com/zumodra/hub/storage"
)

// leaseRows is the store as the leases see it.
type leaseRows struct{ store *storage.Store }

func leaseOf(r storage.NodeLease) lease.NodeLease {
	return lease.NodeLease{ID: r.ID, Name: r.Name, Version: r.Version, Duration: r.Duration, State: lease.State(r.State), Clock: r.Clock}
}

func leaseRow(l lease.NodeLease) storage.NodeLease {
	return storage.NodeLease{ID: l.ID, Name: l.Name, Version: l.Version, Duration: l.Duration, State: storage.LeaseState(l.State), Clock: l.Clock}
}

func ownerOf(r storage.ShardOwner) lease.Owner {
	return lease.Owner{Shard: r.Shard, Node: r.Node, Epoch: r.Epoch, Released: r.Released, To: r.Heir, Clock: r.Clock}
}

func ownerRow(o lease.Owner) storage.ShardOwner {
	return storage.ShardOwner{Shard: o.Shard, Node: o.Node, Epoch: o.Epoch, Released: o.Released, Heir: o.To, Clock: o.Clock}
}

// Leases implements lease.Store.
func (r leaseRows) Leases(ctx context.Context) ([]lease.NodeLease, error) {
	rows, err := r.store.NodeLeases(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]lease.NodeLease, len(rows))
	for i := range rows {
		list[i] = leaseOf(rows[i])
	}
	return list, nil
}

// SwapLease implements lease.Store.
func (r leaseRows) SwapLease(ctx context.Context, old, next lease.NodeLease) (lease.NodeLease, bool, error) {
	found, applied, err := r.store.CompareAndSetNodeLease(ctx, leaseRow(old), leaseRow(next))
	return leaseOf(found), applied, err
}

// DeleteLease implements lease.Store.
func (r leaseRows) DeleteLease(ctx context.Context, id chat.NodeID) error {
	return r.store.DeleteNodeLease(ctx, id)
}

// Owners implements lease.Store.
func (r leaseRows) Owners(ctx context.Context) ([]lease.Owner, error) {
	rows, err := r.store.ShardOwners(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]lease.Owner, len(rows))
	for i := range rows {
		list[i] = ownerOf(rows[i])
	}
	return list, nil
}

// SwapOwner implements lease.Store.
func (r leaseRows) SwapOwner(ctx context.Context, old, next lease.Owner) (lease.Owner, bool, error) {
	found, applied, err := r.store.CompareAndSetShardOwner(ctx, ownerRow(old), ownerRow(next))
	return ownerOf(found), applied, err
}
