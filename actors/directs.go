package actors

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	directTTL  = time.Hour
	maxDirects = 64 << 10
)

// directs remembers for an hour which direct conversations exist: to get one again, its users need not be
// looked up. Nothing is decided by it: the conversation itself says whether the caller is a member.
type directs struct {
	now          func() time.Time
	hits, misses atomic.Uint64

	mu    sync.Mutex
	until map[chat.ConversationKey]time.Time
}

func (d *directs) has(k chat.ConversationKey) bool {
	now := d.now()
	d.mu.Lock()
	until, ok := d.until[k]
	if ok && !now.Before(until) {
		delete(d.until, k)
		ok = false
	}
	d.mu.Unlock()
	if ok {
		d.hits.Add(1)
	} else {
		d.misses.Add(1)
	}
	return ok
}

func (d *directs) put(k chat.ConversationKey) {
	until := d.now().Add(directTTL)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until = make(map[chat.ConversationKey]time.Time)
	}
	if len(d.until) >= maxDirects {
		for old := range d.until { // any one
			delete(d.until, old)
			break
		}
	}
	d.until[k] = until
}
