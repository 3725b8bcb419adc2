package check_test

import (
	"slices"

	"pgregory.net/rapid"
)

// each gives every entry of a conversation in deliveries, gaps, reads and final histories to f, which may change
// it, or return false: then it is taken away, and a delivery shows an event that is no message.
func (s *story) each(conv string, f func(st *step, e *entry) bool) {
	for i := range s.steps {
		st := &s.steps[i]
		if st.conv != conv {
			continue
		}
		if st.what == "saw" && !f(st, &st.entry) {
			st.entry = entry{Seq: st.entry.Seq}
		}
		var kept []entry
		for _, e := range st.entries {
			if f(st, &e) {
				kept = append(kept, e)
			}
		}
		st.entries = kept
	}
}

// where are the steps of a kind that satisfy ok.
func (s *story) where(what string, ok func(int, step) bool) (list []int) {
	for i, st := range s.steps {
		if st.what == what && ok(i, st) {
			list = append(list, i)
		}
	}
	return list
}

func everything(int, step) bool { return true }

func (s *story) insert(i int, st step) { s.steps = slices.Insert(s.steps, i, st) }

// beforeFinals is where the load has ended.
func (s *story) beforeFinals() int {
	return slices.IndexFunc(s.steps, func(st step) bool { return st.what == "final" })
}

// stored appends an entry to the log of a conversation, when all else has come, and shows it to all who follow.
func (s *story) stored(conv string, id, key string) {
	e := entry{Seq: uint64(len(s.log[conv]) + 1), ID: id, Key: key}
	s.log[conv] = append(s.log[conv], e)
	for _, o := range s.sessions {
		if _, ok := o.at[conv]; ok {
			s.insert(s.beforeFinals(), step{what: "saw", worker: o.worker, who: o.name, conv: conv, entry: e})
		}
	}
	for i := range s.steps {
		if st := &s.steps[i]; st.what == "final" && st.conv == conv {
			st.entries = append(slices.Clone(st.entries), e)
		}
	}
}

// some chooses among the messages that satisfy ok.
func (s *story) some(t *rapid.T, ok func(*message) bool) *message {
	var list []*message
	for _, m := range s.messages {
		if ok(m) {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return pick(t, list, "message")
}

func (s *story) chosen(t *rapid.T, list []int) (int, bool) {
	if len(list) == 0 {
		return 0, false
	}
	return pick(t, list, "step"), true
}

// next is the next delivery, gap or resume of the observer of a step.
func (s *story) next(i int, what ...string) int {
	for j := i + 1; j < len(s.steps); j++ {
		if a, b := s.steps[i], s.steps[j]; a.who == b.who && a.conv == b.conv && slices.Contains(what, b.what) {
			return j
		}
	}
	return -1
}

// resuming reports whether a delivery is the first after a resume.
func (s *story) resuming(i int) bool {
	for j := i - 1; j >= 0; j-- {
		if a, b := s.steps[i], s.steps[j]; a.who == b.who && a.conv == b.conv && slices.Contains([]string{"saw", "gap", "resumed"}, b.what) {
			return b.what == "resumed"
		}
	}
	return false
}

// swap exchanges two neighbours in a log, for everybody, from the start.
func (s *story) swap(a, b *message) {
	s.each(a.conv, func(_ *step, e *entry) bool {
		switch e.Key {
		case a.Key:
			*e = entry{Seq: a.Seq, ID: b.ID, Key: b.Key}
		case b.Key:
			*e = entry{Seq: b.Seq, ID: a.ID, Key: a.Key}
		}
		return true
	})
	for i := range s.steps {
		switch st := &s.steps[i]; {
		case st.what != "acked" || st.conv != a.conv:
		case st.entry.Key == a.Key:
			st.entry.Seq = b.Seq
		case st.entry.Key == b.Key:
			st.entry.Seq = a.Seq
		}
	}
}

// neighbours are two messages with none between, of which the first was sent (and acknowledged) before the second was sent.
func (s *story) neighbours(t *rapid.T, sameSender bool) (a, b *message) {
	at := map[string]int{}
	for i, st := range s.steps {
		at[st.what+st.conv+st.entry.Key] = i
	}
	var list [][2]*message
	for _, a := range s.messages {
		for _, b := range s.messages {
			if a == b || a.conv != b.conv || a.Seq == 0 || b.Seq <= a.Seq || (a.sender == b.sender) != sameSender {
				continue
			}
			between := slices.ContainsFunc(s.messages, func(m *message) bool { return m.conv == a.conv && a.Seq < m.Seq && m.Seq < b.Seq })
			acked, ok := at["acked"+a.conv+a.Key]
			if !between && (sameSender || ok && acked < at["sent"+b.conv+b.Key]) {
				list = append(list, [2]*message{a, b})
			}
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	p := pick(t, list, "neighbours")
	return p[0], p[1]
}

func acked(m *message) bool         { return m.acked }
func indeterminate(m *message) bool { return m.Seq == 0 && !m.refuse }

// append1 is a mutation that stores something after all else.
func append1(of func(*message) bool, id, key func(*message) string) func(*rapid.T, *story) bool {
	return func(t *rapid.T, s *story) bool {
		m := s.some(t, of)
		if m == nil {
			return false
		}
		s.stored(m.conv, id(m), key(m))
		return true
	}
}

func newID(*message) string    { return "new" }
func oldKey(m *message) string { return m.Key }

// last is when a message was sent.
func (s *story) last(m *message) int {
	return slices.IndexFunc(s.steps, func(st step) bool {
		return st.what == "sent" && st.conv == m.conv && st.entry.Key == m.Key
	})
}

// overtaken reports whether a message that is stored at the end would be in the wrong order for itself.
func (s *story) overtaken(m *message) bool {
	return slices.ContainsFunc(s.messages, func(o *message) bool {
		return o.conv == m.conv && o.sender == m.sender && o.Seq > 0 && s.last(o) > s.last(m)
	})
}

func (s *story) follows(st step) bool {
	for _, o := range s.sessions {
		if o.name == st.who {
			_, ok := o.at[st.conv]
			return ok
		}
	}
	return false
}

// ackedBefore reports whether a message was acknowledged before a read began.
func (s *story) ackedBefore(read step, e entry) bool {
	for _, st := range s.steps {
		switch {
		case st.what == "read" && st.read == read.read:
			return false
		case st.what == "acked" && st.conv == read.conv && st.entry.Key == e.Key:
			return true
		}
	}
	return false
}
