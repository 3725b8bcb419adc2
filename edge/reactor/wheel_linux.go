//go:build !reactor_portable

package reactor

// wheelSlots slots of one tick each. A timer beyond the horizon is looked at once per turn.
const wheelSlots = 512

// wheel holds every connection of a reactor once, at the tick when it must be looked at next, in lists linked
// through the records: 8 bytes per connection instead of 150 for a runtime timer, and a twentieth of the CPU.
type wheel struct {
	heads [wheelSlots]uint32 // fd+1
	pos   uint32             // the last tick processed
}

// schedule puts c at the given tick, replacing its earlier schedule.
func (r *reactor) schedule(c *conn, tick uint32) {
	if int32(tick-r.wheel.pos) <= 0 {
		tick = r.wheel.pos + 1
	}
	if c.linked {
		if c.due == tick {
			return
		}
		r.unlink(c)
	}
	c.due = tick
	head := &r.wheel.heads[tick%wheelSlots]
	c.prev, c.next = 0, *head
	if c.next != 0 {
		r.rec(c.next).prev = uint32(c.fd) + 1
	}
	*head = uint32(c.fd) + 1
	c.linked = true
}

func (r *reactor) unlink(c *conn) {
	if !c.linked {
		return
	}
	if c.prev != 0 {
		r.rec(c.prev).next = c.next
	} else {
		r.wheel.heads[c.due%wheelSlots] = c.next
	}
	if c.next != 0 {
		r.rec(c.next).prev = c.prev
	}
	c.prev, c.next, c.linked = 0, 0, false
}

// rec resolves a wheel link.
func (r *reactor) rec(link uint32) *conn { return r.s.table.get(int(link - 1)) }

// advance turns the wheel up to the present tick and looks at every connection that is due.
func (r *reactor) advance() {
	for r.wheel.pos != r.now {
		r.wheel.pos++
		head := &r.wheel.heads[r.wheel.pos%wheelSlots]
		for *head != 0 {
			c := r.rec(*head)
			r.unlink(c)
			if int32(c.due-r.wheel.pos) > 0 { // a later turn's
				r.later = append(r.later, r.handle(c))
				continue
			}
			r.expire(c)
		}
		for _, h := range r.later {
			// It may have been closed, or scheduled anew, by what expire did to others.
			if c := r.find(h); c != nil && !c.linked {
				r.schedule(c, c.due)
			}
		}
		r.later = r.later[:0]
	}
}
