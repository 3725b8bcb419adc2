package transport

import "time"

// overflow gives up the stream with all deliveries; mu is held and released. The reports are left to another goroutine:
// they are many, and the caller is not to be kept.
func (p *peer) overflow(done func(error)) {
	p.overflows++
	s := p.stream
	p.stream = nil
	if p.down.IsZero() {
		p.down = time.Now()
	}
	report := p.failParcels(ErrFull)
	p.mu.Unlock()
	p.t.cfg.Logger.Warn("transport: queue of a peer is full, its deliveries are given up", "node", p.id, "name", p.name)
	if s != nil {
		s.close(ErrFull)
	}
	if !p.t.spawn(func() { report(); done(outcome(ErrNotSent, ErrFull)) }) {
		report()
		done(outcome(ErrNotSent, ErrFull))
	}
}

// failParcels takes all deliveries; mu is held. What it returns reports them, and is called without mu.
func (p *peer) failParcels(why error) func() {
	type failure struct {
		done func(error)
		err  error
	}
	notSent, unknown := outcome(ErrNotSent, why), outcome(ErrUnknown, why)
	fs := make([]failure, 0, p.parcels.live)
	for id := range p.parcels.ids {
		v, _ := p.parcels.get(id)
		if id < p.unsent {
			fs = append(fs, failure{v.done, unknown})
		} else {
			fs = append(fs, failure{v.done, notSent})
		}
	}
	p.parcels = ledger[parcel]{first: p.parcels.next, next: p.parcels.next}
	p.unsent = p.parcels.next
	for i, c := range p.chunks {
		c.free()
		p.chunks[i] = nil
	}
	p.chunks = p.chunks[:0]
	p.queued, p.queuedBytes, p.windowed, p.windowBytes = 0, 0, 0, 0
	return func() {
		for _, f := range fs {
			f.done(f.err)
		}
	}
}

// failCalls takes the requests that were written, or all; mu is held, but not for what is returned.
func (p *peer) failCalls(why error, all bool) func() {
	var cs []*call
	var ids []uint64
	for id := range p.calls.ids {
		if c, _ := p.calls.get(id); all || c.written {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		cs = append(cs, p.settle(id))
	}
	return func() {
		for _, c := range cs {
			c.end(nil, why)
		}
	}
}
