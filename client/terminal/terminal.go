package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/zumodra/hub/client"
)

// Config of a chat. Server, As and To are required.
type Config struct {
	Server string // http://host:port
	As, To string // user ids
	Token  string // of As; empty: both users get one from the development endpoint
	Tenant string // for the development endpoint; empty: the default tenant
	// State is a file that keeps unsent messages and the position between runs; empty: none.
	State   string
	In      io.Reader
	Out     io.Writer
	Logger  *slog.Logger   // default: none
	Backoff client.Backoff // default: that of package client
}

const help = `* /quit leave   /read mark everything as read   /typing show that you type   /history the last messages   /search TEXT find messages
* a line that begins with // is sent with one slash`

// maxLine bounds a line of input; the hub accepts 10,000 characters.
const maxLine = 64 << 10

// Run chats until the input ends or says /quit, ctx ends, or the hub refuses the user. The error is nil only if
// every line was acknowledged.
func Run(ctx context.Context, cfg Config) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &terminal{cfg: cfg, mine: map[string]bool{}}
	token := func(ctx context.Context) (string, error) {
		return client.DevToken(ctx, cfg.Server, cfg.Tenant, cfg.As)
	}
	if cfg.Token != "" {
		token = client.StaticToken(cfg.Token)
	} else if _, err := client.DevToken(ctx, cfg.Server, cfg.Tenant, cfg.To); err != nil { // so that To exists
		return fmt.Errorf("chat: %w", err)
	}
	cc := client.Config{
		URL: cfg.Server, TokenSource: token, Handler: t.handle, Logger: cfg.Logger, Backoff: cfg.Backoff,
	}
	if cfg.State != "" {
		store, serr := client.OpenFileStore(cfg.State)
		if serr != nil {
			return fmt.Errorf("chat: %w", serr)
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		cc.Store = store
	}
	if t.c, err = client.New(cc); err != nil {
		return fmt.Errorf("chat: %w", err)
	}
	cv, err := t.c.CreateDirect(ctx, client.UserID(cfg.To))
	if err != nil {
		return errors.Join(fmt.Errorf("chat: %w", err), t.c.Close())
	}
	t.conversation = cv.ID
	newest, err := t.history(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("chat: %w", err), t.c.Close())
	}
	t.c.Follow(cv.ID, newest)

	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan error, 1)
	wg.Go(func() { ended <- t.c.Run(ctx) })
	defer func() { _ = t.c.Close() }()

	lines := make(chan string)
	failed := make(chan error, 1)
	go func() { // not waited for: a Read of a terminal cannot be interrupted
		sc := bufio.NewScanner(cfg.In)
		sc.Buffer(nil, maxLine)
		for sc.Scan() {
			select {
			case lines <- sc.Text():
			case <-ctx.Done():
				return
			}
		}
		failed <- sc.Err()
		close(lines)
	}()
	for {
		select {
		case <-t.oldest():
			t.settled()
		case line, ok := <-lines:
			if !ok {
				return errors.Join(<-failed, t.flush(ctx))
			}
			if line == "/quit" {
				return t.flush(ctx)
			}
			if err := t.line(ctx, line); err != nil {
				return err
			}
		case err := <-ended:
			if ctx.Err() != nil {
				return t.flush(ctx)
			}
			return err
		}
	}
}

type terminal struct {
	cfg          Config
	c            *client.Client
	conversation string

	mu      sync.Mutex // guards the output and what follows
	newest  uint64
	mine    map[string]bool // client ids whose echo is not to be printed: the user sees the line already
	pending []*client.Outgoing
	lost    int // lines that were refused
}

func (t *terminal) line(ctx context.Context, line string) error {
	switch {
	case strings.TrimSpace(line) == "":
	case line == "/read":
		t.mu.Lock()
		seq := t.newest
		t.mu.Unlock()
		if seq > 0 {
			return t.c.MarkRead(t.conversation, seq)
		}
	case line == "/typing":
		if err := t.c.Typing(t.conversation, true); err != nil {
			t.printf("* %v", err)
		}
	case line == "/history":
		if _, err := t.history(ctx); err != nil {
			t.printf("! %v", err)
		}
	case strings.HasPrefix(line, "/search "):
		t.search(ctx, strings.TrimPrefix(line, "/search "))
	case strings.HasPrefix(line, "/") && !strings.HasPrefix(line, "//"):
		t.printf("%s", help)
	default:
		if strings.HasPrefix(line, "//") {
			line = line[1:]
		}
		return t.send(ctx, line)
	}
	return nil
}

// send queues a line; when the outbox is full it waits for the oldest.
func (t *terminal) send(ctx context.Context, line string) error {
	for {
		t.settled()
		t.mu.Lock()
		o, err := t.c.SendAsync(t.conversation, line)
		if err == nil {
			t.mine[o.ClientID] = true
			t.pending = append(t.pending, o)
		}
		var oldest *client.Outgoing
		if len(t.pending) > 0 {
			oldest = t.pending[0]
		}
		t.mu.Unlock()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, client.ErrOutboxFull) || oldest == nil:
			return fmt.Errorf("chat: %w", err)
		}
		select {
		case <-oldest.Done():
		case <-ctx.Done():
			return nil
		}
	}
}

// oldest is closed when the oldest line without an answer has one; nil if there is none.
func (t *terminal) oldest() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) == 0 {
		return nil
	}
	return t.pending[0].Done()
}

// settled reports refused lines, in the order in which they were typed.
func (t *terminal) settled() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.pending) > 0 {
		o := t.pending[0]
		select {
		case <-o.Done():
		default:
			return
		}
		t.pending = t.pending[1:]
		if _, err := o.Result(); err != nil {
			delete(t.mine, o.ClientID)
			t.lost++
			_, _ = fmt.Fprintf(t.cfg.Out, "! not sent: %s\n", safe(err.Error()))
		}
	}
}

// flush waits until every line has its answer.
func (t *terminal) flush(ctx context.Context) error {
	for {
		t.settled()
		t.mu.Lock()
		n, lost := len(t.pending), t.lost
		if n == 0 {
			t.mu.Unlock()
			if lost > 0 {
				return fmt.Errorf("chat: %d messages were not sent", lost)
			}
			return nil
		}
		oldest := t.pending[0]
		t.mu.Unlock()
		select {
		case <-oldest.Done():
		case <-ctx.Done():
			return fmt.Errorf("chat: %d messages were not acknowledged", n)
		}
	}
}

// history prints the newest page and returns the seq to go on from.
func (t *terminal) history(ctx context.Context) (uint64, error) {
	page, err := t.c.Messages(ctx, t.conversation, "")
	if err != nil {
		return 0, err
	}
	known, followed := t.c.Position(t.conversation)
	var newest uint64
	for i := len(page.Messages) - 1; i >= 0; i-- {
		m := page.Messages[i]
		if followed && m.Seq > known {
			break // comes as an event
		}
		newest = max(newest, m.Seq)
		t.message(m)
	}
	return newest, nil
}

func (t *terminal) handle(e client.Event) {
	switch e := e.(type) {
	case *client.MessageEvent:
		if e.Conversation != t.conversation {
			return
		}
		t.mu.Lock()
		t.newest = max(t.newest, e.Seq)
		echo := e.Own && t.mine[e.ClientID]
		delete(t.mine, e.ClientID)
		t.mu.Unlock()
		if !echo {
			t.message(e.Message)
		}
	case *client.EditedEvent:
		if e.Conversation == t.conversation {
			t.printf("* %s changed a message: %s", safe(e.User), safe(e.Content))
		}
	case *client.DeletedEvent:
		if e.Conversation == t.conversation {
			t.printf("* %s deleted a message", safe(e.User))
		}
	case *client.ReactionEvent:
		if e.Conversation == t.conversation && !e.Removed {
			t.printf("* %s reacted %s", safe(e.User), safe(e.Emoji))
		}
	case *client.TypingEvent:
		if e.Conversation == t.conversation && e.Typing && string(e.UserID) != t.cfg.As {
			t.printf("* %s is typing", safe(e.User))
		}
	case *client.PositionEvent:
		if e.Conversation == t.conversation && e.Kind == "read" && string(e.UserID) != t.cfg.As {
			t.printf("* %s has read everything up to here", safe(e.User))
		}
	case *client.GapEvent:
		if e.Conversation != t.conversation {
			return
		}
		t.printf("* some events could not be replayed; the history says:")
		for _, m := range e.Messages {
			t.message(m)
		}
	case *client.LostEvent:
		if e.Conversation == t.conversation {
			t.printf("! %s", safe(e.Err.Error()))
		}
	case *client.StateEvent:
		switch {
		case e.State == client.StateOnline:
			t.printf("* online")
		case e.State == client.StateConnecting && e.Err != nil:
			t.printf("* connection lost, trying again in %v", e.RetryIn.Round(10*time.Millisecond))
		}
	}
}

// search prints what it finds in the conversation, the newest last.
func (t *terminal) search(ctx context.Context, text string) {
	found, err := t.c.Search(ctx, client.SearchQuery{Text: text, Conversation: t.conversation})
	if err != nil {
		t.printf("! %s", safe(err.Error()))
		return
	}
	t.printf("* %d found", len(found))
	for i := len(found) - 1; i >= 0; i-- {
		r := found[i]
		name := r.Sender
		if string(r.SenderID) == t.cfg.As {
			name = "you"
		}
		t.printf("* %s %s: %s", r.At.Local().Format(time.DateTime), safe(name), safe(r.Content))
	}
}

func (t *terminal) message(m client.Message) {
	name, text := m.Sender, m.Content
	if string(m.SenderID) == t.cfg.As {
		name = "you"
	}
	if m.Deleted {
		text = "(deleted)"
	}
	t.printf("%s %s: %s", m.At.Local().Format("15:04:05"), safe(name), safe(text))
}

func (t *terminal) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(t.cfg.Out, format+"\n", args...)
}

// safe makes text harmless for a terminal: control characters (ESC and the C1 controls among them) and
// characters that reorder text are replaced, lines after the first are indented so that they cannot pass for
// messages.
func safe(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString("\n         ")
		case r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			b.WriteRune(unicode.ReplacementChar)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
