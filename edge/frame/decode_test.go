package frame_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
)

const (
	convText = "0190a0b0-c0d0-7000-8000-00000000abcd"
	msgText  = "0190a0b0-c0d0-8000-8000-00000000ef01"
)

var (
	conv = must(chat.ParseConversationID(convText))
	msg  = must(chat.ParseMessageID(msgText))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestDecode(t *testing.T) {
	for in, want := range map[string]frame.ClientFrame{
		`{"type":"send_message","content":"  hi\n","file":null,"is_voice":false}`: {Type: frame.SendMessage, Content: "hi"},
		`{"type":"send_message","content":"","file":{"name":"a\u00fc.txt","content":"eA==","size":1},"is_voice":true}`: {Type: frame.SendMessage,
			IsVoice: true, File: &frame.File{Name: "aü.txt", Content: []byte("eA==")}},
		`{"type":"send_message","file":{"content":"eA\/="}}`:                     {Type: frame.SendMessage, File: &frame.File{Name: "file", Content: []byte("eA/=")}},
		`{"type":"send_message","upload_id":"00000000000000000000000000000007"}`: {Type: frame.SendMessage, Upload: chat.FileID{15: 7}},
		`{"ref":7,"client_id":"c1","conversation_id":"` + convText + `","content":"\u00e9\ud83d\ude00","type":"send_message","x":[{"y":[1,2.5e-3,true]}]}`: {
			Type: frame.SendMessage, Ref: "7", Conversation: conv, Content: "é😀", ClientID: "c1"},
		` {"type":"typing","is_typing":true} `:                {Type: frame.Typing, IsTyping: true},
		`{"type":"typing"}`:                                   {Type: frame.Typing},
		`{"type":"read","message_id":"` + msgText + `"}`:      {Type: frame.Read, MessageID: msg},
		`{"type":"read","up_to_seq":9007199254740991}`:        {Type: frame.Read, Seq: 1<<53 - 1},
		`{"type":"delivered","seq":3,"conversation_id":null}`: {Type: frame.Delivered, Seq: 3},
		`{"type":"create_group","group_name":" G ","members":[2,"u3","00000000-0000-0000-0000-000000000004"]}`: {
			Type: frame.CreateGroup, Name: "G", Users: []chat.UserID{"2", "u3", "4"}},
		`{"type":"ping","ref":"a\u003cb"}`: {Type: frame.Ping, Ref: `"a\u003cb"`},
		`{"type":"ping","ref":"<&"}`:       {Type: frame.Ping, Ref: `"\u003c\u0026"`},
		`{"type":"ping","ref":-1.5e3}`:     {Type: frame.Ping, Ref: `-1.5e3`},
		`{"type":"resume","last_seq":0}`:   {Type: frame.Resume, Resumes: []frame.ResumePoint{{}}},
		`{"type":"resume","conversation_id":"` + strings.ReplaceAll(convText, "-", "") + `","last_seq":5}`: {
			Type: frame.Resume, Conversation: conv, Resumes: []frame.ResumePoint{{Conversation: conv, LastSeq: 5}}},
		`{"type":"resume","conversations":[{"conversation_id":"` + strings.ToUpper(convText) + `","last_seq":5}]}`: {
			Type: frame.Resume, Resumes: []frame.ResumePoint{{Conversation: conv, LastSeq: 5}}},
		`{"type":"react","message_id":"` + msgText + `","emoji":"👍","remove":true}`: {Type: frame.React, MessageID: msg, Emoji: "👍", Remove: true},
		`{"type":"edit","message_id":"` + msgText + `","content":"x"}`:              {Type: frame.Edit, MessageID: msg, Content: "x"},
		`{"type":"delete","message_id":"` + msgText + `"}`:                          {Type: frame.Delete, MessageID: msg},
		`{"type":"delete","message_id":"` + msgText + `","scope":"all"}`:            {Type: frame.Delete, MessageID: msg},
		`{"type":"delete","message_id":"` + msgText + `","scope":"m\u0065"}`:        {Type: frame.Delete, MessageID: msg, ForMe: true},
		`{"type":"rename","name":"N"}`:                                              {Type: frame.Rename, Name: "N"},
		`{"type":"add_participants","user_ids":[1]}`:                                {Type: frame.AddParticipants, Users: []chat.UserID{"1"}},
		`{"type":"remove_participants","user_ids":["a"]}`:                           {Type: frame.RemoveParticipants, Users: []chat.UserID{"a"}},
		`{"type":"leave"}`:                         {Type: frame.Leave},
		`{"type":"auth","token":"t"}`:              {Type: frame.Auth, Token: "t"},
		`{"type":"search","query":" ab ","ref":1}`: {Type: frame.Search, Ref: "1", Search: &chat.SearchQuery{Text: "ab", Limit: 50}},
		`{"type":"search","query":"ab","conversation_id":"` + convText + `","sender_id":7,"date_from":"2026-01-02","date_to":"2026-01-02","has_attachments":false}`: {
			Type: frame.Search, Conversation: conv, Search: &chat.SearchQuery{Text: "ab", Limit: 50, Sender: "7", HasAttachments: new(bool),
				From: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Before: time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)}},
		`{"\u0074ype":"\u0070ing"}`:      {Type: frame.Ping},
		`{"type":"leave","type":"ping"}`: {Type: frame.Ping}, // the last wins
	} {
		var got frame.ClientFrame
		if err := frame.Decode([]byte(in), &got); err != nil {
			t.Errorf("%s: %v", in, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", in, d)
		}
	}
}

func TestReq040_BadFramesAreErrors(t *testing.T) {
	send := func(fields string) string { return `{"type":"send_message",` + fields + `}` }
	deep := func(n int) string {
		return `{"type":"ping","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	for _, c := range []struct {
		in   string
		code frame.Code
		text string
		ref  string
	}{
		{``, frame.CodeInvalidJSON, "Invalid JSON", ""},
		{`{`, frame.CodeInvalidJSON, "Invalid JSON", ""},
		{`{"type":"ping"} x`, frame.CodeInvalidJSON, "Invalid JSON", ""},
		{`{"type":"ping",}`, frame.CodeInvalidJSON, "Invalid JSON", ""},
		{"{\"type\":\"pi\nng\"}", frame.CodeInvalidJSON, "Invalid JSON", ""},
		{deep(frame.MaxDepth), frame.CodeInvalidJSON, "Invalid JSON", ""},
		{`[]`, frame.CodeInvalidType, "A frame is a JSON object", ""},
		{`"ping"`, frame.CodeInvalidType, "A frame is a JSON object", ""},
		{`null`, frame.CodeInvalidType, "A frame is a JSON object", ""},
		{`{"ref":1}`, frame.CodeMissingField, "type: required", "1"},
		{`{"type":7,"ref":"r"}`, frame.CodeInvalidType, "type: must be a string", `"r"`},
		{`{"type":"dance","ref":2}`, frame.CodeUnknownType, "Unknown message type: dance", "2"},
		{`{"type":"ping","ref":{}}`, frame.CodeInvalidType, "ref: must be a string or a number", ""},
		{`{"type":"ping","ref":"` + strings.Repeat("x", 129) + `"}`, frame.CodeTooLong, "ref: at most 128 bytes", ""},
		{`{"type":"ping","conversation_id":"x"}`, frame.CodeInvalidType, "conversation_id: must be a UUID", ""},
		{`{"type":"ping","conversation_id":"0190a0b0-c0d0-7000-8000_00000000abcd"}`, frame.CodeInvalidType, "conversation_id: must be a UUID", ""},
		{send(`"content":""`), frame.CodeEmptyMessage, "Empty message", ""},
		{`{"type":"send_message"}`, frame.CodeEmptyMessage, "Empty message", ""},
		{send(`"content":" \t\n"`), frame.CodeEmptyMessage, "Empty message", ""},
		{send(`"content":7`), frame.CodeInvalidType, "content: must be a string", ""},
		{send(`"content":"a","is_voice":"yes"`), frame.CodeInvalidType, "is_voice: must be true or false", ""},
		{send(`"content":"a","is_voice":true`), frame.CodeMissingField, "Invalid file data", ""},
		{send(`"content":"a","file":"x"`), frame.CodeInvalidType, "Invalid file data", ""},
		{send(`"content":"a","file":{"name":"a.txt"},"ref":3`), frame.CodeInvalidType, "Invalid file data", "3"},
		{send(`"content":"a","file":{"name":7,"content":"eA=="}`), frame.CodeInvalidType, "Invalid file data", ""},
		{send(`"file":{"content":7}`), frame.CodeInvalidType, "Invalid file data", ""},
		{send(`"upload_id":"x"`), frame.CodeInvalidType, "upload_id: must be the id of an upload, without a file", ""},
		{send(`"upload_id":"00000000-0000-0000-0000-000000000007","file":{"content":"eA=="}`), frame.CodeInvalidType, "upload_id: must be the id of an upload, without a file", ""},
		{send(`"content":"a","client_id":"` + strings.Repeat("c", 129) + `"`), frame.CodeInvalid, "client_id: at most 128 bytes", ""},
		{`{"type":"read"}`, frame.CodeMissingField, "message_id: required", ""},
		{`{"type":"read","message_id":"nope"}`, frame.CodeInvalidType, "message_id: must be a UUID", ""},
		{`{"type":"read","up_to_seq":-1}`, frame.CodeInvalidType, "up_to_seq: must be a non-negative integer", ""},
		{`{"type":"delivered","seq":1.0}`, frame.CodeInvalidType, "seq: must be a non-negative integer", ""},
		{`{"type":"delivered","seq":9007199254740992}`, frame.CodeInvalidType, "seq: must be a non-negative integer", ""},
		{`{"type":"delivered"}`, frame.CodeMissingField, "seq: required", ""},
		{`{"type":"add_contact","email":"a@b.c"}`, frame.CodeMissingField, "Missing fields in add contact", ""},
		{`{"type":"add_contact","email":"a@b.c","name":" "}`, frame.CodeMissingField, "Missing fields in add contact", ""},
		{`{"type":"add_contact","email":7,"name":"A"}`, frame.CodeMissingField, "Missing fields in add contact", ""},
		{`{"type":"add_contact","email":"` + strings.Repeat("a", 250) + `@b.cd","name":"A"}`, frame.CodeTooLong, "email: at most 254 bytes", ""},
		{`{"type":"add_contact","email":"a@b.c","name":"` + strings.Repeat("n", 256) + `"}`, frame.CodeInvalid, "name: Ensure this field has no more than 255 characters.", ""},
		{`{"type":"create_group","members":[1]}`, frame.CodeMissingField, "Group name required", ""},
		{`{"type":"create_group","group_name":" ","members":[1]}`, frame.CodeMissingField, "Group name required", ""},
		{`{"type":"create_group","group_name":"G"}`, frame.CodeMissingField, "At least one member required", ""},
		{`{"type":"create_group","group_name":"G","members":[]}`, frame.CodeMissingField, "At least one member required", ""},
		{`{"type":"create_group","group_name":"G","members":[true]}`, frame.CodeInvalidType, "members: must be an array of user ids", ""},
		{`{"type":"create_group","group_name":"` + strings.Repeat("n", 256) + `","members":[1]}`, frame.CodeInvalid, "name: Ensure this field has no more than 255 characters.", ""},
		{`{"type":"delete","message_id":"` + msgText + `","scope":"you"}`, frame.CodeInvalidType, "scope: must be all or me", ""},
		{`{"type":"delete","message_id":"` + msgText + `","scope":1}`, frame.CodeInvalidType, "scope: must be all or me", ""},
		{`{"type":"resume"}`, frame.CodeMissingField, "last_seq: required", ""},
		{`{"type":"resume","conversations":[]}`, frame.CodeMissingField, "conversations: required", ""},
		{`{"type":"resume","conversations":[{"last_seq":1}]}`, frame.CodeInvalidType, "conversations: must be an array of {conversation_id, last_seq}", ""},
		{`{"type":"react","message_id":"` + msgText + `","emoji":"a b"}`, frame.CodeInvalid, "emoji: An emoji holds no spaces or control characters.", ""},
		{`{"type":"react","emoji":"x"}`, frame.CodeMissingField, "message_id: required", ""},
		{`{"type":"edit","message_id":"` + msgText + `"}`, frame.CodeEmptyMessage, "Empty message", ""},
		{`{"type":"rename"}`, frame.CodeMissingField, "name: required", ""},
		{`{"type":"add_participants"}`, frame.CodeMissingField, "user_ids: required", ""},
		{`{"type":"auth"}`, frame.CodeMissingField, "token: required", ""},
		{`{"type":"search"}`, frame.CodeInvalid, "query: Search query must be at least 2 characters", ""},
		{`{"type":"search","query":"  a  ","ref":1}`, frame.CodeInvalid, "query: Search query must be at least 2 characters", "1"},
		{`{"type":"search","query":"` + strings.Repeat("x", 101) + `"}`, frame.CodeInvalid, "query: Search query must be at most 100 characters", ""},
		{`{"type":"search","query":7}`, frame.CodeInvalidType, "query: must be a string", ""},
		{`{"type":"search","query":"ab","sender_id":[]}`, frame.CodeInvalidType, "sender_id: must be a user id", ""},
		{`{"type":"search","query":"ab","date_to":"soon"}`, frame.CodeInvalidType, "date_to: must be a date or a date and time in ISO 8601 format", ""},
		{`{"type":"search","query":"ab","has_attachments":1}`, frame.CodeInvalidType, "has_attachments: must be true or false", ""},
	} {
		var f frame.ClientFrame
		err := frame.Decode([]byte(c.in), &f)
		var fe *frame.Error
		if !errors.As(err, &fe) {
			t.Errorf("%.80s: accepted or another error: %v", c.in, err)
			continue
		}
		if fe.Code != c.code || fe.Text != c.text || fe.Ref != c.ref {
			t.Errorf("%.80s: got %+v", c.in, fe)
		}
	}
	var f frame.ClientFrame
	if err := frame.Decode([]byte(deep(frame.MaxDepth-1)), &f); err != nil {
		t.Errorf("depth below the limit: %v", err)
	}
}

func TestReq035_TypingIsABoolean(t *testing.T) {
	var f frame.ClientFrame
	for _, v := range []string{`"yes"`, `"true"`, `1`, `null`, `[]`, `{}`} {
		err := frame.Decode([]byte(`{"type":"typing","is_typing":`+v+`}`), &f)
		var fe *frame.Error
		if !errors.As(err, &fe) || fe.Code != frame.CodeInvalidType {
			t.Errorf("%s: %v", v, err)
		}
	}
}

func TestReq037_ReadNamesAMessage(t *testing.T) {
	var f frame.ClientFrame
	if err := frame.Decode([]byte(`{"type":"read","message_id":"`+msgText+`"}`), &f); err != nil || f.MessageID != msg {
		t.Fatal(err, f)
	}
	n := chat.ReadNotice{Kind: chat.ReceiptRead, User: "2", Username: "bob", Message: msg, Seq: 4, At: at}
	want := `{"type":"read","message_id":"` + msgText + `","user":"bob","read_at":"2026-11-22T20:46:05.773005+00:00","user_id":2,"conversation_id":"` + convText + `","seq":4}`
	if got := string(frame.AppendReceipt(nil, conv, &n)); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestReq117_ContentIsCountedInCodePoints(t *testing.T) {
	for _, unit := range []string{"x", "é", "😀", `\ud83d\ude00`, `\n.`} {
		var f frame.ClientFrame
		runes := 1
		if unit == `\n.` {
			runes = 2
		}
		fits := `{"type":"send_message","content":".` + strings.Repeat(unit, (chat.MaxContent-1)/runes) + `"}`
		if err := frame.Decode([]byte(fits), &f); err != nil {
			t.Errorf("%s: %v", unit, err)
		}
		over := `{"type":"send_message","content":".` + strings.Repeat(unit, chat.MaxContent/runes) + `"}`
		var fe *frame.Error
		if err := frame.Decode([]byte(over), &f); !errors.As(err, &fe) || fe.Code != frame.CodeTooLong ||
			fe.Text != "Message too long (max 10,000 characters)" {
			t.Errorf("%s: %v", unit, err)
		}
	}
}

// TestDecodeAllocations: the strings that outlive the payload, and nothing else.
func TestDecodeAllocations(t *testing.T) {
	b := []byte(`{"type":"send_message","conversation_id":"` + convText + `","content":"hello there","client_id":"c-1","ref":"r1"}`)
	var f frame.ClientFrame
	n := testing.AllocsPerRun(100, func() {
		if err := frame.Decode(b, &f); err != nil {
			t.Fatal(err)
		}
	})
	if n > 3 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkDecodeSend(b *testing.B) {
	in := []byte(`{"type":"send_message","conversation_id":"` + convText + `","content":"hello there","client_id":"c-1","ref":"r1"}`)
	b.ReportAllocs()
	for b.Loop() {
		var f frame.ClientFrame
		if err := frame.Decode(in, &f); err != nil {
			b.Fatal(err)
		}
	}
}

// A frame that has room for a file names no more users than a body of REST, and makes no list of those that it names beyond.
func TestUsersOfAFrameAreBounded(t *testing.T) {
	list := func(n int) string { return "[1" + strings.Repeat(",2", n-1) + "]" }
	for typ, field := range map[string]string{"create_group": `"group_name":"x","members":`, "add_participants": `"user_ids":`, "remove_participants": `"user_ids":`} {
		var f frame.ClientFrame
		frameOf := func(n int) []byte { return []byte(`{"type":"` + typ + `",` + field + list(n) + `}`) }
		if err := frame.Decode(frameOf(frame.MaxUsers), &f); err != nil || len(f.Users) != frame.MaxUsers {
			t.Errorf("%s: %v, %d users", typ, err, len(f.Users))
		}
		for _, n := range []int{frame.MaxUsers + 1, 1_000_000} {
			err := frame.Decode(frameOf(n), &f)
			var fe *frame.Error
			if !errors.As(err, &fe) || fe.Code != frame.CodeTooLong || !strings.HasSuffix(fe.Text, ": at most 10,000 users") || len(f.Users) > frame.MaxUsers {
				t.Errorf("%s of %d: %v, %d users", typ, n, err, len(f.Users))
			}
		}
	}
}

func FuzzReq123_Decode(f *testing.F) {
	f.Add([]byte(`{"type":"send_message","content":"\ud83d\ude00\u003c","ref":1,"client_id":"x"}`))
	f.Add([]byte(`{"type":"resume","conversations":[{"conversation_id":"` + convText + `","last_seq":5}]}`))
	f.Add([]byte(`{"type":"create_group","group_name":"g","members":[1,"x"]}`))
	f.Add([]byte(`{"a":[[1e+9,-0.5,true,false,null]],"b":{}}`))
	f.Add([]byte("{\"type\":\"ping\",\"ref\":\"\xff\xe2\x80\xa8\"}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := string(b)
		var got frame.ClientFrame
		err := frame.Decode(b, &got)
		if string(b) != in {
			t.Fatal("the payload was changed")
		}
		var fe *frame.Error
		if err != nil && !errors.As(err, &fe) {
			t.Fatalf("%v", err)
		}
		if valid, deep := json.Valid(b), depth(b); valid != frame.Valid(b) && deep <= frame.MaxDepth {
			t.Fatalf("valid: %v, encoding/json says %v", !valid, valid)
		}
		var m map[string]json.RawMessage
		if json.Unmarshal(b, &m) != nil || m == nil {
			if err == nil {
				t.Fatal("accepted what is not an object")
			}
			return
		}
		if err != nil {
			if fe.Code == frame.CodeInvalidJSON && depth(b) <= frame.MaxDepth {
				t.Fatal("refused valid JSON")
			}
			return
		}
		var typ, content, client string
		_ = json.Unmarshal(m["type"], &typ)
		_ = json.Unmarshal(m["content"], &content)
		_ = json.Unmarshal(m["client_id"], &client)
		if typ != got.Type.String() {
			t.Fatalf("type %q, encoding/json says %q", got.Type, typ)
		}
		if got.Type == frame.SendMessage && (got.Content != strings.TrimSpace(content) || got.ClientID != client) {
			t.Fatalf("content %q and %q, encoding/json says %q and %q", got.Content, got.ClientID, content, client)
		}
		if got.Ref != "" {
			var a, b any
			if json.Unmarshal([]byte(got.Ref), &a) == nil && json.Unmarshal(m["ref"], &b) == nil && a != b {
				t.Fatalf("ref %s, sent %s", got.Ref, m["ref"])
			}
			if !json.Valid([]byte(got.Ref)) || strings.ContainsAny(got.Ref, "<>&") {
				t.Fatalf("ref %s cannot be echoed", got.Ref)
			}
		}
	})
}

// depth is an upper bound of how deep b is nested: brackets inside strings count, and none is taken back.
func depth(b []byte) int { return bytes.Count(b, []byte("{")) + bytes.Count(b, []byte("[")) }
