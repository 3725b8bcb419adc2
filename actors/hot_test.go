package actors_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// A conversation of 10,000 members under a flood keeps nobody else's from being answered, in order and in full; what it
// costs them is logged. Its own members get every message.
func TestReq165_HotConversationDoesNotStallOthers(t *testing.T) {
	r := newRig(t, actors.Config{Rules: chat.Rules{MaxGroupSize: 10_001}})
	const members, flood, others, each = 10_000, 500, 20, 50
	ids := make([]chat.UserID, members-1)
	for i := range ids {
		ids[i] = chat.UserID(fmt.Sprint("m", i))
	}
	r.store.AddUsers(tenant, ids...)
	hot := r.group("1", ids...)
	for i, u := range ids[:100] {
		r.Register(as(u).Key(), chat.ConversationID{}, chat.SessionID(1000+i))
	}
	var cold [others]chat.ConversationID
	for i := range cold {
		me := chat.UserID(fmt.Sprint("cold", i))
		r.store.AddUsers(tenant, me)
		cold[i] = r.direct(me, "2")
	}
	p99 := func() time.Duration {
		var mu sync.Mutex
		var took []time.Duration
		var wg sync.WaitGroup
		for i, c := range cold {
			me := chat.UserID(fmt.Sprint("cold", i))
			wg.Go(func() {
				var last uint64
				for n := range each {
					start := time.Now()
					res, err := r.Do(bg, as(me), chat.Send{Conversation: c, Content: text(n)})
					if err != nil || last != 0 && res.Event.Seq != last+1 {
						t.Errorf("%+v, %v after %d", res.Event, err, last)
						return
					}
					last = res.Event.Seq
					mu.Lock()
					took = append(took, time.Since(start))
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	calm := p99()
	var wg sync.WaitGroup
	for n := range flood {
		wg.Add(1)
		r.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: hot, Content: text(n)}, func(_ chat.Result, err error) {
			defer wg.Done()
			if err != nil {
				t.Error(err)
			}
		})
	}
	t.Logf("p99 of the others: %v while it is calm, %v during the flood", calm, p99())
	wg.Wait()
	messages := func() (numbers []uint64) { // its creation may be under way when the session opens
		for _, x := range r.edge.notices(1099) {
			if x.Event.IsMessage() {
				numbers = append(numbers, x.Event.MsgNo)
			}
		}
		return numbers
	}
	eventually(t, "all deliveries", func() bool { return len(messages()) >= flood })
	for n, number := range messages() {
		if number != uint64(n)+1 {
			t.Fatalf("message %d comes as number %d", n, number)
		}
	}
}
