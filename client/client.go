package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Config of a Client. URL (or URLs) and TokenSource are required; every other zero value works.
type Config struct {
	// URL of the hub: http, https, ws or wss. Its path is the prefix under which the hub is served.
	URL string
	// URLs are addresses of nodes of one hub. The client uses one at a time and moves on to the next, in this order
	// and from the last to the first, when it cannot connect, the connection breaks, or the node says that it is
	// going away. It begins with URL; without one, with a random one of these.
	URLs []string
	// TokenSource is asked before every attempt to connect and for REST calls. After the hub refused a token
	// it must return another one; the same one again, or an error that wraps ErrUnauthorized, ends Run.
	TokenSource func(ctx context.Context) (string, error)
	// Handler gets every event, one at a time. It may call any method of the client but Close; a call that
	// waits (Send, Edit …) only delays the events behind it.
	Handler func(Event)
	// Store keeps positions and the outbox; default: in memory.
	Store Store
	// Logger never sees content or tokens; default: discard.
	Logger *slog.Logger

	// OutboxLimit bounds the sends that wait for an acknowledgement; default 1,024.
	OutboxLimit int
	// Window is how many sends of one conversation may be under way at once; default 1. With more, a message
	// that the server refuses for a moment (rate limit, overload) may be overtaken by the next.
	Window int
	// QueueLimit bounds the events that wait for the handler; default 1,024.
	QueueLimit int
	// HistoryLimit bounds the messages that a GapEvent carries; default 1,000.
	HistoryLimit int
	// FromStart: a conversation first met through a live event is read from its beginning. Otherwise it is
	// followed from that event on.
	FromStart bool

	Backoff Backoff
	// ConnectTimeout is how long an attempt to connect may take, and the greeting after it; default 15 s.
	ConnectTimeout time.Duration
	// AckTimeout is how long a command may stay unanswered on a live connection before the client
	// reconnects; default 15 s.
	AckTimeout time.Duration
	// PingInterval is the silence after which the client sends a ping, and PongTimeout the silence after
	// that which it takes for a dead connection; defaults 25 s and 10 s.
	PingInterval, PongTimeout time.Duration

	// HTTPClient serves REST and the WebSocket handshake; default http.DefaultClient.
	HTTPClient *http.Client
	// Dial opens connections; default: WebSocket through HTTPClient.
	Dial Dialer
	// Clock and Rand (uniform in [0,1)) are for tests; defaults: package time and math/rand/v2.
	Clock Clock
	Rand  func() float64
}

// Client is one user's connection to the hub. Its methods may be called from any goroutine.
type Client struct {
	cfg   Config
	nodes []endpoint
	log   *slog.Logger

	wake  chan struct{} // the writer has something to do
	qwake chan struct{} // the dispatcher has something to do
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when Run returned, or by Close if Run was never called

	order sync.Mutex // held while a send is stored and queued: the order of calls is the order of the outbox

	mu       sync.Mutex
	state    State
	running  bool
	closed   bool
	cause    error         // why the client closed
	changed  chan struct{} // closed and replaced at each change of state
	me       UserID        // learnt from the first acknowledgement
	node     int           // the one of nodes that is used
	convs    map[string]*conversation
	byClient map[string]*Outgoing
	requests []*request // not sent yet, in order
	waiting  int        // requests not answered yet

	// The rest belongs to the current connection.
	live     bool // greeted
	refSeq   uint64
	refs     map[string]*inflight
	sent     []*inflight // in the order of sending: the first is the oldest
	ready    []*conversation
	wanted   []*conversation // to be resumed, waiting for a slot
	deferred []*conversation
	slots    int // resumes and history reads in progress
	unsynced int // conversations not caught up
	heard    time.Time
	pinged   bool
	hint     time.Duration // the server's retry time for the next attempt

	// Events for the handler.
	queue   []queued
	lagging []*conversation
	ending  bool
}

// New checks the configuration and loads the Store. The client is idle until Run; sends may be queued before.
func New(cfg Config) (*Client, error) {
	if cfg.TokenSource == nil {
		return nil, errors.New("client: TokenSource is required")
	}
	if cfg.Handler == nil {
		cfg.Handler = func(Event) {}
	}
	if cfg.Store == nil {
		cfg.Store = NewMemoryStore()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&cfg.OutboxLimit, 1024)
	setDefault(&cfg.Window, 1)
	setDefault(&cfg.QueueLimit, 1024)
	setDefault(&cfg.HistoryLimit, 1000)
	setDefault(&cfg.ConnectTimeout, 15*time.Second)
	setDefault(&cfg.AckTimeout, 15*time.Second)
	setDefault(&cfg.PingInterval, 25*time.Second)
	setDefault(&cfg.PongTimeout, 10*time.Second)
	cfg.Backoff = cfg.Backoff.withDefaults()
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = http.DefaultClient
	}
	if cfg.Dial == nil {
		cfg.Dial = dialWebSocket(cfg.HTTPClient)
	}
	if cfg.Clock == nil {
		cfg.Clock = systemClock{}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	nodes, first, err := endpoints(cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, nodes: nodes, node: first, log: cfg.Logger,
		wake: make(chan struct{}, 1), qwake: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{}),
		convs: map[string]*conversation{}, byClient: map[string]*Outgoing{},
	}
	snap, err := cfg.Store.Load()
	if err != nil {
		return nil, fmt.Errorf("client: load the store: %w", err)
	}
	for id, seq := range snap.Positions {
		cv := c.conversation(id)
		cv.known, cv.last, cv.seen = true, seq, seq
	}
	for _, p := range snap.Outbox {
		c.enqueue(p)
	}
	return c, nil
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// StaticToken is a TokenSource that always returns t.
func StaticToken(t string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return t, nil }
}

// Run connects and stays connected until ctx ends, Close is called (nil), or the hub refuses the user for good
// (the error says why). It may be called once.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running || c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.running = true
	c.mu.Unlock()
	defer close(c.done)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(c.dispatch)
	wg.Go(func() {
		select {
		case <-c.stop:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	})
	err := c.reconnect(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	c.finish(err)
	cancel(nil)
	wg.Wait()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// Close ends Run and waits for it. It must not be called by the handler.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closed
	running := c.running
	c.closed = true
	c.mu.Unlock()
	if first {
		select {
		case <-c.done: // Run has ended by itself
		default:
			close(c.stop)
			if !running {
				c.finish(ErrClosed)
				close(c.done)
			}
		}
	}
	<-c.done
	return nil
}

// State returns the state of the connection.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// WaitOnline returns when the client is connected and caught up, or with the reason why it closed, or with
// ctx's error.
func (c *Client) WaitOnline(ctx context.Context) error {
	for {
		c.mu.Lock()
		state, cause, changed := c.state, c.cause, c.changed
		c.mu.Unlock()
		switch state {
		case StateOnline:
			return nil
		case StateClosed:
			return cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Follow makes the client resume a conversation after lastSeq (0: from its beginning) on this connection and
// every later one. A conversation that is followed already, or whose position the Store knows, stays as it is.
func (c *Client) Follow(conversation string, lastSeq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cv := c.conversation(conversation)
	if cv.known {
		return
	}
	cv.known, cv.last, cv.seen = true, lastSeq, lastSeq
	if c.live {
		c.want(cv)
	}
}

// Position is the seq up to which events of the conversation were given to the handler's queue; false if the
// conversation is not followed.
func (c *Client) Position(conversation string) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cv := c.convs[conversation]
	if cv == nil || !cv.known {
		return 0, false
	}
	return cv.last, true
}

// setState is called with mu held.
func (c *Client) setState(s State, err error, retryIn time.Duration) {
	if c.state == StateClosed || (c.state == s && err == nil) {
		return
	}
	c.state = s
	close(c.changed)
	c.changed = make(chan struct{})
	ev := &StateEvent{State: s, Err: err, RetryIn: retryIn}
	// A run of changes that the handler has not seen yet is one change: so states cannot fill the queue.
	if n := len(c.queue); n > 0 {
		if _, ok := c.queue[n-1].ev.(*StateEvent); ok {
			c.queue[n-1].ev = ev
			return
		}
	}
	c.push(queued{ev: ev})
}

// finish resolves everything that waits.
func (c *Client) finish(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.live = true, false
	c.cause = err
	clear(c.queue)
	c.queue = c.queue[:0]
	c.setState(StateClosed, err, 0)
	c.ending = true
	signal(c.qwake)
	for _, o := range c.byClient {
		o.resolve(Message{}, ErrClosed)
	}
	for _, r := range c.requests {
		r.resolve(ErrClosed)
	}
	for _, f := range c.refs {
		if f.req != nil {
			f.req.resolve(ErrClosed)
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
