package rest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/rest"
)

const noCredentials = `{"detail":"Authentication credentials were not provided."}`

// paths lists a request for every route that needs a token.
func guarded(b *bench) (list [][2]string) {
	for _, r := range b.api.Routes() {
		method, path, _ := strings.Cut(r, " ")
		if strings.HasPrefix(path, api) {
			list = append(list, [2]string{method, strings.Replace(path, "{id}", chat.NewConversationID().String(), 1)})
		}
	}
	return list
}

func TestReq106_TokenRequiredEverywhere(t *testing.T) {
	b := newBench(t)
	routes := guarded(b)
	if len(routes) < 15 {
		t.Fatalf("only %d routes", len(routes))
	}
	expired := b.tokenOf(auth.Claims{Principal: chat.Principal{User: "1"}, Expires: b.clock.Add(-time.Second)}, auth.Access)
	refresh := b.tokenOf(auth.Claims{Principal: chat.Principal{User: "1"}, Expires: b.clock.Add(time.Hour)}, auth.Refresh)
	for _, rt := range routes {
		b.as("", rt[0], rt[1], "{}").is(401, noCredentials)
		b.as("", rt[0], rt[1]+"?token="+b.token("1"), "{}").is(401, noCredentials)
		for _, header := range []string{"Bearer x", "Bearer " + expired, "Bearer " + refresh, "bearer " + b.token("1") + "x"} {
			r := httptest.NewRequest(rt[0], rt[1], nil)
			r.Header.Set("Authorization", header)
			a := b.call(r).is(401, `{"detail":"Given token not valid for any token type","code":"token_not_valid"}`)
			if a.header.Get("WWW-Authenticate") == "" {
				t.Error("no challenge")
			}
		}
		for _, header := range []string{"Basic YTpi", "Api-Key the-key", "Bearer", "Bearer "} {
			r := httptest.NewRequest(rt[0], rt[1], nil)
			r.Header.Set("Authorization", header)
			b.call(r).is(401, noCredentials)
		}
	}
	if len(b.hub.calls) != 0 {
		t.Errorf("the Hub was asked: %v", b.hub.calls)
	}
	b.as("", "PUT", convs, "").is(401, noCredentials)
	if strings.Contains(b.log.String(), "eyJ") {
		t.Error("a token was logged")
	}
}

func TestReq116_CookieNeedsProof(t *testing.T) {
	origins, err := auth.ParseOrigins([]string{"https://app.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *rest.Config) { c.SessionCookie = "sid"; c.Origins = origins })
	call := func(method, path string, header ...string) *answer {
		r := httptest.NewRequest(method, path, strings.NewReader(`{"participant_ids":[2]}`))
		r.Header.Set("Content-Type", "application/json")
		cookie := "sid=" + b.token("1")
		for i := 0; i < len(header); i += 2 {
			if header[i] == "Cookie" {
				cookie += "; " + header[i+1]
				continue
			}
			r.Header.Set(header[i], header[i+1])
		}
		r.Header.Set("Cookie", cookie)
		return b.call(r)
	}
	for _, tc := range []struct {
		name   string
		header []string
		status int
	}{
		{"nothing", nil, 403},
		{"cookie but no header", []string{"Cookie", "csrftoken=abc"}, 403},
		{"header but no cookie", []string{"X-CSRFToken", "abc"}, 403},
		{"both, different", []string{"Cookie", "csrftoken=abc", "X-CSRFToken", "abd"}, 403},
		{"both empty", []string{"Cookie", "csrftoken=", "X-CSRFToken", ""}, 403},
		{"both", []string{"Cookie", "csrftoken=abc", "X-CSRFToken", "abc"}, 201},
		{"same origin", []string{"Origin", "http://example.com"}, 201},
		{"allowed origin", []string{"Origin", "https://app.example.org"}, 201},
		{"foreign origin", []string{"Origin", "https://evil.example"}, 403},
		{"no page", []string{"Origin", "null"}, 403},
		{"foreign origin that claims more", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"}, 403},
		{"same site by fetch metadata", []string{"Sec-Fetch-Site", "same-origin"}, 201},
		{"cross site by fetch metadata", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"sibling by fetch metadata", []string{"Sec-Fetch-Site", "same-site"}, 403},
	} {
		if a := call("POST", convs, tc.header...); a.status != tc.status {
			t.Errorf("%s: %d %s", tc.name, a.status, a.body)
		} else if a.status == 403 && !strings.HasPrefix(a.body, `{"detail":"CSRF Failed: `) {
			t.Errorf("%s: %s", tc.name, a.body)
		}
	}
	for _, rt := range guarded(b) {
		if a := call(rt[0], rt[1]); (a.status == 403) == (rt[0] == "GET") {
			t.Errorf("%s %s with a cookie alone: %d", rt[0], rt[1], a.status)
		}
	}
	// Reading needs no proof and hands out the token to echo, once.
	a := call("GET", convs)
	set := (&http.Response{Header: a.header}).Cookies()
	if a.status != 200 || len(set) != 1 || set[0].Name != "csrftoken" || len(set[0].Value) < 20 || set[0].HttpOnly {
		t.Fatalf("%d, cookies %v", a.status, set)
	}
	if a := call("POST", convs, "Cookie", "csrftoken="+set[0].Value, "X-CSRFToken", set[0].Value); a.status != 201 {
		t.Errorf("with the token that was handed out: %d", a.status)
	}
	if a := call("GET", convs, "Cookie", "csrftoken=x"); a.header.Get("Set-Cookie") != "" {
		t.Error("handed out a second token")
	}
	// A header is nothing that a browser adds by itself.
	b.as("1", "POST", convs, `{"participant_ids":[2]}`).ok(201)
}

func TestCORS(t *testing.T) {
	origins, err := auth.ParseOrigins([]string{"https://app.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *rest.Config) { c.Origins = origins })
	preflight := func(origin string) *answer {
		r := httptest.NewRequest("OPTIONS", convs, nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		return b.call(r)
	}
	a := preflight("https://app.example.org")
	for k, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://app.example.org", "Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods": "GET, HEAD, OPTIONS, POST",
		"Access-Control-Allow-Headers": "Authorization, Content-Type, X-CSRFToken, Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, X-HTTP-Method-Override", "Vary": "Origin",
	} {
		if got := a.header.Get(k); got != want || a.status != 204 {
			t.Errorf("%d, %s: %q", a.status, k, got)
		}
	}
	if a := preflight("https://evil.example"); a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Vary") != "Origin" {
		t.Errorf("foreign origin: %v", a.header)
	}
	anyone, err := auth.ParseOrigins([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	b = newBench(t, func(c *rest.Config) { c.Origins = anyone })
	if a := preflight("https://x.example"); a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("any origin: %v", a.header)
	}
}

func TestVerbsAndPaths(t *testing.T) {
	b := newBench(t)
	id := b.direct()
	for path, allow := range map[string]string{
		convs: "GET, HEAD, OPTIONS, POST", convs + id + "/": "GET, HEAD, OPTIONS, PATCH", convs + id + "/leave/": "OPTIONS, POST",
		msgs + id: "DELETE, GET, HEAD, OPTIONS, PATCH",
	} {
		a := b.as("1", "PUT", path, "{}").is(405, `{"detail":"Method \"PUT\" not allowed."}`)
		if got := a.header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q", path, got)
		}
		if a := b.as("1", "OPTIONS", path, ""); a.status != 204 || a.header.Get("Allow") != allow {
			t.Errorf("OPTIONS %s: %d, %q", path, a.status, a.header.Get("Allow"))
		}
	}
	b.as("1", "BREW", convs, "").is(405, `{"detail":"Method \"BREW\" not allowed."}`)
	for _, path := range []string{"/api", "/api/", "/api/v2/", "/api/v1/messages/", "/api/v1/messages/nothing/", convs + id + "/nothing/", "/health/x", "/nothing", "/api/v1/auth/token/nothing/", "/api/v1//messages/messages/", "/api/../api/v1/messages/messages/"} {
		b.as("1", "GET", path, "").is(404, `{"detail":"Not found."}`)
	}
	// Without the slash it is the same resource, not a redirect.
	if a := b.as("1", "POST", strings.TrimSuffix(convs, "/"), `{"participant_ids":[2]}`); a.status != 201 {
		t.Errorf("without a slash: %d", a.status)
	}
	if a := b.as("1", "HEAD", convs, ""); a.status != 200 || a.body != "" || a.header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d %q %v", a.status, a.body, a.header)
	}
	if a := b.as("", "GET", "/", ""); a.status != 200 || !strings.Contains(a.body, "/api/docs/") {
		t.Errorf("index: %d", a.status)
	}
	b.as("", "POST", "/", "{}").is(405, `{"detail":"Method \"POST\" not allowed."}`)
	b = newBench(t, func(c *rest.Config) {
		c.Root = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page "+r.URL.Path) })
	})
	b.as("", "GET", "/app/", "").is(200, "page /app/")
	b.as("", "GET", "/healthy", "").is(200, "page /healthy")
}

func TestErrorTable(t *testing.T) {
	const send, read = "send", "conversation"
	for _, tc := range []struct {
		name   string
		err    error
		status int
		want   string
		retry  string
	}{
		{send, chat.ErrOverloaded, 503, `{"detail":"The server is overloaded. Try again later."}`, "1"},
		{send, fmt.Errorf("append: %w", chat.ErrUnavailable), 503, `{"detail":"The service is temporarily unavailable. Try again later."}`, "2"},
		{send, chat.ErrShutdown, 503, `{"detail":"The service is temporarily unavailable. Try again later."}`, "2"},
		{send, fmt.Errorf("conversation: %w", chat.ErrMoved), 503, `{"detail":"The service is temporarily unavailable. Try again later."}`, "2"},
		{send, chat.ErrUnknown, 503, `{"detail":"It is not known whether the request was carried out. Retry with the same client_id."}`, "2"},
		{send, context.DeadlineExceeded, 503, `{"detail":"It is not known whether the request was carried out. Retry with the same client_id."}`, "2"},
		{read, context.DeadlineExceeded, 503, `{"detail":"The service is temporarily unavailable. Try again later."}`, "2"},
		{send, &chat.RateLimitError{RetryAfter: 2500 * time.Millisecond}, 429, `{"detail":"Request was throttled. Expected available in 3 seconds."}`, "3"},
		{send, chat.ErrRateLimited, 429, `{"detail":"Request was throttled. Expected available in 1 second."}`, "1"},
		{send, chat.ErrBlocked, 403, refusal(`"FORBIDDEN"`, "You cannot message this user.", meta), ""},
		{send, chat.ErrForbidden, 403, refusal(`"FORBIDDEN"`, "You do not have permission to perform this action.", meta), ""},
		{send, &chat.QuotaError{Text: "Full."}, 403, refusal(`"QUOTA"`, "Full.", meta), ""},
		{send, &chat.QuotaError{Text: "Full today.", RetryAfter: time.Hour}, 429, `{"detail":"Full today."}`, "3600"},
		{send, &chat.SuspendedError{Reason: "Spam."}, 403, `{"detail":"Your account has been suspended. Spam.","code":"suspended"}`, ""},
		{send, chat.ErrEmptyMessage, 400, `{"non_field_errors":["Message must have content, file, or voice message."]}`, ""},
		{send, fmt.Errorf("content: %w", chat.ErrTooLong), 400, `{"content":["Ensure this field has no more than 10000 characters."]}`, ""},
		{send, chat.ErrNotMember, 400, `{"conversation_id":["You are not a participant."]}`, ""},
		{send, chat.ErrGone, 400, `{"conversation_id":["Conversation not found."]}`, ""},
		{send, &chat.FieldError{Field: "content", Text: "No."}, 400, `{"content":["No."]}`, ""},
		{send, fmt.Errorf("%w: secret", chat.ErrInvalid), 400, `{"detail":"Invalid input."}`, ""},
		{"mark_read", chat.ErrUnknown, 503, `{"detail":"It is not known whether the request was carried out. Look before you repeat it."}`, "2"},
		{"mark_read", chat.ErrDirect, 400, refusal("null", "Not possible in a direct conversation.", meta), ""},
		{"mark_read", chat.ErrUnknownUser, 400, `{"non_field_errors":["One or more users not found."]}`, ""},
		{read, chat.ErrGone, 404, `{"detail":"Not found."}`, ""},
	} {
		b := newBench(t)
		conv := b.direct()
		b.hub.fail = func(name string) error {
			if name == tc.name {
				return tc.err
			}
			return nil
		}
		var a *answer
		switch tc.name {
		case read:
			a = b.as("1", "GET", convs+conv+"/", "")
		case "mark_read":
			a = b.as("1", "POST", convs+conv+"/mark_read/", "")
		case send:
			a = b.as("1", "POST", msgs, `{"conversation_id":"`+conv+`","content":"x"}`)
		}
		a.is(tc.status, tc.want)
		if got := a.header.Get("Retry-After"); got != tc.retry {
			t.Errorf("%v: Retry-After %q", tc.err, got)
		}
	}
}

func TestDefects(t *testing.T) {
	b := newBench(t)
	b.hub.fail = func(name string) error {
		if name == "conversations" {
			return errors.New("pebble: corruption")
		}
		panic("the user wrote: hunter2")
	}
	m := b.as("1", "GET", convs, "").ok(500)
	if id := m["error_id"].(string); id == "" || !strings.Contains(b.log.String(), id) || strings.Contains(fmt.Sprint(m), "pebble") {
		t.Errorf("%v\n%s", m, b.log)
	}
	b.log.Reset()
	m = b.as("1", "GET", msgs, "").ok(500)
	if id := m["error_id"].(string); id == "" || !strings.Contains(b.log.String(), id) || strings.Contains(b.log.String(), "hunter2") {
		t.Errorf("%v\n%s", m, b.log)
	}
	if b.seen.panics != 1 {
		t.Errorf("%d panics counted", b.seen.panics)
	}
	want := []string{"GET " + api + "conversations 5xx", "GET " + api + "messages 5xx"}
	if !slices.Equal(b.seen.requests, want) {
		t.Errorf("observed %v", b.seen.requests)
	}
}

func TestObservedLabelsAreBounded(t *testing.T) {
	b := newBench(t)
	id := b.direct()
	b.seen.requests = nil
	b.as("1", "GET", convs+id+"/", "")
	b.as("1", "BREW", convs, "")
	b.as("", "GET", "/api/"+id, "")
	want := []string{"GET " + api + "conversations/{id} 2xx", "other " + api + "conversations 4xx", "GET other 4xx"}
	if !slices.Equal(b.seen.requests, want) {
		t.Errorf("observed %v", b.seen.requests)
	}
}

func TestDeadline(t *testing.T) {
	b := newBench(t, func(c *rest.Config) { c.Timeout = time.Nanosecond })
	b.as("1", "GET", convs, "").is(503, `{"detail":"The service is temporarily unavailable. Try again later."}`)
}

func TestUsersAreIntroducedByTheirToken(t *testing.T) {
	b := newBench(t)
	claims := auth.Claims{
		Principal: chat.Principal{Tenant: "acme", User: "9", Username: "nina"}, Expires: b.clock.Add(time.Hour),
		User: chat.User{Email: "nina@example.org", FirstName: "Nina"},
	}
	r := httptest.NewRequest("GET", convs, nil)
	r.Header.Set("Authorization", "Bearer "+b.tokenOf(claims, auth.Access))
	b.call(r).ok(200)
	u := b.hub.users[chat.UserKey{Tenant: "acme", User: "9"}]
	if u.Username != "nina" || u.Email != "nina@example.org" || u.FirstName != "Nina" || u.CreatedAt.IsZero() {
		t.Errorf("%+v", u)
	}
	if strings.Contains(b.log.String(), "nina@") {
		t.Error("an e-mail address was logged")
	}
	// A token without a name leaves the one that is stored; it is the sender that others see.
	conv := b.direct()
	b.say("1", conv, "x")
	for _, c := range b.hub.convs {
		if e := c.events[len(c.events)-1]; e.ActorName != "ann" {
			t.Errorf("sent as %q", e.ActorName)
		}
	}
}

func TestTenantsAreApart(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	claims := auth.Claims{Principal: chat.Principal{Tenant: "acme", User: "1"}, Expires: b.clock.Add(time.Hour)}
	for _, path := range []string{convs + conv + "/", msgs + "?conversation=" + conv} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+b.tokenOf(claims, auth.Access))
		b.call(r).is(404, `{"detail":"Not found."}`)
	}
}
