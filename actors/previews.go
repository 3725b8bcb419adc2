package actors

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/zumodra/hub/chat"
)

// Previewer asks a page what it says of itself. It is safe for concurrent use.
type Previewer interface {
	Get(ctx context.Context, link string) (chat.LinkPreview, error)
}

// maxPreviews is how many messages may wait for their previews: those beyond have none.
const maxPreviews = 256

// previews of links are made by the node that a message came to, after it was acknowledged, and given to the conversation
// like a command of the sender. They are lost with the node, and may be missing whenever much is going on.
type previews struct {
	ask     Previewer
	ctx     context.Context
	cancel  context.CancelFunc
	mu      sync.RWMutex // orders running.Add before the Wait of close
	running sync.WaitGroup
	waiting atomic.Int64
	dropped atomic.Uint64
}

func newPreviews(ask Previewer) *previews {
	p := &previews{ask: ask}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (v *previews) close() {
	v.mu.Lock()
	v.cancel()
	v.mu.Unlock()
	v.running.Wait()
}

// lost is how many messages have none because too many waited.
func (v *previews) lost() uint64 {
	if v == nil {
		return 0
	}
	return v.dropped.Load()
}

// previewed is done of a command that makes or changes a message, behind which its first link is looked at.
func (h *Hub) previewed(p chat.Principal, cmd chat.Command, done func(chat.Result, error)) func(chat.Result, error) {
	var message chat.MessageID
	content := ""
	switch c := cmd.(type) {
	case chat.Send:
		content = c.Content
	case chat.Edit:
		content, message = c.Content, c.Message
	default:
		return done
	}
	link := chat.FirstLink(content)
	if link == "" {
		return done
	}
	return func(res chat.Result, err error) {
		done(res, err)
		if err != nil || res.Duplicate || res.Event == nil {
			return
		}
		if message.IsZero() {
			message = res.Event.Message
		}
		h.preview(p, chat.Preview{Conversation: cmd.Target(), Message: message, Preview: chat.LinkPreview{URL: link}})
	}
}

func (h *Hub) preview(p chat.Principal, c chat.Preview) {
	v := h.previews
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.ctx.Err() != nil {
		return
	}
	if v.waiting.Add(1) > maxPreviews {
		v.waiting.Add(-1)
		v.dropped.Add(1)
		return
	}
	v.running.Go(func() {
		defer v.waiting.Add(-1)
		var err error
		if c.Preview, err = v.ask.Get(v.ctx, c.Preview.URL); err != nil {
			h.cfg.Log.Debug("no link preview", "tenant", p.Tenant, "conversation", c.Conversation) // the error may name the link
			return
		}
		if _, err := h.Do(v.ctx, p, c); err != nil {
			h.cfg.Log.Debug("link preview was not kept", "tenant", p.Tenant, "conversation", c.Conversation, "error", err)
		}
	})
}
