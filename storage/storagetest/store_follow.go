package storagetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

func storeConversations(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	want := map[chat.ConversationKey]uint64{}
	for i := range 20 {
		k := Key([]chat.TenantID{"t", "u"}[i%2])
		must(t, s.AppendEvents(ctx, k, Messages(k, 1, uint64(i)+2, 1)))
		must(t, s.SaveDerived(ctx, k, chat.Derived{Head: head(k, uint64(i)+1, 2), Members: []chat.Member{member("a", 1), member("b", 1)}}))
		want[k] = uint64(i) + 1
	}
	logOnly := Key("t")
	must(t, s.AppendEvents(ctx, logOnly, Messages(logOnly, 1, 3, 1)))
	for k := range want {
		must(t, s.DeleteConversation(ctx, k, nil))
		delete(want, k)
		break
	}
	got := map[chat.ConversationKey]uint64{}
	must(t, s.Conversations(ctx, func(k chat.ConversationKey, seq uint64) bool {
		if _, again := got[k]; again {
			t.Errorf("%s twice", k)
		}
		got[k] = seq
		return true
	}))
	equal(t, got, want)
	n := 0
	must(t, s.Conversations(ctx, func(chat.ConversationKey, uint64) bool { n++; return n < 3 }))
	equal(t, n, 3)
}

func storeDirtyShard(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	first := Key("t")
	shard := first.Shard()
	want := []chat.ConversationKey{first}
	must(t, s.MarkDirty(ctx, first))
	for i := 0; len(want) < 5; i++ {
		k := Key([]chat.TenantID{"t", "u"}[i%2])
		if k.Shard() == shard {
			want = append(want, k)
		} else if i > 3 {
			continue
		}
		must(t, s.MarkDirty(ctx, k))
	}
	all, err := s.DirtyShard(ctx, shard, chat.ConversationKey{}, 100)
	must(t, err)
	var paged []chat.ConversationKey
	for after := (chat.ConversationKey{}); ; after = paged[len(paged)-1] {
		page, err := s.DirtyShard(ctx, shard, after, 2)
		must(t, err)
		if len(page) > 2 {
			t.Fatalf("%d of at most 2", len(page))
		}
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
	}
	equal(t, paged, all)
	equal(t, len(all), len(want))
	for _, k := range want {
		if !slices.Contains(all, k) {
			t.Errorf("%s is missing", k)
		}
	}
	// It goes on behind a mark that is there no more.
	must(t, s.ClearDirty(ctx, all[1]))
	page, err := s.DirtyShard(ctx, shard, all[1], 100)
	must(t, err)
	equal(t, page, all[2:])
}

func storeGetEvents(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	one, two := Key("t"), Key("u")
	must(t, s.AppendEvents(ctx, one, Messages(one, 1, 4, 1)))
	must(t, s.AppendEvents(ctx, one, Messages(one, 4, 6, 2))) // 4 was written by two owners
	must(t, s.AppendEvents(ctx, two, Messages(two, 1, 2, 1)))
	refs := []chat.EventRef{{Key: one, Seq: 5, Epoch: 2}, {Key: one, Seq: 1, Epoch: 2}, {Key: two, Seq: 2, Epoch: 1}, {Key: one, Seq: 9, Epoch: 2},
		{Key: one, Seq: 0, Epoch: 2}, {Key: one, Seq: 4, Epoch: 2}, {Key: Key("t"), Seq: 1, Epoch: 1}, {Key: one, Seq: 5, Epoch: 2}, {Key: one, Seq: 1<<63 + 1}}
	got, err := s.GetEvents(ctx, refs)
	must(t, err)
	for i, r := range refs {
		want, err := s.GetEvent(ctx, r.Key, r.Seq)
		if err != nil && !errors.Is(err, chat.ErrNotFound) {
			t.Fatal(err)
		}
		equal(t, got[i], want)
	}
	equal(t, got[5].Epoch, uint64(2))
	got, err = s.GetEvents(ctx, nil)
	must(t, err)
	equal(t, len(got), 0)
}

func storeConsumers(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	list := func() []chat.ConsumerState {
		t.Helper()
		l, err := s.Consumers(ctx)
		must(t, err)
		slices.SortFunc(l, func(a, b chat.ConsumerState) int { return len(a.Name) - len(b.Name) })
		return l
	}
	equal(t, len(list()), 0)
	a, b := chat.ConsumerState{Name: "search", Generation: "g1"}, chat.ConsumerState{Name: "webhook", Generation: "g2", Complete: true}
	must(t, s.PutConsumer(ctx, a))
	must(t, s.PutConsumer(ctx, b))
	equal(t, list(), []chat.ConsumerState{a, b})
	a.Complete = true
	must(t, s.PutConsumer(ctx, a))
	must(t, s.ForgetConsumer(ctx, "webhook"))
	must(t, s.ForgetConsumer(ctx, "webhook"))
	equal(t, list(), []chat.ConsumerState{a})
	a.Complete, a.Generation = false, ""
	must(t, s.PutConsumer(ctx, a))
	equal(t, list(), []chat.ConsumerState{a})
	if err := s.PutConsumer(ctx, chat.ConsumerState{}); !errors.Is(err, chat.ErrInvalid) {
		t.Fatal(err)
	}
}
