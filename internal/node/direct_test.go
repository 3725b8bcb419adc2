package node_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/storage"
)

func TestReq001_CreateDirect(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.user("bob")
	c := h.user("ann").call("POST", "conversations/", object{"participant_ids": []string{"bob"}}).want(http.StatusCreated)
	if n := len(c.body.list("participants")); n != 2 || c.body.yes("is_group") || c.body["is_group"] == nil {
		t.Errorf("%s", c.raw)
	}
	if c.body.obj("other_participant").str("id") != "bob" {
		t.Errorf("the other is not bob: %s", c.raw)
	}
}

func TestReq002_GetOrCreate(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	for what, again := range map[string]func() string{
		"again":           func() string { return ann.direct("bob") },
		"by the other":    func() string { return bob.direct("ann") },
		"after a restart": func() string { h.restart(); return ann.direct("bob") },
	} {
		if got := again(); got != id {
			t.Errorf("%s: %s, want %s", what, got, id)
		}
	}
}

func TestReq003_ConcurrentCreatesMakeOneConversation(t *testing.T) {
	t.Parallel()
	h := start(t)
	pair := h.users("ann", "bob")
	ids := make(chan string, 100)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + pair[i%2].token}}
			r, err := h.request("POST", api+"conversations/", header, object{"participant_ids": []string{pair[1-i%2].id}})
			if err != nil || r.status != http.StatusCreated {
				t.Errorf("create %d: %v %+v", i, err, r)
				return
			}
			ids <- r.body.str("id")
		})
	}
	wg.Wait()
	close(ids)
	distinct := map[string]bool{}
	for id := range ids {
		distinct[id] = true
	}
	if len(distinct) != 1 {
		t.Errorf("%d conversations", len(distinct))
	}
	for _, u := range pair {
		if l := u.call("GET", "conversations/", nil).want(http.StatusOK); l.body.num("count") != 1 {
			t.Errorf("%s sees %s", u.id, l.raw)
		}
	}
	h.stop()
	if n := h.rows(storage.TableMemberships, func(storage.Key, storage.Row) bool { return true }); n != 2 {
		t.Errorf("%d memberships stored, want 2", n)
	}
}

func TestReq004_DirectCacheHoldsForAnHour(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	ann.direct("bob")
	const hits, misses = "hub_direct_cache_hits_total", "hub_direct_cache_misses_total"
	hit, miss := h.metric(hits), h.metric(misses)
	ann.direct("bob")
	if h.metric(hits) != hit+1 || h.metric(misses) != miss {
		t.Errorf("the second look-up missed the cache: hits %v, misses %v", h.metric(hits)-hit, h.metric(misses)-miss)
	}
	h.clock.advance(3601 * time.Second)
	ann.token = h.sign("ann", "", h.clock.now().Add(time.Hour))
	ann.direct("bob")
	if h.metric(misses) != miss+1 {
		t.Error("the cache still held it after 3601 s")
	}
}

func TestReq005_PersistedBeforeBroadcast(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(*hub){"orderly": (*hub).restart, "dropped": (*hub).drop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			ann, bob := h.user("ann"), h.user("bob")
			id := ann.direct("bob")
			a, b := ann.dial(id), bob.dial()
			var got []string
			for i := range 20 {
				a.send(object{"type": "send_message", "content": fmt.Sprint("m", i)})
				got = append(got, b.message(fmt.Sprint("m", i)).str("id")) // from now on it must survive
			}
			again(h)
			listed := bob.history(id)
			if len(listed) != len(got) {
				t.Fatalf("%d messages, want %d", len(listed), len(got))
			}
			for i, m := range listed {
				if want := got[len(got)-1-i]; m.str("id") != want || m.str("content") != fmt.Sprint("m", len(got)-1-i) {
					t.Errorf("message %d is %v, want %s", i, m, want)
				}
			}
			if f := bob.dial().say(id, "after"); f.num("seq") != 22 { // 1 created, 20 messages
				t.Errorf("numbering went on with %d", f.num("seq"))
			}
		})
	}
}

var wireTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$`)

func TestReq006_Req007_FieldsAndTimes(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	seen := map[string]bool{}
	var last time.Time
	for i := range 50 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		before := time.Now().Truncate(time.Microsecond)
		from.send(object{"type": "send_message", "content": fmt.Sprint(i)})
		f := to.message(fmt.Sprint(i))
		after := time.Now()
		at, err := time.Parse(time.RFC3339Nano, f.str("timestamp"))
		if err != nil || !wireTime.MatchString(f.str("timestamp")) {
			t.Fatalf("timestamp %q: %v", f.str("timestamp"), err)
		}
		if at.Before(before) || at.After(after) {
			t.Errorf("%v is not between %v and %v", at, before, after)
		}
		if at.Before(last) {
			t.Errorf("times go back: %v after %v", at, last)
		}
		last = at
		if mid := f.str("id"); len(mid) != 36 || seen[mid] {
			t.Errorf("id %q is not new", mid)
		}
		seen[f.str("id")] = true
		if who := []string{"ann", "bob"}[i%2]; f.str("sender") != who || f.str("sender_id") != who {
			t.Errorf("sender %s", f.raw)
		}
		if f.object["is_read"] != false || f.num("seq") != i+2 {
			t.Errorf("is_read, seq: %s", f.raw)
		}
	}
	newest := ann.history(id)
	for i, m := range newest {
		if s := m.str("timestamp"); !strings.HasSuffix(s, "Z") || len(s) != len("2026-11-22T20:39:27.343221Z") {
			t.Errorf("timestamp %q", s)
		}
		if i > 0 && m.str("timestamp") > newest[i-1].str("timestamp") {
			t.Errorf("history goes back in time at %d", i)
		}
	}
}

func TestReq007_TimesDoNotGoBackWithTheClock(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	first := ann.post(id, "one").str("timestamp")
	h.clock.advance(-10 * time.Second)
	if second := ann.post(id, "two").str("timestamp"); second < first {
		t.Errorf("%s after %s", second, first)
	}
}

func TestReq008_LastMessage(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("1"), h.user("2")
	id := ann.direct("2")
	check := func(text, at, sender string) {
		t.Helper()
		for _, c := range []object{
			ann.call("GET", "conversations/"+id+"/", nil).want(200).body,
			bob.call("GET", "conversations/", nil).want(200).body.list("results")[0],
		} {
			if c.str("last_message_text") != text || c.str("last_message_at") != at || c.str("last_message_sender_id") != sender {
				t.Errorf("last message %v %v %v, want %q %s %s", c["last_message_text"], c["last_message_at"], c["last_message_sender_id"], text, at, sender)
			}
		}
	}
	const one, two = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
	check("", "", "")
	m := ann.post(id, "short")
	check("short", m.str("timestamp"), one)
	long := strings.Repeat("ä", 300)
	m = bob.post(id, long)
	check(strings.Repeat("ä", 255), m.str("timestamp"), two)

	// Concurrent sends end on the highest seq.
	sockets := []*socket{ann.dial(id), bob.dial(id)}
	for i := range 50 {
		for j, s := range sockets {
			s.send(object{"type": "send_message", "content": fmt.Sprintf("c%d-%d", j, i)})
		}
	}
	var newest frame
	for range 100 {
		newest = sockets[0].expect("message")
	}
	sender := map[string]string{"1": one, "2": two}[newest.str("sender")]
	check(newest.str("content"), strings.Replace(newest.str("timestamp"), "+00:00", "Z", 1), sender)
}

func TestReq009_NonParticipant(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, eve := h.user("ann"), h.user("eve")
	h.user("bob")
	id := ann.direct("bob")
	m := ann.post(id, "secret")
	if l := eve.call("GET", "conversations/", nil).want(200); l.body.num("count") != 0 {
		t.Errorf("eve's list: %s", l.raw)
	}
	for _, r := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", "conversations/" + id + "/", nil, 404},
		{"GET", "messages/?conversation=" + id, nil, 404},
		{"GET", "messages/" + m.str("id") + "/", nil, 404},
		{"PATCH", "messages/" + m.str("id") + "/", object{"content": "x"}, 404},
		{"DELETE", "messages/" + m.str("id") + "/", nil, 404},
		{"POST", "conversations/" + id + "/mark_read/", nil, 404},
		{"POST", "conversations/" + id + "/leave/", nil, 404},
		{"POST", "conversations/" + id + "/add_participants/", object{"user_ids": []string{"eve"}}, 404},
		{"POST", "messages/", object{"conversation_id": id, "content": "x"}, 400},
	} {
		if got := eve.call(r.method, r.path, r.body).want(r.status); strings.Contains(got.raw, "secret") {
			t.Errorf("%s leaks: %s", got.what, got.raw)
		}
	}
	if l := eve.call("GET", "messages/", nil).want(200); l.body.num("count") != 0 {
		t.Errorf("eve's messages: %s", l.raw)
	}
	s, err := h.open("/ws/chat/"+id+"/", http.Header{"Authorization": {"Bearer " + eve.token}})
	if err != nil {
		t.Fatal(err)
	}
	if before := s.wantClose(4003); len(before) != 0 {
		t.Errorf("got %v first", before)
	}
	all := eve.dial()
	all.send(object{"type": "send_message", "conversation_id": id, "content": "x"})
	all.refused("not_participant")
}

func TestReq010_NoConversationWithOneself(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	for _, ids := range [][]string{{"ann"}, {"ann", "ann"}, {}} {
		ann.call("POST", "conversations/", object{"participant_ids": ids}).want(http.StatusBadRequest)
	}
	s := ann.dial()
	s.send(object{"type": "create_group", "group_name": "me", "members": []string{"ann"}})
	s.refused("missing_field")
	if l := ann.call("GET", "conversations/", nil).want(200); l.body.num("count") != 0 {
		t.Errorf("a conversation was made: %s", l.raw)
	}
}

func TestReq011_EmptyMessage(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	s := ann.dial(id)
	for _, content := range []any{"", "   ", "\t\n ", " \u2003", nil} {
		s.send(object{"type": "send_message", "content": content})
		if f := s.refused("empty_message"); f.str("message") != "Empty message" {
			t.Error(f.raw)
		}
		ann.call("POST", "messages/", object{"conversation_id": id, "content": content}).want(400).
			says("Message must have content, file, or voice message.")
	}
	s.write(`{"type":"send_message"}`)
	s.refused("empty_message")
	if all := ann.history(id); len(all) != 0 {
		t.Errorf("stored: %v", all)
	}
	if f := s.say(id, "  full  "); f.num("seq") != 2 || f.str("content") != "full" {
		t.Error(f.raw)
	}
}
