package rest_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/edge/tenancy"
	"github.com/zumodra/hub/edge/tenancy/tenancytest"
)

// bench is an API over a fake Hub, and a clock that stands still.
type bench struct {
	later fakeScheduled
	t     testing.TB
	hub   *fakeHub
	api   *rest.API
	clock time.Time
	sign  *auth.Signer
	log   *bytes.Buffer
	seen  *seen

	tenancy *tenancytest.Memory
}

// seen is an Observer and a Limiter that remember, or do, what they are told.
type seen struct {
	mu       sync.Mutex
	requests []string
	panics   int
	deny     time.Duration // of Allow; 0: allow
	bucket   int           // tokens left before deny applies
}

func (s *seen) ObserveRequest(route, method, class string, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, method+" "+route+" "+class)
}

func (s *seen) ObservePanic(string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.panics++
}

func (s *seen) Allow(chat.UserKey) (bool, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deny == 0 {
		return true, 0
	}
	s.bucket--
	return s.bucket >= 0, s.deny
}

type keys []string

func (k keys) Valid(s string) bool { return slices.Contains(k, s) }

var secret = []byte("0123456789abcdef0123456789abcdef")

func newBench(t testing.TB, change ...func(*rest.Config)) *bench {
	t.Helper()
	b := &bench{t: t, clock: time.Date(2026, 3, 4, 5, 6, 7, 800000000, time.UTC), log: &bytes.Buffer{}, seen: &seen{}}
	b.hub = newFakeHub(b.now)
	var err error
	if b.sign, err = auth.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.New(auth.Config{Secrets: [][]byte{secret}, Now: b.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	cfg := rest.Config{
		Scheduled: &b.later, Files: newFakeFiles(b.hub), FileKey: secret, Hub: b.hub, Users: b.hub, People: b.hub, Verifier: verifier, Limiter: b.seen, Observer: b.seen, Now: b.now,
		Logger: slog.New(slog.NewTextHandler(b.log, nil)), Version: "v0",
		Dev:     &rest.DevTokens{Signer: b.sign, Refresh: verifier, Refused: b.hub},
		APIKeys: keys{"the-key"},
	}
	b.later.hub = b.hub
	b.tenancy = tenancytest.New(b.hub)
	if cfg.Tenancy, err = tenancy.Open(t.Context(), tenancy.Config{Store: b.tenancy, Now: b.now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.Tenancy.Close)
	cfg.Mint = b.sign
	for _, f := range change {
		f(&cfg)
	}
	if b.api, err = rest.New(cfg); err != nil {
		t.Fatal(err)
	}
	for _, u := range []chat.User{
		{ID: "1", Username: "ann", Email: "ann@example.org", FirstName: "Ann", LastName: "Arbor"},
		{ID: "2", Username: "bob", Email: "bob@example.org", FirstName: "Bob", AvatarURL: "https://example.org/bob.png"},
		{ID: "3", Username: "cid"},
		{ID: "dora", Username: "dora", Email: "dora@example.org"},
	} {
		u.Tenant = chat.DefaultTenant
		b.hub.users[chat.UserKey{Tenant: u.Tenant, User: u.ID}] = u
	}
	return b
}

func (b *bench) now() time.Time { return b.clock }

// tick moves the clock, so that what comes next is newer.
func (b *bench) tick() { b.clock = b.clock.Add(time.Second) }

// token is an access token of a user, with the user name that the bench knows.
func (b *bench) token(user chat.UserID) string {
	return b.tokenOf(auth.Claims{Principal: chat.Principal{Tenant: chat.DefaultTenant, User: user}, Expires: b.clock.Add(time.Hour)}, auth.Access)
}

func (b *bench) tokenOf(c auth.Claims, typ string) string {
	b.t.Helper()
	c.IssuedAt = b.clock
	token, err := b.sign.Sign(c, typ)
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

// answer is a response whose body was read.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   string
}

// as calls the API as a user ("" is nobody), and checks that the response is one that the document describes.
// A body is JSON unless it is empty.
func (b *bench) as(user chat.UserID, method, path, body string) *answer {
	b.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if user != "" {
		r.Header.Set("Authorization", "Bearer "+b.token(user))
	}
	return b.call(r)
}

func (b *bench) call(r *http.Request) *answer {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, r)
	a := &answer{b.t, w.Code, w.Result().Header, w.Body.String()}
	conforms(b.t, r, a)
	return a
}

// is checks status and the exact body, white space between its tokens apart.
func (a *answer) is(status int, body string) *answer {
	a.t.Helper()
	want := body
	if body != "" && body[0] == '{' || body != "" && body[0] == '[' {
		var buf bytes.Buffer
		if err := json.Compact(&buf, []byte(body)); err != nil {
			a.t.Fatalf("the expectation is not JSON: %v", err)
		}
		want = buf.String()
	}
	if a.status != status || a.body != want {
		a.t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, status, want)
	}
	return a
}

// ok checks the status and decodes the body.
func (a *answer) ok(status int) map[string]any {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("got %d %s, want %d", a.status, a.body, status)
	}
	m := map[string]any{}
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		a.t.Fatalf("body %q: %v", a.body, err)
	}
	return m
}

var document = sync.OnceValues(func() (*openapi3.T, error) {
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.FileBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(rest.OpenAPI())
	if err != nil {
		return nil, err
	}
	return doc, nil
})

// conforms checks a response against the document. What the document does not know must be a 404, and verbs
// that it does not know must be a 405, in their shapes.
func conforms(t testing.TB, r *http.Request, a *answer) {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	path, item, params := match(doc, r.URL)
	if item == nil || r.Method == http.MethodHead || r.Method == http.MethodOptions {
		return
	}
	op := item.GetOperation(r.Method)
	if op == nil {
		if a.status != http.StatusMethodNotAllowed && a.status != http.StatusUnauthorized && a.status != http.StatusNotFound {
			t.Errorf("%s %s is not in the document and answered %d", r.Method, path, a.status)
		}
		return
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r, PathParams: params,
			Route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: r.Method, Operation: op},
		},
		Status: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%s %s: %d %s\nis not what the document says: %v", r.Method, r.URL.Path, a.status, a.body, err)
	}
}

func match(doc *openapi3.T, u *url.URL) (string, *openapi3.PathItem, map[string]string) {
	got := strings.Split(strings.TrimSuffix(u.Path, "/"), "/")
	paths := doc.Paths.Map()
	for _, path := range slices.SortedFunc(maps.Keys(paths), func(a, b string) int {
		return cmp.Compare(strings.Count(a, "{"), strings.Count(b, "{")) // what is spelt out goes first
	}) {
		item := paths[path]
		want := strings.Split(strings.TrimSuffix(path, "/"), "/")
		if len(want) != len(got) {
			continue
		}
		params, fits := map[string]string{}, true
		for i, seg := range want {
			if strings.HasPrefix(seg, "{") {
				params[strings.Trim(seg, "{}")] = got[i]
			} else if seg != got[i] {
				fits = false
			}
		}
		if fits {
			return path, item, params
		}
	}
	return "", nil, nil
}

const (
	api   = "/api/v1/messages/"
	convs = api + "conversations/"
	msgs  = api + "messages/"
)

// direct makes the conversation of 1 and 2 and returns its path; group that of 1, 2 and 3.
func (b *bench) direct() (id string) {
	b.t.Helper()
	return b.as("1", "POST", convs, `{"participant_ids":[2]}`).ok(201)["id"].(string)
}

func (b *bench) group() (id string) {
	b.t.Helper()
	return b.as("1", "POST", convs, `{"participant_ids":[2,"3"],"name":"trio"}`).ok(201)["id"].(string)
}

// say sends and returns the id of the message.
func (b *bench) say(user chat.UserID, conversation, text string) string {
	b.t.Helper()
	body, _ := json.Marshal(map[string]string{"conversation_id": conversation, "content": text})
	b.tick()
	return b.as(user, "POST", msgs, string(body)).ok(201)["id"].(string)
}
