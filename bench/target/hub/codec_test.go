package hub

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/codectest"
)

func testTarget(t testing.TB) *Target {
	t.Helper()
	x, err := New(Config{URLs: []string{"http://127.0.0.1:1", "http://127.0.0.2:2"}, Secret: []byte(strings.Repeat("s", 32))})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// parse returns the one event of a frame.
func parse(t testing.TB, x *Target, frame []byte) (codectest.Event, error) {
	t.Helper()
	list, err := codectest.Parse(x, frame)
	if err != nil {
		return codectest.Event{}, err
	}
	if len(list) != 1 {
		t.Fatalf("%d events of %s", len(list), frame)
	}
	return list[0], nil
}

func TestParse(t *testing.T) {
	x := testTarget(t)
	for frame, want := range map[string]codectest.Event{
		`{"type":"status","message":"Connected","is_online":true}`: {Kind: target.Ready},
		`{"type":"message","id":"i","sender":"a\"b","content":"k.1 some \\ text","reactions":[{"user_id":7,"emoji":"]"}],"attachment":{"seq":9},"conversation_id":"c","sender_id":5,"seq":12}`: {
			Kind: target.Msg, Conversation: "c", ID: "i", Key: "k.1", Seq: 12},
		`{"type":"message","id":"i","content":"","conversation_id":"c","seq":3}`:                                 {Kind: target.Msg, Conversation: "c", ID: "i", Seq: 3},
		`{"type":"error","message":"Slow down","code":"rate_limited","conversation_id":"c","ref":"k.2"}`:         {Kind: target.Refused, Conversation: "c", Key: "k.2", Code: "rate_limited"},
		`{"type":"resumed","conversation_id":"c","last_seq":1,"head_seq":8,"ref":"resume"}`:                      {Kind: target.Resumed, Conversation: "c", Seq: 8},
		`{"type":"gap","conversation_id":"c","last_seq":1,"head_seq":9000}`:                                      {Kind: target.Gap, Conversation: "c", Seq: 9000},
		`{"type":"head","conversation_id":"c","head_seq":7}`:                                                     {Kind: target.Head, Conversation: "c", Seq: 7},
		`{"type":"read","message_id":"m","user":"u","read_at":"t","user_id":1004,"conversation_id":"c","seq":4}`: {Kind: target.Receipt, Conversation: "c", User: "1004", Seq: 4},
		`{"type":"reaction","message_id":"m","emoji":"x","user_id":1,"conversation_id":"c","seq":4}`:             {Kind: target.Logged, Conversation: "c", User: "1", Seq: 4},
		`{"type":"message_hidden","message_id":"m","conversation_id":"c"}`:                                       {Conversation: "c"},
		`{"type":"typing","typing_user":"u","is_typing":true,"conversation_id":"c","user_id":1}`:                 {Conversation: "c", User: "1"},
		` { "type" : "pong" } `: {Kind: target.Pong},
	} {
		codectest.Means(t, x, frame, want)
	}
	for _, bad := range []string{"", "[]", `{"type"`, `{"type":"a`, `{"type":"a"`, `{"a":[1,2`, `{"a":}`, `{1:2}`} {
		if _, err := parse(t, x, []byte(bad)); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Frames and conversations of the vectors that the product is held to say the same as encoding/json finds in them.
func TestParseAgreesOnTheProductsFrames(t *testing.T) {
	x := testTarget(t)
	files, err := filepath.Glob("../../../docs/conformance/ws/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	n := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		walk(doc, func(o map[string]any) {
			if _, is := o["type"].(string); !is {
				return
			}
			frame, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			n++
			agree(t, x, frame)
		})
	}
	if n < 50 {
		t.Errorf("only %d frames", n)
	}
}

func walk(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, x := range v {
			walk(x, f)
		}
	case []any:
		for _, x := range v {
			walk(x, f)
		}
	}
}

// agree compares with encoding/json what the scanner says about a valid object without escapes in the fields that matter.
func agree(t testing.TB, x *Target, frame []byte) {
	t.Helper()
	var o map[string]json.RawMessage
	if json.Unmarshal(frame, &o) != nil {
		return
	}
	got, err := parse(t, x, frame)
	if err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	text := func(k string) string {
		var s string
		if json.Unmarshal(o[k], &s) == nil {
			return s
		}
		if len(o[k]) > 0 && (o[k][0] == '{' || o[k][0] == '[') {
			return ""
		}
		return string(o[k])
	}
	if strings.ContainsRune(string(frame), '\\') || got.Kind == target.Other {
		return
	}
	if want := kinds[text("type")]; got.Kind != want && want != target.Logged {
		t.Errorf("%s: kind %d, want %d", frame, got.Kind, want)
	}
	if got.Conversation != text("conversation_id") || got.Kind != target.Logged && got.ID != text("id") || got.User != text("user_id") || got.Code != text("code") {
		t.Errorf("%s: %+v", frame, got)
	}
	seq := "seq"
	if got.Kind == target.Resumed || got.Kind == target.Gap || got.Kind == target.Head {
		seq = "head_seq"
	}
	if want, err := strconv.ParseUint(text(seq), 10, 60); err == nil && got.Seq != want {
		t.Errorf("%s: seq %d", frame, got.Seq)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"message","id":"i","content":"k x","conversation_id":"c","seq":12,"a":{"b":[1,"]"]},"c":null}`))
	f.Add([]byte(`{"type":"error","ref":"x","code":"y"}`))
	f.Add([]byte(`{`))
	x := testTarget(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) {
			_ = x.Parse(b, func(*target.Event) {})
			return
		}
		var o map[string]json.RawMessage
		if json.Unmarshal(b, &o) != nil || o == nil {
			return
		}
		if _, err := parse(t, x, b); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
	})
}

// What is encoded is a command of the protocol, with the content as long as was asked for.
func TestEncode(t *testing.T) {
	x := testTarget(t)
	const c = "01a2170e-68c0-77e7-8e5c-842539128adf"
	codectest.Contents(t, x, func(b []byte) string {
		var m struct {
			Type, Content, Ref string
			Conversation       string `json:"conversation_id"`
			Client             string `json:"client_id"`
		}
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if m.Type != "send_message" || m.Conversation != "r-1" || m.Client != codectest.Key || m.Ref != m.Client {
			t.Errorf("%+v", m)
		}
		return m.Content
	})
	for want, b := range map[string][]byte{
		"typing": x.Typing(nil, c), "read": x.Read(nil, c, 7), "react": x.React(nil, c, "m", "👍"), "edit": x.Edit(nil, c, "m", "k x"), "ping": x.Ping(nil),
		"resume": x.Resume(nil, []target.Position{{Conversation: c, Seq: 1}, {Conversation: c, Seq: 2}}),
	} {
		var m struct{ Type string }
		if err := json.Unmarshal(b, &m); err != nil || m.Type != want {
			t.Errorf("%s: %v", b, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	codectest.Allocations(t, testTarget(t), `{"type":"message","id":"i","content":"k x","conversation_id":"c","seq":12,"reactions":[]}`)
}

func TestEndpoint(t *testing.T) {
	x := testTarget(t)
	seen := map[string]bool{}
	for i := range 4 {
		e := x.Endpoint(i, 0, 0)
		seen[e.Host] = true
		if x.Endpoint(i, 0, 1).Host == e.Host {
			t.Error("another attempt goes to the same node")
		}
		if !strings.HasPrefix(e.Header, "Authorization: Bearer ") || !strings.HasSuffix(e.Header, "\r\n") {
			t.Errorf("%q", e.Header)
		}
	}
	if len(seen) != 2 {
		t.Error(seen)
	}
	for _, bad := range []string{"", "127.0.0.1:1", "https://127.0.0.1:1", "ftp://x"} {
		if _, err := New(Config{URLs: []string{bad}, Secret: []byte("x")}); err == nil {
			t.Errorf("%q is an address", bad)
		}
	}
}
