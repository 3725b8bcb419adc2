package actors_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// instant is a store whose writes cost nothing: what is measured is the hub.
type instant struct{ *faultstore.Store }

func (instant) AppendEvents(context.Context, chat.ConversationKey, []chat.Event) error { return nil }
func (instant) SaveDerived(context.Context, chat.ConversationKey, chat.Derived) error  { return nil }
func (instant) MarkDirty(context.Context, chat.ConversationKey) error                  { return nil }
func (instant) FindDuplicates(_ context.Context, _ chat.ConversationKey, ids []chat.SenderClientID) ([]uint64, error) {
	return make([]uint64, len(ids)), nil
}

type nowhere struct{}

func (nowhere) Deliver(*chat.SessionSet, *chat.Delivery) {}

func benchHub(b *testing.B) (*actors.Hub, chat.ConversationID) {
	store := instant{faultstore.New()}
	store.AddUsers(tenant, "1", "2")
	h := actors.New(actors.Config{Store: store, Edge: nowhere{}})
	b.Cleanup(func() { _ = h.Close(context.Background()) })
	res, err := h.Do(context.Background(), as("1"), chat.Create{Kind: chat.Direct, Members: []chat.UserID{"2"}})
	if err != nil {
		b.Fatal(err)
	}
	return h, res.View.Head.Key.ID
}

// BenchmarkSend is one send after the other: no group commit, every allocation is paid by one message.
func BenchmarkSend(b *testing.B) {
	h, c := benchHub(b)
	p := as("1")
	done := make(chan error, 1)
	cb := func(_ chat.Result, err error) { done <- err }
	ids := make([]string, 1024)
	for i := range ids {
		ids[i] = fmt.Sprint("client id ", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		var cmd chat.Command = chat.Send{Conversation: c, Content: "hello, world"}
		h.Submit(p, chat.Origin{}, cmd, cb)
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSendPipelined keeps 64 sends of one conversation in flight.
func BenchmarkSendPipelined(b *testing.B) {
	h, c := benchHub(b)
	p := as("1")
	window := make(chan struct{}, 64)
	cb := func(_ chat.Result, err error) {
		if err != nil {
			b.Error(err)
		}
		<-window
	}
	b.ReportAllocs()
	for b.Loop() {
		window <- struct{}{}
		h.Submit(p, chat.Origin{}, chat.Send{Conversation: c, Content: "hello, world"}, cb)
	}
}
