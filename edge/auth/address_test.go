package auth_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/zumodra/hub/edge/auth"
)

func TestReq119_ClientAddress(t *testing.T) {
	p, err := auth.ParseProxies([]string{"10.0.0.0/8", " 192.0.2.7 ", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"no proxy", "198.51.100.1", []string{"203.0.113.9"}, "198.51.100.1"},
		{"proxy that says nothing", "10.1.2.3", nil, "10.1.2.3"},
		{"one proxy", "10.1.2.3", []string{"203.0.113.9"}, "203.0.113.9"},
		{"forged in front", "10.1.2.3", []string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9"},
		{"two proxies", "192.0.2.7", []string{"1.1.1.1", "203.0.113.9, 10.9.9.9"}, "203.0.113.9"},
		{"only proxies", "10.1.2.3", []string{"10.4.4.4,10.5.5.5"}, "10.4.4.4"},
		{"rubbish", "10.1.2.3", []string{"203.0.113.9, unknown"}, "10.1.2.3"},
		{"mapped", "::ffff:10.1.2.3", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"six", "fd00::1", []string{"2001:db8::5"}, "2001:db8::5"},
	} {
		got := p.Client(netip.MustParseAddr(c.remote), http.Header{"X-Forwarded-For": c.forwarded})
		if got.String() != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if got := (*auth.Proxies)(nil).Client(netip.MustParseAddr("10.0.0.1"), http.Header{"X-Forwarded-For": {"1.2.3.4"}}); got.String() != "10.0.0.1" {
		t.Errorf("without proxies: %s", got)
	}
	if _, err := auth.ParseProxies([]string{"proxy.example"}); err == nil {
		t.Error("a name was taken for a network")
	}
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64"} {
		if got := auth.Network(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("network of %s: %s", in, got)
		}
	}
	if got := auth.Network(netip.Addr{}); got.IsValid() {
		t.Errorf("network of nothing: %s", got)
	}
}
