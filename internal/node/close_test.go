package node_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/internal/config"
)

// TestReq041_CloseCodes provokes each code that a client can. 1002 is never for what an application says
// (TestReq040); 1011 needs a bug; 1013 needs a hub that cannot keep up.
func TestReq041_CloseCodes(t *testing.T) {
	t.Parallel()
	for code, provoke := range map[int]func(t *testing.T, h *hub, id string) *socket{
		1000: func(t *testing.T, h *hub, id string) *socket {
			s := h.user("ann").dial(id)
			_ = s.conn.Close(websocket.StatusNormalClosure, "bye")
			return s
		},
		1001: func(t *testing.T, h *hub, id string) *socket {
			s := h.user("ann").dial(id)
			h.stop()
			if f := s.expect("goaway"); f.num("retry_after_ms") <= 0 {
				t.Error(f.raw)
			}
			return s
		},
		1008: func(t *testing.T, h *hub, id string) *socket { // one message in too many pieces
			s := h.user("ann").dial(id)
			w, err := s.conn.Writer(t.Context(), websocket.MessageText)
			for i := 0; i < 2000 && err == nil; i++ {
				_, err = fmt.Fprint(w, " ")
			}
			return s
		},
		1009: func(t *testing.T, h *hub, id string) *socket {
			s := h.user("ann").dial(id)
			_ = s.put(strings.Repeat(" ", 70000))
			return s
		},
		4001: func(t *testing.T, h *hub, id string) *socket { return must(h.open("/ws/", nil))(t) },
		4003: func(t *testing.T, h *hub, id string) *socket {
			return must(h.open("/ws/chat/"+id+"/", bearer(h.user("eve").token)))(t)
		},
		4004: func(t *testing.T, h *hub, id string) *socket {
			ann := h.user("ann")
			g := ann.group("Crew", "bob", "cat")
			h.user("bob").act(g, "leave").want(200)
			h.user("cat").act(g, "leave").want(200)
			s, other := ann.dial(g), ann.dial(g)
			ann.act(g, "leave").want(200)
			other.wantClose(4004)
			return s
		},
		4029: func(t *testing.T, h *hub, id string) *socket { // refused again and again
			h.clock.freeze()
			s := h.user("ann").dial(id)
			for i := 0; i < 200 && s.put(`{"type":"send_message","content":"spam"}`) == nil; i++ {
			}
			return s
		},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			h := start(t, func(c *config.Config) { c.UserRate = 5 })
			h.users("bob", "cat")
			id := h.user("ann").direct("bob")
			bystander := h.user("bob").dial()
			s := provoke(t, h, id)
			s.t = t
			s.wantClose(code)
			if code != 1001 {
				bystander.alive()
			}
		})
	}
}

func must(s *socket, err error) func(*testing.T) *socket {
	return func(t *testing.T) *socket {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestReq041_UnknownConversationLooksLikeAForeignOne(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	for _, id := range []string{"0192aaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "not-a-uuid", "00000000-0000-0000-0000-000000000000"} {
		s := must(h.open("/ws/chat/"+id+"/", bearer(ann.token)))(t)
		if code, reason, before := s.closed(); code != 4003 || reason != "not a participant" || len(before) != 0 {
			t.Errorf("%s: %d %q %v", id, code, reason, before)
		}
	}
}

// deaf is a WebSocket client that reads nothing after its handshake, with a small receive buffer.
func (u *user) deaf(path string) *websocket.Conn {
	u.h.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 32768) })
	}}
	c, _, err := websocket.Dial(u.h.t.Context(), u.h.ws+path, &websocket.DialOptions{
		HTTPHeader: bearer(u.token), HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}},
	})
	if err != nil {
		u.h.t.Fatal(err)
	}
	c.SetReadLimit(-1)
	u.h.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func TestReq043_DeadPeer(t *testing.T) {
	t.Parallel()
	// A machine that stands still for as long as the time-out cuts off who would have answered: then with a longer one.
	for timeout := time.Second; !deadPeerIsCutOff(t, timeout); timeout *= 4 {
		if timeout > patience/4 {
			t.Fatalf("who answers pings is cut off even with a time-out of %v", timeout)
		}
	}
}

// deadPeerIsCutOff is the test with that time-out for pongs; false: the one that answers was cut off, too.
func deadPeerIsCutOff(t *testing.T, timeout time.Duration) bool {
	h := start(t, func(c *config.Config) { c.PingInterval, c.PongTimeout = time.Second, timeout })
	ann := h.user("ann")
	quiet := h.user("bob").dial() // answers pings, says nothing
	ann.deaf("/ws/")              // reads no pings, and so answers none
	begin := time.Now()
	h.await("the silent peer is gone", func() bool {
		return h.metric("hub_edge_half_open_closed_total") > 0 && h.metric("hub_users_connected") <= 1
	})
	t.Logf("after %v", time.Since(begin))
	if quiet.put(`{"type":"ping","ref":"alive"}`) != nil {
		return false
	}
	for {
		f, err := quiet.take()
		if err != nil || f.str("type") == "pong" && f.str("ref") == "alive" {
			return err == nil && h.metric("hub_users_connected") == 1
		}
	}
}

func TestReq041_Req045_SlowConsumer(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, bob, cat := us[0], us[1], us[2]
	id := ann.group("Crew", "bob", "cat")
	a, b := ann.dial(id), bob.dial(id)
	slow := cat.deaf("/ws/chat/" + id + "/")
	h.await("cat is connected", func() bool { return h.metric("hub_users_connected") == 3 })
	filler := strings.Repeat("x", 9000)
	sent := 0
	open := time.Now() // when it was so at least
	h.await("the slow consumer is dropped", func() bool {
		open = time.Now()
		for range 20 {
			content := fmt.Sprint(sent, " ", filler)
			a.say(id, content)
			b.message(content) // the others get everything all the time
			sent++
		}
		return h.metric(`hub_session_closed_total{code="4008"}`) == 1
	})
	t.Logf("after %d messages", sent)
	// Should it come back to life soon, it learns why, after a beginning of the log without a gap.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		_, _, err := slow.Read(ctx)
		if err == nil {
			continue
		}
		// The hub leaves it 5 s.
		if code := websocket.CloseStatus(err); code != 4008 && (code != -1 || time.Since(open) < 5*time.Second) {
			t.Errorf("it was told %v", err)
		}
		break
	}
	again := cat.dial(id)
	again.send(object{"type": "resume", "last_seq": sent - 5})
	for i := sent - 4; i <= sent+1; i++ {
		if f := again.next(); f.num("seq") != i {
			t.Errorf("resumed with %d, want %d", f.num("seq"), i)
		}
	}
	again.expect("resumed")
}
