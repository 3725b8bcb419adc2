package enrol

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// Cluster is what an Enrolment needs of the nodes. Its methods do not block.
type Cluster interface {
	Owner(shard int) chat.NodeID
	// Parcel: as in actors.Cluster; this node may be named too.
	Parcel(node chat.NodeID, p chat.Parcel, done func(error))
}

// Config of an Enrolment. Cluster and Resume are required.
type Config struct {
	Cluster Cluster
	// Resume ends the sessions of a user, whose clients come back and resume. It must not block.
	Resume  func(k chat.UserKey)
	Batch   time.Duration // for which users are collected; default 2 ms
	Linger  time.Duration // until a user without session is taken off; default 1 s
	Wait    time.Duration // for a home to confirm a user; default 10 s
	Poll    time.Duration // of who owns the shards; default 200 ms
	Digests time.Duration // between them; default 10 s
	Log     *slog.Logger  // default: none
}

// Enrolment is safe for concurrent use and never blocks.
type Enrolment struct {
	cfg Config

	mu      sync.Mutex
	shards  [chat.Shards]shard
	dirty   []int     // shards with something to send
	waiting []*waiter // and some that wait no more
	pending int       // of them, who do
	leaving []leaver
	users   int
	no      uint64 // of parcels
	st      Stats

	wake chan struct{}
	poke chan struct{}
	stop chan struct{}
	done chan struct{}
}

// shard is the users of one directory shard who are here.
type shard struct {
	users      map[chat.UserKey]*member
	home       chat.NodeID // where it is registered; 0: nowhere
	hint       chat.NodeID // who said to be the home
	hinted     time.Time   // when
	term       uint64      // of the registration: answers to earlier ones are of no interest
	standing   bool        // the home has everybody
	came, left []chat.UserKey
	dirty      bool
	after      time.Time // not to be registered again before
	backoff    time.Duration
	n          int    // users that the home was told of
	sum        uint64 // of their hashes
}

type member struct {
	sessions  int
	till      time.Time // without sessions
	told      uint64    // number of the parcel that told the home of the user; 0: none
	confirmed bool      // by the home of this registration
	open      bool      // sessions may have opened
	waiters   []*waiter
}

type waiter struct {
	user chat.UserKey
	till time.Time
	done func(error) // nil once called
}

type leaver struct {
	user chat.UserKey
	at   time.Time
}

// Stats of an Enrolment.
type Stats struct {
	Users      int    // with sessions here, or that had some a moment ago
	Waiting    int    // sessions that wait for a home
	Unsettled  int    // shards that are registered nowhere for now
	Registered uint64 // shards, each time
	Failed     uint64 // parcels
	TimedOut   uint64 // sessions that no home confirmed in time
	Resumed    uint64 // users whose sessions were ended
}

const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	// hintFor is how long a home is believed that this node's view of the owners does not show.
	hintFor = 2 * time.Second
)

// New starts an Enrolment; Close stops it.
func New(c Config) *Enrolment {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Batch, 2*time.Millisecond)
	def(&c.Linger, time.Second)
	def(&c.Wait, 10*time.Second)
	def(&c.Poll, 200*time.Millisecond)
	def(&c.Digests, 10*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	e := &Enrolment{cfg: c, wake: make(chan struct{}, 1), poke: make(chan struct{}, 1), stop: make(chan struct{}),
		done: make(chan struct{})}
	go e.run()
	return e
}

// Close stops the goroutine. Those who still wait are told that nobody confirmed them.
func (e *Enrolment) Close() {
	close(e.stop)
	<-e.done
	e.mu.Lock()
	ws := e.waiting
	e.waiting = nil
	e.mu.Unlock()
	for _, w := range ws {
		e.answer(w, chat.ErrShutdown)
	}
}

// Enter counts a session of a user. It reports true if the user's home knows of this node already; if not, done is
// called once, from another goroutine, when it does, or with an error.
func (e *Enrolment) Enter(k chat.UserKey, done func(error)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := k.Shard()
	s := &e.shards[i]
	m := s.users[k]
	if m == nil {
		m = &member{}
		if s.users == nil {
			s.users = make(map[chat.UserKey]*member)
		}
		s.users[k] = m
		e.users++
		if s.home != 0 {
			s.came = append(s.came, k)
			e.touch(i)
		}
	}
	m.sessions++
	if m.confirmed {
		return true
	}
	w := &waiter{user: k, till: time.Now().Add(e.cfg.Wait), done: done}
	m.waiters = append(m.waiters, w)
	e.waiting = append(e.waiting, w)
	e.pending++
	return false
}

// Exit takes one Enter back.
func (e *Enrolment) Exit(k chat.UserKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.shards[k.Shard()].users[k]
	if m == nil || m.sessions == 0 {
		return
	}
	if m.sessions--; m.sessions == 0 {
		m.till = time.Now().Add(e.cfg.Linger)
		e.leaving = append(e.leaving, leaver{k, m.till})
	}
}

// Recount takes what a home asks for: to enrol all users of some shards again, there.
func (e *Enrolment) Recount(from chat.NodeID, p *chat.Recount) {
	var ended []chat.UserKey
	e.mu.Lock()
	for i := range e.shards {
		if !p.Shards.Has(i) {
			continue
		}
		s := &e.shards[i]
		if p.Missed {
			ended = append(ended, e.opened(s)...)
			continue
		}
		s.home, s.standing, s.hint, s.after, s.backoff = 0, false, from, time.Time{}, 0
		s.hinted = time.Now()
		s.term++
		e.touch(i)
	}
	e.mu.Unlock()
	e.resume(ended)
}

// Moved says that shards may have other owners.
func (e *Enrolment) Moved() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

// Stats returns the counters.
func (e *Enrolment) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.st
	st.Users, st.Waiting = e.users, e.pending
	for i := range e.shards {
		if !e.shards[i].standing {
			st.Unsettled++
		}
	}
	return st
}

func (e *Enrolment) touch(i int) {
	if s := &e.shards[i]; !s.dirty {
		s.dirty = true
		e.dirty = append(e.dirty, i)
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// opened are the users of a shard who have sessions that are open.
func (e *Enrolment) opened(s *shard) (who []chat.UserKey) {
	for k, m := range s.users {
		if m.open && m.sessions > 0 {
			who = append(who, k)
		}
	}
	e.st.Resumed += uint64(len(who))
	return who
}

func (e *Enrolment) resume(who []chat.UserKey) {
	if len(who) > 0 {
		e.cfg.Log.Warn("deliveries may have been missed, sessions are ended", slog.Int("users", len(who)))
	}
	for _, k := range who {
		e.cfg.Resume(k)
	}
}

func (e *Enrolment) answer(w *waiter, err error) {
	e.mu.Lock()
	done := w.done
	if w.done = nil; done != nil {
		e.pending--
	}
	e.mu.Unlock()
	if done != nil {
		done(err)
	}
}

func (e *Enrolment) run() {
	defer close(e.done)
	poll, digests := time.NewTicker(e.cfg.Poll), time.NewTicker(e.cfg.Digests)
	defer poll.Stop()
	defer digests.Stop()
	batch := time.NewTimer(0)
	defer batch.Stop()
	<-batch.C
	e.poll()
	var wake <-chan struct{} = e.wake // nil while a batch is collected
	for {
		select {
		case <-e.stop:
			return
		case <-e.poke:
			e.poll()
		case <-poll.C:
			e.poll()
		case <-digests.C:
			e.digest()
			continue
		case <-wake:
			wake = nil
			batch.Reset(e.cfg.Batch)
			continue
		case <-batch.C:
			wake = e.wake
		}
		e.flush()
	}
}

// poll finds shards whose owner is another node than the one where they are registered, users to take off, and
// sessions that have waited too long.
func (e *Enrolment) poll() {
	now := time.Now()
	e.mu.Lock()
	for i := range e.shards {
		s := &e.shards[i]
		owner := e.cfg.Cluster.Owner(i)
		if owner == s.hint || now.Sub(s.hinted) > hintFor {
			s.hint = 0
		}
		if s.home != 0 && owner != 0 && owner != s.home && s.hint == 0 {
			s.home, s.standing, s.after, s.backoff = 0, false, time.Time{}, 0
			s.term++
		}
		if s.home == 0 && !now.Before(s.after) && !s.dirty {
			s.dirty = true
			e.dirty = append(e.dirty, i)
		}
	}
	e.takeOff(now)
	var late []*waiter
	for len(e.waiting) > 0 && (e.waiting[0].done == nil || !now.Before(e.waiting[0].till)) {
		if w := e.waiting[0]; w.done != nil {
			late = append(late, w)
			e.st.TimedOut++
		}
		e.waiting[0] = nil
		e.waiting = e.waiting[1:]
	}
	e.mu.Unlock()
	for _, w := range late {
		e.answer(w, fmt.Errorf("%w: the user's directory", chat.ErrUnavailable))
	}
}

// takeOff forgets users who had no session for a while.
func (e *Enrolment) takeOff(now time.Time) {
	n := 0
	for ; n < len(e.leaving) && !now.Before(e.leaving[n].at); n++ {
		k := e.leaving[n].user
		i := k.Shard()
		s := &e.shards[i]
		m := s.users[k]
		if m == nil || m.sessions > 0 || now.Before(m.till) {
			continue
		}
		delete(s.users, k)
		e.users--
		if s.home != 0 && m.told != 0 {
			s.left = append(s.left, k)
			if !s.dirty {
				s.dirty = true
				e.dirty = append(e.dirty, i)
			}
		}
	}
	e.leaving = e.leaving[n:]
	if len(e.leaving) == 0 {
		e.leaving = nil
	}
}

// parcel is one that is ready to be sent.
type parcel struct {
	to    chat.NodeID
	enrol *chat.Enrol
	term  uint64
	no    uint64
}

// flush sends what has come together.
func (e *Enrolment) flush() {
	now := time.Now()
	var out []parcel
	e.mu.Lock()
	dirty := e.dirty
	e.dirty = nil
	for _, i := range dirty {
		s := &e.shards[i]
		s.dirty = false
		e.no++
		if s.home == 0 {
			if now.Before(s.after) {
				continue // poll comes back to it
			}
			if p, ok := e.register(i, s); ok {
				out = append(out, p)
			}
			continue
		}
		if p := s.changes(i, e.no); len(p.Came)+len(p.Left) > 0 {
			out = append(out, parcel{s.home, p, s.term, e.no})
		}
	}
	e.mu.Unlock()
	for _, p := range out {
		e.cfg.Cluster.Parcel(p.to, p.enrol, func(err error) { e.told(p, err) })
	}
}

// register enrols a shard at its owner.
func (e *Enrolment) register(i int, s *shard) (parcel, bool) {
	home := s.hint
	if home == 0 {
		home = e.cfg.Cluster.Owner(i)
	}
	if home == 0 {
		return parcel{}, false
	}
	s.term++
	s.home, s.standing, s.came, s.left, s.n, s.sum = home, false, nil, nil, 0, 0
	p := &chat.Enrol{Shard: i, All: true}
	for k, m := range s.users {
		m.told, m.confirmed = e.no, false
		p.Open = p.Open || m.open
		p.Came = append(p.Came, k)
		s.n++
		s.sum ^= k.Hash()
	}
	e.st.Registered++
	return parcel{home, p, s.term, e.no}, true
}

// changes are who came and left since the home was told. One who left and is back did not leave: the home knows of them
// and has only to say so.
func (s *shard) changes(i int, no uint64) *chat.Enrol {
	p := &chat.Enrol{Shard: i}
	for _, k := range s.left {
		switch m := s.users[k]; {
		case m == nil:
			s.n--
			s.sum ^= k.Hash()
			p.Left = append(p.Left, k)
		case m.told == 0:
			m.told = no
			p.Came = append(p.Came, k)
		}
	}
	for _, k := range s.came {
		if m := s.users[k]; m != nil && m.told == 0 {
			m.told = no
			s.n++
			s.sum ^= k.Hash()
			p.Came = append(p.Came, k)
		}
	}
	s.came, s.left = nil, nil
	return p
}

// told takes the outcome of a parcel.
func (e *Enrolment) told(p parcel, err error) {
	var ready []*waiter
	var ended []chat.UserKey
	e.mu.Lock()
	s := &e.shards[p.enrol.Shard]
	switch {
	case s.term != p.term: // of a registration that is over
	case err == nil:
		if p.enrol.All {
			s.standing, s.backoff = true, 0
		}
		for _, k := range p.enrol.Came {
			m := s.users[k]
			if m == nil || m.told == 0 || m.told > p.no {
				continue
			}
			m.confirmed, m.open = true, true
			ready = append(ready, m.waiters...)
			m.waiters = nil
		}
	default:
		e.st.Failed++
		s.home, s.hint, s.standing = 0, 0, false
		s.term++
		if errors.Is(err, chat.ErrNotFound) && p.enrol.Open {
			ended = e.opened(s)
			for _, m := range s.users {
				m.open, m.confirmed = false, false
			}
			e.touch(p.enrol.Shard)
			break
		}
		s.backoff = min(max(2*s.backoff, firstPause), lastPause)
		s.after = time.Now().Add(s.backoff)
	}
	e.mu.Unlock()
	e.resume(ended)
	for _, w := range ready {
		e.answer(w, nil)
	}
}

// digest tells homes what they were told.
func (e *Enrolment) digest() {
	byHome := make(map[chat.NodeID]*chat.Digests)
	e.mu.Lock()
	for i := range e.shards {
		s := &e.shards[i]
		if !s.standing {
			continue
		}
		d := byHome[s.home]
		if d == nil {
			d = &chat.Digests{}
			byHome[s.home] = d
		}
		d.List = append(d.List, chat.ShardDigest{Shard: i, Users: s.n, Sum: s.sum})
	}
	e.mu.Unlock()
	for home, d := range byHome {
		e.cfg.Cluster.Parcel(home, d, func(error) {}) // the next one says the same, or more
	}
}
