package storagetest

import (
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

func nodeLeases(t *testing.T, s *storage.Store) []storage.NodeLease {
	t.Helper()
	list, err := s.NodeLeases(t.Context())
	must(t, err)
	slices.SortFunc(list, func(a, b storage.NodeLease) int { return int(a.Clock - b.Clock) })
	return list
}

func storeNodeLeases(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	equal(t, len(nodeLeases(t, s)), 0)
	var want []storage.NodeLease
	// Ids are random numbers of 64 bits: half of them are negative as the engines see them.
	for i, id := range []chat.NodeID{1, math.MaxUint64, 1 << 63, 0xfedcba9876543210, 9, 17} {
		l := storage.NodeLease{ID: id, Name: []string{"a", "", "hub-2.hub"}[i%3], Version: 1, Duration: 6*time.Second + time.Microsecond,
			State: storage.NodeAlive, Clock: int64(i) - 1}
		_, applied, err := s.CompareAndSetNodeLease(ctx, storage.NodeLease{}, l)
		must(t, err)
		equal(t, applied, true)
		want = append(want, l)
	}
	equal(t, nodeLeases(t, s), want)
	old := want[3]
	next := old
	next.Version++
	for _, c := range []struct {
		old     storage.NodeLease
		applied bool
		found   storage.NodeLease
	}{
		{storage.NodeLease{}, false, old},
		{next, false, old},
		{old, true, storage.NodeLease{}},
		{old, false, next},
	} {
		found, applied, err := s.CompareAndSetNodeLease(ctx, c.old, next)
		must(t, err)
		equal(t, applied, c.applied)
		equal(t, found, c.found)
	}
	dead := next
	dead.Version, dead.State = 3, storage.NodeDead
	_, applied, err := s.CompareAndSetNodeLease(ctx, next, dead)
	must(t, err)
	equal(t, applied, true)
	want[3] = dead
	equal(t, nodeLeases(t, s), want)
	missing := storage.NodeLease{ID: 5, Version: 1, Duration: time.Second, State: storage.NodeAlive}
	found, applied, err := s.CompareAndSetNodeLease(ctx, missing, missing)
	must(t, err)
	equal(t, applied, false)
	equal(t, found, storage.NodeLease{})
	must(t, s.DeleteNodeLease(ctx, dead.ID))
	must(t, s.DeleteNodeLease(ctx, dead.ID))
	equal(t, nodeLeases(t, s), slices.Delete(want, 3, 4))
	for _, bad := range []storage.NodeLease{{}, {ID: 1, Version: 1, State: 1}, {ID: 1, Duration: 1, State: 1}, {ID: 1, Version: 1, Duration: 1},
		{ID: 1, Version: 1, Duration: 1, State: 4}, {Version: 1, Duration: 1, State: 1}} {
		if _, _, err := s.CompareAndSetNodeLease(ctx, storage.NodeLease{}, bad); !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// storeOwnersTogether: several shards change hands at once, all of them or none.
func storeOwnersTogether(t *testing.T, s *storage.Store, e storage.Engine) {
	ctx := t.Context()
	var first, second []storage.OwnerSwap
	for shard := 3; shard < chat.Shards; shard += storage.OwnerSlots {
		mine := storage.ShardOwner{Shard: shard, Node: 1 << 63, Epoch: 1, Clock: int64(shard)}
		theirs := storage.ShardOwner{Shard: shard, Node: 7, Epoch: 2}
		first = append(first, storage.OwnerSwap{Old: storage.ShardOwner{Shard: shard}, Next: mine})
		second = append(second, storage.OwnerSwap{Old: mine, Next: theirs})
	}
	_, able := e.(storage.MultiSwapper)
	swap := func(swaps []storage.OwnerSwap, want bool) {
		t.Helper()
		applied, err := s.CompareAndSetShardOwners(ctx, swaps)
		must(t, err)
		equal(t, applied, want && able)
		if !able && want {
			for _, x := range swaps {
				_, applied, err := s.CompareAndSetShardOwner(ctx, x.Old, x.Next)
				must(t, err)
				equal(t, applied, true)
			}
		}
	}
	rows := func(of []storage.OwnerSwap) (list []storage.ShardOwner) {
		for _, x := range of {
			list = append(list, x.Next)
		}
		return list
	}
	swap(nil, false)
	swap(second, false) // there are no rows
	equal(t, len(shardOwners(t, s)), 0)
	swap(first, true)
	equal(t, shardOwners(t, s), rows(first))
	swap(first, false)
	one := slices.Clone(second)
	one[len(one)-1].Old.Clock++
	swap(one, false) // because of the last
	equal(t, shardOwners(t, s), rows(first))
	swap([]storage.OwnerSwap{second[0], {Old: storage.ShardOwner{Shard: 4}, Next: storage.ShardOwner{Shard: 4, Node: 7, Epoch: 1}}}, false)
	equal(t, shardOwners(t, s), rows(first))
	swap(second[:2], true)
	swap(second, false)
	swap(second[2:], true)
	equal(t, shardOwners(t, s), rows(second))
	if _, err := s.CompareAndSetShardOwners(ctx, []storage.OwnerSwap{{Old: second[0].Next, Next: first[0].Next}}); able && !errors.Is(err, chat.ErrInvalid) {
		t.Errorf("an epoch that falls: %v", err)
	}
	if !able {
		return
	}
	// Of those who want the same rows at the same time, one gets all.
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			swaps := slices.Clone(second)
			for i := range swaps {
				swaps[i] = storage.OwnerSwap{Old: second[i].Next, Next: storage.ShardOwner{Shard: second[i].Next.Shard, Node: chat.NodeID(n + 10), Epoch: 3}}
			}
			for {
				_, err := s.CompareAndSetShardOwners(t.Context(), swaps)
				if err == nil {
					return
				}
				if !errors.Is(err, chat.ErrUnknown) && !errors.Is(err, chat.ErrUnavailable) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	list := shardOwners(t, s)
	for _, o := range list {
		if o.Epoch != 3 || o.Node != list[0].Node {
			t.Fatalf("%+v beside %+v", o, list[0])
		}
	}
}

func shardOwners(t *testing.T, s *storage.Store) []storage.ShardOwner {
	t.Helper()
	list, err := s.ShardOwners(t.Context())
	must(t, err)
	slices.SortFunc(list, func(a, b storage.ShardOwner) int { return a.Shard - b.Shard })
	return list
}

func storeShardOwners(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	equal(t, len(shardOwners(t, s)), 0)
	var want []storage.ShardOwner
	for i, shard := range []int{0, 1, 31, 32, 33, 64, 500, chat.Shards - 1} {
		o := storage.ShardOwner{Shard: shard, Node: chat.NodeID(i + 1), Epoch: uint64(i) + 1, Clock: int64(i)}
		_, applied, err := s.CompareAndSetShardOwner(ctx, storage.ShardOwner{Shard: shard}, o)
		must(t, err)
		equal(t, applied, true)
		want = append(want, o)
	}
	equal(t, shardOwners(t, s), want)
	old := want[4]
	released := old
	released.Released, released.Heir, released.Clock = true, math.MaxUint64, 77
	taken := storage.ShardOwner{Shard: old.Shard, Node: math.MaxUint64, Epoch: old.Epoch + 1, Clock: 78}
	for _, c := range []struct {
		old, next storage.ShardOwner
		applied   bool
		found     storage.ShardOwner
	}{
		{storage.ShardOwner{Shard: old.Shard}, taken, false, old},
		{released, taken, false, old},
		{old, released, true, storage.ShardOwner{Shard: old.Shard}},
		{old, taken, false, released},
		{released, taken, true, storage.ShardOwner{Shard: old.Shard}},
		{released, taken, false, taken},
	} {
		found, applied, err := s.CompareAndSetShardOwner(ctx, c.old, c.next)
		must(t, err)
		equal(t, applied, c.applied)
		equal(t, found, c.found)
	}
	want[4] = taken
	equal(t, shardOwners(t, s), want)
	absent := storage.ShardOwner{Shard: 900, Node: 1, Epoch: 1}
	found, applied, err := s.CompareAndSetShardOwner(ctx, absent, absent)
	must(t, err)
	equal(t, applied, false)
	equal(t, found, storage.ShardOwner{Shard: 900})
	for _, c := range [][2]storage.ShardOwner{
		{{Shard: -1}, {Shard: -1, Node: 1, Epoch: 1}},
		{{Shard: chat.Shards}, {Shard: chat.Shards, Node: 1, Epoch: 1}},
		{{Shard: 1}, {Shard: 1, Epoch: 1}},
		{{Shard: 1}, {Shard: 1, Node: 1}},
		{{Shard: 2}, {Shard: 1, Node: 1, Epoch: 1}},
		{taken, old},
	} {
		if _, _, err := s.CompareAndSetShardOwner(ctx, c[0], c[1]); !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Three nodes take the same shards at once: each is one's, and all of them see whose.
func storeShardOwnersContended(t *testing.T, s *storage.Store, _ storage.Engine) {
	const shards, nodes = 96, 3
	var mu sync.Mutex
	won := map[int]chat.NodeID{}
	var wg sync.WaitGroup
	for n := chat.NodeID(1); n <= nodes; n++ {
		for lane := range storage.OwnerSlots {
			wg.Go(func() {
				for shard := lane; shard < shards; shard += storage.OwnerSlots {
					for {
						mine := storage.ShardOwner{Shard: shard, Node: n, Epoch: 1}
						found, applied, err := s.CompareAndSetShardOwner(t.Context(), storage.ShardOwner{Shard: shard}, mine)
						if errors.Is(err, chat.ErrUnknown) {
							continue // contention: doing it again tells
						}
						if err != nil {
							t.Error(err)
							return
						}
						if applied || found == mine {
							mu.Lock()
							if other := won[shard]; other != 0 {
								t.Errorf("shard %d is of %d and %d", shard, other, n)
							}
							won[shard] = n
							mu.Unlock()
						}
						break
					}
				}
			})
		}
	}
	wg.Wait()
	rows := shardOwners(t, s)
	equal(t, len(rows), shards)
	for _, o := range rows {
		if o.Node != won[o.Shard] {
			t.Errorf("shard %d is of %d, not of %d", o.Shard, o.Node, won[o.Shard])
		}
	}
}
