package session_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/reactor"
)

// TestInterleavings drives sessions through random orders of events and checks what must hold in all of them:
// status first; at most one Register, and an Unregister for it; nothing sent after Closed or after the close
// frame; commands in the order of their frames; one answer per ref.
func TestInterleavings(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBed(t, nil)
		defer b.m.Close()
		b.hub.answer = nil
		type peer struct {
			*conn
			d      reactor.Decision
			opened bool
			sent   int            // refs used
			heard  map[string]int // answers by ref
			frames int
			closed bool
		}
		var peers []*peer
		find := func(ok func(*peer) bool) *peer {
			var c []*peer
			for _, p := range peers {
				if ok(p) {
					c = append(c, p)
				}
			}
			if len(c) == 0 {
				rt.Skip("nobody")
			}
			return c[rapid.IntRange(0, len(c)-1).Draw(rt, "peer")]
		}
		live := func(p *peer) bool { return p.opened && !p.closed }
		ours := map[reactor.Handle]*peer{}

		read := func() {
			for _, p := range peers {
				if !p.opened {
					continue
				}
				for _, f := range b.frames(p.conn) {
					if (p.frames == 0) != (f == status) {
						rt.Fatalf("frame %d is %s", p.frames, f)
					}
					p.frames++
					var v struct{ Ref json.Number }
					if err := json.Unmarshal([]byte(f), &v); err != nil {
						rt.Fatalf("%s: %v", f, err)
					}
					if v.Ref != "" {
						p.heard[v.Ref.String()]++
						if p.heard[v.Ref.String()] > 1 {
							rt.Fatalf("second answer: %s", f)
						}
					}
				}
			}
		}
		order := map[chat.SessionID]int{}
		checked := 0
		inOrder := func() {
			for _, s := range b.hub.commands[checked:] {
				if s.o.Session == 0 {
					continue
				}
				n, err := strconv.Atoi(s.o.Ref)
				if err != nil || n <= order[s.o.Session] {
					rt.Fatalf("command %q after %d", s.o.Ref, order[s.o.Session])
				}
				order[s.o.Session] = n
			}
			checked = len(b.hub.commands)
		}

		rt.Repeat(map[string]func(*rapid.T){
			"upgrade": func(rt *rapid.T) {
				path := rapid.SampledFrom([]string{chatPath, "/ws/"}).Draw(rt, "path")
				token := rapid.SampledFrom([]string{"alice", "bob", "forged"}).Draw(rt, "token")
				peers = append(peers, &peer{d: b.m.Upgrade(request(path, token)), heard: map[string]int{}})
			},
			"open": func(rt *rapid.T) {
				p := find(func(p *peer) bool { return !p.opened && !p.closed })
				p.conn, p.opened = b.open(p.d), true
				ours[p.Handle] = p
			},
			"message": func(rt *rapid.T) {
				p := find(live)
				p.sent++
				b.send(p.conn, fmt.Sprintf(rapid.SampledFrom([]string{
					`{"type":"send_message","content":"x","conversation_id":"` + conv.String() + `","ref":%d}`,
					`{"type":"typing","is_typing":true,"conversation_id":"` + conv.String() + `","ref":%d}`,
					`{"type":"ping","ref":%d}`, `{"type":"nonsense","ref":%d}`,
				}).Draw(rt, "frame"), p.sent))
			},
			"answer": func(rt *rapid.T) {
				if len(b.hub.waiting) == 0 {
					rt.Skip("nothing to answer")
				}
				i := rapid.IntRange(0, len(b.hub.waiting)-1).Draw(rt, "which")
				s := b.hub.waiting[i]
				b.hub.waiting = append(b.hub.waiting[:i:i], b.hub.waiting[i+1:]...)
				s.done(chat.Result{}, rapid.SampledFrom([]error{nil, nil, nil, chat.ErrNotMember, chat.ErrOverloaded, errBug}).Draw(rt, "error"))
			},
			"deliver": func(rt *rapid.T) {
				// As the directory does: to those who are registered.
				var to []*conn
				for _, p := range peers {
					if live(p) && b.hub.isRegistered(chat.SessionID(p.Handle)) {
						to = append(to, p.conn)
					}
				}
				d := &chat.Delivery{Key: convKey, Notices: []chat.Notice{{Event: event(1, "alice", "x")}}}
				if rapid.Bool().Draw(rt, "detach") {
					d.Detached = []chat.UserID{"bob"}
				}
				b.deliver(d, to...)
			},
			"close": func(rt *rapid.T) {
				p := find(func(p *peer) bool { return !p.closed })
				p.closed = true
				if p.opened {
					b.close(p.conn)
				} else {
					b.m.Closed(reactor.Conn{Session: p.d.Session}, reactor.CloseAbnormal, "")
				}
			},
			"": func(*rapid.T) { read(); inOrder() },
		})
		for _, p := range peers {
			if !p.closed {
				if p.opened {
					b.close(p.conn)
				} else {
					b.m.Closed(reactor.Conn{Session: p.d.Session}, reactor.CloseAbnormal, "")
				}
			}
		}
		for _, s := range b.hub.waiting {
			s.done(chat.Result{}, nil)
		}
		read()
		for s, n := range b.hub.registered {
			if n != 0 {
				rt.Fatalf("session %d is still registered", s)
			}
		}
		if st := b.m.Stats(); st.Open+st.Attaching+st.Introducing+st.Verifying+st.Closing+st.Users != 0 {
			rt.Fatalf("left behind: %+v", st)
		}
	})
}
