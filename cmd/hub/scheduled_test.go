package main_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestScheduledMessagesSurviveKills kills the real binary with SIGKILL again and again while messages fall due. In the end
// each of them is there once, in the order of the times, and nothing waits any more.
func TestScheduledMessagesSurviveKills(t *testing.T) {
	data := t.TempDir()
	start := func() (*server, string) {
		s := serve(t, data, "--dev", "--user-rate", "0")
		return s, s.login("ann")
	}
	s, ann := start()
	s.login("bob")
	var conversation struct{ ID string }
	if code := s.call("POST", "/api/v1/messages/conversations/", ann, map[string]any{"participant_ids": []string{"bob"}}, &conversation); code != 201 {
		t.Fatal(code)
	}
	const n = 90
	var want []string
	first := time.Now().Add(8 * time.Second) // each has to be there before its time
	for i := range n {
		content := fmt.Sprintf("%03d", i)
		want = append(want, content)
		at := first.Add(time.Duration(i) * 80 * time.Millisecond)
		var m struct{ State string }
		if code := s.call("POST", "/api/v1/messages/scheduled/", ann, map[string]any{"conversation_id": conversation.ID, "content": content,
			"send_at": at.UTC().Format(time.RFC3339Nano)}, &m); code != 201 || m.State != "pending" {
			t.Fatalf("%d %+v", code, m)
		}
	}
	left := func() int {
		var page struct{ Count int }
		if code := s.call("GET", "/api/v1/messages/scheduled/", ann, nil, &page); code != 200 {
			t.Fatal(code)
		}
		return page.Count
	}
	kills := 0
	for range 4 {
		was := left()
		if was < 20 {
			break
		}
		kills++
		until := was - 1 - rand.N(15)
		s.await("some are sent", func() bool { return left() <= until })
		time.Sleep(rand.N(100 * time.Millisecond)) // where it dies, not what is expected
		s.kill()
		s, ann = start()
	}
	s.await("all are sent", func() bool { return left() == 0 })
	var got []string
	for path := "/api/v1/messages/messages/?conversation=" + conversation.ID; ; {
		var page struct {
			Results []struct{ ID, Content string }
		}
		if code := s.call("GET", path, ann, nil, &page); code != 200 {
			t.Fatal(code)
		}
		if len(page.Results) == 0 {
			break
		}
		for _, m := range page.Results {
			got = append(got, m.Content)
		}
		path = "/api/v1/messages/messages/?conversation=" + conversation.ID + "&before=" + page.Results[len(page.Results)-1].ID
	}
	slices.Reverse(got)
	if !slices.Equal(got, want) {
		t.Errorf("sent %q", got)
	}
	if kills == 0 {
		t.Error("everything was sent before the first kill")
	}
	t.Logf("%d kills; %v messages were sent since the last start", kills, s.metric("hub_scheduled_late_seconds_count"))
}
