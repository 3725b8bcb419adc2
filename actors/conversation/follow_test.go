package conversation_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

type deaf struct{ looks atomic.Int32 }

func (d *deaf) Committed(_ chat.ConversationKey, head uint64, _ int) bool {
	if head == 0 {
		d.looks.Add(1)
	}
	return false
}
func (*deaf) Visible() {}

type goer struct{}

func (goer) Schedule(f func()) { go f() }
func (goer) Throughput() int   { return 100 }

// Followers may report that a conversation is gone while it is being created (again): that says nothing of its new events,
// whose mark stays until they are reported themselves.
func TestGoneIsNoReportOfAConversationThatExists(t *testing.T) {
	store, d := faultstore.New(), new(deaf)
	sys := actor.NewActorSystem()
	defer sys.Shutdown()
	g := conversation.NewRegistry(conversation.RegistryConfig{System: sys, Dispatcher: goer{}, Store: store, Follower: d,
		Publish: func(*chat.Delivery) {}, Idle: 50 * time.Millisecond})
	defer func() {
		if err := g.Close(bg); err != nil {
			t.Error(err)
		}
	}()
	key := chat.ConversationKey{Tenant: tenant, ID: chat.NewConversationID()}
	created := make(chan error, 1)
	g.Submit(key, &conversation.Request{Principal: chat.Principal{Tenant: tenant, User: "1"}, At: time.Now(),
		Command: chat.Create{Conversation: key.ID, Kind: chat.Group, Title: "t", Members: []chat.UserID{"2"}},
		Done:    func(_ chat.Result, err error) { created <- err }})
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	if !g.Followed(key, conversation.Gone) {
		t.Fatal("it is not in memory")
	}
	for deadline := time.Now().Add(time.Minute); g.Live() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not leave memory")
		}
	}
	if !store.Dirty(key) || d.looks.Load() == 0 {
		t.Fatalf("marked %v, %d looks", store.Dirty(key), d.looks.Load())
	}
	if _, _, err := g.Follow(context.Background(), key, 1); err != nil || store.Dirty(key) {
		t.Fatalf("marked %v, %v", store.Dirty(key), err)
	}
}
