package centrifugo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/hub"
	"github.com/zumodra/hub/bench/target/jsonapi"
	"github.com/zumodra/hub/bench/target/jsonwalk"
)

// Config of a Target. URLs is required.
type Config struct {
	URLs      []string // http://host:port of each node, for sockets and for the API
	Namespace string   // of the channels; empty: none
	Secret    []byte   // client.token.hmac_secret_key; empty: users are anonymous, which client.insecure allows
	Key       string   // http_api.key; empty: histories cannot be read
}

// Target is a running Centrifugo. Its methods are for concurrent use.
type Target struct {
	cfg      Config
	addrs    []netip.AddrPort
	signer   jose.Signer
	http     *http.Client
	channels channels
	sends    sends
}

var (
	_ target.Target     = (*Target)(nil)
	_ target.Answerer   = (*Target)(nil)
	_ target.Subscriber = (*Target)(nil)
)

// New looks the addresses up; nothing is connected.
func New(cfg Config) (*Target, error) {
	t := &Target{cfg: cfg, channels: channels{number: map[string]uint32{}}}
	for _, u := range cfg.URLs {
		a, err := hub.Resolve(u)
		if err != nil {
			return nil, fmt.Errorf("centrifugo: %w", err)
		}
		t.addrs = append(t.addrs, a)
	}
	if len(t.addrs) == 0 {
		return nil, errors.New("centrifugo: no address was given")
	}
	if len(cfg.Secret) > 0 {
		var err error
		if t.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: cfg.Secret}, nil); err != nil {
			return nil, fmt.Errorf("centrifugo: the secret: %w", err)
		}
	}
	t.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}}
	return t, nil
}

// Kind is centrifugo.
func (t *Target) Kind() string { return "centrifugo" }

// User is what tokens name as the subject.
func (t *Target) User(n int) string { return "u" + strconv.Itoa(n) }

// token of a user, for a day; empty without a secret.
func (t *Target) token(user int) string {
	if t.signer == nil {
		return ""
	}
	s, err := jwt.Signed(t.signer).Claims(map[string]any{"sub": t.User(user), "exp": time.Now().Add(24 * time.Hour).Unix()}).Serialize()
	if err != nil { // an HMAC of a map does not fail
		return ""
	}
	return s
}

// Endpoint spreads sockets over the nodes; another attempt goes to another one.
func (t *Target) Endpoint(user, socket, attempt int) target.Endpoint {
	a := t.addrs[target.Spread(len(t.addrs), user, socket, attempt)]
	return target.Endpoint{Addr: a, Host: a.String(), Path: "/connection/websocket"}
}

// call asks the server API at the first node. Errors come with status 200, too.
func (t *Target) call(ctx context.Context, method string, in, out any) error {
	if t.cfg.Key == "" {
		return fmt.Errorf("%s without the key of the API: %w", method, target.ErrNotSupported)
	}
	answer := struct {
		Error *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
		Result any `json:"result"`
	}{Result: out}
	err := jsonapi.Post(ctx, t.http, "http://"+t.addrs[0].String()+"/api/"+method, http.Header{"X-Api-Key": {t.cfg.Key}}, in, &answer)
	if err == nil && answer.Error != nil {
		err = fmt.Errorf("centrifugo: %s: %d %s", method, answer.Error.Code, answer.Error.Message)
	}
	return err
}

// Version is what the first node says to who has the key of the API.
func (t *Target) Version(ctx context.Context) (string, error) {
	var info struct {
		Nodes []struct {
			Version string `json:"version"`
		} `json:"nodes"`
	}
	if err := t.call(ctx, "info", struct{}{}, &info); errors.Is(err, target.ErrNotSupported) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	if len(info.Nodes) == 0 {
		return "", errors.New("centrifugo: info names no node")
	}
	return info.Nodes[0].Version, nil
}

// Prepare names channels: they exist as soon as somebody subscribes. Members are not known to the server.
func (t *Target) Prepare(_ context.Context, w target.World) ([]string, error) {
	prefix := w.Run + "."
	if t.cfg.Namespace != "" {
		prefix = t.cfg.Namespace + ":" + prefix
	}
	if strings.ContainsAny(prefix, "\"\\\n") {
		return nil, fmt.Errorf("centrifugo: %q is no name for channels", prefix)
	}
	ids := make([]string, len(w.Conversations))
	for i := range ids {
		ids[i] = prefix + strconv.Itoa(i)
	}
	return ids, nil
}

type history struct {
	Publications []struct {
		Data   any    `json:"data"`
		Offset uint64 `json:"offset"`
	} `json:"publications"`
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

func (h *history) entries() []check.Entry {
	list := make([]check.Entry, 0, len(h.Publications))
	for _, p := range h.Publications {
		text, _ := p.Data.(string)
		key := string(jsonwalk.Word([]byte(text)))
		list = append(list, check.Entry{Seq: p.Offset, ID: key, Key: key})
	}
	return list
}

type since struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

type historyRequest struct {
	Channel string `json:"channel"`
	Limit   int    `json:"limit"`
	Since   *since `json:"since,omitempty"`
	Reverse bool   `json:"reverse,omitempty"`
}

// page of a history.
const page = 1000

// Call reads the newest page of a history; there are no other operations.
func (t *Target) Call(ctx context.Context, op string, _ int, conversation string) error {
	if op != "history" {
		return fmt.Errorf("%s: %w", op, target.ErrNotSupported)
	}
	return t.call(ctx, "history", historyRequest{Channel: conversation, Limit: 50, Reverse: true}, nil)
}

// Final reads the whole history. It fails when the server no more has all of it.
func (t *Target) Final(ctx context.Context, _ int, conversation string) (list []check.Entry, err error) {
	var from since
	for {
		var h history
		if err := t.call(ctx, "history", historyRequest{Channel: conversation, Limit: page, Since: &from}, &h); err != nil {
			return nil, err
		}
		n := len(h.Publications)
		if n == 0 && h.Offset > from.Offset || n > 0 && h.Publications[0].Offset != from.Offset+1 {
			return nil, fmt.Errorf("centrifugo: the history of %s does not reach back to %d: history_size and history_ttl are too small for the run",
				conversation, from.Offset+1)
		}
		list = append(list, h.entries()...)
		if n == 0 || h.Publications[n-1].Offset >= h.Offset {
			return list, nil
		}
		from = since{h.Publications[n-1].Offset, h.Epoch}
	}
}

// Last reads the newest publications.
func (t *Target) Last(ctx context.Context, _ int, conversation string) (last []check.Entry, whole bool, err error) {
	var h history
	if err := t.call(ctx, "history", historyRequest{Channel: conversation, Limit: 100, Reverse: true}, &h); err != nil {
		return nil, false, err
	}
	last = h.entries()
	slices.Reverse(last)
	return last, uint64(len(last)) == h.Offset, nil
}

// Unread is not supported.
func (t *Target) Unread(context.Context, int, string) (uint64, error) {
	return 0, target.ErrNotSupported
}

// Head is the offset of the newest publication.
func (t *Target) Head(ctx context.Context, _ int, conversation string) (uint64, error) {
	var h history
	err := t.call(ctx, "history", historyRequest{Channel: conversation}, &h)
	return h.Offset, err
}
