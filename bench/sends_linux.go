package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// measureSends keeps one message in flight in each of 1, 64 and 1,000 conversations, and commits as many bytes to
// a bare Pebble with as many writers, turn by turn on the same disk.
func measureSends(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.seconds == 0 {
		o.seconds = 2
	}
	if o.conns == 0 {
		o.conns = 1000
	}
	r := &report{Title: "durable sends, one in flight per conversation", Unit: "per second"}

	dir := filepath.Join(b.dir, "ceiling")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	ceiling, err := startChild("pebble", anyCPU, dir)
	if err != nil {
		return nil, err
	}
	b.atEnd(ceiling.close)

	h, err := b.startHub(anyCPU)
	if err != nil {
		return nil, err
	}
	c, err := startChild("client", anyCPU)
	if err != nil {
		return nil, err
	}
	b.atEnd(c.close)
	t := &target{name: "hub", server: h, hub: h, client: c}
	texts, err := b.directConversations(t, o.conns)
	if err != nil {
		return nil, err
	}

	counts := []int{1, 64, 1000}
	for round := -1; round < o.runs; round++ {
		for _, n := range counts {
			n = min(n, o.conns)
			if err := t.settled(); err != nil {
				return nil, err
			}
			bare, err := ceiling.call(command{Op: "commit", N: n, Seconds: o.seconds, Rounds: commitRows, Bytes: commitBytes})
			if err != nil {
				return nil, err
			}
			if _, err := c.call(command{Op: "reset", Match: messageMark}); err != nil {
				return nil, err
			}
			var got reply
			written := h.written()
			used, err := t.clocked(func() (err error) {
				got, err = c.call(command{Op: "loop", N: n, Seconds: o.seconds, Texts: texts(round)})
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%w\n%s", err, h.logTail())
			}
			written = h.written() - written
			if round < 0 {
				continue
			}
			name := fmt.Sprintf("%d in flight: ", n)
			r.row(name+"bare Pebble", "").add(float64(bare.N) / o.seconds)
			x := r.row(name+"hub", name+"bare Pebble")
			x.Target, x.AtLeast = 0.6, true
			x.add(float64(got.N) / o.seconds)
			sends := float64(max(1, got.N))
			add := func(what, unit, base string, v float64) *row {
				y := r.row(name+what, base)
				y.Unit = unit
				y.add(v)
				return y
			}
			mine, theirs := summarise(got.Millis), summarise(bare.Millis)
			add("bare commit p50", "ms", "", theirs.P50)
			add("bare commit p99", "ms", "", theirs.P99)
			add("hub ack p50", "ms", "", mine.P50)
			y := add("hub ack p99", "ms", "", mine.P99)
			y.Target = 50
			add("bare CPU", "µs/commit", "", bare.CPU/float64(max(1, bare.N))*1e6)
			add("hub CPU", "µs/send", "", used/sends*1e6)
			add("hub written", "bytes/send", "", float64(written)/sends)
		}
	}
	r.note("a bare commit is one durable batch of %d rows and %d bytes of values", commitRows, commitBytes)
	r.note("hub: WebSocket clients on the same two processors; each message of 128 bytes goes back to its sender as the ack; the other member is offline")
	return r, nil
}

// What the hub's durable batch of one message holds.
const (
	commitRows  = 1
	commitBytes = 330
)

// directConversations connects n senders, each with a conversation of its own, and returns a function that makes the
// file of their messages for a round: client ids must not repeat.
func (b *bench) directConversations(t *target, n int) (func(round int) string, error) {
	const sink = 1_000_000 // the other member of all of them; seen once, then away
	if err := t.hub.connect(t.client, "/ws/", sink, 1); err != nil {
		return nil, err
	}
	if _, err := t.client.call(command{Op: "close"}); err != nil {
		return nil, err
	}
	if err := t.hub.connect(t.client, "/ws/", 0, n); err != nil {
		return nil, err
	}
	ids := make([]string, n)
	for i := range ids {
		var err error
		if ids[i], err = t.hub.conversation(i, sink); err != nil {
			return nil, err
		}
	}
	return func(round int) string {
		path := filepath.Join(t.hub.dir, fmt.Sprintf("texts-%d", time.Now().UnixNano()))
		var s strings.Builder
		for _, id := range ids {
			s.WriteString(sendText(id, filepath.Base(path), string(payload(128))) + "\n")
		}
		if err := os.WriteFile(path, []byte(s.String()), 0o600); err != nil {
			return ""
		}
		return path
	}, nil
}
