package storagetest

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// Key returns a fresh conversation key.
func Key(tenant chat.TenantID) chat.ConversationKey {
	return chat.ConversationKey{Tenant: tenant, ID: chat.NewConversationID()}
}

// At is a moment, as stored, that many seconds after an arbitrary one.
func At(seconds uint64) time.Time {
	return time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC).Add(time.Duration(seconds) * time.Second)
}

// Message returns a message event; msg_no equals seq.
func Message(key chat.ConversationKey, seq, epoch uint64) chat.Event {
	return chat.Event{Seq: seq, Epoch: epoch, MsgNo: seq, Type: chat.EventMessage, At: At(seq), Actor: "alice", ActorName: "Alice",
		ClientID: fmt.Sprint("c", seq), Message: chat.NewMessageID(key, seq, At(seq)), MessageSeq: seq, Content: fmt.Sprint("text of ", seq)}
}

// Messages returns the messages from … to.
func Messages(key chat.ConversationKey, from, to, epoch uint64) []chat.Event {
	var events []chat.Event
	for seq := from; seq <= to; seq++ {
		events = append(events, Message(key, seq, epoch))
	}
	return events
}

// RunStore runs the suite of the domain's repositories on an engine.
func RunStore(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *storage.Store, storage.Engine)
	}{
		{"EventsRoundTrip", storeEvents},
		{"Replies", storeReplies},
		{"Personal", storePersonal},
		{"Scheduled", storeScheduled},
		{"AppendRefuses", storeAppendRefuses},
		{"Groups", storeGroups},
		{"Buckets", storeBuckets},
		{"Epochs", storeEpochs},
		{"Gaps", storeGaps},
		{"Derived", storeDerived},
		{"DerivedInterrupted", storeInterrupted},
		{"DerivedFenced", storeFenced},
		{"LargeGroup", storeLargeGroup},
		{"ListMembers", storeListMembers},
		{"Heads", storeHeads},
		{"Watermarks", storeWatermarks},
		{"Duplicates", storeDuplicates},
		{"Rewrite", storeRewrite},
		{"TenantsApart", storeTenants},
		{"Dirty", storeDirty},
		{"DirtyShard", storeDirtyShard},
		{"Conversations", storeConversations},
		{"GetEvents", storeGetEvents},
		{"Consumers", storeConsumers},
		{"Users", storeUsers},
		{"BlobRefs", storeBlobRefs},
		{"Files", storeFiles},
		{"FileOfMessage", storeFileEvent},
		{"Req028_DeleteLeavesNothing", storeDelete},
		{"ConcurrentConversations", storeConcurrent},
		{"Errors", storeErrors},
		{"Pairs", storePairs},
		{"PairInterrupted", storePairInterrupted},
		{"PeopleTenantsApart", storePeopleTenants},
		{"Preferences", storePreferences},
		{"Req111_RefusedTokens", storeTokens},
		{"Emails", storeEmails},
		{"NodeLeases", storeNodeLeases},
		{"ShardOwners", storeShardOwners},
		{"ShardOwnersContended", storeShardOwnersContended},
		{"Fences", storeFences},
		{"Fencing", storeFencing},
		{"Strict/EventsRoundTrip", storeStrict(storeEvents)},
		{"Strict/AppendRefuses", storeStrict(storeAppendRefuses)},
		{"Strict/Groups", storeStrict(storeGroups)},
		{"Strict/Buckets", storeStrict(storeBuckets)},
		{"Strict/Epochs", storeStrict(storeEpochs)},
		{"Strict/Gaps", storeStrict(storeGaps)},
		{"Strict/Derived", storeStrict(storeDerived)},
		{"Strict/Rewrite", storeStrict(storeRewrite)},
		{"Strict/GetEvents", storeStrict(storeGetEvents)},
		{"Strict/Conversations", storeStrict(storeConversations)},
		{"OwnersTogether", storeOwnersTogether},
		{"TenancyTenants", storeTenancyTenants},
		{"TenancyKeys", storeTenancyKeys},
		{"TenancyRestrictions", storeTenancyRestrictions},
		{"TenancyAnnouncements", storeAnnouncements},
		{"Req120_AuditLog", storeAudit},
		{"TenancyUsers", storeTenantUsers},
		{"TenancyUploads", storeUploads},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := open(t, time.Now)
			c.run(t, storage.New(e, storage.Config{}), e)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t *testing.T, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("(-want +got)\n%.2000s", d)
	}
}

func readAll(t *testing.T, s *storage.Store, key chat.ConversationKey, from, to uint64, limit int) []chat.Event {
	t.Helper()
	events, err := s.ReadEvents(t.Context(), key, from, to, limit)
	must(t, err)
	return events
}

func seqs(events []chat.Event) []uint64 {
	list := []uint64{}
	for _, e := range events {
		list = append(list, e.Seq)
	}
	return list
}

func reverse(t *testing.T, s *storage.Store, key chat.ConversationKey, from uint64, limit int) []uint64 {
	t.Helper()
	list := []uint64{}
	must(t, s.ReadEventsReverse(t.Context(), key, from, limit, func(e chat.Event) bool {
		list = append(list, e.Seq)
		return true
	}))
	return list
}

func storeEvents(t *testing.T, s *storage.Store, _ storage.Engine) {
	key := Key("t")
	var users []chat.UserID
	for i := range 10_000 {
		users = append(users, chat.UserID(fmt.Sprintf("user-%0100d", i)))
	}
	events := []chat.Event{
		{Seq: 1, Epoch: 3, Type: chat.EventConversation, At: At(1), Actor: "7", ActorName: "é", Change: chat.ChangeCreated,
			Users: users, Name: "名", Kind: chat.Group},
		{Seq: 2, Epoch: 3, MsgNo: 1, Type: chat.EventMessage, At: At(2), Actor: "7", ClientID: "c\x01", Message: chat.MessageID{1, 15: 2},
			MessageSeq: 2, Content: "hi \u2028 \x00 there", IsVoice: true, EditedAt: At(3), DeletedAt: At(4),
			Reactions: []chat.Reaction{{User: "1", Emoji: "👍", At: At(5)}, {User: "2", Emoji: "x", At: At(6)}}},
		{Seq: 3, Epoch: 4, MsgNo: 1, Type: chat.EventReaction, At: At(7), Actor: "2", Message: chat.MessageID{1, 15: 2}, MessageSeq: 2,
			Emoji: "👍", Removed: true},
		{Seq: 4, Epoch: 4, MsgNo: 1, Type: chat.EventParticipants, At: At(8), Actor: "7", Change: chat.ChangeRole,
			Users: []chat.UserID{"a", "b"}, Role: chat.RoleOwner},
		{Seq: 5, Epoch: 4, MsgNo: 1, Type: chat.EventEdited, At: At(8), Actor: "7", Message: chat.MessageID{1, 15: 2}, MessageSeq: 2, Content: "edit"},
		{Seq: 6, Epoch: 4, MsgNo: 1, Type: chat.EventDeleted, At: At(9), Actor: "7", Message: chat.MessageID{1, 15: 2}, MessageSeq: 2},
		{Seq: 7, Epoch: 9, MsgNo: 2, Type: chat.EventMessage, At: At(9), Actor: "7"},
		{Seq: 8, Epoch: 9, MsgNo: 3, Type: chat.EventMessage, At: At(9), Actor: "7", Extras: &chat.Extras{ReplyTo: chat.MessageID{1, 15: 2},
			Replies: 3, LastReply: 11, Mentions: []chat.UserID{"a", "é"}, MentionAll: true, Forwarded: chat.Attribution{User: "9", Name: "n"},
			Preview: &chat.LinkPreview{URL: "https://e.org/", Title: "é", Image: "http://e.org/i"}}},
		{Seq: 9, Epoch: 9, MsgNo: 3, Type: chat.EventConversation, At: At(9), Actor: "7", Change: chat.ChangePermissions,
			Permissions: chat.Permissions{Add: chat.RoleOwner, Pin: chat.RoleMember, MentionAll: chat.RoleAdmin}},
	}
	must(t, s.AppendEvents(t.Context(), key, events[:4]))
	must(t, s.AppendEvents(t.Context(), key, events[4:]))
	must(t, s.AppendEvents(t.Context(), key, nil))
	equal(t, readAll(t, s, key, 0, math.MaxUint64, 0), events)
	equal(t, readAll(t, s, key, 3, 5, 0), events[2:5])
	equal(t, readAll(t, s, key, 3, 5, 2), events[2:4])
	must(t, s.AppendEvents(t.Context(), key, events[2:5])) // a retry
	equal(t, readAll(t, s, key, 1, 100, 0), events)
	for i := range events {
		e, err := s.GetEvent(t.Context(), key, uint64(i+1))
		must(t, err)
		equal(t, e, events[i])
	}
	for _, seq := range []uint64{0, 10, math.MaxUint64} {
		if _, err := s.GetEvent(t.Context(), key, seq); !errors.Is(err, chat.ErrNotFound) {
			t.Error(seq, err)
		}
	}
	equal(t, len(readAll(t, s, Key("t"), 1, 100, 0)), 0)
	equal(t, len(readAll(t, s, key, 5, 4, 0)), 0)
}

func storeAppendRefuses(t *testing.T, s *storage.Store, _ storage.Engine) {
	key := Key("t")
	for name, seqs := range map[string][]uint64{"zero": {0, 1}, "hole": {1, 3}, "twice": {1, 1}, "backwards": {2, 1}, "huge": {math.MaxUint64}} {
		var events []chat.Event
		for _, n := range seqs {
			events = append(events, Message(key, n, 1))
		}
		if err := s.AppendEvents(t.Context(), key, events); !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	equal(t, len(readAll(t, s, key, 1, 100, 0)), 0)
}

func storeBuckets(t *testing.T, s *storage.Store, _ storage.Engine) {
	const size = 1 << storage.BucketBits
	key, last := Key("t"), uint64(2*size+10)
	must(t, s.AppendEvents(t.Context(), key, Messages(key, 1, 10, 1)))
	must(t, s.AppendEvents(t.Context(), key, Messages(key, 11, last, 1)))
	all := readAll(t, s, key, 1, last, 0)
	equal(t, all, Messages(key, 1, last, 1))
	for _, from := range []uint64{size - 2, size - 1, size, size + 1, 2*size - 1, 2 * size} {
		equal(t, readAll(t, s, key, from, last, 5), all[from-1:from+4])
		equal(t, readAll(t, s, key, from, from, 0), all[from-1:from])
		got := reverse(t, s, key, from, 5)
		equal(t, got, []uint64{from, from - 1, from - 2, from - 3, from - 4})
	}
	equal(t, len(reverse(t, s, key, last, 0)), int(last))
	equal(t, len(reverse(t, s, key, size, size+50)), size)
	n := 0
	must(t, s.ReadEventsReverse(t.Context(), key, last, 0, func(chat.Event) bool { n++; return n < 12 }))
	equal(t, n, 12)
	equal(t, len(reverse(t, s, key, 0, 5)), 0)
}

// storeEpochs is DESIGN §5: late rows of a former owner are not there.
func storeEpochs(t *testing.T, s *storage.Store, _ storage.Engine) {
	key := Key("t")
	app := func(from, to, epoch uint64) {
		must(t, s.AppendEvents(t.Context(), key, Messages(key, from, to, epoch)))
	}
	epochs := func(events []chat.Event) (list []uint64) {
		for _, e := range events {
			list = append(list, e.Epoch)
		}
		return list
	}
	app(1, 5, 7)
	app(6, 7, 8)
	app(6, 9, 7) // late: 6, 7 are covered, 8, 9 follow a newer epoch
	equal(t, epochs(readAll(t, s, key, 1, 100, 0)), []uint64{7, 7, 7, 7, 7, 8, 8})
	equal(t, len(readAll(t, s, key, 8, 100, 0)), 0) // also when reading begins there
	app(8, 8, 8)
	app(9, 9, 10)
	equal(t, epochs(readAll(t, s, key, 5, 100, 0)), []uint64{7, 8, 8, 8, 10})
	equal(t, epochs(readAll(t, s, key, 5, 100, 2)), []uint64{7, 8})
	equal(t, reverse(t, s, key, 9, 4), []uint64{9, 8, 7, 6})
	e, err := s.GetEvent(t.Context(), key, 9)
	must(t, err)
	equal(t, e.Epoch, 10)
	// Across a bucket.
	const size = 1 << storage.BucketBits
	app(10, size-1, 10)
	app(size, size+1, 9)
	equal(t, len(readAll(t, s, key, size, 2*size, 0)), 0)
	equal(t, seqs(readAll(t, s, key, size-1, 2*size, 0)), []uint64{size - 1})
	app(size, size, 11)
	equal(t, seqs(readAll(t, s, key, size-1, 2*size, 0)), []uint64{size - 1, size})
	equal(t, seqs(readAll(t, s, key, size, 2*size, 0)), []uint64{size})
}

func storeGaps(t *testing.T, s *storage.Store, _ storage.Engine) {
	key := Key("t")
	must(t, s.AppendEvents(t.Context(), key, Messages(key, 1, 3, 1)))
	must(t, s.AppendEvents(t.Context(), key, Messages(key, 5, 6, 1)))
	equal(t, seqs(readAll(t, s, key, 1, 100, 0)), []uint64{1, 2, 3})
	equal(t, seqs(readAll(t, s, key, 4, 100, 0)), []uint64{})
	equal(t, seqs(readAll(t, s, key, 5, 100, 0)), []uint64{5, 6})
	equal(t, reverse(t, s, key, 6, 0), []uint64{6, 5})
}

func member(user chat.UserID, joined uint64) chat.Member {
	return chat.Member{User: user, Role: chat.RoleMember, JoinedAt: At(joined), JoinedSeq: joined}
}

func head(key chat.ConversationKey, seq uint64, members int) chat.Head {
	return chat.Head{Key: key, Kind: chat.Group, Name: "name", CreatedBy: "alice", CreatedAt: At(1), UpdatedAt: At(seq), Seq: seq, Epoch: 2,
		MsgNo: seq, MemberCount: members, Last: chat.LastMessage{Seq: seq, ID: chat.NewMessageID(key, seq, At(seq)), Sender: "alice", Text: "last", At: At(seq)}}
}

func storeDerived(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx, key := t.Context(), Key("t")
	if _, _, err := s.LoadConversation(ctx, key); !errors.Is(err, chat.ErrNotFound) {
		t.Fatal(err)
	}
	a, b, c := member("alice", 1), member("b\x00b", 1), member("c", 4)
	a.Role = chat.RoleOwner
	a.Read = chat.Watermark{Seq: 2, MsgNo: 1, At: At(9)}
	a.Delivered, a.OwnAfterRead, a.ArchivedAt = chat.Watermark{Seq: 3, MsgNo: 2, At: At(10)}, 4, 5
	h := head(key, 3, 2)
	must(t, s.SaveDerived(ctx, key, chat.Derived{Head: h, Members: []chat.Member{a, b}}))
	check := func(h chat.Head, members ...chat.Member) {
		t.Helper()
		gotHead, gotMembers, err := s.LoadConversation(ctx, key)
		must(t, err)
		equal(t, gotHead, h)
		equal(t, gotMembers, members)
	}
	lists := func(want map[chat.UserID]int) {
		t.Helper()
		for u, n := range want {
			l, err := s.ListMemberships(ctx, chat.UserKey{Tenant: "t", User: u})
			must(t, err)
			equal(t, len(l), n)
		}
	}
	check(h, a, b)
	lists(map[chat.UserID]int{"alice": 1, "b\x00b": 1, "c": 0})
	// The same again, then a step that adds, removes and takes values back to zero.
	must(t, s.SaveDerived(ctx, key, chat.Derived{Head: h, Members: []chat.Member{a, b}}))
	check(h, a, b)
	a.OwnAfterRead, a.ArchivedAt, a.Role = 0, 0, chat.RoleAdmin
	h = head(key, 4, 2)
	h.Name = ""
	step := chat.Derived{Head: h, Members: []chat.Member{a, c}, Removed: []chat.UserID{"b\x00b"}}
	must(t, s.SaveDerived(ctx, key, step))
	must(t, s.SaveDerived(ctx, key, step))
	check(h, a, c)
	lists(map[chat.UserID]int{"alice": 1, "b\x00b": 0, "c": 1})
	l, err := s.ListMemberships(ctx, chat.UserKey{Tenant: "t", User: "c"})
	must(t, err)
	equal(t, l, []chat.Membership{{Key: key, Kind: chat.Group, JoinedAt: At(4)}})
	if err := s.SaveDerived(ctx, key, chat.Derived{}); !errors.Is(err, chat.ErrInvalid) {
		t.Fatal(err)
	}
}

// storeInterrupted breaks a step off after each of its writes: the head has not advanced, and the same step done again
// leaves what an unbroken one leaves.
func storeInterrupted(t *testing.T, s *storage.Store, e storage.Engine) {
	ctx := t.Context()
	for n := 0; ; n++ {
		key := Key("t")
		events := Messages(key, 1, 3, 2)
		must(t, s.AppendEvents(ctx, key, events))
		must(t, s.SaveDerived(ctx, key, chat.Derived{Head: head(key, 1, 1), Members: []chat.Member{member("alice", 1)}}))
		events[0].Content = "edited"
		step := chat.Derived{Head: head(key, 3, 1), Members: []chat.Member{member("bob", 2)}, Removed: []chat.UserID{"alice"}, Rewritten: events[:1],
			Sent: []chat.SentMessage{{SenderClientID: chat.SenderClientID{Sender: "alice", ClientID: "c3"}, Seq: 3}}}
		err := storage.New(&failing{Engine: e, left: n}, storage.Config{}).SaveDerived(ctx, key, step)
		if err == nil {
			if n != 7 {
				t.Fatalf("the step has %d writes, not the 7 that this test knows", n)
			}
			return
		}
		h, err := s.GetHead(ctx, key)
		must(t, err)
		equal(t, h.Seq, 1)
		must(t, s.SaveDerived(ctx, key, step))
		h, members, err := s.LoadConversation(ctx, key)
		must(t, err)
		equal(t, h, step.Head)
		equal(t, members, step.Members)
		equal(t, readAll(t, s, key, 1, 9, 0), events)
		found, err := s.FindDuplicates(ctx, key, []chat.SenderClientID{{Sender: "alice", ClientID: "c3"}})
		must(t, err)
		equal(t, found, []uint64{3})
		for user, want := range map[chat.UserID]bool{"alice": false, "bob": true} {
			list, err := s.ListMemberships(ctx, chat.UserKey{Tenant: "t", User: user})
			must(t, err)
			in := false
			for _, m := range list {
				in = in || m.Key == key
			}
			equal(t, in, want)
		}
	}
}

func storeFenced(t *testing.T, s *storage.Store, _ storage.Engine) {
	key := Key("t")
	h := head(key, 3, 0)
	must(t, s.SaveDerived(t.Context(), key, chat.Derived{Head: h}))
	late := h
	late.Epoch--
	if err := s.SaveDerived(t.Context(), key, chat.Derived{Head: late}); !errors.Is(err, storage.ErrFenced) || !errors.Is(err, chat.ErrUnavailable) {
		t.Fatal(err)
	}
	got, err := s.GetHead(t.Context(), key)
	must(t, err)
	equal(t, got, h)
}

func storeLargeGroup(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx, key := t.Context(), Key("t")
	const n = 3000
	var members []chat.Member
	for i := range n {
		members = append(members, member(chat.UserID(fmt.Sprintf("%06d", i)), 1))
	}
	must(t, s.SaveDerived(ctx, key, chat.Derived{Head: head(key, 1, n), Members: members}))
	_, got, err := s.LoadConversation(ctx, key)
	must(t, err)
	equal(t, got, members)
	for _, i := range []int{0, n / 2, n - 1} {
		l, err := s.ListMemberships(ctx, chat.UserKey{Tenant: "t", User: members[i].User})
		must(t, err)
		equal(t, len(l), 1)
	}
}

func storeHeads(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	keys := []chat.ConversationKey{Key("t"), Key("t"), Key("u"), Key("t")}
	m := member("alice", 1)
	for _, i := range []int{0, 2} {
		must(t, s.SaveDerived(ctx, keys[i], chat.Derived{Head: head(keys[i], uint64(i+1), 1), Members: []chat.Member{m}}))
	}
	heads, err := s.GetHeads(ctx, keys)
	must(t, err)
	equal(t, heads, []chat.Head{head(keys[0], 1, 1), {}, head(keys[2], 3, 1), {}})
	members, err := s.GetMembers(ctx, keys, "alice")
	must(t, err)
	equal(t, members, []chat.Member{m, {}, m, {}})
	members, err = s.GetMembers(ctx, keys, "bob")
	must(t, err)
	equal(t, members, make([]chat.Member, 4))
	h, err := s.GetHead(ctx, keys[1])
	must(t, err)
	equal(t, h, chat.Head{})
	heads, err = s.GetHeads(ctx, nil)
	must(t, err)
	equal(t, len(heads), 0)
}
