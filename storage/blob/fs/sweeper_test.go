package fs_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/blob"
	"github.com/zumodra/hub/storage/blob/blobtest"
	"github.com/zumodra/hub/storage/blob/fs"
	"github.com/zumodra/hub/storage/storagetest"
)

type seen struct{ at []time.Time }

func (s *seen) Swept(blob.Pass) { s.at = append(s.at, time.Now()) }

// TestSweeperRun: the first pass soon, the others an interval apart but not in step, none after the end.
func TestSweeperRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lib := blob.NewLibrary(open(t, fs.Config{}), storage.New(storagetest.Memory(), storage.Config{}))
		o := &seen{}
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		done := make(chan struct{})
		go func() {
			blob.NewSweeper(blob.SweeperConfig{Library: lib, Interval: time.Hour, Observer: o}).Run(ctx)
			close(done)
		}()
		time.Sleep(24 * time.Hour)
		cancel()
		<-done
		n := len(o.at)
		time.Sleep(24 * time.Hour)
		if len(o.at) != n || n < 20 || n > 28 || o.at[0].Sub(start) != 6*time.Minute {
			t.Fatalf("%d passes in a day, the first after %v, %d after the end", n, o.at[0].Sub(start), len(o.at)-n)
		}
		var gaps []time.Duration
		for i := range n - 1 {
			gaps = append(gaps, o.at[i+1].Sub(o.at[i]))
		}
		slices.Sort(gaps)
		if gaps[0] < 54*time.Minute || gaps[len(gaps)-1] > 66*time.Minute || gaps[0] == gaps[len(gaps)-1] {
			t.Fatalf("gaps from %v to %v", gaps[0], gaps[len(gaps)-1])
		}
	})
}

// TestSweepGoesOnAfterFailures: what cannot be looked at is kept, counted, and left to the next pass.
func TestSweepGoesOnAfterFailures(t *testing.T) {
	e := storagetest.Memory()
	s := open(t, fs.Config{})
	for i := range 5 {
		blobtest.Put(t, s, "acme", blobtest.Content(100, uint64(i)))
	}
	sw := blob.NewSweeper(blob.SweeperConfig{Library: blob.NewLibrary(s, storage.New(e, storage.Config{})),
		Now: func() time.Time { return time.Now().Add(48 * time.Hour) }})
	n := 0
	e.SetHooks(storagetest.Hooks{Before: func(_ context.Context, _ storagetest.Op, _ *storage.Table) error {
		if n++; n%3 == 0 {
			return storage.ErrUnknownOutcome
		}
		return nil
	}})
	p := sw.Sweep(t.Context())
	if p.Failed == 0 || p.Blobs != 5 || p.Err != nil {
		t.Fatalf("%+v", p)
	}
	e.SetHooks(storagetest.Hooks{})
	if q := sw.Sweep(t.Context()); q.Failed != 0 || p.RemovedBlobs+q.RemovedBlobs != 5 {
		t.Fatalf("%+v, then %+v", p, q)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p := sw.Sweep(ctx); p.Err == nil || p.RemovedBlobs != 0 {
		t.Fatalf("after its context ended: %+v", p)
	}
}
