package pebble_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T, now func() time.Time) storage.Engine {
		return open(t, pebble.Config{Dir: "store", FS: vfs.NewMem(), Now: now, MemTableBytes: 1 << 20,
			Tables: append(storage.Tables(), storagetest.Tables()...)})
	})
}

// open opens an engine that is closed with the test if not before.
func open(t testing.TB, cfg pebble.Config) *pebble.Engine {
	t.Helper()
	e, err := pebble.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func TestStore(t *testing.T) {
	storagetest.RunStore(t, func(t *testing.T, now func() time.Time) storage.Engine {
		return open(t, pebble.Config{Dir: t.TempDir(), Now: now})
	})
}
