package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind of a violation.
type Kind string

// The kinds, explained in the package comment.
const (
	Lost         Kind = "lost"
	Changed      Kind = "changed"
	Duplicate    Kind = "duplicate"
	Phantom      Kind = "phantom"
	Refused      Kind = "refused"
	Skip         Kind = "skip"
	SkipResume   Kind = "skip across resume"
	Repeat       Kind = "repeat"
	RepeatResume Kind = "repeat across resume"
	Divergence   Kind = "divergence"
	Vanished     Kind = "vanished"
	Unobserved   Kind = "unobserved"
	SenderOrd    Kind = "sender order"
	RealTime     Kind = "real-time order"
	Foreign      Kind = "foreign"
	ReceiptBack  Kind = "receipt set back"
	UnreadCount  Kind = "unread"
	NonLinear    Kind = "not linearizable"
	Misuse       Kind = "misuse" // of the checker
)

// Op is one operation of the history that a violation carries.
type Op struct {
	What string `json:"what"` // sent, saw, found, …
	Who  string `json:"who,omitempty"`
	Key  string `json:"key,omitempty"`
	ID   string `json:"id,omitempty"`
	Seq  uint64 `json:"seq,omitempty"`
	// When, since the start of the run, in nanoseconds; nil: not known or not so.
	Intended *time.Duration `json:"intended_ns,omitempty"`
	Sent     *time.Duration `json:"sent_ns,omitempty"`
	Acked    *time.Duration `json:"acked_ns,omitempty"`
}

func (o Op) String() string {
	var b strings.Builder
	put := func(format string, args ...any) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, format, args...)
	}
	if o.Who != "" {
		put("%s", o.Who)
	}
	put("%s", o.What)
	if o.Key != "" {
		put("%s", o.Key)
	}
	if o.Intended != nil {
		put("intended %v", *o.Intended)
	}
	if o.Sent != nil {
		put("at %v", *o.Sent)
	}
	if o.Acked != nil {
		put("acknowledged %v", *o.Acked)
	}
	if o.Seq != 0 {
		put("seq %d", o.Seq)
	}
	if o.ID != "" {
		put("id %s", o.ID)
	}
	return b.String()
}

// Violation is one contradiction.
type Violation struct {
	Kind         Kind   `json:"kind"`
	Conversation string `json:"conversation,omitempty"`
	Worker       string `json:"worker,omitempty"` // that noticed it by itself
	Text         string `json:"text"`
	History      []Op   `json:"history,omitempty"` // the operations that contradict one another, and no others
}

func (v Violation) String() string { return string(v.Kind) + ": " + v.Conversation + ": " + v.Text }

// maxKept bounds the violations of one kind that are kept with their text; all are counted.
const maxKept = 50

// tally counts violations and keeps some.
type tally struct {
	Counts     map[Kind]int `json:"counts"`
	Violations []Violation  `json:"violations"`
}

func (t *tally) add(v Violation) {
	if t.Counts == nil {
		t.Counts = map[Kind]int{}
	}
	t.Counts[v.Kind]++
	if t.Counts[v.Kind] <= maxKept {
		t.Violations = append(t.Violations, v)
	}
}

func (t *tally) merge(o tally) {
	if t.Counts == nil {
		t.Counts = map[Kind]int{}
	}
	kept := map[Kind]int{}
	for _, v := range t.Violations {
		kept[v.Kind]++
	}
	for _, v := range o.Violations {
		if kept[v.Kind]++; kept[v.Kind] <= maxKept {
			t.Violations = append(t.Violations, v)
		}
	}
	for k, n := range o.Counts {
		t.Counts[k] += n
	}
}

// Report is the verdict.
type Report struct {
	Sends      int `json:"sends"`
	Acked      int `json:"acked"`
	Unanswered int `json:"unanswered"`
	Stored     int `json:"stored"`
	Observers  int `json:"observers"`

	ReceiptsUnchecked int64         `json:"receipts_unchecked"` // receipts for which there was no room
	Linear            LinearSummary `json:"linear"`

	Counts     map[Kind]int `json:"counts"`     // violations, all of them
	Violations []Violation  `json:"violations"` // at most 50 of each kind
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
	total := 0
	for _, n := range r.Counts {
		total += n
	}
	fmt.Fprintf(&b, "%d violations", total)
	for _, k := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, "\n%s: %d", k, r.Counts[k])
		kept := 0
		for _, v := range r.Violations {
			if v.Kind != k {
				continue
			}
			kept++
			fmt.Fprintf(&b, "\n  %s: %s", v.Conversation, v.Text)
			for _, o := range v.History {
				fmt.Fprintf(&b, "\n    %s", o)
			}
		}
		if n := r.Counts[k] - kept; n > 0 {
			fmt.Fprintf(&b, "\n  … and %d more", n)
		}
	}
	return b.String()
}
