package conversation_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// A log that lacks an event is no reason to panic: behind the derived state the conversation cannot be used, below it can.
func TestHoleInTheLog(t *testing.T) {
	e := newEstate(t)
	k := e.create()
	for i := range 9 {
		e.works(e.send(k, fmt.Sprint(i)), uint64(2+i))
	}
	if err := e.Release(bg, of(k)); err != nil {
		t.Fatal(err)
	}
	g := holes{e.store, 5}
	sys := quiet()
	defer sys.Shutdown()
	r := conversation.NewRegistry(conversation.RegistryConfig{System: sys, Dispatcher: goer{}, Store: g, Publish: func(*chat.Delivery) {}})
	defer r.Close(bg)
	two := &estate{Registry: r, t: t}
	if o := <-two.submit(k, chat.Resume{Conversation: k.ID, LastSeq: 8}); o.err != nil || len(o.res.Events) != 2 {
		t.Fatalf("%+v, %v", o.res, o.err)
	}
	two.fails(two.submit(k, chat.Resume{Conversation: k.ID, LastSeq: 2}), chat.ErrUnavailable)
	two.works(two.send(k, "more"), 11)
}

// holes lacks an event.
type holes struct {
	*faultstore.Store
	seq uint64
}

func (h holes) ReadEvents(ctx context.Context, k chat.ConversationKey, from, to uint64, limit int) ([]chat.Event, error) {
	es, err := h.Store.ReadEvents(ctx, k, from, to, limit)
	for i := range es {
		if es[i].Seq == h.seq {
			return es[:i], err
		}
	}
	return es, err
}

func (h holes) ReadEventsReverse(ctx context.Context, k chat.ConversationKey, from uint64, limit int, yield func(chat.Event) bool) error {
	return h.Store.ReadEventsReverse(ctx, k, from, limit, func(e chat.Event) bool { return e.Seq == h.seq || yield(e) })
}
