package main

import (
	"fmt"
	"time"
)

// readMark is in the frames that say who, or how many, have read: read and read_count.
const readMark = `"type":"read`

// receiptsQuiet is the silence after which all has come: readers are gathered for a second.
const receiptsQuiet = 2500 * time.Millisecond

// measureReceipts has all members of a group read one message at once, and counts the frames that tell of it: with
// readers named to all, which only a small group can bear, and counted once a second.
func measureReceipts(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.conns == 0 {
		o.conns = 10_000
	}
	small := max(o.conns/10, 3)
	r := &report{Title: fmt.Sprintf("all of a group of %d, or %d, read one message at once", o.conns, small), Unit: "frames to each member"}
	for _, c := range []struct {
		name    string
		members int
		told    int // frames that each member gets at least, its own read aside
		flags   []string
	}{
		{fmt.Sprintf("readers named to %d", small), small, small - 2, []string{"--named-readers", "1000000"}},
		{fmt.Sprintf("readers counted for %d", small), small, 1, []string{"--named-readers", "2"}},
		{fmt.Sprintf("readers counted for %d", o.conns), o.conns, 1, nil},
	} {
		if !b.wants(c.name) {
			continue
		}
		if err := b.readAtOnce(r, c.name, c.members, int64(c.members-1)+int64(c.members)*int64(c.told), o.runs, c.flags); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		b.endServers()
	}
	r.note("each member's own read is among the frames; a step ends when nothing came for %v", receiptsQuiet)
	return r, nil
}

// readAtOnce fails if fewer frames come than least.
func (b *bench) readAtOnce(r *report, name string, members int, least int64, runs int, flags []string) error {
	t, err := b.startHubUsers(members, flags...)
	if err != nil {
		return err
	}
	others := make([]int, members-1)
	for i := range others {
		others[i] = i + 1
	}
	id, err := t.hub.conversation(0, others...)
	if err != nil {
		return err
	}
	for round := -1; round < runs; round++ {
		var sent struct {
			ID string `json:"id"`
		}
		if err := t.hub.post(0, "/api/v1/messages/messages/", map[string]string{"conversation_id": id, "content": "read me"}, &sent); err != nil {
			return err
		}
		if err := t.settled(); err != nil {
			return err
		}
		if _, err := t.client.call(command{Op: "reset", Match: readMark}); err != nil {
			return err
		}
		start, last := time.Now(), time.Time{}
		var n int64
		used, err := t.clocked(func() error {
			text := fmt.Sprintf(`{"type":"read","conversation_id":%q,"message_id":%q}`, id, sent.ID)
			if _, err := t.client.call(command{Op: "flood", Rounds: 1, Text: text}); err != nil {
				return err
			}
			for last = time.Now(); time.Since(last) < receiptsQuiet; {
				time.Sleep(100 * time.Millisecond)
				got, err := t.client.call(command{Op: "await", N: 0})
				if err != nil {
					return err
				}
				if got.N != n {
					n, last = got.N, time.Now()
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n < least { // some were refused: what is left would look cheap
			return fmt.Errorf("%d frames for %d readers instead of %d\n%s", n, members-1, least, t.hub.logTail())
		}
		if round < 0 {
			continue
		}
		r.row(name, "").add(float64(n) / float64(members))
		r.other(name+", CPU of the hub", "ms").add(used * 1e3)
		r.other(name+", until the last frame", "s").add(last.Sub(start).Seconds())
	}
	return nil
}
