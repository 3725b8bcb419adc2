package session_test

import (
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/session"
)

// BenchmarkMessage is the way of a frame from the transport to the Dispatcher.
func BenchmarkMessage(b *testing.B) {
	bed := newBed(b, func(c *session.Config, _ *hub) {
		c.Dispatcher = silent{}
		c.Limiter = session.NewLimiter(session.LimiterConfig{Rate: 1e9, Burst: 1e9})
	})
	c := bed.dial(chatPath, "alice")
	in := []byte(`{"type":"send_message","content":"hello there","client_id":"c-1"}`)
	b.ReportAllocs()
	for b.Loop() {
		bed.m.Message(c.Conn, true, in)
	}
}

// BenchmarkDeliver is the way of a message from the directory to the transport, for 1,000 sessions.
func BenchmarkDeliver(b *testing.B) {
	bed := newBed(b, nil)
	bed.m.Bind(nowhere{})
	s := &chat.SessionSet{}
	for i := range 1000 {
		s.Sessions = append(s.Sessions, chat.SessionID(reactor.Handle(i+1)))
	}
	e := event(3, "alice", "hello there")
	b.ReportAllocs()
	for b.Loop() {
		bed.m.Deliver(s, &chat.Delivery{Key: convKey, Notices: []chat.Notice{{Event: e}}})
	}
}
