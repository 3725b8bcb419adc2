package chat_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/zumodra/hub/chat"
)

func TestUserIDForms(t *testing.T) {
	for _, tc := range []struct{ in, id, json string }{
		{`2`, "2", `2`},
		{`"2"`, "2", `2`},
		{`"00000000-0000-0000-0000-000000000002"`, "2", `2`},
		{`"alice"`, "alice", `"alice"`},
		{`"007"`, "007", `"007"`},
		{`"9007199254740993"`, "9007199254740993", `"9007199254740993"`},
		{`"018f3c8e-5f0a-7cc2-b9a4-2f1f9d2d8a11"`, "018f3c8e-5f0a-7cc2-b9a4-2f1f9d2d8a11", `"018f3c8e-5f0a-7cc2-b9a4-2f1f9d2d8a11"`},
	} {
		var u chat.UserID
		if err := json.Unmarshal([]byte(tc.in), &u); err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		out, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		if string(u) != tc.id || string(out) != tc.json {
			t.Errorf("%s: id %q, JSON %s; want %q, %s", tc.in, u, out, tc.id, tc.json)
		}
	}
	for _, in := range []string{`""`, `-1`, `1.5`, `true`, `null`, `[1]`, `"a b"`, `"a\u0000"`, `"` + strings.Repeat("x", 129) + `"`} {
		var u chat.UserID
		if err := json.Unmarshal([]byte(in), &u); in != "null" && !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", in, err)
		}
	}
}

func TestDirectIDIsOnePerPairAndTenant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.StringMatching(`[a-z0-9]{1,12}`)
		a, b, c := chat.UserID(gen.Draw(t, "a")), chat.UserID(gen.Draw(t, "b")), chat.UserID(gen.Draw(t, "c"))
		id := chat.DirectID("t", a, b)
		if id != chat.DirectID("t", b, a) {
			t.Fatal("depends on the order")
		}
		if id == chat.DirectID("u", a, b) {
			t.Fatal("two tenants share an id")
		}
		if c != a && c != b && id == chat.DirectID("t", a, c) {
			t.Fatal("two pairs share an id")
		}
		if u := uuid.UUID(id); u.Version() != 8 || u.Variant() != uuid.RFC4122 {
			t.Fatalf("not a UUIDv8: %v", u)
		}
	})
}

func TestMessageIDSaysWhereItLies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := chat.ConversationKey{Tenant: "t", ID: chat.NewConversationID()}
		other := chat.ConversationKey{Tenant: "u", ID: k.ID}
		seq := rapid.Uint64Range(1, 1<<40-1).Draw(t, "seq")
		at := time.UnixMilli(rapid.Int64Range(0, 1<<47).Draw(t, "ms"))
		m := chat.NewMessageID(k, seq, at)
		if m.Seq() != seq || !m.MayBelongTo(k) || m.MayBelongTo(other) {
			t.Fatalf("seq %d came back as %d, mine %v, other tenant's %v", seq, m.Seq(), m.MayBelongTo(k), m.MayBelongTo(other))
		}
		if u := uuid.UUID(m); u.Version() != 8 || u.Variant() != uuid.RFC4122 {
			t.Fatalf("not a UUIDv8: %v", u)
		}
		if next := chat.NewMessageID(k, seq%(1<<40-1)+1, at.Add(time.Duration(seq/(1<<40-1))*time.Millisecond)); seq < 1<<40-1 && next.String() <= m.String() {
			t.Fatal("ids do not order by seq")
		}
		if back, err := chat.ParseMessageID(strings.ReplaceAll(m.String(), "-", "")); err != nil || back != m {
			t.Fatalf("%v: %v", back, err)
		}
	})
}

func TestShardIsSpread(t *testing.T) {
	var n [chat.Shards]int
	for i := range 100 * chat.Shards {
		n[chat.UserKey{Tenant: "t", User: chat.UserID(rune('a'+i%26)) + chat.UserID(uuid.NewString())}.Shard()]++
	}
	for s, c := range n {
		if c < 40 || c > 180 {
			t.Errorf("shard %d holds %d of an expected 100", s, c)
		}
	}
}

func TestContentLimitsCountCodePoints(t *testing.T) {
	if s, err := chat.NormalizeContent("  " + strings.Repeat("é", chat.MaxContent) + "\n"); err != nil || len(s) != 2*chat.MaxContent {
		t.Errorf("10,000 code points: %v", err)
	}
	if _, err := chat.NormalizeContent(strings.Repeat("é", chat.MaxContent+1)); !errors.Is(err, chat.ErrTooLong) {
		t.Errorf("10,001 code points: %v", err)
	}
	if _, err := chat.NormalizeContent(" \t\n"); !errors.Is(err, chat.ErrEmptyMessage) {
		t.Errorf("spaces: %v", err)
	}
	if got := chat.Truncate("héllo", 2); got != "hé" {
		t.Errorf("Truncate: %q", got)
	}
}

func TestMemberSetContains(t *testing.T) {
	s := &chat.MemberSet{Users: []chat.UserID{"a", "c", "e"}}
	for u, want := range map[chat.UserID]bool{"a": true, "b": false, "c": true, "e": true, "f": false, "": false} {
		if s.Contains(u) != want {
			t.Errorf("Contains(%q) = %v", u, !want)
		}
	}
}

func TestUnreadExcludesOwn(t *testing.T) {
	m := chat.Member{Read: chat.Watermark{MsgNo: 3}, OwnAfterRead: 2}
	if got := m.Unread(10); got != 5 {
		t.Errorf("unread = %d, want 5", got)
	}
	m.ArchivedAt = 11
	if !m.Archived(10) || m.Archived(11) {
		t.Error("an archived conversation must come back with the next message")
	}
}

// FuzzAppendJSONString compares with encoding/json, which escapes the same characters.
func FuzzAppendJSONString(f *testing.F) {
	for _, s := range []string{"", "plain", "<script>&\"\\\n\r\t\x00\x1f", "\u2028\u2029é😀", "\xff\xc0a", "\x7f\b\f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := chat.AppendJSONString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		if want := string([]rune(s)); back != want { // one U+FFFD for each invalid byte
			t.Fatalf("%q came back as %q, want %q", s, back, want)
		}
		if strings.ContainsAny(string(got), "<>&\u2028\u2029") {
			t.Fatalf("%q is not safe inside HTML", got)
		}
	})
}

func FuzzParseIDs(f *testing.F) {
	f.Add("018f3c8e-5f0a-7cc2-b9a4-2f1f9d2d8a11")
	f.Add("018f3c8e5f0a7cc2b9a42f1f9d2d8a11")
	f.Add("alice")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := chat.ParseConversationID(s); err == nil && !strings.EqualFold(strings.ReplaceAll(id.String(), "-", ""), strings.ReplaceAll(s, "-", "")) {
			t.Fatalf("%q parsed as %v", s, id)
		}
		if id, err := chat.ParseUserID(s); err == nil {
			if again, err := chat.ParseUserID(string(id)); err != nil || again != id {
				t.Fatalf("%q: canonical form %q is not stable: %q %v", s, id, again, err)
			}
		}
		_, _ = chat.ParseTenantID(s)
	})
}
