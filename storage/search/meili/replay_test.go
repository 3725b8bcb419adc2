package meili_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/meili"
	"github.com/zumodra/hub/storage/search/meili/meilitest"
	"github.com/zumodra/hub/storage/search/searchtest"
)

// record writes testdata/exchanges.json anew, from the server of HUB_MEILI_URL or else from the fake. What a server
// answers differently from the documentation then shows as a change of that file.
var record = flag.Bool("record", false, "record testdata/exchanges.json")

// exchange is one request with its answer. "<any>" stands for what differs every time.
type exchange struct {
	Method      string `json:"method"`
	Path        string `json:"path"`
	ContentType string `json:"contentType,omitempty"`
	Request     []any  `json:"request,omitempty"` // one value, or the lines of NDJSON
	Status      int    `json:"status"`
	Answer      any    `json:"answer"`
}

const exchangesFile = "exchanges.json"

// session is what is recorded and replayed: an index made anew, written to, searched, rebuilt.
func session(t *testing.T, x *meili.Index) {
	t.Helper()
	must(t, x.Health(t.Context()))
	a, b := talk(1, "the red wine", "white wine", "日本語"), talk(2, "wine, red")
	must(t, x.Apply(t.Context(), []chat.IndexChange{a.Since(0), b.Since(0)}))
	n := uint64(len(a.Events))
	a.Edit(3, searchtest.At(10), "white whine")
	a.Delete(4, searchtest.At(11))
	must(t, x.Apply(t.Context(), []chat.IndexChange{a.Since(n), {Key: b.Key, Gone: true}}))
	no := false
	q := chat.IndexQuery{Tenant: "t", Conversations: []chat.ConversationID{a.Key.ID, b.Key.ID}}
	q.SearchQuery = chat.SearchQuery{Text: `"red wine" OR white`, Sender: "alice", From: searchtest.At(0), Before: searchtest.At(60), HasAttachments: &no}
	answer, err := x.Search(t.Context(), q)
	must(t, err)
	wantSeqs(t, answer.Hits, 3, 2)
	wantSeqs(t, find(t, x, "whinee", a), 3)
	r, err := x.Rebuild(t.Context())
	must(t, err)
	must(t, r.Apply(t.Context(), []chat.IndexChange{a.Since(0)}))
	must(t, r.Commit(t.Context()))
	wantSeqs(t, find(t, x, "red", a), 2)
}

var generations = regexp.MustCompile(`"generation":"[A-Z2-7]{26}"`)

func values(b []byte) []any {
	b = generations.ReplaceAll(b, []byte(`"generation":"<any>"`))
	var vs []any
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var v any
		if err := d.Decode(&v); err != nil {
			return vs
		}
		vs = append(vs, v)
	}
}

func TestRecordedExchanges(t *testing.T) {
	file := filepath.Join("testdata", exchangesFile)
	if *record {
		recordSession(t, file)
	}
	b, err := os.ReadFile(file)
	must(t, err)
	var script []exchange
	must(t, json.Unmarshal(b, &script))
	var mu sync.Mutex
	next := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if next == len(script) {
			t.Errorf("%s %s comes after all that was recorded", r.Method, r.URL)
			return
		}
		e := script[next]
		next++
		if r.Method != e.Method || r.URL.RequestURI() != e.Path || r.Header.Get("Content-Type") != e.ContentType {
			t.Errorf("request %d is %s %s of type %q, recorded was %s %s of %q", next, r.Method, r.URL, r.Header.Get("Content-Type"), e.Method, e.Path, e.ContentType)
		}
		if got := values(body); !reflect.DeepEqual(got, e.Request) {
			t.Errorf("request %d, %s %s: body\n%v\nrecorded was\n%v", next, e.Method, e.Path, got, e.Request)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.Status)
		_ = json.NewEncoder(w).Encode(e.Answer)
	}))
	defer srv.Close()
	session(t, open(t, meili.Config{URL: srv.URL}))
	if next != len(script) || next < 20 {
		t.Errorf("%d requests of %d", next, len(script))
	}
}

func recordSession(t *testing.T, file string) {
	to, err := url.Parse(meilitest.New(t).URL)
	if u := os.Getenv("HUB_MEILI_URL"); u != "" {
		to, err = url.Parse(u)
	}
	must(t, err)
	var script []exchange
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q, err := http.NewRequestWithContext(r.Context(), r.Method, to.JoinPath(r.URL.Path).String(), bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		q.Header.Set("Content-Type", r.Header.Get("Content-Type"))
		if key := os.Getenv("HUB_MEILI_KEY"); key != "" {
			q.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		e := exchange{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), values(body), resp.StatusCode, nil}
		if v := values(b); len(v) == 1 {
			e.Answer = v[0]
		}
		script = append(script, e)
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(b)
	}))
	defer srv.Close()
	session(t, open(t, meili.Config{URL: srv.URL}))
	b, err := json.MarshalIndent(script, "", " ")
	must(t, err)
	must(t, os.WriteFile(file, append(b, '\n'), 0o644))
}

// TestErrorObjects are those of the documentation's table of errors, as a request and as a task are answered with them.
func TestErrorObjects(t *testing.T) {
	for _, c := range []struct {
		status     int
		code, kind string
		says       string
	}{
		{401, "missing_authorization_header", "auth", "does not accept the key"},
		{403, "invalid_api_key", "auth", "does not accept the key"},
		{404, "index_not_found", "invalid_request", "not there"},
		{400, "invalid_search_filter", "invalid_request", "400 invalid_search_filter"},
		{422, "database_size_limit_reached", "system", "database_size_limit_reached"},
		{500, "internal", "internal", "500 internal"},
		{503, "too_many_search_requests", "system", "503 too_many_search_requests"},
	} {
		f := meilitest.New(t)
		x := open(t, meili.Config{URL: f.URL})
		must(t, x.Health(t.Context()))
		f.Set(func() {
			f.Before = func(w http.ResponseWriter, _ *http.Request) bool {
				meilitest.Refuse(w, c.status, c.code, c.kind, secretWord)
				return true
			}
		})
		for name, err := range everyCall(t.Context(), x, talk(1, "needle")) {
			t.Log(name)
			unavailable(t, err, c.says)
		}
		if strings.Contains(c.says, "not there") {
			f.Set(func() { f.Before = nil })
			must(t, x.Health(t.Context()))
		}
	}
	var _ search.Index = (*meili.Index)(nil)
}
