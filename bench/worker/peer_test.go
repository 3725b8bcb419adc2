package worker

import (
	"errors"
	"slices"
	"testing"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/target"
)

// subscribing is a target whose clients subscribe, and answer pings.
type subscribing struct{ words }

func (*subscribing) Subscribes() {}
func (*subscribing) Answer(dst []byte, e *target.Event) []byte {
	if e.Kind == target.Pinged {
		return append(dst, "pong"...)
	}
	return dst
}

// A connection is of use once it has subscribed to all its conversations, the first time and each time that it comes back.
func TestSubscribingComesBeforeUse(t *testing.T) {
	p := prepare(t, &subscribing{})
	p.w.open(0)
	p.w.Opened(0)
	p.gets(0, "ready")
	p.want("0 open 0 0", "0 resume c@5")
	if p.w.ready != 0 {
		t.Fatal("it is ready before it has subscribed")
	}
	p.w.Closed(0, errors.New("gone")) // in between: everything again
	p.h.fire()
	p.w.Opened(0)
	p.gets(0, "ready", "ready")
	p.want("0 open 0 1", "0 resume c@5")
	p.gets(0, "refused c 0 x other 106")
	p.h.fire()
	p.want("0 resume c@5")
	p.gets(0, "resumed c")
	if p.w.ready != 1 {
		t.Fatal("it is not ready")
	}
	if part := p.w.rec.Cut(0, 1); part.Counts[measure.CountResumed] != 0 || part.Counts[measure.CountOpened] != 1 {
		t.Errorf("%v", part.Counts)
	}
	k := p.sends(0)
	p.gets(0, "msg c 6 m6 "+k, "pinged")
	p.want("0 send c "+k, "0 pong")
	p.w.lose(0)
	p.w.Opened(0)
	p.gets(0, "ready")
	p.want("0 drop", "0 open 0 0", "0 resume c@6")
	p.gets(0, "gap c 9")
	p.want("0 resume c@9")
	p.gets(0, "resumed c")
	if part := p.w.rec.Cut(0, 1); part.Counts[measure.CountGaps] != 1 {
		t.Errorf("%v", part.Counts)
	}
	if n := p.w.Violations(); n != 0 {
		t.Errorf("%d violations", n)
	}
}

// unordered is a target that delivers as it comes, acknowledges by frames of its own, and has no resume.
type unordered struct{ words }

func (*unordered) Unordered()                                    {}
func (*unordered) Resume(dst []byte, _ []target.Position) []byte { return dst }

// What comes in any order is counted and asked for no more; the log decides.
func TestUnorderedTargets(t *testing.T) {
	p := prepare(t, &unordered{})
	for i := range int32(2) {
		p.w.open(i)
		p.w.Opened(i)
		p.gets(i, "ready")
	}
	p.h.said()
	a, b := p.sends(0), p.sends(0)
	p.h.said()
	p.gets(1, "msg c 7 m7 "+b, "msg c 6 m6 "+a)
	p.gets(0, "ack c 6 m6 "+a, "ack c 7 m7 "+b)
	p.want()
	if len(p.w.pending) != 0 {
		t.Error("still waiting")
	}
	part := p.w.rec.Cut(0, 2)
	if part.Counts[measure.CountAcked] != 2 || part.Counts[measure.CountDelivered] != 2 || part.Counts["holes"] != 0 {
		t.Errorf("%v", part.Counts)
	}
	list := []check.Entry{{Seq: 6, ID: "m6", Key: a}, {Seq: 7, ID: "m7", Key: b}}
	p.w.chk.Final("u0", "c", list)
	if r := p.report(); !r.OK() {
		t.Error(r)
	}

	// What the log lacks is found nevertheless.
	p = prepare(t, &unordered{})
	p.w.open(0)
	p.w.Opened(0)
	p.gets(0, "ready")
	k := p.sends(0)
	p.gets(0, "ack c 6 m6 "+k)
	p.w.chk.Final("u0", "c", nil)
	if p.report().OK() {
		t.Error("a message that was acknowledged and is not there passes")
	}
}

// A connection that comes back repeats in the order in which it sent.
func TestRepeatsKeepTheirOrder(t *testing.T) {
	p := begin(t)
	var want []string
	for range 30 {
		want = append(want, "0 send c "+p.sends(0))
	}
	p.want(want...)
	p.w.lose(0)
	p.w.Opened(0)
	p.gets(0, "ready", "resumed c")
	p.want(slices.Concat([]string{"0 drop", "0 open 0 0", "0 resume c@5"}, want)...)
}
