package storagetest

import (
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// storePersonal: what members keep for themselves is theirs alone, is taken back, and goes with the membership and with the
// conversation.
func storePersonal(t *testing.T, s *storage.Store, e storage.Engine) {
	ctx := t.Context()
	key, other := Key("t"), Key("t")
	head := func(k chat.ConversationKey, seq uint64) chat.Head {
		return chat.Head{Key: k, Kind: chat.Group, Seq: seq, Epoch: 1, MemberCount: 2}
	}
	own := chat.Member{User: "1", Role: chat.RoleOwner, JoinedSeq: 1, HiddenMessages: 3, HiddenLast: 9, HiddenUnread: 2,
		MutedUntil: chat.Forever, PinnedAt: At(3), DraftAt: At(4)}
	two := chat.Member{User: "2", Role: chat.RoleMember, JoinedSeq: 1}
	hidden := []chat.HiddenMessage{{Seq: 2, MsgNo: 1, Own: true}, {Seq: 5, MsgNo: 3, ReplyTo: 2}, {Seq: 9, MsgNo: 7}}
	for _, k := range []chat.ConversationKey{key, other} {
		must(t, s.AppendEvents(ctx, k, Messages(k, 1, 9, 1)))
		must(t, s.SaveDerived(ctx, k, chat.Derived{Head: head(k, 9), Members: []chat.Member{{User: "1", Role: chat.RoleOwner, JoinedSeq: 1}, two}}))
		for i := range hidden { // the newest first, and again
			h := hidden[len(hidden)-1-i]
			must(t, s.SavePersonal(ctx, k, chat.Personal{Hidden: []chat.HiddenRow{{User: "1", HiddenMessage: h}, {User: "2", HiddenMessage: hidden[0]}}}))
		}
		must(t, s.SavePersonal(ctx, k, chat.Personal{Drafts: []chat.DraftRow{
			{User: "1", Draft: chat.Draft{Text: "first", ReplyTo: chat.NewMessageID(k, 2, At(2)), At: At(3)}},
			{User: "2", Draft: chat.Draft{Text: "of 2", At: At(3)}}}}))
		must(t, s.SavePersonal(ctx, k, chat.Personal{Drafts: []chat.DraftRow{{User: "1", Draft: chat.Draft{Text: "second", At: At(4)}}}}))
		must(t, s.SaveWatermarks(ctx, k, []chat.Member{own, two}, nil))
	}
	_, members, err := s.LoadConversation(ctx, key)
	must(t, err)
	equal(t, members, []chat.Member{own, two})

	list := func(k chat.ConversationKey, u chat.UserID, want ...chat.HiddenMessage) {
		t.Helper()
		got, err := s.ListHidden(ctx, k, u)
		must(t, err)
		equal(t, got, want)
	}
	list(key, "1", hidden...)
	list(key, "2", hidden[0])
	list(key, "3")
	are := func(u chat.UserID, want ...bool) {
		t.Helper()
		got, err := s.AreHidden(ctx, u, []chat.EventRef{{Key: key, Seq: 2}, {Key: key, Seq: 3}, {Key: key, Seq: 9}, {Key: other, Seq: 9}, {Key: Key("t"), Seq: 2}})
		must(t, err)
		equal(t, got, want)
	}
	are("1", true, false, true, true, false)
	are("2", true, false, false, false, false)
	drafts := func(u chat.UserID, want ...string) {
		t.Helper()
		got, err := s.GetDrafts(ctx, chat.UserKey{Tenant: "t", User: u}, []chat.ConversationID{key.ID, Key("t").ID, other.ID})
		must(t, err)
		var texts []string
		for _, d := range got {
			texts = append(texts, d.Text)
		}
		equal(t, texts, want)
	}
	drafts("1", "second", "", "second")
	drafts("2", "of 2", "", "of 2")
	got, err := s.GetDrafts(ctx, chat.UserKey{Tenant: "t", User: "1"}, []chat.ConversationID{other.ID})
	must(t, err)
	equal(t, got, []chat.Draft{{Conversation: other.ID, Text: "second", At: At(4)}}) // nothing of the first is left
	got, err = s.GetDrafts(ctx, chat.UserKey{Tenant: "u", User: "1"}, []chat.ConversationID{other.ID})
	must(t, err)
	equal(t, got, []chat.Draft{{Conversation: other.ID}})

	// Taken back.
	must(t, s.SavePersonal(ctx, key, chat.Personal{Drafts: []chat.DraftRow{{User: "1", Draft: chat.Draft{At: At(5)}}}}))
	drafts("1", "", "", "second")
	plain := chat.Member{User: "1", Role: chat.RoleOwner, JoinedSeq: 1}
	must(t, s.SaveWatermarks(ctx, key, []chat.Member{plain}, nil))
	_, members, err = s.LoadConversation(ctx, key)
	must(t, err)
	equal(t, members, []chat.Member{plain, two})

	// The membership ends, then the conversation.
	must(t, s.SaveDerived(ctx, key, chat.Derived{Head: head(key, 10), Removed: []chat.UserID{"2"}}))
	list(key, "2")
	drafts("2", "", "", "of 2")
	list(key, "1", hidden...)
	must(t, s.DeleteConversation(ctx, other, nil))
	must(t, s.DeleteConversation(ctx, key, nil))
	for _, table := range []*storage.Table{storage.TableHidden, storage.TableDrafts} {
		must(t, e.ScanTable(ctx, table, func(p storage.Key, r storage.Row) bool {
			t.Errorf("%s: %v %v is left", table.Name, p, r.Clustering)
			return true
		}))
	}
}
