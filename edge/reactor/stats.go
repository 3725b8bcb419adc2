package reactor

import (
	"sync"
	"sync/atomic"
)

// counters of one reactor. Only its goroutine writes most of them, so that they are not contended.
type counters struct {
	conns, handshaking, queuedConns                atomic.Int64
	accepted, upgraded, rejected, refused          atomic.Uint64
	framesIn, framesOut, bytesIn, bytesOut, sends  atomic.Uint64
	pings, halfOpen, slow, shed                    atomic.Uint64
	protocol, tooBig, timeouts, http, acceptErrors atomic.Uint64
	inboxOverflows                                 atomic.Uint64

	mu     sync.Mutex
	byCode map[uint16]uint64
}

func (c *counters) closed(code uint16) {
	c.mu.Lock()
	if c.byCode == nil {
		c.byCode = make(map[uint16]uint64)
	}
	c.byCode[statCode(code)]++
	c.mu.Unlock()
}

// statCode bounds the number of keys that peers can create: codes of the application range that the hub does
// not use itself count as their thousand.
func statCode(code uint16) uint16 {
	switch {
	case code < 3000, code >= 4000 && code < 4100:
		return code
	case code < 4000:
		return 3000
	}
	return 4999
}

// add sums c into s.
func (c *counters) add(s *Stats) {
	s.Connections += c.conns.Load()
	s.Handshaking += c.handshaking.Load()
	s.QueuedConnections += c.queuedConns.Load()
	s.Accepted += c.accepted.Load()
	s.Upgraded += c.upgraded.Load()
	s.UpgradeRejected += c.rejected.Load()
	s.Refused += c.refused.Load()
	s.FramesIn += c.framesIn.Load()
	s.FramesOut += c.framesOut.Load()
	s.BytesIn += c.bytesIn.Load()
	s.BytesOut += c.bytesOut.Load()
	s.Sends += c.sends.Load()
	s.PingsSent += c.pings.Load()
	s.HalfOpenClosed += c.halfOpen.Load()
	s.SlowClosed += c.slow.Load()
	s.EphemeralShed += c.shed.Load()
	s.ProtocolErrors += c.protocol.Load()
	s.TooBig += c.tooBig.Load()
	s.HandshakeTimeouts += c.timeouts.Load()
	s.HTTPConns += c.http.Load()
	s.AcceptErrors += c.acceptErrors.Load()
	s.InboxOverflows += c.inboxOverflows.Load()
	c.mu.Lock()
	for k, v := range c.byCode {
		s.ClosedByCode[k] += v
	}
	c.mu.Unlock()
}
