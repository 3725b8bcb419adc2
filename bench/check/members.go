package check

import (
	"cmp"
	"math"
	"slices"
)

// span is what a member may see, both ends included.
type span struct{ from, to uint64 }

// spans of a user. One who is removed first was a member from the start; several workers may tell the same.
func (t *trial) spans(user string) (list []span) {
	ops := slices.Clone(t.members[user])
	slices.SortStableFunc(ops, func(a, b op) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.kind, b.kind)) })
	from, in := uint64(1), len(ops) > 0 && ops[0].kind == opRemoved
	for _, o := range ops {
		switch {
		case o.kind == opAdded && !in:
			from, in = o.seq, true
		case o.kind == opRemoved && in:
			list = append(list, span{from, o.seq})
			in = false
		}
	}
	if in {
		list = append(list, span{from, math.MaxUint64})
	}
	return list
}

// mustSee reports whether an observer of the user is to see what stands at seq.
func (t *trial) mustSee(user string, seq uint64) bool {
	if user == "" || len(t.members) == 0 {
		return true
	}
	return slices.ContainsFunc(t.spans(user), func(s span) bool { return s.from <= seq && seq <= s.to })
}

// isolation compares what observers saw with what their users may see.
func (t *trial) isolation() {
	if len(t.members) == 0 {
		return
	}
	spans := map[string][]span{}
	for _, o := range t.runs {
		if o.user == "" {
			continue
		}
		list, ok := spans[o.user]
		if !ok {
			list = t.spans(o.user)
			spans[o.user] = list
		}
		if seq, foreign := outside(o.seq, o.to, list); foreign {
			history := []Op{}
			for _, m := range t.members[o.user] {
				what := "may see what follows"
				if m.kind == opRemoved {
					what = "may see nothing behind"
				}
				history = append(history, Op{What: what, Who: o.user, Seq: m.seq})
			}
			t.violation(Foreign, append(history, Op{What: "saw", Who: o.who, Seq: seq}), "%s of %s saw seq %d, at which %s is not a member", o.who, o.user, seq, o.user)
		}
	}
}

// outside is the first seq of from to to that is in none of the spans, which are in order.
func outside(from, to uint64, list []span) (uint64, bool) {
	for _, s := range list {
		switch {
		case from > s.to:
		case from < s.from:
			return from, true
		case to <= s.to:
			return 0, false
		default:
			from = s.to + 1
		}
	}
	return from, true
}

// unreadCounts compares what users are told with what stands behind their last confirmed mark.
func (t *trial) unreadCounts(final op) {
	for _, o := range t.unread {
		want := uint64(0)
		mark := t.marks[o.user]
		for _, e := range final.entries {
			if s := t.sends[e.Key]; e.Seq > mark && s != nil && s.user != o.user {
				want++
			}
		}
		if o.to != want {
			t.violation(UnreadCount, []Op{{What: "has read up to", Who: o.user, Seq: mark}}, "%s is told of %d unread messages, and %d of others stand behind seq %d", o.user, o.to, want, mark)
		}
	}
}
