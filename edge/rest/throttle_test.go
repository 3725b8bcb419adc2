package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/rest"
)

func throttledBench(t *testing.T, spec string) *bench {
	t.Helper()
	rates, err := rest.ParseThrottles(spec)
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := auth.ParseProxies([]string{"192.0.2.1"}) // where httptest's requests come from
	if err != nil {
		t.Fatal(err)
	}
	return newBench(t, func(c *rest.Config) { c.Throttles, c.Proxies, c.Limiter = rates, proxies, nil })
}

// from makes a request from an address.
func (b *bench) from(address, token, method, path, body string) *answer {
	b.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Forwarded-For", address)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return b.call(r)
}

func TestReq105_Throttles(t *testing.T) {
	b := throttledBench(t, "anon=3/h,user=5/m,auth=2/m,token=4/m")
	refused := func(a *answer, after string) {
		t.Helper()
		noun := "seconds"
		if after == "1" {
			noun = "second"
		}
		a.is(http.StatusTooManyRequests, fmt.Sprintf(`{"detail":"Request was throttled. Expected available in %s %s."}`, after, noun))
		if got := a.header.Get("Retry-After"); got != after {
			t.Errorf("Retry-After %q, want %s", got, after)
		}
	}
	const list = convs
	// Users, each by itself.
	one, two := b.token("1"), b.token("2")
	for range 5 {
		b.from("203.0.113.1", one, "GET", list, "").ok(200)
	}
	refused(b.from("203.0.113.2", one, "GET", list, ""), "12")
	b.from("203.0.113.1", two, "GET", list, "").ok(200)
	b.clock = b.clock.Add(12 * time.Second)
	b.from("203.0.113.1", one, "GET", list, "").ok(200)
	refused(b.from("203.0.113.1", one, "GET", list, ""), "12")
	// Nobodies, by address: bad credentials count.
	b.from("203.0.113.5", "", "GET", list, "").ok(401)
	b.from("203.0.113.5", "rubbish", "GET", list, "").ok(401)
	b.from("203.0.113.5", "", "GET", "/api/v1/admin/users/1/", "").ok(401)
	refused(b.from("203.0.113.5", "", "GET", list, ""), "1200")
	refused(b.from("203.0.113.5", "", "GET", "/api/openapi.yaml", ""), "1200")
	b.from("203.0.113.6", "", "GET", list, "").ok(401)
	b.from("203.0.113.5", two, "GET", list, "").ok(200) // who is known goes on
	for range 10 {
		b.from("203.0.113.5", "", "GET", "/health/live/", "").ok(200)
	}
	// Tokens.
	login := `{"username":"1","password":"x"}`
	b.from("203.0.113.7", "", "POST", "/api/v1/auth/token/", login).ok(200)
	b.from("203.0.113.7", "", "POST", "/api/v1/auth/token/", login).ok(200)
	refused(b.from("203.0.113.7", "", "POST", "/api/v1/auth/token/", login), "30")
	for range 4 {
		b.from("203.0.113.7", "", "POST", "/api/v1/auth/token/verify/", `{"token":"x"}`)
	}
	refused(b.from("203.0.113.7", "", "POST", "/api/v1/auth/token/verify/", `{"token":"x"}`), "15")
}

// Whoever has one network of IPv6 has 2^64 addresses and is one client all the same, as for sockets.
func TestReq105_NetworksAreThrottled(t *testing.T) {
	b := throttledBench(t, "anon=2/h,auth=2/m")
	for i, want := range []int{401, 401, 429, 429} {
		if got := b.anonymous(fmt.Sprintf("2001:db8:1:2:%x::%x", i, i+1)); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	login := `{"username":"1","password":"x"}`
	for i, want := range []int{200, 200, 429} {
		if a := b.from(fmt.Sprintf("2001:db8:1:2:%x::1", i), "", "POST", "/api/v1/auth/token/", login); a.status != want {
			t.Errorf("login %d: %d, want %d", i, a.status, want)
		}
	}
	for i := range 4 { // others
		if got := b.anonymous(fmt.Sprintf("2001:db8:1:%x::1", i+3)); got != 401 {
			t.Errorf("another network: %d", got)
		}
		if got := b.anonymous(fmt.Sprintf("203.0.113.%d", i)); got != 401 {
			t.Errorf("another address: %d", got)
		}
	}
}

// Files are counted where they begin, by whichever way; what has no file is not.
func TestReq105_UploadsAreThrottled(t *testing.T) {
	b := throttledBench(t, "file_upload=3/h")
	one, two := b.token("1"), b.token("2")
	conv := b.direct()
	form := func(token, file string) *answer {
		body := "--b\r\nContent-Disposition: form-data; name=conversation_id\r\n\r\n" + conv + "\r\n"
		if file == "" {
			body += "--b\r\nContent-Disposition: form-data; name=content\r\n\r\nx\r\n--b--\r\n"
		} else {
			body += "--b\r\nContent-Disposition: form-data; name=file; filename=" + file + "\r\n\r\nx\r\n--b--\r\n"
		}
		r := httptest.NewRequest("POST", msgs, strings.NewReader(body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		r.Header.Set("Authorization", "Bearer "+token)
		return b.call(r)
	}
	begin := func(token string) *answer {
		r := httptest.NewRequest("POST", api+"uploads/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Tus-Resumable", "1.0.0")
		r.Header.Set("Upload-Length", "5")
		r.Header.Set("Upload-Metadata", "filename YS50eHQ=")
		return b.call(r)
	}
	form(one, "a.txt").ok(201)
	form(one, "a.txt").ok(201)
	if a := begin(one); a.status != 201 {
		t.Fatal(a.status, a.body)
	}
	const refused = `{"detail":"Request was throttled. Expected available in 1200 seconds."}`
	for _, a := range []*answer{begin(one), form(one, "a.txt")} {
		if a.is(http.StatusTooManyRequests, refused); a.header.Get("Retry-After") != "1200" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	form(one, "").ok(201)
	form(two, "a.txt").ok(201)
	b.clock = b.clock.Add(20 * time.Minute)
	form(one, "a.txt").ok(201)
}

// Downloads are requests of a user like others, with a token and by a signed URL.
func TestReq105_DownloadsAreThrottled(t *testing.T) {
	b := throttledBench(t, "user=6/m")
	conv := b.direct()
	token := b.token("2")
	var sent struct {
		ID   string `json:"id"`
		File string `json:"file"`
	}
	r := httptest.NewRequest("POST", msgs, strings.NewReader("--b\r\nContent-Disposition: form-data; name=conversation_id\r\n\r\n"+conv+
		"\r\n--b\r\nContent-Disposition: form-data; name=file; filename=a.txt\r\n\r\nx\r\n--b--\r\n"))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	r.Header.Set("Authorization", "Bearer "+b.token("1"))
	if err := json.Unmarshal([]byte(b.call(r).body), &sent); err != nil {
		t.Fatal(err)
	}
	var m struct {
		URL string `json:"file_url"`
	}
	if err := json.Unmarshal([]byte(b.from("203.0.113.1", token, "GET", msgs+sent.ID+"/", "").body), &m); err != nil {
		t.Fatal(err)
	}
	link := strings.TrimPrefix(m.URL, "http://example.com")
	want := []int{200, 200, 200, 200, 200, 429, 429}
	for i, status := range want {
		path, credential := link, ""
		if i%2 == 0 {
			path, credential = sent.File, token
		}
		if a := b.from("203.0.113.1", credential, "GET", path, ""); a.status != status || status == 429 && a.header.Get("Retry-After") != "10" {
			t.Errorf("request %d: %d, Retry-After %q, want %d", i, a.status, a.header.Get("Retry-After"), status)
		}
	}
}

// What others are told of is charged to the one rate of a user, whichever way it comes: as on sockets.
func TestReq118_CommandsOfAllKindsAreCharged(t *testing.T) {
	b := newBench(t)
	conv := b.group()
	id := b.say("1", conv, "x")
	b.seen.deny = 2500 * time.Millisecond
	conv = convs + conv + "/"
	for _, c := range [][3]string{
		{"POST", convs, `{"participant_ids":[2,3],"name":"another"}`},
		{"PATCH", conv, `{"name":"other"}`},
		{"POST", conv + "add_participants/", `{"user_ids":[4]}`},
		{"POST", conv + "remove_participants/", `{"user_ids":[3]}`},
		{"POST", conv + "remove_participant/", `{"user_ids":[3]}`},
		{"POST", conv + "set_role/", `{"user_id":2,"role":"admin"}`},
		{"POST", conv + "transfer_ownership/", `{"user_id":2}`},
		{"POST", conv + "leave/", ``},
		{"POST", msgs + id + "/pin/", ``},
		{"POST", msgs + id + "/unpin/", ``},
		{"DELETE", msgs + id + "/", ``},
		{"DELETE", msgs + id + "/?scope=me", ``},
		{"POST", api + "blocked/", `{"user_id":2}`},
		{"DELETE", api + "blocked/1/", ``},
	} {
		a := b.as("1", c[0], c[1], c[2]).is(http.StatusTooManyRequests, `{"detail":"Request was throttled. Expected available in 3 seconds."}`)
		if got := a.header.Get("Retry-After"); got != "3" {
			t.Errorf("%s %s: Retry-After %q", c[0], c[1], got)
		}
	}
	for _, path := range []string{convs, conv, msgs + id + "/", conv + "events/"} {
		b.as("1", "GET", path, "").ok(200)
	}
	b.as("1", "POST", conv+"mark_read/", "").ok(200)
}

// However many addresses ask, what is remembered is bounded, and whoever keeps asking is not forgotten.
func TestThrottlesAreBounded(t *testing.T) {
	b := throttledBench(t, "anon=1000/h")
	refused := 0
	for i := range 60_000 {
		b.anonymous(fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff))
		if i%20 == 0 && b.anonymous("203.0.113.5") == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 2000 {
		t.Errorf("the persistent one was refused %d times of 3000", refused)
	}
}

// anonymous asks without a credential and without looking at the answer's shape.
func (b *bench) anonymous(address string) int {
	r := httptest.NewRequest("GET", convs, nil)
	r.Header.Set("X-Forwarded-For", address)
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, r)
	return w.Code
}

func TestParseThrottles(t *testing.T) {
	if m, err := rest.ParseThrottles(rest.DefaultThrottles + ",user=off, anon=5/s"); err != nil || len(m) != 4 || m["anon"] != (rest.Throttle{N: 5, Per: time.Second}) {
		t.Errorf("%v %v", m, err)
	}
	for _, bad := range []string{"x=1/s", "user", "user=", "user=0/s", "user=1", "user=1/y", "user=-1/m", "user=1e9/m"} {
		if _, err := rest.ParseThrottles(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
