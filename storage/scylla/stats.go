package scylla

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"
)

// Stats of an engine since it was opened.
type Stats struct {
	Hosts       int // known nodes of the data centre
	HostsUp     int
	Connections int
	InFlight    int // requests without an answer

	Requests      uint64 // attempts, batches and pages counted each
	Timeouts      uint64 // answered or not, of the server's or ours
	Unavailable   uint64 // too few replicas up
	Errors        uint64 // all other failures
	Retries       uint64 // attempts beyond the first
	Settled       uint64 // compare-and-sets of unknown outcome that a serial read was made for
	ConnectErrors uint64

	Together      bool   // batches of several partitions go together now
	GroupRequests uint64 // requests that carried several
	GroupBatches  uint64 // what they carried

	Fenced  uint64 // transactions on fenced partitions, those that were not applied among them
	Refused uint64 // batches that a higher fence kept out
}

// stats counts; it is the driver's observer.
type stats struct {
	session       *gocql.Session
	requests      atomic.Uint64
	timeouts      atomic.Uint64
	unavailable   atomic.Uint64
	errors        atomic.Uint64
	retries       atomic.Uint64
	settled       atomic.Uint64
	connectErrors atomic.Uint64
	fenced        atomic.Uint64
	refused       atomic.Uint64

	lookedAt atomic.Int64 // Unix seconds
	many     atomic.Bool
}

// ObserveQuery implements gocql.QueryObserver.
func (s *stats) ObserveQuery(_ context.Context, q gocql.ObservedQuery) { s.observe(q.Err) }

// ObserveBatch implements gocql.BatchObserver.
func (s *stats) ObserveBatch(_ context.Context, b gocql.ObservedBatch) { s.observe(b.Err) }

// ObserveConnect implements gocql.ConnectObserver.
func (s *stats) ObserveConnect(c gocql.ObservedConnect) {
	if c.Err != nil {
		s.connectErrors.Add(1)
	}
}

func (s *stats) observe(err error) {
	s.requests.Add(1)
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	var answer serverError
	switch {
	case errors.Is(err, gocql.ErrTimeoutNoResponse), errors.Is(err, context.DeadlineExceeded):
		s.timeouts.Add(1)
		return
	case errors.As(err, &answer):
		switch answer.GetCode() {
		case gocql.ErrCodeWriteTimeout, gocql.ErrCodeReadTimeout, gocql.ErrCodeCASWriteUnknown:
			s.timeouts.Add(1)
			return
		case gocql.ErrCodeUnavailable:
			s.unavailable.Add(1)
			return
		}
	}
	s.errors.Add(1)
}

// hostsUp is how many nodes the driver takes for alive.
func (s *stats) hostsUp() int {
	n := 0
	for _, h := range s.session.GetHosts() {
		if h.IsUp() {
			n++
		}
	}
	return n
}

// several reports whether there was a second node alive within the last second: reads ask often.
func (s *stats) several() bool {
	if now := time.Now().Unix(); s.lookedAt.Swap(now) != now {
		s.many.Store(s.hostsUp() > 1)
	}
	return s.many.Load()
}

// Stats returns a snapshot.
func (e *Engine) Stats() Stats {
	s := &e.stats
	out := Stats{HostsUp: s.hostsUp(), Hosts: len(e.session.GetHosts()), Requests: s.requests.Load(), Timeouts: s.timeouts.Load(),
		Unavailable: s.unavailable.Load(), Errors: s.errors.Load(), Retries: s.retries.Load(), Settled: s.settled.Load(),
		ConnectErrors: s.connectErrors.Load(), Together: e.Groups(), GroupRequests: e.groups.requests.Load(),
		GroupBatches: e.groups.batches.Load(), Fenced: s.fenced.Load(), Refused: s.refused.Load()}
	e.session.IterateHostPools(func(p gocql.HostPoolInfo) bool {
		out.Connections += p.GetConnectionCount()
		out.InFlight += p.InFlight()
		return true
	})
	return out
}
