package router

import "sync/atomic"

// Stats are counts since the start, but for those marked as gauges.
type Stats struct {
	Local    uint64 // attempts made here
	Remote   uint64 // attempts made at other nodes
	Moved    uint64 // attempts refused by a node that does not own the shard, or is shutting down
	Lost     uint64 // attempts of which it is not known what became, those that took too long included
	NotSent  uint64 // attempts that never left
	Homeless uint64 // attempts without a known owner
	Retried  uint64 // attempts after the first of a question
	GaveUp   uint64 // questions ended with chat.ErrUnavailable by the router
	Unknown  uint64 // questions ended with chat.ErrUnknown by the router
	Refused  uint64 // questions over a bound
	UnderWay int    // gauge: questions asked here and not answered
	Waiting  int    // gauge: of those, in a back-off, or behind another of their line

	Inbound          uint64 // questions of other nodes
	InboundMoved     uint64 // refused: the shard is not this node's
	InboundOutOfTurn uint64 // refused: its predecessor was not accepted
	InboundRefused   uint64 // refused: over the bound, or not understood
	InboundUnderWay  int    // gauge

	ParcelsSent     uint64 // to other nodes
	ParcelsHere     uint64 // to this node
	ParcelsReceived uint64
	ParcelsFailed   uint64 // sent and not confirmed
}

type counters struct {
	local, remote, moved, lost, notSent, homeless, retried   atomic.Uint64
	gaveUp, unknown, refused                                 atomic.Uint64
	underWay, waiting, inboundUnderWay                       atomic.Int64
	inbound, inboundMoved, inboundOutOfTurn, inboundRefused  atomic.Uint64
	parcelsSent, parcelsHere, parcelsReceived, parcelsFailed atomic.Uint64
}

// Stats returns the router's counts. They are not of one moment.
func (r *Router) Stats() Stats {
	c := &r.count
	return Stats{
		Local: c.local.Load(), Remote: c.remote.Load(), Moved: c.moved.Load(), Lost: c.lost.Load(),
		NotSent: c.notSent.Load(), Homeless: c.homeless.Load(), Retried: c.retried.Load(),
		GaveUp: c.gaveUp.Load(), Unknown: c.unknown.Load(), Refused: c.refused.Load(),
		UnderWay: int(c.underWay.Load()), Waiting: int(c.waiting.Load()),
		Inbound: c.inbound.Load(), InboundMoved: c.inboundMoved.Load(), InboundOutOfTurn: c.inboundOutOfTurn.Load(),
		InboundRefused: c.inboundRefused.Load(), InboundUnderWay: int(c.inboundUnderWay.Load()),
		ParcelsSent: c.parcelsSent.Load(), ParcelsHere: c.parcelsHere.Load(), ParcelsReceived: c.parcelsReceived.Load(),
		ParcelsFailed: c.parcelsFailed.Load(),
	}
}
