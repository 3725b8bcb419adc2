package pebble_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/storagetest"
)

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// diskFS is a file system with a free space of its own.
type diskFS struct {
	vfs.FS
	free *atomic.Uint64
}

func (d diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load(), TotalBytes: 1 << 40}, nil
}

func TestFullDiskRefusesWrites(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 30)
	e := open(t, pebble.Config{Dir: "store", FS: diskFS{vfs.NewMem(), &free}, MinFree: 1 << 20})
	s, key := storage.New(e, storage.Config{}), storagetest.Key("t")
	must(t, s.AppendEvents(t.Context(), key, storagetest.Messages(key, 1, 3, 1)))
	must(t, e.Health(t.Context()))
	free.Store(1<<20 - 1)
	eventually(t, "unhealthy", func() bool { return e.Health(t.Context()) != nil })
	if err := e.Health(t.Context()); !errors.Is(err, storage.ErrNoSpace) {
		t.Error(err)
	}
	if err := s.AppendEvents(t.Context(), key, storagetest.Messages(key, 4, 4, 1)); !errors.Is(err, chat.ErrUnavailable) || !errors.Is(err, storage.ErrNoSpace) {
		t.Error(err)
	}
	if _, _, err := s.CreateUser(t.Context(), chat.User{Tenant: "t", ID: "u"}); !errors.Is(err, storage.ErrNoSpace) {
		t.Error(err)
	}
	log, err := s.ReadEvents(t.Context(), key, 1, 9, 0)
	if err != nil || len(log) != 3 {
		t.Error("reads go on:", len(log), err)
	}
	must(t, s.ClearDirty(t.Context(), key)) // deletions do, too
	free.Store(1 << 21)
	eventually(t, "healthy", func() bool { return e.Health(t.Context()) == nil })
	must(t, s.AppendEvents(t.Context(), key, storagetest.Messages(key, 4, 4, 1)))
	if m := e.Metrics(); m.FreeBytes != 1<<21 {
		t.Errorf("%+v", m)
	}
}

func TestSweeperRemovesExpiredRows(t *testing.T) {
	var clock storagetest.Clock
	cfg := pebble.Config{Dir: "store", FS: vfs.NewMem(), Now: clock.Now, SweepInterval: time.Millisecond, SweepRows: 7}
	e := open(t, cfg)
	s := storage.New(e, storage.Config{})
	key := storagetest.Key("t")
	save := func(from, to uint64) {
		d := chat.Derived{Head: chat.Head{Key: key, Seq: to, Kind: chat.Group}}
		for seq := from; seq <= to; seq++ {
			d.Sent = append(d.Sent, chat.SentMessage{SenderClientID: chat.SenderClientID{Sender: chat.UserID(fmt.Sprint(seq % 5)), ClientID: fmt.Sprint(seq)}, Seq: seq})
		}
		must(t, s.SaveDerived(t.Context(), key, d))
	}
	save(1, 50)
	clock.Advance(storage.DedupTTL / 2)
	save(51, 60)
	save(20, 20) // lives on
	clock.Advance(storage.DedupTTL / 2)
	eventually(t, "49 rows swept", func() bool { return e.Metrics().SweptRows >= 49 })
	ids := []chat.SenderClientID{{Sender: "1", ClientID: "1"}, {Sender: "0", ClientID: "20"}, {Sender: "0", ClientID: "60"}}
	got, err := s.FindDuplicates(t.Context(), key, ids)
	if err != nil || got[0] != 0 || got[1] != 20 || got[2] != 60 {
		t.Fatal(got, err)
	}
	must(t, e.Close())
	// The rows are gone from the files, not only hidden: a clock before their end does not bring them back.
	cfg.Now = func() time.Time { return clock.Now().Add(-storage.DedupTTL) }
	cfg.SweepInterval = time.Hour
	e = open(t, cfg)
	n := 0
	must(t, e.ScanTable(t.Context(), storage.TableDedup, func(storage.Key, storage.Row) bool { n++; return true }))
	if n != 11 {
		t.Errorf("%d rows left, want 11", n)
	}
}

func TestCloseLeavesNoGoroutines(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	e, err := pebble.Open(pebble.Config{Dir: t.TempDir()})
	must(t, err)
	fillStore(t, e)
	if m := e.Metrics(); m.LogBytes == 0 || m.DiskBytes == 0 {
		t.Errorf("%+v", m)
	}
	must(t, e.Close())
	if m := e.Metrics(); m != (pebble.Metrics{}) {
		t.Errorf("%+v", m)
	}
}

// What was replayed at opening may leave nothing to write to a table.
func TestHealthyAfterReopeningWithoutRows(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		e, err := pebble.Open(pebble.Config{Dir: dir})
		must(t, err)
		s, key := storage.New(e, storage.Config{}), storagetest.Key("t")
		if i == 1 {
			must(t, s.AppendEvents(t.Context(), key, storagetest.Messages(key, 1, 3, 1)))
			must(t, s.DeleteConversation(t.Context(), key, nil))
		}
		must(t, e.Health(t.Context()))
		must(t, e.Close())
	}
}
