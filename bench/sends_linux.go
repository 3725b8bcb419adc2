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
// a bare Pebble with as many writers, turn by turn on the same disk. The conversations have a socket each, or share a
// few, as those of a bot or a gateway do.
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
	if o.sockets == 0 {
		o.sockets = 4
	}
	s, err := b.startSends(o)
	if err != nil {
		return nil, err
	}
	r := &report{Title: "durable sends, one in flight per conversation", Unit: "per second"}
	for round := -1; round < o.runs; round++ {
		for _, n := range b.flights() {
			seconds, turns := o.seconds, 1
			if n == 1 { // both sides wait for the disk, whose mood changes: short turns, so that it is the same for both
				seconds, turns = o.seconds/8, 8
			}
			for range turns {
				if err := s.turn(r, min(n, o.conns), seconds, round >= 0); err != nil {
					return nil, err
				}
			}
		}
	}
	r.note("a bare commit is one durable batch of %d rows, %d bytes of keys and %d of values: what the store makes of one message", s.rows, s.keys, s.values)
	r.note("hub: WebSocket clients on the same two processors; each message of 128 bytes goes back to its sender as the ack; the other member is offline")
	r.note("multiplexed: the conversations share %d sockets, and what one read brings is answered with one write", o.sockets)
	r.note("1 in flight: %d turns a round instead of one, each an eighth as long; the ratios are those of the turns", 8)
	return r, nil
}

// sendsBench is what measureSends compares.
type sendsBench struct {
	o                  options
	rows, keys, values int
	ceiling, store     *child
	minimal            *target
	hub, shared        *loadedHub // nil: not wanted
}

// loadedHub is a hub with clients whose conversations have a socket each, or share some.
type loadedHub struct {
	*target
	sockets int // 0: one each
	ids     []string
}

func (b *bench) startSends(o options) (*sendsBench, error) {
	s := &sendsBench{o: o}
	var err error
	if s.rows, s.keys, s.values, err = storedSize(filepath.Join(b.dir, "size")); err != nil {
		return nil, err
	}
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
	if s.ceiling, err = start("pebble"); err != nil {
		return nil, err
	}
	if b.wants("store") {
		if s.store, err = start("store"); err != nil {
			return nil, err
		}
	}
	if b.wants("minimal") {
		if s.minimal, err = b.startMinimal(o.conns, start); err != nil {
			return nil, err
		}
	}
	if !b.wants("hub") && !b.wants("multiplexed") {
		return s, nil
	}
	// Without the search index, which the ceiling has none of either: see measureLag for its cost.
	h, err := b.startHub(anyCPU, "--search", "off")
	if err != nil {
		return nil, err
	}
	if b.wants("hub") {
		if s.hub, err = b.directConversations(h, o.conns, 0); err != nil {
			return nil, err
		}
	}
	if b.wants("multiplexed") {
		if s.shared, err = b.directConversations(h, o.conns, min(o.sockets, o.conns)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// turn measures all sides once with n in flight, and adds to the report unless it is to warm up.
func (s *sendsBench) turn(r *report, n int, seconds float64, record bool) error {
	prefix := fmt.Sprintf("%d in flight: ", n)
	add := func(what, unit, base string, v float64) *row {
		if !record {
			return new(row)
		}
		if base != "" {
			base = prefix + base
		}
		x := r.row(prefix+what, base)
		x.Unit = unit
		x.add(v)
		return x
	}
	side := func(name string, what string, base string, got reply) *row {
		x := add(name, "", base, float64(got.N)/seconds)
		if len(got.Millis) > 0 { // a turn may see a disk that stands still
			sum := summarise(got.Millis)
			add(name+", p50", "ms", "", sum.P50)
			p99 := add(name+", p99", "ms", "", sum.P99)
			if strings.HasPrefix(name, "hub") {
				p99.Target = 50
			}
		}
		add(name+", CPU", "µs/"+what, "", got.CPU/float64(max(1, got.N))*1e6)
		return x
	}
	got, err := s.ceiling.call(command{Op: "commit", N: n, Seconds: seconds, Rounds: s.rows, Bytes: s.keys + s.values})
	if err != nil {
		return err
	}
	side("bare Pebble", "commit", "", got)
	if s.store != nil {
		if got, err = s.store.call(command{Op: "append", N: n, Seconds: seconds}); err != nil {
			return err
		}
		side("storage alone", "message", "bare Pebble", got)
	}
	if s.minimal != nil {
		var client float64
		if got, client, err = s.minimal.minimalSends(n, seconds); err != nil {
			return err
		}
		side("minimal server", "send", "bare Pebble", got)
		add("minimal server, clients' CPU", "µs/send", "", client)
	}
	for _, h := range []*loadedHub{s.hub, s.shared} {
		if h == nil {
			continue
		}
		name, target := "hub", 0.6
		if h.sockets > 0 {
			name = "hub, multiplexed"
		}
		l, err := h.sends(n, seconds)
		if err != nil {
			return err
		}
		x := side(name, "send", "bare Pebble", l.reply)
		x.Target, x.AtLeast = target, true
		sends := float64(max(1, l.N))
		add(name+", clients' CPU", "µs/send", "", l.client)
		add(name+", written", "bytes/send", "", float64(l.written)/sends)
		if s.minimal != nil {
			add(name+", against minimal", "", "minimal server", float64(l.N)/seconds)
		}
	}
	return nil
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

// minimalSends returns the replies, with the server's CPU, and the clients' CPU in µs a send.
func (t *target) minimalSends(n int, seconds float64) (reply, float64, error) {
	return t.loop(command{Op: "loop", N: n, Seconds: seconds, Text: sendText(chat.NewConversationID().String(), "texts", string(payload(128)))}, "")
}

// loop runs a closed loop and returns its reply, whose CPU is the server's, and the clients' CPU in µs a send.
func (t *target) loop(cmd command, match string) (reply, float64, error) {
	if cmd.N > 1 {
		if err := t.settled(); err != nil {
			return reply{}, 0, err
		}
	}
	if _, err := t.client.call(command{Op: "reset", Match: match}); err != nil {
		return reply{}, 0, err
	}
	var got reply
	used, err := t.clocked(func() (err error) {
		got, err = t.client.call(cmd)
		return err
	})
	client := got.CPU / float64(max(1, got.N)) * 1e6
	got.CPU = used
	return got, client, err
}

// load is the result of a closed loop against the hub.
type load struct {
	reply
	client  float64 // the clients' CPU, µs a send
	written int64   // bytes that the hub wrote to the disk
}

// texts makes the file of the messages to n conversations. Client ids must not repeat: each file has its own.
func (h *loadedHub) texts(n int) (path string, err error) {
	path = filepath.Join(h.target.hub.dir, fmt.Sprintf("texts-%d", time.Now().UnixNano()))
	var s strings.Builder
	for _, id := range h.ids[:n] {
		s.WriteString(sendText(id, filepath.Base(path), string(payload(128))) + "\n")
	}
	return path, os.WriteFile(path, []byte(s.String()), 0o600)
}

// sends runs one closed loop in n conversations.
func (h *loadedHub) sends(n int, seconds float64) (load, error) {
	path, err := h.texts(n)
	if err != nil {
		return load{}, err
	}
	defer os.Remove(path)
	before := h.target.hub.written()
	got, client, err := h.loop(command{Op: "loop", N: n, Seconds: seconds, Texts: path, Sockets: min(h.sockets, n)}, messageMark)
	if err != nil {
		return load{}, fmt.Errorf("%w\n%s", err, h.target.hub.logTail())
	}
	return load{got, client, h.target.hub.written() - before}, nil
}

// directConversations connects senders with n conversations of their own in all: a sender for each, or so many as there
// are sockets.
func (b *bench) directConversations(h *hub, n, sockets int) (*loadedHub, error) {
	c, err := startChild("client", anyCPU)
	if err != nil {
		return nil, err
	}
	b.atEnd(c.close)
	l := &loadedHub{target: &target{name: "hub", server: h, hub: h, client: c}, sockets: sockets}
	// The other members: seen once, then away.
	const away = 1_000_000
	senders, first, sinks := n, 0, 1
	if sockets > 0 {
		senders, first, sinks = sockets, 2_000_000, (n+sockets-1)/sockets
	}
	if err := h.connect(c, "/ws/", away, sinks); err != nil {
		return nil, err
	}
	if _, err := c.call(command{Op: "close"}); err != nil {
		return nil, err
	}
	if err := h.connect(c, "/ws/", first, senders); err != nil {
		return nil, err
	}
	for i := range n {
		id, err := h.conversation(first+i%senders, away+i/senders)
		if err != nil {
			return nil, err
		}
		l.ids = append(l.ids, id)
	}
	return l, nil
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
