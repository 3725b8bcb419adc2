package node_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/internal/config"
)

var resourceStamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)

// keys are the names in an object, sorted.
func (o object) keys() []string {
	var ks []string
	for k := range o {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// wantKeys checks that an object has the fields of the contract, and those the hub adds.
func wantKeys(t *testing.T, what string, o object, fields string) {
	t.Helper()
	want := strings.Fields(fields)
	slices.Sort(want)
	if got := o.keys(); !slices.Equal(got, want) {
		t.Errorf("%s has %v, want %v", what, got, want)
	}
}

const (
	userFields         = "id email first_name last_name full_name avatar_url"
	conversationFields = "id name participants last_message_text last_message_at last_message_sender_id unread_count is_group other_participant updated_at is_muted muted_until is_pinned is_archived draft "
	extraFields        = " reply_to reply_count mentions mention_all forwarded_from"
	added              = " seq client_id reactions edited_at deleted_at attachment" + extraFields
)

// TestReq105_Endpoints walks through every endpoint that the document lists, once, as it is meant to be used.
func TestReq105_Endpoints(t *testing.T) {
	t.Parallel()
	var key string
	h := start(t, withFiles, func(c *config.Config) {
		key, c.Search = strings.Repeat("k", 40), "fts"
		c.AdminKeyFile = filepath.Join(t.TempDir(), "admin-key")
		if err := os.WriteFile(c.AdminKeyFile, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	visited := map[string]bool{}
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|users/1/|[0-9]{6,}`)
	visit := func(token, method, path string, body any, status int) *reply {
		t.Helper()
		p, _, _ := strings.Cut(path, "?")
		p = id.ReplaceAllStringFunc(p, func(s string) string {
			if s == "users/1/" {
				return "users/{id}/"
			}
			return "{id}"
		})
		visited[method+" "+p] = true
		return h.call(token, method, path, body).want(status)
	}
	pair := visit("", "POST", "/api/v1/auth/token/", object{"username": "1", "password": "x", "email": "one@example.com", "first_name": "Ann", "last_name": "Archer"}, 200).body
	wantKeys(t, "token", pair, "refresh access")
	tok := visit("", "POST", "/api/v1/auth/token/refresh/", object{"refresh": pair.str("refresh")}, 200).body.str("access")
	visit("", "POST", "/api/v1/auth/token/verify/", object{"token": tok}, 200)
	spare := h.call("", "POST", "/api/v1/auth/token/", object{"username": "1", "password": "x"}).want(200).body.str("refresh")
	visit("", "POST", "/api/v1/auth/token/blacklist/", object{"refresh": spare}, 200)
	h.users("2", "3", "4")

	const c = api + "conversations/"
	d := visit(tok, "POST", c, object{"participant_ids": []int{2}, "message": "hello"}, 201).body
	wantKeys(t, "conversation detail", d, conversationFields+"can_leave can_add_participants created_at")
	wantKeys(t, "user", d.obj("other_participant"), userFields)
	if d.obj("other_participant").num("id") != 2 || d.str("last_message_text") != "hello" || !resourceStamp.MatchString(d.str("created_at")) {
		t.Errorf("%v", d)
	}
	direct := d.str("id")
	g := visit(tok, "POST", c, object{"participant_ids": []any{2, "3"}, "name": "Crew"}, 201).body.str("id")
	l := visit(tok, "GET", c, nil, 200).body
	wantKeys(t, "page", l, "count next previous results")
	wantKeys(t, "conversation in a list", l.list("results")[0], conversationFields+"last_message_preview")
	visit(tok, "GET", c+g+"/", nil, 200)
	if r := visit(tok, "PATCH", c+g+"/", object{"name": "Team"}, 200); r.body.str("name") != "Team" {
		t.Error(r.raw)
	}
	for _, a := range []struct {
		action string
		body   any
		says   string
	}{
		{"add_participants", object{"user_ids": []int{4}}, "Participants added"},
		{"set_role", object{"user_id": 4, "role": "admin"}, "Role changed"},
		{"remove_participant", object{"user_ids": []int{4}}, "Participants removed"},
		{"remove_participants", object{"user_ids": []int{3}}, "Participants removed"},
		{"mark_read", nil, "0 messages marked as read"},
		{"archive", nil, "Conversation archived"},
		{"unarchive", nil, "Conversation unarchived"},
		{"mute", nil, "Conversation muted"},
		{"unmute", nil, "Conversation unmuted"},
		{"pin", nil, "Conversation pinned"},
		{"unpin", nil, "Conversation unpinned"},
	} {
		r := visit(tok, "POST", c+g+"/"+a.action+"/", a.body, 200)
		wantKeys(t, "envelope", r.body, "success data message errors meta")
		if !r.body.yes("success") || r.body.str("message") != a.says || r.body.obj("meta").str("timestamp") == "" {
			t.Error(r.raw)
		}
	}

	const m = api + "messages/"
	s := visit(tok, "POST", m, object{"conversation_id": direct, "content": "second"}, 201).body
	wantKeys(t, "sent message", s, "content file voice_message is_voice id conversation sender timestamp seq client_id attachment"+extraFields)
	l = visit(tok, "GET", m+"?conversation="+direct, nil, 200).body
	wantKeys(t, "message in a list", l.list("results")[0], "id conversation sender content is_own has_attachment is_read is_voice timestamp"+added)
	mid := s.str("id")
	r := visit(tok, "GET", m+mid+"/", nil, 200)
	wantKeys(t, "message detail", r.body,
		"id conversation sender content file file_url voice_message voice_message_url is_voice is_read is_own read_by read_count timestamp"+added)
	if r := visit(tok, "PATCH", m+mid+"/", object{"content": "changed"}, 200); r.body.str("content") != "changed" || !resourceStamp.MatchString(r.body.str("edited_at")) {
		t.Error(r.raw)
	}
	h.await("a search that finds it", func() bool {
		found := visit(tok, "GET", m+"search/?q=changed", nil, 200).body.obj("data").list("results")
		if len(found) > 0 {
			wantKeys(t, "search result", found[0], "id conversation conversation_name sender content content_highlight timestamp seq")
		}
		return len(found) == 1
	})
	visit(tok, "POST", m+"search/", object{"query": "changed"}, 200)
	for _, call := range [][2]string{{"POST", m + mid + "/pin/"}, {"POST", m + mid + "/unpin/"}, {"GET", m + mid + "/replies/"}, {"GET", m + mid + "/readers/"}, {"GET", c + direct + "/pins/"},
		{"GET", c + direct + "/events/"}, {"GET", c + direct + "/draft/"}} {
		visit(tok, call[0], call[1], nil, 200)
	}
	visit(tok, "POST", m+mid+"/forward/", object{"conversation_id": g}, 201)
	const later = api + "scheduled/"
	when := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	planned := visit(tok, "POST", later, object{"conversation_id": direct, "content": "x", "send_at": when}, 201).body
	wantKeys(t, "scheduled message", planned, "id conversation content client_id reply_to mentions mention_all send_at state failed_reason created_at")
	visit(tok, "GET", later, nil, 200)
	visit(tok, "GET", later+planned.str("id")+"/", nil, 200)
	visit(tok, "PATCH", later+planned.str("id")+"/", object{"content": "y"}, 200)
	visit(tok, "DELETE", later+planned.str("id")+"/", nil, http.StatusNoContent)
	wantKeys(t, "draft", visit(tok, "PUT", c+direct+"/draft/", object{"text": "x"}, 200).body, "text reply_to updated_at")
	visit(tok, "DELETE", c+direct+"/draft/", nil, http.StatusNoContent)
	visit(tok, "POST", c+g+"/transfer_ownership/", object{"user_id": 2}, 200)
	visit(tok, "DELETE", m+mid+"/", nil, http.StatusNoContent)
	if r := h.call(tok, "GET", m+mid+"/", nil).want(200); r.body.str("content") != "" || r.body.object("deleted_at") == nil {
		t.Error(r.raw)
	}
	visit(tok, "POST", c+g+"/leave/", nil, 200)

	const b = api + "blocked/"
	blocked := visit(tok, "POST", b, object{"user_id": 4}, 201).body
	wantKeys(t, "block", blocked, "id blocked created_at")
	wantKeys(t, "user", blocked.obj("blocked"), userFields)
	l = visit(tok, "GET", b, nil, 200).body
	wantKeys(t, "page", l, "count next previous results")
	visit(tok, "POST", b+"check/", object{"user_id": 4}, 200)
	visit(tok, "DELETE", fmt.Sprint(b, blocked.num("id"), "/"), nil, http.StatusNoContent)
	visit(tok, "GET", api+"preferences/", nil, 200)

	const contactFields, requestFields = "id contact is_favorite is_online created_at", "id sender receiver accepted rejected status_display created_at"
	const can = " can_accept can_reject can_cancel"
	k := api + "contacts/"
	contact := visit(tok, "POST", k, object{"contact_id": 2}, 201).body
	wantKeys(t, "contact", contact, contactFields)
	wantKeys(t, "user", contact.obj("contact"), userFields)
	one := fmt.Sprint(k, contact.num("id"), "/")
	wantKeys(t, "contact in a list", visit(tok, "GET", k, nil, 200).body.list("results")[0], contactFields)
	wantKeys(t, "contact detail", visit(tok, "GET", one, nil, 200).body, contactFields+" last_seen conversation_id")
	wantKeys(t, "favourite", visit(tok, "POST", one+"add_favorite/", nil, 200).body.obj("data"), contactFields)
	wantKeys(t, "favourite", visit(tok, "GET", k+"favorites/", nil, 200).array()[0], contactFields)
	visit(tok, "GET", k+"online/", nil, 200).array()
	visit(tok, "GET", k+"suggestions/", nil, 200).array()
	visit(tok, "POST", one+"remove_favorite/", nil, 200)
	st := api + "status/"
	const statusFields = "id user is_online last_seen last_seen_display"
	wantKeys(t, "status", visit(tok, "GET", st+"me/", nil, 200).body, statusFields)
	for _, method := range []string{"PUT", "PATCH"} {
		wantKeys(t, "status", visit(tok, method, st+"update_status/", object{"is_online": true}, 200).body.obj("data"), statusFields)
	}
	wantKeys(t, "status", visit(tok, "GET", st+"contact_statuses/", nil, 200).body.list("data")[0], statusFields)
	visit(tok, "DELETE", one, nil, http.StatusNoContent)
	f := api + "friend-requests/"
	wantKeys(t, "new request", visit(tok, "POST", f, object{"receiver_id": 2}, 201).body, "receiver_id "+requestFields+can)
	wantKeys(t, "request in a list", visit(tok, "GET", f, nil, 200).body.list("results")[0], requestFields)
	sent := visit(tok, "GET", f+"sent/", nil, 200).array()[0]
	wantKeys(t, "sent request", sent, requestFields)
	wantKeys(t, "user", sent.obj("receiver"), userFields)
	wantKeys(t, "request detail", visit(tok, "GET", f+sent.str("id")+"/", nil, 200).body, requestFields+can)
	visit(tok, "POST", f+sent.str("id")+"/cancel/", nil, 200)
	accept, reject := h.user("2").ask("1"), h.user("3").ask("1")
	visit(tok, "GET", f+"received/", nil, 200).array()
	wantKeys(t, "accepted", visit(tok, "POST", f+accept+"/accept/", nil, 200).body.obj("data"), requestFields+can)
	wantKeys(t, "rejected", visit(tok, "POST", f+reject+"/reject/", nil, 200).body.obj("data"), requestFields+can)
	visit(tok, "PATCH", api+"preferences/", object{"invisible": false}, 200)

	visitFiles(t, h, tok, direct, visited)
	visit("", "GET", "/api/openapi.yaml", nil, 200)
	visit("", "GET", "/api/asyncapi.yaml", nil, 200)
	visit("", "GET", "/health/", nil, 200)
	visit("", "GET", "/health/ready/", nil, 200)
	visit("", "GET", "/health/live/", nil, 200)

	admin := http.Header{"Content-Type": {"application/json"}, "X-Api-Key": {key}}
	for _, method := range []string{"PUT", "GET"} {
		r, err := h.request(method, "/api/v1/admin/users/1/", admin, object{"username": "annie", "first_name": "Annie"})
		if err != nil || r.want(200).body.str("username") != "annie" {
			t.Errorf("%v", err)
		}
		visited[method+" /api/v1/admin/users/{id}/"] = true
	}

	h.visitAdmin(key, direct, visited)
	document := string(rest.OpenAPI())
	for path, methods := range documented(document) {
		for _, method := range methods {
			if !visited[method+" "+path] {
				t.Errorf("not visited: %s %s", method, path)
			}
			delete(visited, method+" "+path)
		}
	}
	for v := range visited {
		t.Errorf("not in the document: %s", v)
	}
}

func (o object) object(k string) any { return o[k] }

// documented lists the methods of each path of the OpenAPI document.
func documented(yaml string) map[string][]string {
	paths, inside, path := map[string][]string{}, false, ""
	for line := range strings.Lines(yaml) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "paths:":
			inside = true
		case line != "" && line[0] != ' ' && line[0] != '#':
			inside = false
		case inside && strings.HasPrefix(line, "  /"):
			path = strings.TrimSuffix(strings.TrimSpace(line), ":")
		case inside && strings.HasPrefix(line, "    ") && line[4] != ' ':
			switch m := strings.ToUpper(strings.TrimSuffix(strings.TrimSpace(line), ":")); m {
			case "GET", "POST", "PUT", "PATCH", "DELETE":
				paths[path] = append(paths[path], m)
			}
		}
	}
	return paths
}

func TestReq106_CredentialsRequired(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	mid := ann.post(id, "secret").str("id")
	n := 0
	for path, methods := range documented(string(rest.OpenAPI())) {
		if !strings.HasPrefix(path, api) {
			continue
		}
		target := strings.ReplaceAll(path, "{id}", id)
		if strings.Contains(path, "/messages/messages/") {
			target = strings.ReplaceAll(path, "{id}", mid)
		}
		for _, method := range methods {
			n++
			r := h.call("", method, target, object{}).want(http.StatusUnauthorized)
			if r.raw != `{"detail":"Authentication credentials were not provided."}` || r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s", r.what, r.raw)
			}
			for name, token := range map[string]string{"garbage": "x.y.z", "expired": h.sign("ann", "", time.Now().Add(-time.Hour)), "cut": ann.token[:len(ann.token)-2]} {
				if r := h.call(token, method, target, object{}); r.status != http.StatusUnauthorized || strings.Contains(r.raw, "secret") {
					t.Errorf("%s with a token that is %s: %d %s", r.what, name, r.status, r.raw)
				}
			}
		}
	}
	if n < 12 {
		t.Errorf("only %d operations found", n)
	}
	h.call("", "GET", api+"messages/?token="+ann.token, nil).want(http.StatusUnauthorized)
}

func TestReq107_Pages(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	for i := range 45 {
		h.user(fmt.Sprint("u", i))
		ann.direct(fmt.Sprint("u", i))
	}
	id := ann.direct("u0")
	for i := range 45 {
		ann.post(id, fmt.Sprint("m", i))
	}
	for _, base := range []string{"conversations/", "messages/?conversation=" + id, "conversations/?type=direct&page_size=5"} {
		seen := map[string]bool{}
		next, sizes := base, []int{}
		for page := 1; next != ""; page++ {
			r := ann.call("GET", next, nil).want(200)
			if r.body.num("count") != 45 || (page == 1) != (r.body["previous"] == nil) {
				t.Errorf("%s page %d: %v %v", base, page, r.body["count"], r.body["previous"])
			}
			for _, o := range r.body.list("results") {
				seen[o.str("id")] = true
			}
			sizes = append(sizes, len(r.body.list("results")))
			next = r.body.str("next")
			if next != "" && !strings.HasPrefix(next, h.url) {
				t.Fatalf("next is %q", next)
			}
		}
		if len(seen) != 45 || !slices.Equal(sizes, []int{20, 20, 5}) {
			t.Errorf("%s: %d items on pages of %v", base, len(seen), sizes)
		}
		sep := "?"
		if strings.Contains(base, "?") {
			sep = "&"
		}
		for _, bad := range []string{"4", "0", "-1", "x", "99999999999999999999"} {
			ann.call("GET", base+sep+"page="+bad, nil).want(404).says(`{"detail":"Invalid page."}`)
		}
		if n := len(ann.call("GET", base+sep+"page=last", nil).want(200).body.list("results")); n != 5 {
			t.Errorf("%s: the last page has %d", base, n)
		}
	}
}

func TestReq108_WalkBackOverEqualTimes(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	h.clock.freeze() // all messages have one timestamp
	const n = 4500   // more than a bucket of the log
	for i := 0; i < n; i += 250 {
		for j := range 250 {
			a.write(fmt.Sprintf(`{"type":"send_message","content":"m%d"}`, i+j))
		}
		for j := range 250 {
			if f := b.next(); f.str("content") != fmt.Sprint("m", i+j) {
				t.Fatalf("%s, want m%d", f.raw, i+j)
			}
		}
		a.message(fmt.Sprint("m", i+249)) // who does not read its own echoes becomes a slow consumer
	}
	check := func() {
		t.Helper()
		all := bob.history(id)
		if len(all) != n {
			t.Fatalf("%d messages, want %d", len(all), n)
		}
		for i, m := range all {
			if m.str("content") != fmt.Sprint("m", n-1-i) || m.str("timestamp") != all[0].str("timestamp") {
				t.Fatalf("at %d: %v", i, m)
			}
		}
	}
	check()
	h.drop()
	check()
	// Walking by time skips all of one moment, and loses nothing before it.
	at := bob.call("GET", "messages/?conversation="+id, nil).want(200).body.list("results")[0].str("timestamp")
	if r := bob.call("GET", "messages/?conversation="+id+"&before="+at, nil).want(200); len(r.body.list("results")) != 0 {
		t.Error(r.raw)
	}
	bob.call("GET", "messages/?conversation="+id+"&before=nonsense", nil).want(400)
	bob.call("GET", "messages/?conversation=nonsense", nil).want(400)
}

func TestReq110_RESTAppearsOnSockets(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b, all := ann.dial(id), bob.dial(id), bob.dial()
	begin := time.Now()
	r := ann.call("POST", "messages/", object{"conversation_id": id, "content": "from REST", "client_id": "c"}).want(201)
	for _, s := range []*socket{a, b, all} {
		f := s.next()
		if f.str("content") != "from REST" || f.str("id") != r.body.str("id") || f.num("seq") != r.body.num("seq") || f.str("client_id") != "c" ||
			strings.Replace(f.str("timestamp"), "+00:00", "Z", 1) != r.body.str("timestamp") {
			t.Errorf("%s, want %s", f.raw, r.raw)
		}
	}
	t.Logf("after %v", time.Since(begin))
	mid := r.body.str("id")
	ann.call("PATCH", "messages/"+mid+"/", object{"content": "edited"}).want(200)
	if f := b.next(); f.str("type") != "message_edited" || f.str("message_id") != mid || f.str("content") != "edited" {
		t.Error(f.raw)
	}
	ann.call("DELETE", "messages/"+mid+"/", nil).want(http.StatusNoContent)
	if f := b.next(); f.str("type") != "message_deleted" || f.str("message_id") != mid {
		t.Error(f.raw)
	}
	// And the other way round.
	mid = b.say(id, "from a socket").str("id")
	if m := ann.history(id)[0]; m.str("id") != mid || m.str("content") != "from a socket" {
		t.Errorf("%v", m)
	}
}

func TestReq111_Tokens(t *testing.T) {
	t.Parallel()
	h := start(t)
	const tok = "/api/v1/auth/token/"
	pair := h.call("", "POST", tok, object{"username": "ann", "password": "x"}).want(200).body
	fresh := h.call("", "POST", tok+"refresh/", object{"refresh": pair.str("refresh")}).want(200).body
	for _, access := range []string{pair.str("access"), fresh.str("access")} {
		h.call("", "POST", tok+"verify/", object{"token": access}).want(200)
		h.call(access, "GET", api+"conversations/", nil).want(200)
	}
	h.call("", "POST", tok+"verify/", object{"token": "x.y.z"}).want(401).says("Token is invalid or expired")
	h.call("", "POST", tok+"refresh/", object{"refresh": pair.str("access")}).want(401)
	h.call(pair.str("refresh"), "GET", api+"conversations/", nil).want(401)
	h.call("", "POST", tok, object{}).want(400).says("username").says("password")
	h.clock.advance(2 * time.Hour)
	h.call("", "POST", tok+"verify/", object{"token": pair.str("access")}).want(401)
	h.call(pair.str("access"), "GET", api+"conversations/", nil).want(401).says("token_not_valid")
	again := h.call("", "POST", tok+"refresh/", object{"refresh": fresh.str("refresh")}).want(200).body
	h.call(again.str("access"), "GET", api+"conversations/", nil).want(200)
	h.clock.advance(8 * 24 * time.Hour)
	h.call("", "POST", tok+"refresh/", object{"refresh": again.str("refresh")}).want(401).says("Token is invalid or expired")
}

// A refresh token is good for one refresh, or until it is revoked, and that outlives restarts and crashes.
func TestReq111_RefreshTokensRotateAndAreRevoked(t *testing.T) {
	t.Parallel()
	h := start(t)
	const tok = "/api/v1/auth/token/"
	obtain := func(user string) string {
		return h.call("", "POST", tok, object{"username": user, "password": "x"}).want(200).body.str("refresh")
	}
	gone := func(refresh string) {
		t.Helper()
		const says = `{"detail":"Token is blacklisted","code":"token_not_valid"}`
		for _, path := range []string{"refresh/", "blacklist/"} {
			if r := h.call("", "POST", tok+path, object{"refresh": refresh}).want(401); r.raw != says || r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s", path, r.raw)
			}
		}
		if r := h.call("", "POST", tok+"verify/", object{"token": refresh}).want(400); r.raw != `{"non_field_errors":["Token is blacklisted"]}` {
			t.Error(r.raw)
		}
	}
	used, revoked, live := obtain("ann"), obtain("ann"), obtain("ann")
	h.call("", "POST", tok+"verify/", object{"token": used}).want(200)
	next := h.call("", "POST", tok+"refresh/", object{"refresh": used}).want(200).body.str("refresh")
	if next == used || next == "" {
		t.Fatal("the refresh token does not rotate")
	}
	gone(used)
	if r := h.call("", "POST", tok+"blacklist/", object{"refresh": revoked}).want(200); r.raw != "{}" {
		t.Error(r.raw)
	}
	gone(revoked)
	h.restart()
	gone(used)
	gone(revoked)
	h.drop()
	gone(used)
	gone(revoked)
	h.call("", "POST", tok+"refresh/", object{"refresh": next}).want(200)
	h.call("", "POST", tok+"refresh/", object{"refresh": live}).want(200)

	// Of many refreshes with one token at once, one succeeds.
	one := obtain("bob")
	var wg sync.WaitGroup
	var ok, refused atomic.Int64
	for range 16 {
		wg.Go(func() {
			r, err := h.request("POST", tok+"refresh/", http.Header{"Content-Type": {"application/json"}}, object{"refresh": one})
			switch {
			case err != nil:
				t.Error(err)
			case r.status == 200:
				ok.Add(1)
			case r.status == 401:
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if ok.Load() != 1 || refused.Load() != 15 {
		t.Errorf("%d succeeded, %d were refused", ok.Load(), refused.Load())
	}
	access := h.user("cat").token
	for _, body := range []object{{"refresh": "x.y.z"}, {"refresh": access}} {
		h.call("", "POST", tok+"blacklist/", body).want(401).says("Token is invalid or expired")
	}
	for _, body := range []string{`{}`, `{"refresh":null}`, `{"refresh":[]}`, `[]`} {
		h.call("", "POST", tok+"blacklist/", body).want(400)
	}
	h.call(access, "GET", api+"conversations/", nil).want(200)
	if strings.Contains(h.log.String(), used[len(used)-20:]) {
		t.Error("a token is in the log")
	}
}

func TestReq112_Health(t *testing.T) {
	t.Parallel()
	h := start(t)
	r := h.call("", "GET", "/health/", nil).want(200)
	wantKeys(t, "health", r.body, "status timestamp version database cache")
	if r.body.str("status") != "healthy" {
		t.Error(r.raw)
	}
	h.call("", "GET", "/health/ready/", nil).want(200).says(`{"ready":true}`)
	h.call("", "GET", "/health/live/", nil).want(200).says(`{"alive":true}`)
	for path, says := range map[string]string{"/livez": "ok", "/readyz": "ok", "/metrics": "hub_sessions_open 0"} {
		h.call("", "GET", h.admin+path, nil).want(200).says(says)
	}
	h.restart() // having written nothing
	h.restart()
	h.call("", "GET", "/health/ready/", nil).want(200)
}
