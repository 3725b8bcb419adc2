package actors_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/actors/projection"
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

// benchHub's consumers are told of commits and not fed.
func benchHub(b testing.TB, consumers ...projection.Consumer) (*actors.Hub, chat.ConversationID) {
	store := instant{faultstore.New()}
	store.AddUsers(tenant, "1", "2")
	h := actors.New(actors.Config{Store: store, Edge: nowhere{}, Consumers: consumers})
	b.Cleanup(func() { _ = h.Close(context.Background()) })
	res, err := h.Do(context.Background(), as("1"), chat.Create{Kind: chat.Direct, Members: []chat.UserID{"2"}})
	if err != nil {
		b.Fatal(err)
	}
	return h, res.View.Head.Key.ID
}

// BenchmarkSend is one send after the other: no group commit, every allocation is paid by one message.
func BenchmarkSend(b *testing.B) { benchSend(b) }

// BenchmarkSendFollowed is the same with a consumer that follows the log.
func BenchmarkSendFollowed(b *testing.B) { benchSend(b, newReader(b)) }

func benchSend(b *testing.B, consumers ...projection.Consumer) {
	h, c := benchHub(b, consumers...)
	p := as("1")
	done := make(chan error, 1)
	cb := func(_ chat.Result, err error) { done <- err }
	b.ReportAllocs()
	for b.Loop() {
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

// One send from Submit to Publish, the boxing of the command included, stays within its budget.
func TestAllocationsPerSend(t *testing.T) {
	h, c := benchHub(t, newReader(t))
	p := as("1")
	done := make(chan error, 1)
	cb := func(_ chat.Result, err error) { done <- err }
	n := testing.AllocsPerRun(5000, func() {
		h.Submit(p, chat.Origin{}, chat.Send{Conversation: c, Content: "hello, world"}, cb)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Logf("%.1f allocations per send", n)
	if n > 7 {
		t.Fatalf("%.1f allocations per send, want at most 7", n)
	}
}

// BenchmarkIdleConversation tells what a conversation costs that is in memory and quiet.
func BenchmarkIdleConversation(b *testing.B) {
	store := instant{faultstore.New()}
	store.AddUsers(tenant, "1")
	h := actors.New(actors.Config{Store: store, Edge: nowhere{}})
	b.Cleanup(func() { _ = h.Close(context.Background()) })
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 10_000
	users := make([]chat.UserID, n)
	for i := range users {
		users[i] = chat.UserID(fmt.Sprint("u", i))
	}
	store.AddUsers(tenant, users...)
	for b.Loop() {
		before := heap()
		for _, u := range users {
			res, err := h.Do(context.Background(), as("1"), chat.Create{Kind: chat.Direct, Members: []chat.UserID{u}})
			if err != nil {
				b.Fatal(err)
			}
			c := res.View.Head.Key.ID
			if _, err := h.Do(context.Background(), as("1"), chat.Send{Conversation: c, ClientID: "a", Content: "hello"}); err != nil {
				b.Fatal(err)
			}
		}
		time.Sleep(1500 * time.Millisecond) // derived rows are saved
		b.ReportMetric(float64(heap()-before)/n, "B/conversation")
	}
}
