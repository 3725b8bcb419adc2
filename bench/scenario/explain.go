package scenario

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/zumodra/hub/bench/arrival"
)

// Totals of a scenario, computed from it: what to expect of the measured part.
type Totals struct {
	Connections   int
	Conversations int
	Members       float64 // of all conversations together
	Operations    float64 // a second on average, but for Send
	Sends         float64 // a second on average
	Peak          float64 // sends a second at most
	Deliveries    float64 // a second on average: to connections of other members than the sender
	PeakDelivered float64
}

// Totals of a valid scenario. Deliveries are about right: chance decides who is a member and who is connected.
func (s *Scenario) Totals() Totals {
	t := Totals{Connections: s.Sockets()}
	for _, set := range s.Conversations {
		t.Conversations += set.Count
		t.Members += float64(set.Count) * set.Members.Mean()
	}
	for _, l := range s.Load {
		count, peak := l.Arrival.Expected(s.Length(), time.Duration(s.Warmup), s.Length())
		rate := count / time.Duration(s.Duration).Seconds()
		if l.Op != Send {
			t.Operations += rate
			continue
		}
		fan := s.fanOut(l)
		t.Sends += rate
		t.Peak += peak
		t.Deliveries += rate * fan
		t.PeakDelivered += peak * fan
	}
	return t
}

// fanOut is to how many connections of others a message of the load goes.
func (s *Scenario) fanOut(l Load) float64 {
	var others, weights float64
	rank := 0
	for _, set := range s.Conversations {
		if l.Of != "" && l.Of != set.Name {
			continue
		}
		weight := float64(set.Count)
		if l.Skew > 0 {
			weight = 0
			for i := range set.Count {
				weight += math.Pow(float64(rank+i+1), -l.Skew)
			}
		}
		rank += set.Count
		weights += weight
		others += weight * (min(set.Members.Mean(), float64(s.Users)) - 1)
	}
	if weights == 0 {
		return 0
	}
	return others / weights * s.Connections.Online * float64(s.Connections.PerUser)
}

// Explain writes what the scenario does in plain sentences, for operators.
func (s *Scenario) Explain(w io.Writer) error {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	t := s.Totals()
	say("%s: %s", s.Name, strings.Join(strings.Fields(s.About), " "))
	say("")
	say("%s, %s of them connected with %s each: %s, opened at %s a second.",
		plural(s.Users, "user"), amount(float64(s.Online())), plural(s.Connections.PerUser, "socket"), plural(t.Connections, "connection"), amount(s.Connections.Rate))
	if c := s.Connections; c.Slow > 0 {
		say("%s of the connections read no more than %s a second.", percent(c.Slow), plural(c.SlowRate, "byte"))
	}
	if d := s.Connections.Reconnect; d > 0 {
		say("A client that lost its connection waits for up to %v before it comes back.", d)
	}
	if p := s.Connections.Ping; p > 0 {
		say("Every client pings each %v.", p)
	}
	for _, set := range s.Conversations {
		kind := "conversation"
		if set.Members.Fixed == 2 {
			kind = "direct conversation"
		}
		say("%s %q, with %s.", plural(set.Count, kind), set.Name, set.Members.words("member"))
	}
	say("")
	say("The load lasts %v: %v of warm-up, which is checked but not measured, and %v that are measured. Then at most %v are waited for what is on its way; what has not come then makes the run fail.",
		s.Length(), s.Warmup, s.Duration, s.Settle)
	for _, l := range s.Load {
		say("- %s", s.describe(l))
	}
	say("Expected in the measured part: %s sends a second (at most %s), %s deliveries a second (at most %s), %s other operations a second.",
		amount(t.Sends), amount(t.Peak), amount(t.Deliveries), amount(t.PeakDelivered), amount(t.Operations))
	for i, a := range s.Chaos {
		if i == 0 {
			say("")
		}
		say("At %v of the measured part: %s", a.At, a.describe())
	}
	say("")
	switch {
	case s.Check.Off:
		say("Nothing is checked: these figures are of the cost alone.")
	case s.Check.Observers < 1:
		say("What %s of the connections see is checked, and %s for linearizability.", percent(s.Check.Observers), plural(s.Check.Sample, "conversation"))
	default:
		say("What every connection sees is checked, and %s for linearizability.", plural(s.Check.Sample, "conversation"))
	}
	for _, th := range s.Thresholds {
		say("Expected: %s", th)
	}
	say("Without a target this starts %s.", s.System.describe())
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Scenario) describe(l Load) string {
	what := map[Op]string{
		Send: "messages", Typing: "signs of typing", Read: "marks as read", React: "reactions", Edit: "edits", History: "reads of the newest page",
		Scroll: "reads of an older page", List: "lists of conversations", Search: "searches", Reconnect: "connections that are lost and resumed",
	}[l.Op]
	if l.Op == Reconnect && l.Storm > 0 {
		what = fmt.Sprintf("storms in which %s of the connections are lost and resumed", percent(l.Storm))
	}
	text := what + ", " + when(l.Arrival)
	if l.Op == Reconnect {
		return text + "."
	}
	if l.Of != "" {
		text += fmt.Sprintf(", in %q", l.Of)
	} else {
		text += ", in all conversations"
	}
	if l.Skew > 0 {
		text += fmt.Sprintf(" by Zipf with exponent %v", l.Skew)
	}
	if l.Senders > 0 {
		text += fmt.Sprintf(", by the first %s of each", plural(l.Senders, "member"))
	}
	if l.Op == Send {
		text += fmt.Sprintf(", of %s; each goes to about %s connections", l.Size.words("byte"), amount(s.fanOut(l)))
	}
	return text + "."
}

// when a load's operations come.
func when(a arrival.Spec) string {
	gaps := "evenly"
	if a.Random {
		gaps = "by chance"
	}
	switch a.Kind {
	case arrival.Constant:
		return fmt.Sprintf("%s a second, evenly", amount(a.Rate))
	case arrival.Ramp:
		return fmt.Sprintf("from %s to %s a second, %s", amount(a.Rate), amount(a.To), gaps)
	case arrival.Step:
		return fmt.Sprintf("from %s to %s a second in %d steps, %s", amount(a.Rate), amount(a.To), a.Steps, gaps)
	case arrival.Sine:
		wave := fmt.Sprintf("each %v", a.Period)
		if a.Peaks > 0 {
			wave = fmt.Sprintf("%d times", a.Peaks)
		}
		return fmt.Sprintf("in waves between %s and %s a second %s, %s", amount(a.Rate), amount(a.To), wave, gaps)
	case arrival.Spike:
		return fmt.Sprintf("%s a second, and %s for %v at %v, %s", amount(a.Rate), amount(a.To), a.Width, a.At, gaps)
	case arrival.Once:
		return fmt.Sprintf("once at %v", a.At)
	case arrival.Replay:
		return fmt.Sprintf("when %s says", a.File)
	default:
		return fmt.Sprintf("%s a second by chance (Poisson)", amount(a.Rate))
	}
}

func (a Action) describe() string {
	undone := ""
	if a.For > 0 {
		undone = fmt.Sprintf(", for %v", a.For)
	}
	switch a.Do {
	case Kill:
		return fmt.Sprintf("node %s is killed%s.", a.Node, undone)
	case Stop:
		return fmt.Sprintf("node %s is stopped%s.", a.Node, undone)
	case Drain:
		return fmt.Sprintf("node %s ends in order%s.", a.Node, undone)
	case Restart:
		return fmt.Sprintf("node %s ends in order and starts again.", a.Node)
	case Start:
		return fmt.Sprintf("node %s starts.", a.Node)
	case Partition:
		return fmt.Sprintf("node %s and %s do not reach one another%s.", a.Node, a.With, undone)
	case Slow:
		return fmt.Sprintf("the links of node %s get %s%s.", a.Node, a.Value, undone)
	case Store:
		return fmt.Sprintf("node %s does not reach the store%s.", a.Node, undone)
	default:
		return fmt.Sprintf("the clock of node %s jumps by %s%s.", a.Node, a.Value, undone)
	}
}

func (y System) describe() string {
	text := plural(y.Nodes, "node")
	if y.Edges > 0 {
		text += fmt.Sprintf(" and %s", plural(y.Edges, "further edge"))
	}
	if y.Store == "cassandra" {
		text += fmt.Sprintf(" with %s of Cassandra", plural(y.CQL, "server"))
	} else {
		text += " with the embedded store"
	}
	if y.Isolated {
		text += ", each node in its own network namespace"
	}
	if len(y.Args) > 0 {
		text += ", with " + strings.Join(y.Args, " ")
	}
	return text
}

// words for a size.
func (s Size) words(unit string) string {
	switch {
	case s.Fixed > 0:
		return plural(s.Fixed, unit)
	case s.Zipf > 0:
		return fmt.Sprintf("%d to %s by Zipf with exponent %v (%.0f on average)", s.Min, plural(s.Max, unit), s.Zipf, s.Mean())
	case s.Lognormal > 0:
		return fmt.Sprintf("%d to %s, lognormal with median %d (%.0f on average)", s.Min, plural(s.Max, unit), s.Median, s.Mean())
	}
	return fmt.Sprintf("%d to %s, evenly", s.Min, plural(s.Max, unit))
}

func plural(n int, unit string) string {
	text := amount(float64(n)) + " " + unit
	if n != 1 {
		text += "s"
	}
	return text
}

// amount is a number with separated thousands, and one decimal where it matters.
func amount(v float64) string {
	if v < 10 && v != math.Round(v) {
		return fmt.Sprintf("%.2g", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func percent(share float64) string {
	return fmt.Sprintf("%.3g %%", share*100)
}
