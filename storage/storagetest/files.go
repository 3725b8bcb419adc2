package storagetest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

func storeFiles(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	f := storage.FileRow{Tenant: "acme", Upload: chat.Upload{File: chat.File{ID: chat.NewFileID(), Name: "Übung.txt", Type: "text/plain", Size: 12},
		Owner: "7", State: chat.UploadReceiving, Offset: 5, CreatedAt: At(1), ExpiresAt: At(9)}, ChangedAt: At(1),
		Parts: []storage.ContentRef{{Sum: [32]byte{1}, Ref: "a", Size: 3}, {Sum: [32]byte{2}, Generation: 4, Ref: "b", Size: 2}}}
	must(t, s.CreateFile(ctx, f))
	if err := s.CreateFile(ctx, f); !errors.Is(err, chat.ErrInvalid) {
		t.Errorf("a second one with that id: %v", err)
	}
	got, err := s.GetFile(ctx, "acme", f.ID)
	must(t, err)
	equal(t, got, f)
	if _, err := s.GetFile(ctx, "umbra", f.ID); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("of another tenant: %v", err)
	}
	f.State, f.Parts, f.Voice, f.Offset = chat.UploadReady, nil, true, 12
	f.Content = storage.ContentRef{Sum: [32]byte{9}, Generation: 1, Ref: "c", Size: 12}
	f.Sum = f.Content.Sum
	claimed := f
	claimed.State, claimed.Conversation, claimed.After, claimed.ClientID = chat.UploadClaimed, chat.ConversationID{1}, 17, "c"
	attached := claimed
	attached.State, attached.Message, attached.Downloads, attached.ChangedAt = chat.UploadAttached, chat.MessageID{3}, 2, At(3)
	attached.Thumb, attached.ThumbAt = storage.ThumbMade, storage.ContentRef{Sum: [32]byte{8}, Generation: 2, Ref: "t"}
	// A claim is taken back, and the file is claimed again.
	for _, want := range []storage.FileRow{f, claimed, f, claimed, attached} {
		got, err = s.ChangeFile(ctx, "acme", f.ID, func(row *storage.FileRow) error { *row = want; return nil })
		must(t, err)
		equal(t, got, want)
		got, err = s.GetFile(ctx, "acme", f.ID)
		must(t, err)
		equal(t, got, want)
	}
	no := errors.New("no")
	if _, err := s.ChangeFile(ctx, "acme", f.ID, func(row *storage.FileRow) error { row.Name = "x"; return no }); !errors.Is(err, no) {
		t.Errorf("%v, want what the change answered", err)
	}
	if _, err := s.ChangeFile(ctx, "acme", chat.NewFileID(), func(*storage.FileRow) error { return nil }); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("a change of nothing: %v", err)
	}
	// Everybody counts at once, and nothing is lost.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				_, err := s.ChangeFile(ctx, "acme", f.ID, func(row *storage.FileRow) error { row.Downloads++; return nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	attached.Downloads = 14
	other := storage.FileRow{Tenant: "umbra", Upload: chat.Upload{File: chat.File{ID: f.ID, Name: "b"}, Owner: "1", State: chat.UploadReady}}
	must(t, s.CreateFile(ctx, other))
	list := map[chat.TenantID]storage.FileRow{}
	must(t, s.Files(ctx, func(f storage.FileRow) bool { list[f.Tenant] = f; return true }))
	equal(t, list["acme"], attached)
	equal(t, list["umbra"].Name, "b")
	must(t, s.DeleteFile(ctx, "umbra", f.ID))
	if _, err := s.GetFile(ctx, "umbra", f.ID); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("after it was deleted: %v", err)
	}
	one, err := s.Secret(ctx, "x", func() string { return "first" })
	must(t, err)
	two, err := s.Secret(ctx, "x", func() string { return "second" })
	must(t, err)
	equal(t, []string{one, two}, []string{"first", "first"})
}

// storeFileEvent: the file of a message is a part of its row, until the message is deleted.
func storeFileEvent(t *testing.T, s *storage.Store, _ storage.Engine) {
	key := Key("t")
	e := chat.Event{Seq: 1, Epoch: 1, MsgNo: 1, Type: chat.EventMessage, At: At(1), Actor: "7", Message: chat.MessageID{1, 15: 2}, MessageSeq: 1,
		File: &chat.File{ID: chat.NewFileID(), Name: "a ü.txt", Type: "text/plain", Size: 52_428_800}}
	plain := chat.Event{Seq: 2, Epoch: 1, MsgNo: 2, Type: chat.EventMessage, At: At(2), Actor: "7", MessageSeq: 2, Content: "no file"}
	must(t, s.AppendEvents(t.Context(), key, []chat.Event{e, plain}))
	equal(t, readAll(t, s, key, 1, 9, 0), []chat.Event{e, plain})
	e.File, e.DeletedAt = nil, At(3)
	must(t, s.AppendEvents(t.Context(), key, slices.Clone([]chat.Event{e, plain})))
	equal(t, readAll(t, s, key, 1, 9, 0), []chat.Event{e, plain})
}
