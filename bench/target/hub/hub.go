package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/target"
)

// Config of a Target. URLs and Secret are required.
type Config struct {
	URLs   []string // http://host:port of each node
	Tenant string   // default: bench
	Secret []byte   // HS256, that the hub verifies tokens by
	Key    string   // of the operator, which introduces users in bulk; empty: each introduces itself
	// Parallel bounds the requests at once of Prepare. Default 16.
	Parallel int
}

// Target is a running hub.
type Target struct {
	cfg    Config
	addrs  []netip.AddrPort
	signer jose.Signer
	http   *http.Client

	mu     sync.Mutex
	tokens map[int]string
}

var _ target.Target = (*Target)(nil)

// New looks the addresses up; nothing is connected.
func New(cfg Config) (*Target, error) {
	if cfg.Tenant == "" {
		cfg.Tenant = "bench"
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 16
	}
	if len(cfg.Secret) == 0 {
		return nil, errors.New("hub: the secret that signs tokens is missing")
	}
	t := &Target{cfg: cfg, tokens: make(map[int]string)}
	for _, u := range cfg.URLs {
		a, err := Resolve(u)
		if err != nil {
			return nil, err
		}
		t.addrs = append(t.addrs, a)
	}
	if len(t.addrs) == 0 {
		return nil, errors.New("hub: no address was given")
	}
	var err error
	t.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: cfg.Secret}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("hub: the secret: %w", err)
	}
	t.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}}
	return t, nil
}

// Resolve finds the address that http://host:port names.
func Resolve(raw string) (netip.AddrPort, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return netip.AddrPort{}, fmt.Errorf("the address %q is not http://host:port", raw)
	}
	if u.Scheme != "http" {
		return netip.AddrPort{}, fmt.Errorf("the address %q: only http is spoken, TLS is not", raw)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "80")
	}
	a, err := net.ResolveTCPAddr("tcp", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("the address %q: %w", raw, err)
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)), nil
}

// Kind is hub.
func (t *Target) Kind() string { return "hub" }

// User is a user's id.
func (t *Target) User(n int) string { return strconv.Itoa(1000 + n) }

// token of a user, for a day.
func (t *Target) token(user int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.tokens[user]; s != "" {
		return s
	}
	now := time.Now()
	s, err := jwt.Signed(t.signer).Claims(map[string]any{"user_id": 1000 + user, "username": "user" + strconv.Itoa(user), "tenant": t.cfg.Tenant,
		"token_type": "access", "iat": now.Add(-5 * time.Minute).Unix(), "exp": now.Add(24 * time.Hour).Unix()}).Serialize()
	if err != nil { // an HMAC of a map does not fail
		return ""
	}
	if len(t.tokens) < maxTokens {
		t.tokens[user] = s
	}
	return s
}

// maxTokens are remembered: those of users who ask often, over REST. A socket's token is made when it is opened.
const maxTokens = 4096

// Endpoint spreads sockets over the nodes; another attempt goes to another one.
func (t *Target) Endpoint(user, socket, attempt int) target.Endpoint {
	i := target.Spread(len(t.addrs), user, socket, attempt)
	return target.Endpoint{Addr: t.addrs[i], Host: t.addrs[i].String(), Path: "/ws/", Header: "Authorization: Bearer " + t.token(user) + "\r\n"}
}

// Version asks whether the hub is there. It does not say its version to everybody.
func (t *Target) Version(ctx context.Context) (string, error) {
	return "", t.call(ctx, http.MethodGet, "/api/v1/messages/status/me/", 0, nil, nil)
}

const api = "/api/v1/messages/"

// call makes a request of the REST API as a user, at any node that answers.
func (t *Target) call(ctx context.Context, method, path string, user int, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	var err error
	for attempt := range len(t.addrs) {
		u := "http://" + t.addrs[(user+attempt)%len(t.addrs)].String() + path
		var retry bool
		if retry, err = t.once(ctx, method, u, "Bearer "+t.token(user), body, "application/json", out); err == nil || !retry {
			return err
		}
	}
	return err
}

// once reports whether another node may do better.
func (t *Target) once(ctx context.Context, method, u, credential string, body []byte, kind string, out any) (retry bool, err error) {
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", credential)
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return ctx.Err() == nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return true, fmt.Errorf("%s %s: %w", method, req.URL.Path, err)
	}
	if resp.StatusCode == http.StatusNotImplemented { // search is switched off
		return false, fmt.Errorf("%s %s: %w", method, req.URL.Path, target.ErrNotSupported)
	}
	if resp.StatusCode >= 300 {
		return resp.StatusCode == http.StatusServiceUnavailable, fmt.Errorf("%s %s: %s: %.200s", method, req.URL.Path, resp.Status, b)
	}
	if out == nil {
		return false, nil
	}
	return false, json.Unmarshal(b, out)
}

// Prepare introduces the users and makes the conversations.
func (t *Target) Prepare(ctx context.Context, w target.World) ([]string, error) {
	if err := t.introduce(ctx, w); err != nil {
		return nil, fmt.Errorf("introduce users: %w", err)
	}
	ids := make([]string, len(w.Conversations))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(t.cfg.Parallel)
	for i, members := range w.Conversations {
		g.Go(func() error {
			others := make([]int, 0, len(members)-1)
			for _, u := range members[1:] {
				others = append(others, 1000+u)
			}
			in := map[string]any{"participant_ids": others}
			if len(members) > 2 {
				in["name"] = fmt.Sprintf("%s-%d", w.Run, i)
			}
			var out struct {
				ID string `json:"id"`
			}
			if err := t.call(gctx, http.MethodPost, api+"conversations/", members[0], in, &out); err != nil {
				return fmt.Errorf("create conversation %d of %d users: %w", i, len(members), err)
			}
			ids[i] = out.ID
			return nil
		})
	}
	return ids, g.Wait()
}

// introduce makes users known: all of them where that can be done in bulk, or the hub would have to write each one down when
// its first socket is opened; else those who are members.
func (t *Target) introduce(ctx context.Context, w target.World) error {
	if t.cfg.Key == "" {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(t.cfg.Parallel)
		known := make([]bool, w.Users)
		for _, members := range w.Conversations {
			for _, u := range members {
				if !known[u] {
					known[u] = true
					g.Go(func() error { return t.call(gctx, http.MethodGet, api+"status/me/", u, nil, nil) })
				}
			}
		}
		return g.Wait()
	}
	where := "http://" + t.addrs[0].String() + "/api/v1/admin/import/users/?results=errors&tenant=" + url.QueryEscape(t.cfg.Tenant)
	for from := 0; from < w.Users; from += batch {
		var b bytes.Buffer
		for u := from; u < min(from+batch, w.Users); u++ {
			fmt.Fprintf(&b, "{\"id\":%d,\"username\":\"user%d\"}\n", 1000+u, u)
		}
		if _, err := t.once(ctx, http.MethodPost, where, "Api-Key "+t.cfg.Key, b.Bytes(), "application/x-ndjson", nil); err != nil {
			return err
		}
	}
	return nil
}

// batch is how many users are introduced with one request.
const batch = 2000

// words that are searched for: all of them are in the contents.
var words = []string{"lorem", "ipsum", "dolor", "consectetur", "tempor", "labore", "magna"}

// Call does an operation over REST.
func (t *Target) Call(ctx context.Context, op string, user int, conversation string) error {
	path := ""
	switch op {
	case "history":
		path = "messages/?conversation=" + conversation
	case "scroll":
		path = fmt.Sprintf("messages/?page=%d&conversation=%s", 2+rand.IntN(4), conversation)
	case "list":
		path = "conversations/"
	case "search":
		path = "messages/search/?q=" + words[rand.IntN(len(words))]
	default:
		return fmt.Errorf("%s: %w", op, target.ErrNotSupported)
	}
	err := t.call(ctx, http.MethodGet, api+path, user, nil, nil)
	if op == "scroll" && err != nil && strings.Contains(err.Error(), " 404 ") {
		return nil // so far the history does not go
	}
	return err
}

// eventPage is a page of a conversation's log.
type eventPage struct {
	Head    uint64 `json:"head_seq"`
	Results []struct {
		Type    string `json:"type"`
		Seq     uint64 `json:"seq"`
		ID      string `json:"id"`
		Content string `json:"content"`
	} `json:"results"`
}

func (p *eventPage) messages() []check.Entry {
	var list []check.Entry
	for _, e := range p.Results {
		if e.Type == "message" {
			key, _, _ := strings.Cut(e.Content, " ")
			list = append(list, check.Entry{Seq: e.Seq, ID: e.ID, Key: key})
		}
	}
	return list
}

func (t *Target) events(ctx context.Context, user int, conversation, query string) (p eventPage, err error) {
	return p, t.call(ctx, http.MethodGet, api+"conversations/"+conversation+"/events/"+query, user, nil, &p)
}

// Final reads the whole log.
func (t *Target) Final(ctx context.Context, user int, conversation string) (list []check.Entry, err error) {
	for after := uint64(0); ; {
		p, err := t.events(ctx, user, conversation, "?after="+strconv.FormatUint(after, 10))
		if err != nil {
			return nil, err
		}
		list = append(list, p.messages()...)
		n := len(p.Results)
		if n == 0 || p.Results[n-1].Seq >= p.Head {
			return list, nil
		}
		after = p.Results[n-1].Seq
	}
}

// Last reads the newest events.
func (t *Target) Last(ctx context.Context, user int, conversation string) (last []check.Entry, whole bool, err error) {
	p, err := t.events(ctx, user, conversation, "")
	if err != nil {
		return nil, false, err
	}
	last = p.messages()
	slices.Reverse(last)
	n := len(p.Results)
	return last, n == 0 || p.Results[n-1].Seq == 1, nil
}

// Unread is what the conversation says to the user.
func (t *Target) Unread(ctx context.Context, user int, conversation string) (uint64, error) {
	var out struct {
		Unread uint64 `json:"unread_count"`
	}
	err := t.call(ctx, http.MethodGet, api+"conversations/"+conversation+"/", user, nil, &out)
	return out.Unread, err
}

// Head is the seq of the newest event.
func (t *Target) Head(ctx context.Context, user int, conversation string) (uint64, error) {
	p, err := t.events(ctx, user, conversation, "")
	return p.Head, err
}
