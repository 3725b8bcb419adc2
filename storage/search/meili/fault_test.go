package meili_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/internal/freeport"
	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/meili"
	"github.com/zumodra/hub/storage/search/meili/meilitest"
	"github.com/zumodra/hub/storage/search/searchtest"
)

// secretWord is part of messages and never of a log or an error.
const secretWord = "xylophone"

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func unavailable(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, search.ErrUnavailable) {
		t.Fatalf("error %v, want %v", err, search.ErrUnavailable)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("error %q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), secretWord) {
		t.Fatalf("error %q tells what a message says", err)
	}
}

func talk(n int, contents ...string) *searchtest.Log {
	l := searchtest.NewLog(searchtest.Key("t", n), searchtest.At(0))
	for i, c := range contents {
		l.Say("alice", searchtest.At(i+1), c)
	}
	return l
}

func find(t *testing.T, x search.Index, text string, logs ...*searchtest.Log) []chat.SearchHit {
	t.Helper()
	q := chat.IndexQuery{Tenant: logs[0].Key.Tenant}
	q.Text = text
	for _, l := range logs {
		q.Conversations = append(q.Conversations, l.Key.ID)
	}
	a, err := x.Search(t.Context(), q)
	must(t, err)
	return a.Hits
}

func seqs(hits []chat.SearchHit) (s []uint64) {
	for _, h := range hits {
		s = append(s, h.Seq)
	}
	return s
}

func wantSeqs(t *testing.T, hits []chat.SearchHit, want ...uint64) {
	t.Helper()
	if !slices.Equal(seqs(hits), want) {
		t.Fatalf("found %v, want %v", seqs(hits), want)
	}
}

// everyCall calls everything that needs the server.
func everyCall(ctx context.Context, x *meili.Index, l *searchtest.Log) map[string]error {
	q := chat.IndexQuery{Tenant: l.Key.Tenant, Conversations: []chat.ConversationID{l.Key.ID}}
	q.Text = "needle"
	_, searchErr := x.Search(ctx, q)
	_, cursorErr := x.Cursors(ctx, []chat.ConversationKey{l.Key})
	_, generationErr := x.Generation(ctx)
	_, rebuildErr := x.Rebuild(ctx)
	return map[string]error{"Search": searchErr, "Cursors": cursorErr, "Generation": generationErr, "Rebuild": rebuildErr,
		"Health": x.Health(ctx), "Apply": x.Apply(ctx, []chat.IndexChange{l.Since(0)})}
}

// TestServerThatIsNotThere: every call says so, and all works once it is.
func TestServerThatIsNotThere(t *testing.T) {
	addr, err := freeport.Address()
	must(t, err)
	x := open(t, meili.Config{URL: "http://" + addr})
	l := talk(1, "needle")
	for range 3 {
		for name, err := range everyCall(t.Context(), x, l) {
			t.Log(name)
			unavailable(t, err, "http://"+addr, "cannot be reached", "refused")
		}
	}
	if s := x.Stats(); s.Failures != 3 || s.Applied != 0 || s.Tasks != 0 {
		t.Fatalf("%+v", s)
	}
	f := &meilitest.Server{T: t, Version: "1.53.0"}
	ln, err := net.Listen("tcp", addr)
	must(t, err)
	srv := &http.Server{Handler: f}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	wantSeqs(t, find(t, x, "needle", l), 2)
	must(t, x.Health(t.Context()))
}

// TestServerInTrouble: whatever it answers becomes ErrUnavailable with what was said, never with what messages say.
func TestServerInTrouble(t *testing.T) {
	f := meilitest.New(t)
	x := open(t, meili.Config{URL: f.URL})
	impatient := open(t, meili.Config{URL: f.URL, Timeout: 200 * time.Millisecond})
	l := talk(1, "a needle and a "+secretWord)
	must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	n := uint64(len(l.Events))
	l.Say("alice", searchtest.At(9), "needle two "+secretWord)
	drop := func(w http.ResponseWriter) {
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = c.Close()
		}
	}
	for name, c := range map[string]struct {
		reply func(http.ResponseWriter, *http.Request)
		word  string
	}{
		"429": {func(w http.ResponseWriter, _ *http.Request) {
			meilitest.Refuse(w, 429, "too_many_search_requests", "system", secretWord)
		}, "429 too_many_search_requests"},
		"503": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "503 Service Unavailable"},
		"500 html": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "<html>"+secretWord)
		}, "500"},
		"disk": {func(w http.ResponseWriter, _ *http.Request) {
			meilitest.Refuse(w, 507, "no_space_left_on_device", "system", "")
		}, "no_space_left_on_device"},
		"not JSON": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); _, _ = io.WriteString(w, secretWord) }, ""},
		"half JSON": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_, _ = io.WriteString(w, `{"results":[{"`+secretWord)
		}, ""},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"results":[`)
		}, ""},
		"dropped": {func(w http.ResponseWriter, _ *http.Request) { drop(w) }, "cannot be reached"},
		"hangs": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "does not answer within 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			f.Set(func() { f.Before = func(w http.ResponseWriter, r *http.Request) bool { c.reply(w, r); return true } })
			asks := x
			if name == "hangs" {
				asks = impatient
			}
			unavailable(t, asks.Apply(t.Context(), []chat.IndexChange{l.Since(n)}), c.word)
			for call, err := range everyCall(t.Context(), asks, l) {
				t.Log(call)
				unavailable(t, err, c.word)
			}
			f.Set(func() { f.Before = nil })
			must(t, x.Health(t.Context()))
			wantSeqs(t, find(t, x, "needle", l), 2)
		})
	}
	must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(n)}))
	wantSeqs(t, find(t, x, "needle", l), 3, 2)
}

// TestKilledAnywhere loses the connection at every request in turn, before the server hears of it and after, and starts
// over with a new client: nothing is missing and nothing is there twice.
func TestKilledAnywhere(t *testing.T) {
	build := func() (a, b *searchtest.Log) {
		a, b = talk(1, "needle one", "needle two", "needle three"), talk(2, "needle b")
		return a, b
	}
	for _, after := range []bool{false, true} {
		for at := 0; ; at++ {
			f := meilitest.New(t)
			count, hit := 0, false
			f.Before = func(w http.ResponseWriter, r *http.Request) bool {
				n := 0
				f.Set(func() { n = count; count++ })
				if n != at {
					return false
				}
				hit = true
				if after { // the request arrives, its answer does not
					f.Set(func() { f.Before = nil })
					f.ServeHTTP(httptest.NewRecorder(), r)
				}
				if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
					_ = c.Close()
				}
				return true
			}
			a, b := build()
			feed := func(x *meili.Index, since uint64) error {
				if err := x.Apply(t.Context(), []chat.IndexChange{a.Since(since), b.Since(0)}); err != nil {
					return err
				}
				if len(a.Events) == 4 {
					a.Edit(2, searchtest.At(20), "needle uno")
					a.Delete(3, searchtest.At(21))
					a.Say("bob", searchtest.At(22), "needle four")
				}
				return x.Apply(t.Context(), []chat.IndexChange{a.Since(4), {Key: b.Key, Gone: true}})
			}
			first := open(t, meili.Config{URL: f.URL})
			err := feed(first, 0)
			_ = first.Close()
			f.Set(func() { f.Before = nil })
			x := open(t, meili.Config{URL: f.URL})
			if err != nil {
				unavailable(t, err)
				must(t, feed(x, 0))
			}
			wantSeqs(t, find(t, x, "needle", a, b), 7, 4, 2)
			wantSeqs(t, find(t, x, "uno", a), 2)
			cursors, err := x.Cursors(t.Context(), []chat.ConversationKey{a.Key, b.Key})
			must(t, err)
			if !slices.Equal(cursors, []uint64{uint64(len(a.Events)), 0}) {
				t.Fatalf("cursors %v after request %d was lost", cursors, at)
			}
			docs := 0
			f.Set(func() { docs = len(f.Indexes["hub_messages_v1_1"].Docs) })
			if docs != 5 { // three messages, a cursor, the generation
				t.Fatalf("%d documents after request %d was lost", docs, at)
			}
			_ = x.Close()
			f.Close()
			if !hit {
				t.Logf("%d requests, lost after they arrived: %v", at, after)
				if at < 15 {
					t.Fatal("too few requests: the test loses the wrong ones")
				}
				break
			}
		}
	}
}

// TestRejectedDocuments: what the server cannot take is found by halves, counted, logged by its place, and left out.
func TestRejectedDocuments(t *testing.T) {
	for _, kind := range []string{"invalid_request", "internal"} {
		t.Run(kind, func(t *testing.T) {
			f := meilitest.New(t)
			log := &buffer{}
			x := open(t, meili.Config{URL: f.URL, Logger: slog.New(slog.NewTextHandler(log, nil))})
			f.Judge = func(_ string, d map[string]any) *meilitest.Error {
				if s, _ := d["content"].(string); strings.Contains(s, secretWord) {
					return meilitest.ErrorOf("invalid_document_fields", kind, "cannot take "+s)
				}
				return nil
			}
			l := searchtest.NewLog(searchtest.Key("t", 1), searchtest.At(0))
			var want []uint64
			for i := range 100 {
				content := "needle"
				if i == 17 || i == 18 || i == 99 {
					content += " " + secretWord
				}
				seq := l.Say("alice", searchtest.At(i), content)
				if content == "needle" {
					want = append([]uint64{seq}, want...)
				}
			}
			must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
			wantSeqs(t, find(t, x, "needle", l), want[:50]...)
			if s := x.Stats(); s.Rejected != 3 || s.Applied != 97 || s.Failures != 0 {
				t.Fatalf("%+v", s)
			}
			cursors, err := x.Cursors(t.Context(), []chat.ConversationKey{l.Key})
			must(t, err)
			if cursors[0] != 101 {
				t.Fatalf("cursor %d", cursors[0])
			}
			if out := log.String(); strings.Contains(out, secretWord) || !strings.Contains(out, "seq=19") || !strings.Contains(out, l.Key.ID.String()) {
				t.Fatalf("the log:\n%s", out)
			}
		})
	}
}

// TestServerTakesNothing: a server whose every task fails rejects no document.
func TestServerTakesNothing(t *testing.T) {
	for _, kind := range []string{"system", "internal"} {
		f := meilitest.New(t)
		x := open(t, meili.Config{URL: f.URL})
		must(t, x.Health(t.Context()))
		l := talk(1, "needle one", "needle two")
		f.Set(func() {
			f.Judge = func(string, map[string]any) *meilitest.Error {
				return meilitest.ErrorOf("no_space_left_on_device", kind, "")
			}
		})
		unavailable(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}), "no_space_left_on_device")
		if s := x.Stats(); s.Rejected != 0 || s.Failures != 1 {
			t.Fatalf("%s: %+v", kind, s)
		}
		f.Set(func() { f.Judge = nil })
		must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
		wantSeqs(t, find(t, x, "needle", l), 3, 2)
	}
}

func TestTaskThatNeverEnds(t *testing.T) {
	f := meilitest.New(t)
	x := open(t, meili.Config{URL: f.URL, TaskTimeout: 20 * time.Millisecond})
	must(t, x.Health(t.Context()))
	l := talk(1, "needle")
	f.Set(func() { f.Stuck = true })
	unavailable(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}), "has not finished task")
	if s := x.Stats(); s.Tasks != 0 {
		t.Fatalf("%+v", s)
	}
	f.Set(func() { f.Stuck = false })
	for deadline := time.Now().Add(time.Minute); ; { // a slow machine may take longer than that, too
		err := x.Apply(t.Context(), []chat.IndexChange{l.Since(0)})
		if err == nil {
			break
		}
		if unavailable(t, err, "has not finished task"); time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	wantSeqs(t, find(t, x, "needle", l), 2)
}

func TestKeys(t *testing.T) {
	f := meilitest.New(t)
	f.Key = "the right key"
	file := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(file, []byte("another key\n"), 0o600))
	unavailable(t, open(t, meili.Config{URL: f.URL}).Health(t.Context()), "does not accept the key", "missing_authorization_header")
	x := open(t, meili.Config{URL: f.URL, KeyFile: file})
	unavailable(t, x.Health(t.Context()), "does not accept the key", "invalid_api_key")
	must(t, os.WriteFile(file, []byte("the right key\n"), 0o600))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // read at most once a second
		err := x.Health(t.Context())
		if err == nil {
			break
		}
		if unavailable(t, err, "invalid_api_key"); time.Now().After(deadline) {
			t.Fatal("the new key is never read")
		}
	}
	if _, err := meili.Open(meili.Config{URL: f.URL, KeyFile: file + ".missing"}); err == nil || !strings.Contains(err.Error(), ".missing") {
		t.Fatalf("%v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, cfg := range []meili.Config{{}, {URL: "127.0.0.1:7700"}, {URL: "ftp://x"}, {URL: "http://key@host"}, {URL: "http://host", Prefix: "a b"}} {
		if _, err := meili.Open(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
