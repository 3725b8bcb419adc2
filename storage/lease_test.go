package storage_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/storagetest"
)

func acquire(t *testing.T, e storage.Engine, holder string) *storage.Lease {
	t.Helper()
	l, err := storage.AcquireLease(t.Context(), e, storage.LeaseConfig{Name: "n", Holder: holder})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func release(t *testing.T, l *storage.Lease) {
	t.Helper()
	if err := l.Release(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestLeaseIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := storagetest.Memory()
		a := acquire(t, e, "a")
		time.Sleep(time.Hour) // renewed all the while
		if !a.Valid() || a.Epoch() != 1 {
			t.Fatal(a.Valid(), a.Epoch())
		}
		start := time.Now()
		got := make(chan *storage.Lease)
		go func() { got <- acquire(t, e, "b") }()
		time.Sleep(time.Minute)
		if !a.Valid() {
			t.Error("lost to somebody who only waits")
		}
		release(t, a)
		b := <-got
		if d := time.Since(start) - time.Minute; d > time.Second {
			t.Errorf("a lease that was given back took %v", d)
		}
		if a.Valid() || !b.Valid() || b.Epoch() != 2 {
			t.Error(a.Valid(), b.Valid(), b.Epoch())
		}
		release(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := acquire(t, e, "c")
		if _, err := storage.AcquireLease(ctx, e, storage.LeaseConfig{Name: "n", Holder: "d"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		release(t, c)
	})
}

// A holder that cannot reach the store stops being valid before anybody else can be, keeps the lease if nobody wanted
// it meanwhile, and learns it if somebody did.
func TestLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := storagetest.Memory()
		var raised atomic.Int64
		mine := &cutOff{Engine: e}
		a, err := storage.AcquireLease(t.Context(), mine, storage.LeaseConfig{Name: "n", Holder: "a", Clock: func() int64 { return 1_000_000 }})
		if err != nil {
			t.Fatal(err)
		}
		mine.off.Store(true)
		time.Sleep(20 * time.Second)
		if a.Valid() {
			t.Error("valid without a renewal")
		}
		mine.off.Store(false)
		time.Sleep(5 * time.Second)
		if !a.Valid() {
			t.Error("nobody took it, and it did not come back")
		}
		mine.off.Store(true)
		ended := make(chan time.Time, 1)
		go func() {
			for a.Valid() {
				time.Sleep(time.Millisecond)
			}
			ended <- time.Now()
		}()
		b, err := storage.AcquireLease(t.Context(), e, storage.LeaseConfig{Name: "n", Holder: "b", Raise: raised.Store})
		if err != nil {
			t.Fatal(err)
		}
		if at := <-ended; !at.Before(time.Now()) {
			t.Error("two were valid at once")
		}
		if b.Epoch() != 2 || raised.Load() != 1_000_000+11_000_000 {
			t.Error(b.Epoch(), raised.Load())
		}
		mine.off.Store(false)
		<-a.Lost()
		if a.Valid() {
			t.Error("valid after it was lost")
		}
		release(t, a) // leaves the other's alone
		time.Sleep(time.Minute)
		if !b.Valid() {
			t.Error("lost")
		}
		release(t, b)
	})
}

// Writes of unknown outcome, that happened or did not, confuse nobody.
func TestLeaseUnderUnknownOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := storagetest.Memory()
		var n atomic.Int64
		fail := func(ctx context.Context, op storagetest.Op, _ *storage.Table) error {
			if op == storagetest.OpCAS && n.Add(1)%3 == 0 {
				return storage.ErrUnknownOutcome
			}
			return nil
		}
		e.SetHooks(storagetest.Hooks{Before: fail, After: fail})
		var turns atomic.Int64
		var mu sync.Mutex
		leases := map[string]*storage.Lease{}
		alone := func() {
			mu.Lock()
			defer mu.Unlock()
			valid := 0
			for _, l := range leases {
				if l.Valid() {
					valid++
				}
			}
			if valid > 1 {
				t.Errorf("%d hold the lease at once", valid)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					l, err := storage.AcquireLease(ctx, e, storage.LeaseConfig{Name: "n", Holder: name + string(rune('0'+i%10)) + time.Now().String()})
					if err != nil {
						continue
					}
					turns.Add(1)
					mu.Lock()
					leases[name] = l
					mu.Unlock()
					for range 3000 {
						alone()
						time.Sleep(10 * time.Millisecond)
					}
					_ = l.Release(context.Background())
				}
			})
		}
		wg.Wait()
		if turns.Load() < 10 {
			t.Errorf("only %d turns", turns.Load())
		}
	})
}

// cutOff is an engine that cannot be reached for a while.
type cutOff struct {
	storage.Engine
	off atomic.Bool
}

func (c *cutOff) Get(ctx context.Context, t *storage.Table, p, k storage.Key) (storage.Row, error) {
	if c.off.Load() {
		return storage.Row{}, storage.ErrUnreachable
	}
	return c.Engine.Get(ctx, t, p, k)
}

func (c *cutOff) CompareAndSet(ctx context.Context, t *storage.Table, p, k storage.Key, expect, set []storage.Value) (bool, storage.Row, error) {
	if c.off.Load() {
		return false, storage.Row{}, storage.ErrUnreachable
	}
	return c.Engine.CompareAndSet(ctx, t, p, k, expect, set)
}

func TestLeaseEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := storagetest.Memory()
		for want := range uint64(3) {
			if got, err := storage.LeaseEpoch(t.Context(), e, "n"); got != want || err != nil {
				t.Error(got, want, err)
			}
			release(t, acquire(t, e, "a"))
		}
	})
}
