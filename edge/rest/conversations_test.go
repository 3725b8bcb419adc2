package rest_test

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/zumodra/hub/chat"
)

const (
	ann    = `{"id":1,"email":"ann@example.org","first_name":"Ann","last_name":"Arbor","full_name":"Ann Arbor","avatar_url":null}`
	bob    = `{"id":2,"email":"","first_name":"Bob","last_name":"","full_name":"Bob","avatar_url":"https://example.org/bob.png"}`
	cid    = `{"id":3,"email":"","first_name":"","last_name":"","full_name":"cid","avatar_url":null}`
	hidden = `{"id":1,"email":"","first_name":"Ann","last_name":"Arbor","full_name":"Ann Arbor","avatar_url":null}`
	at0    = "2026-03-04T05:06:07.800000Z"
	at1    = "2026-03-04T05:06:08.800000Z"
	meta   = `"meta":{"timestamp":"2026-03-04T05:06:07.800000+00:00"}`
	meta1  = `"meta":{"timestamp":"2026-03-04T05:06:08.800000+00:00"}`
)

func refusal(code, text, meta string) string {
	return fmt.Sprintf(`{"success":false,"data":null,"message":%q,"errors":[],"error_code":%s,%s}`, text, code, meta)
}

func TestReq105_DirectConversation(t *testing.T) {
	b := newBench(t)
	id := chat.DirectID(chat.DefaultTenant, "1", "2").String()
	want := `{"id":"` + id + `","name":null,"participants":[` + ann + `,` + bob + `],"last_message_text":null,"last_message_at":null,
		"last_message_sender_id":null,"unread_count":0,"is_group":false,"other_participant":` + bob + `,"updated_at":"` + at0 + `",` + nothingOwn + `,
		"can_leave":false,"can_add_participants":false,"created_at":"` + at0 + `"}`
	b.as("1", "POST", convs, `{"participant_ids":[2]}`).is(201, want)
	// Again, by the alias, by a string, by the UUID of the integer, with oneself in the list: the same.
	for _, body := range []string{
		`{"participants":[2]}`, `{"participant_ids":["2"]}`, `{"participant_ids":["00000000-0000-0000-0000-000000000002"]}`,
		`{"participant_ids":[1,2,2],"name":"ignored"}`, `{"participant_ids":"2"}`,
	} {
		b.as("1", "POST", convs, body).is(201, want)
	}
	b.as("1", "GET", convs+id+"/", "").is(200, want)
	b.as("1", "GET", convs+strings.ReplaceAll(id, "-", ""), "").is(200, want)
	if got := b.as("2", "GET", convs+id+"/", "").ok(200)["other_participant"].(map[string]any)["id"]; got != 1.0 {
		t.Errorf("the other one of 2 is %v", got)
	}
}

func TestReq105_Group(t *testing.T) {
	b := newBench(t)
	a := b.as("1", "POST", convs, `{"participant_ids":[2,3],"name":" trio ","message":" <b>hi</b> ","client_id":"c1"}`)
	id := a.ok(201)["id"].(string)
	a.is(201, `{"id":"`+id+`","name":"trio","participants":[`+ann+`,`+bob+`,`+cid+`],"last_message_text":"\u003cb\u003ehi\u003c/b\u003e",
		"last_message_at":"`+at0+`","last_message_sender_id":"00000000-0000-0000-0000-000000000001","unread_count":0,"is_group":true,
		"other_participant":null,"updated_at":"`+at0+`",`+nothingOwn+`,"can_leave":true,"can_add_participants":true,"created_at":"`+at0+`",
		"my_role":"owner","who_can_add":"member","who_can_pin":"admin","who_can_mention_all":"admin"}`)
	b.as("2", "GET", convs, "").is(200, `{"count":1,"next":null,"previous":null,"results":[{"id":"`+id+`","name":"trio",
		"participants":[`+hidden+`,`+strings.Replace(bob, `"email":""`, `"email":"bob@example.org"`, 1)+`,`+cid+`],
		"last_message_text":"\u003cb\u003ehi\u003c/b\u003e","last_message_at":"`+at0+`",
		"last_message_sender_id":"00000000-0000-0000-0000-000000000001","last_message_preview":"\u003cb\u003ehi\u003c/b\u003e","unread_count":1,
		"is_group":true,"other_participant":null,"updated_at":"`+at0+`",`+nothingOwn+`}]}`)

	b.as("1", "PATCH", convs+id+"/", `{"name":"four"}`)
	if got := b.as("1", "PATCH", convs+id+"/", `{"name":"quartet"}`).ok(200)["name"]; got != "quartet" {
		t.Errorf("renamed to %v", got)
	}
	if got := b.as("1", "PATCH", convs+id+"/", `{}`).ok(200)["name"]; got != "quartet" {
		t.Errorf("an empty patch made it %v", got)
	}
	if got := b.as("1", "PATCH", convs+id+"/", `{"name":null}`).ok(200)["name"]; got != nil {
		t.Errorf("a null name made it %v", got)
	}
}

func TestPreview(t *testing.T) {
	for _, tc := range []struct{ text, preview string }{
		{strings.Repeat("é", 50), strings.Repeat("é", 50)},
		{strings.Repeat("é", 51), strings.Repeat("é", 50) + "..."},
		{strings.Repeat("x", 300), strings.Repeat("x", 50) + "..."},
	} {
		b := newBench(t)
		b.say("1", b.direct(), tc.text)
		first := b.as("1", "GET", convs, "").ok(200)["results"].([]any)[0].(map[string]any)
		if first["last_message_preview"] != tc.preview {
			t.Errorf("preview of %q is %q", tc.text, first["last_message_preview"])
		}
	}
	b := newBench(t)
	b.direct()
	first := b.as("1", "GET", convs, "").ok(200)["results"].([]any)[0].(map[string]any)
	if v, there := first["last_message_preview"]; v != nil || !there {
		t.Errorf("without a message the preview is %v (there: %v)", v, there)
	}
}

func TestStringIDs(t *testing.T) {
	b := newBench(t)
	id := b.as("dora", "POST", convs, `{"participant_ids":[1],"message":"hello"}`).ok(201)["id"].(string)
	m := b.as("1", "GET", convs+id+"/", "").ok(200)
	if m["last_message_sender_id"] != "dora" {
		t.Errorf("last_message_sender_id %v", m["last_message_sender_id"])
	}
	if o := m["other_participant"].(map[string]any); o["id"] != "dora" || o["email"] != "" {
		t.Errorf("other participant %v", o)
	}
}

func TestReq009_NonParticipantSeesNothing(t *testing.T) {
	b := newBench(t)
	id := b.direct()
	msg := b.say("1", id, "private")
	const missing = `{"detail":"Not found."}`
	b.as("3", "GET", convs, "").is(200, `{"count":0,"next":null,"previous":null,"results":[]}`)
	b.as("3", "GET", msgs, "").is(200, `{"count":0,"next":null,"previous":null,"results":[]}`)
	for _, call := range []string{
		"GET " + convs + id + "/", "PATCH " + convs + id + "/", "POST " + convs + id + "/mark_read/", "POST " + convs + id + "/leave/",
		"POST " + convs + id + "/archive/", "POST " + convs + id + "/unarchive/", "POST " + convs + id + "/add_participants/",
		"POST " + convs + id + "/remove_participants/", "GET " + msgs + "?conversation=" + id,
		"GET " + msgs + msg + "/", "PATCH " + msgs + msg + "/", "DELETE " + msgs + msg + "/",
	} {
		method, path, _ := strings.Cut(call, " ")
		b.as("3", method, path, `{"name":"x","content":"x","user_ids":[3]}`).is(404, missing)
	}
	b.as("3", "POST", msgs, `{"conversation_id":"`+id+`","content":"hi"}`).is(400, `{"conversation_id":["You are not a participant."]}`)
	unknown := chat.NewConversationID().String()
	b.as("3", "POST", msgs, `{"conversation_id":"`+unknown+`","content":"hi"}`).is(400, `{"conversation_id":["Conversation not found."]}`)
	b.as("3", "GET", convs+unknown+"/", "").is(404, missing)
}

func TestReq010_NoConversationWithOneself(t *testing.T) {
	b := newBench(t)
	b.as("1", "POST", convs, `{"participant_ids":[1]}`).is(400, `{"participant_ids":["Cannot create conversation with yourself."]}`)
	b.as("1", "POST", convs, `{"participant_ids":["1",1]}`).is(400, `{"participant_ids":["Cannot create conversation with yourself."]}`)
	if len(b.hub.convs) != 0 {
		t.Error("it was created all the same")
	}
}

func TestCreateConversationErrors(t *testing.T) {
	for _, tc := range []struct{ body, want string }{
		{``, `{"participant_ids":["This field is required."]}`},
		{`{}`, `{"participant_ids":["This field is required."]}`},
		{`{"participant_ids":null}`, `{"participant_ids":["This field may not be null."]}`},
		{`{"participant_ids":[]}`, `{"participant_ids":["Ensure this field has at least 1 elements."]}`},
		{`{"participant_ids":5}`, `{"participant_ids":["Expected a list of items but got type \"int\"."]}`},
		{`{"participant_ids":{"a":1}}`, `{"participant_ids":["Expected a list of items but got type \"dict\"."]}`},
		{`{"participant_ids":[1.5]}`, `{"participant_ids":["A user id is a string or a non-negative integer."]}`},
		{`{"participant_ids":[-1]}`, `{"participant_ids":["A user id is a string or a non-negative integer."]}`},
		{`{"participant_ids":[null]}`, `{"participant_ids":["A user id is a string or a non-negative integer."]}`},
		{`{"participant_ids":[[2]]}`, `{"participant_ids":["A user id is a string or a non-negative integer."]}`},
		{`{"participant_ids":["a b"]}`, `{"participant_ids":["A user id is a string or a non-negative integer."]}`},
		{`{"participant_ids":[99]}`, `{"participant_ids":["One or more users not found."]}`},
		{`{"participant_ids":[2,99]}`, `{"participant_ids":["One or more users not found."]}`},
		{`{"participant_ids":[2],"message":7.5,"name":[]}`, `{"name":["Not a valid string."]}`},
		{`{"participant_ids":[2],"message":true}`, `{"message":["Not a valid string."]}`},
		{`{"participant_ids":[2],"message":"m","client_id":"` + strings.Repeat("x", 129) + `"}`, `{"client_id":["Ensure this field has no more than 128 bytes."]}`},
		{`{"participant_ids":[2,3],"name":"a\u0000b"}`, `{"name":["Null characters are not allowed."]}`},
		{`[]`, `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`},
		{`"x"`, `{"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}`},
		{`null`, `{"non_field_errors":["Invalid data. Expected a dictionary, but got NoneType."]}`},
		{`{"participant_ids":[2]`, `{"detail":"JSON parse error - not valid JSON"}`},
		{"{\"name\":\"\xff\"}", `{"detail":"JSON parse error - not UTF-8"}`},
		{strings.Repeat("[", 33) + strings.Repeat("]", 33), `{"detail":"JSON parse error - nested deeper than 32 levels"}`},
	} {
		b := newBench(t)
		b.as("1", "POST", convs, tc.body).is(400, tc.want)
		if len(b.hub.convs) != 0 {
			t.Errorf("%s: created all the same", tc.body)
		}
	}
	b := newBench(t)
	b.hub.blocks[[2]chat.UserID{"1", "2"}] = true
	b.as("1", "POST", convs, `{"participant_ids":[2]}`).is(400, `{"participant_ids":["Cannot create conversation with blocked user."]}`)
	b.hub.max = 2
	b.as("1", "POST", convs, `{"participant_ids":[3,"dora"]}`).is(400, `{"participant_ids":["The group has the maximum number of participants."]}`)
}

func TestReq015_AddToDirect(t *testing.T) {
	b := newBench(t)
	id := b.direct()
	b.as("1", "POST", convs+id+"/add_participants/", `{"user_ids":[3]}`).
		is(400, refusal("null", "Cannot add participants to direct conversation. Create a group instead.", meta))
	b.as("1", "POST", convs+id+"/remove_participants/", `{"user_ids":[2]}`).
		is(400, refusal("null", "Cannot remove participants from direct conversation.", meta))
	b.as("1", "POST", convs+id+"/leave/", "").is(400, refusal("null", "Cannot leave a direct conversation.", meta))
	b.as("1", "PATCH", convs+id+"/", `{"name":"x"}`).is(400, refusal("null", "Cannot rename a direct conversation.", meta))
}

func TestReq016_BlockedAreSkippedOnAdd(t *testing.T) {
	b := newBench(t)
	id := b.group()
	b.hub.blocks[[2]chat.UserID{"1", "dora"}] = true
	data := b.as("1", "POST", convs+id+"/add_participants/", `{"user_ids":["dora"]}`).ok(200)["data"].(map[string]any)
	if n := len(data["participants"].([]any)); n != 3 {
		t.Errorf("%d participants", n)
	}
}

func TestReq021_FilterByType(t *testing.T) {
	b := newBench(t)
	direct, group := b.direct(), b.group()
	for query, want := range map[string]string{"?type=direct": direct, "?type=group": group} {
		m := b.as("1", "GET", convs+query, "").ok(200)
		results := m["results"].([]any)
		if m["count"] != 1.0 || len(results) != 1 || results[0].(map[string]any)["id"] != want {
			t.Errorf("%s: %v", query, m)
		}
	}
	if n := b.as("1", "GET", convs+"?type=", "").ok(200)["count"]; n != 2.0 {
		t.Errorf("an empty type filters: %v", n)
	}
	b.as("1", "GET", convs+"?type=Group", "").is(400, `{"type":["\"Group\" is not a valid choice."]}`)
}

func TestReq022_NameLength(t *testing.T) {
	b := newBench(t)
	const long = `{"name":["Ensure this field has no more than 255 characters."]}`
	b.as("1", "POST", convs, `{"participant_ids":[2,3],"name":"`+strings.Repeat("ü", 256)+`"}`).is(400, long)
	id := b.as("1", "POST", convs, `{"participant_ids":[2,3],"name":"`+strings.Repeat("ü", 255)+`"}`).ok(201)["id"].(string)
	b.as("1", "PATCH", convs+id+"/", `{"name":"`+strings.Repeat("x", 256)+`"}`).is(400, long)
}

func TestGroupActions(t *testing.T) {
	b := newBench(t)
	id := b.group()
	b.say("1", id, "one")
	b.say("1", id, "two")
	b.clock = b.clock.Add(-1e9)
	path := convs + id
	b.as("2", "POST", path+"/mark_read/", "").is(200, `{"success":true,"data":{"messages_marked_read":2},"message":"2 messages marked as read","errors":null,`+meta1+`}`)
	b.as("2", "POST", path+"/mark_read/", "{}").is(200, `{"success":true,"data":{"messages_marked_read":0},"message":"0 messages marked as read","errors":null,`+meta1+`}`)
	b.as("2", "POST", path+"/archive/", "").is(200, `{"success":true,"data":null,"message":"Conversation archived","errors":null,`+meta1+`}`)
	for query, want := range map[string]float64{"": 0, "?archived=true": 1, "?archived=false": 0} {
		if n := b.as("2", "GET", convs+query, "").ok(200)["count"]; n != want {
			t.Errorf("%q lists %v", query, n)
		}
	}
	b.as("2", "GET", convs+"?archived=maybe", "").is(400, `{"archived":["Must be a valid boolean."]}`)
	b.as("2", "POST", path+"/unarchive/", "").is(200, `{"success":true,"data":null,"message":"Conversation unarchived","errors":null,`+meta1+`}`)

	forbidden := refusal(`"FORBIDDEN"`, "You do not have permission to perform this action.", meta1)
	b.as("2", "POST", path+"/remove_participants/", `{"user_ids":[3]}`).is(403, forbidden)
	b.as("2", "PATCH", path+"/", `{"name":"mine"}`).is(403, forbidden)

	for _, body := range []string{``, `{}`} {
		b.as("1", "POST", path+"/add_participants/", body).is(400, `{"user_ids":["This field is required."]}`)
	}
	b.as("1", "POST", path+"/add_participants/", `{"user_ids":[]}`).is(400, `{"user_ids":["Ensure this field has at least 1 elements."]}`)
	b.as("1", "POST", path+"/add_participants/", `{"user_ids":["nobody"]}`).is(400, `{"user_ids":["One or more users not found."]}`)
	added := b.as("1", "POST", path+"/add_participants/", `{"user_ids":["dora",2]}`).ok(200)
	if n := len(added["data"].(map[string]any)["participants"].([]any)); n != 4 || added["message"] != "Participants added" {
		t.Errorf("after adding one: %d, %v", n, added["message"])
	}
	b.hub.max = 4
	b.hub.users[chat.UserKey{Tenant: chat.DefaultTenant, User: "5"}] = chat.User{ID: "5"}
	b.as("1", "POST", path+"/add_participants/", `{"user_ids":[5]}`).is(400, `{"user_ids":["The group has the maximum number of participants."]}`)
	removed := b.as("1", "POST", path+"/remove_participant/", `{"user_ids":["dora"]}`).ok(200)
	if n := len(removed["data"].(map[string]any)["participants"].([]any)); n != 3 || removed["message"] != "Participants removed" {
		t.Errorf("after removing one: %d, %v", n, removed["message"])
	}
	b.as("2", "POST", path+"/leave/", "").is(200, `{"success":true,"data":null,"message":"Left conversation","errors":null,`+meta1+`}`)
	b.as("2", "GET", path+"/", "").is(404, `{"detail":"Not found."}`)
}

func TestReq107_PagesOfConversations(t *testing.T) {
	b := newBench(t)
	for range 41 {
		b.tick()
		b.group()
	}
	const base = "http://example.com" + convs
	for _, tc := range []struct {
		query, next, previous string
		n                     int
	}{
		{"", base + "?page=2", "", 20},
		{"?page=1&page_size=5", base + "?page=2&page_size=5", "", 20},
		{"?type=group&page=2", base + "?page=3&type=group", base + "?type=group", 20},
		{"?page=3", "", base + "?page=2", 1},
		{"?page=last", "", base + "?page=2", 1},
	} {
		m := b.as("1", "GET", convs+tc.query, "").ok(200)
		if m["count"] != 41.0 || orEmpty(m["next"]) != tc.next || orEmpty(m["previous"]) != tc.previous || len(m["results"].([]any)) != tc.n {
			t.Errorf("%q: count %v next %v previous %v, %d results", tc.query, m["count"], m["next"], m["previous"], len(m["results"].([]any)))
		}
	}
	for _, page := range []string{"4", "0", "-1", "x", "1.5", "99999999999999999999", "50000000", "%00", "2%20"} {
		for _, list := range []string{convs, msgs} {
			b.as("1", "GET", list+"?page="+page, "").is(404, `{"detail":"Invalid page."}`)
		}
	}
}

func orEmpty(v any) string {
	s, _ := v.(string)
	return s
}

func TestLinksUsePublicURL(t *testing.T) {
	for _, tc := range []struct{ target, public, want string }{
		{"http://h.example:8080", "", "http://h.example:8080"},
		{"https://h.example", "", "https://h.example"},
		{"http://10.0.0.1", "https://chat.example.org/", "https://chat.example.org"},
	} {
		b := newBench(t, publicURL(tc.public))
		b.hub.max = 100
		for range 21 {
			b.tick()
			b.group()
		}
		r := httptest.NewRequest("GET", tc.target+convs, nil)
		r.Header.Set("Authorization", "Bearer "+b.token("1"))
		next, err := url.Parse(orEmpty(b.call(r).ok(200)["next"]))
		if err != nil || next.Scheme+"://"+next.Host != tc.want || next.Path != convs {
			t.Errorf("%v: next is %v", tc, next)
		}
	}
}
