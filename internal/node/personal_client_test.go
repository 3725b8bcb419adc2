package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/zumodra/hub/client"
)

// The SDK of one device keeps what another is told.
func TestClientPersonal(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan client.Event, 64)
	c, err := client.New(client.Config{URL: h.url, TokenSource: func(context.Context) (string, error) { return bob.token, nil },
		Handler: func(e client.Event) { events <- e }})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
		c.Close()
	}()
	next := func() client.Event {
		t.Helper()
		for {
			select {
			case e := <-events:
				switch e.(type) {
				case *client.StateEvent, *client.MessageEvent, *client.ChangeEvent:
				default:
					return e
				}
			case <-time.After(patience):
				t.Fatal("nothing came")
			}
		}
	}
	h.await("online", func() bool { return c.State() == client.StateOnline })
	id := ann.direct("bob")
	m := ann.post(id, "hello").str("id")
	fails := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fails(c.HideMessage(ctx, m))
	if e, ok := next().(*client.HiddenEvent); !ok || e.MessageID != m || e.Conversation != id || e.Seq != 0 {
		t.Errorf("%+v", e)
	}
	until := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	fails(c.Mute(ctx, id, until))
	if e, ok := next().(*client.SettingsEvent); !ok || !e.Muted || !e.MutedUntil.Equal(until) || e.Pinned || e.Conversation != id {
		t.Errorf("%+v", e)
	}
	fails(c.PinConversation(ctx, id))
	if e, ok := next().(*client.SettingsEvent); !ok || !e.Muted || !e.Pinned {
		t.Errorf("%+v", e)
	}
	fails(c.SaveDraft(ctx, id, "not yet", m))
	if e, ok := next().(*client.DraftEvent); !ok || e.Draft.Text != "not yet" || e.Draft.ReplyTo != m || e.Draft.UpdatedAt.IsZero() {
		t.Errorf("%+v", e)
	}
	if d, err := c.Draft(ctx, id); err != nil || d.Text != "not yet" {
		t.Errorf("%+v, %v", d, err)
	}
	page, err := c.Conversations(ctx, 1)
	fails(err)
	if v := page.Conversations[0]; !v.IsMuted || !v.IsPinned || v.IsArchived || v.Draft == nil || v.Draft.Text != "not yet" || v.Unread != 0 {
		t.Errorf("%+v", v)
	}
	log, head, err := c.Events(ctx, id, 1)
	fails(err)
	if e, ok := log[0].(*client.HiddenEvent); !ok || head != 2 || e.Seq != 2 || e.MessageID != m {
		t.Errorf("%+v at %d", log, head)
	}
	fails(c.Unmute(ctx, id))
	fails(c.UnpinConversation(ctx, id))
	fails(c.SaveDraft(ctx, id, "", ""))
	for range 2 {
		next()
	}
	if e, ok := next().(*client.DraftEvent); !ok || e.Draft.Text != "" {
		t.Errorf("%+v", e)
	}
}
