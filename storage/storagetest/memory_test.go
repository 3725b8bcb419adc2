package storagetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/storagetest"
)

func TestMemory(t *testing.T) {
	storagetest.Run(t, func(t *testing.T, now func() time.Time) storage.Engine { return storagetest.MemoryAt(now) })
}

func TestMemoryStore(t *testing.T) {
	storagetest.RunStore(t, func(t *testing.T, now func() time.Time) storage.Engine { return storagetest.MemoryAt(now) })
}

// The batch reads of the repositories are one read each, however many keys they have.
func TestReq155_BatchReadsAreOneRead(t *testing.T) {
	e := storagetest.Memory()
	s, ctx := storage.New(e, storage.Config{}), t.Context()
	keys := make([]chat.ConversationKey, 50)
	users := make([]chat.UserID, 50)
	ids := make([]chat.SenderClientID, 50)
	for i := range keys {
		keys[i], users[i], ids[i].Sender = storagetest.Key("t"), chat.UserID(keys[i].ID.String()), "u"
	}
	for name, read := range map[string]func() error{
		"heads":       func() error { _, err := s.GetHeads(ctx, keys); return err },
		"members":     func() error { _, err := s.GetMembers(ctx, keys, "u"); return err },
		"users":       func() error { _, err := s.GetUsers(ctx, "t", users); return err },
		"duplicates":  func() error { _, err := s.FindDuplicates(ctx, keys[0], ids); return err },
		"memberships": func() error { _, err := s.ListMemberships(ctx, chat.UserKey{Tenant: "t", User: "u"}); return err },
	} {
		before := e.Reads()
		if err := read(); err != nil {
			t.Fatal(err)
		}
		if n := e.Reads() - before; n != 1 {
			t.Errorf("%s: %d reads", name, n)
		}
	}
}

func TestMemoryHooks(t *testing.T) {
	e := storagetest.Memory()
	s, key := storage.New(e, storage.Config{}), storagetest.Key("t")
	e.SetHooks(storagetest.Hooks{After: func(_ context.Context, op storagetest.Op, _ *storage.Table) error {
		if op == storagetest.OpApply {
			return storage.ErrUnknownOutcome
		}
		return nil
	}})
	if err := s.AppendEvents(t.Context(), key, storagetest.Messages(key, 1, 1, 1)); !errors.Is(err, chat.ErrUnknown) {
		t.Error(err)
	}
	if e.Rows(storage.TableLog) != 1 || e.Writes() != 1 {
		t.Error("an unknown outcome of After has happened")
	}
	e.SetHooks(storagetest.Hooks{Before: func(context.Context, storagetest.Op, *storage.Table) error { return context.DeadlineExceeded }})
	if _, err := s.GetHead(t.Context(), key); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// An append over two buckets whose second half is refused has happened in part: its caller must not take it for refused.
func TestAppendRefusedHalfway(t *testing.T) {
	e := storagetest.Memory()
	s, key := storage.New(e, storage.Config{}), storagetest.Key("t")
	last := uint64(1)<<storage.BucketBits - 1 // of the first bucket
	applied := 0
	e.SetHooks(storagetest.Hooks{Before: func(_ context.Context, op storagetest.Op, _ *storage.Table) error {
		if applied++; op == storagetest.OpApply && applied == 2 {
			return storage.ErrNoSpace
		}
		return nil
	}})
	events := storagetest.Messages(key, last, last+1, 1)
	if err := s.AppendEvents(t.Context(), key, events); !errors.Is(err, chat.ErrUnknown) || errors.Is(err, chat.ErrUnavailable) {
		t.Error(err)
	}
	if err := s.AppendEvents(t.Context(), key, events); err != nil || e.Rows(storage.TableLog) != 2 {
		t.Error(err, e.Rows(storage.TableLog))
	}
	applied = 1
	if err := s.AppendEvents(t.Context(), key, events[1:]); !errors.Is(err, chat.ErrUnavailable) || errors.Is(err, chat.ErrUnknown) {
		t.Error(err)
	}
}
