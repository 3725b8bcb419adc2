package meili

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meilisearch/meilisearch-go"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// format of the documents. Another one is another index, so that old and new hubs do not write into one.
const format = 1

// Config of an Index. URL is required.
type Config struct {
	URL     string // http://127.0.0.1:7700
	KeyFile string // with the API key; read again when the server does not accept it. Empty: no key
	Prefix  string // of the names of indexes, for several hubs on one server; default "hub"

	Timeout      time.Duration     // of one request; default 10 seconds
	TaskTimeout  time.Duration     // until a task has been carried out; default 5 minutes
	MaxBytes     int               // of one payload, about; default 8 MiB
	MaxDocuments int               // of one payload; default 2000
	Outstanding  int               // payloads that are sent and not carried out; default 2
	Transport    http.RoundTripper // default: http.DefaultTransport's settings
	Logger       *slog.Logger      // default: discard
}

// Index implements search.Index.
type Index struct {
	cfg    Config
	client meilisearch.ServiceManager
	auth   *auth
	live   string // uid of the index
	slots  chan struct{}

	life    context.Context // ends with Close
	end     context.CancelFunc
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup

	ensuring sync.Mutex
	ensured  atomic.Bool
	version  string // as last logged; under ensuring

	rebuilding sync.Mutex
	rebuild    atomic.Pointer[rebuild]

	applied, removed, rejected, failures, searches atomic.Uint64
	tasks, lastApply                               atomic.Int64
}

// Open checks the configuration. The server need not be there: what needs it answers search.ErrUnavailable until it is.
func Open(cfg Config) (*Index, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("meilisearch: the URL is not one such as http://127.0.0.1:7700")
	}
	cfg.URL = strings.TrimRight(cfg.URL, "/")
	if cfg.Prefix == "" {
		cfg.Prefix = "hub"
	}
	if !CheckPrefix(cfg.Prefix) {
		return nil, fmt.Errorf("meilisearch: prefix %q is not 1 to 64 letters, digits, hyphens and underscores", cfg.Prefix)
	}
	for _, d := range []struct {
		value *int
		or    int
	}{{&cfg.MaxBytes, 8 << 20}, {&cfg.MaxDocuments, 2000}, {&cfg.Outstanding, 2}} {
		if *d.value <= 0 {
			*d.value = d.or
		}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.TaskTimeout <= 0 {
		cfg.TaskTimeout = 5 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 16
		cfg.Transport = t
	}
	x := &Index{cfg: cfg, auth: &auth{next: cfg.Transport, file: cfg.KeyFile}, slots: make(chan struct{}, cfg.Outstanding),
		live: fmt.Sprintf("%s_messages_v%d_%d", cfg.Prefix, format, search.AnalysisVersion)}
	if err := x.auth.read(); err != nil {
		return nil, fmt.Errorf("meilisearch: reading the key: %w", err)
	}
	x.client = meilisearch.New(cfg.URL, meilisearch.WithCustomClient(&http.Client{Transport: x.auth}), meilisearch.DisableRetries())
	x.life, x.end = context.WithCancel(context.Background())
	return x, nil
}

// CheckPrefix reports whether s can be the prefix of an index's name.
func CheckPrefix(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// auth adds the key to requests and bounds answers.
type auth struct {
	next http.RoundTripper
	file string

	mu   sync.Mutex
	key  string
	last time.Time
}

const maxAnswer = 128 << 20 // bytes

func (a *auth) read() error {
	if a.file == "" {
		return nil
	}
	b, err := os.ReadFile(a.file)
	if err != nil {
		return err
	}
	key := strings.TrimSpace(string(b))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return fmt.Errorf("%s does not hold one key", a.file)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key, a.last = key, time.Now()
	return nil
}

// RoundTrip implements http.RoundTripper.
func (a *auth) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	key := a.key
	a.mu.Unlock()
	if key != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := a.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized {
		a.mu.Lock()
		due := time.Since(a.last) > time.Second
		if due {
			a.last = time.Now()
		}
		a.mu.Unlock()
		if due {
			_ = a.read() // the key that there was is refused again, and said so
		}
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}

// begin enters a call; the context it answers ends with Close as well.
func (x *Index) begin(ctx context.Context) (context.Context, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("search: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, nil, search.ErrClosed
	}
	x.running.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(x.life, cancel)
	return ctx, func() { stop(); cancel(); x.running.Done() }, nil
}

// Close implements search.Index.
func (x *Index) Close() error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return search.ErrClosed
	}
	x.closed = true
	x.mu.Unlock()
	x.end()
	x.running.Wait()
	if t, ok := x.cfg.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return nil
}

// Health implements search.Index.
func (x *Index) Health(ctx context.Context) error {
	ctx, end, err := x.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := x.ensure(ctx); err != nil {
		return err
	}
	_, err = x.generation(ctx, x.live)
	return err
}

// Generation implements search.Index.
func (x *Index) Generation(ctx context.Context) (string, error) {
	ctx, end, err := x.begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	for try := 0; ; try++ {
		if err := x.ensure(ctx); err != nil {
			return "", err
		}
		g, err := x.generation(ctx, x.live)
		if errors.Is(err, errNoIndex) && try == 0 {
			continue // somebody removed it: it is made anew
		}
		return g, err
	}
}

// Cursors implements search.Index.
func (x *Index) Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	ctx, end, err := x.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := x.ensure(ctx); err != nil {
		return nil, err
	}
	return x.cursors(ctx, x.live, keys)
}

// Apply implements search.Index.
func (x *Index) Apply(ctx context.Context, changes []chat.IndexChange) error {
	ctx, end, err := x.begin(ctx)
	if err != nil {
		x.failures.Add(1)
		return err
	}
	defer end()
	start := time.Now()
	if err = x.ensure(ctx); err == nil {
		err = x.apply(ctx, x.live, changes)
	}
	if err != nil {
		x.failures.Add(1)
		return err
	}
	x.lastApply.Store(int64(time.Since(start)))
	return nil
}

// Stats implements search.Index.
func (x *Index) Stats() search.Stats {
	return search.Stats{Documents: -1, Applied: x.applied.Load(), Removed: x.removed.Load(), Rejected: x.rejected.Load(),
		Failures: x.failures.Load(), Searches: x.searches.Load(), Tasks: x.tasks.Load(), LastApply: time.Duration(x.lastApply.Load())}
}
