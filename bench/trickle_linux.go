package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// measureTrickle sends each of 15,000 connections one message a second, while pings go on.
func measureTrickle(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.conns == 0 {
		o.conns = 15_000
	}
	if o.seconds == 0 {
		o.seconds = 3
	}
	r := &report{Title: fmt.Sprintf("%d connections × 1 message a second with pings every 25 s", o.conns), Unit: "% of a processor"}
	var all []*target
	for _, role := range []string{"gobwas", "gws", "reactor", "raw"} {
		if role != "gobwas" && !b.wants(role) {
			continue
		}
		t, err := b.startPeer(role, "25s")
		if err != nil {
			return nil, err
		}
		if err := t.connect(o.conns); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	var h *trickleHub
	if b.wants("hub") {
		if h, err = b.startTrickleHub(o.conns); err != nil {
			return nil, err
		}
	}
	for round := -1; round < o.runs; round++ {
		for _, t := range all {
			pause()
			var wall time.Duration
			used, err := t.clocked(func() error {
				start := time.Now()
				_, err := t.peer.call(command{Op: "trickle", N: o.conns, Seconds: o.seconds, Payload: payload(128)})
				wall = time.Since(start)
				return err
			})
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				x := r.row(t.name, "gobwas")
				if t.name == "gobwas" {
					x.Base = ""
				}
				x.add(used / wall.Seconds() * 100)
			}
		}
		if h != nil {
			v, err := h.round(o.seconds)
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				r.row("hub", "gobwas").add(v)
			}
		}
	}
	if x := r.find("reactor"); x != nil {
		x.Target = 0.8
	}
	r.note("raw: send(2) alone, no pings, driven by the same timer: what the kernel and the timer take")
	r.note("hub: groups of %d members, each with a durable send a second by one of them; deliveries to the sender count", trickleGroup)
	r.note("messages leave in steps of a millisecond; a round lasts %.0f s", o.seconds)
	return r, nil
}

// trickleGroup is the size of the hub's groups in trickle.
const trickleGroup = 10

// trickleHub is a hub whose users are all connected and in one group each.
type trickleHub struct {
	*target
	ids    []string
	rounds int
}

func (b *bench) startTrickleHub(conns int) (*trickleHub, error) {
	t, err := b.startHubUsers(conns, "--ping-interval", "25s")
	if err != nil {
		return nil, err
	}
	h := &trickleHub{target: t}
	for first := 0; first+trickleGroup <= conns; first += trickleGroup {
		others := make([]int, trickleGroup-1)
		for i := range others {
			others[i] = first + 1 + i
		}
		id, err := t.hub.conversation(first, others...)
		if err != nil {
			return nil, err
		}
		h.ids = append(h.ids, id)
	}
	return h, nil
}

// round has each group's first member send once a second, and returns the share of a processor that the hub took.
func (h *trickleHub) round(seconds float64) (float64, error) {
	h.rounds++
	run := fmt.Sprintf("trickle-%d", h.rounds)
	var texts strings.Builder
	for _, id := range h.ids {
		texts.WriteString(sendText(id, run, string(payload(128))) + "\n")
	}
	path := filepath.Join(h.hub.dir, run)
	if err := os.WriteFile(path, []byte(texts.String()), 0o600); err != nil {
		return 0, err
	}
	pause()
	if _, err := h.client.call(command{Op: "reset", Match: messageMark}); err != nil {
		return 0, err
	}
	start := time.Now()
	used, err := h.clocked(func() error {
		r, err := h.client.call(command{Op: "paced", N: len(h.ids), Every: trickleGroup, Seconds: seconds, Texts: path})
		if err != nil {
			return err
		}
		_, err = h.client.call(command{Op: "await", N: int(r.N) * trickleGroup, Seconds: 20})
		return err
	})
	return used / time.Since(start).Seconds() * 100, err
}
