package directory_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/actors/directory"
	"github.com/zumodra/hub/chat"
)

const tenant = chat.TenantID("t")

type goer struct{}

func (goer) Schedule(f func()) { go f() }
func (goer) Throughput() int   { return 100 }

type edge struct {
	mu       sync.Mutex
	got      map[chat.SessionID][]*chat.Delivery
	sets     []*chat.SessionSet
	overflow []chat.SessionID
	// atOverflow is how many deliveries a session had got when it was first to be closed.
	atOverflow map[chat.SessionID]int
	gate       chan struct{} // if set, Deliver waits here
}

func (e *edge) Deliver(set *chat.SessionSet, d *chat.Delivery) {
	if e.gate != nil {
		<-e.gate
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sets = append(e.sets, set)
	for _, s := range set.Sessions {
		if e.got == nil {
			e.got = map[chat.SessionID][]*chat.Delivery{}
		}
		e.got[s] = append(e.got[s], d)
	}
}

func (e *edge) Overflow(set *chat.SessionSet, _ chat.ConversationKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.overflow = append(e.overflow, set.Sessions...)
	for _, s := range set.Sessions {
		if e.atOverflow == nil {
			e.atOverflow = map[chat.SessionID]int{}
		}
		if _, ok := e.atOverflow[s]; !ok {
			e.atOverflow[s] = len(e.got[s])
		}
	}
}

func system() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
}

func open(t testing.TB, e directory.Edge, c directory.Config) *directory.Directory {
	c.System, c.Dispatcher, c.Edge = system(), goer{}, e
	d := directory.New(c)
	t.Cleanup(func() { d.Close(); c.System.Shutdown() })
	return d
}

func key(n byte) chat.ConversationKey {
	return chat.ConversationKey{Tenant: tenant, ID: chat.ConversationID{n, 15: n}}
}

func user(u string) chat.UserKey { return chat.UserKey{Tenant: tenant, User: chat.UserID(u)} }

func set(users ...chat.UserID) *chat.MemberSet {
	slices.Sort(users)
	return &chat.MemberSet{Users: users}
}

func message(k chat.ConversationKey, to *chat.MemberSet, seq uint64) *chat.Delivery {
	return &chat.Delivery{Key: k, Recipients: to, Notices: []chat.Notice{{Event: &chat.Event{Seq: seq, Type: chat.EventMessage}}}}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
		runtime.Gosched()
	}
}

func (e *edge) seqs(s chat.SessionID) (out []uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.got[s] {
		out = append(out, d.Notices[0].Event.Seq)
	}
	return out
}

// All of a user's sessions get each delivery, once, in order; sessions on another conversation, of others, or
// of another tenant get none.
func TestReq046_AllSessionsOfAUser(t *testing.T) {
	e := &edge{}
	d := open(t, e, directory.Config{Groups: 3})
	d.Register(user("1"), key(1).ID, 11)
	d.Register(user("1"), chat.ConversationID{}, 12)
	d.Register(user("1"), key(2).ID, 13)
	d.Register(user("2"), key(1).ID, 21)
	d.Register(user("3"), key(1).ID, 31)
	d.Register(chat.UserKey{Tenant: "other", User: "1"}, key(1).ID, 41)
	to := set("1", "2")
	for seq := uint64(1); seq <= 100; seq++ {
		d.Publish(message(key(1), to, seq))
	}
	want := make([]uint64, 100)
	for i := range want {
		want[i] = uint64(i) + 1
	}
	for _, s := range []chat.SessionID{11, 12, 21} {
		eventually(t, "100 deliveries", func() bool { return len(e.seqs(s)) >= 100 })
		if !slices.Equal(e.seqs(s), want) {
			t.Fatalf("session %d got %v", s, e.seqs(s))
		}
	}
	for _, s := range []chat.SessionID{13, 31, 41} {
		if n := len(e.seqs(s)); n != 0 {
			t.Fatalf("session %d got %d deliveries", s, n)
		}
	}
}

// A registration is in effect for whatever the same goroutine publishes after it, and so is its end; the set
// is the same one while nothing changed that concerns it.
func TestRegistrationOrder(t *testing.T) {
	e := &edge{}
	d := open(t, e, directory.Config{Groups: 1})
	to := set("1", "2")
	d.Publish(message(key(1), to, 1))
	d.Register(user("1"), key(1).ID, 11)
	d.Publish(message(key(1), to, 2))
	d.Register(user("9"), key(1).ID, 91)
	d.Publish(message(key(1), to, 3))
	d.Register(user("2"), key(1).ID, 21)
	d.Publish(message(key(1), to, 4))
	d.Unregister(user("1"), key(1).ID, 11)
	d.Publish(message(key(1), to, 5))
	d.Publish(message(key(1), set("1"), 6))
	eventually(t, "the last", func() bool { return len(e.seqs(21)) == 2 })
	if got := e.seqs(11); !slices.Equal(got, []uint64{2, 3, 4}) {
		t.Fatalf("session 11 got %v", got)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.sets) != 4 || e.sets[0] != e.sets[1] || e.sets[1] == e.sets[2] {
		t.Fatalf("sets %p", e.sets)
	}
}

func TestOnline(t *testing.T) {
	d := open(t, &edge{}, directory.Config{})
	on := func() bool { return d.Online(user("1")) }
	d.Register(user("1"), key(1).ID, 11)
	d.Register(user("1"), key(1).ID, 12)
	d.Register(user("1"), key(1).ID, 13)
	eventually(t, "online", on)
	for _, s := range []chat.SessionID{11, 13, 99} {
		d.Unregister(user("1"), key(1).ID, s)
	}
	if !on() {
		t.Fatal("offline with one session left")
	}
	d.Unregister(user("1"), key(1).ID, 12)
	eventually(t, "offline", func() bool { return !on() })
}

// A full queue sheds typing. When it loses a message, sessions of that conversation get no later one before the
// edge was told to close them; those of others get theirs.
func TestOverflow(t *testing.T) {
	e := &edge{gate: make(chan struct{})}
	d := open(t, e, directory.Config{Groups: 1, Queue: 4})
	d.Register(user("1"), key(1).ID, 11)
	d.Register(user("2"), key(2).ID, 21)
	d.Publish(message(key(2), set("2"), 1)) // the handler waits in it
	eventually(t, "registered", func() bool { return d.Online(user("2")) })
	for seq := uint64(1); seq <= 10; seq++ {
		d.Publish(message(key(1), set("1"), seq))
	}
	d.Register(user("1"), key(1).ID, 12)
	d.Publish(message(key(1), set("1"), 11))
	d.Publish(&chat.Delivery{Key: key(2), Recipients: set("2"), Notices: []chat.Notice{{Typing: &chat.TypingNotice{User: "2"}}}})
	if st := d.Stats(); st.Shed != 1 || st.Overflows < 6 || st.Overflows+st.Deliveries != 12 {
		t.Fatalf("stats %+v", st)
	}
	// Two deliveries leave the queue: there is room again, but not yet for a conversation that lost some.
	e.gate <- struct{}{}
	e.gate <- struct{}{}
	d.Publish(message(key(1), set("1"), 12))
	close(e.gate)
	eventually(t, "both sessions closed", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return slices.Contains(e.overflow, 11) && slices.Contains(e.overflow, 12) && !slices.Contains(e.overflow, 21)
	})
	if n := e.atOverflow[12]; n != 0 {
		t.Fatalf("session 12 got %d deliveries after it had missed one", n)
	}
	before := e.seqs(11)
	for i, seq := range before {
		if seq != uint64(i)+1 {
			t.Fatalf("session 11 saw a gap: %v", before)
		}
	}
	eventually(t, "deliveries pass again", func() bool {
		d.Publish(message(key(1), set("1"), 13))
		return len(e.seqs(11)) > len(before)
	})
	if n := len(e.seqs(12)); n > 0 && e.seqs(12)[0] != 13 {
		t.Fatalf("session 12 got %v", e.seqs(12))
	}
}

type counter struct{ ch chan int }

func (c counter) Deliver(set *chat.SessionSet, _ *chat.Delivery) { c.ch <- len(set.Sessions) }

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{2, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := counter{make(chan int, 64)}
			d := open(b, c, directory.Config{Groups: 4})
			var users []chat.UserID
			for i := range n {
				u := chat.UserID(fmt.Sprint(i))
				users = append(users, u)
				d.Register(chat.UserKey{Tenant: tenant, User: u}, chat.ConversationID{}, chat.SessionID(i+1))
			}
			m := message(key(1), set(users...), 1)
			b.ReportAllocs()
			for b.Loop() {
				d.Publish(m)
				for got := 0; got < n; {
					got += <-c.ch
				}
			}
		})
	}
}

// An idle user with one session costs little.
func TestMemoryPerUser(t *testing.T) {
	if testing.Short() {
		t.Skip("allocates 20 MB")
	}
	const n = 100_000
	d := open(t, &edge{}, directory.Config{Groups: 1})
	keys := make([]chat.UserKey, n)
	for i := range keys {
		keys[i] = user(fmt.Sprint("user-", i))
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i, k := range keys {
		d.Register(k, chat.ConversationID{}, chat.SessionID(i+1))
	}
	eventually(t, "registered", func() bool { return d.Online(keys[n-1]) })
	per := (heap() - before) / n
	t.Logf("%d bytes per user with one session", per)
	if per > 200 {
		t.Fatalf("%d bytes per user, want at most 200", per)
	}
	runtime.KeepAlive(keys)
}
