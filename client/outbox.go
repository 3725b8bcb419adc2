package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Pending is a send that was not acknowledged yet, as the Store keeps it.
type Pending struct {
	Conversation string `json:"conversation"`
	ClientID     string `json:"client_id"`
	Content      string `json:"content"`
	UploadID     string `json:"upload_id,omitempty"`
	IsVoice      bool   `json:"is_voice,omitempty"`
}

// Outgoing is a send on its way.
type Outgoing struct {
	Pending
	c     *Client
	ref   string // under way on this connection
	tried bool   // transmitted at least once, on any connection
	done  chan struct{}
	msg   Message
	err   error
}

// Done is closed when the outcome is known.
func (o *Outgoing) Done() <-chan struct{} { return o.done }

// Result is the stored message, or why there is none: an *Error of the server, or ErrClosed. It may be called
// only after Done is closed.
func (o *Outgoing) Result() (*Message, error) {
	if o.err != nil {
		return nil, o.err
	}
	m := o.msg
	return &m, nil
}

// resolve is called with mu held.
func (o *Outgoing) resolve(m Message, err error) {
	select {
	case <-o.done:
	default:
		o.msg, o.err = m, err
		close(o.done)
	}
}

// SendOption changes one send.
type SendOption func(*Pending)

// WithClientID sets the id that makes the send idempotent; default: a fresh UUIDv7. At most 128 bytes.
func WithClientID(id string) SendOption { return func(p *Pending) { p.ClientID = id } }

// WithUpload sends a file that Upload has uploaded along with the message, whose content may then be empty.
func WithUpload(id string) SendOption { return func(p *Pending) { p.UploadID = id } }

// AsVoice makes the file of the message a voice message: mp3, wav, webm or ogg.
func AsVoice() SendOption { return func(p *Pending) { p.IsVoice = true } }

// SendAsync puts a message into the outbox and returns once the Store holds it. It fails with ErrOutboxFull,
// ErrClosed, or the Store's error, and then nothing was queued.
func (c *Client) SendAsync(conversation, content string, opts ...SendOption) (*Outgoing, error) {
	p := Pending{Conversation: conversation, Content: content}
	for _, o := range opts {
		o(&p)
	}
	if p.ClientID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("client: make a client id: %w", err)
		}
		p.ClientID = id.String()
	}
	c.order.Lock()
	defer c.order.Unlock()
	c.mu.Lock()
	closed, full, old := c.closed, len(c.byClient) >= c.cfg.OutboxLimit, c.byClient[p.ClientID]
	c.mu.Unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case old != nil:
		return old, nil
	case full:
		return nil, ErrOutboxFull
	}
	if err := c.cfg.Store.Put(p); err != nil {
		return nil, fmt.Errorf("client: store the message: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.enqueue(p)
	if c.closed { // closed meanwhile: it stays in the Store, as others do
		o.resolve(Message{}, ErrClosed)
	}
	return o, nil
}

// Send puts a message into the outbox and waits for the durable acknowledgement, across reconnects. When ctx
// ends first, a message that was never transmitted is withdrawn; otherwise the error wraps ErrIndeterminate
// and the message keeps being retried.
func (c *Client) Send(ctx context.Context, conversation, content string, opts ...SendOption) (*Message, error) {
	o, err := c.SendAsync(conversation, content, opts...)
	if err != nil {
		return nil, err
	}
	select {
	case <-o.done:
		return o.Result()
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-o.done:
		return o.Result()
	default:
	}
	if o.tried {
		return nil, fmt.Errorf("%w: %w", ErrIndeterminate, context.Cause(ctx))
	}
	err = context.Cause(ctx)
	c.remove(o, Message{}, err)
	return nil, err
}

// Unsent is how many sends wait for an acknowledgement.
func (c *Client) Unsent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byClient)
}

// enqueue is called with mu held, or before the client is shared.
func (c *Client) enqueue(p Pending) *Outgoing {
	o := &Outgoing{Pending: p, c: c, done: make(chan struct{})}
	cv := c.conversation(p.Conversation)
	cv.outbox = append(cv.outbox, o)
	c.byClient[p.ClientID] = o
	c.poke(cv)
	return o
}

// remove takes a send out of the outbox for good.
func (c *Client) remove(o *Outgoing, m Message, err error) {
	cv := c.convs[o.Conversation]
	if i := slices.Index(cv.outbox, o); i >= 0 {
		cv.outbox = slices.Delete(cv.outbox, i, i+1)
	}
	if o.ref != "" {
		c.untrack(o.ref)
		o.ref = ""
		cv.inflight--
	}
	delete(c.byClient, o.ClientID)
	if serr := c.cfg.Store.Remove(o.ClientID); serr != nil {
		// It will be sent again after a restart, which its client id makes harmless.
		c.log.Error("cannot remove a sent message from the store", "conversation", o.Conversation, "error", serr)
	}
	o.resolve(m, err)
	c.poke(cv)
}

// acknowledge resolves the send that a message frame confirms, if there is one, and says so. The reference is
// known to nobody else; the client id is, so it counts only in a message of this user.
func (c *Client) acknowledge(f *serverFrame) bool {
	var o *Outgoing
	if in := c.refs[f.Ref]; f.Ref != "" && in != nil && in.out != nil {
		o = in.out
		if c.me == "" {
			c.me = f.SenderID
		}
	} else if f.ClientID != "" && (c.me == "" || f.SenderID == "" || f.SenderID == c.me) {
		o = c.byClient[f.ClientID]
	}
	if o == nil || o.Conversation != f.Conversation {
		return c.me != "" && f.SenderID == c.me
	}
	c.remove(o, f.message(), nil)
	return true
}

// refuse handles an error of the server about a send.
func (c *Client) refuse(o *Outgoing, e *Error) {
	if !e.Temporary() {
		c.remove(o, Message{}, e)
		return
	}
	cv := c.convs[o.Conversation]
	c.untrack(o.ref)
	o.ref = ""
	cv.inflight--
	pause := e.RetryAfter
	if pause == 0 {
		pause = retryPause
	}
	c.deferUntil(cv, c.cfg.Clock.Now().Add(pause))
}

// collectConversation takes what one conversation has to send now.
func (c *Client) collectConversation(frames [][]byte, cv *conversation, now time.Time) [][]byte {
	if cv.typing != nil {
		frames = append(frames, (&clientFrame{Type: "typing", Conversation: cv.id, IsTyping: cv.typing}).encode())
		cv.typing = nil
	}
	if cv.readWant > cv.readSet {
		cv.readSet = cv.readWant
		frames = append(frames, (&clientFrame{Type: "read", Conversation: cv.id, UpToSeq: cv.readWant}).encode())
	}
	// What was missed comes before what is new: sends wait while the conversation is being resumed.
	if unsynced(cv.phase) == 1 || !cv.after.IsZero() {
		return frames
	}
	for _, o := range cv.outbox {
		if cv.inflight >= c.cfg.Window {
			break
		}
		if o.ref != "" {
			continue
		}
		if len(frames) >= maxBatch {
			c.poke(cv)
			break
		}
		cv.inflight++
		o.tried = true
		o.ref = c.track(&inflight{kind: "send_message", out: o, at: now})
		frames = append(frames, (&clientFrame{
			Type: "send_message", Conversation: cv.id, Content: &o.Content, ClientID: o.ClientID, Ref: o.ref,
			UploadID: o.UploadID, IsVoice: o.IsVoice,
		}).encode())
	}
	return frames
}

// Typing tells the others that the user types, or stopped. Nothing is kept for later: ErrOffline.
func (c *Client) Typing(conversation string, on bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live {
		return ErrOffline
	}
	cv := c.conversation(conversation)
	cv.typing = &on
	c.poke(cv)
	return nil
}

// MarkRead advances the user's read position. It is sent now or on the next connection; going back is a no-op.
func (c *Client) MarkRead(conversation string, seq uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	cv := c.conversation(conversation)
	cv.readWant = max(cv.readWant, seq)
	c.poke(cv)
	return nil
}

// maxRequests bounds the calls of Edit, Delete and React that wait at once.
const maxRequests = 1024

// request is a command that waits for the frame with its reference.
type request struct {
	frame    clientFrame
	done     chan struct{}
	resolved bool
	err      error
}

func (r *request) resolve(err error) {
	if !r.resolved {
		r.resolved, r.err = true, err
		close(r.done)
	}
}

// call sends an idempotent command until it is answered.
func (c *Client) call(ctx context.Context, f clientFrame) error {
	r := &request{frame: f, done: make(chan struct{})}
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return ErrClosed
	case c.waiting >= maxRequests:
		c.mu.Unlock()
		return ErrBusy
	}
	c.waiting++
	c.requests = append(c.requests, r)
	signal(c.wake)
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.resolved {
		c.waiting--
		r.resolve(errors.Join(ErrIndeterminate, context.Cause(ctx)))
		for ref, in := range c.refs {
			if in.req == r {
				c.untrack(ref)
			}
		}
		c.requests = slices.DeleteFunc(c.requests, func(q *request) bool { return q == r })
	}
	return r.err
}

// Edit replaces the content of one's own message. It waits for the answer, across reconnects.
func (c *Client) Edit(ctx context.Context, conversation, message, content string) error {
	return c.call(ctx, clientFrame{Type: "edit", Conversation: conversation, MessageID: message, Content: &content})
}

// Delete empties a message for all. It waits for the answer, across reconnects.
func (c *Client) Delete(ctx context.Context, conversation, message string) error {
	return c.call(ctx, clientFrame{Type: "delete", Conversation: conversation, MessageID: message})
}

// React adds the user's reaction to a message, or takes it back. It waits for the answer, across reconnects.
func (c *Client) React(ctx context.Context, conversation, message, emoji string, remove bool) error {
	return c.call(ctx, clientFrame{Type: "react", Conversation: conversation, MessageID: message, Emoji: emoji, Remove: remove})
}
