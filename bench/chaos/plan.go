package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zumodra/hub/bench/scenario"
)

// Fault is what is done to a node, with its values read.
type Fault struct {
	Do    scenario.Do
	Node  string        // as Driver.Node names it
	With  []string      // partition: the other nodes
	Delay time.Duration // slow: of each packet, 0: none
	Rate  int64         // slow: bits a second, 0: any
	Jump  time.Duration // clock
}

// String is the fault in the words of a report.
func (f Fault) String() string {
	switch f.Do {
	case scenario.Kill:
		return "kill -9 " + f.Node
	case scenario.Partition:
		return "partition " + f.Node + " | " + strings.Join(f.With, ",")
	case scenario.Slow:
		s := "slow " + f.Node
		if f.Delay > 0 {
			s += " " + f.Delay.String()
		}
		if f.Rate > 0 {
			s += " " + strconv.FormatInt(f.Rate, 10) + " bit/s"
		}
		return s
	case scenario.Clock:
		return fmt.Sprintf("clock of %s %+v", f.Node, f.Jump)
	case scenario.Store:
		return f.Node + " reaches no store"
	}
	return string(f.Do) + " " + f.Node
}

// undone is the end of the fault in the words of a report.
func (f Fault) undone() string {
	switch f.Do {
	case scenario.Kill, scenario.Drain:
		return f.Node + " runs again"
	case scenario.Stop:
		return f.Node + " goes on"
	case scenario.Partition:
		return "healed: " + f.String()
	case scenario.Slow:
		return f.Node + " is fast again"
	case scenario.Store:
		return f.Node + " reaches the store again"
	}
	return "clock of " + f.Node + " is right again"
}

// lasts reports whether there is something to undo.
func (f Fault) lasts() bool { return f.Do != scenario.Restart && f.Do != scenario.Start }

// things are what the fault is about. Two faults about one thing exclude one another.
func (f Fault) things() []string {
	switch f.Do {
	case scenario.Partition:
		var pairs []string
		for _, o := range f.With {
			pairs = append(pairs, "the link "+min(f.Node, o)+" | "+max(f.Node, o))
		}
		return pairs
	case scenario.Slow, scenario.Store, scenario.Clock:
		return []string{string(f.Do) + " of " + f.Node}
	}
	return []string{"the process of " + f.Node}
}

// planned is a fault with its times.
type planned struct {
	Fault
	at, span time.Duration // span 0: to the end
}

// plan reads the actions, in the order of their times, and refuses those that the driver cannot do and those that contradict
// one another.
func plan(actions []scenario.Action, d Driver) ([]planned, error) {
	var list []planned
	var errs []error
	for i, a := range actions {
		p, err := read(a, d)
		if err == nil {
			err = d.Can(p.Fault)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("chaos: action %d (%s %s at %v): %w", i+1, a.Do, a.Node, time.Duration(a.At), err))
			continue
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b planned) int { return cmp.Compare(a.at, b.at) })
	if len(errs) == 0 {
		errs = contradictions(list)
	}
	return list, errors.Join(errs...)
}

func read(a scenario.Action, d Driver) (planned, error) {
	p := planned{Fault: Fault{Do: a.Do}, at: time.Duration(a.At), span: time.Duration(a.For)}
	if p.at < 0 || p.span < 0 {
		return p, errors.New("its time is negative")
	}
	var err error
	if p.Node, err = d.Node(a.Node); err != nil {
		return p, err
	}
	if (a.With != "") != (a.Do == scenario.Partition) {
		return p, errors.New("with belongs to partition, which needs it")
	}
	if needs := a.Do == scenario.Slow || a.Do == scenario.Clock; needs != (a.Value != "") {
		return p, errors.New("value belongs to slow and clock, which need it")
	}
	if !p.lasts() && p.span > 0 {
		return p, fmt.Errorf("%s cannot be undone: it takes no for", a.Do)
	}
	switch a.Do {
	case scenario.Kill, scenario.Stop, scenario.Drain, scenario.Restart, scenario.Start, scenario.Store:
	case scenario.Partition:
		for name := range strings.SplitSeq(a.With, ",") {
			other, err := d.Node(strings.TrimSpace(name))
			if err != nil {
				return p, err
			}
			if other == p.Node || slices.Contains(p.With, other) {
				return p, fmt.Errorf("%s is on both sides, or twice on one", other)
			}
			p.With = append(p.With, other)
		}
	case scenario.Slow:
		return p, p.shape(a.Value)
	case scenario.Clock:
		if p.Jump, err = time.ParseDuration(a.Value); err != nil || p.Jump == 0 {
			return p, fmt.Errorf("%q is no jump of a clock: say +60s or -60s", a.Value)
		}
	default:
		return p, fmt.Errorf("unknown action; there are %v", []scenario.Do{scenario.Kill, scenario.Stop, scenario.Drain, scenario.Restart,
			scenario.Start, scenario.Partition, scenario.Slow, scenario.Store, scenario.Clock})
	}
	return p, nil
}

// units of rates, in bits a second.
var units = []struct {
	suffix string
	bits   float64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// shape reads "20ms 1mbit", or one of the two.
func (f *Fault) shape(text string) error {
	wrong := fmt.Errorf("%q is no latency and rate: say 20ms, 1mbit, or 20ms 1mbit", text)
	for word := range strings.FieldsSeq(text) {
		if d, err := time.ParseDuration(word); err == nil && d > 0 && d <= time.Minute && f.Delay == 0 {
			f.Delay = d
			continue
		}
		i := slices.IndexFunc(units, func(u struct {
			suffix string
			bits   float64
		}) bool {
			return strings.HasSuffix(word, u.suffix)
		})
		if i < 0 || f.Rate != 0 {
			return wrong
		}
		n, err := strconv.ParseFloat(strings.TrimSuffix(word, units[i].suffix), 64)
		if f.Rate = int64(n * units[i].bits); err != nil || f.Rate < 1000 || n*units[i].bits > 1e12 {
			return wrong
		}
	}
	if f.Delay == 0 && f.Rate == 0 {
		return wrong
	}
	return nil
}

// contradictions plays the list: what is done to something that is not in the state for it.
func contradictions(list []planned) []error {
	type fate struct {
		by   planned
		ends time.Duration // -1: never
	}
	now := map[string]fate{} // of things that are not as they should be
	var errs []error
	for _, p := range list {
		for _, thing := range p.things() {
			f, taken := now[thing]
			if taken && f.ends >= 0 && p.at >= f.ends {
				taken = false
				delete(now, thing)
			}
			dead := taken && f.ends < 0 && (f.by.Do == scenario.Kill || f.by.Do == scenario.Drain)
			stopped := taken && f.ends < 0 && f.by.Do == scenario.Stop
			switch {
			case p.Do == scenario.Start && dead:
				delete(now, thing)
				continue
			case p.Do == scenario.Start && !taken:
				errs = append(errs, fmt.Errorf("chaos: %s at %v: it runs", p.Fault, p.at))
				continue
			case p.Do == scenario.Kill && stopped: // the one thing that a stopped process still does
			case taken:
				errs = append(errs, fmt.Errorf("chaos: %s at %v: %s lasts still", p.Fault, p.at, f.by.Fault))
				continue
			}
			if !p.lasts() {
				continue
			}
			ends := p.at + p.span
			if p.span == 0 {
				ends = -1
			}
			now[thing] = fate{p, ends}
		}
	}
	return errs
}
