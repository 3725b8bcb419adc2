package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of a key set.
const (
	maxJWKS     = 1 << 20
	maxJWKSKeys = 100
	maxRedirect = 3
	minRetry    = time.Second
	maxRetry    = 30 * time.Second
)

// keySet keeps the keys of a JWKS URL. One goroutine fetches; readers see an immutable slice.
type keySet struct {
	url      string
	client   *http.Client
	refresh  time.Duration
	interval time.Duration
	timeout  time.Duration
	log      *slog.Logger

	keys atomic.Pointer[[]key]
	wake chan struct{} // capacity 1: "fetch now"
	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	fetched  chan struct{} // closed when the fetch in progress, or the next one, ends
	fetching bool
	closed   bool
	started  time.Time // of the last fetch that ended
	ok       bool      // it succeeded
}

func newKeySet(cfg Config) (*keySet, error) {
	u, err := url.Parse(cfg.JWKSURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("auth: the JWKS URL is not an http(s) URL")
	}
	if u.Scheme == "http" && !cfg.AllowInsecureJWKS && !loopback(u.Hostname()) {
		return nil, errors.New("auth: the JWKS URL must be https: keys fetched in the clear can be replaced on the way")
	}
	s := &keySet{
		url:      u.String(),
		refresh:  cfg.JWKSRefresh,
		interval: cfg.JWKSMinInterval,
		timeout:  cfg.JWKSTimeout,
		log:      cfg.Logger,
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		fetched:  make(chan struct{}),
		fetching: true, // the first fetch begins at once
	}
	if s.refresh <= 0 {
		s.refresh = 10 * time.Minute
	}
	if s.interval <= 0 {
		s.interval = 10 * time.Second
	}
	if s.timeout <= 0 {
		s.timeout = 10 * time.Second
	}
	base := cfg.HTTPClient
	if base == nil {
		base = &http.Client{}
	}
	c := *base
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirect || (u.Scheme == "https" && r.URL.Scheme != "https") {
			return errors.New("redirect refused")
		}
		return nil
	}
	s.client = &c
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.run(ctx)
	return s, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (s *keySet) close() {
	s.stop()
	<-s.done
}

func (s *keySet) load() []key {
	if p := s.keys.Load(); p != nil {
		return *p
	}
	return nil
}

// fresh reports whether the last fetch succeeded: then a key that is not in the set does not exist.
func (s *keySet) fresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ok
}

// want asks for a fetch because a key is missing. It returns nil if the last one began too recently for
// another, else a channel that is closed when the fetch ended.
func (s *keySet) want() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.fetching {
		return s.fetched
	}
	if time.Since(s.started) < s.interval {
		return nil
	}
	s.fetching = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return s.fetched
}

func (s *keySet) run(ctx context.Context) {
	defer close(s.done)
	retry := minRetry
	for {
		s.mu.Lock()
		s.fetching = true
		s.mu.Unlock()
		select { // a wish that came before this fetch is fulfilled by it
		case <-s.wake:
		default:
		}
		begin := time.Now()
		keys, skipped, err := s.fetch(ctx)
		wait := s.refresh
		switch {
		case err == nil:
			s.keys.Store(&keys)
			retry = minRetry
			s.log.Debug("key set fetched", slog.Int("keys", len(keys)), slog.Int("skipped", skipped))
		case ctx.Err() == nil:
			wait = min(retry, s.refresh)
			retry = min(2*retry, maxRetry)
			s.log.Warn("key set not fetched, keeping the keys at hand",
				slog.Int("keys", len(s.load())), slog.Any("error", err))
		}
		s.mu.Lock()
		s.fetching, s.started, s.ok = false, begin, err == nil
		s.closed = ctx.Err() != nil
		close(s.fetched)
		s.fetched = make(chan struct{})
		s.mu.Unlock()

		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			s.mu.Lock()
			if s.fetching { // somebody waits for a fetch that will not be
				close(s.fetched)
				s.fetched = make(chan struct{})
			}
			s.fetching, s.closed = false, true
			s.mu.Unlock()
			return
		case <-s.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// fetch reads the set once. Keys that cannot be used (unknown kinds, symmetric, for encryption) are skipped.
func (s *keySet) fetch(ctx context.Context) (keys []key, skipped int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("building the request: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // its text holds the URL, whose query may hold a key
			err = ue.Err
		}
		return nil, 0, fmt.Errorf("fetching: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("fetching: HTTP status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKS+1))
	if err != nil {
		return nil, 0, fmt.Errorf("reading: %w", err)
	}
	if len(body) > maxJWKS {
		return nil, 0, fmt.Errorf("the set is larger than %d bytes", maxJWKS)
	}
	return parseJWKS(body)
}

func parseJWKS(body []byte) (keys []key, skipped int, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return nil, 0, errors.New("not a JSON Web Key Set")
	}
	if len(set.Keys) > maxJWKSKeys {
		return nil, 0, fmt.Errorf("more than %d keys", maxJWKSKeys)
	}
	for _, raw := range set.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil || !jwk.Valid() || (jwk.Use != "" && jwk.Use != "sig") {
			skipped++
			continue
		}
		k, err := publicKey(jwk.Key)
		if err != nil || (jwk.Algorithm != "" && jwk.Algorithm != string(k.alg)) {
			skipped++
			continue
		}
		k.id = jwk.KeyID
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, errors.New("the set holds no key that can be used")
	}
	return keys, skipped, nil
}
