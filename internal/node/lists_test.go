package node

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/storagetest"
)

// nowhere is an edge without sessions.
type nowhere struct{}

func (nowhere) Deliver(*chat.SessionSet, *chat.Delivery) {}

// listStore holds a user with so many direct conversations, none of them in memory of a hub.
func listStore(t testing.TB, e storage.Engine, conversations int) {
	t.Helper()
	s, ctx := storage.New(e, storage.Config{}), context.Background()
	for i := range conversations {
		other := chat.UserID(fmt.Sprint("u", i))
		key := chat.ConversationKey{Tenant: "t", ID: chat.NewConversationID()}
		at := storagetest.At(uint64(i + 1))
		d := chat.Derived{
			Head: chat.Head{Key: key, Kind: chat.Direct, CreatedAt: at, UpdatedAt: at, Seq: 2, MsgNo: 1, Epoch: 1, MemberCount: 2},
			Members: []chat.Member{{User: "me", Role: chat.RoleMember, JoinedSeq: 1, JoinedAt: at},
				{User: other, Role: chat.RoleMember, JoinedSeq: 1, JoinedAt: at}},
		}
		if err := s.SaveDerived(ctx, key, d); err != nil {
			t.Fatal(err)
		}
		if err := s.PutUser(ctx, chat.User{Tenant: "t", ID: other, Username: "name of " + string(other), CreatedAt: at}); err != nil {
			t.Fatal(err)
		}
	}
}

func listPage(t testing.TB, h *actors.Hub, total, limit int) {
	t.Helper()
	page, err := h.Conversations(context.Background(), chat.Principal{Tenant: "t", User: "me"}, chat.ListQuery{Limit: limit})
	if err != nil || page.Total != total || len(page.Items) != limit {
		t.Fatalf("%d of %d: %v", len(page.Items), page.Total, err)
	}
	for i, it := range page.Items {
		if it.Other == nil || it.Other.Username != fmt.Sprint("name of u", total-1-i) {
			t.Fatalf("item %d: %+v", i, it)
		}
	}
}

// A page of a list waits for the store as often with 50 conversations as with 5, none of them in memory. What is counted
// are rounds: every read of the engine takes one second of a clock that stands still while anything runs, so reads that
// do not wait for one another are one round and the time that passed is the number of rounds. The number of engine calls
// is not constant: members lie in a partition per conversation, and a page reads one range of each, at once.
func TestReq155_ListPageTakesConstantRounds(t *testing.T) {
	rounds := func(total, limit int) (n int, calls int64) {
		synctest.Test(t, func(t *testing.T) {
			e := storagetest.Memory()
			listStore(t, e, total)
			h := actors.New(actors.Config{Store: storage.New(e, storage.Config{}), Edge: nowhere{}})
			defer func() {
				if err := h.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			e.SetHooks(storagetest.Hooks{Before: func(context.Context, storagetest.Op, *storage.Table) error {
				time.Sleep(time.Second)
				return nil
			}})
			start, before := time.Now(), e.Reads()
			listPage(t, h, total, limit)
			n, calls = int(time.Since(start)/time.Second), e.Reads()-before
		})
		return n, calls
	}
	few, fewCalls := rounds(60, 5)
	many, manyCalls := rounds(60, 50)
	t.Logf("5 conversations: %d rounds, %d engine calls; 50 conversations: %d rounds, %d engine calls", few, fewCalls, many, manyCalls)
	// The user's list; heads; own memberships; members of all; users.
	if few != 5 || many != 5 {
		t.Errorf("%d rounds for 5 conversations, %d for 50, want 5 for both", few, many)
	}
	if more, _ := rounds(400, 50); more != many {
		t.Errorf("%d rounds with 400 conversations, %d with 60", more, many)
	}
}

// oneByOne hides ListMembers, so that the hub reads each conversation of a page by itself.
type oneByOne struct{ actors.Store }

// BenchmarkListPage reads a page of 50 of 1,000 inactive conversations, on an engine in memory at once and with 1 ms
// for each operation as over a network, with the members read together and conversation by conversation.
func BenchmarkListPage(b *testing.B) {
	for _, latency := range []time.Duration{0, time.Millisecond} {
		for _, together := range []bool{false, true} {
			b.Run(fmt.Sprintf("latency=%v/together=%v", latency, together), func(b *testing.B) {
				e := storagetest.Memory()
				listStore(b, e, 1000)
				var s actors.Store = storage.New(e, storage.Config{})
				if !together {
					s = oneByOne{s}
				}
				h := actors.New(actors.Config{Store: s, Edge: nowhere{}})
				defer func() { _ = h.Close(context.Background()) }()
				if latency > 0 {
					e.SetHooks(storagetest.Hooks{Before: func(context.Context, storagetest.Op, *storage.Table) error {
						time.Sleep(latency)
						return nil
					}})
				}
				for b.Loop() {
					listPage(b, h, 1000, 50)
				}
			})
		}
	}
}
