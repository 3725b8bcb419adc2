package storagetest_test

import (
	"testing"
	"time"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/storagetest"
)

func TestMemory(t *testing.T) {
	storagetest.Run(t, func(t *testing.T, now func() time.Time) storage.Engine { return storagetest.MemoryAt(now) })
}

func TestMemoryStore(t *testing.T) {
	storagetest.RunStore(t, func(t *testing.T, now func() time.Time) storage.Engine { return storagetest.MemoryAt(now) })
}
