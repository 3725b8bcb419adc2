package preview_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/preview"
)

func TestOnlyPublicAddressesAreAsked(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "2606:2800:220:1::1": true, "::ffff:8.8.8.8": true,
		"0.0.0.0": false, "10.1.2.3": false, "100.64.0.1": false, "127.0.0.1": false, "127.9.9.9": false, "169.254.169.254": false,
		"172.16.0.1": false, "172.31.255.255": false, "192.0.0.8": false, "192.168.1.1": false, "198.18.0.1": false, "198.51.100.7": false,
		"203.0.113.9": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false, "192.88.99.1": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "fe80::1": false, "fe80::1%eth0": false,
		"fc00::1": false, "fd12:3456::1": false, "ff02::1": false, "2001:db8::1": false, "2002:7f00:1::": false, "64:ff9b::7f00:1": false,
		"64:ff9b:1::1": false, "2001::1": false, "fec0::1": false, "100::1": false, "3fff::1": false, "5f00::1": false,
	} {
		if got := preview.Public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if preview.Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// site is a server on loopback, of which only the port that it has may be asked.
func site(t *testing.T, h http.HandlerFunc) (string, preview.Config) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	only := netip.MustParseAddrPort(s.Listener.Addr().String())
	return s.URL, preview.Config{PerHost: 1000, Allow: func(a netip.AddrPort) bool { return a == only }}
}

func page(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, body)
}

func TestWhatAPageSays(t *testing.T) {
	asked := atomic.Int32{}
	at, c := site(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		for _, h := range []string{"Cookie", "Authorization", "Referer"} {
			if r.Header.Get(h) != "" {
				t.Errorf("%s is sent", h)
			}
		}
		switch r.URL.Path {
		case "/og":
			page(w, `<!doctype html><head><title>no</title><meta property="og:title" content="A &lt;b&gt; title"><META NAME=description CONTENT="about
				 it`+"\u202e\x07"+`"><meta property="og:image" content="/a.png"><meta property="og:site_name" content="Site"></head><body><title>x</title>`)
		case "/title":
			page(w, "<title>"+strings.Repeat("é", 400)+"</title><p>")
		case "/bad-image":
			page(w, `<title>t</title><meta property="og:image" content="javascript:alert(1)"><meta property="og:image" content="data:x">`)
		case "/latin":
			w.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
			fmt.Fprint(w, "<title>caf\xe9</title>")
		case "/moved":
			http.Redirect(w, r, "/og", http.StatusFound)
		case "/empty":
			page(w, "<p>nothing</p>")
		case "/json":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{}`)
		case "/far":
			page(w, "<head>"+strings.Repeat("<!-- x -->", 100_000)+"<title>too far</title>")
		default:
			http.NotFound(w, r)
		}
	})
	f := preview.New(c)
	for path, want := range map[string]chat.LinkPreview{
		"/og":        {Title: "A <b> title", Description: "about it", Image: at + "/a.png", Site: "Site"},
		"/moved":     {Title: "A <b> title", Description: "about it", Image: at + "/a.png", Site: "Site"},
		"/title":     {Title: strings.Repeat("é", chat.MaxPreviewTitle)},
		"/bad-image": {Title: "t"},
		"/latin":     {Title: "café"},
	} {
		want.URL = at + path
		for range 2 {
			if got, err := f.Get(t.Context(), at+path); err != nil || got != want || !got.Valid() {
				t.Errorf("%s: %+v, %v", path, got, err)
			}
		}
	}
	if n := asked.Load(); n != 6 { // /moved asks twice
		t.Errorf("the pages were asked %d times", n)
	}
	for _, path := range []string{"/empty", "/json", "/far", "/none"} {
		for range 2 {
			if got, err := f.Get(t.Context(), at+path); !errors.Is(err, preview.ErrNothing) {
				t.Errorf("%s: %+v, %v", path, got, err)
			}
		}
	}
	if n := asked.Load(); n != 10 {
		t.Errorf("the pages were asked %d times", n)
	}
}

func TestNothingPrivateIsReached(t *testing.T) {
	reached := atomic.Int32{}
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		page(w, "<title>secret</title>")
	}))
	defer inside.Close()
	hops := atomic.Int32{}
	at, c := site(t, func(w http.ResponseWriter, r *http.Request) {
		hops.Add(1)
		switch r.URL.Path {
		case "/inside":
			http.Redirect(w, r, inside.URL, http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/login":
			http.Redirect(w, r, "http://user:pw@"+r.Host+"/", http.StatusFound)
		default:
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
		}
	})
	f := preview.New(c)
	u, _ := url.Parse(inside.URL)
	for _, link := range []string{
		inside.URL, "http://localhost:" + u.Port(), "http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/",
		"http://2130706433/", "http://0x7f.1/", "https://127.0.0.1:8443/", "http://user@" + u.Host, "ftp://example.org/", "http:///x", "//x", "x",
		at + "/inside", at + "/file", at + "/login", "http://" + strings.Repeat("a", 3000),
	} {
		if got, err := f.Get(t.Context(), link); err == nil {
			t.Errorf("%s: %+v", link, got)
		}
	}
	if _, err := f.Get(t.Context(), at+"/round"); !errors.Is(err, preview.ErrRefused) {
		t.Error(err)
	}
	if reached.Load() != 0 {
		t.Error("a private address was asked")
	}
	if n := hops.Load(); n != 3+4 {
		t.Errorf("%d requests", n)
	}
}

func TestOneHostIsNotAskedTooOften(t *testing.T) {
	at, c := site(t, func(w http.ResponseWriter, _ *http.Request) { page(w, "<title>t</title>") })
	c.PerHost = 0.001
	f := preview.New(c)
	if _, err := f.Get(t.Context(), at+"/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get(t.Context(), at+"/2"); !errors.Is(err, preview.ErrBusy) {
		t.Fatal(err)
	}
	if _, err := f.Get(t.Context(), at+"/1"); err != nil { // remembered
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<head><meta property="og:title" content="x"><title>t</title></head>`), "text/html; charset=utf-8")
	f.Add([]byte("<title>caf\xe9"), "text/html; charset=iso-8859-1")
	base, _ := url.Parse("https://example.org/a")
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		p := preview.Parse(strings.NewReader(string(body)), kind, base)
		p.URL = base.String()
		if !p.Valid() {
			t.Errorf("%+v", p)
		}
		if strings.ContainsAny(p.Title+p.Description+p.Site, "\x00\n\r\u202e") {
			t.Errorf("%q", p)
		}
		if p.Image != "" && !strings.HasPrefix(p.Image, "http") {
			t.Errorf("image %q", p.Image)
		}
	})
}
