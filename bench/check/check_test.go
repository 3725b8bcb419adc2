package check_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/check"
)

type entry = check.Entry

func msg(seq uint64) entry {
	return entry{Seq: seq, ID: fmt.Sprintf("id%d", seq), Key: fmt.Sprintf("k%d", seq)}
}

func newChecker() *check.Checker {
	c, err := check.New(check.Config{})
	if err != nil {
		panic(err) // without a spill file it cannot fail
	}
	return c
}

func verdict(c *check.Checker) *check.Report {
	r, err := c.Check()
	if err != nil {
		panic(err)
	}
	return r
}

// run is a flawless run of two senders and one observer: event 1 is no message, 2 to 5 are.
type run struct {
	c     *check.Checker
	o     *check.Observer
	final []entry
}

func flawless() *run {
	r := &run{c: newChecker()}
	r.o = r.c.Observer("carol", "")
	r.o.Follow("c", 0)
	r.o.Saw("c", entry{Seq: 1})
	for seq := uint64(2); seq <= 5; seq++ {
		m := msg(seq)
		r.c.Sent(check.Send{Sender: []string{"alice", "bob"}[seq%2], Conversation: "c", Key: m.Key})
		r.c.Acked("c", m.Key, m.ID, m.Seq)
		r.o.Saw("c", m)
		r.final = append(r.final, m)
	}
	return r
}

func TestFlawlessRunsAreFine(t *testing.T) {
	for name, change := range map[string]func(*run){
		"as it is":                 func(*run) {},
		"unanswered and not there": func(r *run) { r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "lost on the way"}) },
		"unanswered and there once": func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "k6"})
			r.o.Saw("c", msg(6))
			r.final = append(r.final, msg(6))
		},
		"refused and not there": func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "x"})
			r.c.Refused("c", "x")
		},
		"a second ack that agrees": func(r *run) { r.c.Acked("c", "k3", "id3", 3) },
		"an announced gap": func(r *run) {
			o := r.c.Observer("dave", "")
			o.Follow("c", 1)
			o.Gap("c", 4, []entry{msg(2), msg(4)})
			o.Saw("c", msg(5))
		},
		"two in flight stand the other way": func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "k7"})
			r.c.Sent(check.Send{Sender: "bob", Conversation: "c", Key: "k6"})
			r.c.Acked("c", "k7", "id7", 7)
			r.c.Acked("c", "k6", "id6", 6)
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
			if rep := verdict(r.c); !rep.OK() {
				t.Fatal(rep)
			}
		})
	}
}

func TestEveryViolationIsFound(t *testing.T) {
	for _, tc := range []struct {
		name   string
		kind   check.Kind
		change func(*run)
	}{
		{"acked message missing", check.Lost, func(r *run) { r.final = append(r.final[:1:1], r.final[2:]...) }},
		{"last acked message missing", check.Lost, func(r *run) { r.final = r.final[:3] }},
		{"stored under another id", check.Changed, func(r *run) { r.final[1].ID = "other" }},
		{"stored at another seq", check.Changed, func(r *run) { r.final[3].Seq = 6 }},
		{"acked twice, differently", check.Changed, func(r *run) { r.c.Acked("c", "k2", "id9", 9) }},
		{"acked without a seq", check.Changed, func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "x"})
			r.c.Acked("c", "x", "idx", 0)
		}},
		{"stored twice", check.Duplicate, func(r *run) { r.final = append(r.final, entry{Seq: 6, ID: "id6", Key: "k2"}) }},
		{"one seq for two", check.Duplicate, func(r *run) { r.final = append(r.final, entry{Seq: 5, ID: "id6", Key: "k6"}) }},
		{"one id for two", check.Duplicate, func(r *run) { r.final = append(r.final, entry{Seq: 6, ID: "id5", Key: "k6"}) }},
		{"unanswered, stored twice", check.Duplicate, func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "x"})
			r.final = append(r.final, entry{Seq: 6, ID: "id6", Key: "x"}, entry{Seq: 7, ID: "id7", Key: "x"})
		}},
		{"never sent", check.Phantom, func(r *run) { r.final = append(r.final, entry{Seq: 6, ID: "id6", Key: "x"}) }},
		{"sent to another conversation", check.Phantom, func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "d", Key: "x"})
			r.c.Final("alice", "d", nil)
			r.final = append(r.final, entry{Seq: 6, ID: "id6", Key: "x"})
		}},
		{"ack of nothing", check.Phantom, func(r *run) { r.c.Acked("c", "x", "id", 1) }},
		{"refused and stored", check.Refused, func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "k6"})
			r.c.Refused("c", "k6")
			r.final = append(r.final, msg(6))
		}},
		{"hole in a delivery", check.Skip, func(r *run) { r.o.Saw("c", entry{Seq: 7}) }},
		{"hole at the start", check.Skip, func(r *run) {
			o := r.c.Observer("dave", "")
			o.Follow("c", 1)
			o.Saw("c", msg(3))
			o.Saw("c", msg(4))
			o.Saw("c", msg(5))
		}},
		{"event without seq", check.Skip, func(r *run) { r.o.Saw("c", entry{ID: "x"}) }},
		{"delivered twice", check.Repeat, func(r *run) { r.o.Saw("c", msg(5)) }},
		{"out of order", check.Repeat, func(r *run) { r.o.Saw("c", msg(3)) }},
		{"log set back", check.Repeat, func(r *run) { r.o.Gap("c", 3, nil) }},
		{"gap filled from elsewhere", check.Repeat, func(r *run) { r.o.Gap("c", 6, []entry{msg(2)}) }},
		{"observers disagree", check.Divergence, func(r *run) {
			o := r.c.Observer("dave", "")
			o.Follow("c", 4)
			o.Saw("c", entry{Seq: 5, ID: "other", Key: "k5"})
		}},
		{"observer and history disagree", check.Divergence, func(r *run) { r.final[0].ID = "other" }},
		{"same id, other message", check.Divergence, func(r *run) {
			o := r.c.Observer("dave", "")
			o.Follow("c", 4)
			o.Saw("c", entry{Seq: 5, ID: "id5", Key: "k4"})
		}},
		{"readers disagree", check.Divergence, func(r *run) { r.c.Final("dave", "c", r.final[:2]) }},
		{"delivered, then gone", check.Vanished, func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "k6"})
			r.o.Saw("c", msg(6)) // never acked
		}},
		{"observer is behind", check.Unobserved, func(r *run) {
			o := r.c.Observer("dave", "")
			o.Follow("c", 1)
			o.Saw("c", msg(2))
		}},
		{"observer saw nothing", check.Unobserved, func(r *run) { r.c.Observer("dave", "").Follow("c", 0) }},
		{"sender's messages swapped", check.SenderOrd, func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "k7"})
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "k6"})
			r.o.Saw("c", msg(6))
			r.o.Saw("c", msg(7))
			r.final = append(r.final, msg(6), msg(7))
		}},
		{"acked before the other was sent", check.RealTime, func(r *run) {
			r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "k7"})
			r.c.Acked("c", "k7", "id7", 7)
			r.c.Sent(check.Send{Sender: "bob", Conversation: "c", Key: "k6"})
			r.c.Acked("c", "k6", "id6", 6)
			r.o.Saw("c", msg(6))
			r.o.Saw("c", msg(7))
			r.final = append(r.final, msg(6), msg(7))
		}},
		{"no final history", check.Misuse, func(r *run) { r.c.Sent(check.Send{Sender: "alice", Conversation: "d", Key: "x"}) }},
		{"key used twice", check.Misuse, func(r *run) { r.c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "k2"}) }},
		{"history out of order", check.Misuse, func(r *run) { r.final[0], r.final[1] = r.final[1], r.final[0] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := flawless()
			tc.change(r)
			r.c.Final("alice", "c", r.final)
			rep := verdict(r.c)
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
	c := newChecker()
	c.Sent(check.Send{Sender: "alice", Conversation: "c", Key: "x"})
	c.Final("alice", "c", nil)
	if rep := verdict(c); rep.OK() {
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
		c := newChecker()
		final := make([]entry, n)
		for i, seq := range place {
			key := fmt.Sprint("k", i)
			c.Sent(check.Send{Sender: fmt.Sprint("s", i), Conversation: "c", Key: key})
			c.Acked("c", key, fmt.Sprint("id", seq), uint64(seq))
			final[seq-1] = entry{Seq: uint64(seq), ID: fmt.Sprint("id", seq), Key: key}
		}
		c.Final("r", "c", final)
		if rep := verdict(c); rep.OK() == swap {
			t.Fatalf("swap %v: %v", swap, rep)
		}
	})
}

// TestDivergenceNeedsNoFinalHistory: a run that was cut short shows it all the same, at once and in the verdict.
func TestDivergenceNeedsNoFinalHistory(t *testing.T) {
	c := newChecker()
	c.Observer("a", "").Saw("c", msg(1))
	c.Observer("b", "").Saw("c", entry{Seq: 1, ID: "other"})
	if n := c.Violations(); n != 1 {
		t.Errorf("%d violations noticed", n)
	}
	// The first to see seq 2 does not see its key; the next two do not agree on it.
	for i, key := range []string{"", "x", "y"} {
		c.Observer(fmt.Sprint(i), "").Saw("c", entry{Seq: 2, ID: "id2", Key: key})
	}
	if r := verdict(c); r.Counts[check.Divergence] != 2 || r.Counts[check.Vanished] != 0 {
		t.Error(r)
	}
}

// TestViolationsAreExplained in words and as JSON, with the operations that contradict one another.
func TestViolationsAreExplained(t *testing.T) {
	now := time.Unix(1000, 0)
	c, err := check.New(check.Config{Worker: "w1", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	c.Sent(check.Send{Conversation: "c", Sender: "alice", Key: "k2", Intended: now.Add(-time.Second)})
	now = now.Add(time.Second)
	c.Acked("c", "k2", "id2", 2)
	o := c.Observer("carol", "")
	o.Saw("c", msg(2))
	o.Saw("c", msg(4))
	c.Final("reader", "c", nil)
	r := verdict(c)
	text := r.String()
	for _, want := range []string{
		"lost: 1", "alice sent k2 intended 1s at 2s acknowledged 3s seq 2 id id2", "carol saw k2 seq 2 id id2", "reader did not find k2",
		"skip: 1", "carol had come to seq 2", "carol saw k4 seq 4 id id4", "vanished: 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"kind":"lost","conversation":"c","text":"k2 of alice, acknowledged at seq 2, is not in the history","history":[{"what":"sent","who":"alice","key":"k2","id":"id2","seq":2,"intended_ns":1000000000,"sent_ns":2000000000,"acked_ns":3000000000},{"what":"saw"`,
		`"worker":"w1","text":"carol saw seq 4 after 2"`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	var again check.Report
	if err := json.Unmarshal(b, &again); err != nil || again.String() != text {
		t.Errorf("%v: %v", err, again.String())
	}
}
