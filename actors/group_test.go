package actors_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// TestSlowGroupHoldsUpNobody: while the only group that goes at once takes long, what is ready waits a moment and goes all
// the same.
func TestSlowGroupHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := faultstore.New()
		store.Apart = true // one group at once, at most four, of two conversations
		store.AddUsers(tenant, "1", "2")
		h := actors.New(actors.Config{Store: store, Edge: &edge{}})
		defer func() { _ = h.Close(context.Background()) }()
		if err := h.Start(bg, nil); err != nil {
			t.Fatal(err)
		}
		var ids [3]chat.ConversationID
		for i := range ids {
			res, err := h.Do(bg, as("1"), chat.Create{Kind: chat.Group, Members: []chat.UserID{"2"}})
			if err != nil {
				t.Fatal(err)
			}
			ids[i] = res.View.Head.Key.ID
		}
		send := func(i int) error {
			_, err := h.Do(bg, as("1"), chat.Send{Conversation: ids[i], Content: "x"})
			return err
		}
		time.Sleep(5 * time.Second) // all is derived
		for i := range ids {
			if err := send(i); err != nil { // marks the conversation, which a commit by itself does
				t.Fatal(err)
			}
		}
		slow := make(chan error, 1)
		store.SetFaults(func(op string, key chat.ConversationKey) error {
			if op == "AppendEvents" && key.ID == ids[0] {
				time.Sleep(time.Minute)
			}
			return nil
		}, nil)
		go func() { slow <- send(0) }()
		synctest.Wait()
		for i := 1; i < 3; i++ {
			start := time.Now()
			if err := send(i); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d > 50*time.Millisecond {
				t.Errorf("conversation %d waited %v for another one's commit", i, d)
			}
		}
		select {
		case err := <-slow:
			t.Fatal("the slow one was answered: ", err)
		default:
		}
		if err := <-slow; err != nil {
			t.Fatal(err)
		}
	})
}
