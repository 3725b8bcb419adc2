package node

import (
	"context"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
	"github.com/zumodra/hub/storage"
)

// leaseStore is what leases of nodes and owners of shards are kept in.
type leaseStore struct{ *storage.Store }

var _ lease.Store = leaseStore{}

func (s leaseStore) Leases(ctx context.Context) ([]lease.NodeLease, error) {
	rows, err := s.NodeLeases(ctx)
	out := make([]lease.NodeLease, len(rows))
	for i, r := range rows {
		out[i] = fromNodeLease(r)
	}
	return out, err
}

func (s leaseStore) SwapLease(ctx context.Context, old, next lease.NodeLease) (lease.NodeLease, bool, error) {
	found, applied, err := s.CompareAndSetNodeLease(ctx, toNodeLease(old), toNodeLease(next))
	return fromNodeLease(found), applied, err
}

func (s leaseStore) DeleteLease(ctx context.Context, id chat.NodeID) error {
	return s.DeleteNodeLease(ctx, id)
}

func (s leaseStore) Owners(ctx context.Context) ([]lease.Owner, error) {
	rows, err := s.ShardOwners(ctx)
	out := make([]lease.Owner, len(rows))
	for i, r := range rows {
		out[i] = lease.Owner(r)
	}
	return out, err
}

func (s leaseStore) SwapOwner(ctx context.Context, old, next lease.Owner) (lease.Owner, bool, error) {
	found, applied, err := s.CompareAndSetShardOwner(ctx, storage.ShardOwner(old), storage.ShardOwner(next))
	return lease.Owner(found), applied, err
}

func (s leaseStore) SwapOwners(ctx context.Context, old, next []lease.Owner) (bool, error) {
	swaps := make([]storage.OwnerSwap, len(old))
	for i := range swaps {
		swaps[i] = storage.OwnerSwap{Old: storage.ShardOwner(old[i]), Next: storage.ShardOwner(next[i])}
	}
	return s.CompareAndSetShardOwners(ctx, swaps)
}

func fromNodeLease(r storage.NodeLease) lease.NodeLease {
	return lease.NodeLease{ID: r.ID, Name: r.Name, Version: r.Version, Duration: r.Duration, State: lease.State(r.State), Clock: r.Clock}
}

func toNodeLease(r lease.NodeLease) storage.NodeLease {
	return storage.NodeLease{ID: r.ID, Name: r.Name, Version: r.Version, Duration: r.Duration, State: storage.LeaseState(r.State), Clock: r.Clock}
}
