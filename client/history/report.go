package history

import (
	"fmt"
	"slices"
	"strings"
)

// Report is the verdict.
type Report struct {
	Sends, Acked, Unanswered, Stored, Observers int

	Counts     map[Kind]int // violations, all of them
	Violations []Violation  // at most 50 of each kind
}

// OK reports whether nothing is wrong. A run in which nothing was acknowledged proves nothing and is not OK.
func (r *Report) OK() bool { return len(r.Counts) == 0 && r.Acked > 0 }

func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d sends, %d acknowledged, %d unanswered, %d stored, %d observers: ", r.Sends, r.Acked, r.Unanswered, r.Stored, r.Observers)
	switch {
	case r.OK():
		b.WriteString("no violation")
		return b.String()
	case len(r.Counts) == 0:
		b.WriteString("nothing was acknowledged, so nothing is proved")
		return b.String()
	}
	kinds := make([]Kind, 0, len(r.Counts))
	total := 0
	for k, n := range r.Counts {
		kinds = append(kinds, k)
		total += n
	}
	slices.Sort(kinds)
	fmt.Fprintf(&b, "%d violations", total)
	for _, k := range kinds {
		fmt.Fprintf(&b, "\n%s: %d", k, r.Counts[k])
		for _, v := range r.Violations {
			if v.Kind == k {
				fmt.Fprintf(&b, "\n  %s: %s", v.Conversation, v.Text)
			}
		}
		if n := r.Counts[k]; n > maxKept {
			fmt.Fprintf(&b, "\n  … and %d more", n-maxKept)
		}
	}
	return b.String()
}

// Check ends the run and compares everything with the final histories. Call it once.
func (c *Checker) Check() *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &Report{Sends: len(c.sends), Acked: c.acked, Observers: len(c.obs)}
	found := make(map[string]Entry, len(c.sends)) // by key
	heads := map[string]uint64{}
	for id, cv := range c.convs {
		if !cv.read {
			c.report(Misuse, id, "no final history was read")
			continue
		}
		r.Stored += len(cv.final)
		heads[id] = c.checkFinal(id, cv, found)
	}
	for key, s := range c.sends {
		e, there := found[key]
		switch {
		case s.ack.ID == "" && !s.refused:
			r.Unanswered++
		case s.refused && there:
			c.report(Refused, s.conversation, "%s was refused and stands at seq %d", key, e.Seq)
		case s.refused:
		case !there:
			c.report(Lost, s.conversation, "%s of %s, acknowledged at seq %d, is not in the history", key, s.sender, s.ack.Seq)
		case e.ID != s.ack.ID || e.Seq != s.ack.Seq:
			c.report(Changed, s.conversation, "%s was acknowledged as %d %s and is stored as %d %s", key, s.ack.Seq, s.ack.ID, e.Seq, e.ID)
		}
	}
	for _, o := range c.obs {
		for id, last := range o.last {
			if head := heads[id]; last < head {
				c.report(Unobserved, id, "%s saw up to seq %d of %d", o.name, last, head)
			}
		}
	}
	r.Counts, r.Violations = c.counts, c.kept
	return r
}

// checkFinal goes through a final history once, and returns its highest seq.
func (c *Checker) checkFinal(id string, cv *conversation, found map[string]Entry) (head uint64) {
	ids := make(map[string]uint64, len(cv.final))
	seqs := make(map[uint64]string, len(cv.final))
	order := map[string]int{} // sender -> number of its last message
	var latest *send          // the one of all before that was sent last
	for _, e := range cv.final {
		if old, ok := seqs[e.Seq]; ok {
			c.report(Duplicate, id, "seq %d holds %s and %s", e.Seq, old, e.ID)
		} else if e.Seq < head {
			c.report(Misuse, id, "the final history is not in order: seq %d after %d", e.Seq, head)
		}
		head = max(head, e.Seq)
		seqs[e.Seq] = e.ID
		if old, ok := ids[e.ID]; ok {
			c.report(Duplicate, id, "%s stands at seq %d and %d", e.ID, old, e.Seq)
		}
		ids[e.ID] = e.Seq
		c.agree("the final history", id, e)

		s := c.sends[e.Key]
		if s == nil || s.conversation != id {
			c.report(Phantom, id, "seq %d holds %q, which nobody sent there", e.Seq, e.Key)
			continue
		}
		if old, ok := found[e.Key]; ok {
			c.report(Duplicate, id, "%s stands at seq %d and %d", e.Key, old.Seq, e.Seq)
			continue
		}
		found[e.Key] = e
		if s.no < order[s.sender] {
			c.report(SenderOrd, id, "message %d of %s stands at seq %d, behind its message %d", s.no, s.sender, e.Seq, order[s.sender])
		}
		order[s.sender] = max(order[s.sender], s.no)
		if latest != nil && s.end != 0 && s.end < latest.start {
			c.report(RealTime, id, "%s at seq %d was acknowledged before %s was sent, which stands before it", e.Key, e.Seq, latest.key)
		}
		if latest == nil || s.start > latest.start {
			latest = s
		}
	}
	for seq, e := range cv.at {
		if _, ok := seqs[seq]; !ok && e.IsMessage() {
			c.report(Vanished, id, "seq %d, which was delivered as %s, is not in the history", seq, e.ID)
		}
	}
	return head
}
