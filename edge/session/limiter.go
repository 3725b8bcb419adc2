package session

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

// LimiterConfig says how many requests a user may make, over all of its sessions and the REST API of this node
// together.
type LimiterConfig struct {
	Rate  float64 // messages and other changes per second; default 10, negative: no limit
	Burst int     // at once; default 20
	// What changes nothing for others to keep (typing, receipts, resumes, pings) has SignalFactor times the
	// rate and burst, of its own; default 5.
	SignalFactor float64
	// More than Offences refusals within OffenceWindow make an offender; default 100 in 10 s.
	Offences      int
	OffenceWindow time.Duration
	Now           func() time.Time // default time.Now
	// Of answers what else holds for the users of a tenant: 0 is what is said above. nil: nothing.
	Of func(chat.TenantID) (rate float64, burst int)
	// Spent, if not nil, is told of every change that was allowed, so that other nodes Take it. It must not block.
	Spent func(user chat.UserKey)
}

// Limiter keeps token buckets per user, as the generic cell rate algorithm: one time per bucket. Users that are
// below their limit take no memory for longer than a sweep.
type Limiter struct {
	cfg    LimiterConfig
	seed   maphash.Seed
	next   atomic.Uint32
	shards [64]limiterShard
}

type limiterShard struct {
	mu    sync.Mutex
	users map[chat.UserKey]bucket
}

type bucket struct {
	full     [2]int64 // Unix nanoseconds at which the bucket of that kind is full again
	window   int64    // start of the window in which refusals are counted
	offences int32
}

// Cost says which bucket a request is charged to.
type Cost uint8

const (
	Change Cost = iota // messages and everything else that is kept
	Signal             // typing, receipts, resumes, pings
)

// Verdict of a Limiter.
type Verdict struct {
	OK         bool
	RetryAfter time.Duration // when not OK
	Offender   bool          // has been refused so often that the connection should go
}

// NewLimiter returns a Limiter. It is safe for concurrent use.
func NewLimiter(cfg LimiterConfig) *Limiter {
	if cfg.Rate == 0 {
		cfg.Rate = 10
	}
	if cfg.Burst <= 0 {
		cfg.Burst = 20
	}
	if cfg.SignalFactor <= 0 {
		cfg.SignalFactor = 5
	}
	if cfg.Offences <= 0 {
		cfg.Offences = 100
	}
	if cfg.OffenceWindow <= 0 {
		cfg.OffenceWindow = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Limiter{cfg: cfg, seed: maphash.MakeSeed()}
}

func (l *Limiter) of(t chat.TenantID) (rate, burst float64) {
	rate, burst = l.cfg.Rate, float64(l.cfg.Burst)
	if l.cfg.Of == nil {
		return rate, burst
	}
	r, b := l.cfg.Of(t)
	if r > 0 {
		rate = r
	}
	if b > 0 {
		burst = float64(b)
	}
	return rate, burst
}

// Allow charges one request to a user.
func (l *Limiter) Allow(k chat.UserKey, cost Cost) Verdict {
	rate, burst := l.of(k.Tenant)
	if rate < 0 {
		return Verdict{OK: true}
	}
	if cost == Signal {
		rate, burst = rate*l.cfg.SignalFactor, burst*l.cfg.SignalFactor
	}
	step := int64(float64(time.Second) / rate)
	depth := int64(float64(time.Second) * burst / rate)
	now := l.cfg.Now().UnixNano()

	v := l.allow(k, cost, now, step, depth)
	if v.OK && cost == Change && l.cfg.Spent != nil {
		l.cfg.Spent(k)
	}
	return v
}

func (l *Limiter) allow(k chat.UserKey, cost Cost, now, step, depth int64) Verdict {
	s := &l.shards[maphash.Comparable(l.seed, k)%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.users[k]
	full := max(b.full[cost], now) + step
	v := Verdict{OK: full-now <= depth}
	if v.OK {
		b.full[cost] = full
	} else {
		v.RetryAfter = time.Duration(full - now - depth)
		if now-b.window > int64(l.cfg.OffenceWindow) {
			b.window, b.offences = now, 0
		}
		b.offences++
		v.Offender = int(b.offences) > l.cfg.Offences
	}
	if s.users == nil {
		s.users = make(map[chat.UserKey]bucket)
	}
	s.users[k] = b
	return v
}

// Take charges what a user spent elsewhere to the bucket of Change. It may take more than there is, but never more than
// two full buckets.
func (l *Limiter) Take(k chat.UserKey, amount float64) {
	rate, burst := l.of(k.Tenant)
	if rate < 0 || !(amount > 0) {
		return
	}
	now := l.cfg.Now().UnixNano()
	most := 2 * float64(time.Second) * burst / rate
	s := &l.shards[maphash.Comparable(l.seed, k)%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.users[k]
	left := float64(max(b.full[Change], now) - now)
	b.full[Change] = now + int64(min(left+amount*float64(time.Second)/rate, max(left, most)))
	if s.users == nil {
		s.users = make(map[chat.UserKey]bucket)
	}
	s.users[k] = b
}

// sweep forgets, in a few of the shards, users whose buckets are full and whose offences have lapsed.
func (l *Limiter) sweep() {
	now := l.cfg.Now().UnixNano()
	for range 8 {
		s := &l.shards[l.next.Add(1)%uint32(len(l.shards))]
		s.mu.Lock()
		for k, b := range s.users {
			if b.full[Change] <= now && b.full[Signal] <= now && (b.offences == 0 || now-b.window > int64(l.cfg.OffenceWindow)) {
				delete(s.users, k)
			}
		}
		if len(s.users) == 0 {
			s.users = nil // a map does not shrink
		}
		s.mu.Unlock()
	}
}
