package history_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/client/history"
)

type entry = history.Entry

func msg(seq uint64) entry {
	return entry{Seq: seq, ID: fmt.Sprintf("id%d", seq), Key: fmt.Sprintf("k%d", seq)}
}

// run is a flawless run of two senders and one observer: event 1 is no message, 2 to 5 are.
type run struct {
	c     *history.Checker
	o     *history.Observer
	final []entry
}

func flawless() *run {
	r := &run{c: history.New()}
	r.o = r.c.Observer("carol")
	r.o.Follow("c", 0)
	r.o.Saw("c", entry{Seq: 1})
	for seq := uint64(2); seq <= 5; seq++ {
		m := msg(seq)
		r.c.Sent([]string{"alice", "bob"}[seq%2], "c", m.Key)
		r.c.Acked(m.Key, m.ID, m.Seq)
		r.o.Saw("c", m)
		r.final = append(r.final, m)
	}
	return r
}

func TestFlawlessRunsAreFine(t *testing.T) {
	for name, change := range map[string]func(*run){
		"as it is":                  func(*run) {},
		"unanswered and not there":  func(r *run) { r.c.Sent("alice", "c", "lost on the way") },
		"unanswered and there once": func(r *run) { r.c.Sent("alice", "c", "k6"); r.o.Saw("c", msg(6)); r.final = append(r.final, msg(6)) },
		"refused and not there":     func(r *run) { r.c.Sent("alice", "c", "x"); r.c.Refused("x") },
		"a second ack that agrees":  func(r *run) { r.c.Acked("k3", "id3", 3) },
		"an announced gap": func(r *run) {
			o := r.c.Observer("dave")
			o.Follow("c", 1)
			o.Gap("c", 4, []entry{msg(2), msg(4)})
			o.Saw("c", msg(5))
		},
		"two in flight stand the other way": func(r *run) {
			r.c.Sent("alice", "c", "k7")
			r.c.Sent("bob", "c", "k6")
			r.c.Acked("k7", "id7", 7)
			r.c.Acked("k6", "id6", 6)
			r.o.Saw("c", msg(6))
			r.o.Saw("c", msg(7))
			r.final = append(r.final, msg(6), msg(7))
		},
		"a second reader who agrees": func(r *run) { r.c.Final("dave", "c", r.final) },
	} {
		t.Run(name, func(t *testing.T) {
			r := flawless()
			change(r)
			r.c.Final("alice", "c", r.final)
			if rep := r.c.Check(); !rep.OK() {
				t.Fatal(rep)
			}
		})
	}
}

func TestEveryViolationIsFound(t *testing.T) {
	for _, tc := range []struct {
		name   string
		kind   history.Kind
		change func(*run)
	}{
		{"acked message missing", history.Lost, func(r *run) { r.final = append(r.final[:1:1], r.final[2:]...) }},
		{"last acked message missing", history.Lost, func(r *run) { r.final = r.final[:3] }},
		{"stored under another id", history.Changed, func(r *run) { r.final[1].ID = "other" }},
		{"stored at another seq", history.Changed, func(r *run) { r.final[3].Seq = 6 }},
		{"acked twice, differently", history.Changed, func(r *run) { r.c.Acked("k2", "id9", 9) }},
		{"acked without a seq", history.Changed, func(r *run) { r.c.Sent("alice", "c", "x"); r.c.Acked("x", "idx", 0) }},
		{"stored twice", history.Duplicate, func(r *run) { r.final = append(r.final, entry{Seq: 6, ID: "id6", Key: "k2"}) }},
		{"one seq for two", history.Duplicate, func(r *run) { r.final = append(r.final, entry{Seq: 5, ID: "id6", Key: "k6"}) }},
		{"one id for two", history.Duplicate, func(r *run) { r.final = append(r.final, entry{Seq: 6, ID: "id5", Key: "k6"}) }},
		{"unanswered, stored twice", history.Duplicate, func(r *run) {
			r.c.Sent("alice", "c", "x")
			r.final = append(r.final, entry{Seq: 6, ID: "id6", Key: "x"}, entry{Seq: 7, ID: "id7", Key: "x"})
		}},
		{"never sent", history.Phantom, func(r *run) { r.final = append(r.final, entry{Seq: 6, ID: "id6", Key: "x"}) }},
		{"sent to another conversation", history.Phantom, func(r *run) {
			r.c.Sent("alice", "d", "x")
			r.c.Final("alice", "d", nil)
			r.final = append(r.final, entry{Seq: 6, ID: "id6", Key: "x"})
		}},
		{"ack of nothing", history.Phantom, func(r *run) { r.c.Acked("x", "id", 1) }},
		{"refused and stored", history.Refused, func(r *run) {
			r.c.Sent("alice", "c", "k6")
			r.c.Refused("k6")
			r.final = append(r.final, msg(6))
		}},
		{"hole in a delivery", history.Skip, func(r *run) { r.o.Saw("c", entry{Seq: 7}) }},
		{"hole at the start", history.Skip, func(r *run) {
			o := r.c.Observer("dave")
			o.Follow("c", 1)
			o.Saw("c", msg(3))
			o.Saw("c", msg(4))
			o.Saw("c", msg(5))
		}},
		{"event without seq", history.Skip, func(r *run) { r.o.Saw("c", entry{ID: "x"}) }},
		{"delivered twice", history.Repeat, func(r *run) { r.o.Saw("c", msg(5)) }},
		{"out of order", history.Repeat, func(r *run) { r.o.Saw("c", msg(3)) }},
		{"log set back", history.Repeat, func(r *run) { r.o.Gap("c", 3, nil) }},
		{"gap filled from elsewhere", history.Repeat, func(r *run) { r.o.Gap("c", 6, []entry{msg(2)}) }},
		{"observers disagree", history.Divergence, func(r *run) {
			o := r.c.Observer("dave")
			o.Follow("c", 4)
			o.Saw("c", entry{Seq: 5, ID: "other", Key: "k5"})
		}},
		{"observer and history disagree", history.Divergence, func(r *run) { r.final[0].ID = "other" }},
		{"same id, other message", history.Divergence, func(r *run) {
			o := r.c.Observer("dave")
			o.Follow("c", 4)
			o.Saw("c", entry{Seq: 5, ID: "id5", Key: "k4"})
		}},
		{"readers disagree", history.Divergence, func(r *run) { r.c.Final("dave", "c", r.final[:2]) }},
		{"delivered, then gone", history.Vanished, func(r *run) {
			r.c.Sent("alice", "c", "k6")
			r.o.Saw("c", msg(6)) // never acked
		}},
		{"observer is behind", history.Unobserved, func(r *run) {
			o := r.c.Observer("dave")
			o.Follow("c", 1)
			o.Saw("c", msg(2))
		}},
		{"observer saw nothing", history.Unobserved, func(r *run) { r.c.Observer("dave").Follow("c", 0) }},
		{"sender's messages swapped", history.SenderOrd, func(r *run) {
			r.c.Sent("alice", "c", "k7")
			r.c.Sent("alice", "c", "k6")
			r.o.Saw("c", msg(6))
			r.o.Saw("c", msg(7))
			r.final = append(r.final, msg(6), msg(7))
		}},
		{"acked before the other was sent", history.RealTime, func(r *run) {
			r.c.Sent("alice", "c", "k7")
			r.c.Acked("k7", "id7", 7)
			r.c.Sent("bob", "c", "k6")
			r.c.Acked("k6", "id6", 6)
			r.o.Saw("c", msg(6))
			r.o.Saw("c", msg(7))
			r.final = append(r.final, msg(6), msg(7))
		}},
		{"no final history", history.Misuse, func(r *run) { r.c.Sent("alice", "d", "x") }},
		{"key used twice", history.Misuse, func(r *run) { r.c.Sent("alice", "c", "k2") }},
		{"history out of order", history.Misuse, func(r *run) { r.final[0], r.final[1] = r.final[1], r.final[0] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := flawless()
			tc.change(r)
			r.c.Final("alice", "c", r.final)
			rep := r.c.Check()
			if rep.OK() || rep.Counts[tc.kind] == 0 {
				t.Fatalf("want a violation %q, got: %v", tc.kind, rep)
			}
			if !strings.Contains(rep.String(), string(tc.kind)) {
				t.Fatalf("the report does not name it: %v", rep)
			}
		})
	}
}

func TestARunWithoutAcksProvesNothing(t *testing.T) {
	c := history.New()
	c.Sent("alice", "c", "x")
	c.Final("alice", "c", nil)
	if rep := c.Check(); rep.OK() {
		t.Fatal(rep)
	}
}

// TestOneSwapIsAlwaysFound makes a sequential run, in which every order is fixed, and exchanges two messages.
func TestOneSwapIsAlwaysFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "n")
		a := rapid.IntRange(0, n-2).Draw(t, "a")
		b := rapid.IntRange(a+1, n-1).Draw(t, "b")
		swap := rapid.Bool().Draw(t, "swap")
		place := make([]int, n) // message -> seq
		for i := range place {
			place[i] = i + 1
		}
		if swap {
			place[a], place[b] = place[b], place[a]
		}
		c := history.New()
		final := make([]entry, n)
		for i, seq := range place {
			key := fmt.Sprint("k", i)
			c.Sent(fmt.Sprint("s", i), "c", key)
			c.Acked(key, fmt.Sprint("id", seq), uint64(seq))
			final[seq-1] = entry{Seq: uint64(seq), ID: fmt.Sprint("id", seq), Key: key}
		}
		c.Final("r", "c", final)
		if rep := c.Check(); rep.OK() == swap {
			t.Fatalf("swap %v: %v", swap, rep)
		}
	})
}
