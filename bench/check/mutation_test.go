package check_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/check"
)

// mutation makes a flawless story wrong in one way, and reports whether the story had a place for it.
type mutation struct {
	name string
	want check.Kind
	make func(*rapid.T, *story) bool
}

var mutations = []mutation{
	{"lost ack: in no history, seen by nobody", check.Lost, func(t *rapid.T, s *story) bool {
		m := s.some(t, acked)
		s.each(m.conv, func(_ *step, e *entry) bool { return e.Key != m.Key })
		return true
	}},
	{"lost ack: seen, then gone", check.Lost, func(t *rapid.T, s *story) bool {
		m := s.some(t, acked)
		s.each(m.conv, func(st *step, e *entry) bool { return st.what != "final" || e.Key != m.Key })
		return true
	}},
	{"ack with another id", check.Changed, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("acked", everything))
		s.steps[i].entry.ID = "other"
		return ok
	}},
	{"ack with another seq", check.Changed, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("acked", everything))
		s.steps[i].entry.Seq++
		return ok
	}},
	{"second ack that differs", check.Changed, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("acked", everything))
		again := s.steps[i]
		again.entry.Seq++
		s.insert(i+1, again)
		return ok
	}},
	{"stored twice", check.Duplicate, append1(acked, newID, oldKey)},
	{"one id for two", check.Duplicate, func(t *rapid.T, s *story) bool {
		m, other := s.some(t, indeterminate), s.some(t, acked)
		if m == nil || m.conv != other.conv || s.last(m) > s.last(other) {
			return false
		}
		if slices.ContainsFunc(s.messages, func(o *message) bool { return o.sender == m.sender && o.Seq > 0 && s.last(o) > s.last(m) }) || s.overtaken(m) {
			return false
		}
		s.stored(m.conv, other.ID, m.Key)
		return true
	}},
	{"indeterminate and stored twice", check.Duplicate, func(t *rapid.T, s *story) bool {
		m := s.some(t, func(m *message) bool { return m.Seq > 0 && !m.acked })
		if m == nil {
			return false
		}
		s.stored(m.conv, "new", m.Key)
		return true
	}},
	{"one entry found twice", check.Duplicate, func(t *rapid.T, s *story) bool {
		m := s.some(t, acked)
		twice := func(e entry) bool { return e.Key == m.Key }
		for i := range s.steps {
			if st := &s.steps[i]; st.what == "final" && st.conv == m.conv {
				j := slices.IndexFunc(st.entries, twice)
				st.entries = slices.Insert(slices.Clone(st.entries), j, st.entries[j])
			}
		}
		return true
	}},
	{"never sent", check.Phantom, append1(acked, newID, func(*message) string { return "nobody's" })},
	{"sent elsewhere", check.Phantom, func(t *rapid.T, s *story) bool {
		m := s.some(t, acked)
		if len(s.convs) < 2 {
			return false
		}
		s.stored(s.convs[1-slices.Index(s.convs, m.conv)], "new", m.Key)
		return true
	}},
	{"ack of nothing", check.Phantom, func(_ *rapid.T, s *story) bool {
		s.insert(s.beforeFinals(), step{what: "acked", conv: s.convs[0], entry: entry{Seq: 1, ID: "new", Key: "nobody's"}})
		return true
	}},
	{"skipped", check.Skip, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("saw", func(i int, _ step) bool {
			j := s.next(i, "saw", "gap", "resumed", "follow", "leave")
			return j > 0 && s.steps[j].what == "saw" && !s.resuming(i)
		}))
		if ok {
			s.steps = slices.Delete(s.steps, i, i+1)
		}
		return ok
	}},
	{"skipped across a resume", check.SkipResume, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("saw", func(i int, _ step) bool {
			j := s.next(i, "saw", "gap", "follow", "leave")
			return j > 0 && s.steps[j].what == "saw"
		}))
		if ok {
			s.steps[i].what = "resumed"
		}
		return ok
	}},
	{"delivered twice", check.Repeat, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("saw", everything))
		s.insert(i+1, s.steps[i])
		return ok
	}},
	{"delivered twice across a resume", check.RepeatResume, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("saw", everything))
		s.insert(i+1, s.steps[i])
		resumed := s.steps[i]
		resumed.what = "resumed"
		s.insert(i+1, resumed)
		return ok
	}},
	{"gap set back", check.Repeat, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("saw", func(_ int, st step) bool { return st.entry.Seq > 1 }))
		if ok {
			back := s.steps[i]
			back.what, back.entry = "gap", entry{Seq: back.entry.Seq - 1}
			s.insert(i+1, back)
		}
		return ok
	}},
	{"one observer sees another message", check.Divergence, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("saw", func(_ int, st step) bool { return st.entry.IsMessage() }))
		if ok {
			s.steps[i].entry.ID = "other"
		}
		return ok
	}},
	{"one observer sees another content", check.Divergence, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("saw", func(_ int, st step) bool { return st.entry.IsMessage() }))
		if ok {
			s.steps[i].entry.Key = "other"
		}
		return ok
	}},
	{"a gap shows another message", check.Divergence, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("gap", func(_ int, st step) bool { return len(st.entries) > 0 }))
		if ok {
			s.steps[i].entries[0].ID = "other"
		}
		return ok
	}},
	{"readers find different histories", check.Divergence, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("final", func(_ int, st step) bool { return st.conv == s.convs[0] }))
		less := s.steps[i]
		less.entries, less.worker = less.entries[:len(less.entries)-1], rapid.IntRange(0, s.workers-1).Draw(t, "at")
		for j := range s.steps { // the first that the first worker found is what all is compared with
			if st := &s.steps[j]; st.what == "final" && st.conv == s.convs[0] {
				st.worker = 0
			}
		}
		s.add(less)
		return ok
	}},
	{"delivered and nowhere", check.Vanished, func(t *rapid.T, s *story) bool {
		m := s.some(t, indeterminate)
		var o *session
		if m != nil {
			for _, x := range s.sessions {
				if _, ok := x.at[m.conv]; ok {
					o = x
				}
			}
		}
		if o == nil {
			return false
		}
		s.insert(s.beforeFinals(), step{what: "saw", worker: o.worker, who: o.name, conv: m.conv, entry: entry{Seq: uint64(len(s.log[m.conv]) + 1), ID: "new", Key: m.Key}})
		return true
	}},
	{"the last is not delivered", check.Unobserved, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("saw", func(i int, st step) bool {
			all := s.messagesOf(st.conv)
			return len(all) > 0 && st.entry.Seq == all[len(all)-1].Seq && s.follows(st) && s.next(i, "saw", "gap", "follow", "leave") < 0
		}))
		if ok {
			s.steps = slices.Delete(s.steps, i, i+1)
		}
		return ok
	}},
	{"refused and stored", check.Refused, func(t *rapid.T, s *story) bool {
		m := s.some(t, func(m *message) bool { return m.refuse })
		if m == nil || s.overtaken(m) {
			return false
		}
		s.stored(m.conv, "new", m.Key)
		return true
	}},
	{"two of one sender change places", check.SenderOrd, func(t *rapid.T, s *story) bool {
		a, b := s.neighbours(t, true)
		if a == nil {
			return false
		}
		s.swap(a, b)
		return true
	}},
	{"acks in the wrong order", check.RealTime, func(t *rapid.T, s *story) bool {
		a, b := s.neighbours(t, false)
		if a == nil {
			return false
		}
		s.swap(a, b)
		return true
	}},
	{"delivered to one who is no member", check.Foreign, func(t *rapid.T, s *story) bool {
		for _, o := range s.sessions {
			for _, c := range s.convs {
				if head := len(s.log[c]); !s.member[c][o.user] {
					// A former member sees what comes next, one who never was sees the last.
					e := s.log[c][head-1]
					for _, st := range s.steps {
						if st.conv == c && (st.what == "removed" && st.user == o.user) && int(st.entry.Seq) < head {
							e = s.log[c][st.entry.Seq]
						} else if st.conv == c && st.what == "removed" && st.user == o.user {
							return false
						}
					}
					s.insert(s.beforeFinals(), step{what: "saw", worker: o.worker, who: o.name, conv: c, entry: e})
					return true
				}
			}
		}
		return false
	}},
	{"receipt going back", check.ReceiptBack, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("receipt", func(_ int, st step) bool { return st.entry.Seq > 0 }))
		if ok {
			back := s.steps[i]
			back.entry.Seq--
			s.insert(i+1, back)
		}
		return ok
	}},
	{"wrong unread", check.UnreadCount, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("unread", everything))
		if ok {
			s.steps[i].count++
		}
		return ok
	}},
	{"read without what was acknowledged", check.NonLinear, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("done", func(_ int, st step) bool {
			n := len(st.entries)
			return n > 0 && (n > 1 || st.whole) && s.ackedBefore(st, st.entries[n-1])
		}))
		if ok {
			st := &s.steps[i]
			st.entries = st.entries[:len(st.entries)-1]
		}
		return ok
	}},
	{"read with a hole", check.NonLinear, func(t *rapid.T, s *story) bool {
		i, ok := s.chosen(t, s.where("done", func(_ int, st step) bool { return len(st.entries) > 2 }))
		if ok {
			st := &s.steps[i]
			st.entries = slices.Delete(st.entries, 1, 2)
		}
		return ok
	}},
}

// TestMutations: every story that was made wrong in one way is found wrong in that way and in no other.
func TestMutations(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			found := 0
			for range 50 { // some stories have no place for it
				if found >= 40 {
					break
				}
				rapid.Check(t, func(t *rapid.T) {
					s := tell(t)
					if found >= 40 || !m.make(t, s) {
						return
					}
					if m.want != check.UnreadCount {
						s.count() // of what is in the history now
					}
					r := s.play(t, rapid.Bool().Draw(t, "merge"), check.Linear{})
					if len(r.Counts) != 1 || r.Counts[m.want] == 0 {
						t.Fatalf("want violations of the kind %q alone: %v\n%v", m.want, r, s)
					}
					for _, v := range r.Violations {
						if len(v.History) == 0 || len(v.History) > 6 && v.Kind != check.Foreign {
							t.Fatalf("%v carries %d operations: %v", v, len(v.History), v.History)
						}
					}
					found++
				})
			}
			if found < 20 {
				t.Errorf("the mutation was made only %d times", found)
			}
		})
	}
}

func TestNonLinearHistoriesAreDrawn(t *testing.T) {
	dir := t.TempDir()
	drawn := false
	rapid.Check(t, func(t *rapid.T) {
		i := slices.IndexFunc(mutations, func(m mutation) bool { return m.want == check.NonLinear })
		s := tell(t)
		if drawn || !mutations[i].make(t, s) {
			return
		}
		r := s.play(t, true, check.Linear{HTMLDir: dir})
		if len(r.Linear.Pictures) != 1 {
			t.Fatalf("pictures: %v", r.Linear.Pictures)
		}
		b, err := os.ReadFile(r.Linear.Pictures[0])
		if err != nil || !strings.Contains(string(b), "<html") {
			t.Fatalf("%s: %v", filepath.Base(r.Linear.Pictures[0]), err)
		}
		drawn = true
	})
	if !drawn {
		t.Error("nothing was drawn")
	}
}
