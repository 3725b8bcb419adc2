package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/client"
)

func TestSendReturnsTheStoredMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		o := r.send("c", "hello")
		c := s.greet()
		f := c.expect("send_message")
		if f.Content != "hello" || f.ClientID != o.ClientID || f.Ref == "" || f.Conversation != "c" {
			t.Fatalf("sent %+v", f)
		}
		unsettled(t, o)
		c.ack(f, 4)
		m, err := settled(t, o)
		if err != nil || m.Seq != 4 || m.ID != "m4" || m.ClientID != o.ClientID {
			t.Fatalf("%+v, %v", m, err)
		}
		r.wantLog("4")
		if e := eventsOf[*client.MessageEvent](r)[0]; !e.Own {
			t.Fatal("the echo of one's own message is not marked so")
		}
	})
}

// The server stored the message and the connection broke before the ack: the same client id goes out again
// after the resume, and the handler sees the message once.
func TestLostAckIsRepairedByTheSameClientID(t *testing.T) {
	for _, replayed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			r := start(t, config(s))
			r.Follow("c", 3)
			c := s.greet()
			f := c.expect("resume")
			c.send(`{"type":"resumed","conversation_id":"c","head_seq":3,"ref":%q}`, f.Ref)
			o := r.send("c", "hello")
			first := c.expect("send_message")
			c.drop(1006)

			c = s.greet()
			f = c.expect("resume")
			if f.LastSeq != 3 {
				t.Fatalf("resumed from %d", f.LastSeq)
			}
			c.quiet() // the send waits for the resume
			if replayed {
				c.send(`{"type":"message","id":"m4","sender_id":7,"conversation_id":"c","seq":4,"client_id":%q}`, first.ClientID)
			}
			c.send(`{"type":"resumed","conversation_id":"c","head_seq":3,"ref":%q}`, f.Ref)
			if !replayed {
				again := c.expect("send_message")
				if again.ClientID != first.ClientID {
					t.Fatalf("resent as %q, was %q", again.ClientID, first.ClientID)
				}
				c.ack(again, 4)
				c.ack(again, 4)
			}
			if m, err := settled(t, o); err != nil || m.Seq != 4 {
				t.Fatalf("%+v, %v", m, err)
			}
			r.wantLog("4")
			c.quiet()
			if r.Unsent() != 0 {
				t.Fatal("the outbox is not empty")
			}
		})
	}
}

func TestSendsOfAConversationKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		a, b := r.send("c", "a"), r.send("c", "b")
		other := r.send("d", "x")
		c := s.greet()
		// The two conversations do not wait for each other.
		got := map[string]frame{}
		for range 2 {
			f := c.expect("send_message")
			got[f.Content] = f
		}
		if got["a"].Ref == "" || got["x"].Ref == "" {
			t.Fatalf("sent %v", got)
		}
		c.quiet()
		c.send(`{"type":"error","code":"rate_limited","message":"slow down","retry_after_ms":700,"ref":%q}`, got["a"].Ref)
		c.ack(got["x"], 1)
		before := time.Now()
		f := c.expect("send_message")
		if f.Content != "a" || f.ClientID != a.ClientID {
			t.Fatalf("sent %q", f.Content)
		}
		if d := time.Since(before); d != 700*time.Millisecond {
			t.Fatalf("resent after %v", d)
		}
		c.ack(f, 1)
		f = c.expect("send_message")
		c.ack(f, 2)
		for _, o := range []*client.Outgoing{a, b, other} {
			if _, err := settled(t, o); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWindowPipelines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		cfg := config(s)
		cfg.Window = 2
		r := start(t, cfg)
		for _, m := range []string{"1", "2", "3"} {
			r.send("c", m)
		}
		c := s.greet()
		first := c.expect("send_message")
		second := c.expect("send_message")
		c.quiet()
		c.ack(first, 1)
		if f := c.expect("send_message"); first.Content+second.Content+f.Content != "123" {
			t.Fatalf("sent %q, %q, %q", first.Content, second.Content, f.Content)
		}
	})
}

func TestRefusalEndsTheSendAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		a, b := r.send("c", ""), r.send("c", "b")
		c := s.greet()
		c.send(`{"type":"error","code":"empty_message","message":"Empty message","ref":%q}`, c.expect("send_message").Ref)
		c.ack(c.expect("send_message"), 1)
		_, err := settled(t, a)
		if e := (*client.Error)(nil); !errors.As(err, &e) || e.Code != "empty_message" || e.Temporary() {
			t.Fatalf("got %v", err)
		}
		if _, err := settled(t, b); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnotherUsersMessageIsNoAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		r.send("c", "first")
		c := s.greet()
		c.ack(c.expect("send_message"), 1) // now the client knows who it is
		o := r.send("c", "second")
		f := c.expect("send_message")
		c.send(`{"type":"message","id":"m2","sender_id":1,"conversation_id":"c","seq":2,"client_id":%q}`, f.ClientID)
		unsettled(t, o)
		c.ack(f, 3)
		if m, err := settled(t, o); err != nil || m.Seq != 3 {
			t.Fatalf("%+v, %v", m, err)
		}
		r.wantLog("1", "2", "3")
	})
}

func TestOutboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		cfg := config(s)
		cfg.OutboxLimit = 2
		r := start(t, cfg)
		r.send("c", "1")
		r.send("c", "2")
		if _, err := r.Send(context.Background(), "c", "3"); !errors.Is(err, client.ErrOutboxFull) {
			t.Fatalf("got %v", err)
		}
		c := s.greet()
		c.ack(c.expect("send_message"), 1)
		synctest.Wait()
		r.send("c", "3")
	})
}

func TestGivingUpOnASend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c := s.accept() // not greeted: nothing is transmitted
		_, err := r.Send(ctx, "c", "withdrawn")
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrIndeterminate) {
			t.Fatalf("got %v", err)
		}
		c.send(`{"type":"status"}`)
		c.quiet()

		ctx, cancel = context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = r.Send(ctx, "c", "transmitted")
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrIndeterminate) {
			t.Fatalf("got %v", err)
		}
		f := c.expect("send_message")
		c.drop(1011)
		c = s.greet()
		if again := c.expect("send_message"); again.ClientID != f.ClientID {
			t.Fatal("it is not retried")
		}
	})
}

func TestUnansweredSendReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		o := r.send("c", "x")
		c := s.greet()
		f := c.expect("send_message")
		began := time.Now()
		c2 := s.greet()
		if d := c2.at.Sub(began); d < 15*time.Second || d > 16*time.Second {
			t.Fatalf("reconnected after %v", d)
		}
		again := c2.expect("send_message")
		if again.ClientID != f.ClientID {
			t.Fatal("another client id")
		}
		c2.ack(again, 1)
		if _, err := settled(t, o); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseSettlesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		o := r.send("c", "x")
		c := s.greet()
		c.expect("send_message")
		edit := make(chan error, 1)
		go func() { edit <- r.Edit(context.Background(), "c", "m1", "new") }()
		c.expect("edit")
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		<-r.done
		if r.err != nil {
			t.Fatalf("Run: %v", r.err)
		}
		if _, err := settled(t, o); !errors.Is(err, client.ErrClosed) {
			t.Fatalf("got %v", err)
		}
		if err := <-edit; !errors.Is(err, client.ErrClosed) {
			t.Fatalf("got %v", err)
		}
		if _, err := r.SendAsync("c", "y"); !errors.Is(err, client.ErrClosed) {
			t.Fatalf("got %v", err)
		}
		r.wantState(client.StateClosed)
		states := eventsOf[*client.StateEvent](r)
		if last := states[len(states)-1]; last.State != client.StateClosed {
			t.Fatalf("the last state event is %v", last.State)
		}
	})
}

// Commands other than sends are idempotent: one that was not answered goes out again.
func TestCommandsAreRetriedUntilAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		c := s.greet()
		res := make(chan error, 1)
		go func() { res <- r.React(context.Background(), "c", "m1", "👍", false) }()
		f := c.expect("react")
		if f.MessageID != "m1" || f.Emoji != "👍" || f.Conversation != "c" {
			t.Fatalf("sent %+v", f)
		}
		c.drop(1012)
		c = s.greet()
		f = c.expect("react")
		c.send(`{"type":"reaction","conversation_id":"c","seq":5,"message_id":"m1","emoji":"👍","ref":%q}`, f.Ref)
		if err := <-res; err != nil {
			t.Fatal(err)
		}
		r.wantLog("5")

		go func() { res <- r.Delete(context.Background(), "c", "m9") }()
		c.send(`{"type":"error","message":"Not found.","code":"not_found","ref":%q}`, c.expect("delete").Ref)
		if e := (*client.Error)(nil); !errors.As(<-res, &e) || e.Code != "not_found" {
			t.Fatalf("got %v", e)
		}
	})
}

func TestTypingAndReadPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		if err := r.Typing("c", true); !errors.Is(err, client.ErrOffline) {
			t.Fatalf("got %v", err)
		}
		if err := r.MarkRead("c", 9); err != nil { // kept for later
			t.Fatal(err)
		}
		r.Follow("c", 9)
		c := s.greet()
		f := c.expect("resume")
		if rd := c.expect("read"); rd.UpToSeq != 9 {
			t.Fatalf("read up to %d", rd.UpToSeq)
		}
		c.send(`{"type":"resumed","conversation_id":"c","head_seq":9,"ref":%q}`, f.Ref)
		r.wantState(client.StateOnline)
		_ = r.MarkRead("c", 5)
		c.quiet()
		if err := r.Typing("c", true); err != nil {
			t.Fatal(err)
		}
		if f := c.expect("typing"); !f.IsTyping {
			t.Fatalf("%+v", f)
		}
		c.send(`{"type":"typing","conversation_id":"c","typing_user":"bob","is_typing":true}`)
		c.send(`{"type":"read","conversation_id":"c","message_id":"m9","user":"bob","user_id":1}`)
		if got := eventsOf[*client.TypingEvent](r); len(got) != 1 || got[0].User != "bob" || !got[0].Typing {
			t.Fatalf("%+v", got)
		}
		if got := eventsOf[*client.PositionEvent](r); len(got) != 1 || got[0].UserID != "1" || got[0].Kind != "read" {
			t.Fatalf("%+v", got)
		}
	})
}
