package actors_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// Positions for which the log has to be read do not have it read any number of times at once for one member.
func TestReq166_CountsOfOneMemberAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, actors.Config{})
		c := r.group("1", "2")
		r.do("2", chat.Send{Conversation: c, Content: "unread"})
		var head uint64
		for range 200 {
			head = r.do("1", chat.Send{Conversation: c, Content: "own"}).Event.Seq
		}
		go_ := make(chan struct{})
		var mu sync.Mutex
		reading, refused, done := 0, 0, 0
		r.store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "ReadEvents" {
				mu.Lock()
				reading++
				mu.Unlock()
				<-go_
			}
			return nil
		}, nil)
		const marks = 40
		for i := range marks {
			r.Submit(as("1"), chat.Origin{}, chat.MarkRead{Conversation: c, Seq: head - 1 - uint64(i)}, func(_ chat.Result, err error) {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					done++
				case errors.Is(err, chat.ErrOverloaded):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		if reading == 0 || reading > 8 || refused != marks-reading {
			t.Errorf("%d reads are under way for %d positions, %d of which were refused", reading, marks, refused)
		}
		mu.Unlock()
		close(go_)
		synctest.Wait()
		if r.store.SetFaults(nil, nil); done == 0 || done+refused != marks {
			t.Errorf("%d done, %d refused of %d", done, refused, marks)
		}
		r.do("1", chat.MarkRead{Conversation: c, Seq: head - 1})
		if it, err := r.Conversation(bg, as("1"), c); err != nil || it.Unread != 0 {
			t.Errorf("%d unread, %v", it.Unread, err)
		}
	})
}
