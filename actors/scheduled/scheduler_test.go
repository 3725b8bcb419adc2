package scheduled_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/actors/scheduled"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/storagetest"
)

const tenant = chat.TenantID("acme")

// world is a store with schedulers on it, and conversations that remember client ids.
type world struct {
	t      *testing.T
	engine *storagetest.MemoryEngine
	mu     sync.Mutex
	now    time.Time
	sent   []string // contents, in the order of the logs
	ids    map[string]bool
	told   []string
	serves func(shard int) bool
	refuse func(chat.Principal, chat.Send) error // before it is stored
	after  func(chat.Send) error                 // the answer of one that was stored

	admit map[chat.UserID]error
	limit map[chat.UserID]int // messages that are left of the rate
}

func newWorld(t *testing.T) *world {
	return &world{t: t, engine: storagetest.Memory(), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), ids: map[string]bool{},
		admit: map[chat.UserID]error{}, limit: map[chat.UserID]int{}}
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) Do(_ context.Context, p chat.Principal, cmd chat.Command) (chat.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := cmd.(chat.Send)
	if !ok {
		c.Conversation = cmd.Target()
	}
	if w.refuse != nil {
		if err := w.refuse(p, c); err != nil {
			return chat.Result{}, err
		}
	}
	if !ok {
		return chat.Result{}, nil
	}
	if !w.ids[c.ClientID] {
		w.ids[c.ClientID] = true
		w.sent = append(w.sent, c.Content)
	}
	if w.after != nil {
		return chat.Result{}, w.after(c)
	}
	return chat.Result{Event: &chat.Event{}}, nil
}

func (w *world) Serves(shard int) bool { return w.serves == nil || w.serves(shard) }

func (w *world) TellScheduled(k chat.ConversationKey, user chat.UserID, n *chat.ScheduledNotice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprint(user, " ", n.Reason))
}

// scheduler returns another node.
func (w *world) scheduler(change ...func(*scheduled.Config)) *scheduled.Scheduler {
	c := scheduled.Config{Store: storage.New(w.engine, storage.Config{}), Hub: w, Now: w.Now,
		Admit: func(k chat.UserKey) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.admit[k.User]
		},
		Allow: func(k chat.UserKey) (bool, time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			n, limited := w.limit[k.User]
			if limited && n == 0 {
				return false, 5 * time.Second
			}
			w.limit[k.User] = n - 1
			if !limited {
				delete(w.limit, k.User)
			}
			return true, 0
		}}
	for _, f := range change {
		f(&c)
	}
	return scheduled.New(c)
}

func (w *world) look(s *scheduled.Scheduler) {
	w.t.Helper()
	for more := true; more; {
		var err error
		if more, err = s.Pass(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func user(id string) chat.Principal {
	return chat.Principal{Tenant: tenant, User: chat.UserID(id), Username: id}
}

// schedule asks for a message d from now.
func (w *world) schedule(s *scheduled.Scheduler, u string, c chat.ConversationID, content string, d time.Duration) chat.Scheduled {
	w.t.Helper()
	m, err := s.Schedule(w.t.Context(), user(u), chat.Send{Conversation: c, Content: content}, w.Now().Add(d))
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) wantSent(want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.sent, want) {
		w.t.Fatalf("sent %q, want %q", w.sent, want)
	}
}

// listed are the contents and states that a user sees.
func (w *world) listed(s *scheduled.Scheduler, u string, want ...string) {
	w.t.Helper()
	list, err := s.List(w.t.Context(), user(u), chat.ConversationID{})
	if err != nil {
		w.t.Fatal(err)
	}
	got := make([]string, len(list))
	for i, m := range list {
		got[i] = fmt.Sprint(m.Content, " ", m.State, " ", m.Reason)
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("%s sees %q, want %q", u, got, want)
	}
}

func (w *world) rows(t *storage.Table, want int) {
	w.t.Helper()
	n := 0
	if err := w.engine.ScanTable(w.t.Context(), t, func(storage.Key, storage.Row) bool { n++; return true }); err != nil {
		w.t.Fatal(err)
	}
	if n != want {
		w.t.Fatalf("%d rows of %s, want %d", n, t.Name, want)
	}
}

func TestMessagesAreSentAtTheirTime(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	a, b := chat.NewConversationID(), chat.NewConversationID()
	w.schedule(s, "1", a, "third", 30*time.Second)
	w.schedule(s, "2", a, "first", 10*time.Second)
	w.schedule(s, "1", a, "second", 20*time.Second)
	w.schedule(s, "1", b, "hour", time.Hour)
	w.look(s)
	w.wantSent()
	w.pass(10 * time.Second)
	w.look(s)
	w.wantSent("first")
	w.listed(s, "2")
	w.pass(20 * time.Second)
	w.look(s)
	w.wantSent("first", "second", "third")
	w.listed(s, "1", "hour pending ")
	w.rows(storage.TableScheduled, 4) // those that were sent are forgotten a while later
	w.pass(time.Hour)
	w.look(s)
	w.wantSent("first", "second", "third", "hour")
	w.pass(time.Hour)
	w.look(s)
	w.rows(storage.TableScheduled, 0)
	w.rows(storage.TableScheduledDue, 0)
}

// A hub that was down sends what is overdue in the order of the times.
func TestOverdueMessagesKeepTheirOrder(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	c := chat.NewConversationID()
	var want []string
	for i := range 60 {
		content := fmt.Sprintf("%02d", i)
		want = append(want, content)
		w.schedule(s, fmt.Sprint(i%3), c, content, time.Duration(i+1)*time.Minute)
	}
	w.pass(48 * time.Hour)
	later := w.scheduler(func(c *scheduled.Config) { c.Batch = 7 })
	w.look(later)
	w.wantSent(want...)
}

func TestChangesAndCancellations(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	c := chat.NewConversationID()
	ctx := t.Context()
	m := w.schedule(s, "1", c, "a", 10*time.Second)
	gone := w.schedule(s, "1", c, "gone", 10*time.Second)
	text, at := "b", w.Now().Add(30*time.Second)
	if _, err := s.Change(ctx, user("1"), m.ID, chat.ScheduledChange{Content: &text, SendAt: &at}); err != nil {
		t.Fatal(err)
	}
	if err := s.Cancel(ctx, user("1"), gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Cancel(ctx, user("1"), gone.ID); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("cancelled twice: %v", err)
	}
	for _, err := range []error{s.Cancel(ctx, user("2"), m.ID), func() error { _, err := s.Get(ctx, user("2"), m.ID); return err }(),
		func() error {
			_, err := s.Change(ctx, user("2"), m.ID, chat.ScheduledChange{Content: &text})
			return err
		}()} {
		if !errors.Is(err, chat.ErrNotFound) {
			t.Errorf("another user's: %v", err)
		}
	}
	w.pass(20 * time.Second)
	w.look(s)
	w.wantSent()
	w.pass(10 * time.Second)
	w.look(s)
	w.wantSent("b")
	for _, d := range []time.Duration{0, -time.Hour, chat.MaxScheduled + time.Minute} {
		var field *chat.FieldError
		if _, err := s.Schedule(ctx, user("1"), chat.Send{Conversation: c, Content: "x"}, w.Now().Add(d)); !errors.As(err, &field) || field.Field != "send_at" {
			t.Errorf("%v from now: %v", d, err)
		}
	}
	if _, err := s.Schedule(ctx, user("1"), chat.Send{Conversation: c, Content: " "}, w.Now().Add(time.Hour)); !errors.Is(err, chat.ErrEmptyMessage) {
		t.Errorf("nothing: %v", err)
	}
	w.refuse = func(chat.Principal, chat.Send) error { return chat.ErrNotMember }
	if _, err := s.Schedule(ctx, user("1"), chat.Send{Conversation: c, Content: "x"}, w.Now().Add(time.Hour)); !errors.Is(err, chat.ErrNotMember) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestTheSameClientIDIsOneMessage(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	c := chat.NewConversationID()
	send := chat.Send{Conversation: c, Content: "once", ClientID: "mine"}
	a, err := s.Schedule(t.Context(), user("1"), send, w.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Schedule(t.Context(), user("1"), send, w.Now().Add(2*time.Minute))
	if err != nil || b.ID != a.ID || !b.SendAt.Equal(a.SendAt) {
		t.Errorf("%v, %v, want %v", b, err, a)
	}
	if other, err := s.Schedule(t.Context(), user("2"), send, w.Now().Add(time.Minute)); err != nil || other.ID == a.ID {
		t.Errorf("another user's: %v, %v", other, err)
	}
	w.pass(5 * time.Minute)
	w.look(s)
	w.wantSent("once", "once")
}

func TestAHundredMayWait(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	c := chat.NewConversationID()
	var wg sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for range chat.MaxPendingScheduled + 20 {
		wg.Go(func() {
			_, err := s.Schedule(t.Context(), user("1"), chat.Send{Conversation: c, Content: "x"}, w.Now().Add(time.Hour))
			if err != nil && !errors.Is(err, chat.ErrInvalid) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused++
			}
		})
	}
	wg.Wait()
	if refused != 20 {
		t.Errorf("%d of 120 were refused, want 20", refused)
	}
	w.schedule(s, "2", c, "another user's", time.Hour)
	w.pass(2 * time.Hour)
	w.look(s)
	w.schedule(s, "1", c, "room again", time.Hour)
}

// What the hub would refuse at that time is listed with the reason, its user is told, and it can be given another time.
func TestRefusedMessages(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
	}{
		{chat.ErrNotMember, "not_participant"}, {chat.ErrBlocked, "blocked"}, {fmt.Errorf("conversation: %w", chat.ErrNotFound), "not_found"},
		{chat.ErrForbidden, "forbidden"}, {&chat.FieldError{Field: "reply_to", Text: "no"}, "invalid"}, {chat.ErrGone, "gone"},
	} {
		w := newWorld(t)
		s := w.scheduler()
		m := w.schedule(s, "1", chat.NewConversationID(), "a", time.Minute)
		w.refuse = func(chat.Principal, chat.Send) error { return c.err }
		w.pass(time.Minute)
		w.look(s)
		w.listed(s, "1", "a failed "+c.reason)
		if !slices.Equal(w.told, []string{"1 " + c.reason}) {
			t.Errorf("told %q", w.told)
		}
		w.refuse = nil
		w.pass(time.Hour)
		w.look(s)
		w.wantSent() // it is not tried again by itself
		if _, err := s.Change(t.Context(), user("1"), m.ID, chat.ScheduledChange{}); !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("without a time: %v", err)
		}
		at := w.Now().Add(time.Minute)
		if _, err := s.Change(t.Context(), user("1"), m.ID, chat.ScheduledChange{SendAt: &at}); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		w.look(s)
		w.wantSent("a")
	}
}

func TestFailedMessagesAreForgotten(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	w.schedule(s, "1", chat.NewConversationID(), "a", time.Minute)
	w.admit["1"] = &chat.SuspendedError{}
	w.pass(time.Minute)
	w.look(s)
	w.listed(s, "1", "a failed suspended")
	w.wantSent()
	w.pass(chat.KeepFailedScheduled - time.Hour)
	w.look(s)
	w.listed(s, "1", "a failed suspended")
	w.pass(2 * time.Hour)
	w.look(s)
	w.listed(s, "1")
	w.rows(storage.TableScheduled, 0)
	w.rows(storage.TableScheduledDue, 0)
}

// The rate of a user delays what is due, in order; others are not held up.
func TestTheRateOfAUserDelays(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	c := chat.NewConversationID()
	for i := range 4 {
		w.schedule(s, "1", c, fmt.Sprint(i), time.Duration(i+1)*time.Second)
	}
	w.schedule(s, "2", c, "other", 10*time.Second)
	w.limit["1"] = 2
	w.pass(time.Minute)
	w.look(s)
	w.wantSent("0", "1", "other")
	if st := s.Stats(); st.Due != 1 || st.Oldest.IsZero() {
		t.Errorf("%+v, want one that waits", st)
	}
	w.listed(s, "1", "2 pending ", "3 pending ") // and can be changed still
	w.limit["1"] = 10
	w.look(s)
	w.wantSent("0", "1", "other")
	w.pass(6 * time.Second)
	w.look(s)
	w.wantSent("0", "1", "other", "2", "3")
	if st := s.Stats(); st.Due != 0 {
		t.Errorf("%+v, want nothing that waits", st)
	}
}

// An answer that does not come is no reason to send twice, nor to give up.
func TestUnknownOutcomes(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	m := w.schedule(s, "1", chat.NewConversationID(), "a", time.Minute)
	w.after = func(chat.Send) error { return fmt.Errorf("send: %w", chat.ErrUnknown) }
	w.pass(time.Minute)
	for range 5 {
		w.look(s)
		w.pass(time.Minute)
	}
	w.listed(s, "1", "a sending ")
	if err := s.Cancel(t.Context(), user("1"), m.ID); !errors.Is(err, chat.ErrConflict) {
		t.Errorf("cancel what may have been sent: %v", err)
	}
	w.after = nil
	w.look(s)
	w.wantSent("a")
	w.listed(s, "1")
}

// Who was removed after a try that may have sent the message is not told that it was not sent.
func TestRefusedAfterAnUnknownOutcome(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	m := w.schedule(s, "1", chat.NewConversationID(), "a", time.Minute)
	w.after = func(chat.Send) error { return fmt.Errorf("send: %w", chat.ErrUnknown) }
	w.pass(time.Minute)
	w.look(s)
	w.refuse = func(chat.Principal, chat.Send) error { return chat.ErrNotMember }
	w.pass(time.Minute)
	w.look(w.scheduler())
	w.wantSent("a")
	w.listed(s, "1", "a failed outcome_unknown")
	if !slices.Equal(w.told, []string{"1 outcome_unknown"}) {
		t.Errorf("told %q", w.told)
	}
	at := w.Now().Add(storage.DedupTTL) // when its client id is forgotten
	if _, err := s.Change(t.Context(), user("1"), m.ID, chat.ScheduledChange{SendAt: &at}); !errors.Is(err, chat.ErrConflict) {
		t.Errorf("send it once more: %v", err)
	}
}

// Client ids are remembered for days, no longer: what was begun before that is not sent again.
func TestForgottenOutcomes(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	m := w.schedule(s, "1", chat.NewConversationID(), "a", time.Minute)
	w.after = func(chat.Send) error { return chat.ErrUnknown }
	w.pass(time.Minute)
	w.look(s)
	w.pass(storage.DedupTTL)
	w.ids, w.after = map[string]bool{}, nil
	w.look(w.scheduler())
	w.wantSent("a")
	w.listed(s, "1", "a failed outcome_unknown")
	at := w.Now().Add(time.Minute)
	if _, err := s.Change(t.Context(), user("1"), m.ID, chat.ScheduledChange{SendAt: &at}); !errors.Is(err, chat.ErrConflict) {
		t.Errorf("send it once more: %v", err)
	}
}

// dying is a store of a process that dies before its n-th write, or during it: the write is done, and nobody hears of it.
type dying struct {
	scheduled.Store
	left   int
	during bool
}

var errDead = errors.New("the process is dead")

func write[T any](d *dying, f func() (T, error)) (v T, err error) {
	d.left--
	switch {
	case d.left > 0:
		return f()
	case d.left == 0 && d.during:
		_, _ = f()
	}
	return v, errDead
}

func (d *dying) ChangeScheduled(ctx context.Context, k chat.UserKey, id chat.ScheduledID, f func(*chat.Scheduled) error) (chat.Scheduled, error) {
	return write(d, func() (chat.Scheduled, error) { return d.Store.ChangeScheduled(ctx, k, id, f) })
}

func (d *dying) RemoveScheduled(ctx context.Context, due chat.ScheduledDue) error {
	_, err := write(d, func() (struct{}, error) { return struct{}{}, d.Store.RemoveScheduled(ctx, due) })
	return err
}

// Whenever a node dies, another goes on, and the message is sent once.
func TestDeathBetweenSteps(t *testing.T) {
	for _, during := range []bool{false, true} {
		for n := 1; n <= 4; n++ {
			w := newWorld(t)
			s := w.scheduler()
			c := chat.NewConversationID()
			w.schedule(s, "1", c, "a", time.Minute)
			w.schedule(s, "1", c, "b", 2*time.Minute)
			first := w.scheduler(func(c *scheduled.Config) { c.Store = &dying{c.Store, n, during} })
			w.pass(3 * time.Minute)
			_, _ = first.Pass(t.Context())
			second := w.scheduler()
			w.look(second)
			w.pass(time.Minute) // the first may have left a change half done
			w.look(second)
			w.wantSent("a", "b")
			w.listed(second, "1")
			w.pass(time.Hour)
			w.look(second)
			w.rows(storage.TableScheduled, 0)
			w.rows(storage.TableScheduledDue, 0)
		}
	}
}

// What a process that died left in the calendar holds nobody up, and goes.
func TestVoidEntriesHoldNobodyUp(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	ctx := t.Context()
	c := chat.NewConversationID()
	store := storage.New(w.engine, storage.Config{})
	due := func(m chat.Scheduled) chat.ScheduledDue {
		return chat.ScheduledDue{Due: m.Due, User: m.By.Key(), ID: m.ID, Turn: m.Turn, Key: m.Key}
	}
	kept := w.schedule(s, "1", c, "much later", 24*time.Hour)
	again := kept // an entry of a time that the message does not have
	again.Due = w.Now().Add(59 * time.Second)
	if _, fresh, err := store.CreateScheduled(ctx, again); err != nil || fresh {
		t.Fatal(fresh, err)
	}
	lost := w.schedule(s, "1", c, "lost", 58*time.Second) // an entry without a message
	other := due(lost)
	other.Due = other.Due.Add(time.Second)
	if err := store.RemoveScheduled(ctx, other); err != nil {
		t.Fatal(err)
	}
	w.schedule(s, "1", c, "a", time.Minute)
	w.rows(storage.TableScheduledDue, 4)
	w.pass(time.Minute)
	w.look(s)
	w.wantSent("a")
	if st := s.Stats(); st.Due != 0 {
		t.Errorf("%+v, want nothing that waits", st)
	}
	w.schedule(s, "1", c, "b", time.Second)
	w.pass(time.Second)
	w.look(s)
	w.wantSent("a", "b")
	w.pass(5 * time.Minute)
	w.look(s)
	w.rows(storage.TableScheduledDue, 1)
	w.pass(24 * time.Hour)
	w.look(s)
	w.wantSent("a", "b", "much later")
}

// Two that both believe to own a shard send a message once; one that owns nothing, none.
func TestSeveralNodes(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler()
	for i := range 50 {
		w.schedule(s, fmt.Sprint(i), chat.NewConversationID(), "x", time.Minute)
	}
	w.pass(time.Minute)
	w.serves = func(int) bool { return false }
	w.look(w.scheduler())
	w.wantSent()
	w.serves = nil
	var wg sync.WaitGroup
	for range 3 {
		n := w.scheduler()
		wg.Go(func() { w.look(n) })
	}
	wg.Wait()
	if len(w.sent) != 50 {
		t.Errorf("%d messages, want 50", len(w.sent))
	}
	// A shard that comes later is looked at from its beginning.
	w.schedule(s, "1", chat.NewConversationID(), "y", time.Second)
	w.serves = func(int) bool { return false }
	idle := w.scheduler()
	w.pass(time.Hour)
	w.look(idle)
	w.look(idle)
	w.serves = nil
	w.look(idle)
	if len(w.sent) != 51 {
		t.Errorf("%d messages, want 51", len(w.sent))
	}
}

func TestStartAndClose(t *testing.T) {
	w := newWorld(t)
	s := w.scheduler(func(c *scheduled.Config) { c.Every = time.Millisecond })
	w.schedule(s, "1", chat.NewConversationID(), "a", time.Second)
	done := make(chan struct{})
	w.after = func(chat.Send) error { close(done); return nil }
	s.Start()
	w.pass(time.Second)
	<-done
	s.Close()
	s.Close()
	w.scheduler().Close() // one that was not started
}
