package actors_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// A store that hangs in as many writes as there are leaders, and refuses the next ones at once (its disk is full):
// who comes then hears of it.
func TestRefusedWhileWritesHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, actors.Config{})
		var ids []chat.ConversationID
		for _, u := range []chat.UserID{"2", "3", "4", "5", "6"} {
			ids = append(ids, r.direct("1", u))
		}
		hang := make(chan struct{})
		var calls atomic.Int64
		r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op != "AppendEvents" {
				return nil
			}
			if calls.Add(1) <= 3 {
				<-hang
				return nil
			}
			return chat.ErrUnavailable
		}, nil)
		var hung, refused atomic.Int64
		for _, c := range ids[:3] {
			r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, Content: "x"}, func(_ chat.Result, err error) {
				if hung.Add(1); err != nil {
					t.Errorf("of those that hung: %v", err)
				}
			})
			synctest.Wait() // a leader each
		}
		for _, c := range ids[3:] {
			r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, Content: "y"}, func(_ chat.Result, err error) {
				if refused.Add(1); !errors.Is(err, chat.ErrUnavailable) {
					t.Errorf("of those that came later: %v", err)
				}
			})
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if hung.Load() != 0 || refused.Load() != 2 {
			t.Fatalf("%d of 3 answered, %d of 2 refused", hung.Load(), refused.Load())
		}
		close(hang)
		synctest.Wait()
		if hung.Load() != 3 {
			t.Fatalf("%d of 3 answered", hung.Load())
		}
		r.store.SetFaults(nil, nil)
		r.do("1", chat.Send{Conversation: ids[4], Content: "z"})
	})
}
