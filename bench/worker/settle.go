package worker

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// quiet is how long nothing may have arrived for the run to be over.
const quiet = time.Second

// Unsettled is what was still under way when the time to settle was up. The zero value: nothing.
type Unsettled struct {
	Sends       int   `json:"sends,omitempty"`       // without an answer
	Messages    int64 `json:"messages,omitempty"`    // that another client had seen, counted for each connection that had not
	Connections int   `json:"connections,omitempty"` // that were not back
	Gaps        int   `json:"gaps,omitempty"`        // conversations of connections that had asked for what they missed
	Requests    int   `json:"requests,omitempty"`    // over REST
	Arriving    bool  `json:"arriving,omitempty"`    // messages came to the end
}

// Plus is what was under way at two workers.
func (u Unsettled) Plus(v Unsettled) Unsettled {
	return Unsettled{u.Sends + v.Sends, u.Messages + v.Messages, u.Connections + v.Connections, u.Gaps + v.Gaps, u.Requests + v.Requests, u.Arriving || v.Arriving}
}

// String is empty when nothing was under way.
func (u Unsettled) String() string {
	var parts []string
	say := func(n int64, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprint(n, " ", what))
		}
	}
	say(int64(u.Sends), "sends unanswered")
	say(u.Messages, "messages not seen")
	say(int64(u.Connections), "connections not back")
	say(int64(u.Gaps), "resumes unanswered")
	say(int64(u.Requests), "requests over REST unanswered")
	if u.Arriving {
		parts = append(parts, "messages still arriving")
	}
	return strings.Join(parts, ", ")
}

// Settle ends the load and waits until what is under way has come, at most as long as the scenario says, and returns what has not. Slow
// readers become quick ones: they have to see what the others saw.
func (w *Worker) Settle(ctx context.Context) (left Unsettled, err error) {
	if err := w.on(ctx, func() {
		w.over = true
		for i := range w.conns {
			if c := &w.conns[i]; c.slow {
				c.slow = false
				w.loop.SlowDown(int32(i), 0)
			}
		}
	}); err != nil {
		return left, err
	}
	// Who waits for less than two times quiet wants to know sooner.
	patience := time.Duration(w.sc.Settle)
	still := min(quiet, patience/2)
	settled, err := w.until(ctx, patience, func() bool {
		return w.underWay(still) == Unsettled{} && w.unseen() == 0 // to look at all connections takes longest
	})
	if err != nil || settled {
		return left, err
	}
	err = w.on(ctx, func() {
		left = w.underWay(still)
		left.Messages = w.unseen()
	})
	return left, err
}

// underWay is what is awaited, but for messages.
func (w *Worker) underWay(still time.Duration) Unsettled {
	u := Unsettled{Sends: len(w.pending), Connections: len(w.conns) - w.ready - w.failed, Requests: w.waiting, Arriving: time.Since(w.touched) <= still}
	for i := range w.conns {
		for _, a := range w.conns[i].asked {
			if a.done.IsZero() {
				u.Gaps++
			}
		}
	}
	return u
}

// unseen counts what some connection here has of a conversation and others have not.
func (w *Worker) unseen() (n int64) {
	if w.unordered {
		return 0
	}
	newest := make([]uint64, len(w.convs))
	each := func(f func(ci int32, seq uint64)) {
		for i := range w.conns {
			c := &w.conns[i]
			for j, ci := range c.convs {
				if c.obs != nil {
					f(ci, c.obs.Last(w.convs[ci].id))
				} else {
					f(ci, c.seqs[j])
				}
			}
		}
	}
	each(func(ci int32, seq uint64) { newest[ci] = max(newest[ci], seq) })
	each(func(ci int32, seq uint64) { n += int64(newest[ci] - seq) })
	return n
}
