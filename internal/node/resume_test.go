package node_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

func TestReq047_Resume(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	b := bob.dial(id)
	a := ann.dial(id)
	var all []string
	for i := range 30 {
		all = append(all, a.say(id, fmt.Sprint("m", i)).str("id"))
		if i == 9 {
			b.message("m9")
			_ = b.conn.CloseNow()
		}
	}
	check := func(s *socket, ask object, from int) {
		t.Helper()
		s.send(ask)
		for i := from; i < 30; i++ {
			if f := s.next(); f.str("id") != all[i] || f.num("seq") != i+2 {
				t.Fatalf("%s, want message %d", f.raw, i)
			}
		}
		if f := s.next(); f.str("type") != "resumed" || f.num("head_seq") != 31 || f.str("ref") != "r" {
			t.Errorf("%s", f.raw)
		}
	}
	check(bob.dial(id), object{"type": "resume", "last_seq": 11, "ref": "r"}, 10)
	check(bob.dial(id), object{"type": "resume", "last_seq": 31, "ref": "r"}, 30)
	points := []object{{"conversation_id": id, "last_seq": 11}}
	check(bob.dial(), object{"type": "resume", "conversations": points, "ref": "r"}, 10)
	h.restart()
	check(bob.dial(), object{"type": "resume", "conversations": points, "ref": "r"}, 10)

	s := bob.dial(id)
	s.send(object{"type": "resume", "last_seq": 32})
	if f := s.next(); f.str("type") != "gap" {
		t.Errorf("ahead of the log: %s", f.raw)
	}
}

func TestReq048_IdempotentSend(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	send := object{"type": "send_message", "content": "once", "client_id": "c", "ref": 1}
	a.send(send)
	first := a.expect("message")
	again := func(s *socket, ref int) {
		t.Helper()
		send["ref"], send["conversation_id"] = ref, id
		s.send(send)
		if f := s.next(); f.str("id") != first.str("id") || f.num("seq") != first.num("seq") || f.num("ref") != ref || f.str("client_id") != "c" {
			t.Errorf("%s, want the message %s", f.raw, first.raw)
		}
	}
	again(a, 2)
	again(ann.dial(), 3)
	for _, r := range []*reply{
		ann.call("POST", "messages/", object{"conversation_id": id, "content": "once", "client_id": "c"}).want(http.StatusCreated),
	} {
		if r.body.str("id") != first.str("id") {
			t.Errorf("by REST: %s", r.raw)
		}
	}
	b.send(object{"type": "send_message", "content": "bob's", "client_id": "c"})
	if f := b.message("bob's"); f.str("id") == first.str("id") {
		t.Error("client ids of two users are one")
	}
	h.restart()
	again(ann.dial(), 4)
	h.drop()
	again(ann.dial(id), 5)
	if all := bob.history(id); len(all) != 2 {
		t.Errorf("stored: %v", all)
	}

	// Many at once.
	sockets := make([]*socket, 8)
	for i := range sockets {
		sockets[i] = ann.dial(id)
	}
	for range 10 {
		for _, s := range sockets {
			s.send(object{"type": "send_message", "content": "race", "client_id": "race", "ref": "race"})
		}
	}
	ids := map[string]bool{}
	for _, s := range sockets {
		for answered := 0; answered < 10; {
			f := s.expect("message")
			ids[f.str("id")] = true
			if f.str("ref") == "race" {
				answered++
			}
		}
	}
	if len(ids) != 1 || len(bob.history(id)) != 3 {
		t.Errorf("%d messages", len(ids))
	}
}

func TestReq052_ShutdownKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial()
	stop := make(chan struct{})
	go func() { // a hundred at a time on their way, up to the very end
		defer close(stop)
		for i := 0; ; i++ {
			if !a.reached(i-100) || a.put(fmt.Sprintf(`{"type":"send_message","content":"m%d"}`, i)) != nil {
				return
			}
		}
	}()
	a.message("m100")
	h.stop()
	acked := a.wantClose(1001)
	b.wantClose(1001)
	<-stop
	h.run()
	stored := map[string]bool{}
	for _, m := range ann.history(id) {
		stored[m.str("id")] = true
	}
	n := 0
	for _, f := range acked {
		if f.str("type") != "message" {
			continue
		}
		n++
		if !stored[f.str("id")] {
			t.Errorf("acknowledged but lost: %s", f.raw)
		}
	}
	if len(stored) < 101+n {
		t.Errorf("%d stored, %d acknowledged", len(stored), 101+n)
	}
}

func TestReq047_Gap(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a := ann.dial(id)
	const n = 1100
	for i := range n {
		a.send(object{"type": "send_message", "content": fmt.Sprint("m", i)})
		if i%100 == 99 {
			a.message(fmt.Sprint("m", i))
		}
	}
	s := bob.dial(id)
	for missed, want := range map[int]string{1001: "gap", n + 1: "gap", 400: "resumed", 1: "resumed", 0: "resumed"} {
		s.send(object{"type": "resume", "last_seq": n + 1 - missed, "ref": missed})
		for seq := n + 2 - missed; want == "resumed" && seq <= n+1; seq++ {
			if f := s.next(); f.num("seq") != seq {
				t.Fatalf("%d missed: %s, want seq %d", missed, f.raw, seq)
			}
		}
		if f := s.next(); f.str("type") != want || f.num("head_seq") != n+1 || f.num("last_seq") != n+1-missed || f.num("ref") != missed {
			t.Errorf("%d missed: %s, want %s", missed, f.raw, want)
		}
	}
	if all := bob.history(id); len(all) != n {
		t.Errorf("the history has %d", len(all))
	}
}

// A client that is cut off again and again, while others talk, misses nothing.
func TestReq047_ReconnectsUnderLoad(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a := ann.dial(id)
	const n = 2000
	var has atomic.Int64 // of them the other one
	ended, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	defer func() { end(); <-done }()
	go func() {
		defer close(done)
		for i := range n {
			// Whoever lags far behind would be told of a gap.
			for has.Load() < int64(i-300) && ended.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			if ended.Err() != nil {
				return
			}
			if !a.reached(i-50) || a.put(fmt.Sprintf(`{"type":"send_message","content":"m%d"}`, i)) != nil {
				t.Error("the sender cannot send")
				return
			}
		}
	}()
	last, connections := 1, 0
	for last < n+1 {
		path, ask := []string{id}, object{"type": "resume", "last_seq": last}
		if connections%2 == 1 {
			path, ask = nil, object{"type": "resume", "conversations": []object{{"conversation_id": id, "last_seq": last}}}
		}
		s := bob.dial(path...)
		connections++
		s.send(ask)
		early := map[int]string{} // live ones that come before the replay gets there
		for resumed, got := false, 0; last < n+1 && (!resumed || got < 50); {
			switch f := s.next(); f.str("type") {
			case "message":
				got++
				if f.num("seq") > last {
					early[f.num("seq")] = f.str("content")
				}
				for early[last+1] != "" {
					if want := fmt.Sprint("m", last-1); early[last+1] != want {
						t.Fatalf("seq %d is %q, want %q", last+1, early[last+1], want)
					}
					delete(early, last+1)
					last++
					has.Store(int64(last - 1))
				}
			case "resumed":
				resumed = true
				if last < f.num("head_seq") {
					t.Fatalf("resumed up to %d, but got only up to %d", f.num("head_seq"), last)
				}
			default:
				t.Fatal(f.raw)
			}
		}
		_ = s.conn.CloseNow()
	}
	<-done
	t.Logf("%d connections", connections)
	if connections < 5 {
		t.Error("hardly cut off")
	}
}
