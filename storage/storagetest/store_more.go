package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

func storeWatermarks(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	for _, count := range []int{2, 1000} { // with and without the look at positions
		key := Key("t")
		a, b := member("alice", 1), member("bob", 1)
		must(t, s.SaveDerived(ctx, key, chat.Derived{Head: head(key, 9, count), Members: []chat.Member{a, b}}))
		advance := func(m *chat.Member, kind chat.ReceiptKind, seq uint64) {
			from := m.Read.Seq
			if kind == chat.ReceiptDelivered {
				from = m.Delivered.Seq
			}
			w := chat.Watermark{Seq: seq, MsgNo: seq, At: At(100 + seq)}
			if kind == chat.ReceiptRead {
				m.Read = w
			} else {
				m.Delivered = w
			}
			must(t, s.SaveWatermarks(ctx, key, []chat.Member{*m}, []chat.Receipt{{User: m.User, Kind: kind, Seq: seq, From: from, At: w.At}}))
		}
		advance(&a, chat.ReceiptRead, 3)
		advance(&a, chat.ReceiptRead, 5)
		advance(&b, chat.ReceiptRead, 4)
		advance(&b, chat.ReceiptDelivered, 9)
		advance(&a, chat.ReceiptRead, 8)
		_, members, err := s.LoadConversation(ctx, key)
		must(t, err)
		equal(t, members, []chat.Member{a, b})
		read := func(u chat.UserID, from, seq uint64) chat.Receipt {
			return chat.Receipt{User: u, Kind: chat.ReceiptRead, Seq: seq, From: from, At: At(100 + seq)}
		}
		for seq, want := range map[uint64][]chat.Receipt{
			1: {read("alice", 0, 3), read("bob", 0, 4)}, 3: {read("alice", 0, 3), read("bob", 0, 4)},
			4: {read("bob", 0, 4), read("alice", 3, 5)}, 5: {read("alice", 3, 5)}, 6: {read("alice", 5, 8)}, 9: nil,
		} {
			var got []chat.Receipt
			q := chat.ReceiptQuery{Kind: chat.ReceiptRead, Seq: seq, Limit: 1}
			for more := true; more; {
				page, err := s.ListReceipts(ctx, key, q)
				must(t, err)
				got, more = append(got, page.Receipts...), page.More
				q.After, q.AfterUser = page.Next, page.NextUser
			}
			equal(t, got, want)
			if seq == 1 { // the members joined by it
				n, late, err := s.CountReaders(ctx, key, "", seq)
				must(t, err)
				equal(t, n, 0)
				equal(t, late, []chat.UserID{"alice", "bob"})
				continue
			}
			n, late, err := s.CountReaders(ctx, key, "", seq)
			must(t, err)
			equal(t, n, len(want))
			equal(t, len(late), 0)
			n, _, err = s.CountReaders(ctx, key, "alice", seq)
			must(t, err)
			equal(t, n, len(slices.DeleteFunc(want, func(r chat.Receipt) bool { return r.User == "alice" })))
		}
		got, err := s.ListReceipts(ctx, key, chat.ReceiptQuery{Kind: chat.ReceiptDelivered, Seq: 7, Limit: 10})
		must(t, err)
		equal(t, got.Receipts, []chat.Receipt{{User: "bob", Kind: chat.ReceiptDelivered, Seq: 9, At: At(109)}})
		must(t, s.SaveWatermarks(ctx, key, nil, nil))
	}
}

func storeDuplicates(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx, key := t.Context(), Key("t")
	id := func(u chat.UserID, c string) chat.SenderClientID { return chat.SenderClientID{Sender: u, ClientID: c} }
	must(t, s.SaveDerived(ctx, key, chat.Derived{Head: head(key, 9, 0), Sent: []chat.SentMessage{
		{SenderClientID: id("a", "1"), Seq: 3}, {SenderClientID: id("b", "1"), Seq: 4}, {SenderClientID: id("a", "2"), Seq: 5}}}))
	got, err := s.FindDuplicates(ctx, key, []chat.SenderClientID{id("a", "2"), id("a", "3"), id("b", "1"), id("b", "2"), id("a", "1")})
	must(t, err)
	equal(t, got, []uint64{5, 0, 4, 0, 3})
	got, err = s.FindDuplicates(ctx, Key("t"), []chat.SenderClientID{id("a", "2")})
	must(t, err)
	equal(t, got, []uint64{0})
}

func storeRewrite(t *testing.T, s *storage.Store, _ storage.Engine) {
	const size = 1 << storage.BucketBits
	ctx, key := t.Context(), Key("t")
	events := Messages(key, 1, size+2, 2)
	must(t, s.AppendEvents(ctx, key, events))
	rewrite := func(seq uint64, change func(*chat.Event)) chat.Event {
		e := &events[seq-1]
		change(e)
		return *e
	}
	must(t, s.SaveDerived(ctx, key, chat.Derived{Head: head(key, size+2, 0), Rewritten: []chat.Event{
		rewrite(2, func(e *chat.Event) { e.Reactions = []chat.Reaction{{User: "b", Emoji: "x", At: At(3)}} }),
		rewrite(size+1, func(e *chat.Event) { e.Content, e.EditedAt = "edited", At(4) })}}))
	equal(t, readAll(t, s, key, 1, size+2, 0), events)
	must(t, s.SaveDerived(ctx, key, chat.Derived{Head: head(key, size+2, 0), Rewritten: []chat.Event{
		rewrite(2, func(e *chat.Event) { e.Reactions = nil }),
		rewrite(size+1, func(e *chat.Event) { e.Content, e.DeletedAt = "", At(5) })}}))
	equal(t, readAll(t, s, key, 1, size+2, 0), events)
}

func storeTenants(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx, one := t.Context(), Key("t")
	two := one
	two.Tenant = "t2"
	for _, k := range []chat.ConversationKey{one, two} {
		e := Message(k, 1, 1)
		e.Content = string(k.Tenant)
		must(t, s.AppendEvents(ctx, k, []chat.Event{e}))
		h := head(k, 1, 1)
		h.Name = string(k.Tenant)
		must(t, s.SaveDerived(ctx, k, chat.Derived{Head: h, Members: []chat.Member{member("u", 1)}}))
		must(t, s.PutUser(ctx, chat.User{Tenant: k.Tenant, ID: "u", Username: string(k.Tenant)}))
	}
	must(t, s.DeleteConversation(ctx, one, nil))
	equal(t, readAll(t, s, two, 1, 9, 0)[0].Content, "t2")
	h, _, err := s.LoadConversation(ctx, two)
	must(t, err)
	equal(t, h.Name, "t2")
	l, err := s.ListMemberships(ctx, chat.UserKey{Tenant: "t2", User: "u"})
	must(t, err)
	equal(t, l, []chat.Membership{{Key: two, Kind: chat.Group, JoinedAt: At(1)}})
	u, err := s.GetUsers(ctx, "t", []chat.UserID{"u"})
	must(t, err)
	equal(t, u[0].Username, "t")
}

func storeDirty(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	keys := []chat.ConversationKey{Key("t"), Key("u"), Key("t")}
	list := func() []chat.ConversationKey {
		var got []chat.ConversationKey
		must(t, s.DirtyConversations(ctx, func(k chat.ConversationKey) bool { got = append(got, k); return true }))
		return got
	}
	for _, k := range keys {
		must(t, s.MarkDirty(ctx, k))
		must(t, s.MarkDirty(ctx, k))
	}
	got := list()
	for _, k := range keys {
		if !slices.Contains(got, k) || len(got) != 3 {
			t.Fatal(got)
		}
	}
	must(t, s.ClearDirty(ctx, keys[0]))
	must(t, s.ClearDirty(ctx, keys[0]))
	must(t, s.ClearDirty(ctx, keys[1]))
	equal(t, list(), keys[2:])
}

func storeUsers(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	u := chat.User{Tenant: "t", ID: "7", Username: "u", Email: "e", FirstName: "f", LastName: "l", AvatarURL: "a", CreatedAt: At(1), UpdatedAt: At(2)}
	got, created, err := s.CreateUser(ctx, u)
	if err != nil || !created || got != u {
		t.Fatal(got, created, err)
	}
	other := chat.User{Tenant: "t", ID: "7", Username: "other"}
	got, created, err = s.CreateUser(ctx, other)
	if err != nil || created || got != u {
		t.Fatal(got, created, err)
	}
	list, err := s.GetUsers(ctx, "t", []chat.UserID{"8", "7"})
	must(t, err)
	equal(t, list, []chat.User{{}, u})
	other.UpdatedAt = At(3)
	must(t, s.PutUser(ctx, other))
	other.CreatedAt = At(1)
	list, err = s.GetUsers(ctx, "t", []chat.UserID{"7"})
	must(t, err)
	equal(t, list, []chat.User{other})
	// Many create one user: one does.
	var wg sync.WaitGroup
	var mu sync.Mutex
	creators := 0
	for i := range 8 {
		wg.Go(func() {
			got, created, err := s.CreateUser(ctx, chat.User{Tenant: "t", ID: "race", Username: fmt.Sprint(i)})
			if err != nil || created && got.Username != fmt.Sprint(i) {
				t.Error(got, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if created {
				creators++
			}
		})
	}
	wg.Wait()
	equal(t, creators, 1)
	if _, _, err := s.CreateUser(ctx, chat.User{Tenant: "t"}); !errors.Is(err, chat.ErrInvalid) {
		t.Fatal(err)
	}
}

func storeDelete(t *testing.T, s *storage.Store, e storage.Engine) {
	ctx, key := t.Context(), Key("t")
	const size = 1 << storage.BucketBits
	fill := func() {
		must(t, s.AppendEvents(ctx, key, Messages(key, 1, size+5, 1)))
		must(t, s.SaveDerived(ctx, key, chat.Derived{Head: head(key, 5, 2), Members: []chat.Member{member("a", 1), member("b", 1)},
			Sent: []chat.SentMessage{{SenderClientID: chat.SenderClientID{Sender: "alice", ClientID: "c1"}, Seq: 1}}}))
		must(t, s.SaveWatermarks(ctx, key, []chat.Member{member("a", 1)}, []chat.Receipt{{User: "a", Kind: chat.ReceiptRead, Seq: 1, At: At(1)},
			{User: "a", Kind: chat.ReceiptDelivered, Seq: 1, At: At(1)}}))
		must(t, s.MarkDirty(ctx, key))
	}
	empty := func() {
		t.Helper()
		for _, tb := range storage.Tables() {
			must(t, e.ScanTable(ctx, tb, func(p storage.Key, r storage.Row) bool {
				if tb != storage.TableMeta && tb != storage.TableDirty {
					t.Errorf("row left in %s: %s %s", tb.Name, show(p), show(r.Clustering))
				}
				return true
			}))
		}
		if _, _, err := s.LoadConversation(ctx, key); !errors.Is(err, chat.ErrNotFound) {
			t.Error(err)
		}
		// The mark stays until the projections have heard of it.
		marks, err := s.DirtyShard(ctx, key.Shard(), chat.ConversationKey{}, 9)
		must(t, err)
		equal(t, marks, []chat.ConversationKey{key})
	}
	fill()
	must(t, s.DeleteConversation(ctx, key, []chat.UserID{"gone"}))
	empty()
	must(t, s.DeleteConversation(ctx, key, nil))
	empty()
	// Interrupted after n writes, it is finished by loading the conversation.
	for n := range 7 {
		fill()
		f := &failing{Engine: e, left: n}
		if err := storage.New(f, storage.Config{}).DeleteConversation(ctx, key, nil); err == nil {
			t.Fatalf("%d writes are too many for this test", n)
		}
		_, _, err := s.LoadConversation(ctx, key)
		if n == 0 {
			must(t, err) // nothing had happened
			must(t, s.DeleteConversation(ctx, key, nil))
		}
		empty()
	}
}

// failing is an engine that refuses writes after some.
type failing struct {
	storage.Engine
	left int
}

var errInjected = errors.New("injected")

func (f *failing) Apply(ctx context.Context, b storage.Batch) error {
	if f.left--; f.left < 0 {
		return errInjected
	}
	return f.Engine.Apply(ctx, b)
}

func storeConcurrent(t *testing.T, s *storage.Store, _ storage.Engine) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			key := Key(chat.TenantID(fmt.Sprint("t", w%2)))
			for seq := uint64(1); seq < 60; seq += 3 {
				if err := s.AppendEvents(t.Context(), key, Messages(key, seq, seq+2, 1)); err != nil {
					t.Error(err)
				}
				if got, err := s.ReadEvents(t.Context(), key, 1, 1000, 0); err != nil || len(got) != int(seq+2) {
					t.Error(len(got), err)
				}
				if err := s.SaveDerived(t.Context(), key, chat.Derived{Head: head(key, seq+2, 1), Members: []chat.Member{member("a", seq)}}); err != nil {
					t.Error(err)
				}
			}
			if got, err := s.ReadEvents(t.Context(), key, 1, 1000, 0); err != nil || !cmp.Equal(got, Messages(key, 1, 60, 1)) {
				t.Error(len(got), err)
			}
		})
	}
	wg.Wait()
}

func storeErrors(t *testing.T, s *storage.Store, e storage.Engine) {
	key := Key("t")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AppendEvents(ctx, key, Messages(key, 1, 1, 1)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must(t, e.Close())
	if err := s.AppendEvents(t.Context(), key, Messages(key, 1, 1, 1)); !errors.Is(err, chat.ErrUnavailable) {
		t.Error(err)
	}
	unknown := storage.New(unknownEngine{e}, storage.Config{})
	if err := unknown.AppendEvents(t.Context(), key, Messages(key, 1, 1, 1)); !errors.Is(err, chat.ErrUnknown) {
		t.Error(err)
	}
}

type unknownEngine struct{ storage.Engine }

func (unknownEngine) Apply(context.Context, storage.Batch) error { return storage.ErrUnknownOutcome }
