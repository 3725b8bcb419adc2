package actors

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	// seenEvery is how often the times at which users were connected are written.
	seenEvery = time.Second
	// maxSeen is how many may wait to be written; more are dropped: their users keep an older time.
	maxSeen = 64 << 10
	// declaredFor is how long a user who said so by REST counts as online without a socket.
	declaredFor = 5 * time.Minute
	maxDeclared = 64 << 10
)

// presence remembers, of users whose home is here, when they were last connected, and who said by REST that they are
// there. Whether a user has sessions the directory knows; it tells presence of the first and of the last one.
type presence struct {
	people  People
	now     func() time.Time
	log     *slog.Logger
	dropped atomic.Uint64

	flushing sync.Mutex
	mu       sync.Mutex
	seen     map[chat.UserKey]time.Time // to be written
	writing  map[chat.UserKey]time.Time // on their way
	declared map[chat.UserKey]time.Time // until when

	stop chan struct{}
	done chan struct{}
}

func newPresence(people People, now func() time.Time, log *slog.Logger) *presence {
	p := &presence{people: people, now: now, log: log, stop: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

// changed is told by the directory that a user's first session came or the last one went. It does not block.
func (p *presence) changed(k chat.UserKey, online bool) {
	at := p.now().UTC().Truncate(time.Microsecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !online {
		delete(p.declared, k)
	}
	p.note(k, at)
}

func (p *presence) note(k chat.UserKey, at time.Time) {
	if p.seen == nil {
		p.seen = make(map[chat.UserKey]time.Time)
	}
	if _, ok := p.seen[k]; !ok && len(p.seen) >= maxSeen {
		p.dropped.Add(1)
		return
	}
	p.seen[k] = at
}

// declare notes that a user said to be there, or not to be.
func (p *presence) declare(k chat.UserKey, online bool) {
	at := p.now().UTC().Truncate(time.Microsecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !online {
		delete(p.declared, k)
		return
	}
	if p.declared == nil {
		p.declared = make(map[chat.UserKey]time.Time)
	}
	if len(p.declared) >= maxDeclared {
		for old := range p.declared { // any one
			delete(p.declared, old)
			break
		}
	}
	p.declared[k] = at.Add(declaredFor)
	p.note(k, at)
}

func (p *presence) isDeclared(k chat.UserKey) bool {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.declared[k]
	if ok && !now.Before(until) {
		delete(p.declared, k)
		ok = false
	}
	return ok
}

// unwritten is when a user was last seen, if that is not written yet.
func (p *presence) unwritten(k chat.UserKey) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.seen[k]; ok {
		return at
	}
	return p.writing[k]
}

// pending is how many times wait to be written.
func (p *presence) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seen) + len(p.writing)
}

func (p *presence) run() {
	defer close(p.done)
	t := time.NewTicker(seenEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.flushAll()
		case <-p.stop:
			p.flushAll()
			return
		}
	}
}

func (p *presence) flushAll() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p.flush(ctx, nil)
}

// release writes what waits of users whose home is about to be elsewhere, before ctx ends, and forgets them. What they
// said by REST is lost: the new home knows of their sessions alone, until they say it again.
func (p *presence) release(ctx context.Context, set *chat.ShardSet) {
	p.flush(ctx, set)
	p.drop(set)
}

// lose forgets users whose home is elsewhere already.
func (p *presence) lose(set *chat.ShardSet) { p.drop(set) }

func (p *presence) drop(set *chat.ShardSet) {
	of := func(k chat.UserKey, _ time.Time) bool { return set.Has(k.Shard()) }
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.seen, of)
	maps.DeleteFunc(p.declared, of)
}

// take begins to write what waits of users of some shards; nil: of all.
func (p *presence) take(of *chat.ShardSet) map[chat.UserKey]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of == nil {
		p.writing, p.seen = p.seen, nil
		return p.writing
	}
	p.writing = make(map[chat.UserKey]time.Time)
	for k, at := range p.seen {
		if of.Has(k.Shard()) {
			p.writing[k] = at
			delete(p.seen, k)
		}
	}
	return p.writing
}

// flush writes what waits of users of some shards; nil: of all. Users who are invisible are left out: the time would
// tell what they hide.
func (p *presence) flush(ctx context.Context, of *chat.ShardSet) {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	batch := p.take(of)
	if len(batch) == 0 {
		return
	}
	byTenant := make(map[chat.TenantID][]chat.UserID)
	for k := range batch {
		byTenant[k.Tenant] = append(byTenant[k.Tenant], k.User)
	}
	failed := 0
	for t, ids := range byTenant {
		prefs, err := p.people.GetPreferences(ctx, t, ids)
		if err != nil {
			failed += len(ids)
			continue
		}
		var rows []chat.Seen
		for i, id := range ids {
			if k := (chat.UserKey{Tenant: t, User: id}); !prefs[i].Invisible {
				rows = append(rows, chat.Seen{User: k, At: batch[k]})
			}
		}
		if err := p.people.PutLastSeen(ctx, rows); err != nil {
			failed += len(rows)
		}
	}
	if failed > 0 { // they keep an older time: not worth holding anything up
		p.dropped.Add(uint64(failed))
		p.log.Warn("last seen times were not written", slog.Int("users", failed))
	}
	p.mu.Lock()
	p.writing = nil
	p.mu.Unlock()
}

func (p *presence) close() {
	close(p.stop)
	<-p.done
}
