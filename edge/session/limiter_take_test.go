package session_test

import (
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/session"
)

// What was spent on other nodes counts here, and what is spent here is told, refusals and signals excepted.
func TestReq118_LimitSpansNodes(t *testing.T) {
	now := time.Unix(1000, 0)
	told := 0
	l := session.NewLimiter(session.LimiterConfig{Rate: 10, Burst: 10, Now: func() time.Time { return now }, Spent: func(chat.UserKey) { told++ }})
	k := chat.UserKey{Tenant: "t", User: "1"}
	for i := range 4 {
		if !l.Allow(k, session.Change).OK {
			t.Fatalf("%d is refused", i)
		}
	}
	l.Take(k, 5)
	if !l.Allow(k, session.Change).OK {
		t.Fatal("the tenth is refused")
	}
	v := l.Allow(k, session.Change)
	if v.OK || v.RetryAfter <= 0 || v.RetryAfter > 100*time.Millisecond {
		t.Fatalf("the eleventh: %+v", v)
	}
	if !l.Allow(k, session.Signal).OK || told != 5 {
		t.Fatalf("told of %d", told)
	}
	l.Take(k, 1e9) // nobody is shut out for longer than two full buckets take
	now = now.Add(2 * time.Second)
	if !l.Allow(k, session.Change).OK {
		t.Fatal("refused two buckets later")
	}
	l.Take(k, -5)
	l.Take(chat.UserKey{Tenant: "t", User: "2"}, 3)
}
