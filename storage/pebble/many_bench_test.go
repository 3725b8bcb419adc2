package pebble_test

import (
	"context"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/storagetest"
)

// BenchmarkGetMany is what a page of a user's list reads: the heads and the user's own rows of a thousand conversations
// among fifty thousand, in the order of the list.
func BenchmarkGetMany(b *testing.B) {
	e := open(b, pebble.Config{Dir: b.TempDir()})
	s := storage.New(e, storage.Config{})
	const all, mine = 50_000, 1000
	var keys []chat.ConversationKey
	for i := range all {
		key := storagetest.Key("default")
		must(b, s.SaveDerived(context.Background(), key, chat.Derived{
			Head: chat.Head{Key: key, Kind: chat.Group, Name: "a group", CreatedBy: "u", CreatedAt: storagetest.At(1), UpdatedAt: storagetest.At(9),
				Seq: 9, Epoch: 1, MsgNo: 7, MemberCount: 3},
			Members: []chat.Member{{User: "a", JoinedSeq: 1, JoinedAt: storagetest.At(1)}, {User: "user", JoinedSeq: 1, JoinedAt: storagetest.At(1)}, {User: "z", JoinedSeq: 1, JoinedAt: storagetest.At(1)}}}))
		if i%(all/mine) == 0 {
			keys = append(keys, key)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		heads, err := s.GetHeads(context.Background(), keys)
		must(b, err)
		members, err := s.GetMembers(context.Background(), keys, "user")
		must(b, err)
		if heads[mine-1].Seq != 9 || members[mine-1].User != "user" {
			b.Fatal(heads[mine-1], members[mine-1])
		}
	}
}
