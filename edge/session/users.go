package session

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

// user is shared by the sessions of one user on this node.
type user struct {
	tenant   chat.TenantID
	id       chat.UserID
	username atomic.Pointer[string] // of the newest token
	// The rest is guarded by registry.
	first uint32 // session
	count uint32
	chain *user // with the same hash
}

func (u *user) key() chat.UserKey { return chat.UserKey{Tenant: u.tenant, User: u.id} }

func (u *user) principal() chat.Principal {
	return chat.Principal{Tenant: u.tenant, User: u.id, Username: *u.username.Load()}
}

// rename sets the name that others see. A token that names none says the id, which does not replace a name.
func (u *user) rename(name string) {
	if *u.username.Load() != name && name != string(u.id) {
		u.username.Store(&name)
	}
}

// registry finds the sessions of a user. Its lock is a leaf: nothing else is locked while it is held. Users are
// filed by the hash of their key, since keys themselves would double the size of the map.
type registry struct {
	seed  maphash.Seed
	slab  *slab
	mu    sync.Mutex
	users map[uint64]*user
	n     int
}

func (g *registry) find(k chat.UserKey) (hash uint64, u *user) {
	hash = maphash.Comparable(g.seed, k)
	for u = g.users[hash]; u != nil && u.key() != k; u = u.chain {
	}
	return hash, u
}

// join adds session i to its user's; nil if there are limit of them already (0: no limit).
func (g *registry) join(p chat.Principal, i uint32, limit int) *user {
	g.mu.Lock()
	defer g.mu.Unlock()
	hash, u := g.find(p.Key())
	if u == nil {
		u = &user{tenant: p.Tenant, id: p.User, chain: g.users[hash]}
		u.username.Store(&p.Username)
		g.users[hash] = u
		g.n++
	} else if limit > 0 && int(u.count) >= limit {
		return nil
	}
	u.rename(p.Username)
	r := g.slab.get(i)
	r.next, r.prev = u.first, 0
	if u.first != 0 {
		g.slab.get(u.first).prev = i
	}
	u.first = i
	u.count++
	return u
}

func (g *registry) leave(u *user, i uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.slab.get(i)
	if r.prev != 0 {
		g.slab.get(r.prev).next = r.next
	} else {
		u.first = r.next
	}
	if r.next != 0 {
		g.slab.get(r.next).prev = r.prev
	}
	r.next, r.prev = 0, 0
	if u.count--; u.count > 0 {
		return
	}
	g.n--
	hash := maphash.Comparable(g.seed, u.key())
	if head := g.users[hash]; head != u {
		for head.chain != u {
			head = head.chain
		}
		head.chain = u.chain
	} else if u.chain != nil {
		g.users[hash] = u.chain
	} else {
		delete(g.users, hash)
	}
}

// sessions appends the indexes of the user's sessions to dst.
func (g *registry) sessions(k chat.UserKey, dst []uint32) []uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, u := g.find(k); u != nil {
		for i := u.first; i != 0; i = g.slab.get(i).next {
			dst = append(dst, i)
		}
	}
	return dst
}

func (g *registry) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}

// seenCache remembers which users, with which profile, were introduced lately: two generations of hashes, so
// that its size is bounded and the users of a reconnect storm are found in it.
type seenCache struct {
	seed      maphash.Seed
	mu        sync.Mutex
	cur, last map[uint64]struct{}
}

const seenGeneration = 65536

func (c *seenCache) hash(u *chat.User) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, s := range [...]string{string(u.Tenant), string(u.ID), u.Username, u.Email, u.FirstName, u.LastName} {
		_, _ = h.WriteString(s)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

func (c *seenCache) has(u *chat.User) bool {
	k := c.hash(u)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.cur[k]; ok {
		return true
	}
	if _, ok := c.last[k]; ok {
		c.addLocked(k)
		return true
	}
	return false
}

func (c *seenCache) add(u *chat.User) {
	k := c.hash(u)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(k)
}

// forget makes everybody be introduced again.
func (c *seenCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cur, c.last = nil, nil
}

func (c *seenCache) addLocked(k uint64) {
	if c.cur == nil || len(c.cur) >= seenGeneration {
		c.last, c.cur = c.cur, make(map[uint64]struct{})
	}
	c.cur[k] = struct{}{}
}

// expiryHeap orders sessions by the second in which their token expires. Its lock is a leaf.
type expiryHeap struct {
	mu   sync.Mutex
	heap []uint32 // sessions
	slab *slab
}

// put sets, or moves, the expiry of a session.
func (e *expiryHeap) put(i uint32, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.slab.get(i)
	sec := at.Unix()
	if at.Nanosecond() > 0 {
		sec++ // a session never ends before its token
	}
	r.expires = uint32(min(max(sec, 1), 1<<32-1))
	if r.heapPos == 0 {
		e.heap = append(e.heap, i)
		r.heapPos = int32(len(e.heap))
	}
	e.fix(int(r.heapPos) - 1)
}

func (e *expiryHeap) remove(i uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.slab.get(i)
	if r.heapPos != 0 {
		e.removeAt(int(r.heapPos) - 1)
	}
	r.expires = 0
}

// pop takes out one session that has expired at now, 0 if there is none. By the time that the caller looks, its
// record may be another session's: see due.
func (e *expiryHeap) pop(now time.Time) uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.heap) == 0 || int64(e.at(0)) > now.Unix() {
		return 0
	}
	top := e.heap[0]
	e.removeAt(0)
	return top
}

// due reports whether session i was popped and is still the one that was. Its record is locked.
func (e *expiryHeap) due(i uint32) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.slab.get(i)
	return r.heapPos == 0 && r.expires != 0
}

func (e *expiryHeap) removeAt(p int) {
	e.slab.get(e.heap[p]).heapPos = 0
	n := len(e.heap) - 1
	if p != n {
		e.heap[p] = e.heap[n]
		e.slab.get(e.heap[p]).heapPos = int32(p + 1)
	}
	e.heap = e.heap[:n]
	if p != n {
		e.fix(p)
	}
}

func (e *expiryHeap) at(p int) uint32 { return e.slab.get(e.heap[p]).expires }

func (e *expiryHeap) swap(a, b int) {
	e.heap[a], e.heap[b] = e.heap[b], e.heap[a]
	e.slab.get(e.heap[a]).heapPos = int32(a + 1)
	e.slab.get(e.heap[b]).heapPos = int32(b + 1)
}

func (e *expiryHeap) fix(p int) {
	for p > 0 && e.at(p) < e.at((p-1)/2) {
		e.swap(p, (p-1)/2)
		p = (p - 1) / 2
	}
	for {
		least := p
		for c := 2*p + 1; c <= 2*p+2 && c < len(e.heap); c++ {
			if e.at(c) < e.at(least) {
				least = c
			}
		}
		if least == p {
			return
		}
		e.swap(p, least)
		p = least
	}
}
