package check_test

import (
	"bytes"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
)

// stage is a run of five messages of two senders, all acknowledged, of which an edge makes something.
type stage struct {
	c     *check.Checker
	final []entry
}

func (s *stage) store(seq uint64, sender string) {
	m := msg(seq)
	s.c.Sent(check.Send{Conversation: "c", Sender: sender, Key: m.Key})
	s.c.Acked("c", m.Key, m.ID, m.Seq)
	s.final = append(s.final, m)
}

func (s *stage) sees(o *check.Observer, seqs ...uint64) {
	for _, seq := range seqs {
		o.Saw("c", msg(seq))
	}
}

// TestEdges: what lies just inside of a promise is no violation, what lies just outside is one, and of which kinds.
func TestEdges(t *testing.T) {
	type kinds = map[check.Kind]int
	for _, tc := range []struct {
		name string
		want kinds
		do   func(*stage)
	}{
		{"a second ack with another id", kinds{check.Changed: 1}, func(s *stage) { s.c.Acked("c", "k2", "other", 2) }},
		{"a second ack with another seq", kinds{check.Changed: 1}, func(s *stage) { s.c.Acked("c", "k2", "id2", 9) }},
		{"A ended before B, which stands before it, began; what was sent earlier stands between", kinds{check.RealTime: 1}, func(s *stage) {
			send := func(sender, key string) { s.c.Sent(check.Send{Conversation: "c", Sender: sender, Key: key}) }
			send("x", "k7")
			send("y", "k8")
			s.c.Acked("c", "k8", "id8", 8)
			send("z", "k6")
			s.final = append(s.final, msg(6), msg(7), msg(8))
		}},
		{"a member from 3 on sees 3", kinds{}, func(s *stage) { s.c.Added("c", "u", 3); s.sees(s.c.Observer("o", "u"), 3, 4, 5) }},
		{"a member from 3 on sees 2", kinds{check.Foreign: 1}, func(s *stage) { s.c.Added("c", "u", 3); s.sees(s.c.Observer("o", "u"), 2, 3, 4, 5) }},
		{"a member up to 3 sees 3", kinds{}, func(s *stage) { s.c.Removed("c", "u", 3); s.sees(s.c.Observer("o", "u"), 1, 2, 3) }},
		{"a member up to 3 sees 4", kinds{check.Foreign: 1}, func(s *stage) { s.c.Removed("c", "u", 3); s.sees(s.c.Observer("o", "u"), 1, 2, 3, 4) }},
		{"a member up to 3 does not see 3", kinds{}, func(s *stage) { s.c.Removed("c", "u", 3); s.sees(s.c.Observer("o", "u"), 1, 2) }},
		{"a member is not away, as two workers tell", kinds{}, func(s *stage) {
			s.c.Added("c", "u", 1)
			s.c.Added("c", "u", 1)
			s.c.Removed("c", "u", 2)
			s.c.Removed("c", "u", 2)
			s.c.Added("c", "u", 3)
			s.sees(s.c.Observer("o", "u"), 1, 2, 3, 4, 5)
		}},
		{"a member who was away for one event sees it", kinds{check.Foreign: 1}, func(s *stage) {
			s.c.Added("c", "u", 1)
			s.c.Removed("c", "u", 2)
			s.c.Added("c", "u", 4)
			s.sees(s.c.Observer("o", "u"), 1, 2, 3, 4, 5)
		}},
		{"a member who was away is told of a gap", kinds{}, func(s *stage) {
			s.c.Added("c", "u", 1)
			s.c.Removed("c", "u", 2)
			s.c.Added("c", "u", 4)
			o := s.c.Observer("o", "u")
			s.sees(o, 1, 2)
			o.Gap("c", 3, nil)
			s.sees(o, 4, 5)
		}},
		{"a member who was away is set forward", kinds{}, func(s *stage) {
			s.c.Added("c", "u", 1)
			s.c.Removed("c", "u", 2)
			s.c.Added("c", "u", 4)
			o := s.c.Observer("o", "u")
			s.sees(o, 1, 2)
			o.Follow("c", 3)
			s.sees(o, 4, 5)
		}},
		{"a gap shows what was said while a member was away", kinds{check.Foreign: 1}, func(s *stage) {
			s.c.Removed("c", "u", 2)
			s.c.Added("c", "u", 4)
			o := s.c.Observer("o", "u")
			s.sees(o, 1, 2)
			o.Gap("c", 4, []entry{msg(3), msg(4)})
			s.sees(o, 5)
		}},
		{"what was seen before a hole was foreign", kinds{check.Foreign: 1, check.Skip: 1}, func(s *stage) {
			s.c.Added("c", "u", 3)
			s.sees(s.c.Observer("o", "u"), 2, 4, 5)
		}},
		{"a foreign event out of order", kinds{check.Foreign: 1, check.Repeat: 1}, func(s *stage) {
			s.c.Added("c", "u", 3)
			o := s.c.Observer("o", "u")
			o.Follow("c", 2)
			s.sees(o, 3, 2, 4, 5)
		}},
		{"nobody's observer sees all, of members or not", kinds{}, func(s *stage) { s.c.Added("c", "u", 3); s.sees(s.c.Observer("o", ""), 1, 2, 3, 4, 5) }},
		{"nobody's observer is behind", kinds{check.Unobserved: 1}, func(s *stage) { s.c.Added("c", "u", 3); s.sees(s.c.Observer("o", ""), 1, 2) }},
		{"an observer left and is behind", kinds{}, func(s *stage) { o := s.c.Observer("o", ""); s.sees(o, 1, 2); o.Leave("c") }},
		{"an observer came back and is behind", kinds{check.Unobserved: 1}, func(s *stage) { o := s.c.Observer("o", ""); o.Leave("c"); o.Follow("c", 4) }},
		{"one resume excuses one hole", kinds{check.SkipResume: 1, check.Skip: 1}, func(s *stage) {
			o := s.c.Observer("o", "")
			o.Follow("c", 0)
			o.Resumed("c")
			s.sees(o, 2, 4, 5)
		}},
		{"a resume ends with a gap", kinds{check.Skip: 1}, func(s *stage) {
			o := s.c.Observer("o", "")
			o.Follow("c", 0)
			o.Resumed("c")
			o.Gap("c", 1, nil)
			s.sees(o, 3, 4, 5)
		}},
		{"a resume ends with a delivery", kinds{check.Repeat: 1}, func(s *stage) {
			o := s.c.Observer("o", "")
			o.Follow("c", 3)
			o.Resumed("c")
			s.sees(o, 4, 4, 5)
		}},
		{"a gap shows what lies beyond it", kinds{check.Repeat: 1}, func(s *stage) {
			o := s.c.Observer("o", "")
			o.Gap("c", 4, []entry{msg(3), msg(5)})
			s.sees(o, 5)
		}},
		{"a gap is not in order", kinds{check.Repeat: 1}, func(s *stage) { s.c.Observer("o", "").Gap("c", 5, []entry{msg(4), msg(3)}) }},
		{"a late observer sees other messages than those before", kinds{check.Divergence: 1}, func(s *stage) {
			for seq := uint64(6); seq <= 40; seq++ {
				s.store(seq, "alice")
			}
			one, two := s.c.Observer("one", ""), s.c.Observer("two", "")
			for seq := uint64(1); seq <= 40; seq++ {
				s.sees(one, seq)
			}
			for seq := uint64(1); seq <= 40; seq++ {
				e := msg(seq)
				if seq == 7 {
					e.ID = "other"
				}
				two.Saw("c", e)
			}
		}},
		{"two see what has no key at first", kinds{}, func(s *stage) {
			one, two := s.c.Observer("one", ""), s.c.Observer("two", "")
			for _, o := range []*check.Observer{one, two} {
				o.Follow("c", 4)
			}
			one.Saw("c", entry{Seq: 5, ID: "id5"})
			two.Saw("c", msg(5))
		}},
		{"who sees a key first sees the wrong one", kinds{check.Divergence: 1}, func(s *stage) {
			one, two := s.c.Observer("one", ""), s.c.Observer("two", "")
			for _, o := range []*check.Observer{one, two} {
				o.Follow("c", 4)
			}
			one.Saw("c", entry{Seq: 5, ID: "id5"})
			two.Saw("c", entry{Seq: 5, ID: "id5", Key: "k4"})
		}},
		{"a receipt of another kind, user or observer is another", kinds{}, func(s *stage) {
			o := s.c.Observer("o", "")
			o.Receipt("c", "u", "read", 3)
			o.Receipt("c", "u", "delivered", 2)
			o.Receipt("c", "v", "read", 2)
			s.c.Observer("o", "").Receipt("c", "u", "read", 2)
			o.Receipt("c", "u", "read", 3)
		}},
		{"a receipt goes forth and back", kinds{check.ReceiptBack: 1}, func(s *stage) {
			o := s.c.Observer("o", "")
			for _, seq := range []uint64{1, 4, 3} {
				o.Receipt("c", "u", "read", seq)
			}
		}},
		{"unread are those of others behind the mark", kinds{}, func(s *stage) {
			s.c.Marked("c", "u", 3)
			s.c.Marked("c", "u", 1) // a mark that is repeated changes nothing
			s.c.Unread("c", "u", 2)
			s.c.Unread("c", "bob", 2)
			s.c.Unread("c", "alice", 3)
		}},
		{"another device of the user sent it", kinds{}, func(s *stage) {
			s.c.Sent(check.Send{Conversation: "c", Sender: "u/phone", User: "u", Key: "k6"})
			s.final = append(s.final, msg(6))
			s.c.Unread("c", "u", 5)
		}},
		{"read by nobody, and one reader finds it", kinds{}, func(s *stage) {
			s.c.Sent(check.Send{Conversation: "c", Sender: "alice", Key: "k6"})
			s.c.Read("r", "c")(append(s.final, msg(6)), true)
			s.final = append(s.final, msg(6))
		}},
		{"a read finds an unanswered send that is nowhere in the end", kinds{check.NonLinear: 1}, func(s *stage) {
			s.c.Sent(check.Send{Conversation: "c", Sender: "alice", Key: "k6"})
			s.c.Read("r", "c")(append(s.final[:5:5], msg(6)), true)
		}},
		{"a whole read begins too late", kinds{check.NonLinear: 1}, func(s *stage) { s.c.Read("r", "c")(s.final[1:], true) }},
		{"a page begins late", kinds{}, func(s *stage) { s.c.Read("r", "c")(s.final[1:], false) }},
		{"a read finds another message", kinds{check.NonLinear: 1}, func(s *stage) {
			s.c.Read("r", "c")([]entry{msg(3), {Seq: 4, ID: "id4", Key: "k3"}, msg(5)}, false)
		}},
		{"a read finds what was sent after it", kinds{check.NonLinear: 1}, func(s *stage) {
			s.c.Read("r", "c")(append(s.final, msg(6)), true)
			s.store(6, "alice")
		}},
		{"a read goes back", kinds{check.NonLinear: 1}, func(s *stage) {
			s.c.Sent(check.Send{Conversation: "c", Sender: "alice", Key: "k6"})
			s.c.Read("r", "c")(append(s.final[:5:5], msg(6)), true)
			s.c.Read("q", "c")(s.final, true)
			s.c.Acked("c", "k6", "id6", 6)
			s.final = append(s.final, msg(6))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &stage{c: newChecker()}
			for seq := uint64(1); seq <= 5; seq++ {
				s.store(seq, []string{"alice", "bob"}[seq%2])
			}
			tc.do(s)
			s.c.Final("reader", "c", s.final)
			if r := verdict(s.c); !maps.Equal(r.Counts, tc.want) && len(r.Counts)+len(tc.want) > 0 {
				t.Errorf("want %v: %v", tc.want, r)
			}
		})
	}
}

// merged is the verdict over several workers whose clocks are the test's.
func merged(t *testing.T, mistake time.Duration, do func(at func(time.Duration), w [2]*check.Checker)) *check.Report {
	t.Helper()
	now := time.Unix(1000, 0)
	var w [2]*check.Checker
	for i := range w {
		c, err := check.New(check.Config{Worker: fmt.Sprint("w", i), Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		w[i] = c
	}
	do(func(d time.Duration) { now = time.Unix(1000, 0).Add(d) }, w)
	var parts []check.Part
	for _, c := range w {
		b := &bytes.Buffer{}
		if err := c.Export(b); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, check.Part{R: b, Error: mistake})
	}
	r, err := check.Merge(check.Linear{}, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnAckBelongsToTheWorkerThatSent(t *testing.T) {
	r := merged(t, 0, func(_ func(time.Duration), w [2]*check.Checker) {
		w[0].Sent(check.Send{Conversation: "c", Sender: "a", Key: "k1"})
		w[0].Acked("c", "k1", "id1", 1)
		w[1].Acked("c", "k1", "id1", 1)
		w[1].Final("r", "c", []entry{msg(1)})
	})
	if r.Counts[check.Phantom] != 1 || len(r.Counts) != 1 {
		t.Error(r)
	}
}

// TestReadsAcrossWorkers: a read at one worker begins 10 ms after the ack at another and does not show the message, or shows what is
// sent 10 ms after it ended. It is wrong as far as the clocks tell.
func TestReadsAcrossWorkers(t *testing.T) {
	for _, tc := range []struct {
		mistake time.Duration // of each clock
		found   bool
	}{{0, true}, {4 * time.Millisecond, true}, {6 * time.Millisecond, false}} {
		stale := func(at func(time.Duration), w [2]*check.Checker) {
			at(time.Millisecond)
			w[0].Sent(check.Send{Conversation: "c", Sender: "a", Key: "k1"})
			at(2 * time.Millisecond)
			w[0].Acked("c", "k1", "id1", 1)
			at(12 * time.Millisecond)
			done := w[1].Read("r", "c")
			at(50 * time.Millisecond)
			done(nil, true)
			w[1].Final("r", "c", []entry{msg(1)})
		}
		early := func(at func(time.Duration), w [2]*check.Checker) {
			at(time.Millisecond)
			done := w[1].Read("r", "c")
			at(2 * time.Millisecond)
			done([]entry{msg(1)}, true)
			at(12 * time.Millisecond)
			w[0].Sent(check.Send{Conversation: "c", Sender: "a", Key: "k1"})
			at(50 * time.Millisecond)
			w[0].Acked("c", "k1", "id1", 1)
			w[1].Final("r", "c", []entry{msg(1)})
		}
		for name, do := range map[string]func(func(time.Duration), [2]*check.Checker){"stale": stale, "early": early} {
			if r := merged(t, tc.mistake, do); r.Counts[check.NonLinear] > 0 != tc.found {
				t.Errorf("%s, clocks wrong by %v: %v", name, tc.mistake, r)
			}
		}
	}
}

// TestBoundsOfTheSample: what is too large, or beyond the sample, is not decided, and the report says so.
func TestBoundsOfTheSample(t *testing.T) {
	run := func(l check.Linear) check.LinearSummary {
		c, err := check.New(check.Config{Linear: l})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			cv := fmt.Sprint("c", i)
			c.Sent(check.Send{Conversation: cv, Sender: "a", Key: "k1"})
			c.Acked(cv, "k1", "id1", 1)
			c.Read("r", cv)([]entry{msg(1)}, true)
			c.Final("r", cv, []entry{msg(1)})
		}
		r := verdict(c)
		if !r.OK() {
			t.Error(r)
		}
		return r.Linear
	}
	if s := run(check.Linear{}); s.Decided != 100 {
		t.Errorf("%+v", s)
	}
	if s := run(check.Linear{Conversations: 7}); s.Decided != 7 {
		t.Errorf("%+v", s)
	}
	if s := run(check.Linear{Operations: 1}); s.Decided != 0 || s.TooLarge != 100 {
		t.Errorf("%+v", s)
	}
	if s := run(check.Linear{OneIn: 4}); s.Decided < 10 || s.Decided > 45 {
		t.Errorf("one in four: %+v", s)
	}
}

// TestViolationsAreBounded in what is kept, not in what is counted, over workers too.
func TestViolationsAreBounded(t *testing.T) {
	r := merged(t, 0, func(_ func(time.Duration), w [2]*check.Checker) {
		for i := range 2 {
			o := w[i].Observer("o", "")
			o.Follow("c", 0)
			for n := range 200 {
				o.Saw("c", entry{Seq: uint64(2 * (n + 1))})
			}
			w[i].Final("r", "c", nil)
		}
	})
	if r.Counts[check.Skip] != 400 || len(r.Violations) != 50 {
		t.Errorf("%d counted, %d kept", r.Counts[check.Skip], len(r.Violations))
	}
}

// TestManyViolationsAreSmall in memory and in the record.
func TestManyViolationsAreSmall(t *testing.T) {
	c := newChecker()
	o := c.Observer("o", "")
	o.Follow("c", 5)
	for range 20_000 {
		o.Saw("c", entry{Seq: 5})
	}
	var b bytes.Buffer
	if err := c.Export(&b); err != nil {
		t.Fatal(err)
	}
	if c.Violations() != 20_000 || b.Len() > 1<<20 {
		t.Errorf("%d violations, %d bytes", c.Violations(), b.Len())
	}
}
