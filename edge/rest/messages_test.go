package rest_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/rest"
)

func publicURL(s string) func(*rest.Config) { return func(c *rest.Config) { c.PublicURL = s } }

// nothingMore is what most messages say of what few have.
const nothingMore = `,"reply_to":null,"reply_count":0,"mentions":[],"mention_all":false,"forwarded_from":null`

func TestReq105_Messages(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	b.tick()
	a := b.as("1", "POST", msgs, `{"conversation_id":"`+conv+`","content":"  hello ","is_voice":false,"client_id":"c-1"}`)
	id := a.ok(201)["id"].(string)
	sent := `{"content":"hello","file":null,"voice_message":null,"is_voice":false,"id":"` + id + `","conversation":"` + conv + `",
		"sender":` + ann + `,"timestamp":"` + at1 + `","seq":2,"client_id":"c-1"` + nothingMore + `,"attachment":null}`
	a.is(201, sent)
	b.tick()
	b.as("1", "POST", msgs, `{"conversation":"`+strings.ReplaceAll(conv, "-", "")+`","content":"again","client_id":"c-1"}`).is(201, sent)

	b.as("1", "GET", msgs+"?conversation="+conv, "").is(200, `{"count":1,"next":null,"previous":null,"results":[{"id":"`+id+`",
		"conversation":"`+conv+`","sender":`+ann+`,"content":"hello","is_own":true,"has_attachment":false,"is_read":false,"is_voice":false,
		"timestamp":"`+at1+`","seq":2,"client_id":"c-1","reactions":[],"edited_at":null,"deleted_at":null`+nothingMore+`,"attachment":null}]}`)

	b.as("2", "POST", convs+conv+"/mark_read/", "").ok(200)
	const at2 = "2026-03-04T05:06:09.800000Z"
	detail := `{"id":"` + id + `","conversation":"` + conv + `","sender":` + hidden + `,"content":"hello","file":null,"file_url":null,
		"voice_message":null,"voice_message_url":null,"is_voice":false,"is_read":true,"is_own":false,"read_by":[{"user_id":"2","read_at":"` + at2 + `"}],"read_count":1,
		"timestamp":"` + at1 + `","seq":2,"client_id":null,"reactions":[],"edited_at":null,"deleted_at":null` + nothingMore + `,"attachment":null}`
	b.as("2", "GET", msgs+id+"/", "").is(200, detail)
	b.as("2", "GET", msgs+strings.ReplaceAll(id, "-", ""), "").is(200, detail)

	b.as("2", "PATCH", msgs+id+"/", `{"content":"mine"}`).
		is(403, refusal(`"FORBIDDEN"`, "You do not have permission to perform this action.", `"meta":{"timestamp":"2026-03-04T05:06:09.800000+00:00"}`))
	if m := b.as("1", "PATCH", msgs+id+"/", `{"content":"hello!"}`).ok(200); m["content"] != "hello!" || m["edited_at"] != at2 {
		t.Errorf("edited: %v", m)
	}
	b.as("1", "PATCH", msgs+id+"/", `{}`).is(400, `{"content":["This field is required."]}`)
	b.as("1", "PATCH", msgs+id+"/", `{"content":" "}`).is(400, `{"content":["This field may not be blank."]}`)
	b.as("1", "PATCH", msgs+id+"/", `{"content":null}`).is(400, `{"content":["This field may not be null."]}`)
	b.clock = b.clock.Add(time.Hour - time.Minute)
	late := b.as("1", "PATCH", msgs+id+"/", `{"content":"late"}`)
	if m := late.ok(403); m["message"] != "This message can no longer be edited." || m["error_code"] != "FORBIDDEN" {
		t.Errorf("late edit: %s", late.body)
	}
	b.clock = b.clock.Add(time.Minute)
	if a := b.as("2", "DELETE", msgs+id+"/", ""); a.status != 403 {
		t.Errorf("deleting another's: %d", a.status)
	}
	for range 2 {
		b.as("1", "DELETE", msgs+id+"/", "").is(204, "")
	}
	if m := b.as("2", "GET", msgs+id+"/", "").ok(200); m["content"] != "" || m["deleted_at"] == nil {
		t.Errorf("deleted: %v", m)
	}
}

func TestReq011_EmptyMessage(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	for _, content := range []string{``, `,"content":""`, `,"content":" \n\t "`, `,"content":null`} {
		b.as("1", "POST", msgs, `{"conversation_id":"`+conv+`"`+content+`}`).
			is(400, `{"non_field_errors":["Message must have content, file, or voice message."]}`)
	}
	if n := b.as("1", "GET", msgs, "").ok(200)["count"]; n != 0.0 {
		t.Errorf("%v stored", n)
	}
}

func TestReq117_ContentLength(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	const long = `{"content":["Ensure this field has no more than 10000 characters."]}`
	body := func(n int) string {
		return `{"conversation_id":"` + conv + `","content":"` + strings.Repeat("𝄞", n) + `"}`
	}
	b.as("1", "POST", msgs, body(10_001)).is(400, long)
	id := b.as("1", "POST", msgs, body(10_000)).ok(201)["id"].(string)
	b.as("1", "PATCH", msgs+id+"/", body(10_001)).is(400, long)
	b.as("1", "POST", convs, `{"participant_ids":[2],"message":"`+strings.Repeat("x", 10_001)+`"}`).
		is(400, `{"message":["Ensure this field has no more than 10000 characters."]}`)
}

func TestSendErrors(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	for _, tc := range []struct{ body, want string }{
		{``, `{"conversation_id":["This field is required."],"non_field_errors":["Message must have content, file, or voice message."]}`},
		{`{"content":"x"}`, `{"conversation_id":["This field is required."]}`},
		{`{"content":"x","conversation_id":null}`, `{"conversation_id":["This field may not be null."]}`},
		{`{"content":"x","conversation_id":"7"}`, `{"conversation_id":["Must be a valid UUID."]}`},
		{`{"content":"x","conversation_id":7}`, `{"conversation_id":["Must be a valid UUID."]}`},
		{`{"content":"x","conversation":[]}`, `{"conversation":["Not a valid string."]}`},
		{`{"content":"x","conversation_id":"00000000-0000-0000-0000-000000000000"}`, `{"conversation_id":["Must be a valid UUID."]}`},
		{`{"content":{},"conversation_id":"` + conv + `"}`, `{"content":["Not a valid string."]}`},
		{`{"content":"x","is_voice":"maybe","conversation_id":"` + conv + `"}`, `{"is_voice":["Must be a valid boolean."]}`},
		{`{"content":"x","client_id":[1],"conversation_id":"` + conv + `"}`, `{"client_id":["Not a valid string."]}`},
		{`{"content":"x","is_voice":true,"conversation_id":"` + conv + `"}`, `{"is_voice":["Invalid file data"]}`},
		{`{"upload_id":"x","conversation_id":"` + conv + `"}`, `{"non_field_errors":["Message must have content, file, or voice message."],"upload_id":["Upload not found"]}`},
		{`{"upload_id":"00000000-0000-4000-8000-000000000000","conversation_id":"` + conv + `"}`, `{"upload_id":["Upload not found"]}`},
		{`{"content":"x","file":"x","conversation_id":"` + conv + `"}`, `{"file":["The submitted data was not a file. Check the encoding type on the form."]}`},
	} {
		b.as("1", "POST", msgs, tc.body).is(400, tc.want)
	}
}

func TestFormBodies(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	post := func(ctype, body string) *answer {
		r := httptest.NewRequest("POST", msgs, strings.NewReader(body))
		r.Header.Set("Content-Type", ctype)
		r.Header.Set("Authorization", "Bearer "+b.token("1"))
		return b.call(r)
	}
	form := url.Values{"conversation_id": {conv}, "content": {"by form"}, "is_voice": {"false"}}
	if m := post("application/x-www-form-urlencoded", form.Encode()).ok(201); m["content"] != "by form" || m["is_voice"] != false {
		t.Errorf("%v", m)
	}
	multi := func(file string) (string, string) {
		var buf bytes.Buffer
		w := multipart.NewWriter(&buf)
		_ = w.WriteField("conversation_id", conv)
		_ = w.WriteField("content", "in parts")
		if file != "" {
			f, _ := w.CreateFormFile(file, "a.png")
			_, _ = f.Write([]byte("\x89PNG"))
		}
		_ = w.Close()
		return w.FormDataContentType(), buf.String()
	}
	if m := post(multi("")).ok(201); m["content"] != "in parts" {
		t.Errorf("%v", m)
	}
	if m := post(multi("file")).ok(201); m["content"] != "in parts" || m["attachment"].(map[string]any)["name"] != "a.png" || m["file"] == nil {
		t.Errorf("%v", m)
	}
	post(multi("voice_message")).is(400, `{"voice_message":["File type .png is not supported"]}`)
	post(multi("picture")).is(400, `{"picture":["Only one file can be sent, as file or voice_message."]}`)
	// A server that keeps no files says so.
	plain := newBench(t, func(c *rest.Config) { c.Files = nil })
	ctype, form2 := multi("file")
	r := httptest.NewRequest("POST", msgs, strings.NewReader(form2))
	r.Header.Set("Content-Type", ctype)
	r.Header.Set("Authorization", "Bearer "+plain.token("1"))
	plain.call(r).is(400, `{"file":["This server does not accept files."]}`)
	plain.as("1", "GET", api+"files/00000000-0000-4000-8000-000000000000/", "").is(404, `{"detail":"Not found."}`)
	post("multipart/form-data; boundary=x", "garbage").is(400, `{"detail":"Form parse error."}`)
	post("multipart/form-data", "garbage").is(400, `{"detail":"Form parse error."}`)
	post("application/x-www-form-urlencoded", "a=%zz").is(400, `{"detail":"Form parse error."}`)
	post("application/x-www-form-urlencoded", "content=%ff&conversation_id="+conv).is(400, `{"content":["Not a valid string."]}`)
	post("application/json; charset", `{"conversation_id":"`+conv+`","content":"x"}`).ok(201)
	post("application/json; charset=utf-8", `{"conversation_id":"`+conv+`","content":"x"}`).ok(201)
	post("text/plain", "hello").is(415, `{"detail":"Unsupported media type \"text/plain\" in request."}`)
	post("application/json", `{"content":"`+strings.Repeat("x", 1<<20)+`"}`).is(413, `{"detail":"The request body is larger than 1048576 bytes."}`)
}

func TestReq107_PagesOfMessages(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	for i := range 45 {
		b.say("1", conv, fmt.Sprint("m", i))
	}
	m := b.as("2", "GET", msgs+"?conversation="+conv+"&page=3", "").ok(200)
	if m["count"] != 45.0 || m["next"] != nil || len(m["results"].([]any)) != 5 || m["previous"] == nil {
		t.Errorf("%v", m)
	}
	if last := b.as("2", "GET", msgs+"?page=last", "").ok(200); len(last["results"].([]any)) != 5 {
		t.Errorf("%v", last)
	}
	b.as("2", "GET", msgs+"?page=4", "").is(404, `{"detail":"Invalid page."}`)
	// The links lead through the list.
	got, next := 0, "http://example.com"+msgs
	for next != "" {
		u, _ := url.Parse(next)
		m := b.as("2", "GET", u.RequestURI(), "").ok(200)
		got += len(m["results"].([]any))
		next = orEmpty(m["next"])
	}
	if got != 45 {
		t.Errorf("walked over %d messages", got)
	}
}

// Walking back by id yields messages of one and the same time once each.
func TestReq108_BeforeByID(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	for i := range 90 {
		b.as("1", "POST", msgs, fmt.Sprintf(`{"conversation_id":%q,"content":"m%d"}`, conv, i)).ok(201)
	}
	seen := map[any]bool{}
	for before := ""; ; {
		results := b.as("2", "GET", msgs+"?conversation="+conv+"&before="+before, "").ok(200)["results"].([]any)
		if len(results) == 0 {
			break
		}
		for _, r := range results {
			id := r.(map[string]any)["id"]
			if seen[id] {
				t.Fatalf("%v twice", id)
			}
			seen[id] = true
			before = id.(string)
		}
	}
	if len(seen) != 90 {
		t.Errorf("saw %d of 90", len(seen))
	}
}

func TestBeforeByTime(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	b.say("1", conv, "first")
	b.say("1", conv, "second") // at 05:06:09.8
	for before, want := range map[string]int{
		"2026-03-04T05:06:09.800000Z":            1,
		"2026-03-04T05:06:09.800000%2B00:00":     1,
		"2026-03-04T05:06:09.800000+00:00":       1, // the plus arrives as a space
		"2026-03-04T07:06:09.9%2B02:00":          2,
		"2026-03-04%2005:06:09.8":                1,
		"2026-03-04T05:06:09.8":                  1,
		"2026-03-04T05:07":                       2,
		"2026-03-04":                             0,
		"2999-01-01T00:00:00Z":                   2,
		"2026-03-04T05:06:08.800000Z&page=1":     0,
		"2026-03-04T05:06:09.800001-0000&page=1": 2,
	} {
		if n := b.as("1", "GET", msgs+"?before="+before, "").ok(200)["count"]; n != float64(want) {
			t.Errorf("before=%s: %v, want %d", before, n, want)
		}
	}
	bad := `{"before":["Enter a date and time in ISO 8601 format, or the id of a message."]}`
	for _, before := range []string{"yesterday", "2026-13-01", "0001-01-01", "1", "%00", "00000000-0000-0000-0000-000000000000", "99999-01-01"} {
		b.as("1", "GET", msgs+"?before="+before, "").is(400, bad)
	}
	b.as("1", "GET", msgs+"?conversation=zz", "").is(400, `{"conversation":["Must be a valid UUID."]}`)
	b.as("1", "GET", msgs+"?conversation="+chat.ConversationID{}.String(), "").is(404, `{"detail":"Not found."}`)
	for _, id := range []string{"7", "seek", chat.MessageID{}.String(), "%00"} {
		b.as("1", "GET", msgs+id+"/", "").is(404, `{"detail":"Not found."}`)
		b.as("1", "GET", convs+id+"/", "").is(404, `{"detail":"Not found."}`)
	}
}

func TestReq114_MarkupIsEscaped(t *testing.T) {
	b := newBench(t)
	conv := b.group()
	const script = `<script>alert("x") && 1</script>`
	id := b.say("1", conv, script)
	for _, path := range []string{msgs, msgs + id + "/", convs, convs + conv + "/"} {
		a := b.as("2", "GET", path, "")
		if strings.ContainsAny(a.body, "<>&") || !strings.Contains(a.body, `\u003cscript\u003ealert(\"x\") \u0026\u0026 1\u003c/script\u003e`) {
			t.Errorf("%s: %s", path, a.body)
		}
		if got := a.header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("nosniff: %q", got)
		}
	}
	if m := b.as("2", "GET", msgs+id+"/", "").ok(200); m["content"] != script {
		t.Errorf("stored %q", m["content"])
	}
	// A name and a query's value come back escaped as well.
	b.as("1", "PATCH", convs+conv+"/", `{"name":"<img src=x>"}`)
	if a := b.as("1", "GET", convs, ""); strings.Contains(a.body, "<img") {
		t.Error(a.body)
	}
	if a := b.as("1", "GET", convs+"?type=%3Cscript%3E", ""); a.status != 400 || strings.Contains(a.body, "<") {
		t.Error(a.body)
	}
}

func TestReq115_TextIsLiteral(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	for _, text := range []string{`'; DROP TABLE messages; --`, `100% _sure_`, `"quoted"`, "a\x00b", `\u0000`, `{"a":1}`} {
		if m := b.as("2", "GET", msgs+b.say("1", conv, text)+"/", "").ok(200); m["content"] != text {
			t.Errorf("%q came back as %q", text, m["content"])
		}
	}
}

func TestReq118_RateLimit(t *testing.T) {
	b := newBench(t)
	conv := b.direct()
	msg := b.say("1", conv, "before")
	b.seen.deny, b.seen.bucket = 1100*time.Millisecond, 10
	send := `{"conversation_id":"` + conv + `","content":"x"}`
	for range 10 {
		b.as("1", "POST", msgs, send).ok(201)
	}
	calls := len(b.hub.calls)
	for _, call := range []struct{ method, path, body string }{
		{"POST", msgs, send}, {"PATCH", msgs + msg + "/", `{"content":"y"}`}, {"POST", convs, `{"participant_ids":[2],"message":"z"}`},
	} {
		a := b.as("1", call.method, call.path, call.body).
			is(429, `{"detail":"Request was throttled. Expected available in 2 seconds."}`)
		if a.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	if len(b.hub.calls) != calls {
		t.Error("a throttled request reached the Hub")
	}
	b.seen.deny = time.Millisecond
	b.as("1", "POST", msgs, send).is(429, `{"detail":"Request was throttled. Expected available in 1 second."}`)
	b.as("1", "POST", convs, `{"participant_ids":[2]}`).ok(201)
}
