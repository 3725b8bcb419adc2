package rest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
)

func TestScheduledMessages(t *testing.T) {
	b := newBench(t)
	direct := b.direct()
	at := func(d time.Duration) string { return b.clock.Add(d).UTC().Format(time.RFC3339Nano) }
	post := func(more string) *answer {
		return b.as("1", "POST", api+"scheduled/", `{"conversation_id":"`+direct+`","content":"later"`+more+`}`)
	}
	m := post(`,"send_at":"` + at(time.Hour) + `","client_id":"c","mentions":[2]`).ok(201)
	if m["state"] != "pending" || m["client_id"] != "c" || m["failed_reason"] != nil || m["content"] != "later" {
		t.Error(m)
	}
	path := api + "scheduled/" + m["id"].(string) + "/"
	if got := b.as("1", "GET", path, "").ok(200); got["id"] != m["id"] {
		t.Error(got)
	}
	if got := b.as("1", "GET", api+"scheduled/?conversation="+direct, "").ok(200); got["count"] != 1.0 {
		t.Error(got)
	}
	if got := b.as("1", "PATCH", path, `{"content":"much later","send_at":"`+at(2*time.Hour)+`"}`).ok(200); got["content"] != "much later" ||
		got["send_at"] != b.clock.Add(2*time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z") {
		t.Error(got)
	}
	for _, c := range []struct{ what, text string }{
		{`,"send_at":"` + at(time.Millisecond) + `"`, `{"send_at":["Ensure this time is at least 1 second in the future."]}`},
		{`,"send_at":"` + at(366*24*time.Hour) + `"`, `{"send_at":["Ensure this time is at most 365 days in the future."]}`},
		{``, `{"send_at":["This field is required."]}`},
		{`,"send_at":"tomorrow"`, `{"send_at":["Datetime has wrong format."]}`},
		{`,"send_at":"` + at(time.Hour) + `","upload_id":"` + chat.NewFileID().String() + `"`, `{"upload_id":["A scheduled message cannot have a file."]}`},
	} {
		post(c.what).is(400, c.text)
	}
	// Nobody else's, and not by accident at once.
	b.as("2", "GET", path, "").is(404, `{"detail":"Not found."}`)
	b.as("2", "PATCH", path, `{"content":"x"}`).is(404, `{"detail":"Not found."}`)
	b.as("2", "DELETE", path, "").is(404, `{"detail":"Not found."}`)
	b.as("3", "POST", api+"scheduled/", `{"conversation_id":"`+direct+`","content":"x","send_at":"`+at(time.Hour)+`"}`).
		is(400, `{"conversation_id":["You are not a participant."]}`)
	if a := b.as("1", "POST", msgs, `{"conversation_id":"`+direct+`","content":"x","send_at":"`+at(time.Hour)+`"}`); a.status != 400 || !strings.Contains(a.body, "scheduled/") {
		t.Errorf("%d %s", a.status, a.body)
	}
	b.later.list[0].State = chat.ScheduledSending
	b.as("1", "DELETE", path, "").is(409, `{"detail":"The message is being sent, or may have been."}`)
	b.as("1", "PATCH", path, `{"content":"x"}`).is(409, `{"detail":"The message is being sent, or may have been."}`)
	b.later.list[0].State = chat.ScheduledPending
	b.as("1", "DELETE", path, "").is(204, "")
	b.as("1", "DELETE", path, "").is(404, `{"detail":"Not found."}`)
}
