package control

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/bench/measure"
)

// footprint is the memory that is in use at a moment.
type footprint struct {
	rss    map[string]int64
	kernel int64
}

// rest is how long everything is left alone before memory is measured.
const rest = 2 * time.Second

// footprint measures, if there is something to look at.
func (c *control) footprint(ctx context.Context) footprint {
	s := c.cfg.System
	if s == nil {
		return footprint{}
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
	}
	if err := s.Collect(ctx); err != nil {
		c.log.Warn("memory could not be given back; figures per connection are too high", "error", err)
	}
	f := footprint{rss: map[string]int64{}, kernel: measure.KernelMemory()}
	for name, pid := range s.Processes() {
		f.rss[name] = measure.RSS(pid)
	}
	return f
}

// since is the growth per connection.
func (f footprint) since(base footprint, connections int, s System) *measure.Memory {
	if s == nil || connections == 0 {
		return nil
	}
	m := &measure.Memory{Connections: int64(connections), Kernel: float64(f.kernel-base.kernel) / float64(connections)}
	edges := s.Edges()
	for name, rss := range f.rss {
		grown := float64(rss-base.rss[name]) / float64(connections)
		if slices.Contains(edges, name) {
			m.Edge += grown
		} else {
			m.Directory += grown
		}
	}
	return m
}

// vitalsEvery is how often processes are asked about themselves, which costs them a little.
const vitalsEvery = 5 * time.Second

// watch notes what the processes use until ctx ends.
func (c *control) watch(ctx context.Context, s System, zero time.Time) {
	var said atomic.Pointer[map[string]measure.Vitals]
	said.Store(new(map[string]measure.Vitals))
	var asking sync.WaitGroup
	asking.Go(func() {
		t := time.NewTicker(vitalsEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
			if list, _ := s.Vitals(ctx); len(list) > 0 { // those that are down do not answer
				said.Store(&list)
			}
		}
	})
	c.run.Processes = measure.Watch(ctx, zero, time.Second, time.Duration(c.cfg.Scenario.Duration), s.Processes,
		func() map[string]measure.Vitals { return *said.Load() })
	asking.Wait()
}
