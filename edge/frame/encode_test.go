package frame_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
)

var (
	update = flag.Bool("update", false, "rewrite the golden file")
	at     = time.Date(2026, 11, 22, 20, 46, 5, 773005999, time.FixedZone("", 3600)).Add(time.Hour)
)

// vectors are one or more frames of every server type.
func vectors() []string {
	var out []string
	add := func(b []byte) { out = append(out, string(b)) }
	e := func(t chat.EventType, change func(*chat.Event)) chat.Event {
		v := chat.Event{Seq: 2, Type: t, At: at, Actor: "7", ActorName: "alice", Message: msg, MessageSeq: 1}
		change(&v)
		return v
	}
	event := func(v chat.Event, read bool, ref string) { add(frame.AppendEvent(nil, conv, &v, read, ref)) }
	add(frame.AppendStatus(nil))
	event(e(chat.EventMessage, func(v *chat.Event) { v.Content = "hello" }), false, "")
	event(e(chat.EventMessage, func(v *chat.Event) {
		v.Content, v.ClientID, v.Actor = "<script>alert('é')</script>&\u2028", "c1", "u-7"
		v.Reactions = []chat.Reaction{{User: "2", Emoji: "👍"}, {User: "bob", Emoji: "+1"}}
		v.EditedAt, v.DeletedAt = at, at.Add(time.Second)
	}), true, `"r1"`)
	event(e(chat.EventEdited, func(v *chat.Event) { v.Content = "new" }), false, "12")
	event(e(chat.EventMessage, func(v *chat.Event) {
		v.Content, v.Extras = "@all", &chat.Extras{ReplyTo: msg, Replies: 3, LastReply: 9, Mentions: []chat.UserID{"2", "bob"}, MentionAll: true,
			Forwarded: chat.Attribution{User: "9", Name: `"z"`}}
	}), false, `"r1"`)
	event(e(chat.EventEdited, func(v *chat.Event) {
		v.Content, v.Extras = "new", &chat.Extras{Mentions: []chat.UserID{"2"}, MentionAll: true}
	}), false, "")
	event(e(chat.EventDeleted, func(*chat.Event) {}), false, "")
	event(e(chat.EventPin, func(*chat.Event) {}), false, `"r1"`)
	event(e(chat.EventPin, func(v *chat.Event) { v.Removed = true }), false, "")
	hidden := e(chat.EventEdited, func(*chat.Event) {})
	event(hidden.Concealed(), false, "")
	for _, n := range []chat.OwnNotice{{Hidden: msg}, {Settings: &chat.Settings{}}, {Settings: &chat.Settings{MutedUntil: at, Pinned: true}},
		{Settings: &chat.Settings{MutedUntil: chat.Forever, Archived: true}}, {Draft: &chat.Draft{At: at}}, {Draft: &chat.Draft{Text: "a<", ReplyTo: msg, At: at}}} {
		add(frame.AppendOwn(nil, conv, &n))
	}
	event(e(chat.EventConversation, func(v *chat.Event) {
		v.Change, v.Permissions = chat.ChangePermissions, chat.Permissions{Add: chat.RoleOwner}
	}), false, "")
	event(e(chat.EventReaction, func(v *chat.Event) { v.Emoji = "👍" }), false, "")
	event(e(chat.EventReaction, func(v *chat.Event) { v.Emoji, v.Removed = "👍", true }), false, "")
	event(e(chat.EventParticipants, func(v *chat.Event) { v.Change, v.Users = chat.ChangeAdded, []chat.UserID{"2", "bob"} }), false, "")
	event(e(chat.EventParticipants, func(v *chat.Event) {
		v.Change, v.Users, v.Role = chat.ChangeRole, []chat.UserID{"2"}, chat.RoleAdmin
	}), false, "")
	event(e(chat.EventConversation, func(v *chat.Event) {
		v.Change, v.Kind, v.Name, v.Users = chat.ChangeCreated, chat.Group, "G", []chat.UserID{"7", "2"}
	}), false, "")
	event(e(chat.EventConversation, func(v *chat.Event) { v.Change, v.Name = chat.ChangeRenamed, `"H"` }), false, "")
	add(frame.AppendTyping(nil, conv, &chat.TypingNotice{User: "7", Username: "alice", On: true}))
	for _, k := range []chat.ReceiptKind{chat.ReceiptRead, chat.ReceiptDelivered} {
		add(frame.AppendReceipt(nil, conv, &chat.ReadNotice{Kind: k, User: "7", Username: "alice", Message: msg, Seq: 2, At: at}))
	}
	add(frame.AppendReceipt(nil, conv, &chat.ReadNotice{Kind: chat.ReceiptRead, Message: msg, Seq: 2, At: at, Readers: 41}))
	add(frame.AppendGroupCreated(nil, conv, "G", 3, `"r1"`))
	add(frame.AppendContactAdded(nil, "alice", ""))
	add(frame.AppendContactAdded(nil, `a"<`, `"r1"`))
	add(frame.AppendResumed(nil, conv, 2, 9, ""))
	add(frame.AppendGap(nil, conv, 2, 5000, `"r1"`))
	add(frame.AppendHead(nil, conv, &chat.HeadNotice{Seq: 9}))
	add(frame.AppendScheduledFailed(nil, conv, &chat.ScheduledNotice{ID: chat.ScheduledID(msg), Reason: "blocked", SendAt: at}))
	page := &chat.Extras{Preview: &chat.LinkPreview{URL: "https://example.org/", Title: `<b>"t"</b>`, Image: "https://example.org/a.png", Site: "é"}}
	event(e(chat.EventPreview, func(v *chat.Event) { v.Message, v.MessageSeq, v.Extras = msg, 2, page }), false, "")
	event(e(chat.EventMessage, func(v *chat.Event) { v.Content, v.Extras = "https://example.org/", page }), false, "")
	search := func(limit int, ref string, items ...chat.SearchItem) {
		b, _ := frame.AppendSearchResults(nil, "ne<edle", items, limit, ref)
		add(b)
	}
	hit := chat.SearchItem{Highlight: "a &lt;<mark>needle</mark>", MessageItem: chat.MessageItem{Conversation: conv,
		Event: e(chat.EventMessage, func(v *chat.Event) { v.Content = "a <needle" }), Sender: chat.User{ID: "7", Username: "alice"}}}
	named := hit
	named.ConversationName, named.Sender = "G", chat.User{}
	search(10, "")
	search(10, `"r1"`, hit, named)
	search(1000, "", hit, named)
	add(frame.AppendOK(nil, "1"))
	add(frame.AppendPong(nil, ""))
	add(frame.AppendAuth(nil, at, "1"))
	add(frame.AppendError(nil, &frame.Error{Code: frame.CodeEmptyMessage, Text: frame.TextEmptyMessage}, chat.ConversationID{}))
	add(frame.AppendError(nil, &frame.Error{Code: frame.CodeRateLimited, Text: "Too many messages, slow down.", Ref: "3", RetryAfter: 1500*time.Millisecond + 1}, conv))
	add(frame.AppendGoaway(nil, 3*time.Second))
	return out
}

// TestGoldenFrames pins the bytes of every server frame.
func TestGoldenFrames(t *testing.T) {
	path := filepath.Join("testdata", "server_frames.jsonl")
	got := strings.Join(vectors(), "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		a, b := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Errorf("line %d\ngot  %s\nwant %s", i+1, a[i], b[i])
			}
		}
		t.Fatalf("%d lines, want %d", len(a), len(b))
	}
}

func TestAppendWithRef(t *testing.T) {
	for _, ref := range []string{"", "12", `"a\u003cb"`} {
		v := chat.Event{Seq: 1, Type: chat.EventMessage, At: at, Actor: "7", ActorName: "alice", Message: msg, Content: "hello}"}
		shared := frame.AppendEvent(nil, conv, &v, false, "")
		before := string(shared)
		want := "x" + string(frame.AppendEvent(nil, conv, &v, false, ref))
		if got := string(frame.AppendWithRef([]byte("x"), shared, ref)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if string(shared) != before {
			t.Errorf("changed the shared frame to %s", shared)
		}
	}
}

// TestReq030_StatusFrame and the next compare with bytes captured from the original system.
func TestReq030_StatusFrame(t *testing.T) {
	if got := string(frame.AppendStatus(nil)); got != `{"type":"status","message":"Connected","is_online":true}` {
		t.Fatal(got)
	}
}

func TestReq031_MessageFrame(t *testing.T) {
	v := chat.Event{Seq: 1, Type: chat.EventMessage, At: at, Actor: "7", ActorName: "alice", Message: msg, Content: "hello"}
	want := `{"type":"message","id":"` + msgText + `","sender":"alice","content":"hello","timestamp":"2026-11-22T20:46:05.773005+00:00",` +
		`"file":"","is_voice":false,"is_read":false,"conversation_id":"` + convText + `"`
	if got := string(frame.AppendEvent(nil, conv, &v, false, "")); !strings.HasPrefix(got, want+`,"sender_id":7,"seq":1}`) {
		t.Fatalf("got  %s\nwant %s…", got, want)
	}
}

func TestReq114_MarkupIsEscaped(t *testing.T) {
	evil := "<script>&\u2028</script>"
	v := chat.Event{Seq: 1, Type: chat.EventMessage, Actor: chat.UserID(evil), ActorName: evil, Content: evil, ClientID: evil,
		Reactions: []chat.Reaction{{User: "1", Emoji: evil}}}
	for _, b := range [][]byte{
		frame.AppendEvent(nil, conv, &v, false, ""),
		frame.AppendTyping(nil, conv, &chat.TypingNotice{Username: evil}),
		frame.AppendGroupCreated(nil, conv, evil, 1, ""),
		frame.AppendError(nil, &frame.Error{Text: evil}, conv),
	} {
		if bytes.ContainsAny(b, "<>&\u2028") {
			t.Errorf("%s", b)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil || !strings.Contains(fmt.Sprint(m), evil) {
			t.Errorf("%s: %v", b, err)
		}
	}
}

// TestTypesDescribeTheFrames compares the table with what is really sent: names, order, kinds, required fields.
func TestTypesDescribeTheFrames(t *testing.T) {
	table := map[string]frame.FrameType{}
	for _, ft := range frame.Types {
		if !ft.FromClient {
			table[ft.Name] = ft
			continue
		}
		var f frame.ClientFrame
		err := frame.Decode([]byte(`{"type":"`+ft.Name+`"}`), &f)
		var fe *frame.Error
		if errors.As(err, &fe) && fe.Code == frame.CodeUnknownType {
			t.Errorf("%s is in the table but not known", ft.Name)
		}
		if f.Type.InConversation() != ft.InConversation {
			t.Errorf("%s: InConversation", ft.Name)
		}
	}
	seen := map[string]bool{}
	for _, v := range vectors() {
		d := json.NewDecoder(strings.NewReader(v))
		d.UseNumber()
		var keys []string
		kinds := map[string]any{}
		_, _ = d.Token()
		for d.More() {
			k, _ := d.Token()
			var x any
			if err := d.Decode(&x); err != nil {
				t.Fatalf("%s: %v", v, err)
			}
			keys = append(keys, k.(string))
			kinds[k.(string)] = x
		}
		name, _ := kinds["type"].(string)
		ft, ok := table[name]
		if !ok {
			t.Errorf("%s is not in the table", name)
			continue
		}
		seen[name] = true
		i := 1
		for _, f := range ft.Fields {
			if i < len(keys) && keys[i] == f.Name {
				if x := kinds[f.Name]; f.Name != "ref" && !isKind(x, f.Kind) {
					t.Errorf("%s.%s: %v is no %s", name, f.Name, x, f.Kind)
				}
				i++
			} else if f.Required {
				t.Errorf("%s: %s is missing or out of order in %s", name, f.Name, v)
			}
		}
		if i != len(keys) {
			t.Errorf("%s: %v is not in the table, or out of order", name, keys[i:])
		}
	}
	for name := range table {
		if !seen[name] {
			t.Errorf("no vector of %s", name)
		}
	}
}

func isKind(x any, kind string) bool {
	if el, ok := strings.CutPrefix(kind, "["); ok {
		list, ok := x.([]any)
		return ok && !slices.ContainsFunc(list, func(v any) bool { return !isKind(v, strings.TrimSuffix(el, "]")) })
	}
	s, isString := x.(string)
	_, isNumber := x.(json.Number)
	switch kind {
	case "string":
		return isString
	case "uuid":
		_, err := chat.ParseConversationID(s)
		return err == nil && len(s) == 36
	case "time":
		_, err := time.Parse("2006-01-02T15:04:05.000000+00:00", s)
		return err == nil
	case "bool":
		_, ok := x.(bool)
		return ok
	case "integer":
		return isNumber
	case "user":
		return isNumber || isString
	case "object":
		_, ok := x.(map[string]any)
		return ok
	}
	return false
}

func TestErrorsOfChat(t *testing.T) {
	secret := errors.New("row of secret@example.com")
	for _, o := range frame.Outcomes {
		e := frame.ErrorOf(fmt.Errorf("%w: %w", o.Err, secret), "9")
		if e.Code != o.Code || e.Text != o.Text || e.Ref != "9" || strings.Contains(e.Text, "secret") {
			t.Errorf("%v: %+v", o.Err, e)
		}
	}
	if e := frame.ErrorOf(secret, ""); e.Code != frame.CodeInternal || e.Text != "Internal error." {
		t.Errorf("%+v", e)
	}
	if e := frame.ErrorOf(&chat.RateLimitError{RetryAfter: time.Second}, ""); e.Code != frame.CodeRateLimited || e.RetryAfter != time.Second {
		t.Errorf("%+v", e)
	}
	if e := frame.ErrorOf(&chat.FieldError{Field: "emoji", Text: "No."}, ""); e.Text != "emoji: No." {
		t.Errorf("%+v", e)
	}
}

// TestClientFrames replays the frames of clients of the original system.
func TestClientFrames(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "client_frames.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		var cf frame.ClientFrame
		if err := frame.Decode(s.Bytes(), &cf); err != nil {
			t.Errorf("%s: %v", s.Text(), err)
		}
	}
	if n == 0 {
		t.Fatal("no vectors")
	}
}
