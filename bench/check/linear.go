package check

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Linear configures the linearizability checker, which takes a sample of conversations: its work may grow exponentially with
// what is concurrent. The zero value takes every conversation of up to 400 operations, and 200 of them.
type Linear struct {
	OneIn         uint64        // one in so many conversations, by hash: the same at all workers. 0: 1
	Operations    int           // sends and reads of a conversation; one with more is not decided. 0: 400
	Conversations int           // 0: 200
	Timeout       time.Duration // for one conversation. 0: 5 s
	HTMLDir       string        // where the picture of a history that is not linearizable goes. Empty: nowhere
}

// LinearSummary says what was decided.
type LinearSummary struct {
	Decided   int      `json:"decided"`
	TooLarge  int      `json:"too_large"`
	Undecided int      `json:"undecided"` // ran into the timeout
	Pictures  []string `json:"pictures,omitempty"`
}

func (l Linear) sampled(conversation string) bool {
	// Other bits than those of the shard.
	return hash64(conversation)>>16%max(l.OneIn, 1) == 0
}

type linearizer struct {
	Linear
	sum *LinearSummary
}

func newLinearizer(l Linear, sum *LinearSummary) *linearizer {
	l.Operations, l.Conversations = cmp.Or(l.Operations, 400), cmp.Or(l.Conversations, 200)
	l.Timeout = cmp.Or(l.Timeout, 5*time.Second)
	return &linearizer{l, sum}
}

// call is an append or a read of a log. The final history and the acks have put all appends into one order, so
// the state of the log is how many there are.
type call struct {
	Op
	read bool
	at   int // the append is so manieth, from 0; the read saw so many, -1: what never was
	src  int
	from int64 // of the call
	to   int64 // of the answer; MaxInt64: none
}

// model is a log to which messages are appended at its end, and of which the last are read.
var model = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, input, _ any) (bool, any) {
		n, c := state.(int), input.(*call)
		if c.read {
			return c.at == n, n
		}
		return c.at == n, n + 1
	},
	DescribeOperation: func(input, _ any) string { return input.(*call).String() },
	DescribeState:     func(state any) string { return fmt.Sprintf("%d messages", state) },
}

// decide gives a conversation to porcupine, if it has reads, which it has if it is in the sample. A history in which something else is wrong already is only drawn.
func (l *linearizer) decide(t *trial) error {
	if len(t.reads) == 0 || l.sum.Decided+l.sum.Undecided >= l.Conversations {
		return nil
	}
	if len(t.order)+len(t.reads) > l.Operations {
		l.sum.TooLarge++
		return nil
	}
	calls := t.calls()
	ops := make([]porcupine.Operation, len(calls))
	clients := map[string]int{}
	for i, c := range calls {
		who := fmt.Sprint(c.src, c.Who)
		if _, ok := clients[who]; !ok {
			clients[who] = len(clients)
		}
		ops[i] = porcupine.Operation{ClientId: clients[who], Input: c, Call: c.from, Return: c.to}
	}
	result, info := porcupine.CheckOperationsVerbose(model, ops, l.Timeout)
	switch result {
	case porcupine.Ok:
		l.sum.Decided++
		return nil
	case porcupine.Unknown:
		l.sum.Undecided++
		return nil
	}
	l.sum.Decided++
	if len(t.found.Counts) == 0 {
		history, why := contradiction(calls)
		t.violation(NonLinear, history, "%s", why)
	}
	if l.HTMLDir == "" {
		return nil
	}
	path := filepath.Join(l.HTMLDir, fmt.Sprintf("linear-%016x.html", hash64(t.id)))
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("draw the history of %s: %w", t.id, err)
	}
	err = porcupine.Visualize(model, info, f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("draw the history of %s: %w", t.id, err)
	}
	l.sum.Pictures = append(l.sum.Pictures, path)
	return nil
}

// calls are the appends that were acknowledged or are in the final history, in order of seq, and the reads. Times of several workers
// are stretched by the errors of their clocks.
func (t *trial) calls() (list []*call) {
	stretch := func(src int) int64 {
		if len(t.sources) == 1 {
			return 0
		}
		return t.sources[src].err
	}
	for _, s := range t.order {
		c := &call{Op: t.sentOp(s), src: s.src, from: s.start - stretch(s.src), to: math.MaxInt64}
		switch {
		case s.ack.ID != "":
			c.to = s.end + stretch(s.src)
		case len(s.stands) > 0:
			c.Seq = s.stands[0].Seq
		}
		if c.Seq != 0 {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *call) int { return cmp.Compare(a.Seq, b.Seq) })
	for i, c := range list {
		c.at = i
	}
	appends := list
	for _, r := range t.reads {
		c := &call{Op: Op{What: fmt.Sprintf("read %d messages", len(r.entries)), Who: r.who}, read: true,
			at: place(appends, r.entries, r.seq == 1), src: r.src, from: r.at - stretch(r.src), to: r.end + stretch(r.src)}
		if n := len(r.entries); n > 0 {
			c.Key, c.Seq = r.entries[n-1].Key, r.entries[n-1].Seq
		}
		list = append(list, c)
	}
	return list
}

// place is how many appends there were when these were the last; -1: never.
func place(appends []*call, last []Entry, whole bool) int {
	if len(last) == 0 {
		return 0
	}
	end := last[len(last)-1]
	i, ok := slices.BinarySearchFunc(appends, end.Seq, func(c *call, seq uint64) int { return cmp.Compare(c.Seq, seq) })
	n := i + 1
	if !ok || n < len(last) || whole && n != len(last) {
		return -1
	}
	for j, e := range last {
		if a := appends[n-len(last)+j]; a.Seq != e.Seq || a.Key != e.Key {
			return -1
		}
	}
	return n
}

// contradiction finds two operations, or one, that no order explains.
func contradiction(calls []*call) ([]Op, string) {
	for _, a := range calls {
		if a.read && a.at < 0 {
			return []Op{a.Op}, fmt.Sprintf("%s read what the log never ended with", a.Who)
		}
	}
	for _, a := range calls {
		for _, b := range calls {
			if a.to >= b.from { // a did not end before b began
				continue
			}
			switch history := []Op{a.Op, b.Op}; {
			case !a.read && b.read && b.at <= a.at:
				return history, fmt.Sprintf("%s read %d messages without %s, which had been acknowledged before", b.Who, b.at, a.Key)
			case a.read && !b.read && b.at < a.at:
				return history, fmt.Sprintf("%s read %s before it was sent", a.Who, b.Key)
			case a.read && b.read && b.at < a.at:
				return history, fmt.Sprintf("%s read %d messages after %s had read %d", b.Who, b.at, a.Who, a.at)
			case !a.read && !b.read && b.at < a.at:
				return history, fmt.Sprintf("%s stands before %s, which had been acknowledged before it was sent", b.Key, a.Key)
			}
		}
	}
	return nil, "no order of the sends and reads explains what was read"
}
