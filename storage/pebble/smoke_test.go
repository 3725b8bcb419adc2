package pebble_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
)

func TestSmoke(t *testing.T) {
	e, err := pebble.Open(pebble.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := storage.New(e, storage.Config{})
	ctx := context.Background()
	key := chat.ConversationKey{Tenant: "default", ID: chat.NewConversationID()}
	var ev []chat.Event
	at := time.Now().UTC().Truncate(time.Microsecond)
	for i := range uint64(5000) {
		ev = append(ev, chat.Event{Seq: i + 1, Epoch: 1, MsgNo: i + 1, Type: chat.EventMessage, At: at, Actor: "1", ActorName: "a", ClientID: "c", Message: chat.NewMessageID(key, i+1, at), MessageSeq: 1, Content: "hi",
			Reactions: []chat.Reaction{{User: "2", Emoji: "x", At: at}}})
	}
	if err := s.AppendEvents(ctx, key, ev); err != nil {
		t.Fatal(err)
	}
	got, err := s.ReadEvents(ctx, key, 1, 1<<63, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ev, got); d != "" {
		t.Fatal(len(got), d[:300])
	}
	got, err = s.ReadEvents(ctx, key, 4096, 5000, 3)
	if err != nil || cmp.Diff(ev[4095:4098], got) != "" {
		t.Fatal(len(got), err)
	}
	n := 0
	if err := s.ReadEventsReverse(ctx, key, 4990, 0, func(e chat.Event) bool { n++; return e.Seq == uint64(4991-n) }); err != nil || n != 4990 {
		t.Fatal(n, err)
	}
	head := chat.Head{Key: key, Kind: chat.Group, Seq: 5000, Epoch: 1, MsgNo: 5000, MemberCount: 1, Name: "n"}
	m := chat.Member{User: "1", Role: chat.RoleOwner, JoinedAt: at, JoinedSeq: 1, Read: chat.Watermark{Seq: 3, MsgNo: 3, At: at}}
	if err := s.SaveDerived(ctx, key, chat.Derived{Head: head, Members: []chat.Member{m}, Sent: []chat.SentMessage{{chat.SenderClientID{"1", "c"}, 7}}}); err != nil {
		t.Fatal(err)
	}
	h, ms, err := s.LoadConversation(ctx, key)
	if err != nil || h != head || len(ms) != 1 || ms[0] != m {
		t.Fatal(h, ms, err)
	}
	if err := s.DeleteConversation(ctx, key, nil); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
