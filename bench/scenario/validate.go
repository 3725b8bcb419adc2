package scenario

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/bench/arrival"
)

// Bounds of a scenario: what no machine runs is a slip of the pen.
const (
	MaxUsers       = 10_000_000
	MaxConnections = 10_000_000
	MaxMemberships = 50_000_000 // of all conversations together
	MaxMessage     = 64 << 10   // bytes of a message's content
	MinMessage     = 1          // but a message is never shorter than its key, with which it begins: some 26 bytes
	maxLength      = 7 * 24 * time.Hour
)

// Ops lists the operations.
func Ops() []Op {
	return []Op{Send, Typing, Read, React, Edit, History, Scroll, List, Search, Reconnect}
}

// Dos lists the kinds of chaos.
func Dos() []Do {
	return []Do{Kill, Stop, Drain, Restart, Start, Partition, Slow, Store, Clock}
}

// Defaults fills in what is not said.
func (s *Scenario) Defaults() {
	or(&s.Settle, Duration(10*time.Second))
	or(&s.Connections.PerUser, 1)
	or(&s.Connections.Online, 1)
	or(&s.Connections.Rate, 2000)
	if s.Connections.Slow > 0 {
		or(&s.Connections.SlowRate, 1024)
	}
	for i := range s.Load {
		if l := &s.Load[i]; l.Op == Send || l.Op == Edit {
			or(&l.Size, Size{Fixed: 100})
		}
	}
	if !s.Check.Off {
		or(&s.Check.Sample, 8)
		or(&s.Check.Observers, 1)
	}
	or(&s.System.Store, "embedded")
	or(&s.System.Nodes, 1)
	if s.System.Store == "cassandra" {
		or(&s.System.CQL, 1)
	}
}

func or[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Length of the load: the warm-up and the measured part.
func (s *Scenario) Length() time.Duration {
	return time.Duration(s.Warmup + s.Duration)
}

// Seconds that are measured.
func (s *Scenario) Seconds() int {
	return int(time.Duration(s.Duration) / time.Second)
}

// Online is how many users hold connections: those with the lowest numbers.
func (s *Scenario) Online() int {
	return int(float64(s.Users)*s.Connections.Online + 0.5)
}

// Sockets that are open in all.
func (s *Scenario) Sockets() int {
	return s.Online() * s.Connections.PerUser
}

// Validate says all that is wrong, after Defaults.
func (s *Scenario) Validate() error {
	var errs []error
	for _, e := range s.check() {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// checker collects what is wrong.
type checker struct {
	errs []*Error
}

func (c *checker) fail(path, format string, args ...any) {
	c.errs = append(c.errs, &Error{Path: path, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) err(path string, err error) {
	if err != nil {
		c.fail(path, "%v", err)
	}
}

// number from lo to hi.
func number[T int | float64](c *checker, path string, v, lo, hi T) {
	if !(v >= lo && v <= hi) { // NaN too
		c.fail(path, "is %v: want %v to %v", v, lo, hi)
	}
}

func (c *checker) duration(path string, v Duration, lo, hi time.Duration) {
	if d := time.Duration(v); d < lo || d > hi {
		c.fail(path, "is %v: want %v to %v", d, lo, hi)
	}
}

func oneOf[T ~string](c *checker, path string, v T, all []T) {
	if !slices.Contains(all, v) {
		names := make([]string, len(all))
		for i, a := range all {
			names[i] = string(a)
		}
		c.fail(path, "is %q: want one of %s", v, strings.Join(names, ", "))
	}
}

func (s *Scenario) check() []*Error {
	c := &checker{}
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`).MatchString(s.Name) {
		c.fail("name", "is %q: want small letters, digits, dots and dashes", s.Name)
	}
	c.duration("warmup", s.Warmup, 0, maxLength)
	c.duration("duration", s.Duration, time.Second, maxLength)
	c.duration("settle", s.Settle, 0, time.Hour)
	if s.Warmup%Duration(time.Second) != 0 || s.Duration%Duration(time.Second) != 0 {
		c.fail("duration", "warmup and duration want to be whole seconds, for the figures are by the second")
	}
	number(c, "users", s.Users, 1, MaxUsers)
	s.checkConnections(c)
	s.checkSets(c)
	for i := range s.Load {
		s.checkLoad(c, fmt.Sprintf("load[%d]", i), &s.Load[i])
	}
	for i := range s.Chaos {
		s.checkAction(c, fmt.Sprintf("chaos[%d]", i), &s.Chaos[i])
	}
	for i, t := range s.Thresholds {
		_, err := parse(t)
		c.err(fmt.Sprintf("thresholds[%d]", i), err)
	}
	if s.Check.Off && s.Check != (Check{Off: true}) {
		c.fail("check", "sample and observers have no meaning when it is off")
	}
	if !s.Check.Off {
		number(c, "check.sample", s.Check.Sample, 0, 1000)
		number(c, "check.observers", s.Check.Observers, 0, 1)
	}
	oneOf(c, "system.store", s.System.Store, []string{"embedded", "cassandra"})
	number(c, "system.nodes", s.System.Nodes, 1, 100)
	number(c, "system.edges", s.System.Edges, 0, 100)
	if s.System.Store == "cassandra" {
		number(c, "system.cql", s.System.CQL, 1, 9)
	} else {
		if s.System.CQL != 0 {
			c.fail("system.cql", "has no meaning with the %s store: want store: cassandra", s.System.Store)
		}
		if s.System.Nodes > 1 || s.System.Edges > 0 {
			c.fail("system.nodes", "%d nodes and %d edges: an embedded store belongs to one process; want store: cassandra", s.System.Nodes, s.System.Edges)
		}
	}
	return c.errs
}

func (s *Scenario) checkConnections(c *checker) {
	number(c, "connections.per_user", s.Connections.PerUser, 1, 100)
	number(c, "connections.online", s.Connections.Online, 0, 1)
	number(c, "connections.rate", s.Connections.Rate, 0.1, 1e6)
	number(c, "connections.slow", s.Connections.Slow, 0, 1)
	c.duration("connections.ping", s.Connections.Ping, 0, time.Hour)
	c.duration("connections.reconnect", s.Connections.Reconnect, 0, time.Hour)
	if s.Connections.Ping > 0 && s.Connections.Ping < Duration(100*time.Millisecond) {
		c.fail("connections.ping", "is %v: want 100ms or more", s.Connections.Ping)
	}
	if s.Connections.Slow > 0 {
		number(c, "connections.slow_rate", s.Connections.SlowRate, 1, 1<<30)
	} else if s.Connections.SlowRate != 0 {
		c.fail("connections.slow_rate", "has no meaning without slow, the share of the connections that are")
	}
	if n := s.Sockets(); n > MaxConnections || n < 1 && s.Users > 0 {
		c.fail("connections", "%d sockets: want 1 to %d", n, MaxConnections)
	}
}

func (s *Scenario) checkSets(c *checker) {
	seen := map[string]bool{}
	var members float64
	for i := range s.Conversations {
		set, path := &s.Conversations[i], fmt.Sprintf("conversations[%d]", i)
		if set.Name == "" || seen[set.Name] {
			c.fail(path+".name", "is %q: want a name that no other set has", set.Name)
		}
		seen[set.Name] = true
		number(c, path+".count", set.Count, 1, MaxUsers)
		if err := set.Members.check(2, max(2, s.Users)); err != nil {
			c.fail(path+".members", "%v", err)
			continue
		}
		if pairs := s.Users * (s.Users - 1) / 2; set.Members.Fixed == 2 && set.Count > pairs-s.directs(i) {
			c.fail(path+".count", "is %d: %d users make %d pairs", set.Count, s.Users, pairs)
		}
		members += float64(set.Count) * set.Members.Mean()
	}
	if members > MaxMemberships {
		c.fail("conversations", "%.0f members in all: want at most %d", members, MaxMemberships)
	}
}

// directs are the direct conversations of the sets before the i-th: each pair of users has one.
func (s *Scenario) directs(i int) int {
	n := 0
	for _, set := range s.Conversations[:i] {
		if set.Members.Fixed == 2 {
			n += set.Count
		}
	}
	return n
}

func (s *Scenario) checkLoad(c *checker, path string, l *Load) {
	oneOf(c, path+".op", l.Op, Ops())
	c.err(path+".arrival", l.Arrival.Validate())
	if l.Arrival.Kind == arrival.Once && l.Arrival.At >= s.Length() {
		c.fail(path+".arrival.at", "is %v: the load ends at %v", l.Arrival.At, s.Length())
	}
	number(c, path+".skew", l.Skew, 0, 10)
	number(c, path+".senders", l.Senders, 0, max(s.Users, 0))
	number(c, path+".storm", l.Storm, 0, 1)
	if l.Op == Send || l.Op == Edit {
		c.err(path+".size", l.Size.check(MinMessage, MaxMessage))
	} else if l.Size != (Size{}) {
		c.fail(path+".size", "has no meaning for %s", l.Op)
	}
	if l.Op != Reconnect {
		if l.Storm != 0 {
			c.fail(path+".storm", "has no meaning for %s: want op: reconnect", l.Op)
		}
	} else if l.Of != "" || l.Skew != 0 || l.Senders != 0 {
		c.fail(path, "of, skew and senders have no meaning for reconnect: it is about connections")
		return
	}
	names := make([]string, len(s.Conversations))
	for i, set := range s.Conversations {
		names[i] = set.Name
	}
	if l.Of != "" && !slices.Contains(names, l.Of) {
		c.fail(path+".of", "is %q: want a set of conversations: %s", l.Of, strings.Join(names, ", "))
	}
	if len(names) == 0 && l.Op != Reconnect {
		c.fail(path, "%s needs conversations, and there are none", l.Op)
	}
}

// What an Action may have, besides at and do.
var actionFields = map[Do][]string{
	Kill: {"node", "for"}, Stop: {"node", "for"}, Drain: {"node", "for"}, Restart: {"node"}, Start: {"node"},
	Partition: {"node", "with", "for"}, Slow: {"node", "for", "value"}, Store: {"node", "for"}, Clock: {"node", "for", "value"},
}

var nodeName = regexp.MustCompile(`^(node|core|edge|cql)?[1-9][0-9]*$`)

func (s *Scenario) checkAction(c *checker, path string, a *Action) {
	fields, ok := actionFields[a.Do]
	if !ok {
		oneOf(c, path+".do", a.Do, Dos())
		return
	}
	c.duration(path+".at", a.At, 0, time.Duration(s.Duration))
	c.duration(path+".for", a.For, 0, maxLength)
	if !nodeName.MatchString(a.Node) {
		c.fail(path+".node", "is %q: want a node by number from 1, or edge1, core1, cql1", a.Node)
	}
	if strings.HasPrefix(a.Node, "cql") && s.System.Store != "cassandra" {
		c.fail(path+".node", "is %s: an embedded store has no servers", a.Node)
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"with", a.With != ""}, {"for", a.For != 0}, {"value", a.Value != ""}} {
		if f.set && !slices.Contains(fields, f.name) {
			c.fail(path+"."+f.name, "has no meaning for %s", a.Do)
		}
	}
	switch a.Do {
	case Partition, Slow:
		if !s.System.Isolated {
			c.fail(path+".do", "%s needs nodes in network namespaces: want system.isolated", a.Do)
		}
		if a.Do == Slow && a.Value == "" {
			c.fail(path+".value", "want latency, rate or both, as 20ms 1mbit")
		}
		if a.Do == Slow {
			return
		}
		for _, n := range strings.Split(a.With, ",") {
			if !nodeName.MatchString(strings.TrimSpace(n)) {
				c.fail(path+".with", "is %q: want nodes separated by commas", a.With)
			}
		}
	case Clock:
		if d, err := time.ParseDuration(a.Value); err != nil || d == 0 {
			c.fail(path+".value", "is %q: want by how much the clock jumps, as +60s or -5s", a.Value)
		}
	}
}
