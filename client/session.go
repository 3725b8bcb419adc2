package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	writeTimeout = 10 * time.Second
	// maxRefused bounds the tokens that are tried in a row before the client gives up.
	maxRefused = 3
	// maxBatch bounds the frames that the writer takes at once.
	maxBatch = 64
)

// reconnect runs one connection after another until ctx ends or the client is refused for good.
func (c *Client) reconnect(ctx context.Context) error {
	attempt, refused := 0, 0
	refusedToken := ""
	for {
		c.mu.Lock()
		c.hint = 0
		c.setState(StateConnecting, nil, 0)
		c.mu.Unlock()

		var err error
		began := c.cfg.Clock.Now()
		token, err := c.cfg.TokenSource(ctx)
		if err != nil {
			err = fmt.Errorf("get a token: %w", err)
			if errors.Is(err, ErrUnauthorized) {
				return err
			}
			if refusedToken != "" {
				if refused++; refused > maxRefused {
					return fmt.Errorf("%w: %w", ErrUnauthorized, err)
				}
			}
		} else if token == refusedToken && token != "" {
			return fmt.Errorf("%w: the token was refused and TokenSource has no other", ErrUnauthorized)
		} else {
			var greeted bool
			greeted, err = c.connection(ctx, token)
			if greeted {
				refused, refusedToken = 0, ""
			}
			if greeted && c.cfg.Clock.Now().Sub(began) >= healthyAfter {
				attempt = 0
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}

		c.mu.Lock()
		hint := c.hint
		c.mu.Unlock()
		delay := c.cfg.Backoff.delay(attempt, c.cfg.Rand())
		attempt++
		code, retryAfter := classify(err)
		switch code {
		case CloseUnauthenticated:
			refusedToken = token
			if refused++; refused > maxRefused {
				return fmt.Errorf("%w: %w", ErrUnauthorized, err)
			}
			if refused == 1 {
				delay = 0
			}
		case CloseForbidden, CloseGone, 1002, 1007, 1008, 1009: // coming back would end the same way
			return fmt.Errorf("client: refused: %w", err)
		case CloseRateLimited:
			delay = c.cfg.Backoff.Max/2 + delay/2
		}
		if hint = max(hint, retryAfter); hint > 0 {
			delay = hint
		}
		c.log.Info("connection lost", "error", err, "attempt", attempt, "retry_in", delay)
		c.mu.Lock()
		c.setState(StateConnecting, err, delay)
		c.mu.Unlock()
		if delay > 0 {
			select {
			case <-c.cfg.Clock.After(delay):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// classify maps the end of a connection, or of an attempt, to a close code and the server's retry time.
func classify(err error) (int, time.Duration) {
	if he := (*HTTPError)(nil); errors.As(err, &he) {
		switch he.Status {
		case http.StatusUnauthorized:
			return CloseUnauthenticated, 0
		case http.StatusForbidden:
			return CloseForbidden, 0
		case http.StatusTooManyRequests:
			return CloseRateLimited, he.RetryAfter
		}
		return 1006, he.RetryAfter
	}
	if ce := (*CloseError)(nil); errors.As(err, &ce) {
		return ce.Code, 0
	}
	return 1006, 0
}

// connection runs one connection to its end and says whether the server had greeted it.
func (c *Client) connection(ctx context.Context, token string) (greeted bool, err error) {
	node, place := c.endpoint()
	defer func() {
		if nodeFailed(err) {
			c.leave(place)
		}
	}()
	dctx, cancelDial := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	conn, err := c.cfg.Dial(dctx, node.ws, http.Header{"Authorization": {"Bearer " + token}})
	cancelDial()
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	sctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	s := &session{c: c, conn: conn, ctx: sctx, cancel: cancel, wg: &wg}
	c.mu.Lock()
	c.begin()
	c.mu.Unlock()
	wg.Go(func() { cancel(s.read()) })
	cancel(s.write())
	err = context.Cause(sctx)

	// After a local reason say goodbye; the peer's answer is not waited for, the reader was cancelled.
	if ctx.Err() != nil || errors.Is(err, errGoaway) {
		_ = conn.Close(1000, "")
	} else {
		_ = conn.Close(0, "")
	}
	wg.Wait()
	c.mu.Lock()
	greeted = c.live
	c.end()
	c.mu.Unlock()
	return greeted, err
}

// session is one connection.
type session struct {
	c      *Client
	conn   Conn
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     *sync.WaitGroup
}

func (s *session) read() error {
	for {
		b, err := s.conn.Read(s.ctx)
		if err != nil {
			return err
		}
		if err := s.c.receive(s, b); err != nil {
			return err
		}
	}
}

func (s *session) write() error {
	for {
		c := s.c
		c.mu.Lock()
		frames, wait, err := c.collect(c.cfg.Clock.Now())
		c.mu.Unlock()
		if err != nil {
			return err
		}
		for _, f := range frames {
			ctx, cancel := context.WithTimeout(s.ctx, writeTimeout)
			err := s.conn.Write(ctx, f)
			cancel()
			if err != nil {
				return s.writeError(err)
			}
		}
		if len(frames) > 0 {
			continue
		}
		select {
		case <-c.wake:
		case <-c.cfg.Clock.After(wait):
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// writeError prefers the reader's verdict, which carries the close code, to the writer's broken pipe.
func (s *session) writeError(err error) error {
	select {
	case <-s.ctx.Done():
	case <-s.c.cfg.Clock.After(time.Second):
	}
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	return &CloseError{Code: 1006, Err: err}
}

// begin resets what belongs to a connection. Called with mu held.
func (c *Client) begin() {
	c.refs = map[string]*inflight{}
	c.sent, c.ready, c.wanted, c.deferred, c.lagging = nil, nil, nil, nil, nil
	c.slots, c.unsynced = 0, 0
	c.heard, c.pinged = c.cfg.Clock.Now(), false
	for _, cv := range c.convs {
		cv.reset()
	}
}

// end takes back what was under way: the next connection sends it again.
func (c *Client) end() {
	c.live = false
	var again []*request
	for _, f := range c.sent {
		if f.req != nil && !f.req.resolved {
			again = append(again, f.req)
		}
	}
	c.requests = append(again, c.requests...)
	c.sent, c.refs = nil, nil
}

// greet is called when the server's first status frame came. Called with mu held.
func (c *Client) greet() {
	if c.live {
		return
	}
	c.live = true
	for _, cv := range c.convs {
		if cv.known {
			c.want(cv)
		}
		if len(cv.outbox) > 0 || cv.readWant > 0 {
			c.poke(cv)
		}
	}
	c.setState(StateResuming, nil, 0)
	c.checkOnline()
	signal(c.wake)
}

func (c *Client) checkOnline() {
	if c.live && c.unsynced == 0 && c.state == StateResuming {
		c.setState(StateOnline, nil, 0)
	}
}

// collect takes what is to be sent now, marks it as under way, and says how long there is nothing else to do.
// Called with mu held, by the writer alone.
func (c *Client) collect(now time.Time) (frames [][]byte, wait time.Duration, err error) {
	silent := now.Sub(c.heard)
	if silent >= c.cfg.PingInterval+c.cfg.PongTimeout || (!c.live && silent >= c.cfg.ConnectTimeout) {
		return nil, 0, errSilent
	}
	wait = c.cfg.PingInterval - silent
	if wait <= 0 {
		wait = c.cfg.PingInterval + c.cfg.PongTimeout - silent
	}
	if !c.live {
		return nil, min(wait, c.cfg.ConnectTimeout-silent), nil
	}
	if silent < c.cfg.PingInterval {
		c.pinged = false
	} else if !c.pinged {
		c.pinged = true
		frames = append(frames, (&clientFrame{Type: "ping"}).encode())
	}

	for len(c.sent) > 0 && c.sent[0].done {
		c.sent[0] = nil
		c.sent = c.sent[1:]
	}
	if len(c.sent) > 0 {
		left := c.cfg.AckTimeout - now.Sub(c.sent[0].at)
		if left <= 0 {
			return nil, 0, fmt.Errorf("%w: a %s is unanswered for %v", errSilent, c.sent[0].kind, c.cfg.AckTimeout)
		}
		wait = min(wait, left)
	}

	still := c.deferred[:0]
	for _, cv := range c.deferred {
		if left := cv.after.Sub(now); left > 0 {
			still = append(still, cv)
			wait = min(wait, left)
			continue
		}
		cv.after = time.Time{}
		if cv.phase == phaseWanted {
			c.wanted = append(c.wanted, cv)
		} else {
			c.poke(cv)
		}
	}
	clear(c.deferred[len(still):])
	c.deferred = still

	if f := c.resumeFrame(now); f != nil {
		frames = append(frames, f)
	}
	for len(c.requests) > 0 && len(frames) < maxBatch {
		r := c.requests[0]
		c.requests = c.requests[1:]
		if r.resolved {
			continue
		}
		f := r.frame
		f.Ref = c.track(&inflight{kind: f.Type, req: r, at: now})
		frames = append(frames, f.encode())
	}
	for len(c.ready) > 0 && len(frames) < maxBatch {
		cv := c.ready[0]
		c.ready = c.ready[1:]
		cv.queued = false
		frames = c.collectConversation(frames, cv, now)
	}
	return frames, wait, nil
}

// poke puts the conversation on the writer's list. Called with mu held.
func (c *Client) poke(cv *conversation) {
	if c.live && !cv.queued {
		cv.queued = true
		c.ready = append(c.ready, cv)
		signal(c.wake)
	}
}

// inflight is a frame that awaits its answer.
type inflight struct {
	kind string
	ref  string
	at   time.Time
	done bool
	out  *Outgoing
	req  *request
	// convs are those that a resume asks for; left counts the ones without an answer.
	convs []*conversation
	left  int
}

func (c *Client) track(f *inflight) string {
	c.refSeq++
	f.ref = "c" + base36(c.refSeq)
	c.refs[f.ref] = f
	c.sent = append(c.sent, f)
	return f.ref
}

func (c *Client) untrack(ref string) {
	if f := c.refs[ref]; f != nil {
		f.done = true
		delete(c.refs, ref)
	}
}
