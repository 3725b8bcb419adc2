package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/client"
)

// serve runs script over real sockets; n counts the connections from 1.
func serve(script func(n int, ws *websocket.Conn, r *http.Request)) *httptest.Server {
	var n atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/ws/", func(w http.ResponseWriter, r *http.Request) {
		k := int(n.Add(1))
		if k == 1 && r.Header.Get("Authorization") == "Bearer refuse me" {
			w.Header().Set("Retry-After", "0")
			http.Error(w, `{"detail":"no"}`, http.StatusUnauthorized)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		_ = ws.Write(r.Context(), websocket.MessageText, []byte(`{"type":"status","message":"Connected","is_online":true}`))
		script(k, ws, r)
	})
	return httptest.NewServer(mux)
}

func readFrame(ws *websocket.Conn) (f frame, err error) {
	_, b, err := ws.Read(context.Background())
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	return f, err
}

func TestOverRealSockets(t *testing.T) {
	srv := serve(func(n int, ws *websocket.Conn, r *http.Request) {
		f, err := readFrame(ws)
		if err != nil || f.Type != "send_message" {
			t.Errorf("connection %d: %+v, %v", n, f, err)
			return
		}
		switch n {
		case 2: // the first one was refused
			_ = ws.Close(client.CloseUnauthenticated, "token expired")
		case 3:
			_ = ws.Write(r.Context(), websocket.MessageBinary, []byte("ignored"))
			_ = ws.Close(1013, "overload")
		default:
			_ = ws.Write(r.Context(), websocket.MessageText, fmt.Appendf(nil,
				`{"type":"message","id":"m1","conversation_id":"c","seq":1,"client_id":%q,"ref":%q}`, f.ClientID, f.Ref))
			_, _ = readFrame(ws) // until the client says goodbye
		}
	})
	defer srv.Close()
	c, err := client.New(client.Config{
		URL: srv.URL, TokenSource: tokens("refuse me", "a", "b", "c"),
		Backoff: client.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(context.Background()) }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	m, err := c.Send(ctx, "c", "hello")
	if err != nil || m.ID != "m1" {
		t.Fatalf("%+v, %v", m, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestCallsOfTheAPI(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/auth/token/", func(w http.ResponseWriter, r *http.Request) {
		var b map[string]string
		_ = json.NewDecoder(r.Body).Decode(&b)
		_, _ = fmt.Fprintf(w, `{"refresh":"r","access":%q}`, b["username"]+"@"+b["tenant"])
	})
	mux.HandleFunc("POST /api/v1/messages/conversations/", func(w http.ResponseWriter, r *http.Request) {
		var b struct {
			IDs  []string `json:"participant_ids"`
			Name string   `json:"name"`
		}
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || r.Header.Get("Authorization") != "Bearer alice@acme" {
			w.WriteHeader(400)
			return
		}
		w.WriteHeader(201)
		_, _ = fmt.Fprintf(w, `{"id":"c-%d","name":%q,"is_group":%v,"participants":[{"id":7,"full_name":"Bob"}]}`, len(b.IDs), b.Name, len(b.IDs) > 1)
	})
	mux.HandleFunc("GET /api/v1/messages/conversations/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"count":21,"next":"x","previous":null,"results":[{"id":"c","name":null,"unread_count":3}]}`)
	})
	mux.HandleFunc("GET /api/v1/messages/messages/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, `{"detail":"Not found."}`, http.StatusNotFound)
	})
	var asked string
	mux.HandleFunc("POST /api/v1/messages/messages/search/", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if asked = string(b); strings.Contains(asked, "down") {
			w.Header().Set("Retry-After", "2")
			http.Error(w, `{"detail":"Search is temporarily unavailable. Try again later."}`, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"success":true,"data":{"query":"x","count":1,"results":[{"id":"m","conversation":"c","conversation_name":null,
			"sender":{"id":7,"full_name":"Bob"},"content":"a <b>","content_highlight":"a &lt;b&gt;","timestamp":"2026-01-02T03:04:05.000000Z","seq":9}]}}`)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	ctx := t.Context()
	tok, err := client.DevToken(ctx, srv.URL, "acme", "alice")
	if err != nil || tok != "alice@acme" {
		t.Fatalf("%q, %v", tok, err)
	}
	c, err := client.New(client.Config{URL: srv.URL, TokenSource: client.StaticToken(tok)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if cv, err := c.CreateDirect(ctx, "7"); err != nil || cv.ID != "c-1" || cv.IsGroup || cv.Participants[0].ID != "7" {
		t.Fatalf("%+v, %v", cv, err)
	}
	if cv, err := c.CreateGroup(ctx, "team", "7", "8"); err != nil || cv.ID != "c-2" || cv.Name != "team" {
		t.Fatalf("%+v, %v", cv, err)
	}
	if p, err := c.Conversations(ctx, 1); err != nil || p.Count != 21 || !p.More || p.Conversations[0].Unread != 3 {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := c.Messages(ctx, "c", ""); err == nil {
		t.Fatal("a 404 is no error")
	} else if he := (*client.HTTPError)(nil); !errors.As(err, &he) || he.Status != 404 {
		t.Fatalf("got %v", err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	no := false
	found, err := c.Search(ctx, client.SearchQuery{Text: "x", Conversation: "c", Sender: "7", From: at, To: at, HasAttachments: &no})
	want := client.SearchResult{ID: "m", Conversation: "c", Sender: "Bob", SenderID: "7", Seq: 9, Content: "a <b>", Highlight: "a &lt;b&gt;", At: at}
	if err != nil || len(found) != 1 || found[0] != want {
		t.Fatalf("%+v, %v", found, err)
	}
	if asked != `{"conversation_id":"c","date_from":"2026-01-02T03:04:05Z","date_to":"2026-01-02T03:04:05Z","has_attachments":false,"query":"x","sender":"7"}` {
		t.Error(asked)
	}
	_, err = c.Search(ctx, client.SearchQuery{Text: "down"})
	if he := (*client.HTTPError)(nil); !errors.As(err, &he) || he.Status != 503 || asked != `{"query":"down"}` {
		t.Errorf("%v, asked %s", err, asked)
	}
	if _, err := client.DevToken(ctx, "http://127.0.0.1:1", "", "alice"); err == nil {
		t.Fatal("no server is no error")
	}
}
