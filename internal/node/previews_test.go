package node_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/zumodra/hub/edge/preview"
	"github.com/zumodra/hub/internal/config"
)

// page is a server of one page, and how often it was asked.
func page(t *testing.T) (url string, asked *atomic.Int32, at netip.AddrPort) {
	t.Helper()
	asked = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<title>Tea</title><meta name=description content="How to make it">`)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked, netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestLinkPreviews(t *testing.T) {
	t.Parallel()
	url, asked, at := page(t)
	h := prepared(t)
	h.previews = preview.New(preview.Config{PerHost: 1000, Allow: func(a netip.AddrPort) bool { return a == at }})
	h.begin()
	us := h.users("ann", "bob")
	ann, bob := us[0], us[1]
	id := ann.direct("bob")
	s := bob.dial(id)
	m := ann.post(id, "see "+url+"/tea!").str("id")
	s.expect("message")
	shown := func(f object) bool {
		p := f.obj("link_preview")
		return p.str("url") == url+"/tea" && p.str("title") == "Tea" && p.str("description") == "How to make it" && p.str("image_url") == ""
	}
	if f := s.expect("link_preview"); f.str("message_id") != m || f.num("seq") != 3 || f.str("user") != "ann" || !shown(f.object) {
		t.Error(f.raw)
	}
	detail := func() object { return bob.call("GET", "messages/"+m+"/", nil).want(200).body }
	if f := detail(); !shown(f) {
		t.Error(f)
	}
	h.drop()
	if f := detail(); !shown(f) {
		t.Errorf("after a crash: %v", f)
	}
	ann.call("PATCH", "messages/"+m+"/", object{"content": "no link"}).want(200)
	if f := detail(); f["link_preview"] != nil {
		t.Errorf("after an edit: %v", f)
	}
	if asked.Load() != 1 {
		t.Errorf("the page was asked %d times", asked.Load())
	}
}

// Nothing is asked unless the operator says so, and then nothing on private addresses.
func TestLinkPreviewsAreOffAndSafe(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		url, asked, _ := page(t)
		h := start(t, func(c *config.Config) { c.LinkPreviews = on })
		us := h.users("ann", "bob")
		id := us[0].direct("bob")
		s := us[1].dial(id)
		for _, link := range []string{url, "http://localhost" + url[len("http://127.0.0.1"):], "http://[::1]/"} {
			us[0].post(id, link)
			s.expect("message")
		}
		h.restart() // waits for what is under way
		if f := us[1].call("GET", "messages/?conversation="+id, nil).want(200).body.list("results"); len(f) != 3 || f[0]["link_preview"] != nil {
			t.Error(f)
		}
		if asked.Load() != 0 {
			t.Errorf("previews %v: a private address was asked", on)
		}
	}
}
