package transport

import (
	"cmp"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// Stats is what the transport does now, and did so far.
type Stats struct {
	Peers   []PeerStats    // those of SetPeers, by id
	Inbound []InboundStats // the streams of peers to this node, by id
	Refused uint64         // connections that were closed before they were streams
}

// Traffic of a peer's streams in one direction of dialling. Bytes are those of frames, before encryption.
type Traffic struct {
	BytesIn, BytesOut   uint64
	FramesIn, FramesOut uint64
	Unknown             uint64        // frames of a type that is not known here
	RTT                 time.Duration // of the last ping, through both queues; 0: none yet
}

// PeerStats are of a node that is sent to.
type PeerStats struct {
	Node      chat.NodeID
	Name      string
	Addr      string
	Connected bool
	Version   int // of the protocol, that both speak; 0: not connected
	Traffic

	Queued, QueuedBytes           int // deliveries that are not written yet
	Unconfirmed, UnconfirmedBytes int // written and not confirmed
	Requests, RequestBytes        int // under way, written or not

	Connects     uint64 // streams so far
	DialFailures uint64
	Overflows    uint64
	LastError    string // of the attempts to connect; empty if connected
}

// InboundStats are of the stream of a node to this one.
type InboundStats struct {
	Node chat.NodeID
	Name string
	// Version of the protocol, that both speak.
	Version int
	Traffic
}

func (t *traffic) stats() Traffic {
	return Traffic{
		BytesIn: t.bytesIn.Load(), BytesOut: t.bytesOut.Load(),
		FramesIn: t.framesIn.Load(), FramesOut: t.framesOut.Load(),
		Unknown: t.unknown.Load(), RTT: time.Duration(t.rtt.Load()),
	}
}

// Stats is a snapshot.
func (t *Transport) Stats() Stats {
	s := Stats{Refused: t.refused.Load()}
	for _, p := range *t.peers.Load() {
		p.mu.Lock()
		version := 0
		if p.stream != nil {
			version = int(p.stream.version)
		}
		s.Peers = append(s.Peers, PeerStats{
			Node: p.id, Name: p.name, Addr: p.addr, Connected: p.stream != nil, Version: version, Traffic: p.traffic.stats(),
			Queued: p.queued, QueuedBytes: p.queuedBytes,
			Unconfirmed: p.windowed, UnconfirmedBytes: p.windowBytes,
			Requests: p.calls.live, RequestBytes: p.callBytes,
			Connects: p.connects, DialFailures: p.dialFailures, Overflows: p.overflows, LastError: p.lastErr,
		})
		p.mu.Unlock()
	}
	t.mu.Lock()
	for _, in := range t.inbound {
		s.Inbound = append(s.Inbound, InboundStats{Node: in.node, Name: in.name, Version: int(in.version), Traffic: in.traffic.stats()})
	}
	t.mu.Unlock()
	slices.SortFunc(s.Peers, func(a, b PeerStats) int { return cmp.Compare(a.Node, b.Node) })
	slices.SortFunc(s.Inbound, func(a, b InboundStats) int { return cmp.Compare(a.Node, b.Node) })
	return s
}

// Versions of the protocol that this build speaks.
func Versions() (lowest, highest int) { return versionMin, versionMax }

// Inbound reports whether a stream of a node to this one stands.
func (t *Transport) Inbound(node chat.NodeID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inbound[node] != nil
}
