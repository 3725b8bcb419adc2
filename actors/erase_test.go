package actors_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/chat"
)

// Conversations of both kinds are erased at the wish of nobody who is in them, consumers hear of it, and no mark is left: also
// not of one that had gone before a consumer knew.
func TestErase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := newReader(t), faultstore.New()
		r := newRig(t, actors.Config{Store: store, Consumers: []projection.Consumer{x}})
		group, direct := r.group("1", "2", "3"), r.direct("1", "2")
		kept := r.group("1", "2")
		for _, c := range []chat.ConversationID{group, direct, kept} {
			r.do("1", chat.Send{Conversation: c, Content: "hi"})
		}
		time.Sleep(time.Second)
		x.fails(true)
		erase := func() {
			t.Helper()
			for _, c := range []chat.ConversationID{group, direct, chat.NewConversationID()} {
				if _, err := r.Do(bg, chat.Principal{Tenant: tenant}, chat.Erase{Conversation: c}); err != nil {
					t.Fatal(err)
				}
			}
		}
		erase()
		r.fails("1", chat.Attach{Conversation: group}, chat.ErrNotFound)
		r.fails("2", chat.Attach{Conversation: direct}, chat.ErrNotFound)
		if !store.Empty(keyOf(group)) || !store.Empty(keyOf(direct)) {
			t.Error("rows are left")
		}
		time.Sleep(10 * time.Minute)
		if !store.Dirty(keyOf(group)) || !store.Dirty(keyOf(direct)) {
			t.Error("the marks went before the consumer knew")
		}
		x.fails(false)
		erase()
		time.Sleep(time.Minute)
		if x.log(keyOf(group)) != nil || x.log(keyOf(direct)) != nil || store.Dirty(keyOf(group)) || store.Dirty(keyOf(direct)) {
			t.Error("the consumer, or a mark, has something left")
		}
		if r.do("1", chat.Attach{Conversation: kept}).View == nil || len(x.log(keyOf(kept))) != 2 {
			t.Error("another conversation lacks something")
		}
	})
}
