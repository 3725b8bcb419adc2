package conversation

import "github.com/zumodra/hub/chat"

// WindowSize is how many client ids a conversation remembers. Ids of messages whose derived rows are not saved
// yet are kept beyond it.
const WindowSize = 512

// window knows which client ids became which events. A seq of 0 means: accepted, not committed yet.
type window struct {
	seq  map[chat.SenderClientID]uint64
	fifo []chat.SentMessage
	// from is the lowest seq that the window answers for.
	from uint64
	// older holds the ids that left the window, all of them unless partial.
	older   seen
	partial bool
}

func (w *window) get(id chat.SenderClientID) (seq uint64, ok bool) {
	seq, ok = w.seq[id]
	return seq, ok
}

func (w *window) claim(id chat.SenderClientID) {
	if w.seq == nil {
		w.seq = make(map[chat.SenderClientID]uint64)
	}
	w.seq[id] = 0
}

// drop forgets a claim that was not committed.
func (w *window) drop(id chat.SenderClientID) {
	if seq, ok := w.seq[id]; ok && seq == 0 {
		delete(w.seq, id)
	}
}

// put records a committed message; saved is the seq up to which the store can answer FindDuplicates.
func (w *window) put(id chat.SenderClientID, seq, saved uint64) {
	if w.seq == nil {
		w.seq = make(map[chat.SenderClientID]uint64)
	}
	if old := w.seq[id]; old == seq && seq != 0 {
		return
	}
	w.seq[id] = seq
	w.fifo = append(w.fifo, chat.SentMessage{SenderClientID: id, Seq: seq})
	w.evict(saved)
}

func (w *window) evict(saved uint64) {
	n := 0
	for len(w.fifo)-n > WindowSize && w.fifo[n].Seq <= saved {
		old := w.fifo[n]
		if w.seq[old.SenderClientID] == old.Seq {
			delete(w.seq, old.SenderClientID)
		}
		if w.from <= old.Seq {
			w.from = old.Seq + 1
		}
		if !w.partial && !w.older.add(old.SenderClientID) {
			w.forget()
		}
		w.fifo[n] = chat.SentMessage{}
		n++
	}
	w.fifo = w.fifo[n:] // append moves what is left to fresh memory when it runs out of room
}

// starts says that the window answers for the log from seq on; whether ids before it exist is for the store to say.
func (w *window) starts(seq uint64) {
	w.from = seq
	if seq > 1 {
		w.forget()
	}
}

// forget gives up knowing the ids that are not in the window.
func (w *window) forget() {
	w.older.release()
	w.partial = true
}

// unsure reports whether an id that is not in the window may exist all the same, so that the store must be asked.
func (w *window) unsure(id chat.SenderClientID) bool { return w.partial || w.older.has(id) }

// recentSize is how many of the newest events a conversation keeps: they answer short resumes, and edits and
// read positions near the head, without the store.
const recentSize = 64

// recent is the unbroken run of the newest committed events, ending at the head.
type recent struct{ events []*chat.Event }

func (r *recent) push(e *chat.Event) {
	if len(r.events) >= 2*recentSize {
		n := copy(r.events, r.events[len(r.events)-recentSize:])
		clear(r.events[n:])
		r.events = r.events[:n]
	}
	r.events = append(r.events, e)
}

func (r *recent) at(seq uint64) *chat.Event {
	if i := r.index(seq); i >= 0 {
		return r.events[i]
	}
	return nil
}

func (r *recent) index(seq uint64) int {
	if len(r.events) == 0 || seq < r.events[0].Seq || seq > r.events[len(r.events)-1].Seq {
		return -1
	}
	return int(seq - r.events[0].Seq)
}

// covers reports whether every event from seq on is there.
func (r *recent) covers(seq uint64) bool { return len(r.events) > 0 && r.events[0].Seq <= seq }

func (r *recent) replace(e *chat.Event) {
	if i := r.index(e.Seq); i >= 0 {
		r.events[i] = e
	}
}

// trim gives back memory of a conversation that has gone quiet. The events that stay are copied, because each
// holds on to all that was committed with it.
func (r *recent) trim() {
	const stay = 4
	old := r.events[max(0, len(r.events)-stay):]
	if len(old) == 0 {
		return
	}
	copies := make([]chat.Event, len(old))
	r.events = make([]*chat.Event, len(old))
	for i, e := range old {
		copies[i] = *e
		r.events[i] = &copies[i]
	}
}
