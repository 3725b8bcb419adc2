package rest_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
)

const searchPath = "/api/v1/messages/messages/search/"

func results(t *testing.T, a *answer) []any {
	t.Helper()
	data := a.ok(200)["data"].(map[string]any)
	list := data["results"].([]any)
	if int(data["count"].(float64)) != len(list) {
		t.Errorf("count %v of %d results", data["count"], len(list))
	}
	return list
}

func TestSearchResult(t *testing.T) {
	b := newBench(t)
	c := b.group()
	m := b.say("2", c, "a <b>needle</b>")
	for _, a := range []*answer{b.as("1", "GET", searchPath+"?q=+needle+", ""),
		b.as("1", "POST", searchPath, `{"query":" needle ","conversation_id":"`+c+`"}`)} {
		list := results(t, a)
		if len(list) != 1 {
			t.Fatal(a.body)
		}
		r := list[0].(map[string]any)
		if r["id"] != m || r["conversation"] != c || r["content"] != "a <b>needle</b>" ||
			r["content_highlight"] != "a &lt;b&gt;<mark>needle</mark>&lt;/b&gt;" {
			t.Errorf("%v", r)
		}
		data := a.ok(200)
		if data["success"] != true || data["message"] != nil || data["data"].(map[string]any)["query"] != "needle" {
			t.Errorf("%v", data)
		}
	}
	// In a direct conversation there is no name.
	d := b.direct()
	b.say("2", d, "pinned")
	if r := results(t, b.as("1", "GET", searchPath+"?q=pinned", ""))[0].(map[string]any); r["conversation_name"] != nil {
		t.Errorf("%v", r)
	}
}

func TestReq080_Req081_SearchLimits(t *testing.T) {
	b := newBench(t)
	const short, long = "Search query must be at least 2 characters", "Search query must be at most 100 characters"
	for text, want := range map[string]string{"": short, "a": short, "  a  ": short, "é": short, strings.Repeat("x", 101): long} {
		a := b.as("1", "GET", searchPath+"?q="+url.QueryEscape(text), "")
		if a.status != 400 || !strings.Contains(a.body, want) || !strings.Contains(a.body, `"success":false`) {
			t.Errorf("GET %q: %d %s", text, a.status, a.body)
		}
		a = b.as("1", "POST", searchPath, fmt.Sprintf(`{"query":%q}`, text))
		if a.status != 400 || !strings.Contains(a.body, `{"query":["`+want+`"]}`) {
			t.Errorf("POST %q: %d %s", text, a.status, a.body)
		}
	}
	for _, text := range []string{"ab", "éé", strings.Repeat("é", 100), "  " + strings.Repeat("x", 100) + "  "} {
		if got := results(t, b.as("1", "GET", searchPath+"?q="+url.QueryEscape(text), "")); len(got) != 0 {
			t.Errorf("%q: %v", text, got)
		}
	}
	b.as("1", "POST", searchPath, `{}`).is(400, `{"query":["This field is required."]}`)
}

func TestReq083_SearchFilters(t *testing.T) {
	b := newBench(t)
	b.direct()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	yes, no := true, false
	id := chat.ConversationID{15: 9}
	for query, want := range map[string]chat.SearchQuery{
		"sender=2":                              {Sender: "2"},
		"sender=ann":                            {Sender: "ann"},
		"conversation=" + id.String():           {Conversation: id},
		"date_from=2026-01-02":                  {From: at("2026-01-02T00:00:00Z")},
		"date_to=2026-01-02":                    {Before: at("2026-01-03T00:00:00Z")},
		"date_from=2026-01-02T03:04:05":         {From: at("2026-01-02T03:04:05Z")},
		"date_to=2026-01-02T03:04:05Z":          {Before: at("2026-01-02T03:04:05.000001Z")},
		"date_from=2026-01-02T03:04+02:00":      {From: at("2026-01-02T01:04:00Z")},
		"has_attachments=true":                  {HasAttachments: &yes},
		"has_attachments=0&sender=2&date_from=": {HasAttachments: &no, Sender: "2"},
	} {
		results(t, b.as("1", "GET", searchPath+"?q=needle&"+query, ""))
		got := b.hub.searched
		if got.Sender != want.Sender || got.Conversation != want.Conversation || !got.From.Equal(want.From) || !got.Before.Equal(want.Before) ||
			(got.HasAttachments == nil) != (want.HasAttachments == nil) || want.HasAttachments != nil && *got.HasAttachments != *want.HasAttachments {
			t.Errorf("%s: %+v", query, got)
		}
	}
	results(t, b.as("1", "POST", searchPath, `{"query":"needle","sender":2,"date_from":"2026-01-02","date_to":null,"has_attachments":false,
		"conversation":"`+id.String()+`"}`))
	if got := b.hub.searched; got.Sender != "2" || got.Conversation != id || got.From.IsZero() || !got.Before.IsZero() || *got.HasAttachments {
		t.Errorf("%+v", got)
	}
	for query, field := range map[string]string{"sender=%00": "sender", "conversation=7": "conversation", "date_from=soon": "date_from",
		"date_to=2026-13-01": "date_to", "date_to=12026-01-01": "date_to", "has_attachments=maybe": "has_attachments",
		"conversation=00000000000000000000000000000000": "conversation"} {
		if a := b.as("1", "GET", searchPath+"?q=needle&"+query, ""); a.status != 400 || !strings.Contains(a.body, `{"`+field+`":["`) {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	for body, field := range map[string]string{`"sender":[]`: "sender", `"conversation_id":7`: "conversation_id", `"date_from":{}`: "date_from",
		`"has_attachments":[]`: "has_attachments", `"has_attachments":""`: "has_attachments"} {
		if a := b.as("1", "POST", searchPath, `{"query":"needle",`+body+`}`); a.status != 400 || !strings.Contains(a.body, `{"`+field+`":["`) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}

func TestSearchFailures(t *testing.T) {
	b := newBench(t)
	var fault error
	b.hub.fail = func(name string) error {
		if name == "search" {
			return fault
		}
		return nil
	}
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{fmt.Errorf("%w: search: connection refused", chat.ErrUnavailable), 503, `{"detail":"Search is temporarily unavailable. Try again later."}`},
		{fmt.Errorf("search: %w", chat.ErrNotSupported), 501, `{"detail":"Search is switched off on this server."}`},
	} {
		fault = c.err
		b.as("1", "GET", searchPath+"?q=needle", "").is(c.status, c.body)
		a := b.as("1", "POST", searchPath, `{"query":"needle"}`).is(c.status, c.body)
		if (a.header.Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	fault = &chat.FieldError{Field: "query", Text: "Too many words."}
	if a := b.as("1", "GET", searchPath+"?q=needle", ""); a.status != 400 || !strings.Contains(a.body, `"message":"Too many words."`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	b.as("1", "POST", searchPath, `{"query":"needle"}`).is(400, `{"query":["Too many words."]}`)
	if a := b.as("", "GET", searchPath+"?q=needle", ""); a.status != 401 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := b.as("1", "DELETE", searchPath, ""); a.status != 405 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// An id can never be "search", and what is behind it is not searched either.
func TestSearchIsNoMessage(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{searchPath + "x/", "/api/v1/messages/messages/Search/"} {
		b.as("1", "GET", path, "").is(404, `{"detail":"Not found."}`)
	}
}
