package files_test

import (
	"errors"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage/files"
)

// A copy shares the content and outlives what it was made of; the content goes with the last of them.
func TestCopiesShareTheirContent(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	u := b.put(ann, "a.txt", []byte("hello"))
	if _, err := b.f.Copy(ctx, bob, u.ID); !errors.Is(err, attachment.ErrFileGone) {
		t.Errorf("one that was not sent: %v", err)
	}
	conversation, message := chat.NewConversationID(), chat.MessageID{1}
	_, err := b.f.Claim(ctx, ann, u.ID, files.Claim{Conversation: conversation, ClientID: "c"})
	b.must(err)
	b.must(b.f.Attach(ctx, "acme", u.ID, message))
	b.advance(time.Hour)
	c, err := b.f.Copy(ctx, bob, u.ID)
	b.must(err)
	if c.ID == u.ID || c.Owner != "bob" || c.State != chat.UploadReady || c.File.Size != 5 || c.Name != "a.txt" || !c.ExpiresAt.Equal(u.ExpiresAt) || c.Sum != u.Sum {
		t.Errorf("%+v", c)
	}
	if _, err := b.f.Claim(ctx, ann, c.ID, files.Claim{Conversation: conversation, ClientID: "d"}); !errors.Is(err, attachment.ErrNoUpload) {
		t.Errorf("somebody else's copy: %v", err)
	}
	_, err = b.f.Claim(ctx, bob, c.ID, files.Claim{Conversation: conversation, ClientID: "d"})
	b.must(err)
	b.must(b.f.Attach(ctx, "acme", c.ID, chat.MessageID{2}))
	if n := b.sweep(); n != 1 {
		t.Errorf("%d blobs, want one for both", n)
	}
	b.must(b.f.Discard(ctx, "acme", u.ID))
	if n := b.sweep(); n != 1 {
		t.Errorf("%d blobs after the first is gone, want 1", n)
	}
	if got := b.content(c.ID); string(got) != "hello" {
		t.Errorf("the copy is %q", got)
	}
	if _, err := b.f.Copy(ctx, bob, u.ID); !errors.Is(err, attachment.ErrFileGone) {
		t.Errorf("of one that is gone: %v", err)
	}
	d, err := b.f.Copy(ctx, ann, c.ID) // a copy of a copy, which is not sent
	b.must(err)
	b.must(b.f.Terminate(ctx, ann, d.ID))
	b.must(b.f.Discard(ctx, "acme", c.ID))
	if n := b.sweep(); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

func TestExpiredFilesAreNotCopied(t *testing.T) {
	b := newBench(t)
	u := b.put(ann, "a.txt", []byte("hello"))
	_, err := b.f.Claim(t.Context(), ann, u.ID, files.Claim{Conversation: chat.NewConversationID(), ClientID: "c"})
	b.must(err)
	b.must(b.f.Attach(t.Context(), "acme", u.ID, chat.MessageID{1}))
	b.advance(30 * 24 * time.Hour)
	if _, err := b.f.Copy(t.Context(), bob, u.ID); !errors.Is(err, attachment.ErrFileGone) {
		t.Errorf("%v", err)
	}
}
