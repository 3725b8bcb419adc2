package conversation

import (
	"time"

	"github.com/zumodra/hub/chat"
)

// save starts the next write of derived rows, if one is due and none is on its way.
func (s *State) save() {
	if s.write != nil || s.phase != ready {
		return
	}
	due := !s.dirtySince.IsZero() && (s.urgent || len(s.unsaved) >= MaxUnsaved || !s.now.Before(s.dirtySince.Add(SaveDelay)))
	if len(s.marks) > 0 && (!due || s.derivedLast || s.gone) { // the two take turns when both are due
		s.derivedLast = false
		s.writeMarks()
	}
	switch {
	case s.write != nil:
	case due && !s.gone:
		s.derivedLast = true
		s.derive()
	case due && !s.inflight:
		s.remove()
	case len(s.marks) > 0: // judged again: the first time there was none to write
		s.writeMarks()
	}
}

// derive freezes what the store lacks.
func (s *State) derive() {
	d := &chat.Derived{Head: s.head, Removed: s.removed}
	for i := range s.members {
		if m := &s.members[i]; m.dirty {
			m.dirty = false
			d.Members = append(d.Members, m.Member)
		}
	}
	for _, r := range s.rows {
		if r.save {
			r.save, r.saved = false, 0
			d.Rewritten = append(d.Rewritten, *r.committed)
		}
	}
	for _, x := range s.unsaved {
		if x.ClientID != "" {
			d.Sent = append(d.Sent, chat.SentMessage{SenderClientID: x.SenderClientID, Seq: x.seq})
		}
		if x.replyTo != 0 {
			d.Replies = append(d.Replies, chat.Reply{To: x.replyTo, Seq: x.seq})
		}
	}
	s.removed, s.dirtySince, s.urgent = nil, time.Time{}, false
	s.write = &Write{Derived: d, seq: s.head.Seq}
	s.fx.Write = s.write
}

// remove freezes the deletion of everything.
func (s *State) remove() {
	s.dirtySince, s.urgent = time.Time{}, false
	s.write = &Write{Delete: true, Users: s.removed, seq: s.head.Seq}
	s.fx.Write = s.write
}

// written takes the outcome of a write.
func (s *State) written(w *Write) {
	if s.write != w {
		return
	}
	if w.Lost {
		s.abort(notOwner(s.key))
		return
	}
	s.write = nil
	switch {
	case w.Watermarks:
		s.marked(w)
	case w.Err != nil: // the shell gave up: all of it is to be saved still
		s.dirtySince, s.urgent = s.now, false
		if d := w.Derived; d != nil {
			s.removed = append(d.Removed, s.removed...)
			for i := range s.members {
				s.members[i].dirty = true
			}
			for i := range d.Rewritten {
				if r := s.rows[d.Rewritten[i].Seq]; r != nil {
					r.save = true
				}
			}
		}
	case w.Delete:
		s.removed, s.unsaved, s.rows = nil, nil, nil
	default:
		s.savedSeq = w.seq
		n := 0
		for n < len(s.unsaved) && s.unsaved[n].seq <= w.seq {
			n++
		}
		left := copy(s.unsaved, s.unsaved[n:])
		clear(s.unsaved[left:])
		if s.unsaved = s.unsaved[:left]; left == 0 && cap(s.unsaved) > 32 {
			s.unsaved = nil
		}
		s.window.evict(s.savedSeq)
		s.forgetRows()
		if s.Quiet() {
			s.trim()
		}
	}
	if !w.Watermarks && len(s.held) > 0 && (w.Err != nil || w.seq >= s.head.Seq) {
		s.release()
		s.undefer()
	}
}

// forgetRows drops the rows that the store shows, after a write. A read that is under way may bring one from before the
// write that saved it: the newer one stays at hand until all reads are over that began before that.
func (s *State) forgetRows() {
	s.writes++
	oldest := s.writes
	for rd := range s.parked {
		oldest = min(oldest, rd.since)
	}
	for seq, r := range s.rows {
		switch {
		case r.save || r.accepted != r.committed || r.replies > 0:
			continue
		case r.saved == 0:
			r.saved = s.writes
		}
		if r.saved <= oldest {
			delete(s.rows, seq)
		}
	}
}

// trim gives back what only a busy conversation needs.
func (s *State) trim() {
	s.recent.trim()
	s.pending, s.batch, s.deferred, s.parked, s.marks = nil, nil, nil, nil, nil
	if len(s.unsaved) == 0 {
		s.unsaved = nil
	}
	if len(s.rows) == 0 {
		s.rows = nil
	}
}
