package preview

import "net/netip"

// special are the blocks that are not globally reachable, or that lead to such: IANA's registries of special-purpose
// addresses (RFC 6890 and its successors), and the blocks in which an IPv4 address is embedded (RFC 6052, 3056, 4380).
var special = blocks(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)

// global is what IANA has given out of IPv6 so far; the exceptions are in it.
var (
	global     = netip.MustParsePrefix("2000::/3")
	exceptions = blocks("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)

func blocks(all ...string) (out []netip.Prefix) {
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// Public reports whether an address is one of the public Internet, which anybody may be sent to.
func Public(a netip.Addr) bool {
	if a = a.Unmap(); !a.IsValid() || a.Zone() != "" {
		return false
	}
	list := special
	if a.Is6() {
		if !global.Contains(a) {
			return false
		}
		list = exceptions
	}
	for _, p := range list {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
