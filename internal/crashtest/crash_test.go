package crashtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/client"
)

const (
	users = 8
	// pause between the sends of one user in one conversation: a load that leaves the machine room to recover.
	pause = 20 * time.Millisecond
	// patience is how long anything may take before the run is declared stuck.
	patience = 2 * time.Minute
)

// member is one user of the run.
type member struct {
	name  string
	c     *client.Client
	obs   *check.Observer
	convs []string
	done  chan error // of Run
}

// run is everything that the test has going.
type run struct {
	t       *testing.T
	s       *server
	check   *check.Checker
	members []*member
	convs   map[string][]int // conversation -> its members

	token string // of the first member

	storeMayFail bool // reactions, which the client does not repeat by itself, may be refused for now

	acks, refused, gaps atomic.Int64
	ackTimes            times
	heads               sync.Map // conversation -> *atomic.Uint64, the highest acknowledged seq
}

// TestCrash: every acknowledged message is durable, once, in one order that every reader sees, whenever the
// process dies (invariants I1, I2, I3 and I6 of the design).
func TestCrash(t *testing.T) {
	cycles, err := strconv.Atoi(os.Getenv("HUB_CRASH_CYCLES"))
	if err != nil {
		t.Skip("HUB_CRASH_CYCLES is not set: use make test-crash")
	}
	r, rnd, stop := startRun(t, newServer(t, false))

	began := time.Now()
	var toReady, toAck times
	early := 0
	for cycle := range cycles {
		r.progress(30)
		wait(time.Duration(rnd.IntN(900)) * time.Millisecond)
		r.s.alive()
		killed := time.Now()
		r.s.kill()
		r.s.start()
		if rnd.IntN(4) == 0 { // die again while recovering
			early++
			wait(time.Duration(rnd.IntN(150)) * time.Millisecond)
			r.s.kill()
			r.s.start()
		}
		r.s.ready()
		toReady.add(time.Since(killed))
		r.progress(1)
		toAck.add(time.Since(killed))
		if (cycle+1)%10 == 0 {
			t.Logf("%d kills, %d acknowledgements", cycle+1, r.acks.Load())
		}
	}
	r.progress(30)
	r.finish(stop, fmt.Sprintf("%d kills (%d more during recovery); from kill to ready: %v; to the next ack: %v", cycles, early, &toReady, &toAck), began)
}

// startRun starts the hub and clients that talk; the returned function ends the talk.
func startRun(t *testing.T, s *server) (*run, *rand.Rand, func()) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("HUB_CRASH_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("HUB_CRASH_SEED: %v", err)
		}
	}
	t.Logf("HUB_CRASH_SEED=%d", seed)
	checker, err := check.New(check.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, s: s, check: checker, convs: map[string][]int{}}
	r.s.start()
	r.s.ready()
	r.join()
	ctx, cancel := context.WithCancel(context.Background())
	var senders sync.WaitGroup
	for i, m := range r.members {
		for j, conversation := range m.convs {
			rnd := rand.New(rand.NewPCG(seed, uint64(1+i*100+j)))
			senders.Go(func() { r.talk(ctx, m, conversation, rnd) })
		}
	}
	t.Cleanup(cancel)
	return r, rand.New(rand.NewPCG(seed, 0)), func() { cancel(); senders.Wait() }
}

// finish ends the talk, waits until everything has arrived, and checks the history and the store.
func (r *run) finish(stop func(), what string, began time.Time) {
	t := r.t
	stop()
	span := time.Since(began)
	r.settle()
	r.readBack()

	report, err := r.check.Check()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", report)
	t.Logf("%s, in %v: %d acks (%.0f/s), ack %v; %d gaps, %d refusals", what, span.Round(time.Millisecond), r.acks.Load(),
		float64(r.acks.Load())/span.Seconds(), &r.ackTimes, r.gaps.Load(), r.refused.Load())
	if !report.OK() {
		t.Error("the promises were not kept")
	}
	if n := r.refused.Load(); n > 0 {
		t.Errorf("%d sends were refused for good, though all were allowed", n)
	}
	for _, m := range r.members {
		_ = m.c.Close()
		if err := <-m.done; err != nil {
			t.Errorf("%s: Run ended with %v", m.name, err)
		}
	}
	r.s.drain()
	r.s.verify()
}

// wait is a pause of the scenario: what happens in it is not awaited by any assertion.
func wait(d time.Duration) { <-time.After(d) }

// join makes the users, their clients and their conversations: four direct ones, two groups of four, one of all.
func (r *run) join() {
	t := r.t
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	logs, err := os.Create(r.s.dir + "-clients.log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close() })
	for i := range users {
		name := fmt.Sprintf("user-%d", i)
		m := &member{name: name, obs: r.check.Observer(name, name), done: make(chan error, 1)}
		m.c, err = client.New(client.Config{
			URL:         r.s.url(),
			TokenSource: func(ctx context.Context) (string, error) { return client.DevToken(ctx, r.s.url(), "", name) },
			Handler:     func(e client.Event) { r.observe(m, e) },
			Backoff:     client.Backoff{Min: 20 * time.Millisecond, Max: 500 * time.Millisecond},
			Logger:      slog.New(slog.NewTextHandler(logs, nil)).With("user", name),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.DevToken(ctx, r.s.url(), "", name); err != nil { // so that the user exists
			t.Fatal(err)
		}
		r.members = append(r.members, m)
	}
	for _, who := range [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {0, 2, 4, 6}, {1, 3, 5, 7}, {0, 1, 2, 3, 4, 5, 6, 7}} {
		var others []client.UserID
		for _, i := range who[1:] {
			others = append(others, client.UserID(r.members[i].name))
		}
		var cv *client.Conversation
		if len(others) == 1 {
			cv, err = r.members[who[0]].c.CreateDirect(ctx, others[0])
		} else {
			cv, err = r.members[who[0]].c.CreateGroup(ctx, fmt.Sprint("group of ", len(who)), others...)
		}
		if err != nil {
			t.Fatal(err)
		}
		r.convs[cv.ID] = who
		r.heads.Store(cv.ID, new(atomic.Uint64))
		for _, i := range who {
			m := r.members[i]
			m.convs = append(m.convs, cv.ID)
			m.obs.Follow(cv.ID, 0)
			m.c.Follow(cv.ID, 0)
		}
	}
	r.token = r.tokenOf(ctx, r.members[0].name)
	for _, m := range r.members {
		go func() { m.done <- m.c.Run(context.Background()) }()
	}
	for _, m := range r.members {
		t.Cleanup(func() { _ = m.c.Close() })
		if err := m.c.WaitOnline(ctx); err != nil {
			t.Fatalf("%s is not online: %v", m.name, err)
		}
	}
}

func (r *run) observe(m *member, e client.Event) {
	saw := func(l client.Log) { m.obs.Saw(l.Conversation, check.Entry{Seq: l.Seq}) }
	switch e := e.(type) {
	case *client.MessageEvent:
		m.obs.Saw(e.Conversation, entry(e.Message))
	case *client.EditedEvent:
		saw(e.Log)
	case *client.DeletedEvent:
		saw(e.Log)
	case *client.ReactionEvent:
		saw(e.Log)
	case *client.ChangeEvent:
		saw(e.Log)
	case *client.UnknownEvent:
		r.t.Errorf("%s got an unknown frame %q", m.name, e.Type)
	case *client.GapEvent:
		r.gaps.Add(1)
		var list []check.Entry
		for _, msg := range e.Messages {
			list = append(list, entry(msg))
		}
		m.obs.Gap(e.Conversation, e.To, list)
	case *client.LostEvent:
		r.t.Errorf("%s lost %s: %v", m.name, e.Conversation, e.Err)
	case *client.ErrorEvent:
		r.t.Errorf("%s got an error that belongs to nothing: %v", m.name, e.Err)
	}
}

// entry names a message by its content, which is unique in the run and visible to everybody.
func entry(m client.Message) check.Entry {
	return check.Entry{Seq: m.Seq, ID: m.ID, Key: m.Content}
}

// talk sends until ctx ends, alone or several at a time, and now and then reacts to what it sent.
func (r *run) talk(ctx context.Context, m *member, conversation string, rnd *rand.Rand) {
	for n := 0; ctx.Err() == nil; {
		var burst []*client.Outgoing
		var keys []string
		sent := time.Now()
		for range 1 + rnd.IntN(3) {
			n++
			key := fmt.Sprintf("%s/%s/%d", m.name, conversation[:8]+conversation[len(conversation)-4:], n)
			r.check.Sent(check.Send{Conversation: conversation, Sender: m.name, Key: key})
			o, err := m.c.SendAsync(conversation, key)
			if err != nil {
				r.t.Errorf("%s: send: %v", m.name, err)
				r.check.Refused(conversation, key)
				return
			}
			burst, keys = append(burst, o), append(keys, key)
		}
		for i, o := range burst {
			select {
			case <-o.Done():
			case <-time.After(patience):
				r.t.Errorf("%s: %s is not acknowledged after %v", m.name, keys[i], patience)
				return
			}
			msg, err := o.Result()
			switch e := (*client.Error)(nil); {
			case errors.As(err, &e):
				r.refused.Add(1)
				r.check.Refused(conversation, keys[i])
				r.t.Logf("%s: %v", keys[i], err)
			case err != nil:
				r.t.Errorf("%s: %v", keys[i], err)
				return
			default:
				r.check.Acked(conversation, keys[i], msg.ID, msg.Seq)
				r.acks.Add(1)
				r.ackTimes.add(time.Since(sent))
				r.raise(conversation, msg.Seq)
				if rnd.IntN(20) == 0 {
					rctx, cancel := context.WithTimeout(context.Background(), patience)
					if err := m.c.React(rctx, conversation, msg.ID, "👍", false); err != nil && !(r.storeMayFail && temporary(err)) {
						r.t.Errorf("%s: react: %v", m.name, err)
					}
					cancel()
				}
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func temporary(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Temporary()
}

func (r *run) raise(conversation string, seq uint64) {
	v, _ := r.heads.Load(conversation)
	head := v.(*atomic.Uint64)
	for {
		old := head.Load()
		if old >= seq || head.CompareAndSwap(old, seq) {
			return
		}
	}
}

// progress waits for n more acknowledgements.
func (r *run) progress(n int64) {
	r.t.Helper()
	goal := r.acks.Load() + n
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := poll(ctx, func() bool { return r.acks.Load() >= goal }); err != nil {
		states := []string{}
		for _, m := range r.members {
			states = append(states, fmt.Sprintf("%s %v, %d unsent", m.name, m.c.State(), m.c.Unsent()))
		}
		r.t.Fatalf("no progress in %v: %v", patience, states)
	}
}

// settle waits until every observer has seen every acknowledged message.
func (r *run) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := poll(ctx, func() bool {
		for _, m := range r.members {
			for _, id := range m.convs {
				if v, _ := r.heads.Load(id); m.obs.Last(id) < v.(*atomic.Uint64).Load() {
					return false
				}
			}
		}
		return true
	}); err != nil {
		r.t.Errorf("not everything was delivered after %v", patience) // the checker says what
	}
}

// readBack reads the history of each conversation as its first and its last member find it.
func (r *run) readBack() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for id, who := range r.convs {
		for _, i := range []int{who[0], who[len(who)-1]} {
			m := r.members[i]
			var list []check.Entry
			for before := ""; ; {
				page, err := m.c.Messages(ctx, id, before)
				if err != nil {
					r.t.Fatalf("read the history of %s: %v", id, err)
				}
				for _, msg := range page.Messages {
					list = append(list, entry(msg))
					before = msg.ID
				}
				if !page.More || len(page.Messages) == 0 {
					break
				}
			}
			slices.Reverse(list)
			r.check.Final(m.name, id, list)
		}
	}
}
