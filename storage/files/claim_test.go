package files_test

import (
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/files"
)

// TestRefusedRepetition: a request to send a file is repeated, and one of the two is refused. That says nothing of the
// other, whose message is in the log: its file stays, and is known to be that message's.
func TestRefusedRepetition(t *testing.T) {
	conversation := chat.ConversationID{1}
	for _, c := range []struct {
		what string
		do   func(b *bench, u chat.Upload, claim func() files.Granted) chat.MessageID
	}{
		{"the second, after the first was answered with a timeout", func(b *bench, u chat.Upload, claim func() files.Granted) chat.MessageID {
			claim()
			m := b.message(conversation, 1, &u.File, "c")
			b.must(b.f.Unclaim(b.t.Context(), "acme", claim()))
			return m
		}},
		{"the first, while the second is under way", func(b *bench, u chat.Upload, claim func() files.Granted) chat.MessageID {
			first, _ := claim(), claim()
			b.must(b.f.Unclaim(b.t.Context(), "acme", first))
			m := b.message(conversation, 1, &u.File, "c")
			b.must(b.f.Attach(b.t.Context(), "acme", u.ID, m))
			return m
		}},
		{"none, but the second comes a day later, and the cleanup before its message", func(b *bench, u chat.Upload, claim func() files.Granted) chat.MessageID {
			claim()
			b.advance(25 * time.Hour)
			claim()
			b.f.Clean(b.t.Context())
			m := b.message(conversation, 1, &u.File, "c")
			b.must(b.f.Attach(b.t.Context(), "acme", u.ID, m))
			return m
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			b := newBench(t)
			u := b.put(ann, "a.txt", []byte("a"))
			want := c.do(b, u, func() files.Granted {
				g, err := b.f.Claim(t.Context(), ann, u.ID, files.Claim{Conversation: conversation, ClientID: "c"})
				b.must(err)
				return g
			})
			b.advance(26 * time.Hour)
			b.f.Clean(t.Context())
			got, err := b.f.Find(t.Context(), "acme", u.ID)
			if err != nil || got.State != chat.UploadAttached || got.Message != want {
				t.Fatalf("%+v, %v", got, err)
			}
			if n := b.sweep(); n != 1 || string(b.content(u.ID)) != "a" {
				t.Errorf("%d blobs", n)
			}
		})
	}
}
