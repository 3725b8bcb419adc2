package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the reverse proxies in front of the hub, whose X-Forwarded-For is believed. The zero value and nil believe
// nobody.
type Proxies struct{ nets []netip.Prefix }

// ParseProxies reads addresses and networks such as 10.0.0.0/8.
func ParseProxies(list []string) (*Proxies, error) {
	p := &Proxies{}
	for _, s := range list {
		s = strings.TrimSpace(s)
		n, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("auth: %q is neither an address nor a network", s)
			}
			a = a.Unmap()
			n = netip.PrefixFrom(a, a.BitLen())
		}
		p.nets = append(p.nets, n.Masked())
	}
	return p, nil
}

func (p *Proxies) trusts(a netip.Addr) bool {
	if p == nil {
		return false
	}
	for _, n := range p.nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Client is the address of who sent a request that came from remote: the last one in X-Forwarded-For that is not a
// proxy's, if remote is a proxy's. The zero Addr if remote is.
func (p *Proxies) Client(remote netip.Addr, h http.Header) netip.Addr {
	remote = remote.Unmap().WithZone("")
	if !p.trusts(remote) {
		return remote
	}
	hops := strings.Split(strings.Join(h["X-Forwarded-For"], ","), ",")
	client := remote
	for i := len(hops) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break // what stands before it may be anybody's
		}
		client = a.Unmap().WithZone("")
		if !p.trusts(client) {
			break
		}
	}
	return client
}

// Network is what counts as one client: an IPv4 address, or the /64 that a client of IPv6 has.
func Network(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	n, _ := a.Prefix(bits) // the zero Prefix for the zero Addr
	return n
}
