package rest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/rest"
)

// operations are all of the API, with a conversation and a message that exist.
func operations(b *bench) (list [][2]string) {
	direct := b.direct()
	message := b.say("1", direct, "hello")
	me := chat.UserKey{Tenant: chat.DefaultTenant, User: "1"}
	b.as("1", "POST", api+"contacts/", `{"contact_id":2}`)
	b.as("1", "POST", api+"blocked/", `{"user_id":"dora"}`)
	received := b.as("3", "POST", api+"friend-requests/", `{"receiver_id":1}`).ok(201)["id"].(string)
	b.operator("POST", "/api/v1/admin/tenants/", `{"id":"default"}`).ok(201)
	sent := b.as("1", "POST", api+"friend-requests/", `{"receiver_id":"dora"}`).ok(201)["id"].(string)
	later := b.as("1", "POST", api+"scheduled/", `{"conversation_id":"`+direct+`","content":"later","send_at":"`+b.clock.Add(time.Hour).Format(time.RFC3339)+`"}`).ok(201)["id"].(string)
	for _, r := range b.api.Routes() {
		method, path, _ := strings.Cut(r, " ")
		id := direct
		switch {
		case strings.HasPrefix(path, msgs):
			id = message
		case strings.Contains(path, "/admin/tenants/"):
			id = string(chat.DefaultTenant)
		case strings.Contains(path, "/admin/"):
			id = "1"
		case strings.Contains(path, "/contacts/"):
			id = fmt.Sprint(me.Number("contact", "2"))
		case strings.Contains(path, "/blocked/"):
			id = fmt.Sprint(me.Number("block", "dora"))
		case strings.Contains(path, "/scheduled/"):
			id = later
		case strings.Contains(path, "/cancel/"):
			id = sent
		case strings.Contains(path, "/friend-requests/"):
			id = received
		}
		list = append(list, [2]string{method, strings.Replace(path, "{id}", id, 1)})
	}
	return list
}

// operator calls the API with the operator's key.
func (b *bench) operator(method, path, body string) *answer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("X-API-Key", "the-key")
	return b.call(r)
}

// survives calls one operation and checks that it is answered, by no 5xx and as the document says.
func survives(b *bench, method string, u *url.URL, ctype, body string) {
	b.t.Helper()
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.URL = u
	r.Header["Content-Type"] = []string{ctype}
	r.Header.Set("Authorization", "Bearer "+b.token("1"))
	r.Header.Set("X-API-Key", "the-key")
	a := b.call(r)
	if a.status >= 500 {
		b.t.Errorf("%s %s %q %q: %d %s\n%s", method, u, ctype, body, a.status, a.body, b.log)
	}
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/json") && !json.Valid([]byte(a.body)) {
		b.t.Errorf("%s %s: not JSON: %s", method, u, a.body)
	}
}

// plainBench is a bench without a limit on what it creates.
func plainBench(t testing.TB) *bench {
	return newBench(t, func(c *rest.Config) { c.Limiter = nil })
}

func FuzzReq109_Query(f *testing.F) {
	for i, q := range queries {
		for op := i % 9; op < 64; op += 9 {
			f.Add(uint8(op), q, "")
		}
	}
	f.Add(uint8(9), "tenant=%00", "%2e%2e%2f")
	f.Fuzz(func(t *testing.T, op uint8, query, id string) {
		b := plainBench(t)
		all := operations(b)
		o := all[int(op)%len(all)]
		u := &url.URL{Path: o[1], RawQuery: query}
		if id != "" { // in place of the id in the path, if it has one
			dir := strings.Split(o[1], "/")
			for i, s := range dir {
				if len(s) == 36 || s == "1" || len(s) > 12 && strings.Trim(s, "0123456789") == "" {
					dir[i] = id
				}
			}
			u.Path = strings.Join(dir, "/")
		}
		survives(b, o[0], u, "application/json", "")
	})
}

func FuzzReq109_Body(f *testing.F) {
	for i, body := range bodies {
		for op := i % 9; op < 64; op += 9 {
			f.Add(uint8(op), "application/json", body)
		}
	}
	f.Add(uint8(1), "application/x-www-form-urlencoded", "participant_ids=2&participant_ids=3&name=x")
	f.Add(uint8(1), "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\nx\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, op uint8, ctype, body string) {
		b := plainBench(t)
		all := operations(b)
		o := all[int(op)%len(all)]
		survives(b, o[0], &url.URL{Path: o[1]}, ctype, body)
	})
}

var queries = []string{
	"", "page=2", "page=last", "page=0", "page=-1", "page=1e3", "page=9223372036854775807", "page=%00", "page=１", "page_size=0",
	"type=direct", "type=%ff", "archived=1", "archived=%20", "conversation=00000000000000000000000000000001",
	"conversation=zz", "conversation=%00", "before=2026-01-01", "before=9999-12-31T23:59:59.999999999Z", "before=0000-00-00",
	"before=018f0000-0000-8000-8000-000000000000", "before=ffffffffffffffffffffffffffffffff", "before=%c3%28", "tenant=../x",
	"q=ab&date_from=zz", "q=%00%00&sender=%ff", "q=ab&has_attachments=maybe&date_to=99999-01-01", "a;b=c&page=1", "%zz=1", "&&&", "conversation=1&conversation=2",
}

var bodies = []string{
	"", "{}", "[]", "null", "0", "\"\"", "{", "{\"a\":1e999}", `{"participant_ids":[2]}`, `{"participant_ids":[1e2]}`,
	`{"participant_ids":[2,3],"name":"\ud800","message":"x"}`, `{"user_ids":["2",3]}`, `{"content":"x","conversation_id":"zz"}`,
	`{"content":{"a":[]},"conversation":true,"is_voice":[],"client_id":-0.5}`, `{"name":"n","name":1}`, `{"username":"1","password":null}`,
	`{"refresh":1,"token":[]}`, `{"tenant":"\u0000","email":"a@b","avatar_url":"//x"}`, "\xef\xbb\xbf{}", "{\"name\":\"\xff\"}",
	`{"participant_ids":[3],"message":"hello"}`, `{"participant_ids":["2","3"],"name":null}`,
	`{"content":"x","reply_to":"zz","mentions":[1,{}],"mention_all":0}`, `{"who_can_add":"boss","who_can_pin":"owner"}`,
	`{"query":"ab","conversation_id":7,"date_from":[],"has_attachments":"x","sender":{}}`, `{"":""}`, `{"user_id":2}`, `{"user_id":"dora"}`, `{"contact_id":"dora","is_favorite":1}`, `{"contact_id":{}}`, `{"receiver_id":2}`, `{"receiver_id":null}`, `{"is_online":"perhaps"}`, `{"is_online":true}`, `{"read_receipts":"x","invisible":null}`, `{"invisible":true}`, `{"participant_ids":[18446744073709551616]}`, `{"participant_ids":["00000000-0000-0000-ffff-ffffffffffff"]}`,
}

// TestReq109_NothingIsA500 combines the parameters, verbs, bodies and ids at random, always the same ones.
func TestReq109_NothingIsA500(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 109))
	b := plainBench(t)
	all := operations(b)
	pick := func(list []string) string { return list[rnd.IntN(len(list))] }
	mangle := func(s string) string {
		raw := []byte(s)
		for range rnd.IntN(4) {
			if len(raw) == 0 {
				break
			}
			switch i := rnd.IntN(len(raw)); rnd.IntN(3) {
			case 0:
				raw[i] = byte(rnd.IntN(256))
			case 1:
				raw = append(raw[:i], raw[i+1:]...)
			case 2:
				raw = append(raw, raw[i:]...)
			}
		}
		return string(raw)
	}
	keys := []string{"page", "type", "archived", "conversation", "before", "tenant", "page_size", "token", "q", "sender", "date_from"}
	verbs := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"}
	types := []string{"application/json", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "a/b; c", "\x00"}
	statuses := map[int]int{}
	for range 9000 {
		o := all[rnd.IntN(len(all))]
		method, path := o[0], o[1]
		if rnd.IntN(8) == 0 {
			method = pick(verbs)
		}
		if rnd.IntN(6) == 0 {
			path = "/api/v1/messages/" + pick([]string{"messages/", "conversations/"}) + mangle(chat.NewConversationID().String())
		}
		query := pick(queries)
		if rnd.IntN(2) == 0 {
			query = pick(keys) + "=" + url.QueryEscape(mangle(pick(queries)))
		}
		ctype := "application/json"
		if rnd.IntN(4) == 0 {
			ctype = pick(types)
		}
		body := pick(bodies)
		if rnd.IntN(2) == 0 {
			body = mangle(body)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "/", strings.NewReader(body))
		r.URL = &url.URL{Path: path, RawQuery: query}
		r.Header["Content-Type"] = []string{ctype}
		r.Header.Set("Authorization", "Bearer "+b.token("1"))
		r.Header.Set("X-API-Key", "the-key")
		b.api.ServeHTTP(w, r)
		statuses[w.Code]++
		if w.Code >= 500 {
			t.Fatalf("%s %s %s: %d %s\n%s", method, r.URL, ctype, w.Code, w.Body, b.log)
		}
	}
	// The loop is worth something only if it gets past the doors.
	for _, s := range []int{http.StatusOK, http.StatusCreated, http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed} {
		if statuses[s] < 5 {
			t.Errorf("only %d answers with %d: %v", statuses[s], s, statuses)
		}
	}
}
