package storagetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// storeListMembers compares the members of many conversations, read together, with those of each.
func storeListMembers(t *testing.T, s *storage.Store, e storage.Engine) {
	ctx := t.Context()
	rng := rand.New(rand.NewPCG(5, 0))
	byJoining := func(ms []chat.Member) []chat.Member {
		slices.SortFunc(ms, func(a, b chat.Member) int {
			return cmp.Or(cmp.Compare(a.JoinedSeq, b.JoinedSeq), cmp.Compare(a.User, b.User))
		})
		return ms
	}
	const conversations = 80 // more than are read at once
	keys := make([]chat.ConversationKey, conversations)
	want := make([][]chat.Member, conversations)
	for i := range keys {
		keys[i] = Key("t")
		if i == 7 {
			continue // there is none
		}
		n := 1 + rng.IntN(4)
		if i == 9 {
			n = 300
		}
		d := chat.Derived{Head: head(keys[i], 50, n)}
		for j := range n {
			d.Members = append(d.Members, member(chat.UserID(fmt.Sprint("user", j)), 1+rng.Uint64N(40)))
		}
		must(t, s.SaveDerived(ctx, keys[i], d))
		want[i] = byJoining(d.Members)
	}
	for _, limit := range []int{0, 1, 2, 100, 1000} {
		got, err := s.ListMembers(ctx, keys, limit)
		must(t, err)
		equal(t, len(got), len(keys))
		for i := range got {
			expect := want[i]
			if limit > 0 {
				expect = expect[:min(limit, len(expect))]
			}
			if fmt.Sprint(got[i]) != fmt.Sprint(expect) {
				t.Fatalf("limit %d, conversation %d: %v, want %v", limit, i, got[i], expect)
			}
		}
	}
	none, err := s.ListMembers(ctx, nil, 10)
	must(t, err)
	equal(t, len(none), 0)

	// One that is being deleted has no members any more, before the deletion is finished.
	must(t, e.Apply(ctx, storage.Batch{Table: storage.TableConversation, Partition: storage.Key{txt("t"), {Set: true, B: keys[0].ID[:]}},
		Mutations: []storage.Mutation{{Clustering: storage.Key{txt("d")}, Columns: make([]storage.Value, len(storage.TableConversation.Columns)), Whole: true}}}))
	got, err := s.ListMembers(ctx, keys[:2], 10)
	must(t, err)
	equal(t, len(got[0]), 0)
	equal(t, len(got[1]), len(want[1]))

	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.ListMembers(ended, keys, 10); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
