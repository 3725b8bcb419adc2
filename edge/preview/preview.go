package preview

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/time/rate"

	"github.com/zumodra/hub/chat"
)

// What can be wrong with a link. Errors of Get wrap one of them, or that of the network.
var (
	ErrRefused = errors.New("the address is not asked") // by the rules of this package
	ErrNothing = errors.New("the page says nothing of itself")
	ErrBusy    = errors.New("the host is asked too often")
)

// Config of a Fetcher. The zero value works.
type Config struct {
	Timeout  time.Duration // of a page with its redirects; default 5 s
	MaxBytes int64         // of a page, decompressed; default 512 KiB
	Parallel int           // pages at once; default 8
	PerHost  float64       // pages of one host a second; default 2
	Remember time.Duration // what a page said; default 1 h; failures a sixth of it
	Cached   int           // pages; default 4096, about 3 KB each at the most
	Agent    string        // the User-Agent header; default "hub-link-preview"

	// Allow is for tests: it may let addresses and ports through that are refused otherwise. No flag sets it.
	Allow func(netip.AddrPort) bool
}

// Fetcher is safe for concurrent use.
type Fetcher struct {
	cfg    Config
	client *http.Client
	slots  chan struct{}
	said   *expirable.LRU[string, chat.LinkPreview] // an empty URL: nothing
	failed *expirable.LRU[string, struct{}]
	hosts  *expirable.LRU[string, *rate.Limiter]
}

// maxRedirects of one page.
const maxRedirects = 3

// New returns a Fetcher.
func New(c Config) *Fetcher {
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 512 << 10
	}
	if c.Parallel <= 0 {
		c.Parallel = 8
	}
	if c.PerHost <= 0 {
		c.PerHost = 2
	}
	if c.Remember <= 0 {
		c.Remember = time.Hour
	}
	if c.Cached <= 0 {
		c.Cached = 4096
	}
	if c.Agent == "" {
		c.Agent = "hub-link-preview"
	}
	f := &Fetcher{cfg: c, slots: make(chan struct{}, c.Parallel),
		said:   expirable.NewLRU[string, chat.LinkPreview](c.Cached, nil, c.Remember),
		failed: expirable.NewLRU[string, struct{}](c.Cached, nil, c.Remember/6),
		hosts:  expirable.NewLRU[string, *rate.Limiter](c.Cached, nil, time.Minute)}
	dialer := &net.Dialer{Timeout: c.Timeout, Control: func(_, address string, _ syscall.RawConn) error { return f.mayConnect(address) }}
	f.client = &http.Client{
		Timeout: c.Timeout,
		Transport: &http.Transport{
			Proxy:                  nil, // which would resolve the name itself
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("%w: more than %d redirects", ErrRefused, maxRedirects)
			}
			r.Header.Del("Referer")
			return f.mayAsk(r.URL)
		},
	}
	return f
}

// Get asks the page that link names, or remembers what it said. The error wraps ErrRefused, ErrNothing, ErrBusy, that of ctx,
// or that of the network.
func (f *Fetcher) Get(ctx context.Context, link string) (chat.LinkPreview, error) {
	if p, ok := f.said.Get(link); ok {
		return p, nil
	}
	if _, ok := f.failed.Get(link); ok {
		return chat.LinkPreview{}, fmt.Errorf("%w, a while ago", ErrNothing)
	}
	u, err := url.Parse(link)
	if err != nil || len(link) > chat.MaxURL {
		return chat.LinkPreview{}, fmt.Errorf("%w: it is no URL of at most %d bytes", ErrRefused, chat.MaxURL)
	}
	if err := f.mayAsk(u); err != nil {
		return chat.LinkPreview{}, err
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return chat.LinkPreview{}, ctx.Err()
	}
	p, err := f.fetch(ctx, u)
	switch {
	case err == nil:
		p.URL = link
		f.said.Add(link, p)
	case ctx.Err() == nil && !errors.Is(err, ErrBusy):
		f.failed.Add(link, struct{}{})
	}
	return p, err
}

// mayAsk checks what can be said before a name is resolved, and counts.
func (f *Fetcher) mayAsk(u *url.URL) error {
	host := strings.ToLower(u.Hostname())
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: only http and https are", ErrRefused)
	case u.User != nil:
		return fmt.Errorf("%w: it has credentials in it", ErrRefused)
	case host == "":
		return fmt.Errorf("%w: it has no host", ErrRefused)
	}
	limit, ok := f.hosts.Get(host)
	if !ok {
		limit = rate.NewLimiter(rate.Limit(f.cfg.PerHost), int(max(1, 2*f.cfg.PerHost)))
		f.hosts.Add(host, limit)
	}
	if !limit.Allow() {
		return ErrBusy
	}
	return nil
}

// mayConnect decides about the address that a name turned out to have.
func (f *Fetcher) mayConnect(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if f.cfg.Allow != nil && f.cfg.Allow(to) {
		return nil
	}
	if to.Port() != 80 && to.Port() != 443 {
		return fmt.Errorf("%w: port %s", ErrRefused, strconv.Itoa(int(to.Port())))
	}
	if !Public(to.Addr()) {
		return fmt.Errorf("%w: it is not a public one", ErrRefused)
	}
	return nil
}

func (f *Fetcher) fetch(ctx context.Context, u *url.URL) (p chat.LinkPreview, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	r.Header.Set("User-Agent", f.cfg.Agent)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	res, err := f.client.Do(r)
	if err != nil {
		return p, err // names the URL
	}
	defer res.Body.Close()
	contentType := res.Header.Get("Content-Type")
	kind, _, _ := mime.ParseMediaType(contentType)
	if res.StatusCode != http.StatusOK || kind != "text/html" && kind != "application/xhtml+xml" {
		return p, fmt.Errorf("%w: status %d, %q", ErrNothing, res.StatusCode, kind)
	}
	p = Parse(io.LimitReader(res.Body, f.cfg.MaxBytes), contentType, res.Request.URL)
	if p.Title == "" && p.Description == "" && p.Image == "" {
		return p, ErrNothing
	}
	return p, nil
}
