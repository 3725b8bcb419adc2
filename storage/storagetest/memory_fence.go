package storagetest

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/storage"
)

var _ storage.FencedApplier = (*MemoryEngine)(nil)

// ApplyFenced implements storage.FencedApplier. To hooks it is OpApply.
func (m *MemoryEngine) ApplyFenced(ctx context.Context, b storage.Batch, epoch uint64) error {
	if !b.Table.Fenced || epoch == 0 {
		return fmt.Errorf("storagetest: %s: no fenced write under epoch %d", b.Table.Name, epoch)
	}
	if err := m.before(ctx, OpApply, b.Table); err != nil {
		return err
	}
	if err := checkBatch(&b); err != nil {
		return err
	}
	for i := range b.Mutations {
		if len(b.Mutations[i].Clustering) == 0 {
			return fmt.Errorf("storagetest: %s: a fenced batch deletes rows one by one", b.Table.Name)
		}
	}
	m.writes.Add(1)
	if err := m.pass(&b, epoch); err != nil {
		return err
	}
	return m.after(ctx, OpApply, b.Table)
}

// pass writes what a fence lets pass.
func (m *MemoryEngine) pass(b *storage.Batch, epoch uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return storage.ErrClosed
	}
	name := fmt.Sprint(b.Table.ID, partitionName(b.Partition))
	if f := m.fences[name]; f > epoch {
		return fmt.Errorf("%w: %d, not %d", storage.ErrFenced, f, epoch)
	}
	m.fences[name] = epoch
	for i := range b.Mutations {
		m.mutate(b.Table, b.Partition, &b.Mutations[i])
	}
	return nil
}

// Clock is the newest time that a write may have: there is one clock for all of them.
func (m *MemoryEngine) Clock() int64 { return m.now().UnixMicro() }

// ServerClocks are those of a server with this clock.
func (m *MemoryEngine) ServerClocks(context.Context) (earliest, latest int64, err error) {
	return m.now().UnixMicro(), m.now().UnixMicro(), nil
}
