package main

import (
	"fmt"
	"strings"
	"time"
)

// measureFanout interleaves, round by round, one publication to all connections of each server, and bursts of
// several. What is counted is the server's CPU from the publication to the last arrival.
func measureFanout(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.conns == 0 {
		o.conns = 10_000
	}
	r := &report{Title: fmt.Sprintf("fan-out of one message to %d connections", o.conns), Unit: "µs CPU per delivery"}
	const limit = "send(2) loop"
	size := 128

	type contender struct {
		*target
		label   string
		publish func(k int) error
	}
	var all []contender
	var group *hubGroup
	if b.wants("hub") {
		group, err = b.startHubGroup(o.conns)
		if err != nil {
			return nil, err
		}
		size = group.frame // every server sends what the hub sends
		all = append(all, contender{group.target, "hub", group.publish})
	}
	// The clients look for the mark in every frame, so that all of them have the same to do.
	body := append([]byte(messageMark), payload(size-frameHeader(size)-len(messageMark))...)
	for _, p := range []struct{ role, label string }{
		{"raw", limit}, {"reactor", "transport alone"}, {"gws", "gws"}, {"gobwas", "gobwas"},
	} {
		if p.role != "raw" && !b.wants(p.role) {
			continue
		}
		t, err := b.startPeer(p.role, "1h")
		if err != nil {
			return nil, err
		}
		if err := t.connect(o.conns); err != nil {
			return nil, err
		}
		all = append(all, contender{t, p.label, func(k int) error {
			_, err := t.peer.call(command{Op: "broadcast", Payload: body, N: k})
			return err
		}})
	}

	// A measured step is several publications, each waited for, so that a step is long enough to be clocked.
	step := func(c contender, k, times int) (float64, error) {
		if err := c.settled(); err != nil {
			return 0, err
		}
		used, err := c.clocked(func() error {
			for range times {
				if err := c.resetAndAwait(o.conns*k, func() error { return c.publish(k) }); err != nil {
					return err
				}
			}
			return nil
		})
		return used / float64(times) / float64(o.conns*k) * 1e6, err
	}
	for round := -1; round < o.runs; round++ { // the first is a warm-up
		for _, c := range all {
			times := 5
			if round < 0 { // young TCP connections acknowledge every segment at once, older ones do not
				times = 40
			}
			v, err := step(c, 1, times)
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				x := r.row(c.label, "")
				if c.label != limit {
					x.Base = limit
				}
				x.add(v)
			}
		}
	}
	for _, k := range []int{4, 16} {
		for range o.runs {
			for _, c := range all {
				v, err := step(c, k, 2)
				if err != nil {
					return nil, err
				}
				x := r.row(fmt.Sprintf("%s, bursts of %d", c.label, k), limit)
				x.add(v)
			}
		}
	}
	if x := r.find("hub"); x != nil {
		x.Target = 1.15
	}
	if x := r.find("transport alone"); x != nil {
		x.Target = 1.15
	}
	r.note("every frame has %d bytes; one processor for the server, the other for its client", size)
	r.note("ratios of the bursts are to the loop that sends one frame at a time, in the same round")
	if group != nil {
		r.note("hub: %s", strings.Join(group.facts(), "; "))
	}
	return r, nil
}

// resetAndAwait runs f and waits until the client has counted n messages.
func (t *target) resetAndAwait(n int, f func() error) error {
	if _, err := t.client.call(command{Op: "reset", Match: messageMark}); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	_, err := t.client.call(command{Op: "await", N: n, Seconds: 30})
	return err
}

func frameHeader(size int) int {
	switch {
	case size <= 127:
		return 2
	case size <= 1<<16+3:
		return 4
	default:
		return 10
	}
}

// pause gives the scheduler of a busy machine a moment between rounds.
func pause() { time.Sleep(50 * time.Millisecond) }
