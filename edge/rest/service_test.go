package rest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/rest"
)

const tokens = "/api/v1/auth/token/"

func TestReq111_Tokens(t *testing.T) {
	b := newBench(t)
	pair := b.as("", "POST", tokens, `{"username":"42","password":"any","email":"z@example.org","first_name":"Zoe","tenant":"acme"}`).ok(200)
	u := b.hub.users[chat.UserKey{Tenant: "acme", User: "42"}]
	if u.FirstName != "Zoe" || u.Email != "z@example.org" || u.Username != "42" {
		t.Errorf("created %+v", u)
	}
	use := func(token any, status int) {
		t.Helper()
		r := httptest.NewRequest("GET", convs, nil)
		r.Header.Set("Authorization", fmt.Sprint("Bearer ", token))
		if a := b.call(r); a.status != status {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	use(pair["access"], 200)
	use(pair["refresh"], 401)
	again := b.as("", "POST", tokens+"refresh/", fmt.Sprintf(`{"refresh":%q}`, pair["refresh"])).ok(200)
	use(again["access"], 200)
	for _, token := range []any{pair["access"], again["access"], again["refresh"]} {
		b.as("", "POST", tokens+"verify/", fmt.Sprintf(`{"token":%q}`, token)).is(200, `{}`)
	}
	const used = `{"detail":"Token is blacklisted","code":"token_not_valid"}`
	b.as("", "POST", tokens+"verify/", fmt.Sprintf(`{"token":%q}`, pair["refresh"])).is(400, `{"non_field_errors":["Token is blacklisted"]}`)
	for _, path := range []string{"refresh/", "blacklist/"} {
		b.as("", "POST", tokens+path, fmt.Sprintf(`{"refresh":%q}`, pair["refresh"])).is(401, used)
	}
	revoked := b.as("", "POST", tokens, `{"username":"42","password":"any","tenant":"acme"}`).ok(200)["refresh"]
	b.as("", "POST", tokens+"blacklist/", fmt.Sprintf(`{"refresh":%q}`, revoked)).is(200, `{}`)
	b.as("", "POST", tokens+"refresh/", fmt.Sprintf(`{"refresh":%q}`, revoked)).is(401, used)
	nameless := b.tokenOf(auth.Claims{Principal: chat.Principal{User: "42", Tenant: "acme"}, Expires: b.clock.Add(time.Hour)}, auth.Refresh)
	b.hub.fail = func(name string) error {
		if name == "refuse_token" {
			return chat.ErrUnavailable
		}
		return nil
	}
	if a := b.as("", "POST", tokens+"refresh/", fmt.Sprintf(`{"refresh":%q}`, again["refresh"])); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	b.hub.fail = nil
	const bad = `{"detail":"Token is invalid or expired","code":"token_not_valid"}`
	b.as("", "POST", tokens+"refresh/", fmt.Sprintf(`{"refresh":%q}`, nameless)).is(401, bad) // it could not be revoked
	b.as("", "POST", tokens+"refresh/", fmt.Sprintf(`{"refresh":%q}`, pair["access"])).is(401, bad)
	b.as("", "POST", tokens+"verify/", `{"token":"x"}`).is(401, bad)
	b.clock = b.clock.Add(61 * time.Minute)
	b.as("", "POST", tokens+"verify/", fmt.Sprintf(`{"token":%q}`, pair["access"])).is(401, bad)
	use(pair["access"], 401)
	b.clock = b.clock.Add(8 * 24 * time.Hour)
	b.as("", "POST", tokens+"refresh/", fmt.Sprintf(`{"refresh":%q}`, again["refresh"])).is(401, bad)

	b.as("", "POST", tokens, `{"username":42,"password":"x","last_name":"Zander","tenant":"acme"}`).ok(200)
	if u := b.hub.users[chat.UserKey{Tenant: "acme", User: "42"}]; u.FirstName != "Zoe" || u.LastName != "Zander" {
		t.Errorf("updated %+v", u)
	}
	for body, want := range map[string]string{
		``:                                  `{"password":["This field is required."],"username":["This field is required."]}`,
		`{"username":"a b","password":"x"}`: `{"username":["A user id has 1 to 128 bytes, without spaces and control characters."]}`,
		`{"username":"a","password":"x","tenant":"/"}`:  `{"tenant":["A tenant has 1 to 64 letters, digits, '.', '_' or '-'."]}`,
		`{"username":"a","password":"x","email":"nix"}`: `{"email":["Enter a valid email address."]}`,
	} {
		b.as("", "POST", tokens, body).is(400, want)
	}
	b.as("", "POST", tokens+"refresh/", `{}`).is(400, `{"refresh":["This field is required."]}`)
	b.as("", "POST", tokens+"verify/", `{"token":null}`).is(400, `{"token":["This field may not be null."]}`)
	b.as("", "GET", tokens, "").is(405, `{"detail":"Method \"GET\" not allowed."}`)

	b = newBench(t, func(c *rest.Config) { c.Dev = nil })
	for _, path := range []string{"", "refresh/", "verify/", "blacklist/"} {
		for _, method := range []string{"POST", "GET", "OPTIONS"} {
			b.as("", method, tokens+path, `{"username":"1","password":"x"}`).is(404, `{"detail":"Not found."}`)
		}
	}
}

func TestOperatorAPI(t *testing.T) {
	b := newBench(t)
	call := func(method, path, body string, header ...string) *answer {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return b.call(r)
	}
	const users = "/api/v1/admin/users/"
	key := []string{"X-API-Key", "the-key"}
	want := `{"id":"eve","tenant":"acme","username":"Evelyn","email":"e@example.org","first_name":"E","last_name":"V","full_name":"E V",
		"avatar_url":"https://example.org/e.png","created_at":"` + at0 + `","updated_at":"` + at0 + `"}`
	body := `{"username":"Evelyn","email":"e@example.org","first_name":"E","last_name":"V","avatar_url":"https://example.org/e.png"}`
	call("PUT", users+"eve/?tenant=acme", body, key...).is(200, want)
	call("GET", users+"eve?tenant=acme", "", "Authorization", "Api-Key the-key").is(200, want)
	call("GET", users+"eve/", "", key...).is(404, `{"detail":"Not found."}`)
	b.tick()
	call("PUT", users+"eve/", `{"tenant":"acme"}`, key...).is(200, `{"id":"eve","tenant":"acme","username":"eve","email":"","first_name":"",
		"last_name":"","full_name":"eve","avatar_url":null,"created_at":"`+at0+`","updated_at":"`+at1+`"}`)
	for body, want := range map[string]string{
		`{"avatar_url":"javascript:alert(1)"}`:            `{"avatar_url":["Enter a valid URL."]}`,
		`{"first_name":"a\u0007"}`:                        `{"first_name":["Control characters are not allowed."]}`,
		`{"username":"` + strings.Repeat("x", 151) + `"}`: `{"username":["Ensure this field has no more than 150 characters."]}`,
		`{"tenant":"a/b"}`:                                `{"tenant":["A tenant has 1 to 64 letters, digits, '.', '_' or '-'."]}`,
	} {
		call("PUT", users+"eve/", body, key...).is(400, want)
	}
	call("PUT", users+"a%20b/", "{}", key...).is(404, `{"detail":"Not found."}`)
	call("PUT", users+"a%2Fb/", "{}", key...).ok(200)
	if b.hub.users[chat.UserKey{Tenant: chat.DefaultTenant, User: "a/b"}].ID != "a/b" {
		t.Error("a/b is not there")
	}
	for _, header := range [][]string{nil, {"Authorization", "Bearer " + b.token("1")}} {
		call("GET", users+"eve/", "", header...).is(401, noCredentials)
	}
	call("GET", users+"eve/", "", "X-API-Key", "the-kex").is(401, `{"detail":"Invalid API key."}`)
	call("DELETE", users+"eve/", "", key...).is(405, `{"detail":"Method \"DELETE\" not allowed."}`)
	if l := b.log.String(); strings.Contains(l, "example.org") || strings.Contains(l, "the-key") {
		t.Error(l)
	}
	b = newBench(t, func(c *rest.Config) { c.APIKeys, c.Tenancy = nil, nil })
	call("GET", users+"1/", "", key...).is(404, `{"detail":"Not found."}`)
}

// A profile that an operator wrote is what the API shows from then on, also to those it had remembered.
func TestOperatorChangesAreSeen(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	b.say("1", conv, "x")
	r := httptest.NewRequest("PUT", "/api/v1/admin/users/1/", strings.NewReader(`{"first_name":"Anna"}`))
	r.Header.Set("X-API-Key", "the-key")
	b.call(r).ok(200)
	m := b.as("1", "POST", msgs, `{"conversation_id":"`+conv+`","content":"y"}`).ok(201)
	if name := m["sender"].(map[string]any)["first_name"]; name != "Anna" {
		t.Errorf("sender is %v", name)
	}
}

func TestReq112_Health(t *testing.T) {
	checks := []rest.Check{{Name: "storage", OK: true}, {Name: "shards", OK: true}}
	ready := func(context.Context) []rest.Check { return checks }
	b := newBench(t, func(c *rest.Config) { c.Ready = ready })
	healthy := `{"status":"healthy","timestamp":"2026-03-04T05:06:07.800000+00:00","version":"v0","database":"ok","cache":"ok"}`
	b.as("", "GET", "/health/", "").is(200, healthy)
	b.as("", "GET", "/health", "").is(200, healthy)
	b.as("", "GET", "/health/ready/", "").is(200, `{"ready":true}`)
	checks[1] = rest.Check{Name: "shards", Detail: "12 recovering"}
	b.as("", "GET", "/health/", "").is(503, strings.Replace(healthy, "healthy", "degraded", 1))
	b.as("", "GET", "/health/ready/", "").is(503, `{"ready":false}`)
	b.as("", "GET", "/health/live/", "").is(200, `{"alive":true}`)
	checks[0].OK = false
	b.as("", "GET", "/health/", "").is(503, strings.NewReplacer("healthy", "degraded", `"database":"ok"`, `"database":"error"`).Replace(healthy))
	newBench(t).as("", "GET", "/health/ready/", "").is(200, `{"ready":true}`)
}

func TestReq112_AdminHandler(t *testing.T) {
	checks := []rest.Check{{Name: "storage", OK: true}, {Name: "shards", OK: false, Detail: "recovering"}}
	h := rest.AdminHandler(rest.AdminConfig{
		Ready:       func(context.Context) []rest.Check { return checks },
		Metrics:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metric 1\n") }),
		FlightTrace: func(w io.Writer) (int64, error) { n, err := io.WriteString(w, "trace"); return int64(n), err },
		Reindex:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "reindex by "+r.Method) }),
		Debug:       map[string]http.Handler{"shards": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "map") })},
	})
	get := func(h http.Handler, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	expect := func(path string, status int, body string) {
		t.Helper()
		if s, got := get(h, path); s != status || !strings.Contains(got, body) {
			t.Errorf("%s: %d %q", path, s, got)
		}
	}
	expect("/livez", 200, "ok")
	expect("/readyz", 503, "[+]storage\n[-]shards recovering\nnot ready\n")
	checks[1].OK = true
	expect("/readyz", 200, "ok\n")
	expect("/readyz?verbose", 200, "[+]storage\n[+]shards recovering\nok\n")
	expect("/metrics", 200, "metric 1")
	expect("/admin/reindex", 200, "reindex by GET")
	expect("/debug/", 200, `<a href="/debug/flighttrace">`)
	expect("/debug/", 200, `<a href="/debug/shards">`)
	expect("/debug/shards", 200, "map")
	expect("/debug/build", 200, `"GoVersion"`)
	expect("/debug/flighttrace", 200, "trace")
	expect("/debug/pprof/", 200, "goroutine")
	expect("/debug/pprof/goroutine?debug=1", 200, "goroutine profile")

	empty := rest.AdminHandler(rest.AdminConfig{})
	for path, want := range map[string]int{"/readyz": 200, "/metrics": 404, "/admin/reindex": 404, "/debug/flighttrace": 404, "/": 404, "/debug/": 200} {
		if s, body := get(empty, path); s != want {
			t.Errorf("bare %s: %d %q", path, s, body)
		}
	}
	off := rest.AdminHandler(rest.AdminConfig{FlightTrace: func(w io.Writer) (int64, error) {
		_, _ = io.Copy(w, bytes.NewReader([]byte("half")))
		return 4, errors.New("not enabled")
	}})
	if s, body := get(off, "/debug/flighttrace"); s != 503 || strings.Contains(body, "half") {
		t.Errorf("recorder that fails: %d %q", s, body)
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	if _, err := rest.New(rest.Config{}); err == nil {
		t.Error("an API without a Hub")
	}
}

// Over a real connection: keep-alive across both spellings of a path, and a body that never arrives.
func TestOverTheWire(t *testing.T) {
	b := newBench(t)
	srv := httptest.NewServer(b.api)
	defer srv.Close()
	for _, path := range []string{convs, strings.TrimSuffix(convs, "/")} {
		req, err := http.NewRequest("POST", srv.URL+path, strings.NewReader(`{"participant_ids":[2]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+b.token("1"))
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 201 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	impatient := newBench(t, func(c *rest.Config) { c.Timeout = 100 * time.Millisecond })
	slow := httptest.NewServer(impatient.api)
	defer slow.Close()
	conn, err := net.Dial("tcp", slow.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", convs, b.token("1"))
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 408 ") {
		t.Errorf("%q, %v", answer, err)
	}
}
