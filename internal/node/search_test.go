package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/searchtest"
)

func withSearch(c *config.Config) { c.Search = "fts" }

// search asks by REST and returns the results. more are further parameters.
func (u *user) search(text string, more ...string) []object {
	u.h.t.Helper()
	q := url.Values{"q": {text}}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	r := u.call("GET", "messages/search/?"+q.Encode(), nil).want(http.StatusOK)
	data := r.body.obj("data")
	if list := data.list("results"); len(list) != data.num("count") || len(list) > 50 {
		u.h.t.Errorf("count %d of %d results", data.num("count"), len(list))
	}
	return data.list("results")
}

// contents of what a search finds.
func (u *user) contents(text string, more ...string) []string {
	u.h.t.Helper()
	out := []string{}
	for _, r := range u.search(text, more...) {
		out = append(out, r.str("content"))
	}
	return out
}

// finds waits until a search answers these contents, in this order.
func (u *user) finds(text string, want ...string) {
	u.h.t.Helper()
	if want == nil {
		want = []string{}
	}
	var got []string
	defer func() {
		if u.h.t.Failed() {
			u.h.t.Logf("%s searches %q and finds %q, want %q", u.id, text, got, want)
		}
	}()
	u.h.await(fmt.Sprintf("%q finds %q", text, want), func() bool {
		got = u.contents(text)
		return slices.Equal(got, want)
	})
}

func TestReq076_Req077_Req078_Search(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	us := h.users("1", "2", "3")
	ann, bob, cid := us[0], us[1], us[2]
	g, d := ann.group("trio", "2", "3"), ann.direct("2")
	ann.post(g, "where is the needle")
	bob.post(d, "NEEDLES and hay")
	cid.post(g, "an empty stable")
	bob.finds("needle", "NEEDLES and hay", "where is the needle")
	ann.finds("NeedLE", "NEEDLES and hay", "where is the needle")
	cid.finds("needle", "where is the needle") // not a member of the other one
	if got := bob.contents("needle", "conversation", d); !slices.Equal(got, []string{"NEEDLES and hay"}) {
		t.Errorf("in one conversation: %q", got)
	}
	if got := cid.contents("needle", "conversation", d); len(got) != 0 {
		t.Errorf("in somebody else's: %q", got)
	}
	r := ann.search("where")[0]
	if r.str("conversation") != g || r.str("conversation_name") != "trio" || r.obj("sender").num("id") != 1 || r.num("seq") != 2 {
		t.Errorf("%v", r)
	}
	// Who was removed finds nothing from that moment on, not a moment later.
	ann.call("POST", "conversations/"+g+"/remove_participants/", object{"user_ids": []string{"3"}}).want(http.StatusOK)
	if got := cid.contents("needle"); len(got) != 0 {
		t.Errorf("after the removal: %q", got)
	}
	// Who comes back finds it again.
	ann.call("POST", "conversations/"+g+"/add_participants/", object{"user_ids": []string{"3"}}).want(http.StatusOK)
	if got := cid.contents("needle"); len(got) != 1 {
		t.Errorf("after coming back: %q", got)
	}
}

func TestReq079_Req081_NewestFiftyAndNone(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	us := h.users("1", "2")
	d := us[0].direct("2")
	var want []string
	for i := range 60 {
		c := fmt.Sprintf("haystack %02d", i)
		us[i%2].post(d, c)
		want = append([]string{c}, want...)
	}
	us[0].finds("haystack", want[:50]...)
	if got := us[0].contents("zebra"); len(got) != 0 {
		t.Errorf("%q", got)
	}
	// A stale hit does not cost a place.
	page := us[1].search("haystack")
	for _, r := range page[:5] {
		if r.obj("sender").num("id") == 2 {
			us[1].call("DELETE", "messages/"+r.str("id")+"/", nil).want(http.StatusNoContent)
		}
	}
	if got := us[1].search("haystack"); len(got) != 50 {
		t.Errorf("%d results", len(got))
	}
}

func TestReq080_SearchTextLimits(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	u := h.users("1", "2")[0]
	u.call("GET", "messages/search/?q=%20a%20", nil).want(http.StatusBadRequest).says("Search query must be at least 2 characters")
	u.call("GET", "messages/search/", nil).want(http.StatusBadRequest).says("Search query must be at least 2 characters")
	long := strings.Repeat("x", 101)
	u.call("GET", "messages/search/?q="+long, nil).want(http.StatusBadRequest)
	u.call("POST", "messages/search/", object{"query": long}).want(http.StatusBadRequest)
	u.call("POST", "messages/search/", object{"query": "a"}).want(http.StatusBadRequest).says("Search query must be at least 2 characters")
	u.call("POST", "messages/search/", object{"query": long[:100]}).want(http.StatusOK)
	s := u.dial()
	s.send(object{"type": "search", "query": "a"})
	s.refused("invalid")
}

func TestReq082_SafeHighlight(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	u := h.users("1", "2")[0]
	d := u.direct("2")
	u.post(d, `<script>alert("NEEDLE")</script> & more`)
	u.finds("needle", `<script>alert("NEEDLE")</script> & more`)
	got := u.search("needle")[0].str("content_highlight")
	if strings.Contains(got, "<script") || !strings.Contains(got, "<mark>NEEDLE</mark>") || !strings.Contains(got, "&lt;script&gt;") {
		t.Error(got)
	}
}

func TestReq083_SearchFilters(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	us := h.users("1", "2", "3")
	g := us[0].group("g", "2", "3")
	first := us[0].post(g, "needle one")
	time.Sleep(2 * time.Millisecond)
	second := us[1].post(g, "needle two")
	us[0].finds("needle", "needle two", "needle one")
	check := func(want []string, more ...string) {
		t.Helper()
		if got := us[2].contents("needle", more...); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", more, got, want)
		}
	}
	check([]string{"needle one"}, "sender", "1")
	check([]string{}, "sender", "3")
	check([]string{"needle two"}, "date_from", second.str("timestamp"))
	check([]string{"needle one"}, "date_to", first.str("timestamp"))
	check([]string{"needle two", "needle one"}, "date_from", first.str("timestamp"), "date_to", second.str("timestamp"))
	check([]string{}, "date_to", "2020-01-01")
	check([]string{}, "has_attachments", "true")
	check([]string{"needle two", "needle one"}, "has_attachments", "false")
}

func TestReq084_Req115_QueriesAreUnderstoodAndLiteral(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	u := h.users("1", "2")[0]
	d := u.direct("2")
	for _, c := range []string{"red apple pie", "green apple", "red pear", "100% sure_thing", `it's a "quoted" word`, "Crème brûlée", "日本語のテキスト"} {
		u.post(d, c)
	}
	u.finds("apple", "green apple", "red apple pie")
	u.finds("red AND apple", "red apple pie")
	u.finds("pear OR green", "red pear", "green apple")
	u.finds("apple NOT red", "green apple")
	u.finds(`"apple pie"`, "red apple pie")
	u.finds(`"pie apple"`)
	u.finds("creme brulee", "Crème brûlée")
	u.finds("テキスト", "日本語のテキスト")
	for _, q := range []string{`%%`, `__`, `'; DROP TABLE docs; --`, `"`, `""`, "a\x00b", `apple"`, "AND", "NOT NOT", "((((", "apple*", "NEAR(apple pie)", "content:apple", `\\`, "��"} {
		u.call("GET", "messages/search/?q="+url.QueryEscape(q), nil)
		if r := u.call("GET", "messages/search/?q="+url.QueryEscape(q), nil); r.status != http.StatusOK && r.status != http.StatusBadRequest {
			t.Errorf("%q: %d %s", q, r.status, r.raw)
		}
	}
	u.finds("apple", "green apple", "red apple pie") // all is still there
}

// What changes shows at once as far as something must not be found, and soon as far as it must.
func TestReq148_SearchFollowsEditsAndDeletions(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	us := h.users("1", "2")
	d := us[0].direct("2")
	m, n := us[0].post(d, "the old wording"), us[0].post(d, "to be deleted")
	us[1].finds("old", "the old wording")
	us[1].finds("deleted", "to be deleted")
	us[0].call("PATCH", "messages/"+m.str("id")+"/", object{"content": "the new wording"}).want(http.StatusOK)
	if got := us[1].contents("old"); len(got) != 0 {
		t.Errorf("the old text is found: %q", got)
	}
	us[1].finds("new", "the new wording")
	us[0].call("DELETE", "messages/"+n.str("id")+"/", nil).want(http.StatusNoContent)
	if got := us[1].contents("deleted"); len(got) != 0 {
		t.Errorf("the deleted message is found: %q", got)
	}
	// Nothing is left in the index of a group that is gone.
	docs := func() float64 { return h.metric("hub_search_index_documents") }
	h.await("the deletion", func() bool { return docs() == 1 })
	third := h.user("3")
	g := us[0].group("g", "2", "3")
	for i := range 5 {
		us[0].post(g, fmt.Sprint("of the group ", i))
	}
	h.await("the group in the index", func() bool { return docs() == 6 })
	for _, u := range []*user{us[0], us[1], third} {
		u.call("POST", "conversations/"+g+"/leave/", nil).want(http.StatusOK)
	}
	if got := us[0].contents("group"); len(got) != 0 {
		t.Errorf("found after leaving: %q", got)
	}
	h.await("the end of the group", func() bool { return docs() == 1 })
}

func TestReq042_Req167_SearchKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	var us [2][2]*user
	for i, tenant := range []string{"red", "blue"} {
		us[i] = [2]*user{h.userOf(tenant, "1"), h.userOf(tenant, "2")}
		us[i][0].post(us[i][0].direct("2"), "needle of "+tenant)
	}
	us[0][1].finds("needle", "needle of red")
	us[1][1].finds("needle", "needle of blue")
}

func TestSearchOverWebSocket(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	us := h.users("1", "2", "3")
	d, g := us[0].direct("2"), us[0].group("g", "2", "3")
	us[0].post(d, "needle one")
	us[0].post(g, "needle two")
	us[1].finds("needle", "needle two", "needle one")
	s := us[1].dial()
	s.send(object{"type": "search", "query": "needle", "ref": "r"})
	f := s.expect("search_results")
	if f.num("count") != 2 || f.str("ref") != "r" || f.list("results")[0].str("content") != "needle two" || f.list("results")[0].str("conversation_id") != g {
		t.Errorf("%v", f.raw)
	}
	s.send(object{"type": "search", "query": "needle", "conversation_id": d})
	if f = s.expect("search_results"); f.num("count") != 1 {
		t.Errorf("%v", f.raw)
	}
	one := us[1].dial(d) // the connection's own conversation
	one.send(object{"type": "search", "query": "needle"})
	if f = one.expect("search_results"); f.num("count") != 1 || f.list("results")[0].str("content") != "needle one" {
		t.Errorf("%v", f.raw)
	}
}

// TestReq086_SearchEqualsOracle compares random searches with looking at every message.
func TestReq086_SearchEqualsOracle(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch, func(c *config.Config) { c.IdleAfter = time.Second })
	rnd := rand.New(rand.NewPCG(8, 6))
	us := h.users("1", "2", "3", "4")
	words := []string{"apple", "banana", "cherry", "damson", "elder", "figtree", "grape", "hazel"}
	type message struct {
		content string
		members []int
	}
	type room struct {
		id      string
		members []int
	}
	rooms := []room{{us[0].direct("2"), []int{0, 1}}, {us[2].direct("4"), []int{2, 3}}, {us[0].group("a", "2", "3"), []int{0, 1, 2}},
		{us[1].group("b", "3", "4"), []int{1, 2, 3}}, {us[3].group("c", "1", "2"), []int{0, 1, 3}}}
	var all []message
	for i := range 300 {
		r := rooms[rnd.IntN(len(rooms))]
		c := fmt.Sprintf("m%d %s %s", i, words[rnd.IntN(len(words))], words[rnd.IntN(len(words))])
		us[r.members[rnd.IntN(len(r.members))]].post(r.id, c)
		all = append(all, message{c, r.members})
	}
	for i, r := range rooms { // each is indexed for itself
		u, sentinel := us[r.members[0]], fmt.Sprint("sentinel", i)
		u.post(r.id, sentinel)
		u.h.await(sentinel, func() bool { return slices.Contains(u.contents(sentinel), sentinel) })
	}
	for i := range 60 {
		u, a, b := rnd.IntN(4), words[rnd.IntN(len(words))], words[rnd.IntN(len(words))]
		ok := func(c string) bool { return strings.Contains(c, a) && strings.Contains(c, b) }
		q := a + " " + b
		switch i % 3 {
		case 1:
			q, ok = a+" OR "+b, func(c string) bool { return strings.Contains(c, a) || strings.Contains(c, b) }
		case 2:
			if a == b {
				continue
			}
			q, ok = a+" NOT "+b, func(c string) bool { return strings.Contains(c, a) && !strings.Contains(c, b) }
		}
		want := []string{}
		for j := len(all) - 1; j >= 0 && len(want) < 50; j-- {
			if slices.Contains(all[j].members, u) && ok(all[j].content) {
				want = append(want, all[j].content)
			}
		}
		if got := us[u].contents(q); !slices.Equal(got, want) {
			t.Errorf("%s searches %q: %d results, want %d\n%q\n%q", us[u].id, q, len(got), len(want), got, want)
		}
	}
}

// kept is an index that outlives the nodes that use it.
type kept struct{ search.Index }

func (kept) Close() error { return nil }

// An index that is away for long costs searches alone: sending goes on, the lag is seen to grow, and it heals by itself.
func TestIndexUnavailable(t *testing.T) {
	t.Parallel()
	index := searchtest.NewMemory()
	h := startWith(t, kept{index}, func(c *config.Config) { c.IdleAfter = time.Second })
	us := h.users("1", "2")
	d := us[0].direct("2")
	us[0].post(d, "needle 0")
	us[1].finds("needle", "needle 0")
	const lag = `hub_projection_lag_events{consumer="search",data="current"}`
	const age = `hub_projection_lag_seconds{consumer="search",data="current"}`
	index.Fail(errors.New("connection refused"))
	s := us[1].dial()
	want := []string{"needle 0"}
	before := 0.0
	for round := range 3 {
		for i := range 20 {
			c := fmt.Sprintf("needle %d", round*20+i+1)
			us[0].post(d, c)
			s.message(c)
			want = append([]string{c}, want...)
		}
		h.await("a growing lag", func() bool { return h.metric(lag) >= float64((round+1)*20) })
		if now := h.metric(age); now <= before {
			t.Errorf("the age of the oldest event went from %v s to %v s", before, now)
		} else {
			before = now
		}
		time.Sleep(50 * time.Millisecond)
	}
	r := us[1].call("GET", "messages/search/?q=needle", nil).want(http.StatusServiceUnavailable)
	r.says("Search is temporarily unavailable. Try again later.")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.send(object{"type": "search", "query": "needle"})
	s.refused("unavailable")
	h.await("/readyz says so", func() bool {
		status, list := h.readyz()
		if status != http.StatusOK {
			t.Fatalf("the index made the node unready: %s", list)
		}
		return strings.Contains(list, "[+]search unavailable")
	})
	h.await("the consumer is said to be ill", func() bool { return h.metric(`hub_projection_healthy{consumer="search",data="current"}`) == 0 })
	// Also when the node ends meanwhile: it stops, and starts, without the index.
	h.restart()
	us[0].post(d, "needle 61")
	want = append([]string{"needle 61"}, want...)
	index.Fail(nil)
	us[1].finds("needle", want[:50]...)
	h.await("no lag", func() bool { return h.metric(lag) == 0 && h.metric(age) == 0 })
}

// What is lost with the directory of the index comes back by itself.
func TestLostIndexIsFedAgain(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	us := h.users("1", "2", "3")
	var want []string
	for i := range 10 {
		g := us[0].group(fmt.Sprint("g", i), "2", "3")
		c := fmt.Sprint("needle ", i)
		us[0].post(g, c)
		want = append([]string{c}, want...)
	}
	us[1].finds("needle", want...)
	h.stop()
	if err := os.RemoveAll(filepath.Join(h.cfg.Data, node.SearchDir)); err != nil {
		t.Fatal(err)
	}
	h.run()
	us[1].finds("needle", want...)
	// Without search for a while, and with it again.
	h.stop()
	h.cfg.Search = "off"
	h.run()
	us[1].call("GET", "messages/search/?q=needle", nil).want(http.StatusNotImplemented)
	us[0].post(us[0].direct("2"), "needle of the dark")
	h.stop()
	h.cfg.Search = "fts"
	h.run()
	us[1].finds("needle", append([]string{"needle of the dark"}, want...)...)
}

func TestReindexUnderLoad(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	us := h.users("1", "2", "3")
	var rooms []string
	for i := range 20 {
		rooms = append(rooms, us[0].group(fmt.Sprint("g", i), "2", "3"))
		us[0].post(rooms[i], fmt.Sprint("needle of room ", i))
	}
	us[1].finds("room", func() (all []string) {
		for i := range 20 {
			all = append([]string{fmt.Sprint("needle of room ", i)}, all...)
		}
		return all
	}()...)
	admin := func(method string) *reply {
		r, err := h.request(method, h.admin+"/admin/reindex", http.Header{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if got := admin("GET").want(http.StatusOK).body.str("phase"); got != "none" {
		t.Errorf("phase %q", got)
	}
	admin("DELETE").want(http.StatusNotFound)
	admin("PUT").want(http.StatusMethodNotAllowed)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	sent := 0
	wg.Go(func() { // live changes go on
		for i := 0; ctx.Err() == nil; i++ {
			us[0].post(rooms[i%len(rooms)], fmt.Sprintf("live %05d", i))
			mu.Lock()
			sent++
			mu.Unlock()
			if len(us[1].search("room")) != 20 { // the index in use answers until the new one does
				t.Error("something is not found meanwhile")
				return
			}
		}
	})
	admin("POST").want(http.StatusAccepted)
	if r := admin("POST"); r.status != http.StatusConflict && r.status != http.StatusAccepted {
		t.Errorf("%d %s", r.status, r.raw)
	}
	h.await("the end of the rebuild", func() bool {
		r := admin("GET")
		return r.body.str("phase") == "done" && r.body.num("conversations") == 20 && r.body.num("total") == 20
	})
	stop()
	wg.Wait()
	var want []string
	for i := sent - 1; i >= 0 && len(want) < 50; i-- {
		want = append(want, fmt.Sprintf("live %05d", i))
	}
	us[2].finds("live", want...)
	if got := len(us[2].search("room")); got != 20 {
		t.Errorf("%d of 20", got)
	}
	// Cancelled or not, it is over at the end.
	admin("POST").want(http.StatusAccepted)
	admin("DELETE")
	h.await("the end", func() bool {
		phase := admin("GET").body.str("phase")
		return phase == "cancelled" || phase == "done"
	})
	us[2].finds("live", want...)
}
