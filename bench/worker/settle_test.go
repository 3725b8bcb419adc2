package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/bench/scenario"
)

// What has not come when the time is up is told; what comes before that is waited for, and no longer.
func TestSettle(t *testing.T) {
	for name, c := range map[string]struct {
		under func(p *play) // what is under way when the load ends
		late  func(p *play) // two seconds later
		want  string
		took  time.Duration
	}{
		"nothing":          {want: "", took: 0},
		"quiet first":      {under: func(p *play) { p.gets(0, "msg c 6 m6 x"); p.gets(1, "msg c 6 m6 x") }, took: quiet},
		"in time":          {under: func(p *play) { p.sends(0) }, late: func(p *play) { p.answer() }, took: 2*time.Second + quiet},
		"an answer":        {under: func(p *play) { p.sends(0); p.sends(1) }, want: "2 sends unanswered", took: 10 * time.Second},
		"a delivery":       {under: func(p *play) { p.gets(0, "msg c 6 m6 x", "msg c 7 m7 y") }, want: "2 messages not seen", took: 10 * time.Second},
		"a connection":     {under: func(p *play) { p.w.Closed(1, errNotReady) }, want: "1 connections not back", took: 10 * time.Second},
		"a resume":         {under: func(p *play) { p.gets(1, "head c 9") }, want: "1 resumes unanswered", took: 10 * time.Second},
		"a request":        {under: func(p *play) { p.w.call("history", 0, 0, time.Now()) }, want: "1 requests over REST unanswered", took: 10 * time.Second},
		"answered, unseen": {under: func(p *play) { p.sends(0) }, late: func(p *play) { p.gets(0, "msg c 6 m6 "+p.w.pending[1].key) }, want: "1 messages not seen", took: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := begin(t)
				if c.under != nil {
					c.under(p)
				}
				start := time.Now()
				late := time.AfterFunc(2*time.Second, func() {
					if c.late != nil {
						p.h.mu.Lock()
						defer p.h.mu.Unlock()
						c.late(p)
					}
				})
				defer late.Stop()
				left, err := p.w.Settle(t.Context())
				if err != nil || left.String() != c.want {
					t.Errorf("%q, %v; want %q", left, err, c.want)
				}
				if took := time.Since(start); took < c.took || took > c.took+200*time.Millisecond {
					t.Errorf("it took %v, want %v", took, c.took)
				}
			})
		})
	}
}

// answer has both members see what was sent last.
func (p *play) answer() {
	k := p.w.pending[p.w.sends].key
	p.gets(0, "msg c 6 m6 "+k)
	p.gets(1, "msg c 6 m6 "+k)
}

// Messages that come to the end are no end. Targets without an order have no messages that are behind.
func TestSettleWhileMessagesArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := prepare(t, &unordered{})
		p.w.sc.Settle = scenario.Duration(time.Second)
		for i := range int32(2) {
			p.w.open(i)
			p.w.Opened(i)
			p.gets(i, "ready")
		}
		p.gets(0, "msg c 6 m6 x")
		ticks := time.NewTicker(100 * time.Millisecond)
		defer ticks.Stop()
		over := make(chan struct{})
		go func() {
			for {
				select {
				case <-ticks.C:
					p.h.Do(func() { p.gets(0, "msg c 7 m7 x") })
				case <-over:
					return
				}
			}
		}()
		left, err := p.w.Settle(t.Context())
		close(over)
		if err != nil || left != (Unsettled{Arriving: true}) || left.String() != "messages still arriving" {
			t.Errorf("%+v, %v", left, err)
		}
	})
}

func TestUnsettledOfAll(t *testing.T) {
	sum := Unsettled{Sends: 1, Arriving: true}.Plus(Unsettled{Sends: 2, Messages: 3, Connections: 4, Gaps: 5, Requests: 6})
	const want = "3 sends unanswered, 3 messages not seen, 4 connections not back, 5 resumes unanswered, 6 requests over REST unanswered, messages still arriving"
	if sum.String() != want {
		t.Errorf("%v", sum)
	}
}
