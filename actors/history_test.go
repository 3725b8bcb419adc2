package actors_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

func contents(p chat.MessagePage) (out []string) {
	for _, it := range p.Items {
		out = append(out, it.Event.Content)
	}
	return out
}

// Walking back by cursor, by offset and by time gives each message once, newest first, whatever other events lie
// between; deleted ones are there, empty.
func TestMessages(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3")
	const n = 700
	want := make([]string, n) // newest first
	var ids []chat.MessageID
	for i := range n {
		e := r.do("1", chat.Send{Conversation: c, Content: text(i)}).Event
		ids = append(ids, e.Message)
		want[n-1-i] = text(i)
		if i%7 == 0 {
			r.do("2", chat.React{Conversation: c, Message: e.Message, Emoji: "+"})
		}
	}
	r.do("1", chat.Delete{Conversation: c, Message: ids[10]})
	want[n-1-10] = ""

	query := func(q chat.MessageQuery) chat.MessagePage {
		t.Helper()
		q.Conversation = c
		page, err := r.Messages(bg, as("2"), q)
		if err != nil || page.Total != n {
			t.Fatalf("%d, %v", page.Total, err)
		}
		return page
	}
	var got []string
	var before chat.MessageID
	for {
		page := query(chat.MessageQuery{Before: before, Limit: 33})
		got = append(got, contents(page)...)
		if !page.More {
			break
		}
		before = page.Items[len(page.Items)-1].Event.Message
	}
	if !slices.Equal(got, want) {
		t.Fatal("walking by cursor differs")
	}
	for _, offset := range []int{0, 1, 50, 255, 256, 257, 600, 699, 700, 9999} {
		page := query(chat.MessageQuery{Offset: offset, Limit: 20})
		from, to := min(offset, n), min(offset+20, n)
		if !slices.Equal(contents(page), append([]string(nil), want[from:to]...)) || page.More != (to < n) {
			t.Fatalf("offset %d: %v", offset, contents(page))
		}
	}
	mid := query(chat.MessageQuery{Offset: 300, Limit: 1}).Items[0].Event
	page := query(chat.MessageQuery{BeforeTime: mid.At, Limit: 1})
	if e := page.Items[0].Event; !e.At.Before(mid.At) || e.MsgNo > mid.MsgNo {
		t.Fatalf("before %v: %v", mid.At, e.At)
	}
	item, err := r.Message(bg, as("3"), ids[10])
	if err != nil || item.Event.Content != "" || item.Event.DeletedAt.IsZero() {
		t.Fatalf("%+v, %v", item, err)
	}
}

// All conversations of a user merge by time; the cursor goes through them all.
func TestAllMessages(t *testing.T) {
	r := newRig(t, actors.Config{})
	convs := []chat.ConversationID{r.direct("1", "2"), r.direct("1", "3"), r.group("1", "2", "3"), r.direct("2", "3")}
	var want []string
	for i := range 200 {
		c := convs[(i*i+i/3)%4]
		u := chat.UserID("1")
		if c == convs[3] {
			u = "2"
		}
		r.do(u, chat.Send{Conversation: c, Content: text(i)})
		if c != convs[3] {
			want = append(want, text(i))
		}
	}
	slices.Reverse(want)
	var got []string
	q := chat.MessageQuery{Limit: 17}
	for {
		page, err := r.Messages(bg, as("1"), q)
		if err != nil || page.Total != len(want) {
			t.Fatalf("%d of %d, %v", page.Total, len(want), err)
		}
		got = append(got, contents(page)...)
		if !page.More {
			break
		}
		q.Before = page.Items[len(page.Items)-1].Event.Message
	}
	// Messages of one microsecond in different conversations are ordered by id, not by the order of sending.
	sorted := func(x []string) []string { x = slices.Clone(x); slices.Sort(x); return x }
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	page, err := r.Messages(bg, as("1"), chat.MessageQuery{Limit: 5, Offset: 20})
	if err != nil || !slices.Equal(contents(page), got[20:25]) {
		t.Fatalf("%v, %v, want %v", contents(page), err, got[20:25])
	}
}

// A list shows the present of conversations in memory and of those in the store alike.
func TestListAcrossPassivation(t *testing.T) {
	r := newRig(t, actors.Config{Idle: 20 * time.Millisecond})
	var ids []chat.ConversationID
	for i := range 5 {
		c := r.group("1", "2", chat.UserID(fmt.Sprint(3+i)))
		r.do("2", chat.Send{Conversation: c, Content: text(i)})
		ids = append(ids, c)
	}
	r.do("1", chat.Archive{Conversation: ids[0], On: true})
	check := func() {
		t.Helper()
		page, err := r.Conversations(bg, as("1"), chat.ListQuery{Limit: 3, Offset: 1})
		if err != nil || page.Total != 4 || len(page.Items) != 3 {
			t.Fatalf("%+v, %v", page, err)
		}
		for i, it := range page.Items {
			if it.Head.Key.ID != ids[3-i] || it.Unread != 1 || it.Head.Last.Text != text(3-i) || len(it.Members) != 3 || it.Members[0].Username == "" {
				t.Fatalf("item %d: %+v", i, it)
			}
		}
		archived, err := r.Conversations(bg, as("1"), chat.ListQuery{Limit: 3, Archived: true})
		if err != nil || archived.Total != 1 || archived.Items[0].Head.Key.ID != ids[0] {
			t.Fatalf("%+v, %v", archived, err)
		}
	}
	check()
	eventually(t, "all left memory", func() bool { return r.Stats().Live == 0 })
	check()
	r.do("2", chat.Send{Conversation: ids[0], Content: "wake up"})
	if page, err := r.Conversations(bg, as("1"), chat.ListQuery{Limit: 9}); err != nil || page.Total != 5 || page.Items[0].Head.Key.ID != ids[0] {
		t.Fatalf("%+v, %v", page, err)
	}
}
