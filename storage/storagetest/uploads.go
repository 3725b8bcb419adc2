package storagetest

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// storeUploads: no number of writers exceeds a user's limit, and a tenant's sum is that of all processes.
func storeUploads(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	k := chat.UserKey{Tenant: "a", User: "ann"}
	u, err := s.GetUserUploads(ctx, k, 7)
	must(t, err)
	equal(t, u, chat.UploadUsage{Day: 7})
	var fitted, refused atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				_, fits, err := s.AddUserUploads(ctx, k, chat.UploadUsage{Day: 7, Bytes: 10, Files: 1}, 105)
				switch {
				case err != nil:
					t.Error(err)
				case fits:
					fitted.Add(1)
				default:
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	equal(t, []int64{fitted.Load(), refused.Load()}, []int64{10, 14})
	u, err = s.GetUserUploads(ctx, k, 7)
	must(t, err)
	equal(t, u, chat.UploadUsage{Day: 7, Bytes: 100, Files: 10})
	u, _, err = s.AddUserUploads(ctx, k, chat.UploadUsage{Day: 7, Bytes: -30}, 105)
	must(t, err)
	equal(t, u, chat.UploadUsage{Day: 7, Bytes: 70, Files: 10})
	u, fits, err := s.AddUserUploads(ctx, k, chat.UploadUsage{Day: 8, Bytes: 5, Files: 1}, 105)
	must(t, err)
	equal(t, u, chat.UploadUsage{Day: 8, Bytes: 5, Files: 1})
	equal(t, fits, true)
	_, _, err = s.AddUserUploads(ctx, k, chat.UploadUsage{Day: 7, Bytes: -1}, 0) // too late
	must(t, err)
	u, err = s.GetUserUploads(ctx, k, 8)
	must(t, err)
	equal(t, u, chat.UploadUsage{Day: 8, Bytes: 5, Files: 1})
	u, err = s.GetUserUploads(ctx, k, 7)
	must(t, err)
	equal(t, u, chat.UploadUsage{Day: 7})
	// A node whose clock is behind does not make room by it.
	u, fits, err = s.AddUserUploads(ctx, k, chat.UploadUsage{Day: 7, Bytes: 90, Files: 1}, 105)
	must(t, err)
	equal(t, []any{u, fits}, []any{chat.UploadUsage{Day: 8, Bytes: 95, Files: 2}, true})
	_, fits, err = s.AddUserUploads(ctx, k, chat.UploadUsage{Day: 7, Bytes: 11, Files: 1}, 105)
	must(t, err)
	equal(t, fits, false)

	for p, n := range map[string]int64{"p": 1, "q": 10, "r": 100} {
		must(t, s.PutUploads(ctx, "a", p, chat.UploadUsage{Day: 7, Bytes: 1, Files: 1}))
		must(t, s.PutUploads(ctx, "a", p, chat.UploadUsage{Day: 7, Bytes: n, Files: 2}))
	}
	must(t, s.PutUploads(ctx, "a", "p", chat.UploadUsage{Day: 8, Bytes: 1000}))
	must(t, s.PutUploads(ctx, "b", "p", chat.UploadUsage{Day: 7, Bytes: 1000}))
	u, err = s.SumUploads(ctx, "a", 7, "q")
	must(t, err)
	equal(t, u, chat.UploadUsage{Day: 7, Bytes: 101, Files: 4})
	settled(t, s)
}
