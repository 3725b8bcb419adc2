package node_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/internal/config"
)

// lasting are users whose tokens outlive what a test does to the clock.
func (h *hub) lasting(ids ...string) []*user {
	h.t.Helper()
	us := h.users(ids...)
	for _, u := range us {
		u.token = h.sign(u.id, "default", h.clock.now().Add(1000*time.Hour))
	}
	return us
}

// later schedules a message d from now, by the clock of the hub.
func (u *user) later(conversation, content string, d time.Duration) object {
	u.h.t.Helper()
	return u.call("POST", "scheduled/", object{"conversation_id": conversation, "content": content,
		"send_at": u.h.clock.now().Add(d).UTC().Format(time.RFC3339Nano)}).want(http.StatusCreated).body
}

// scheduled are the messages that the user has not sent yet: contents and states.
func (u *user) scheduled(query string) []string {
	u.h.t.Helper()
	list := []string{}
	for _, m := range u.call("GET", "scheduled/"+query, nil).want(200).body.list("results") {
		s := m.str("content") + " " + m.str("state")
		if r := m.str("failed_reason"); r != "" {
			s += " " + r
		}
		list = append(list, s)
	}
	return list
}

// says are the contents of a conversation, oldest first.
func (u *user) says(conversation string) (list []string) {
	u.h.t.Helper()
	for _, m := range u.history(conversation) {
		list = append(list, m.str("content"))
	}
	slices.Reverse(list)
	return list
}

func (u *user) wantScheduled(query string, want ...string) {
	u.h.t.Helper()
	if got := u.scheduled(query); !slices.Equal(got, want) {
		u.h.t.Errorf("%s waits %q, want %q", u.id, got, want)
	}
}

// A message is sent at its time to everybody, once, whatever became of the process in between.
func TestScheduledMessages(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.lasting("ann", "bob", "cat")
	ann, bob := us[0], us[1]
	direct, group := ann.direct("bob"), ann.group("Crew", "bob", "cat")
	first := ann.later(direct, "first", time.Hour)
	ann.later(group, "second", 2*time.Hour)
	gone := ann.later(direct, "gone", time.Hour)
	changed := ann.later(direct, "changed", 40*time.Hour)
	ann.call("DELETE", "scheduled/"+gone.str("id")+"/", nil).want(204)
	ann.call("PATCH", "scheduled/"+changed.str("id")+"/", object{"content": "changed it", "send_at": h.clock.now().Add(30 * time.Hour).UTC().Format(time.RFC3339)}).want(200)
	ann.wantScheduled("", "first pending", "second pending", "changed it pending")
	ann.wantScheduled("?conversation="+group, "second pending")
	bob.wantScheduled("")
	bob.call("GET", "scheduled/"+first.str("id")+"/", nil).want(404)
	h.drop()
	ann.wantScheduled("", "first pending", "second pending", "changed it pending")
	s, mine := bob.dial(), ann.dial()
	h.clock.advance(time.Hour)
	if f := s.expect("message"); f.str("content") != "first" || f.str("sender") != "ann" || f.str("conversation_id") != direct {
		t.Error(f.raw)
	}
	if f := mine.expect("message"); f.str("content") != "first" || f.str("client_id") != "scheduled-"+first.str("id") {
		t.Error(f.raw)
	}
	h.await("it waits no more", func() bool { return len(ann.scheduled("")) == 2 })

	// What fell due while nothing ran is sent at the start, in the order of the times.
	ann.later(direct, "a", 26*time.Hour)
	bob.later(direct, "b", 27*time.Hour)
	ann.later(direct, "c", 28*time.Hour)
	h.stop()
	h.clock.advance(48 * time.Hour)
	h.run()
	h.await("everything is sent", func() bool { return len(ann.scheduled("")) == 0 && len(bob.scheduled("")) == 0 })
	if got := bob.says(direct); !slices.Equal(got, []string{"first", "a", "b", "c", "changed it"}) {
		t.Errorf("%q", got)
	}
	if got := bob.says(group); !slices.Equal(got, []string{"second"}) {
		t.Errorf("%q", got)
	}
	if n := h.metric(`hub_scheduled_late_seconds_count`); n != 5 {
		t.Errorf("%v messages were sent since the start, want 5", n)
	}
}

// At its time a message is judged as if its user sent it then.
func TestScheduledMessagesThatAreRefused(t *testing.T) {
	t.Parallel()
	h, key := operator(t)
	us := h.lasting("ann", "bob", "cat", "dan")
	ann, bob, cat := us[0], us[1], us[2]
	direct, group, other := ann.direct("bob"), cat.group("Crew", "bob", "ann"), ann.direct("cat")
	us[3].call("POST", "scheduled/", object{"conversation_id": direct, "content": "x", "send_at": h.clock.now().Add(time.Hour).UTC().Format(time.RFC3339)}).
		want(400).says("You are not a participant.")
	ann.later(direct, "blocked", time.Hour)
	removed := ann.later(group, "removed", time.Hour)
	ann.later(other, "fine", time.Hour)
	bob.later(group, "suspended", time.Hour)
	bob.call("POST", "blocked/", object{"user_id": "ann"}).want(201)
	cat.call("POST", "conversations/"+group+"/remove_participants/", object{"user_ids": []string{"ann"}}).want(200)
	h.manage(key, "POST", "users/bob/suspend/", object{"reason": "spam"}).want(200)
	s := ann.dial()
	h.clock.advance(time.Hour)
	told := map[string]string{}
	for len(told) < 2 {
		f := s.expect("scheduled_failed")
		told[f.str("conversation_id")] = f.str("reason")
		if f.str("send_at") == "" || f.str("conversation_id") == group && f.str("id") != removed.str("id") {
			t.Error(f.raw)
		}
	}
	if told[direct] != "blocked" || told[group] != "not_participant" {
		t.Error(told)
	}
	h.await("the others are decided", func() bool {
		return len(cat.says(other)) == 1 && h.metric(`hub_scheduled_failed_total{reason="suspended"}`) == 1
	})
	ann.wantScheduled("?conversation="+direct, "blocked failed blocked")
	if got := cat.says(group); len(got) != 0 {
		t.Errorf("of one who was suspended: %q", got)
	}
	h.manage(key, "POST", "users/bob/resume/", nil).want(200)
	h.restart()
	bob.wantScheduled("", "suspended failed suspended")
	// Another try, in a group that one is in again.
	cat.call("POST", "conversations/"+group+"/add_participants/", object{"user_ids": []string{"ann"}}).want(200)
	path := "scheduled/" + removed.str("id") + "/"
	ann.call("PATCH", path, object{"content": "here again"}).want(400)
	ann.call("PATCH", path, object{"content": "here again", "send_at": h.clock.now().Add(time.Minute).UTC().Format(time.RFC3339)}).want(200)
	h.clock.advance(time.Minute)
	h.await("it is sent", func() bool { return slices.Equal(cat.says(group), []string{"here again"}) })
}

// The rate of a user holds for what was scheduled, too: it comes later, all of it, in order.
func TestReq118_ScheduledMessagesCount(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.UserRate, c.UserBurst = 20, 5 })
	us := h.lasting("ann", "bob")
	ann := us[0]
	direct := ann.direct("bob")
	h.clock.freeze()
	var want []string
	for i := range 12 {
		h.clock.advance(time.Second) // requests count as well
		content := fmt.Sprint("m", i)
		want = append(want, content)
		ann.later(direct, content, time.Hour+time.Duration(i)*time.Millisecond)
	}
	h.clock.advance(2 * time.Hour)
	h.await("the bucket is empty", func() bool { return h.metric("hub_scheduled_retries_total") >= 1 })
	if n := len(us[1].says(direct)); n != 5 {
		t.Errorf("%d messages at once with a burst of 5", n)
	}
	h.await("all have come", func() bool {
		h.clock.advance(100 * time.Millisecond)
		return len(us[1].says(direct)) == 12
	})
	if got := us[1].says(direct); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// The SDK against the real hub.
func TestClientScheduled(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.lasting("ann", "bob")
	id := us[0].direct("bob")
	ctx := t.Context()
	c, err := client.New(client.Config{URL: h.url, TokenSource: func(context.Context) (string, error) { return us[0].token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m, err := c.Schedule(ctx, id, "later", time.Now().Add(time.Hour), "mine")
	if err != nil || m.State != "pending" || m.Content != "later" {
		t.Fatal(m, err)
	}
	if again, err := c.Schedule(ctx, id, "later", time.Now().Add(time.Hour), "mine"); err != nil || again.ID != m.ID {
		t.Error(again, err)
	}
	other, err := c.Schedule(ctx, id, "other", time.Now().Add(2*time.Hour), "")
	if err != nil {
		t.Fatal(err)
	}
	if m, err = c.Reschedule(ctx, m.ID, "sooner", time.Now().Add(time.Minute)); err != nil || m.Content != "sooner" {
		t.Error(m, err)
	}
	if err := c.CancelScheduled(ctx, other.ID); err != nil {
		t.Error(err)
	}
	if list, err := c.ScheduledMessages(ctx, id); err != nil || len(list) != 1 || list[0].ID != m.ID || !list[0].SendAt.Equal(m.SendAt) {
		t.Error(list, err)
	}
	h.clock.advance(time.Hour)
	h.await("it is sent", func() bool { return slices.Equal(us[1].says(id), []string{"sooner"}) })
}
