package main

import (
	"fmt"
	"time"
)

const (
	// presenceFlaps is how many members come and go in a minute.
	presenceFlaps = 1000
	// presenceContacts is how many of those the user who asks has as contacts.
	presenceContacts = 100
)

// measurePresence has members of one large group come and go, and counts what the others, who are connected, get to see
// of it, what it costs the hub, and what it costs to ask who of one's contacts is there.
func measurePresence(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.conns == 0 {
		o.conns = 10_000
	}
	if o.seconds == 0 {
		o.seconds = 15
	}
	moving := min(presenceFlaps, o.conns/2)
	watching := o.conns - moving
	r := &report{Title: fmt.Sprintf("a group of %d members of whom %d a minute disconnect and connect again", o.conns, presenceFlaps), Unit: "% of a processor"}
	t, err := b.startHubUsers(watching)
	if err != nil {
		return nil, err
	}
	movers, err := b.startClient()
	if err != nil {
		return nil, err
	}
	if err := t.hub.connect(movers, "/ws/", watching, moving); err != nil {
		return nil, err
	}
	others := make([]int, o.conns-1)
	for i := range others {
		others[i] = i + 1
	}
	if _, err := t.hub.conversation(0, others...); err != nil {
		return nil, err
	}
	asker, err := t.hub.token(0)
	if err != nil {
		return nil, err
	}
	for i := range min(presenceContacts, moving) {
		var out struct{}
		if err := t.hub.post(0, "/api/v1/messages/contacts/", map[string]int{"contact_id": userID(watching + i)}, &out); err != nil {
			return nil, err
		}
	}
	ask := func() error {
		var out struct{}
		return t.hub.get(asker, "/api/v1/messages/status/contact_statuses/", &out)
	}
	for round := -1; round < o.runs; round++ {
		if err := t.settled(); err != nil {
			return nil, err
		}
		still, _, err := t.flapping(movers, 0, o.seconds/3)
		if err != nil {
			return nil, err
		}
		used, frames, err := t.flapping(movers, presenceFlaps, o.seconds)
		if err != nil {
			return nil, err
		}
		var asked []float64
		askedCPU, err := t.clocked(func() (err error) {
			asked, err = timed(o.seconds/3, ask)
			return err
		})
		if err != nil {
			return nil, err
		}
		if round < 0 {
			continue
		}
		r.row("hub, nobody moves", "").add(still * 100)
		r.row("hub, "+fmt.Sprint(presenceFlaps)+" a minute", "").add(used * 100)
		r.other("hub, one disconnect and connect", "ms of CPU").add((used - still) / presenceFlaps * 60 * 1e3)
		seen := r.other(fmt.Sprintf("frames to all %d who watch", watching), "1/s")
		seen.Target = 1
		seen.add(frames)
		name := fmt.Sprintf("who of %d contacts is there, over REST", presenceContacts)
		sum := summarise(asked)
		r.other(name+", p50", "ms").add(sum.P50)
		r.other(name+", p99", "ms").add(sum.P99)
		r.other(name+", CPU of the hub", "ms").add(askedCPU / float64(len(asked)) * 1e3)
	}
	r.note("told to every member, this would be %d frames a second", 2*presenceFlaps*o.conns/60)
	r.note("a round lasts %.0f s; a disconnect resets the connection, and the user connects again with a token at once", o.seconds)
	return r, nil
}

func (r *report) other(name, unit string) *row {
	x := r.row(name, "")
	x.Unit = unit
	return x
}

// flapping has connections of movers closed and opened again, so many a minute, and answers the share of a processor that
// the hub took and how many frames a second came to all others.
func (t *target) flapping(movers *child, perMinute int, seconds float64) (cpu, frames float64, err error) {
	if _, err := t.client.call(command{Op: "reset"}); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	used, err := t.clocked(func() error {
		if perMinute == 0 {
			time.Sleep(time.Duration(seconds * float64(time.Second)))
			return nil
		}
		got, err := movers.call(command{Op: "flap", N: perMinute, Seconds: seconds})
		if err == nil && got.Failed > 0 {
			err = fmt.Errorf("%d of %d connections failed\n%s", got.Failed, got.N, t.hub.logTail())
		}
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	took := time.Since(start).Seconds()
	got, err := t.client.call(command{Op: "await", N: 0})
	return used / took, float64(got.N) / took, err
}
