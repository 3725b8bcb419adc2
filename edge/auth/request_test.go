package auth_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zumodra/hub/edge/auth"
)

func TestFromRequest(t *testing.T) {
	h := func(kv ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Add(kv[i], kv[i+1])
		}
		return h
	}
	all := h("Authorization", "bearer  A", "Sec-WebSocket-Protocol", "bearer, S", "Cookie", "sessionid=C")
	for _, c := range []struct {
		name, query, cookie string
		h                   http.Header
		token               string
		source              auth.Source
	}{
		{"header first", "token=Q", "sessionid", all, "A", auth.SourceHeader},
		{"other schemes do not count", "token=Q", "", h("Authorization", "Basic QTpC"), "Q", auth.SourceQuery},
		{"query before subprotocol", "a=b&token=Q%2B1&token=R", "", h("Sec-WebSocket-Protocol", "bearer, S"), "Q+1", auth.SourceQuery},
		{"broken query elsewhere", "%zz&token=Q;&x", "", h(), "Q;", auth.SourceQuery},
		{"empty query value", "token=", "sessionid", h("Cookie", "a=b; sessionid=C"), "C", auth.SourceCookie},
		{"subprotocol", "", "sessionid", h("Sec-WebSocket-Protocol", "chat,bearer,S", "Cookie", "sessionid=C"), "S", auth.SourceSubprotocol},
		{"subprotocol in two lines", "", "", h("Sec-WebSocket-Protocol", "bearer", "Sec-WebSocket-Protocol", "S"), "S", auth.SourceSubprotocol},
		{"bearer alone", "", "", h("Sec-WebSocket-Protocol", "bearer"), "", auth.SourceNone},
		{"cookie only when configured", "", "", h("Cookie", "sessionid=C"), "", auth.SourceNone},
		{"nothing", "", "sessionid", h(), "", auth.SourceNone},
	} {
		if tok, src := auth.FromRequest(c.h, c.query, c.cookie); tok != c.token || src != c.source {
			t.Errorf("%s: got %q from %v", c.name, tok, src)
		}
	}
	if !auth.OffersBearer(all) || auth.OffersBearer(h()) || !auth.OffersBearer(h("Sec-WebSocket-Protocol", "bearer")) {
		t.Error("OffersBearer")
	}
}

func FuzzFromRequest(f *testing.F) {
	f.Add("Bearer x", "token=%41", "bearer, y", "sessionid=z")
	f.Add("Bearer", "&&=&token", ",bearer,,", "sessionid")
	f.Fuzz(func(t *testing.T, a, q, p, c string) {
		h := http.Header{"Authorization": {a}, "Sec-Websocket-Protocol": {p}, "Cookie": {c}}
		tok, src := auth.FromRequest(h, q, "sessionid")
		if (tok == "") != (src == auth.SourceNone) {
			t.Fatalf("%q from %v", tok, src)
		}
		if src == auth.SourceSubprotocol && (!auth.OffersBearer(h) || strings.ContainsAny(tok, ",")) {
			t.Fatalf("%q", tok)
		}
	})
}

func TestReq044_Origins(t *testing.T) {
	o, err := auth.ParseOrigins([]string{"https://app.example.com", "https://*.tenants.example.com:8443", " http://localhost:5173 "})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"https://app.example.com", "hub.example.com", true},
		{"https://APP.example.com:443", "hub.example.com", true},
		{"http://app.example.com", "hub.example.com", false},
		{"https://app.example.com:444", "hub.example.com", false},
		{"https://app.example.com.evil.example", "hub.example.com", false},
		{"https://a.tenants.example.com:8443", "hub.example.com", true},
		{"https://a.b.tenants.example.com:8443", "hub.example.com", true},
		{"https://tenants.example.com:8443", "hub.example.com", false},
		{"https://eviltenants.example.com:8443", "hub.example.com", false},
		{"http://localhost:5173", "127.0.0.1:8080", true},
		{"https://hub.example.com", "hub.example.com", true}, // the same host
		{"http://hub.example.com:8080", "hub.example.com:8080", true},
		{"http://hub.example.com:8081", "hub.example.com:8080", false},
		{"null", "hub.example.com", false},
		{"https://evil.example", "hub.example.com", false},
		{"https://hub.example.com@evil.example", "hub.example.com", false},
		{"//hub.example.com", "", false},
	} {
		for _, src := range []auth.Source{auth.SourceQuery, auth.SourceCookie} {
			if got := o.Allowed(c.origin, c.host, src); got != c.want {
				t.Errorf("%s to %s by %v: %v", c.origin, c.host, src, got)
			}
		}
	}
	for _, bad := range []string{"app.example.com", "https://", "https://*", "https://a.*.example.com", "https://app.example.com/path", "null"} {
		if _, err := auth.ParseOrigins([]string{bad}); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestReq116_CookiesNeedAKnownOrigin(t *testing.T) {
	anyone, err := auth.ParseOrigins([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	var own auth.Origins
	for _, c := range []struct {
		o      *auth.Origins
		origin string
		src    auth.Source
		want   bool
	}{
		{&own, "", auth.SourceHeader, true}, // not a browser
		{&own, "", auth.SourceNone, true},
		{&own, "", auth.SourceCookie, false},
		{&own, "https://evil.example", auth.SourceQuery, false},
		{anyone, "https://evil.example", auth.SourceQuery, true},
		{anyone, "null", auth.SourceQuery, true},
		{anyone, "https://evil.example", auth.SourceCookie, false},
		{anyone, "", auth.SourceCookie, false},
		{anyone, "https://hub.example.com", auth.SourceCookie, true},
	} {
		if got := c.o.Allowed(c.origin, "hub.example.com", c.src); got != c.want {
			t.Errorf("%q by %v: %v", c.origin, c.src, got)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 40)
	if err := os.WriteFile(path, []byte("# ops\n"+a+"\n\n  "+b+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := auth.LoadAPIKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]bool{a: true, b: true, a + "a": false, a[1:]: false, "": false, "# ops": false} {
		if k.Valid(s) != want {
			t.Errorf("%q", s)
		}
	}
	var none *auth.APIKeys
	if none.Valid("") || (&auth.APIKeys{}).Valid("") {
		t.Error("no key opens")
	}
	for _, content := range []string{"", "# only\n", "short\n"} {
		_ = os.WriteFile(path, []byte(content), 0o600)
		if _, err := auth.LoadAPIKeys(path); err == nil || (content == "short\n" && strings.Contains(err.Error(), "short")) {
			t.Errorf("%q: %v", content, err)
		}
	}
}
