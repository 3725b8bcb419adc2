package storagetest

import (
	"math"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// storeReplies: threads are read newest first and in parts, and go with their conversation. What an edit took back is not
// there any more, on engines that keep columns that are not set, too.
func storeReplies(t *testing.T, s *storage.Store, _ storage.Engine) {
	key, other := Key("t"), Key("t")
	const far = 3<<storage.BucketBits + 5 // a message of another bucket
	event := chat.Event{Seq: 1, Epoch: 1, Type: chat.EventConversation, At: At(1), Actor: "1", Change: chat.ChangeCreated, Kind: chat.Group,
		Users: []chat.UserID{"1"}}
	message := chat.Event{Seq: 2, Epoch: 1, MsgNo: 1, Type: chat.EventMessage, At: At(2), Actor: "1", Content: "@2", Extras: &chat.Extras{
		Mentions: []chat.UserID{"2"}, MentionAll: true, Forwarded: chat.Attribution{User: "9", Name: "n"},
		Preview: &chat.LinkPreview{URL: "https://e.org/", Title: "é", Image: "http://e.org/i"}}}
	for _, k := range []chat.ConversationKey{key, other} {
		must(t, s.AppendEvents(t.Context(), k, []chat.Event{event, message}))
		must(t, s.SaveDerived(t.Context(), k, chat.Derived{
			Head: chat.Head{Key: k, Kind: chat.Group, Seq: 2, Epoch: 1, MsgNo: 1, MemberCount: 1,
				Permissions: chat.Permissions{Pin: chat.RoleOwner}},
			Members: []chat.Member{{User: "1", Role: chat.RoleOwner, JoinedSeq: 1}},
			Replies: []chat.Reply{{To: 2, Seq: 3}, {To: 2, Seq: 4}, {To: 3, Seq: 5}, {To: 2, Seq: far + 1}, {To: far, Seq: far + 2}}}))
	}
	read := func(k chat.ConversationKey, to, before uint64, limit int, want ...uint64) {
		t.Helper()
		got, err := s.ReadReplies(t.Context(), k, to, before, limit)
		must(t, err)
		equal(t, append([]uint64{}, got...), append([]uint64{}, want...))
	}
	read(key, 2, math.MaxUint64, 10, far+1, 4, 3)
	read(key, 2, math.MaxUint64, 2, far+1, 4)
	read(key, 2, 4, 10, 3)
	read(key, 2, 3, 10)
	read(key, 3, 100, 10, 5)
	read(key, far, math.MaxUint64, 10, far+2)
	read(key, 4, 100, 10)
	read(key, 2, 0, 10)
	head, err := s.GetHead(t.Context(), key)
	must(t, err)
	equal(t, head.Permissions, chat.Permissions{Pin: chat.RoleOwner})

	message.EditedAt, message.Content, message.Extras = At(3), "none", nil
	head.Seq++
	must(t, s.SaveDerived(t.Context(), key, chat.Derived{Head: head, Rewritten: []chat.Event{message}}))
	e, err := s.GetEvent(t.Context(), key, 2)
	must(t, err)
	equal(t, e, message)

	must(t, s.DeleteConversation(t.Context(), key, nil))
	read(key, 2, 100, 10)
	read(key, 3, 100, 10)
	read(other, 3, 100, 10, 5)
}
