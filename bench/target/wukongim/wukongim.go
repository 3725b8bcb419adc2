package wukongim

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/hub"
	"github.com/zumodra/hub/bench/target/jsonapi"
)

// Config of a Target. URLs is required.
type Config struct {
	// URLs are http://host:port of the HTTP API, and ws://host:port of the WebSocket gateway of each node. Without any of the latter
	// New asks each API for its own (/route).
	URLs []string
	// Secret is what the tokens of users are made of, which Prepare makes known. Empty: the server asks for none.
	Secret []byte
	// Parallel bounds the requests at once of Prepare. Default 16.
	Parallel int
}

// Target is a running WuKongIM. Its methods are for concurrent use.
type Target struct {
	cfg     Config
	api     string // http://host:port
	addrs   []netip.AddrPort
	http    *http.Client
	process string // the begin of the names of this process's devices
	devices atomic.Uint64
}

var (
	_ target.Target    = (*Target)(nil)
	_ target.Answerer  = (*Target)(nil)
	_ target.Unordered = (*Target)(nil)
)

// patience is how long New waits for a server's answer.
const patience = 10 * time.Second

// New looks the addresses up, and asks the API for those of gateways that were not given.
func New(cfg Config) (*Target, error) {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 16
	}
	t := &Target{cfg: cfg, process: rand.Text()[:10]}
	t.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}}
	var apis []string
	for _, u := range cfg.URLs {
		if strings.HasPrefix(u, "ws://") {
			if err := t.gateway(u); err != nil {
				return nil, err
			}
			continue
		}
		a, err := hub.Resolve(u)
		if err != nil {
			return nil, fmt.Errorf("wukongim: %w", err)
		}
		apis = append(apis, "http://"+a.String())
	}
	if len(apis) == 0 {
		return nil, errors.New("wukongim: the address of the API (http://) is needed")
	}
	t.api = apis[0]
	if len(t.addrs) > 0 {
		return t, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, api := range apis {
		u, err := t.route(ctx, api)
		if err == nil {
			err = t.gateway(u)
		}
		if err != nil {
			return nil, fmt.Errorf("wukongim: the address of the WebSocket gateway of %s (it may be given as ws://host:port): %w", api, err)
		}
	}
	return t, nil
}

// gateway adds the address of one: ws://host:port.
func (t *Target) gateway(u string) error {
	host, ok := strings.CutPrefix(u, "ws://")
	if !ok {
		return fmt.Errorf("wukongim: %q is not ws://host:port", u)
	}
	a, err := hub.Resolve("http://" + host)
	if err != nil {
		return fmt.Errorf("wukongim: %s: %w", u, err)
	}
	t.addrs = append(t.addrs, a)
	return nil
}

// route asks an API where clients connect to.
func (t *Target) route(ctx context.Context, api string) (ws string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/route?uid="+t.User(0), nil)
	if err != nil {
		return "", err
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("/route: %s", resp.Status)
	}
	var out struct {
		WS string `json:"ws_addr"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return "", fmt.Errorf("/route: %w", err)
	}
	return out.WS, nil
}

// Kind is wukongim.
func (t *Target) Kind() string { return "wukongim" }

// User is a uid.
func (t *Target) User(n int) string { return "u" + strconv.Itoa(n) }

// token of a user.
func (t *Target) token(user int) string {
	if len(t.cfg.Secret) == 0 {
		return "none"
	}
	h := hmac.New(sha256.New, t.cfg.Secret)
	h.Write([]byte(t.User(user)))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Endpoint spreads sockets over the nodes; another attempt goes to another one.
func (t *Target) Endpoint(user, socket, attempt int) target.Endpoint {
	a := t.addrs[target.Spread(len(t.addrs), user, socket, attempt)]
	return target.Endpoint{Addr: a, Host: a.String(), Path: "/"}
}

func (t *Target) post(ctx context.Context, path string, in, out any) error {
	return jsonapi.Post(ctx, t.http, t.api+path, nil, in, out)
}

// Version asks whether the API is there. It does not say its version.
func (t *Target) Version(ctx context.Context) (string, error) {
	_, err := t.route(ctx, t.api)
	return "", err
}

const (
	// membersAtOnce are added by one request.
	membersAtOnce = 1000
	// largeGroup is from how many members on a channel is told to be a large one, as the server's documents advise.
	largeGroup = 500
)

type members struct {
	Channel     string   `json:"channel_id"`
	Type        int      `json:"channel_type"`
	Large       int      `json:"large,omitempty"`
	Reset       int      `json:"reset,omitempty"`
	Subscribers []string `json:"subscribers"`
}

// Prepare makes the tokens of the users known and the channels.
func (t *Target) Prepare(ctx context.Context, w target.World) ([]string, error) {
	if strings.ContainsAny(w.Run, "\"\\\n") {
		return nil, fmt.Errorf("wukongim: %q is no name for channels", w.Run)
	}
	if err := t.introduce(ctx, w.Users); err != nil {
		return nil, err
	}
	ids := make([]string, len(w.Conversations))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(t.cfg.Parallel)
	for i, list := range w.Conversations {
		ids[i] = w.Run + "-" + strconv.Itoa(i)
		g.Go(func() error {
			path := "/channel"
			in := members{Channel: ids[i], Type: groupChannel, Reset: 1}
			if len(list) >= largeGroup {
				in.Large = 1
			}
			for part := range slices.Chunk(list, membersAtOnce) {
				in.Subscribers = in.Subscribers[:0]
				for _, u := range part {
					in.Subscribers = append(in.Subscribers, t.User(u))
				}
				if err := t.post(gctx, path, in, nil); err != nil {
					return fmt.Errorf("create conversation %d of %d users: %w", i, len(list), err)
				}
				path, in.Reset = "/channel/subscriber_add", 0
			}
			return nil
		})
	}
	return ids, g.Wait()
}

func (t *Target) introduce(ctx context.Context, users int) error {
	if len(t.cfg.Secret) == 0 {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(t.cfg.Parallel)
	for u := range users {
		g.Go(func() error {
			err := t.post(gctx, "/user/token", map[string]any{"uid": t.User(u), "token": t.token(u), "device_flag": deviceWeb, "device_level": 0}, nil)
			if err != nil {
				return fmt.Errorf("introduce user %d: %w", u, err)
			}
			return nil
		})
	}
	return g.Wait()
}

type syncRequest struct {
	User    string `json:"login_uid"`
	Channel string `json:"channel_id"`
	Type    int    `json:"channel_type"`
	Start   uint64 `json:"start_message_seq"`
	End     uint64 `json:"end_message_seq"`
	Limit   int    `json:"limit"`
	Up      int    `json:"pull_mode"` // 0: from start, or from the newest, down; 1: from start up
}

// page of a history.
const page = 1000

// sync reads a part of a channel, oldest first. A channel without messages is not there.
func (t *Target) sync(ctx context.Context, user int, conversation string, start uint64, limit, up int) ([]check.Entry, error) {
	var out struct {
		Messages []struct {
			ID  int64  `json:"message_id"`
			Seq uint64 `json:"message_seq"`
			Key string `json:"client_msg_no"`
		} `json:"messages"`
	}
	err := t.post(ctx, "/channel/messagesync", syncRequest{User: t.User(user), Channel: conversation, Type: groupChannel, Start: start, Limit: limit, Up: up}, &out)
	if err != nil {
		if strings.Contains(err.Error(), "channel not found") {
			return nil, nil
		}
		return nil, err
	}
	list := make([]check.Entry, 0, len(out.Messages))
	for _, m := range out.Messages {
		list = append(list, check.Entry{Seq: m.Seq, ID: strconv.FormatInt(m.ID, 10), Key: m.Key})
	}
	slices.SortFunc(list, func(a, b check.Entry) int { return int(int64(a.Seq) - int64(b.Seq)) })
	return list, nil
}

// Call reads the newest page of a history; there are no other operations.
func (t *Target) Call(ctx context.Context, op string, user int, conversation string) error {
	if op != "history" {
		return fmt.Errorf("%s: %w", op, target.ErrNotSupported)
	}
	_, err := t.sync(ctx, user, conversation, 0, 50, 0)
	return err
}

// Final reads the whole channel.
func (t *Target) Final(ctx context.Context, user int, conversation string) (list []check.Entry, err error) {
	for next := uint64(1); ; {
		part, err := t.sync(ctx, user, conversation, next, page, 1)
		if err != nil {
			return nil, err
		}
		for _, e := range part {
			if e.Seq >= next {
				list = append(list, e)
			}
		}
		if n := len(part); n == 0 || part[n-1].Seq < next {
			return list, nil
		}
		next = part[len(part)-1].Seq + 1
	}
}

// Last reads the newest messages.
func (t *Target) Last(ctx context.Context, user int, conversation string) (last []check.Entry, whole bool, err error) {
	last, err = t.sync(ctx, user, conversation, 0, 100, 0)
	return last, len(last) == 0 || last[0].Seq == 1, err
}

// Unread is not supported.
func (t *Target) Unread(context.Context, int, string) (uint64, error) {
	return 0, target.ErrNotSupported
}

// Head is the seq of the newest message.
func (t *Target) Head(ctx context.Context, user int, conversation string) (uint64, error) {
	last, err := t.sync(ctx, user, conversation, 0, 1, 0)
	if err != nil || len(last) == 0 {
		return 0, err
	}
	return last[len(last)-1].Seq, nil
}
