package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
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

	rows, keys, values, err := storedSize(filepath.Join(b.dir, "size"))
	if err != nil {
		return nil, err
	}
	bytes := keys + values
	start := func(role string) (*child, error) {
		dir := filepath.Join(b.dir, role)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		c, err := startChild(role, anyCPU, dir)
		if err == nil {
			b.atEnd(c.close)
		}
		return c, err
	}
	ceiling, err := start("pebble")
	if err != nil {
		return nil, err
	}
	bareStore, err := start("store")
	if err != nil {
		return nil, err
	}

	minimal, err := b.startMinimal(o.conns, start)
	if err != nil {
		return nil, err
	}
	var t *target
	var texts func() (string, error)
	if b.wants("hub") {
		h, err := b.startHub(anyCPU)
		if err != nil {
			return nil, err
		}
		c, err := startChild("client", anyCPU)
		if err != nil {
			return nil, err
		}
		b.atEnd(c.close)
		t = &target{name: "hub", server: h, hub: h, client: c}
		if texts, err = b.directConversations(t, o.conns); err != nil {
			return nil, err
		}
	}

	for round := -1; round < o.runs; round++ {
		for _, n := range b.flights() {
			n = min(n, o.conns)
			prefix := fmt.Sprintf("%d in flight: ", n)
			bare, err := ceiling.call(command{Op: "commit", N: n, Seconds: o.seconds, Rounds: rows, Bytes: bytes})
			if err != nil {
				return nil, err
			}
			stored, err := bareStore.call(command{Op: "append", N: n, Seconds: o.seconds})
			if err != nil {
				return nil, err
			}
			least, err := minimal.minimalSends(n, o.seconds)
			if err != nil {
				return nil, err
			}
			var got reply
			var written int64
			if t != nil {
				if got, written, err = t.sends(n, o.seconds, texts); err != nil {
					return nil, err
				}
			}
			if round < 0 {
				continue
			}
			add := func(what, unit, base string, v float64) *row {
				x := r.row(prefix+what, base)
				x.Unit = unit
				x.add(v)
				return x
			}
			ceilingRow := prefix + "bare Pebble"
			add("bare Pebble", "", "", float64(bare.N)/o.seconds)
			add("storage alone", "", ceilingRow, float64(stored.N)/o.seconds)
			add("minimal server", "", ceilingRow, float64(least.N)/o.seconds)
			if t != nil {
				x := add("hub", "", ceilingRow, float64(got.N)/o.seconds)
				x.Target, x.AtLeast = 0.6, true
				add("hub, against minimal", "", prefix+"minimal server", float64(got.N)/o.seconds)
			}
			sum := summarise(bare.Millis)
			add("bare Pebble, p50", "ms", "", sum.P50)
			add("bare Pebble, p99", "ms", "", sum.P99)
			sum = summarise(least.Millis)
			add("minimal server, p50", "ms", "", sum.P50)
			add("minimal server, p99", "ms", "", sum.P99)
			if t != nil {
				sum = summarise(got.Millis)
				add("hub, ack p50", "ms", prefix+"bare Pebble, p50", sum.P50)
				add("hub, ack p99", "ms", "", sum.P99).Target = 50
			}
			add("bare Pebble, CPU", "µs/commit", "", bare.CPU/float64(max(1, bare.N))*1e6)
			add("storage alone, CPU", "µs/message", "", stored.CPU/float64(max(1, stored.N))*1e6)
			add("minimal server, CPU", "µs/send", "", least.CPU/float64(max(1, least.N))*1e6)
			if t != nil {
				add("hub, CPU", "µs/send", prefix+"minimal server, CPU", got.CPU/float64(max(1, got.N))*1e6)
				add("hub, written", "bytes/send", "", float64(written)/float64(max(1, got.N)))
			}
		}
	}
	r.note("a bare commit is one durable batch of %d rows, %d bytes of keys and %d of values: what the store makes of one message", rows, keys, values)
	r.note("hub: WebSocket clients on the same two processors; each message of 128 bytes goes back to its sender as the ack; the other member is offline")
	return r, nil
}

// startMinimal starts the minimal server and its clients.
func (b *bench) startMinimal(conns int, start func(role string) (*child, error)) (*target, error) {
	p, err := start("minimal")
	if err != nil {
		return nil, err
	}
	a, err := p.call(command{Op: "addr"})
	if err != nil {
		return nil, err
	}
	c, err := startChild("client", anyCPU)
	if err != nil {
		return nil, err
	}
	b.atEnd(c.close)
	t := &target{name: "minimal", server: p, peer: p, client: c, addr: a.Addr}
	return t, t.connect(conns)
}

func (t *target) minimalSends(n int, seconds float64) (reply, error) {
	if err := t.settled(); err != nil {
		return reply{}, err
	}
	if _, err := t.client.call(command{Op: "reset"}); err != nil {
		return reply{}, err
	}
	var got reply
	used, err := t.clocked(func() (err error) {
		got, err = t.client.call(command{Op: "loop", N: n, Seconds: seconds, Text: sendText(chat.NewConversationID().String(), "texts-{n}", string(payload(128)))})
		return err
	})
	got.CPU = used
	return got, err
}

// sends runs one closed loop and returns its replies, the hub's CPU in them, and what the hub wrote to the disk.
func (t *target) sends(n int, seconds float64, texts func() (string, error)) (reply, int64, error) {
	if err := t.settled(); err != nil {
		return reply{}, 0, err
	}
	if _, err := t.client.call(command{Op: "reset", Match: messageMark}); err != nil {
		return reply{}, 0, err
	}
	path, err := texts()
	if err != nil {
		return reply{}, 0, err
	}
	var got reply
	written := t.hub.written()
	used, err := t.clocked(func() (err error) {
		got, err = t.client.call(command{Op: "loop", N: n, Seconds: seconds, Texts: path})
		return err
	})
	if err != nil {
		return reply{}, 0, fmt.Errorf("%w\n%s", err, t.hub.logTail())
	}
	got.CPU = used
	return got, t.hub.written() - written, nil
}

// directConversations connects n senders, each with a conversation of its own, and returns a function that makes the
// file of their messages anew: client ids must not repeat.
func (b *bench) directConversations(t *target, n int) (func() (string, error), error) {
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
	return func() (string, error) {
		path := filepath.Join(t.hub.dir, fmt.Sprintf("texts-%d", time.Now().UnixNano()))
		var s strings.Builder
		for _, id := range ids {
			s.WriteString(sendText(id, filepath.Base(path), string(payload(128))) + "\n")
		}
		return path, os.WriteFile(path, []byte(s.String()), 0o600)
	}, nil
}

// flights are the numbers of messages in flight that were asked for.
func (b *bench) flights() []int {
	var out []int
	for _, n := range []int{1, 64, 1000} {
		if b.flight == 0 || b.flight == n {
			out = append(out, n)
		}
	}
	return out
}
