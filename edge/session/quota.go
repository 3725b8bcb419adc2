package session

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/frame"
)

// Limits of the sessions of a tenant on this node; 0: none.
type Limits struct {
	Tenant, User, Address int
}

// network is auth.Network as a number: 0 if the address is not known. An address of IPv4 is one that no network of
// IPv6 in use has.
func network(a netip.Addr) uint64 {
	n := auth.Network(a).Addr()
	switch {
	case n.Is4():
		b := n.As4()
		return 1<<32 | uint64(binary.BigEndian.Uint32(b[:]))
	case n.Is6():
		b := n.As16()
		return binary.BigEndian.Uint64(b[:8])
	}
	return 0
}

// networkText is the reverse.
func networkText(n uint64) string {
	switch {
	case n == 0:
		return ""
	case n>>32 == 1:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n))
		return netip.AddrFrom4(b).String()
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64).String()
}

// quota counts the sessions of tenants, and of addresses where those are limited. Its lock is a leaf.
type quota struct {
	mu        sync.Mutex
	tenants   map[chat.TenantID]int
	addresses map[place]int
}

type place struct {
	tenant chat.TenantID
	net    uint64
}

// take counts a session, or reports that there is no room. counted says that its address was.
func (q *quota) take(t chat.TenantID, net uint64, l Limits) (counted, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tenants == nil {
		q.tenants, q.addresses = make(map[chat.TenantID]int), make(map[place]int)
	}
	counted = l.Address > 0 && net != 0
	p := place{t, net}
	if l.Tenant > 0 && q.tenants[t] >= l.Tenant || counted && q.addresses[p] >= l.Address {
		return false, false
	}
	q.tenants[t]++
	if counted {
		q.addresses[p]++
	}
	return counted, true
}

func (q *quota) give(t chat.TenantID, net uint64, counted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tenants[t]--; q.tenants[t] <= 0 {
		delete(q.tenants, t)
	}
	if p := (place{t, net}); counted {
		if q.addresses[p]--; q.addresses[p] <= 0 {
			delete(q.addresses, p)
		}
	}
}

// Recheck looks at sessions again and closes those that Config.Admit does not let in any more: those of a user, with an
// empty User those of the tenant, with an empty Tenant all.
func (m *Manager) Recheck(k chat.UserKey) {
	if k.User != "" {
		for _, i := range m.users.sessions(k, nil) {
			m.recheck(i, k)
		}
		return
	}
	if k.Tenant != "" { // an erased tenant's users are not stored any more, should it be made anew
		m.seen.forget()
	}
	for i := uint32(1); i < m.slab.limit(); i++ {
		m.recheck(i, k)
	}
}

// recheck is Recheck of one session, if it is of the user or tenant.
func (m *Manager) recheck(i uint32, k chat.UserKey) {
	if m.cfg.Admit == nil {
		return
	}
	r := m.slab.get(i)
	r.mu.Lock()
	s, u, pass := link{r, r.handle, i}, r.user, auth.Pass{Issued: r.issued, Token: r.token}
	live := u != nil && r.state != stateFree && r.state != stateClosing
	r.mu.Unlock()
	if !live || k.Tenant != "" && u.tenant != k.Tenant || k.User != "" && u.id != k.User {
		return
	}
	pass.User = u.key()
	if err := m.cfg.Admit(pass); err != nil {
		code, reason := closeFor(err)
		m.end(s, code, reason)
	}
}

// AddressOf is the network that a session of the user's came from, for the audit log: an address of IPv4, or a /64 of
// IPv6; empty if it is not known.
func (m *Manager) AddressOf(k chat.UserKey, s chat.SessionID) string {
	for _, i := range m.users.sessions(k, nil) {
		r := m.slab.get(i)
		r.mu.Lock()
		mine, net := chat.SessionID(r.handle) == s, r.net
		r.mu.Unlock()
		if mine {
			return networkText(net)
		}
	}
	return ""
}

// crowded refuses a session for which there is no room.
func (m *Manager) crowded(s link) {
	b := frame.AppendError(nil, &frame.Error{Code: frame.CodeRateLimited, Text: "Too many connections.", RetryAfter: m.retryAfter()}, chat.ConversationID{})
	m.sendLast(s, b)
	m.end(s, frame.CloseRateLimited, "too many connections")
}
