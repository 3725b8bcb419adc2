package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestReq114_Req115_MarkupAndOddities(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	var odd []string
	for _, text := range []string{
		`<script>alert("1")</script>`, `</script><!-- & -->`, `'; DROP TABLE users; --`, `" OR ""="`, `100% _under_ \back\ "quotes"`,
		"a\u2028b\u2029c", "\u202egnp.exe", "🇩🇪👩‍👩‍👧‍👦", "a\x00b", "\ufeffbom", "{{7*7}} ${7*7} %s%n", "line\r\nline",
	} {
		clientID := strings.ReplaceAll(text, "\x00", "")
		a.send(object{"type": "send_message", "content": text, "client_id": clientID})
		if f := a.next(); f.str("type") != "message" {
			t.Fatalf("%q: %s", text, f.raw)
		}
		f := b.next()
		if f.str("content") != strings.TrimSpace(text) || f.str("client_id") != clientID {
			t.Errorf("%q became %q, client_id %q", text, f.str("content"), f.str("client_id"))
		}
		if strings.ContainsAny(f.raw, "<>&\u2028\u2029") {
			t.Errorf("not escaped: %s", f.raw)
		}
		odd = append(odd, text)
	}
	r := ann.call("GET", "messages/?conversation="+id, nil).want(200)
	if strings.ContainsAny(r.raw, "<>&") {
		t.Errorf("not escaped: %s", r.raw)
	}
	var got []string
	for _, m := range r.body.list("results") {
		got = append(got, m.str("content"))
	}
	slices.Reverse(got)
	if !slices.Equal(got, odd) {
		t.Errorf("stored %q, want %q", got, odd)
	}
	for _, m := range odd {
		j, _ := json.Marshal(m)
		ann.call("POST", "messages/", fmt.Sprintf(`{"conversation_id":"%s","content":%s}`, id, j)).want(http.StatusCreated)
		if f := b.next(); f.str("content") != m {
			t.Errorf("by REST %q became %q", m, f.str("content"))
		}
	}
}
