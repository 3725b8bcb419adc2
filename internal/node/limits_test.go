package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

func TestReq033_FiftyMembers(t *testing.T) {
	t.Parallel()
	h := start(t)
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprint("user", i))
	}
	us := h.users(names...)
	id := us[0].group("Everybody", names[1:]...)
	sockets := make([]*socket, len(us))
	for i, u := range us {
		sockets[i] = u.dial(id)
	}
	const n = 20
	begin := time.Now()
	for i := range n {
		sockets[i].send(object{"type": "send_message", "content": fmt.Sprint("m", i)})
	}
	for i, s := range sockets {
		seen := map[string]bool{}
		for range n {
			seen[s.expect("message").str("content")] = true
		}
		if len(seen) != n {
			t.Errorf("member %d got %d of %d", i, len(seen), n)
		}
	}
	t.Logf("%d deliveries took %v", n*len(us), time.Since(begin))
}

func TestReq034_OneOrderForAll(t *testing.T) {
	t.Parallel()
	h := start(t)
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprint("user", i))
	}
	us := h.users(names...)
	id := us[0].group("Crew", names[1:]...)
	var senders, receivers []*socket
	for i, u := range us {
		senders = append(senders, u.dial(id))
		if i%3 == 0 {
			receivers = append(receivers, u.dial())
		}
	}
	const each = 100
	var wg sync.WaitGroup
	for i, s := range senders {
		wg.Go(func() {
			for j := range each {
				if err := s.put(fmt.Sprintf(`{"type":"send_message","content":"%d %d"}`, i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var order []string
	for i, s := range append(receivers, senders...) {
		next := map[int]int{} // per sender
		for j := range each * len(us) {
			f := s.expect("message")
			if f.num("seq") != j+2 {
				t.Fatalf("receiver %d: %s, want seq %d", i, f.raw, j+2)
			}
			if i == 0 {
				order = append(order, f.str("id"))
			} else if f.str("id") != order[j] {
				t.Fatalf("receiver %d: %s is not what the first got", i, f.raw)
			}
			var from, n int
			if _, err := fmt.Sscan(f.str("content"), &from, &n); err != nil || next[from] != n {
				t.Fatalf("receiver %d: %s, want %d of the sender", i, f.raw, next[from])
			}
			next[from]++
		}
	}
	wg.Wait()
	history := us[0].history(id)
	for i, m := range history {
		if m.str("id") != order[len(order)-1-i] {
			t.Fatalf("the history has another order at %d", i)
		}
	}
	if len(history) != len(order) {
		t.Errorf("%d in the history, %d delivered", len(history), len(order))
	}
}

func TestReq046_SocketsPerUser(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.SessionsPerUser = 2 })
	ann, bob := h.user("ann"), h.user("bob")
	first, second := ann.dial(), ann.dial()
	third, err := h.open("/ws/", bearer(ann.token))
	if err != nil {
		t.Fatal(err)
	}
	if before := third.wantClose(4029); len(before) != 1 || before[0].str("code") != "rate_limited" || before[0].num("retry_after_ms") == 0 {
		t.Errorf("first came %v", before)
	}
	bob.dial().alive()
	first.alive()
	_ = second.conn.CloseNow()
	h.await("room for another socket", func() bool {
		s, err := h.open("/ws/", bearer(ann.token))
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.take()
		return err == nil && f.raw == statusFrame
	})
}

func TestReq050_TooBig(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.MaxMessageBytes = 2048 })
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	b := bob.dial(id)
	fits, over := ann.dial(id), ann.dial(id)
	frame := func(n int) string {
		const head, tail = `{"type":"send_message","content":"`, `"}`
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	fits.write(frame(2048))
	fits.expect("message")
	_ = over.put(frame(2049)) // may be closed on the way
	over.wantClose(1009)
	fits.say(id, "marker")
	if fs := b.until("marker"); len(fs) != 2 {
		t.Errorf("bob got %d frames", len(fs))
	}
}

func TestReq117_ContentLength(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	s := ann.dial(id)
	for _, c := range []string{"x", "ä", "€", "😀"} {
		fits, over := strings.Repeat(c, 10_000), strings.Repeat(c, 10_001)
		s.send(object{"type": "send_message", "content": over})
		if f := s.refused("too_long"); f.str("message") != "Message too long (max 10,000 characters)" {
			t.Error(f.raw)
		}
		s.send(object{"type": "send_message", "content": "  " + fits + "\n"})
		if f := s.expect("message"); f.str("content") != fits {
			t.Errorf("%d bytes came back", len(f.str("content")))
		}
		ann.call("POST", "messages/", object{"conversation_id": id, "content": over}).want(400).
			says(`{"content":["Ensure this field has no more than 10000 characters."]}`)
		m := ann.post(id, fits)
		if m.str("content") != fits {
			t.Error("REST changed the content")
		}
		ann.call("PATCH", "messages/"+m.str("id")+"/", object{"content": over}).want(400)
		s.message(fits)
	}
	if n := len(ann.history(id)); n != 8 {
		t.Errorf("%d stored, want 8", n)
	}
}

func TestReq118_RateLimitSpansSocketsAndREST(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.UserRate, c.UserBurst = 10, 10 })
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	one, two, b := ann.dial(id), ann.dial(), bob.dial(id)
	h.clock.freeze() // all of what follows is within one second
	for i := range 3 {
		one.say(id, fmt.Sprint("one", i))
		two.say(id, fmt.Sprint("two", i))
		ann.post(id, fmt.Sprint("rest", i))
	}
	one.say(id, "tenth")
	refused := func(s *socket) {
		t.Helper()
		s.send(object{"type": "send_message", "conversation_id": id, "content": "over", "ref": "over"})
		f := s.expect("error")
		if f.str("code") != "rate_limited" || f.str("ref") != "over" || f.num("retry_after_ms") <= 0 || f.num("retry_after_ms") > 1000 {
			t.Error(f.raw)
		}
	}
	refused(one)
	refused(two)
	r := ann.call("POST", "messages/", object{"conversation_id": id, "content": "over"}).want(http.StatusTooManyRequests)
	if r.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	r.says("Request was throttled.")
	b.say(id, "bob is not limited")
	two.alive() // and what changes nothing has a bucket of its own
	h.clock.advance(100 * time.Millisecond)
	one.say(id, "a tenth later")
	refused(two)
	h.clock.advance(time.Second)
	for i := range 10 {
		two.say(id, fmt.Sprint("again", i))
	}
	refused(one)
	if n := len(ann.history(id)); n != 22 {
		t.Errorf("%d stored, want 22", n)
	}
}

func TestReq119_MaxConnections(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.MaxConnections = 10 })
	ann := h.user("ann")
	var open []*socket
	for {
		s, err := h.open("/ws/", bearer(ann.token))
		if err != nil {
			if s.resp == nil || s.resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("refused with %v", err)
			}
			break
		}
		if open = append(open, s); len(open) > 10 {
			t.Fatal("more than ten connections")
		}
	}
	for _, s := range open {
		s.alive()
	}
	_ = open[0].conn.CloseNow()
	h.await("room again", func() bool { _, err := h.open("/ws/", bearer(ann.token)); return err == nil })
}
