package auth

import (
	"fmt"
	"net/url"
	"strings"
)

// Origins decides which web pages may use the hub (RFC 6454). The zero value allows pages of the hub's own
// host only. It is immutable.
type Origins struct {
	any   bool
	exact map[string]bool
	wild  []wildcard
}

type wildcard struct{ scheme, suffix string } // suffix with its leading dot, port included

// ParseOrigins reads an allow-list: exact origins ("https://app.example.com", a port if it is not the default
// one), all subdomains ("https://*.example.com", which does not include example.com itself), or "*".
func ParseOrigins(list []string) (*Origins, error) {
	o := &Origins{exact: make(map[string]bool)}
	for _, s := range list {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if s == "*" {
			o.any = true
			continue
		}
		scheme, host, ok := splitOrigin(strings.Replace(s, "://*.", "://", 1))
		if !ok {
			return nil, fmt.Errorf("auth: origin %q: want scheme://host[:port], scheme://*.host[:port] or *", s)
		}
		if strings.Contains(s, "://*.") {
			o.wild = append(o.wild, wildcard{scheme, "." + host})
		} else {
			o.exact[scheme+"://"+host] = true
		}
	}
	return o, nil
}

// Allowed decides on a request with the given Origin header (empty: none) to the given Host. Pages of the same
// host are always allowed. With a credential that the browser adds by itself (a cookie), the Origin is what
// protects from forged requests (requirement 116): it must be there, and "*" does not count.
func (o *Origins) Allowed(origin, host string, source Source) bool {
	if origin == "" {
		return !source.Ambient()
	}
	scheme, from, ok := splitOrigin(origin)
	if !ok { // "null" and garbage
		return o.any && !source.Ambient()
	}
	// The scheme of the hub is not known behind a TLS terminator: compare hosts, by the Origin's default port.
	if from == stripPort(strings.ToLower(host), scheme) {
		return true
	}
	if o.any && !source.Ambient() {
		return true
	}
	if o.exact[scheme+"://"+from] {
		return true
	}
	for _, w := range o.wild {
		if w.scheme == scheme && len(from) > len(w.suffix) && strings.HasSuffix(from, w.suffix) {
			return true
		}
	}
	return false
}

// splitOrigin returns scheme and host[:port], lower-cased and without the scheme's default port.
func splitOrigin(s string) (scheme, host string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.Opaque != "" ||
		(u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" ||
		strings.ContainsAny(u.Host, "*, \t") {
		return "", "", false
	}
	scheme = strings.ToLower(u.Scheme)
	return scheme, stripPort(strings.ToLower(u.Host), scheme), true
}

func stripPort(host, scheme string) string {
	switch scheme {
	case "http", "ws":
		return strings.TrimSuffix(host, ":80")
	case "https", "wss":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}
