package node_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

// chatter exchanges messages between two users for as long as a test wants to know that they can.
type chatter struct {
	id   string
	a, b *socket
	n    int
}

func (h *hub) chatter() *chatter {
	h.t.Helper()
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	return &chatter{id: id, a: ann.dial(id), b: bob.dial()}
}

// chat fails the test unless messages pass in both directions and nothing else comes.
func (c *chatter) chat() {
	c.a.t.Helper()
	for _, pair := range [][2]*socket{{c.a, c.b}, {c.b, c.a}} {
		c.n++
		content := fmt.Sprint("still here ", c.n)
		pair[0].say(c.id, content)
		if f := pair[1].next(); f.str("content") != content {
			c.a.t.Fatalf("%s, want %q", f.raw, content)
		}
	}
}

const upgradeRequest = "GET /ws/?token=%s HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// upgraded is a connection after the handshake, without anything that speaks the protocol.
func (u *user) upgraded() (net.Conn, *bufio.Reader, error) {
	c := u.h.rawConn()
	if _, err := fmt.Fprintf(c, upgradeRequest, u.token); err != nil {
		return nil, nil, err
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	r := bufio.NewReaderSize(c, 512)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, nil, fmt.Errorf("upgrade: %s", resp.Status)
	}
	return c, r, nil
}

// gone waits until the hub has closed a connection, and returns what it said before.
func gone(t *testing.T, c net.Conn, r io.Reader) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection stays open")
	}
	return string(b)
}

func TestHostile_SilentConnections(t *testing.T) {
	h := start(t, func(c *config.Config) { c.PingInterval = time.Hour }) // nobody of them answers a ping
	c := h.chatter()
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprint("mute", i))
	}
	mutes := h.users(names...)
	const each = 1500
	begin := time.Now()
	silent := make([]net.Conn, each)
	for i := range silent { // not even a handshake
		silent[i] = h.rawConn()
		if i%100 == 0 {
			c.chat()
		}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range each { // a handshake and then nothing
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if _, _, err := mutes[i%len(mutes)].upgraded(); err != nil {
				t.Error(err)
			}
		})
		if i%100 == 0 {
			c.chat()
		}
	}
	wg.Wait()
	h.await("all are open", func() bool { return h.metric("hub_sessions_open") == each+2 })
	for range 20 {
		c.chat()
	}
	t.Logf("%d connections after %v", 2*each, time.Since(begin))
	for _, s := range silent { // they had their chance
		gone(t, s, s)
	}
	c.chat()
	if n := h.metric("hub_sessions_open"); n != each+2 {
		t.Errorf("%v sessions are left, want %d", n, each+2)
	}
}

func TestHostile_SlowHandshakes(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.chatter()
	request := fmt.Sprintf(upgradeRequest, "x.y.z")
	conns := make([]net.Conn, 100)
	for i := range conns {
		conns[i] = h.rawConn()
	}
	// A byte at a time, for longer than the hub has patience.
	cut := map[int]bool{}
	for at := 0; len(cut) < len(conns) && at < len(request)-1; at++ {
		for i, conn := range conns {
			if cut[i] {
				continue
			}
			_, err := io.WriteString(conn, request[at:at+1])
			_ = conn.SetReadDeadline(time.Now().Add(time.Microsecond))
			_, rerr := conn.Read(make([]byte, 1))
			if err != nil || !errors.Is(rerr, os.ErrDeadlineExceeded) {
				cut[i] = true
			}
		}
		c.chat()
	}
	for _, conn := range conns { // the last byte never comes
		if said := gone(t, conn, conn); strings.Contains(said, "101 Switching") {
			t.Error("upgraded without the end of the request")
		}
	}
	c.chat()
}

func TestHostile_BrokenProtocol(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.chatter()
	eve := h.user("eve")
	for name, bytes := range map[string]string{
		"unmasked":            "\x81\x02hi",
		"a huge length":       "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"a negative length":   "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"reserved bits":       "\xf1\x80\x00\x00\x00\x00",
		"unknown opcode":      "\x83\x80\x00\x00\x00\x00",
		"a long ping":         "\x89\xfe\x00\x7e\x00\x00\x00\x00",
		"a fragmented ping":   "\x09\x80\x00\x00\x00\x00",
		"a lost continuation": "\x80\x80\x00\x00\x00\x00",
		"invalid UTF-8":       "\x81\x82\x00\x00\x00\x00\xc3\x28",
		"a bad close code":    "\x88\x82\x00\x00\x00\x00\x00\x01",
		"HTTP again":          "GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
		"zeros":               strings.Repeat("\x00", 4096),
	} {
		conn, r, err := eve.upgraded()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, bytes); err != nil {
			t.Error(err)
		}
		said := gone(t, conn, r)
		if i := strings.LastIndex(said, "\x88"); i < 0 || i+4 > len(said) {
			t.Errorf("%s: no close frame, only %q", name, said)
		} else if code := int(said[i+2])<<8 | int(said[i+3]); code != 1002 && code != 1007 && code != 1009 {
			t.Errorf("%s: closed with %d", name, code)
		}
		c.chat()
	}
	for _, raw := range []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET\r\n\r\n", "GET /ws/ HTTP/9.9\r\n\r\n", strings.Repeat("A", 100_000),
		"GET /ws/ HTTP/1.1\r\n" + strings.Repeat("X-Header: value\r\n", 10_000) + "\r\n",
	} {
		conn := h.rawConn()
		_, _ = io.WriteString(conn, raw) // the hub may have enough before the end
		if said := gone(t, conn, conn); strings.Contains(said, "101 Switching") {
			t.Errorf("%.40q was upgraded", raw)
		}
		c.chat()
	}
}

func TestHostile_FloodFromOneClient(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.chatter()
	eve := h.user("eve")
	own := eve.direct("ann")
	noise := []string{
		`{`, `[]`, `{"type":"nonsense"}`, `{"type":"send_message","content":7}`, `{"type":"read","message_id":"x"}`,
		`{"type":"send_message","conversation_id":"` + c.id + `","content":"intruder"}`,
		`{"type":"resume","conversations":[{"conversation_id":"` + c.id + `","last_seq":0}]}`,
		`{"type":"typing","is_typing":true,"conversation_id":"` + own + `"}`, strings.Repeat(`{"a":`, 5000),
	}
	said := 0
	for range 5 {
		s := eve.dial()
		for i := range 300 {
			if s.put(noise[i%len(noise)]) != nil {
				break // cut off: as good
			}
			if i%100 == 0 {
				c.b.say(c.id, "in between")
				said++
			}
		}
	}
	for range said {
		if f := c.a.message("in between"); f.str("sender") != "bob" {
			t.Error(f.raw)
		}
	}
	c.a.alive()
	c.b.alive()
	c.chat()
}

func TestHostile_RESTBodies(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.chatter()
	eve := h.user("eve")
	for _, r := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "conversations/", `{`, 400},
		{"POST", "conversations/", `[]`, 400},
		{"POST", "conversations/", `null`, 400},
		{"POST", "conversations/", strings.Repeat(`[`, 100_000), 400},
		{"POST", "conversations/", `{"participant_ids":{"a":1}}`, 400},
		{"POST", "conversations/", `{"participant_ids":[null,true,{}]}`, 400},
		{"POST", "conversations/", `{"participant_ids":["ann"],"name":{}}`, 400},
		{"POST", "conversations/", "{\"participant_ids\":[\"\\u0000\"]}", 400},
		{"POST", "messages/", `{"conversation_id":5,"content":"x"}`, 400},
		{"POST", "messages/", `{"conversation_id":"` + c.id + `","content":[]}`, 400},
		{"POST", "messages/", `{"content":"x"}`, 400},
		{"POST", "messages/", "{\"content\":\"\xff\xfe\"}", 400},
		{"POST", "messages/", `{"content":"` + strings.Repeat("x", 4<<20) + `"}`, 413},
		{"PUT", "messages/", `{}`, 405},
		{"DELETE", "conversations/", ``, 405},
		{"GET", "conversations/%00/", ``, 404},
		{"GET", "conversations/..%2f..%2fadmin/", ``, 404},
		{"GET", "messages/?conversation=%ff", ``, 400},
		{"GET", "messages/?before=%00", ``, 400},
		{"GET", "messages/?page=%27", ``, 404},
	} {
		if got := eve.call(r.method, r.path, r.body); got.status != r.status {
			t.Errorf("%s %s %.60s: %d %.200s, want %d", r.method, r.path, r.body, got.status, got.raw, r.status)
		}
	}
	c.chat()
}
