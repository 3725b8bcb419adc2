package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/client"
)

// metric is the value of a metric with its labels, 0 if there is none.
func (s *server) metric(name string) (v float64) {
	s.t.Helper()
	resp, err := http.Get(s.admin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			_, _ = fmt.Sscan(rest, &v)
		}
	}
	return v
}

type sentMessage struct {
	ID string `json:"id"`
}

// TestReq077_IndexSurvivesKills kills the real binary with SIGKILL again and again while messages are sent and taken
// into the index. After each start the index catches up by itself; in the end it holds every acknowledged message once.
func TestReq077_IndexSurvivesKills(t *testing.T) {
	data := t.TempDir()
	cycles := 4
	if testing.Short() {
		cycles = 2
	}
	var mu sync.Mutex
	acked := map[string]string{} // content by id
	var last *server
	for cycle := range cycles {
		s := serve(t, data, "--dev", "--user-rate", "0", "--idle-after", "1s")
		last = s
		ann := s.login("ann")
		s.login("bob")
		if cycle == cycles-1 {
			break
		}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 4 {
			var conversation struct{ ID string }
			members := []string{"bob"}
			if w > 0 {
				s.login(fmt.Sprint("guest", w))
				members = append(members, fmt.Sprint("guest", w))
			}
			if code := s.call("POST", "/api/v1/messages/conversations/", ann, map[string]any{"participant_ids": members, "name": fmt.Sprint("g", w)}, &conversation); code != 201 {
				t.Fatal(code)
			}
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					content := fmt.Sprintf("needle %016x", rand.Uint64()) // like no other, also with a typo
					var m sentMessage
					if code, err := tryPost(s, ann, conversation.ID, content, &m); err != nil || code != 201 {
						return // killed
					}
					mu.Lock()
					acked[m.ID] = content
					mu.Unlock()
				}
			})
		}
		s.await("20 more messages", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(acked) >= 20*(cycle+1)
		})
		time.Sleep(rand.N(time.Second)) // where it dies, not what is expected
		s.kill()
		close(stop)
		wg.Wait()
	}
	s := last
	ann := s.login("ann")
	find := func(q string) (ids []string) {
		var answer struct {
			Data struct {
				Results []struct{ ID, Content string }
			}
		}
		if code := s.call("POST", "/api/v1/messages/messages/search/", ann, map[string]any{"query": q}, &answer); code != 200 {
			t.Fatalf("%s: %d", q, code)
		}
		for _, r := range answer.Data.Results {
			if r.Content == "needle "+q {
				ids = append(ids, r.ID)
			}
		}
		return ids
	}
	const lag = `hub_projection_lag_events{consumer="search",data="current"}`
	const waiting = `hub_projection_waiting_conversations{consumer="search",data="current"}`
	s.await("the index", func() bool {
		return s.metric("hub_search_index_documents") >= float64(len(acked)) && s.metric(lag) == 0 && s.metric(waiting) == 0
	})
	for id, content := range acked {
		q := strings.TrimPrefix(content, "needle ")
		var ids []string
		s.await("the message "+q, func() bool { ids = find(q); return len(ids) > 0 })
		if len(ids) != 1 || ids[0] != id {
			t.Errorf("%s is found as %q, sent as %s", content, ids, id)
		}
	}
	// None twice: the index has as many documents as the log has messages, sent and not acknowledged ones included.
	var list struct{ Count int }
	if code := s.call("GET", "/api/v1/messages/messages/", ann, nil, &list); code != 200 {
		t.Fatal(code)
	}
	docs := 0
	s.await("as many documents as messages", func() bool { docs = int(s.metric("hub_search_index_documents")); return docs >= list.Count })
	if docs != list.Count {
		t.Errorf("%d documents of %d messages", docs, list.Count)
	}
	t.Logf("%d acknowledged, %d in the log", len(acked), list.Count)
}

// tryPost sends a message to a server that may be killed meanwhile.
func tryPost(s *server, token, conversation, content string, out *sentMessage) (int, error) {
	body := fmt.Sprintf(`{"conversation_id":%q,"content":%q}`, conversation, content)
	req, err := http.NewRequestWithContext(s.t.Context(), "POST", s.url+"/api/v1/messages/messages/", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(out)
}

func TestAdminReindex(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "--dev", "--user-rate", "0")
	ann, _ := s.sdk("ann")
	s.login("bob")
	c, err := ann.CreateDirect(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := ann.Send(t.Context(), c.ID, fmt.Sprintf("needle <%d>", i)); err != nil {
			t.Fatal(err)
		}
	}
	var found []client.SearchResult
	search := func() int {
		if found, err = ann.Search(t.Context(), client.SearchQuery{Text: "needle", Conversation: c.ID, Sender: "ann", To: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	s.await("ten messages", func() bool { return search() == 10 })
	if r := found[0]; r.Content != "needle <9>" || r.Highlight != "<mark>needle</mark> &lt;9&gt;" || r.SenderID != "ann" || r.Seq != 11 || r.At.IsZero() {
		t.Errorf("%+v", r)
	}
	stdout, stderr, code := run(t, nil, "admin", "reindex", "--admin", s.admin, "--status")
	if code != 0 || stdout != "none\n" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	if _, stderr, code = run(t, nil, "admin", "reindex", "--admin", s.admin, "--cancel"); code != 1 || !strings.Contains(stderr, "no rebuild is running") {
		t.Errorf("%d %q", code, stderr)
	}
	stdout, stderr, code = run(t, nil, "admin", "reindex", "--admin", s.admin)
	if code != 0 || !strings.Contains(stdout, "done: 1 of 1 conversations, 11 events") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	if search() != 10 {
		t.Errorf("%d messages after the rebuild", len(found))
	}
	// The index is a projection: without its directory the next start makes it anew.
	if code := s.terminate(); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if err := os.RemoveAll(filepath.Join(data, "search")); err != nil {
		t.Fatal(err)
	}
	s = serve(t, data, "--dev", "--user-rate", "0")
	ann, _ = s.sdk("ann")
	s.await("ten messages", func() bool { return search() == 10 })
	if code := s.terminate(); code != 0 {
		t.Fatalf("exit %d", code)
	}
	// Without search the server says so.
	s = serve(t, data, "--dev", "--user-rate", "0", "--search", "off")
	ann, _ = s.sdk("ann")
	if _, err = ann.Search(t.Context(), client.SearchQuery{Text: "needle"}); err == nil || !strings.Contains(err.Error(), "501") && !strings.Contains(err.Error(), "switched off") {
		t.Errorf("%v", err)
	}
	if _, stderr, code = run(t, nil, "admin", "reindex", "--admin", s.admin); code != 1 || !strings.Contains(stderr, "no search index") {
		t.Errorf("%d %q", code, stderr)
	}
	if _, stderr, code = run(t, nil, "admin", "reindex", "--admin", "http://"+freePort(t)); code != 1 || !strings.Contains(stderr, "--admin-listen") {
		t.Errorf("%d %q", code, stderr)
	}
	if _, stderr, code = run(t, nil, "serve", "--dev", "--data", data, "--search", "magic"); code != 2 || !strings.Contains(stderr, "--search") {
		t.Errorf("%d %q", code, stderr)
	}
}
