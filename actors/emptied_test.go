package actors_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// What an edit or a preview said of a message that is deleted is told to nobody any more: not in a replay, from memory or from
// the store, and not in the log, however small its pages are.
func TestReq148_TextsOfDeletedMessagesAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := faultstore.New()
		r := newRig(t, actors.Config{Store: store})
		c := r.group("1", "2")
		send := func(text string) *chat.Event { return r.do("1", chat.Send{Conversation: c, Content: text}).Event }
		secret, kept := send("secret https://example.org/a"), send("kept")
		r.do("1", chat.Preview{Conversation: c, Message: secret.Message, Preview: chat.LinkPreview{URL: "https://example.org/a", Title: "secret"}})
		r.do("1", chat.Edit{Conversation: c, Message: secret.Message, Content: "secret too"})
		r.do("1", chat.Edit{Conversation: c, Message: kept.Message, Content: "kept too"})
		r.do("1", chat.Delete{Conversation: c, Message: secret.Message})
		told := func(e *chat.Event) string {
			text := e.Content
			if p := e.More().Preview; p != nil {
				text += p.Title + p.URL
			}
			return text
		}
		look := func(where string) {
			t.Helper()
			texts := map[chat.EventType][]string{}
			res := r.do("2", chat.Resume{Conversation: c})
			for i := range res.Events {
				e := &res.Events[i]
				texts[e.Type] = append(texts[e.Type], told(e))
			}
			check(t, where+", replay", texts)
			texts = map[chat.EventType][]string{}
			for after, more := uint64(0), true; more; {
				page, err := r.Events(bg, as("2"), chat.EventQuery{Conversation: c, After: &after, Limit: 1})
				if err != nil || len(page.Items) != 1 {
					t.Fatal(page, err)
				}
				e := &page.Items[0].Event
				texts[e.Type] = append(texts[e.Type], told(e))
				after, more = e.Seq, page.More
			}
			check(t, where+", log", texts)
		}
		look("at once")
		time.Sleep(time.Minute)
		look("saved")
		for range 200 {
			send("more")
		}
		look("beyond what memory holds")
	})
}

func check(t *testing.T, where string, texts map[chat.EventType][]string) {
	t.Helper()
	if m := texts[chat.EventMessage]; len(m) < 2 || m[0] != "" || m[1] != "kept too" {
		t.Errorf("%s: messages %.3q", where, m)
	}
	if e := texts[chat.EventEdited]; len(e) != 2 || e[0] != "" || e[1] != "kept too" {
		t.Errorf("%s: edits %q", where, e)
	}
	if p := texts[chat.EventPreview]; len(p) != 1 || p[0] != "" {
		t.Errorf("%s: previews %q", where, p)
	}
}
