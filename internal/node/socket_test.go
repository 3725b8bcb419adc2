package node_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/internal/config"
)

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestReq026_Req030_EndpointAndFirstFrame(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	short := strings.ReplaceAll(id, "-", "")
	for _, path := range []string{
		"/ws/chat/" + id + "/", "/ws/chat/" + short + "/", "/ws/chat/" + id, "/ws/chat/" + strings.ToUpper(short), "/ws/", "/ws",
	} {
		s, err := h.open(path, bearer(ann.token))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if s.resp.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%s: %d", path, s.resp.StatusCode)
		}
		if f := s.next(); f.raw != statusFrame {
			t.Errorf("%s: first frame %s", path, f.raw)
		}
		if f := s.say(id, "from "+path); f.str("conversation_id") != id {
			t.Errorf("%s: %s is not canonical", path, f.raw)
		}
	}
	for _, path := range []string{"/ws/chat/", "/ws/other/", "/ws/chat/" + id + "/more/", "/wschat"} {
		if s, err := h.open(path, bearer(ann.token)); err == nil || s.resp == nil || s.resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestReq027_CredentialsRequired(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	talk := ann.dial(id)
	forger, err := auth.NewSigner([]byte("another secret of at least 32 bytes"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := forger.Sign(auth.Claims{Principal: principal("ann"), Expires: time.Now().Add(time.Hour)}, auth.Access)
	if err != nil {
		t.Fatal(err)
	}
	pair := h.call("", "POST", "/api/v1/auth/token/", object{"username": "ann", "password": "x"}).body
	parts := strings.Split(ann.token, ".")
	for name, header := range map[string]http.Header{
		"none":            nil,
		"expired":         bearer(h.sign("ann", "", time.Now().Add(-time.Minute))),
		"forged":          bearer(forged),
		"garbage":         bearer("x.y.z"),
		"refresh token":   bearer(pair.str("refresh")),
		"unsigned":        bearer("eyJhbGciOiJub25lIn0." + parts[1] + "."),
		"bad subprotocol": {"Subprotocols": {"bearer", forged}},
		"bad cookie":      {"Cookie": {"hub_token=" + forged}, "Origin": {h.url}},
	} {
		for _, path := range []string{"/ws/chat/" + id + "/", "/ws/"} {
			s, err := h.open(path, header)
			if err != nil {
				t.Errorf("%s %s: %v", name, path, err)
				continue
			}
			_ = s.put(`{"type":"send_message","content":"intruder","conversation_id":"` + id + `"}`) // may be closed already
			talk.say(id, name+path)
			if before := s.wantClose(4001); len(before) != 0 {
				t.Errorf("%s %s: first came %v", name, path, before)
			}
		}
	}
	for _, m := range ann.history(id) {
		if m.str("content") == "intruder" {
			t.Error("a message without a credential was stored")
		}
	}
	for name, header := range map[string]http.Header{
		"header": bearer(ann.token), "subprotocol": {"Subprotocols": {"bearer", ann.token}},
		"cookie": {"Cookie": {"hub_token=" + ann.token}, "Origin": {h.url}},
	} {
		s, err := h.open("/ws/", header)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if f := s.next(); f.raw != statusFrame {
			t.Errorf("%s: %s", name, f.raw)
		}
	}
	if s, err := h.open("/ws/?token="+ann.token, nil); err != nil || s.next().raw != statusFrame {
		t.Errorf("query: %v", err)
	}
}

func TestReq027_ExpiryEndsTheConnection(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	short, renewed := ann.dial(id), ann.dial()
	renewed.send(object{"type": "auth", "token": h.sign("ann", "", time.Now().Add(5*time.Hour)), "ref": "a"})
	if f := renewed.expect("auth"); f.str("ref") != "a" {
		t.Error(f.raw)
	}
	renewed.send(object{"type": "auth", "token": h.sign("bob", "", time.Now().Add(5*time.Hour))})
	renewed.refused("forbidden")
	h.clock.advance(2 * time.Hour)
	short.wantClose(4001)
	renewed.alive()
}

func TestReq027_PreAcceptReject(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.PreAcceptReject = true })
	if s, err := h.open("/ws/", bearer("x.y.z")); err == nil || s.resp == nil || s.resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%v", err)
	}
	h.user("ann").dial().alive()
}

// byteTemplate is §2.3's message frame, byte for byte up to the fields that the hub adds.
const byteTemplate = `{"type":"message","id":"%s","sender":"ann","content":"hi","timestamp":"%s","file":"","is_voice":false,` +
	`"is_read":false,"conversation_id":"%s"`

func TestReq031_MessageFrame(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	a.send(object{"type": "send_message", "content": "hi", "file": nil, "is_voice": false, "ref": "r1", "client_id": "c1"})
	mine, theirs := a.next(), b.next()
	for _, f := range []frame{mine, theirs} {
		if want := fmt.Sprintf(byteTemplate, f.str("id"), f.str("timestamp"), id); !strings.HasPrefix(f.raw, want) {
			t.Errorf("%s\ndoes not begin with\n%s", f.raw, want)
		}
		if f.num("seq") != 2 || f.str("sender_id") != "ann" || f.str("client_id") != "c1" {
			t.Error(f.raw)
		}
	}
	if mine.str("ref") != "r1" || theirs.object["ref"] != nil {
		t.Errorf("ref: %s and %s", mine.raw, theirs.raw)
	}
}

func TestReq035_Typing(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	for _, on := range []bool{true, false} {
		a.send(object{"type": "typing", "is_typing": on})
		f := b.expect("typing")
		if want := fmt.Sprintf(`{"type":"typing","typing_user":"ann","is_typing":%v`, on); !strings.HasPrefix(f.raw, want) {
			t.Errorf("%s, want %s…", f.raw, want)
		}
		if f := a.expect("typing"); f.yes("is_typing") != on {
			t.Errorf("the room includes the sender: %s", f.raw)
		}
	}
	for _, bad := range []any{"yes", 1, 0, []bool{true}, object{}, nil} {
		a.send(object{"type": "typing", "is_typing": bad})
		a.refused("invalid_type")
	}
	a.say(id, "marker")
	if fs := b.until("marker"); len(fs) != 1 {
		t.Errorf("bob got %v", fs)
	}
	if all := bob.history(id); len(all) != 1 {
		t.Errorf("typing was stored: %v", all)
	}
}

func TestReq036_TypingEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	b := bob.dial(id)
	for _, path := range [][]string{{id}, nil} {
		a := ann.dial(path...)
		a.send(object{"type": "typing", "is_typing": true, "conversation_id": id})
		if f := b.expect("typing"); !f.yes("is_typing") {
			t.Error(f.raw)
		}
		_ = a.conn.CloseNow()
		if f := b.expect("typing"); f.yes("is_typing") || f.str("typing_user") != "ann" {
			t.Error(f.raw)
		}
	}
	// One who stays connected but falls silent ends, too.
	a := ann.dial(id)
	a.send(object{"type": "typing", "is_typing": true})
	if f := b.expect("typing"); !f.yes("is_typing") {
		t.Error(f.raw)
	}
	h.clock.advance(time.Minute)
	if f := b.expect("typing"); f.yes("is_typing") {
		t.Error(f.raw)
	}
}

func TestReq040_Req049_BadFramesLeaveTheSocketOpen(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	one, all, b := ann.dial(id), ann.dial(), bob.dial()
	for _, c := range []struct{ text, code string }{
		{``, "invalid_json"}, {`{`, "invalid_json"}, {`nonsense`, "invalid_json"}, {`{"type":"ping"}}`, "invalid_json"},
		{`{"type":"ping",}`, "invalid_json"}, {"{\"type\":\"ping\u0001\"}", "invalid_json"},
		{strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000), ""}, {`{"a":` + strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000) + `}`, ""},
		{`[]`, "invalid_type"}, {`[{"type":"ping"}]`, "invalid_type"}, {`null`, "invalid_type"}, {`7`, "invalid_type"}, {`"ping"`, "invalid_type"},
		{`{}`, "missing_field"}, {`{"type":null}`, "missing_field"}, {`{"type":5}`, "invalid_type"}, {`{"type":["ping"]}`, "invalid_type"},
		{`{"type":"nonsense"}`, "unknown_type"}, {`{"type":""}`, "unknown_type"}, {`{"type":"PING"}`, "unknown_type"},
		{`{"type":"ping","ref":{}}`, "invalid_type"}, {`{"type":"ping","ref":"` + strings.Repeat("x", 500) + `"}`, "too_long"},
		{`{"type":"send_message","content":7}`, "invalid_type"}, {`{"type":"send_message","content":{}}`, "invalid_type"},
		{`{"type":"send_message","content":"x","is_voice":"no"}`, "invalid_type"}, {`{"type":"send_message","content":"x","client_id":1}`, "invalid_type"},
		{`{"type":"send_message","content":"x","file":"x"}`, "invalid_type"}, {`{"type":"send_message","content":"x","is_voice":true}`, ""},
		{`{"type":"send_message","content":"x","conversation_id":"no"}`, "invalid_type"},
		{`{"type":"send_message","content":"x","conversation_id":5}`, "invalid_type"},
		{`{"type":"read"}`, "missing_field"}, {`{"type":"read","message_id":"no"}`, "invalid_type"}, {`{"type":"read","message_id":4}`, "invalid_type"},
		{`{"type":"read","up_to_seq":-1}`, "invalid_type"}, {`{"type":"delivered","seq":1.5}`, "invalid_type"}, {`{"type":"delivered","seq":1e99}`, "invalid_type"},
		{`{"type":"resume","last_seq":"1"}`, "invalid_type"}, {`{"type":"resume","conversations":{}}`, "invalid_type"},
		{`{"type":"create_group","group_name":4,"members":["bob"]}`, "invalid_type"}, {`{"type":"create_group","group_name":"x","members":"bob"}`, "invalid_type"},
		{`{"type":"create_group","group_name":"x","members":[{}]}`, "invalid_type"}, {`{"type":"add_contact"}`, "missing_field"},
		{`{"type":"react","message_id":"00000000-0000-0000-0000-000000000000","emoji":7}`, "invalid_type"},
		{`{"type":"auth","token":"x"}`, "unauthorized"},
	} {
		for _, s := range []*socket{one, all} {
			s.write(c.text)
			if f := s.next(); f.str("type") != "error" || f.str("message") == "" || c.code != "" && f.str("code") != c.code {
				t.Errorf("%.80s: %s, want %s", c.text, f.raw, c.code)
			}
		}
	}
	for _, s := range []*socket{one, all} {
		for _, n := range []int{0, 1, 60000} {
			if err := s.conn.Write(t.Context(), websocket.MessageBinary, make([]byte, n)); err != nil {
				t.Fatal(err)
			}
			s.refused("not_supported")
		}
		if fs := s.alive(); len(fs) != 0 {
			t.Errorf("besides: %v", fs)
		}
	}
	all.write(`{"type":"send_message","content":"x"}`)
	all.refused("missing_field")
	one.say(id, "marker")
	if fs := b.until("marker"); len(fs) != 1 {
		t.Errorf("bob got %v", fs)
	}
	if got := bob.history(id); len(got) != 1 {
		t.Errorf("stored: %v", got)
	}
}

func TestReq042_Tenants(t *testing.T) {
	t.Parallel()
	h := start(t)
	red, blue := h.userOf("red", "ann"), h.userOf("blue", "ann")
	redBob, blueBob := h.userOf("red", "bob"), h.userOf("blue", "bob")
	id, other := red.direct("bob"), blue.direct("bob")
	r, b := red.dial(), blue.dial()
	red.post(id, "red secret")
	blue.post(other, "blue secret")
	r.message("red secret")
	b.message("blue secret")
	for _, u := range []*user{blue, blueBob} {
		u.detail(id).want(http.StatusNotFound)
		u.call("GET", "messages/?conversation="+id, nil).want(http.StatusNotFound)
		u.call("POST", "messages/", object{"conversation_id": id, "content": "x"}).want(http.StatusBadRequest)
		s, err := h.open("/ws/chat/"+id+"/", bearer(u.token))
		if err != nil {
			t.Fatal(err)
		}
		s.wantClose(4003)
		if l := u.call("GET", "messages/", nil); l.body.num("count") != 1 || strings.Contains(l.raw, "red") {
			t.Errorf("%s", l.raw)
		}
	}
	b.send(object{"type": "send_message", "conversation_id": id, "content": "x"})
	b.expect("error")
	h.userOf("red", "onlyred")
	blue.call("POST", "conversations/", object{"participant_ids": []string{"onlyred"}}).want(http.StatusBadRequest)
	redBob.post(id, "end")
	blueBob.post(other, "end")
	for _, s := range []*socket{r, b} {
		if fs := s.until("end"); len(fs) != 1 {
			t.Errorf("got %v", fs)
		}
	}
}

func TestReq044_Origin(t *testing.T) {
	t.Parallel()
	var secret string
	h := start(t, func(c *config.Config) {
		c.Dev, c.AllowedOrigins = false, []string{"https://app.example.com", "https://*.example.org"}
		secret = filepath.Join(c.Data, "auth-secret")
		if _, err := auth.EnsureSecret(secret); err != nil {
			t.Fatal(err)
		}
		c.AuthSecretFile = secret
	})
	token := h.sign("ann", "", time.Now().Add(time.Hour))
	for origin, ok := range map[string]bool{
		"": true, h.url: true, "https://app.example.com": true, "https://x.example.org": true,
		"https://evil.example": false, "http://app.example.com": false, "https://example.org": false, "https://app.example.com.evil.example": false, "null": false,
	} {
		header := bearer(token)
		if origin != "" {
			header.Set("Origin", origin)
		}
		s, err := h.open("/ws/", header)
		switch {
		case ok && err != nil:
			t.Errorf("%q: %v", origin, err)
		case ok:
			s.alive()
		case err == nil || s.resp == nil || s.resp.StatusCode != http.StatusForbidden:
			t.Errorf("%q was not answered 403: %v", origin, err)
		}
	}
	cookie := http.Header{"Cookie": {"hub_token=" + token}}
	if s, err := h.open("/ws/", cookie); err == nil || s.resp.StatusCode != http.StatusForbidden {
		t.Errorf("a cookie without an Origin: %v", err)
	}
	// There is no token endpoint without --dev.
	h.call("", "POST", "/api/v1/auth/token/", object{"username": "ann", "password": "x"}).want(http.StatusNotFound)
}
