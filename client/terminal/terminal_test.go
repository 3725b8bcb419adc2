package terminal_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/client/terminal"
)

type entry struct{ sender, content, clientID string }

// hub is as much of one as a chat of two needs.
type hub struct {
	*httptest.Server
	mu    sync.Mutex
	log   []entry
	conns map[*websocket.Conn]string
	users []string
	reads []uint64
}

func newHub(t *testing.T) *hub {
	h := &hub{conns: map[*websocket.Conn]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/auth/token/", func(w http.ResponseWriter, r *http.Request) {
		var b map[string]string
		_ = json.NewDecoder(r.Body).Decode(&b)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.users = append(h.users, b["username"])
		_, _ = fmt.Fprintf(w, `{"access":%q}`, b["username"])
	})
	mux.HandleFunc("POST /api/v1/messages/conversations/", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, `{"id":"c"}`)
	})
	mux.HandleFunc("GET /api/v1/messages/messages/", func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		rows := []string{}
		for i := len(h.log) - 1; i >= 0; i-- {
			e := h.log[i]
			content, _ := json.Marshal(e.content)
			rows = append(rows, fmt.Sprintf(`{"id":"m%d","seq":%d,"conversation":"c","content":%s,"sender":{"id":%q,"full_name":%q}}`, i+1, i+1, content, e.sender, e.sender))
		}
		_, _ = fmt.Fprintf(w, `{"next":null,"results":[%s]}`, strings.Join(rows, ","))
	})
	mux.HandleFunc("POST /api/v1/messages/messages/search/", func(w http.ResponseWriter, r *http.Request) {
		var b struct{ Query, Conversation string }
		_ = json.NewDecoder(r.Body).Decode(&b)
		if b.Query == "down" {
			http.Error(w, `{"detail":"Search is temporarily unavailable. Try again later."}`, http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintf(w, `{"data":{"results":[{"id":"m2","seq":2,"content":"newer \u001b[2J","sender":{"id":"bob","full_name":"bob"}},
			{"id":"m1","seq":1,"content":"older","sender":{"id":"alice"}}]}}`)
	})
	mux.HandleFunc("/ws/", h.socket)
	h.Server = httptest.NewServer(mux)
	t.Cleanup(h.Close)
	return h
}

func (h *hub) frame(seq int, ref string) []byte {
	e := h.log[seq-1]
	content, _ := json.Marshal(e.content)
	return fmt.Appendf(nil, `{"type":"message","id":"m%d","seq":%d,"conversation_id":"c","sender":%q,"sender_id":%q,"content":%s,"client_id":%q,"ref":%q}`,
		seq, seq, e.sender, e.sender, content, e.clientID, ref)
}

func (h *hub) socket(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	user := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	write := func(to *websocket.Conn, b []byte) { _ = to.Write(context.Background(), websocket.MessageText, b) }
	h.mu.Lock()
	h.conns[ws] = user
	write(ws, []byte(`{"type":"status"}`))
	h.mu.Unlock()
	for {
		_, b, err := ws.Read(context.Background())
		h.mu.Lock()
		if err != nil {
			delete(h.conns, ws)
			h.mu.Unlock()
			return
		}
		var f struct {
			Type, Ref, Content string
			ClientID           string `json:"client_id"`
			LastSeq            int    `json:"last_seq"`
			UpToSeq            uint64 `json:"up_to_seq"`
			IsTyping           bool   `json:"is_typing"`
		}
		_ = json.Unmarshal(b, &f)
		switch f.Type {
		case "resume":
			for seq := f.LastSeq + 1; seq <= len(h.log); seq++ {
				write(ws, h.frame(seq, ""))
			}
			write(ws, fmt.Appendf(nil, `{"type":"resumed","conversation_id":"c","head_seq":%d,"ref":%q}`, len(h.log), f.Ref))
		case "send_message":
			if f.Content == "forbidden" {
				write(ws, fmt.Appendf(nil, `{"type":"error","code":"blocked","message":"Cannot message this user.","ref":%q}`, f.Ref))
				break
			}
			h.log = append(h.log, entry{user, f.Content, f.ClientID})
			for c := range h.conns {
				ref := ""
				if c == ws {
					ref = f.Ref
				}
				write(c, h.frame(len(h.log), ref))
			}
		case "typing":
			for c := range h.conns {
				write(c, fmt.Appendf(nil, `{"type":"typing","conversation_id":"c","typing_user":%q,"user_id":%q,"is_typing":true}`, user, user))
			}
		case "read":
			h.reads = append(h.reads, f.UpToSeq)
		}
		h.mu.Unlock()
	}
}

// screen collects output and lets a test wait for it.
type screen struct {
	t     *testing.T
	lines chan string
	w     *io.PipeWriter
}

func newScreen(t *testing.T) *screen {
	r, w := io.Pipe()
	s := &screen{t, make(chan string, 1000), w}
	go func() {
		sc := bufio.NewScanner(r)
		for sc.Scan() {
			s.lines <- sc.Text()
		}
		close(s.lines)
	}()
	return s
}

func (s *screen) expect(part string) string {
	s.t.Helper()
	deadline := time.After(30 * time.Second)
	seen := []string{}
	for {
		select {
		case l, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("the output ended without %q: %q", part, seen)
			}
			seen = append(seen, l)
			if strings.Contains(l, part) {
				return l
			}
		case <-deadline:
			s.t.Fatalf("no %q in the output: %q", part, seen)
		}
	}
}

func chat(t *testing.T, h *hub, as, to string) (say func(string), out *screen, done chan error) {
	in, typing := io.Pipe()
	out, done = newScreen(t), make(chan error, 1)
	go func() {
		done <- terminal.Run(t.Context(), terminal.Config{
			Server: h.URL, As: as, To: to, In: in, Out: out.w,
			Backoff: client.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond},
		})
		_ = out.w.Close()
	}()
	t.Cleanup(func() { _ = typing.Close() })
	return func(s string) { _, _ = io.WriteString(typing, s+"\n") }, out, done
}

func TestTwoTalk(t *testing.T) {
	h := newHub(t)
	alice, aliceSees, aliceDone := chat(t, h, "alice", "bob")
	aliceSees.expect("* online")
	alice("hello")
	bob, bobSees, bobDone := chat(t, h, "bob", "alice")
	bobSees.expect("* online")
	alice("//slash")
	bobSees.expect("alice: /slash")
	bob("/typing")
	aliceSees.expect("* bob is typing")
	bob("hi")
	if l := aliceSees.expect("bob: hi"); strings.Contains(l, "you") {
		t.Fatal(l)
	}
	alice("/read")
	alice("/help")
	aliceSees.expect("/history")
	alice("/history")
	aliceSees.expect("you: hello")
	aliceSees.expect("bob: hi")
	alice("/search hello")
	aliceSees.expect("* 2 found")
	aliceSees.expect("you: older")
	if l := aliceSees.expect("bob: newer"); strings.Contains(l, "\x1b") {
		t.Errorf("%q", l)
	}
	alice("/search down")
	aliceSees.expect("! search:")
	alice("forbidden")
	aliceSees.expect("! ")
	alice("/quit")
	if err := <-aliceDone; err == nil {
		t.Fatal("a refused line is no error")
	}
	bob("/quit")
	if err := <-bobDone; err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.reads) == 0 || h.reads[len(h.reads)-1] != 3 {
		t.Fatalf("read up to %v", h.reads)
	}
}

func TestConnectionLossIsShownAndRepaired(t *testing.T) {
	h := newHub(t)
	alice, sees, done := chat(t, h, "alice", "bob")
	sees.expect("* online")
	h.mu.Lock()
	for c := range h.conns {
		_ = c.CloseNow()
	}
	h.log = append(h.log, entry{sender: "bob", content: "while you were away"})
	h.mu.Unlock()
	sees.expect("* connection lost")
	sees.expect("bob: while you were away")
	alice("back")
	alice("/quit")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if last := h.log[len(h.log)-1]; last.content != "back" {
		t.Fatalf("%+v", last)
	}
}

// In a pipe: everything is acknowledged before the program ends, in order, and a state file remembers where
// it was.
func TestPipe(t *testing.T) {
	h := newHub(t)
	var in, out strings.Builder
	for i := range 1500 { // more than the outbox holds
		fmt.Fprintln(&in, "line", i)
	}
	cfg := terminal.Config{
		Server: h.URL, As: "alice", To: "bob", In: strings.NewReader(in.String()), Out: &out,
		State: filepath.Join(t.TempDir(), "state"),
	}
	if err := terminal.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if len(h.log) != 1500 {
		t.Fatalf("%d messages", len(h.log))
	}
	for i, e := range h.log {
		if e.content != fmt.Sprint("line ", i) {
			t.Fatalf("message %d is %q", i, e.content)
		}
	}
	cfg.In = strings.NewReader("")
	if err := terminal.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if want := []string{"bob", "alice"}; h.users[0] != want[0] || h.users[1] != want[1] {
		t.Fatalf("tokens for %v", h.users)
	}
}

func TestControlSequencesDoNotReachTheTerminal(t *testing.T) {
	h := newHub(t)
	h.log = append(h.log, entry{sender: "bob", content: "a\x1b[2Jb\u009bc\u202ed\r\nbob: forged"})
	alice, sees, done := chat(t, h, "alice", "bob")
	l := sees.expect("bob: a")
	if want := "bob: a\ufffd[2Jb\ufffdc\ufffdd"; !strings.HasSuffix(l, want) {
		t.Fatalf("%q", l)
	}
	if l := sees.expect("forged"); !strings.HasPrefix(l, "   ") {
		t.Fatalf("a line of a message looks like one of its own: %q", l)
	}
	alice("/quit")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestNoServer(t *testing.T) {
	err := terminal.Run(t.Context(), terminal.Config{
		Server: "http://127.0.0.1:1", As: "alice", To: "bob", In: strings.NewReader("x\n"), Out: io.Discard,
	})
	if err == nil {
		t.Fatal("no error")
	}
}
