package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
	"github.com/zumodra/hub/storage/search"
)

// patience bounds the wait for what must happen. It is never a measurement.
const patience = 3 * time.Minute

// clock is the time of a hub: that of the machine plus what a test added, or standing still.
type clock struct {
	mu     sync.Mutex
	frozen time.Time
	ahead  time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.frozen.IsZero() {
		return c.frozen.Add(c.ahead)
	}
	return time.Now().Add(c.ahead)
}

func (c *clock) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = time.Now()
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// hub is a running node with everything that belongs to it.
type hub struct {
	t        *testing.T
	cfg      config.Config
	clock    *clock
	log      *lockedBuffer
	index    search.Index // instead of the one that the configuration names
	previews actors.Previewer

	url, ws, admin string
	http           *http.Client
	cancel         context.CancelFunc
	ended          chan error // nil when it does not run
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a hub in development mode on a directory of its own until the test ends. Requests are not limited
// unless the test says so.
func start(t *testing.T, options ...func(*config.Config)) *hub {
	t.Helper()
	return prepared(t, options...).begin()
}

func prepared(t *testing.T, options ...func(*config.Config)) *hub {
	h := &hub{t: t, clock: &clock{}, log: &lockedBuffer{}, cfg: config.Config{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Data: t.TempDir(), Dev: true, AuthCookie: "hub_token",
		UserBurst: 20, MaxMessageBytes: 65536, PingInterval: 20 * time.Second, PongTimeout: 30 * time.Second,
		MaxGroupSize: 10000, NamedReaders: 256, EditWindow: 15 * time.Minute, IdleAfter: 2 * time.Minute, DrainTimeout: 10 * time.Second,
	}}
	if scyllatest.Chosen() {
		h.cfg.Store, h.cfg.CQLHosts, h.cfg.CQLKeyspace = config.StoreScylla, scyllatest.Hosts(t), scyllatest.Keyspace(t)
		h.cfg.CQLTimeout, h.cfg.CQLLease = 15*time.Second, 5*time.Second
	}
	for _, o := range options {
		o(&h.cfg)
	}
	return h
}

func (h *hub) begin() *hub {
	t := h.t
	t.Helper()
	h.run()
	t.Cleanup(func() {
		h.stop()
		if t.Failed() {
			t.Logf("log of the hub:\n%s", h.log)
		}
	})
	return h
}

// startWith is start with an index of the test's.
func startWith(t *testing.T, index search.Index, options ...func(*config.Config)) *hub {
	t.Helper()
	h := prepared(t, options...)
	h.index = index
	return h.begin()
}

// run starts the node and waits until it is ready.
func (h *hub) run() {
	h.t.Helper()
	n, err := node.New(h.cfg, node.Options{
		Version: "test", Now: h.clock.now, Index: h.index, Previews: h.previews, EraseGrace: time.Second,
		Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.admin = "http://" + n.AdminAddr().String()
	h.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: patience}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.ended = cancel, make(chan error, 1)
	go func() { h.ended <- n.Run(ctx) }()
	var answer string
	defer func() {
		if h.t.Failed() {
			h.t.Logf("/readyz: %s", answer)
		}
	}()
	h.await("ready", func() bool {
		r, err := h.http.Get(h.admin + "/readyz")
		if err != nil {
			answer = err.Error()
			return false
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		answer = string(b)
		return r.StatusCode == http.StatusOK
	})
	h.url, h.ws = "http://"+n.Addr().String(), "ws://"+n.Addr().String()
}

// stop ends the node in order; a second time it does nothing.
func (h *hub) stop() {
	h.t.Helper()
	if h.ended == nil {
		return
	}
	h.cancel()
	select {
	case err := <-h.ended:
		if err != nil {
			h.t.Errorf("the node ended with %v", err)
		}
	case <-time.After(2 * patience):
		h.t.Error("the node does not end")
	}
	h.ended = nil
	h.http.CloseIdleConnections()
}

// restart ends the node in order and runs another on its directory.
func (h *hub) restart() {
	h.t.Helper()
	h.stop()
	h.run()
}

// await polls for a condition that nothing announces.
func (h *hub) await(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !ok(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// rows opens the store of the stopped hub and counts the rows of a table that match.
func (h *hub) rows(table *storage.Table, match func(partition storage.Key, r storage.Row) bool) int {
	h.t.Helper()
	if h.ended != nil {
		h.t.Fatal("the hub holds the store")
	}
	e := h.engine()
	defer e.Close()
	n := 0
	err := e.ScanTable(h.t.Context(), table, func(p storage.Key, r storage.Row) bool {
		if match(p, r) {
			n++
		}
		return true
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// engine opens the store of the stopped hub.
func (h *hub) engine() storage.Engine {
	h.t.Helper()
	if scyllatest.Chosen() {
		return scyllatest.OpenKeyspace(h.t, h.cfg.CQLKeyspace)
	}
	e, err := pebble.Open(pebble.Config{Dir: filepath.Join(h.cfg.Data, node.StoreDir)})
	if err != nil {
		h.t.Fatal(err)
	}
	return e
}

// verify checks the store of the stopped hub.
func (h *hub) verify() {
	h.t.Helper()
	e := h.engine()
	defer e.Close()
	if _, err := storage.New(e, storage.Config{}).Verify(h.t.Context(), func(p storage.Problem) { h.t.Error(p) }); err != nil {
		h.t.Fatal(err)
	}
}

// metric is the value of a metric, with its labels if it has any; of labels that have not been seen it is 0.
func (h *hub) metric(name string) (v float64) {
	h.t.Helper()
	r, err := h.http.Get(h.admin + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				h.t.Fatal(err)
			}
			return v
		}
	}
	if !strings.Contains(name, "{") {
		h.t.Fatalf("no metric %s", name)
	}
	return 0
}

// sign makes a token of the hub's own secret.
func (h *hub) sign(user, tenant string, expires time.Time) string {
	h.t.Helper()
	secret, err := auth.EnsureSecret(filepath.Join(h.cfg.Data, node.SecretFile))
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := auth.NewSigner(secret)
	if err != nil {
		h.t.Fatal(err)
	}
	p := chat.Principal{Tenant: chat.TenantID(tenant), User: chat.UserID(user), Username: user}
	tok, err := s.Sign(auth.Claims{Principal: p, Expires: expires}, auth.Access)
	if err != nil {
		h.t.Fatal(err)
	}
	return tok
}

// user is a person with a token.
type user struct {
	h         *hub
	id, token string
}

// user obtains a token as any client of a hub in development mode does.
func (h *hub) user(id string) *user { h.t.Helper(); return h.userOf("", id) }

func (h *hub) userOf(tenant, id string) *user {
	h.t.Helper()
	body := map[string]any{"username": id, "password": "any"}
	if tenant != "" {
		body["tenant"] = tenant
	}
	r := h.call("", "POST", "/api/v1/auth/token/", body)
	r.want(http.StatusOK)
	return &user{h, id, r.body.str("access")}
}

func (h *hub) users(ids ...string) []*user {
	h.t.Helper()
	us := make([]*user, len(ids))
	for i, id := range ids {
		us[i] = h.user(id)
	}
	return us
}

// object is a decoded JSON object.
type object map[string]any

func (o object) str(k string) string { s, _ := o[k].(string); return s }
func (o object) num(k string) int    { f, _ := o[k].(float64); return int(f) }
func (o object) yes(k string) bool   { b, _ := o[k].(bool); return b }
func (o object) obj(k string) object { m, _ := o[k].(map[string]any); return m }

func (o object) list(k string) []object {
	a, _ := o[k].([]any)
	out := make([]object, len(a))
	for i := range a {
		out[i], _ = a[i].(map[string]any)
	}
	return out
}

// reply to a REST request.
type reply struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	raw    string
	body   object
}

func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: %d %s, want %d", r.what, r.status, r.raw, status)
	}
	return r
}

// says checks that the raw body contains a text.
func (r *reply) says(text string) *reply {
	r.t.Helper()
	if !strings.Contains(r.raw, text) {
		r.t.Fatalf("%s: %d %s, want %q in it", r.what, r.status, r.raw, text)
	}
	return r
}

const api = "/api/v1/messages/"

// call makes a REST request; body is marshalled unless it is a string.
func (h *hub) call(token, method, path string, body any) *reply {
	h.t.Helper()
	header := http.Header{"Content-Type": {"application/json"}}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	r, err := h.request(method, path, header, body)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *hub) request(method, path string, header http.Header, body any) (*reply, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(j)
	}
	url := path
	if !strings.HasPrefix(path, "http") {
		url = h.url + path
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		return nil, err
	}
	req.Header = header
	res, err := h.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	r := &reply{t: h.t, what: method + " " + path, status: res.StatusCode, header: res.Header, raw: string(b)}
	_ = json.Unmarshal(b, &r.body) // arrays and pages leave it empty
	return r, nil
}

// call makes a REST request as the user.
func (u *user) call(method, path string, body any) *reply {
	u.h.t.Helper()
	if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "http") {
		path = api + path
	}
	return u.h.call(u.token, method, path, body)
}

// direct gets or creates the direct conversation.
func (u *user) direct(other string) string {
	u.h.t.Helper()
	r := u.call("POST", "conversations/", object{"participant_ids": []string{other}})
	return r.want(http.StatusCreated).body.str("id")
}

// group creates one.
func (u *user) group(name string, others ...string) string {
	u.h.t.Helper()
	r := u.call("POST", "conversations/", object{"participant_ids": others, "name": name})
	return r.want(http.StatusCreated).body.str("id")
}

// post sends a message by REST.
func (u *user) post(conversation, content string) object {
	u.h.t.Helper()
	return u.call("POST", "messages/", object{"conversation_id": conversation, "content": content}).want(http.StatusCreated).body
}

// unread is the user's count of a conversation.
func (u *user) unread(conversation string) int {
	u.h.t.Helper()
	return u.call("GET", "conversations/"+conversation+"/", nil).want(http.StatusOK).body.num("unread_count")
}

// history pages through a conversation from the newest message to the oldest with before.
func (u *user) history(conversation string) (all []object) {
	u.h.t.Helper()
	path := "messages/?conversation=" + conversation
	for {
		page := u.call("GET", path, nil).want(http.StatusOK).body.list("results")
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		path = "messages/?conversation=" + conversation + "&before=" + page[len(page)-1].str("id")
	}
}

// rawConn is a TCP connection to the public port.
func (h *hub) rawConn() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

func principal(user string) chat.Principal {
	return chat.Principal{Tenant: chat.DefaultTenant, User: chat.UserID(user), Username: user}
}
