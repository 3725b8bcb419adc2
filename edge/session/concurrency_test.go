package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/session"
)

// crowd is a Dispatcher that answers from other goroutines and a Transport that forgets.
type crowd struct {
	nowhere
	answers sync.WaitGroup
	mu      sync.Mutex
	live    map[chat.SessionID]bool
	bad     atomic.Int64
	entered atomic.Int64 // and have not exited
}

func (d *crowd) Submit(_ chat.Principal, _ chat.Origin, _ chat.Command, done func(chat.Result, error)) {
	d.answers.Go(func() {
		var err error
		if rand.N(10) == 0 {
			err = chat.ErrNotMember
		}
		done(chat.Result{}, err)
	})
}

func (d *crowd) Register(_ chat.UserKey, _ chat.ConversationID, s chat.SessionID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live[s] {
		d.bad.Add(1)
	}
	d.live[s] = true
}

func (d *crowd) Unregister(_ chat.UserKey, _ chat.ConversationID, s chat.SessionID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.live[s] {
		d.bad.Add(1)
	}
	delete(d.live, s)
}

// Enter is answered later, at once, or with an error.
func (d *crowd) Enter(_ chat.UserKey, done func(error)) bool {
	d.entered.Add(1)
	if rand.N(2) == 0 {
		return true
	}
	d.answers.Go(func() {
		var err error
		if rand.N(10) == 0 {
			err = chat.ErrUnavailable
		}
		done(err)
	})
	return false
}

func (d *crowd) Exit(chat.UserKey) { d.entered.Add(-1) }

func (d *crowd) Seen(_ context.Context, u chat.User) (chat.User, error) { return u, nil }

// TestConcurrentLives opens and closes many sessions from several goroutines, while answers and deliveries come
// from others: for the race detector, and nothing may be left behind.
func TestConcurrentLives(t *testing.T) {
	d := &crowd{live: map[chat.SessionID]bool{}}
	m := session.New(session.Config{Dispatcher: d, Verifier: &verifier{now: time.Now}, Users: d,
		Limiter: session.NewLimiter(session.LimiterConfig{Rate: -1})})
	defer m.Close()
	m.Bind(d)
	var loops sync.WaitGroup
	var next atomic.Uint64
	for range 4 {
		loops.Go(func() {
			for range 300 {
				path := []string{"/ws/", chatPath}[rand.N(2)]
				dec := m.Upgrade(request(path, fmt.Sprintf("%suser%d", []string{"", "late-"}[rand.N(2)], rand.N(5))))
				c := reactor.Conn{Handle: reactor.Handle(next.Add(1)<<32 | 1), Session: dec.Session}
				if rand.N(10) > 0 {
					m.Open(c)
					for range rand.N(5) {
						m.Message(c, true, []byte(`{"type":"typing","is_typing":true,"conversation_id":"`+conv.String()+`"}`))
					}
				}
				m.Closed(c, 1006, "")
			}
		})
	}
	stop := make(chan struct{})
	var deliverer sync.WaitGroup
	deliverer.Go(func() {
		for seq := uint64(1); ; seq++ {
			select {
			case <-stop:
				return
			default:
			}
			s := &chat.SessionSet{}
			d.mu.Lock()
			for id := range d.live {
				s.Sessions = append(s.Sessions, id)
			}
			d.mu.Unlock()
			m.Deliver(s, &chat.Delivery{Key: convKey, Detached: []chat.UserID{"user1"},
				Notices: []chat.Notice{{Event: event(seq, "user2", "x"), Origin: chat.Origin{Session: slices.Max(append(s.Sessions, 1)), Ref: "1"}}}})
			_ = m.Stats()
		}
	})
	loops.Wait()
	close(stop)
	deliverer.Wait()
	eventually(t, "no work left", func() bool { return m.Stats().WorkQueue == 0 })
	d.answers.Wait()
	if s := m.Stats(); s != (session.Stats{}) {
		t.Errorf("left behind: %+v", s)
	}
	if len(d.live) != 0 || d.bad.Load() != 0 || d.entered.Load() != 0 {
		t.Errorf("directory: %d left, %d wrong, %d have not exited", len(d.live), d.bad.Load(), d.entered.Load())
	}
}

// recorder is an Observer that writes down what it sees.
type recorder struct{ seen []string }

func (r *recorder) note(format string, a ...any) { r.seen = append(r.seen, fmt.Sprintf(format, a...)) }

func (r *recorder) Opened(single bool, _ time.Duration) { r.note("opened %v", single) }
func (r *recorder) Refused(code uint16)                 { r.note("refused %d", code) }
func (r *recorder) Closed(code uint16)                  { r.note("closed %d", code) }
func (r *recorder) FrameIn(t frame.Type)                { r.note("in %v", t) }
func (r *recorder) Delivered(name string, n int)        { r.note("delivered %s %d", name, n) }
func (r *recorder) AcceptedToEdge(time.Duration)        { r.note("accepted") }
func (r *recorder) Resumed(outcome string, n int)       { r.note("resume %s %d", outcome, n) }
func (r *recorder) Command(t frame.Type, c frame.Code, _ time.Duration) {
	r.note("command %v %q", t, string(c))
}

func TestObserver(t *testing.T) {
	r := &recorder{}
	b := newBed(t, func(c *session.Config, _ *hub) { c.Observer = r })
	expect := func(what string) {
		t.Helper()
		if got := strings.Join(r.seen, ", "); got != what {
			t.Errorf("got %s, want %s", got, what)
		}
		r.seen = nil
	}
	b.m.Upgrade(request("/elsewhere", "alice"))
	expect("refused 404")
	b.close(b.dial("/ws/", "forged"))
	expect("refused 4001")
	c := b.dial(chatPath, "alice")
	expect("opened true")
	b.send(c, `{"type":"leave"}`)
	b.send(c, `{"type":"send_message"}`)
	b.send(c, `x`)
	expect(`in leave, command leave "", in send_message, command send_message "empty_message", in unknown, command unknown "invalid_json"`)
	b.send(c, `{"type":"resume","last_seq":1}`)
	expect(`in resume, resume error 0, command resume "internal"`) // the fake has no view
	b.deliver(&chat.Delivery{Key: convKey, AcceptedAt: at, Notices: []chat.Notice{{Event: event(1, "bob", "x")}}}, c)
	expect("delivered message 1, accepted")
	b.close(c)
	expect("closed 1006")
}
