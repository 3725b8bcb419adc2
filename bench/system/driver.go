package system

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zumodra/hub/bench/chaos"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/internal/testcluster"
)

// Node implements chaos.Driver. A full node is called 2, node2 or core2, an edge edge1, a server of the store cql1.
func (s *System) Node(name string) (string, error) {
	full := name
	if _, err := strconv.Atoi(name); err == nil {
		full = "node" + name
	} else if n, ok := strings.CutPrefix(name, "core"); ok {
		full = "node" + n
	}
	if _, ok := s.names[full]; !ok {
		return "", fmt.Errorf("there is no node %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(s.names)), ", "))
	}
	return full, nil
}

// Can implements chaos.Driver.
func (s *System) Can(f chaos.Fault) error {
	can := func(ability string) bool { return slices.Contains(s.first.Can, ability) }
	server := func(name string) bool { return strings.HasPrefix(name, "cql") }
	if s.do == nil {
		return errors.New("the nodes of this system are not to be touched: start it with make cluster KEEP=1")
	}
	if f.Do != scenario.Kill && f.Do != scenario.Stop && f.Do != scenario.Start && (server(f.Node) || slices.ContainsFunc(f.With, server)) {
		return errors.New("servers of the store can be killed, stopped and started, no more")
	}
	switch f.Do {
	case scenario.Partition:
		if !can(testcluster.CanCut) {
			return errors.New("links between nodes are cut in an isolated system alone (system.isolated: Linux, root)")
		}
	case scenario.Slow:
		if !can(testcluster.CanRate) {
			return errors.New("links are slowed down in an isolated system alone (system.isolated: Linux, root)")
		}
		if f.Delay > 0 && !can(testcluster.CanDelay) {
			return errors.New("this kernel cannot delay packets (module sch_netem): a rate alone is possible")
		}
	case scenario.Store:
		if !can(testcluster.CanStore) {
			return errors.New("the way to the store is cut in a system with the store cassandra alone, if it has gates")
		}
	case scenario.Clock:
		if !can(testcluster.CanClock) {
			return errors.New("the clock is that of a hub built with -tags chaos alone")
		}
	}
	return nil
}

// Do implements chaos.Driver.
func (s *System) Do(ctx context.Context, f chaos.Fault) error {
	n := s.names[f.Node]
	switch f.Do {
	case scenario.Kill:
		return s.do(ctx, testcluster.OpKill, n, "")
	case scenario.Stop:
		return s.do(ctx, testcluster.OpPause, n, "")
	case scenario.Drain:
		return s.do(ctx, testcluster.OpDrain, n, "")
	case scenario.Restart:
		err := s.do(ctx, testcluster.OpDrain, n, "")
		return errors.Join(err, s.do(ctx, testcluster.OpStart, n, ""))
	case scenario.Start:
		return s.do(ctx, testcluster.OpStart, n, "")
	case scenario.Partition:
		return s.links(ctx, testcluster.OpCut, f)
	case scenario.Slow:
		return s.do(ctx, testcluster.OpSlow, n, fmt.Sprintf("%v %d", f.Delay, f.Rate))
	case scenario.Store:
		return s.do(ctx, testcluster.OpStore, n, "cut")
	case scenario.Clock:
		return s.do(ctx, testcluster.OpClock, n, f.Jump.String())
	}
	return fmt.Errorf("system: unknown fault %q", f.Do)
}

// Undo implements chaos.Driver.
func (s *System) Undo(ctx context.Context, f chaos.Fault) error {
	n := s.names[f.Node]
	switch f.Do {
	case scenario.Kill, scenario.Drain:
		return s.do(ctx, testcluster.OpStart, n, "")
	case scenario.Stop:
		return s.do(ctx, testcluster.OpResume, n, "")
	case scenario.Partition:
		return s.links(ctx, testcluster.OpMend, f)
	case scenario.Slow:
		return s.do(ctx, testcluster.OpSlow, n, "0s 0")
	case scenario.Store:
		return s.do(ctx, testcluster.OpStore, n, "heal")
	case scenario.Clock:
		return s.do(ctx, testcluster.OpClock, n, "0s")
	}
	return nil
}

func (s *System) links(ctx context.Context, op testcluster.Op, f chaos.Fault) error {
	var errs []error
	for _, other := range f.With {
		errs = append(errs, s.do(ctx, op, s.names[f.Node], s.names[other]))
	}
	return errors.Join(errs...)
}
