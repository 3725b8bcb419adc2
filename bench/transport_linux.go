package main

import (
	"fmt"
	"time"
)

// measureInbound has every connection send small messages in turn.
func measureInbound(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.conns == 0 {
		o.conns = 2_000
	}
	const rounds, size = 20, 100
	r := &report{Title: fmt.Sprintf("message of %d bytes received, %d connections in turn", size, o.conns), Unit: "µs CPU per message"}
	var all []*target
	for _, role := range []string{"gws", "gobwas", "reactor"} {
		if role != "gws" && !b.wants(role) {
			continue
		}
		t, err := b.startPeer(role, "1h")
		if err != nil {
			return nil, err
		}
		if err := t.connect(o.conns); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	var h *target
	if b.wants("hub") {
		if h, err = b.startHubUsers(o.conns); err != nil {
			return nil, err
		}
	}
	text := string(payload(size))
	for round := -1; round < o.runs; round++ {
		for _, t := range all {
			if err := t.settled(); err != nil {
				return nil, err
			}
			have, err := t.peer.call(command{Op: "inbound"})
			if err != nil {
				return nil, err
			}
			n := rounds * o.conns
			used, err := t.clocked(func() error {
				if _, err := t.client.call(command{Op: "flood", Text: text, Rounds: rounds}); err != nil {
					return err
				}
				_, err := t.peer.call(command{Op: "inbound", N: int(have.N) + n})
				return err
			})
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				x := r.row(t.name, "gws")
				if t.name == "gws" {
					x.Base = ""
				}
				x.add(used / float64(n) * 1e6)
			}
		}
		if h != nil {
			v, err := h.pings(rounds, o.conns)
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				r.row("hub, ping answered", "gws").add(v)
			}
		}
	}
	if x := r.find("reactor"); x != nil {
		x.Target = 0.6
	}
	r.note("hub: each {\"type\":\"ping\"} is parsed, rated and answered by a frame, which is most of its cost; the others only count")
	return r, nil
}

// pings has every connection of the hub send pings and waits for the pongs.
func (t *target) pings(rounds, conns int) (float64, error) {
	if err := t.settled(); err != nil {
		return 0, err
	}
	if _, err := t.client.call(command{Op: "reset", Match: `"pong"`}); err != nil {
		return 0, err
	}
	used, err := t.clocked(func() error {
		if _, err := t.client.call(command{Op: "flood", Text: `{"type":"ping","ref":"` + string(payload(70)) + `"}`, Rounds: rounds}); err != nil {
			return err
		}
		_, err := t.client.call(command{Op: "await", N: rounds * conns, Seconds: 30})
		return err
	})
	return used / float64(rounds*conns) * 1e6, err
}

// measureAccept opens connections, counts the server's CPU until all are ready, and drops them again.
func measureAccept(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.conns == 0 {
		o.conns = 8_000
	}
	r := &report{Title: fmt.Sprintf("accept + upgrade of %d connections", o.conns), Unit: "µs CPU per connection"}
	var all []*target
	for _, role := range []string{"gobwas", "gws", "coder", "reactor"} {
		if role != "gobwas" && !b.wants(role) {
			continue
		}
		t, err := b.startPeer(role, "1h")
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	var h *target
	if b.wants("hub") {
		if h, err = b.startHubUsers(0); err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	for round := -1; round < o.runs; round++ {
		for _, t := range all {
			if err := t.settled(); err != nil {
				return nil, err
			}
			used, err := t.clocked(func() error {
				if t.hub != nil {
					return t.hub.connect(t.client, "/ws/", 0, o.conns)
				}
				return t.connect(o.conns)
			})
			if err != nil {
				return nil, err
			}
			if _, err := t.client.call(command{Op: "close"}); err != nil {
				return nil, err
			}
			if t.peer != nil {
				if err := t.emptied(); err != nil {
					return nil, err
				}
			}
			if round < 0 {
				continue
			}
			name, base := t.name, "gobwas"
			if t.hub != nil {
				name = "hub, authenticated"
			}
			if name == base {
				base = ""
			}
			v := used / float64(o.conns) * 1e6
			r.row(name, base).add(v)
			if name == "reactor" && b.wants("coder") {
				r.row("reactor, against net/http", "coder").add(v)
			}
		}
	}
	if x := r.find("reactor"); x != nil {
		x.Target = 1.0
	}
	if x := r.find("reactor, against net/http"); x != nil {
		x.Target = 0.5
	}
	r.note("hub, authenticated: /ws/ with an HS256 token of its own for each user, until its first frame has come")
	return r, nil
}

// emptied waits until a peer has noticed that its connections are gone.
func (t *target) emptied() error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := t.peer.call(command{Op: "conns"})
		if err != nil || r.N == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d connections are still open", t.name, r.N)
		}
	}
}
