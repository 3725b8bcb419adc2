package files

import (
	"context"
	"errors"
	"sync"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// maxCounts bounds the files whose downloads wait to be written.
const maxCounts = 10_000

type fileKey struct {
	tenant chat.TenantID
	id     chat.FileID
}

// counts are downloads that are not written yet: a file that everybody opens is counted in few writes. A process that
// is killed loses them.
type counts struct {
	mu      sync.Mutex
	pending map[fileKey]uint64
}

func (c *counts) of(k fileKey) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending[k]
}

// take removes and returns all.
func (c *counts) take() map[fileKey]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.pending
	c.pending = make(map[fileKey]uint64)
	return m
}

func (c *counts) add(k fileKey, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.pending[k]; there || len(c.pending) < maxCounts {
		c.pending[k] += n
	}
}

// Downloaded counts a download.
func (f *Files) Downloaded(tenant chat.TenantID, id chat.FileID) {
	f.cfg.Observer.Downloaded()
	f.counts.add(fileKey{tenant, id}, 1)
}

// Flush writes the downloads and the uploads that were counted since the last time.
func (f *Files) Flush(ctx context.Context) {
	f.flushQuotas(ctx)
	for k, n := range f.counts.take() {
		_, err := f.cfg.Store.ChangeFile(ctx, k.tenant, k.id, func(row *storage.FileRow) error {
			row.Downloads += n
			return nil
		})
		if err != nil && !errors.Is(err, chat.ErrNotFound) && !errors.Is(err, chat.ErrUnknown) {
			f.counts.add(k, n) // the next time
		}
	}
}
