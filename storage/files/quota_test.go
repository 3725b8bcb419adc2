package files_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage/files"
)

func (b *bench) wantQuota(err error, limit string) {
	b.t.Helper()
	var q *chat.QuotaError
	if !errors.As(err, &q) || q.Limit != limit || q.RetryAfter <= 0 || q.RetryAfter > 24*time.Hour {
		b.t.Fatalf("%v, want the quota %s", err, limit)
	}
	if next := b.now().Add(q.RetryAfter); !next.Equal(next.Truncate(24 * time.Hour)) {
		b.t.Errorf("the next day begins at %v", next)
	}
}

func (b *bench) usage(k chat.UserKey, bytes, n int64) {
	b.t.Helper()
	u, err := b.f.Usage(b.t.Context(), k)
	b.must(err)
	if u.Bytes != bytes || u.Files != n || u.Day != chat.UploadDay(b.now()) {
		b.t.Errorf("usage of %s is %+v, want %d bytes of %d", k, u, bytes, n)
	}
}

// TestReq119_UploadsOfADay: whole files and files in parts are refused beyond the limits of a user and of the tenant,
// leave nothing behind then, and are let in on the next day.
func TestReq119_UploadsOfADay(t *testing.T) {
	limits := chat.Limits{UploadBytes: 100, UploadBytesPerUser: 60}
	b := newBench(t, func(c *files.Config) { c.Limits = func(chat.TenantID) chat.Limits { return limits } })
	b.clock = b.clock.Truncate(24 * time.Hour).Add(20 * time.Hour)
	ctx, text := t.Context(), func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	b.put(ann, "a.txt", text(40))
	_, err := b.f.Store(ctx, ann, "b.txt", false, bytes.NewReader(text(21)))
	b.wantQuota(err, "upload_bytes_per_user")
	up, err := b.f.Begin(ctx, ann, "c.txt", false, 20)
	b.must(err)
	_, err = b.f.Store(ctx, ann, "d.txt", false, bytes.NewReader(text(1)))
	b.wantQuota(err, "upload_bytes_per_user")
	_, err = b.f.Begin(ctx, bob, "e.txt", false, 41)
	b.wantQuota(err, "upload_bytes")
	b.usage(ann.Key(), 60, 2)
	b.usage(bob.Key(), 0, 0)
	b.usage(chat.UserKey{Tenant: "acme"}, 60, 2)
	// What has come of an upload counts when it is given up, the rest does not.
	_, err = b.f.Append(ctx, ann, up.ID, 0, bytes.NewReader(text(5)))
	b.must(err)
	b.must(b.f.Terminate(ctx, ann, up.ID))
	b.usage(ann.Key(), 45, 2)
	b.usage(chat.UserKey{Tenant: "acme"}, 45, 2)
	// A file that no day has room for.
	var refused *attachment.Error
	if _, err := b.f.Begin(ctx, bob, "f.txt", false, 61); !errors.As(err, &refused) || refused.Code != attachment.CodeTooLarge {
		t.Errorf("%v", err)
	}
	b.must(b.f.Discard(ctx, "acme", b.put(bob, "g.txt", text(3)).ID))
	if n := b.sweep(); n != 1 {
		t.Errorf("%d blobs, want that of the one file that is kept", n)
	}
	b.advance(4 * time.Hour)
	b.usage(ann.Key(), 0, 0)
	b.usage(chat.UserKey{Tenant: "acme"}, 0, 0)
	b.put(ann, "h.txt", text(60))
	// Without limits it is counted as well.
	limits = chat.Limits{}
	b.put(ann, "i.txt", text(1000))
	b.usage(ann.Key(), 1060, 2)
}

// TestReq119_UploadsOfADayOnSeveralNodes: a user's limit is exact, and a tenant's holds as soon as the others have written.
func TestReq119_UploadsOfADayOnSeveralNodes(t *testing.T) {
	limits := func(chat.TenantID) chat.Limits { return chat.Limits{UploadBytes: 100, UploadBytesPerUser: 80} }
	b := newBench(t, func(c *files.Config) { c.Limits = limits })
	other := files.New(files.Config{Store: b.store, Blobs: b.blobs, Library: b.lib, Now: b.now, Limits: limits})
	b.clock = b.clock.Truncate(24 * time.Hour).Add(12 * time.Hour)
	ctx := t.Context()
	b.put(ann, "a.txt", bytes.Repeat([]byte("x"), 50))
	_, err := other.Store(ctx, ann, "b.txt", false, bytes.NewReader(bytes.Repeat([]byte("x"), 31)))
	b.wantQuota(err, "upload_bytes_per_user")
	b.f.Flush(ctx)
	b.advance(6 * time.Second)
	_, err = other.Store(ctx, bob, "c.txt", false, bytes.NewReader(bytes.Repeat([]byte("x"), 51)))
	b.wantQuota(err, "upload_bytes")
	if _, err := other.Store(ctx, bob, "c.txt", false, bytes.NewReader(bytes.Repeat([]byte("x"), 50))); err != nil {
		t.Fatal(err)
	}
	other.Flush(ctx)
	b.advance(6 * time.Second)
	b.usage(chat.UserKey{Tenant: "acme"}, 100, 2)
	b.f.Flush(ctx)
	b.usage(chat.UserKey{Tenant: "acme"}, 100, 2)
}

// TestUploadsOfManyTenants: a tenant beyond those that are counted in memory uploads as others do, within its limits.
func TestUploadsOfManyTenants(t *testing.T) {
	b := newBench(t, func(c *files.Config) {
		c.Limits = func(chat.TenantID) chat.Limits { return chat.Limits{UploadBytes: 100} }
	})
	b.f.CountInMemory(1)
	b.clock = b.clock.Truncate(24 * time.Hour).Add(12 * time.Hour)
	ctx := t.Context()
	b.put(ann, "a.txt", []byte("x"))
	b.f.Flush(ctx)
	eve := chat.Principal{Tenant: "other", User: "eve", Username: "eve"}
	b.put(eve, "b.txt", bytes.Repeat([]byte("x"), 60))
	up, err := b.f.Begin(ctx, eve, "c.txt", false, 40)
	b.must(err)
	_, err = b.f.Begin(ctx, eve, "d.txt", false, 1)
	b.wantQuota(err, "upload_bytes")
	b.usage(chat.UserKey{Tenant: "other"}, 100, 2)
	b.must(b.f.Terminate(ctx, eve, up.ID))
	b.usage(chat.UserKey{Tenant: "other"}, 60, 2)
	b.usage(chat.UserKey{Tenant: "acme"}, 1, 1)
}
