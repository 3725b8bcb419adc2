package client_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/zumodra/hub/client"
)

// online is a client that follows conversation c from seq 10 and is caught up.
func online(t *testing.T, change func(*client.Config)) (*server, *running, *conn) {
	t.Helper()
	s := newServer(t)
	cfg := config(s)
	if change != nil {
		change(&cfg)
	}
	r := start(t, cfg)
	r.Follow("c", 10)
	c := s.greet()
	f := c.expect("resume")
	r.wantState(client.StateResuming)
	c.send(`{"type":"resumed","conversation_id":"c","head_seq":10,"ref":%q}`, f.Ref)
	r.wantState(client.StateOnline)
	return s, r, c
}

func TestResumeDeliversWhatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, c := online(t, nil)
		c.message("c", 11)
		r.wantLog("11")
		c.drop(1012)
		c = s.greet()
		f := c.expect("resume")
		if f.LastSeq != 11 || f.Conversation != "c" {
			t.Fatalf("%+v", f)
		}
		c.message("c", 12)
		c.send(`{"type":"participants_changed","change":"added","conversation_id":"c","seq":13}`)
		c.message("c", 15) // live, before the replay is over
		c.send(`{"type":"message_edited","conversation_id":"c","seq":14,"message_id":"m12","content":"new"}`)
		c.send(`{"type":"resumed","conversation_id":"c","head_seq":14,"ref":%q}`, f.Ref)
		c.message("c", 16)
		r.wantLog("11", "12", "13", "14", "15", "16")
		r.wantState(client.StateOnline)
		if e := eventsOf[*client.EditedEvent](r)[0]; e.Content != "new" || e.MessageID != "m12" {
			t.Fatalf("%+v", e)
		}
	})
}

func TestHoleIsRepairedAndDuplicatesAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, c := online(t, nil)
		c.message("c", 11)
		c.message("c", 13)
		c.message("c", 14)
		c.message("c", 13)
		f := c.expect("resume")
		if f.LastSeq != 11 {
			t.Fatalf("%+v", f)
		}
		r.wantLog("11")
		c.message("c", 12)
		c.message("c", 13)
		c.send(`{"type":"resumed","conversation_id":"c","head_seq":14,"ref":%q}`, f.Ref)
		c.message("c", 14)
		c.message("c", 15)
		r.wantLog("11", "12", "13", "14", "15")
		c.quiet()
	})
}

// A head notice says that the log reaches further than what came: the client asks for it.
func TestHeadNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, c := online(t, nil)
		c.send(`{"type":"head","conversation_id":"c","head_seq":10}`)
		c.send(`{"type":"head","conversation_id":"c","head_seq":12}`)
		c.send(`{"type":"head","conversation_id":"c","head_seq":12}`)
		f := c.expect("resume")
		if f.LastSeq != 10 || f.Conversation != "c" {
			t.Fatalf("%+v", f)
		}
		c.message("c", 11)
		c.message("c", 12)
		c.send(`{"type":"resumed","conversation_id":"c","head_seq":12,"ref":%q}`, f.Ref)
		c.send(`{"type":"head","conversation_id":"c","head_seq":12}`)
		r.wantLog("11", "12")
		c.quiet()

		// Of a conversation that the client never heard of it asks for what it knows of.
		c.send(`{"type":"head","conversation_id":"d","head_seq":3}`)
		if f = c.expect("resume"); f.LastSeq != 2 || f.Conversation != "d" {
			t.Fatalf("%+v", f)
		}
		c.message("d", 3)
		c.send(`{"type":"resumed","conversation_id":"d","head_seq":3,"ref":%q}`, f.Ref)
		r.wantLog("11", "12", "3")
		c.quiet()
	})
}

// More is missing than is held back: the client asks again until it has everything.
func TestHoleLargerThanTheBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, c := online(t, nil)
		want := []string{}
		for seq := uint64(12); seq <= 1000; seq++ {
			c.message("c", seq)
		}
		f := c.expect("resume")
		c.message("c", 11)
		c.send(`{"type":"resumed","conversation_id":"c","head_seq":11,"ref":%q}`, f.Ref)
		f = c.expect("resume")
		for seq := f.LastSeq + 1; seq <= 1000; seq++ {
			c.message("c", seq)
		}
		c.send(`{"type":"resumed","conversation_id":"c","head_seq":1000,"ref":%q}`, f.Ref)
		for seq := 11; seq <= 1000; seq++ {
			want = append(want, fmt.Sprint(seq))
		}
		r.wantLog(want...)
	})
}

func TestConversationsMetLive(t *testing.T) {
	for _, fromStart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			cfg := config(s)
			cfg.FromStart = fromStart
			r := start(t, cfg)
			c := s.greet()
			r.wantState(client.StateOnline)
			c.message("d", 3)
			if !fromStart {
				r.wantLog("3")
				c.drop(1001)
				if f := s.greet().expect("resume"); f.LastSeq != 3 || f.Conversation != "d" {
					t.Fatalf("%+v", f)
				}
				return
			}
			f := c.expect("resume")
			if f.LastSeq != 0 {
				t.Fatalf("%+v", f)
			}
			c.message("d", 1)
			c.message("d", 2)
			c.message("d", 3)
			c.send(`{"type":"resumed","conversation_id":"d","head_seq":3,"ref":%q}`, f.Ref)
			r.wantLog("1", "2", "3")
		})
	}
}

// historyOf answers the REST history of messages 1 to head, 20 on a page.
func historyOf(head int, fail *atomic.Int32) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path != "/api/v1/messages/messages/" || r.Header.Get("Authorization") != "Bearer t" {
			return answer(400, "unexpected "+r.URL.String())
		}
		if fail != nil && fail.Add(-1) >= 0 {
			return answer(503, `{"detail":"later"}`)
		}
		from := head
		if b := r.URL.Query().Get("before"); b != "" {
			_, _ = fmt.Sscanf(b, "m%d", &from)
			from--
		}
		rows := []string{}
		for n := from; n > 0 && len(rows) < 20; n-- {
			rows = append(rows, fmt.Sprintf(`{"id":"m%d","conversation":"c","seq":%d,"sender":{"id":1,"full_name":"Bob"},"content":"text"}`, n, n))
		}
		next := "null"
		if from > 20 {
			next = `"http://hub.test/next"`
		}
		return answer(200, fmt.Sprintf(`{"count":%d,"next":%s,"previous":null,"results":[%s]}`, head, next, strings.Join(rows, ",")))
	})}
}

func TestGapIsFilledFromHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail atomic.Int32
		fail.Store(1)
		s, r, c := online(t, func(cfg *client.Config) { cfg.HTTPClient = historyOf(95, &fail) })
		c.drop(4008)
		c = s.greet()
		c.send(`{"type":"gap","conversation_id":"c","head_seq":90,"ref":%q}`, c.expect("resume").Ref)
		c.message("c", 91)
		// The first reading fails: the client asks again.
		c.send(`{"type":"gap","conversation_id":"c","head_seq":90,"ref":%q}`, c.expect("resume").Ref)
		r.wantLog("gap 11-90", "91")
		g := eventsOf[*client.GapEvent](r)[0]
		if len(g.Messages) != 80 || g.Messages[0].Seq != 11 || g.Messages[79].Seq != 90 || g.Truncated || g.Reset {
			t.Fatalf("%d messages, truncated %v, reset %v", len(g.Messages), g.Truncated, g.Reset)
		}
		if g.Messages[0].Sender != "Bob" || g.Messages[0].SenderID != "1" {
			t.Fatalf("%+v", g.Messages[0])
		}
		c.message("c", 92)
		r.wantLog("gap 11-90", "91", "92")
	})
}

func TestGapIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, c := online(t, func(cfg *client.Config) { cfg.HTTPClient = historyOf(90, nil); cfg.HistoryLimit = 30 })
		c.drop(4008)
		c = s.greet()
		c.send(`{"type":"gap","conversation_id":"c","head_seq":90,"ref":%q}`, c.expect("resume").Ref)
		synctest.Wait()
		if g := eventsOf[*client.GapEvent](r)[0]; len(g.Messages) != 30 || g.Messages[0].Seq != 61 || !g.Truncated {
			t.Fatalf("%d messages from %d, truncated %v", len(g.Messages), g.Messages[0].Seq, g.Truncated)
		}
	})
}

func TestShorterLogIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, c := online(t, nil)
		c.drop(1006)
		c = s.greet()
		c.send(`{"type":"gap","conversation_id":"c","head_seq":7,"ref":%q}`, c.expect("resume").Ref)
		c.message("c", 8)
		r.wantLog("gap 11-7", "8")
		if g := eventsOf[*client.GapEvent](r)[0]; !g.Reset {
			t.Fatalf("%+v", g)
		}
	})
}

// A server that says "resumed" and never sends what it announced does not hold the client for ever.
func TestResumeWithoutProgressReadsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, c := online(t, func(cfg *client.Config) { cfg.HTTPClient = historyOf(20, nil) })
		c.message("c", 20)
		for range 4 {
			c.send(`{"type":"resumed","conversation_id":"c","head_seq":20,"ref":%q}`, c.expect("resume").Ref)
		}
		c.quiet()
		r.wantLog("gap 11-20")
	})
}

func TestConversationThatIsGoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := client.NewMemoryStore()
		s, r, c := online(t, func(cfg *client.Config) { cfg.Store = store })
		c.message("c", 11)
		c.drop(1006)
		c = s.greet()
		c.send(`{"type":"error","code":"unavailable","message":"later","retry_after_ms":300,"ref":%q}`, c.expect("resume").Ref)
		c.send(`{"type":"error","code":"not_found","message":"Conversation not found.","ref":%q}`, c.expect("resume").Ref)
		r.wantState(client.StateOnline)
		if got := eventsOf[*client.LostEvent](r); len(got) != 1 || got[0].Conversation != "c" {
			t.Fatalf("%+v", got)
		}
		if snap, _ := store.Load(); len(snap.Positions) != 0 {
			t.Fatalf("%+v", snap)
		}
		c.drop(1006)
		c = s.greet()
		c.quiet()
	})
}

// The handler is stuck: acknowledgements still come, memory is bounded, and afterwards nothing is missing.
func TestSlowHandlerFallsBehindAndCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		_, r, c := online(t, func(cfg *client.Config) {
			cfg.QueueLimit = 8
			cfg.Handler = func(e client.Event) {
				if m, ok := e.(*client.MessageEvent); ok && m.Seq == 11 {
					<-release
				}
			}
		})
		for seq := uint64(11); seq <= 40; seq++ {
			c.message("c", seq)
		}
		o := r.send("c", "x")
		c.ack(c.expect("send_message"), 41)
		if _, err := settled(t, o); err != nil {
			t.Fatal(err)
		}
		c.quiet()
		close(release)
		for {
			f := c.expect("resume")
			for seq := f.LastSeq + 1; seq <= 41; seq++ {
				c.message("c", seq)
			}
			c.send(`{"type":"resumed","conversation_id":"c","head_seq":41,"ref":%q}`, f.Ref)
			synctest.Wait()
			if at, _ := r.Position("c"); at == 41 {
				break
			}
		}
		want := []string{}
		for seq := 11; seq <= 41; seq++ {
			want = append(want, fmt.Sprint(seq))
		}
		r.wantLog(want...)
	})
}

// A user of many conversations resumes them in batches, a few at a time, and bears being told to wait.
func TestManyConversationsResumeInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		for i := range 200 {
			r.Follow(fmt.Sprint("c", i), 5)
		}
		c := s.greet()
		requests, done := 0, map[string]bool{}
		for len(done) < 199 {
			f := c.expect("resume")
			requests++
			if len(f.Conversations) > 32 {
				t.Fatalf("%d conversations at once", len(f.Conversations))
			}
			if requests == 2 {
				c.send(`{"type":"error","code":"rate_limited","message":"slow down","retry_after_ms":100,"ref":%q}`, f.Ref)
				continue
			}
			if len(f.Conversations) == 0 { // it is followed while the client dials, and may be the only one yet
				f.Conversations = append(f.Conversations, struct {
					ID      string `json:"conversation_id"`
					LastSeq uint64 `json:"last_seq"`
				}{f.Conversation, f.LastSeq})
			}
			for _, p := range f.Conversations {
				switch {
				case p.LastSeq != 5 || done[p.ID]:
					t.Fatalf("%+v", p)
				case p.ID == "c77":
					c.send(`{"type":"error","code":"gone","message":"gone","conversation_id":%q,"ref":%q}`, p.ID, f.Ref)
				default:
					done[p.ID] = true
					c.send(`{"type":"resumed","conversation_id":%q,"head_seq":5,"ref":%q}`, p.ID, f.Ref)
				}
			}
		}
		if requests > 30 {
			t.Fatalf("%d requests", requests)
		}
		r.wantState(client.StateOnline)
		if got := eventsOf[*client.LostEvent](r); len(got) != 1 {
			t.Fatalf("%d lost", len(got))
		}
		c.expect("ping") // nothing else is under way
	})
}

func TestFramesThatAreNotUnderstoodDoNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, c := online(t, nil)
		for _, f := range []string{
			``, `[]`, `null`, `{}`, `{"type":7}`, `"x"`, `{"type":"message"}`, `{"type":"message","seq":"11","conversation_id":"c"}`,
			`{"type":"resumed","conversation_id":"c","head_seq":99}`, `{"type":"gap","conversation_id":"x","head_seq":99}`,
			`{"type":"error","message":"Empty message"}`, `{"type":"poll","conversation_id":"c","seq":99}`,
		} {
			c.send("%s", f)
		}
		c.message("c", 11)
		c.send(`{"type":"poll_opened","conversation_id":"c","seq":12}`) // of a log, of a type from the future
		c.message("c", 13)
		r.wantLog("11", "12", "13")
		if got := eventsOf[*client.ErrorEvent](r); len(got) != 1 || got[0].Err.Message != "Empty message" {
			t.Fatalf("%+v", got)
		}
		c.quiet()
	})
}
