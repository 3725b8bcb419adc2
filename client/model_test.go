package client_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/client"
)

// faultyHub is a small hub that does everything wrong that a network and a crashing server can do: it drops
// connections before and after a commit, loses deliveries, refuses for a moment and forgets how to replay.
type faultyHub struct {
	t *testing.T

	mu     sync.Mutex
	rnd    *rand.Rand
	faults bool
	logs   map[string][]frame
	seqs   map[string]uint64 // client id -> seq
	conns  map[*conn]string  // -> user
	drops  int
}

func (h *faultyHub) roll(percent int) bool { return h.faults && h.rnd.IntN(100) < percent }

func (h *faultyHub) event(conversation string, seq uint64, ref string) string {
	f := h.logs[conversation][seq-1]
	return fmt.Sprintf(`{"type":"message","id":"%s-%d","sender_id":%q,"content":%q,"conversation_id":%q,"seq":%d,"client_id":%q,"ref":%q}`,
		conversation, seq, f.Emoji, f.Content, conversation, seq, f.ClientID, ref)
}

func (h *faultyHub) serve(user string, c *conn) {
	h.mu.Lock()
	h.conns[c] = user
	c.send(`{"type":"status"}`)
	h.mu.Unlock()
	for {
		select {
		case b := <-c.toServer:
			var f frame
			_ = json.Unmarshal(b, &f)
			h.mu.Lock()
			h.handle(user, c, f)
			h.mu.Unlock()
		case <-c.closed:
			h.mu.Lock()
			delete(h.conns, c)
			h.mu.Unlock()
			return
		}
	}
}

func (h *faultyHub) drop(c *conn) {
	h.drops++
	delete(h.conns, c)
	c.drop([]int{1001, 1006, 1011, 1013, 4008}[h.rnd.IntN(5)])
}

func (h *faultyHub) handle(user string, c *conn, f frame) {
	if _, ok := h.conns[c]; !ok {
		return
	}
	switch f.Type {
	case "ping":
		c.send(`{"type":"pong"}`)
	case "resume":
		if f.Conversations != nil {
			for _, p := range f.Conversations {
				h.handle(user, c, frame{Type: "resume", Ref: f.Ref, Conversation: p.ID, LastSeq: p.LastSeq})
			}
			return
		}
		log := h.logs[f.Conversation]
		head := uint64(len(log))
		switch {
		case h.roll(10):
			c.send(`{"type":"error","code":"unavailable","message":"later","conversation_id":%q,"ref":%q}`, f.Conversation, f.Ref)
			return
		case head-f.LastSeq > 12:
			c.send(`{"type":"gap","conversation_id":%q,"head_seq":%d,"ref":%q}`, f.Conversation, head, f.Ref)
			return
		}
		for seq := f.LastSeq + 1; seq <= head; seq++ {
			if h.roll(5) {
				h.drop(c)
				return
			}
			c.send("%s", h.event(f.Conversation, seq, ""))
		}
		c.send(`{"type":"resumed","conversation_id":%q,"head_seq":%d,"ref":%q}`, f.Conversation, head, f.Ref)
	case "send_message":
		switch {
		case h.roll(5):
			h.drop(c)
			return
		case h.roll(5):
			c.send(`{"type":"error","code":"overloaded","message":"later","retry_after_ms":40,"ref":%q}`, f.Ref)
			return
		}
		seq, again := h.seqs[f.ClientID]
		if !again {
			f.Emoji = user // the sender
			h.logs[f.Conversation] = append(h.logs[f.Conversation], f)
			seq = uint64(len(h.logs[f.Conversation]))
			h.seqs[f.ClientID] = seq
		}
		if h.roll(5) {
			h.drop(c)
		} else {
			c.send("%s", h.event(f.Conversation, seq, f.Ref))
		}
		for other := range h.conns {
			if !again && other != c && !h.roll(10) {
				other.send("%s", h.event(f.Conversation, seq, ""))
			}
		}
	}
}

func (h *faultyHub) get(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.roll(20) {
		return answer(503, "later")
	}
	conversation := r.URL.Query().Get("conversation")
	from := len(h.logs[conversation])
	if b := r.URL.Query().Get("before"); b != "" {
		_, _ = fmt.Sscanf(strings.TrimPrefix(b, conversation), "-%d", &from)
		from--
	}
	rows := []string{}
	for n := from; n > 0 && len(rows) < 20; n-- {
		f := h.logs[conversation][n-1]
		rows = append(rows, fmt.Sprintf(`{"id":"%s-%d","conversation":%q,"seq":%d,"sender":{"id":%q},"content":%q}`,
			conversation, n, conversation, n, f.Emoji, f.Content))
	}
	next := "null"
	if from > 20 {
		next = `"x"`
	}
	return answer(200, fmt.Sprintf(`{"next":%s,"results":[%s]}`, next, strings.Join(rows, ",")))
}

// Whatever breaks, a run of several clients has no violation, and every send is acknowledged in the end.
func TestFaultyServerCostsNothing(t *testing.T) {
	conversations := []string{"c", "d"}
	drops := 0
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")

		queue := rapid.SampledFrom([]int{4, 64}).Draw(rt, "queue")
		var rep *check.Report
		synctest.Test(t, func(t *testing.T) {
			h := &faultyHub{
				t: t, rnd: rand.New(rand.NewPCG(seed, 1)), faults: true,
				logs: map[string][]frame{}, seqs: map[string]uint64{}, conns: map[*conn]string{},
			}
			checker, err := check.New(check.Config{})
			if err != nil {
				t.Error(err)
				return
			}
			var sends, serving sync.WaitGroup
			var closing []func()
			for i := range 3 {
				user := fmt.Sprint("u", i)
				s := newServer(t)
				serving.Go(func() {
					for c := range s.dials {
						serving.Go(func() { h.serve(user, c) })
					}
				})
				obs := checker.Observer(user, user)
				cfg := config(s)
				cfg.QueueLimit = queue
				cfg.HTTPClient = &http.Client{Transport: roundTrip(h.get)}
				cfg.Handler = func(e client.Event) {
					time.Sleep(time.Duration(i) * 5 * time.Millisecond) // some handlers are slow
					switch e := e.(type) {
					case *client.MessageEvent:
						obs.Saw(e.Conversation, check.Entry{Seq: e.Seq, ID: e.ID, Key: e.Content})
					case *client.GapEvent:
						var ms []check.Entry
						for _, m := range e.Messages {
							ms = append(ms, check.Entry{Seq: m.Seq, ID: m.ID, Key: m.Content})
						}
						obs.Gap(e.Conversation, e.To, ms)
					}
				}
				c := start(t, cfg).Client
				closing = append(closing, func() { _ = c.Close(); close(s.dials) })
				for _, cv := range conversations {
					obs.Follow(cv, 0)
					c.Follow(cv, 0)
					sends.Go(func() {
						for n := range 25 {
							key := fmt.Sprintf("%s-%s-%d", user, cv, n)
							checker.Sent(check.Send{Conversation: cv, Sender: user, Key: key})
							m, err := c.Send(t.Context(), cv, key)
							if err != nil {
								t.Errorf("send %s: %v", key, err)
								return
							}
							checker.Acked(cv, key, m.ID, m.Seq)
							time.Sleep(time.Duration(n%7) * 10 * time.Millisecond)
						}
					})
				}
			}
			sends.Wait()
			h.mu.Lock()
			h.faults = false
			for c := range h.conns {
				h.drop(c) // what was lost at the end of a log shows only after a resume
			}
			drops += h.drops
			h.mu.Unlock()
			time.Sleep(5 * time.Minute)
			for _, cv := range conversations {
				var final []check.Entry
				for i, f := range h.logs[cv] {
					final = append(final, check.Entry{Seq: uint64(i) + 1, ID: fmt.Sprintf("%s-%d", cv, i+1), Key: f.Content})
				}
				checker.Final("the model", cv, final)
			}
			if rep, err = checker.Check(); err != nil {
				t.Error(err)
			}
			for _, f := range closing {
				f()
			}
			serving.Wait()
		})
		if !rep.OK() {
			rt.Fatalf("%v", rep)
		}
	})
	if drops == 0 {
		t.Fatal("no connection was ever dropped: the test tested nothing")
	}
}
