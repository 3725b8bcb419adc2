package session_test

import (
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/session"
)

// silent is a Dispatcher that attaches everybody and keeps no directory.
type silent struct{}

func (silent) Submit(_ chat.Principal, _ chat.Origin, _ chat.Command, done func(chat.Result, error)) {
	done(chat.Result{}, nil)
}

func (silent) Register(chat.UserKey, chat.ConversationID, chat.SessionID) {}

func (silent) Unregister(chat.UserKey, chat.ConversationID, chat.SessionID) {}

func (silent) Enter(chat.UserKey, func(error)) bool { return true }

func (silent) Exit(chat.UserKey) {}

// TestIdleSessionsAreSmall: 20,000 users with one session each. The bound is generous towards the allocator;
// what is meant is 200 to 250 bytes, not a goroutine's 4,000.
func TestIdleSessionsAreSmall(t *testing.T) {
	m := session.New(session.Config{Dispatcher: silent{}, Verifier: &verifier{now: time.Now}})
	defer m.Close()
	m.Bind(nowhere{})
	const n = 20_000
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for i := range n {
		d := m.Upgrade(&reactor.Request{Path: chatPath, Host: "h", Header: http.Header{"Authorization": {fmt.Sprintf("Bearer user-%05d", i)}}})
		m.Open(reactor.Conn{Handle: reactor.Handle(1<<32 + i + 1), Session: d.Session})
	}
	per := float64(heap()-before) / n
	t.Logf("%.0f bytes per session of its own user", per)
	if s := m.Stats(); s.Open != n {
		t.Fatalf("%+v", s)
	}
	if per > 400 {
		t.Fatalf("%.0f bytes per session", per)
	}
	runtime.KeepAlive(m)
}
