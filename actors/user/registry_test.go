package user_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"github.com/zumodra/hub/actors/user"
	"github.com/zumodra/hub/chat"
)

// store keeps pairs and preferences in memory and fails as it is told.
type store struct {
	mu        sync.Mutex
	pairs     map[chat.PairKey]chat.Pair
	derived   map[chat.PairKey]chat.Pair // what the lists show
	unsettled map[chat.PairKey]bool
	prefs     map[chat.UserKey]chat.Preferences
	busy      map[any]bool // writes under way, by key
	fault     func(op string) error
	reads     atomic.Int64
}

func newStore() *store {
	return &store{pairs: map[chat.PairKey]chat.Pair{}, derived: map[chat.PairKey]chat.Pair{}, unsettled: map[chat.PairKey]bool{},
		prefs: map[chat.UserKey]chat.Preferences{}, busy: map[any]bool{}}
}

func (s *store) failure(op string) error {
	s.mu.Lock()
	f := s.fault
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(op)
}

// alone panics when two writes of one key overlap.
func (s *store) alone(key any, f func()) {
	s.mu.Lock()
	if s.busy[key] {
		panic(fmt.Sprintf("two writers of %v", key))
	}
	s.busy[key] = true
	s.mu.Unlock()
	runtime.Gosched()
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	delete(s.busy, key)
}

func (s *store) GetPair(_ context.Context, k chat.PairKey) (chat.Pair, error) {
	s.reads.Add(1)
	if err := s.failure("get"); err != nil {
		return chat.Pair{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.pairs[k]; ok {
		return p, nil
	}
	return chat.Pair{Key: k}, nil
}

func (s *store) SavePair(_ context.Context, p, before chat.Pair) error {
	if err := s.failure("save"); err != nil {
		return err
	}
	s.alone(p.Key, func() {
		if have := s.pairs[p.Key]; have.Version != before.Version && have != p {
			panic(fmt.Sprintf("version %d over %d", p.Version, have.Version))
		}
		s.unsettled[p.Key], s.pairs[p.Key] = true, p
	})
	if err := s.failure("derive"); err != nil {
		return fmt.Errorf("%w: %w", chat.ErrUnknown, err)
	}
	s.alone(p.Key, func() { s.derived[p.Key] = p })
	return s.failure("saved")
}

func (s *store) RederivePair(_ context.Context, p chat.Pair) error {
	if err := s.failure("derive"); err != nil {
		return err
	}
	s.alone(p.Key, func() { s.derived[p.Key] = p })
	return nil
}

func (s *store) SettlePair(_ context.Context, k chat.PairKey) error {
	if err := s.failure("settle"); err != nil {
		return err
	}
	s.alone(k, func() { delete(s.unsettled, k) })
	return nil
}

func (s *store) GetPreferences(_ context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.Preferences, error) {
	s.reads.Add(1)
	if err := s.failure("prefs"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return []chat.Preferences{s.prefs[chat.UserKey{Tenant: t, User: ids[0]}]}, nil
}

func (s *store) PutPreferences(_ context.Context, k chat.UserKey, p chat.Preferences) error {
	if err := s.failure("put"); err != nil {
		return err
	}
	s.alone(k, func() { s.prefs[k] = p })
	return s.failure("putted")
}

// rig is a registry whose conversations are a map from pair to whether it is barred.
type rig struct {
	*user.Registry
	t      testing.TB
	store  *store
	system *actor.ActorSystem
	mu     sync.Mutex
	barred map[chat.PairKey]bool
	told   int
	refuse func() error // of the conversation
}

func quiet() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

func newRig(t testing.TB, change func(*user.Config)) *rig {
	t.Helper()
	r := &rig{t: t, store: newStore(), system: quiet(), barred: map[chat.PairKey]bool{}}
	c := user.Config{System: r.system, Dispatcher: actor.NewDefaultDispatcher(10), Store: r.store, Bar: r.bar}
	if change != nil {
		change(&c)
	}
	r.Registry = user.NewRegistry(c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		r.system.Shutdown()
	})
	return r
}

func (r *rig) bar(_ context.Context, p *chat.Pair, by chat.Principal) error {
	if by.User != p.Key.Lo && by.User != p.Key.Hi {
		r.t.Errorf("told by %s", by.User)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told++
	if r.refuse != nil {
		if err := r.refuse(); err != nil {
			return err
		}
	}
	r.barred[p.Key] = p.Blocked()
	return nil
}

func as(u chat.UserID) chat.Principal {
	return chat.Principal{Tenant: "t", User: u, Username: string(u)}
}

func key(u chat.UserID) chat.UserKey { return chat.UserKey{Tenant: "t", User: u} }

func (r *rig) try(me chat.UserID, cmd chat.PeopleCommand) (chat.Pair, error) {
	type answer struct {
		p   chat.Pair
		err error
	}
	ch := make(chan answer, 1)
	r.Do(as(me), cmd, func(p chat.Pair, err error) { ch <- answer{p, err} })
	a := <-ch
	return a.p, a.err
}

func (r *rig) do(me chat.UserID, cmd chat.PeopleCommand) chat.Pair {
	r.t.Helper()
	p, err := r.try(me, cmd)
	if err != nil {
		r.t.Fatalf("%s by %s: %v", cmd.Name(), me, err)
	}
	return p
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fickle stops owning users at some time.
type fickle struct{ lost *atomic.Bool }

func (f fickle) Term(int) (uint64, bool) { return 1, !f.lost.Load() }
func (f fickle) MayAck(int, uint64) bool { return !f.lost.Load() }

// I4: what was written after ownership was lost is not acknowledged, is left to the owner to settle, and is read anew.
func TestNotAckedWithoutOwnership(t *testing.T) {
	var lost atomic.Bool
	r := newRig(t, func(c *user.Config) { c.Owner = fickle{&lost} })
	lose := func(op string) error {
		lost.Store(lost.Load() || op == "saved" || op == "putted")
		return nil
	}
	r.store.fault = lose
	if _, err := r.try("b", chat.Block{User: "a"}); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("block: %v", err)
	}
	pair := chat.PairOf("t", "a", "b")
	if !r.store.unsettled[pair] {
		t.Error("the pair was settled")
	}
	lost.Store(false)
	change := func(want bool) error {
		ch := make(chan error, 1)
		r.ChangePreferences(key("a"), func(p *chat.Preferences) { p.HideReceipts = want }, func(_ chat.Preferences, err error) { ch <- err })
		return <-ch
	}
	if err := change(true); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("preferences: %v", err)
	}
	lost.Store(false)
	ch := make(chan chat.Preferences, 1)
	r.AskPreferences(key("a"), func(p chat.Preferences, _ error) { ch <- p })
	if p := <-ch; !p.HideReceipts {
		t.Error("the preferences in memory are not those that are stored")
	}
	r.store.mu.Lock()
	r.store.fault = nil
	r.store.mu.Unlock()
	if err := r.Repair(context.Background(), pair); err != nil || r.store.unsettled[pair] || !r.barred[pair] {
		t.Errorf("repair: %v", err)
	}
}

// Accept, reject, cancel and block at once: one of them wins, and the others are told what it left.
func TestReq093_Req094_OneWinner(t *testing.T) {
	r := newRig(t, nil)
	for n := range 300 {
		a, b := chat.UserID(fmt.Sprint("a", n)), chat.UserID(fmt.Sprint("b", n))
		if n%2 == 1 {
			a, b = b, a
		}
		p := r.do(a, chat.RequestFriend{User: b})
		id := p.Of(a).Request.ID
		cmds := []chat.PeopleCommand{chat.AnswerRequest{User: a, ID: id, Accept: true}, chat.AnswerRequest{User: a, ID: id},
			chat.CancelRequest{User: b, ID: id}, chat.AnswerRequest{User: a, ID: id, Accept: true}}
		who := []chat.UserID{b, b, a, b}
		if n%3 == 0 {
			cmds, who = append(cmds, chat.Block{User: a}), append(who, b)
		}
		errs := make([]error, len(cmds))
		var wg sync.WaitGroup
		for i := range cmds {
			wg.Go(func() { _, errs[i] = r.try(who[i], cmds[i]) })
		}
		wg.Wait()
		won := 0
		for i, err := range errs[:4] {
			var rule *chat.RuleError
			switch {
			case err == nil:
				won++
			case !errors.As(err, &rule) && !errors.Is(err, chat.ErrNotFound):
				t.Fatalf("%T: %v", cmds[i], err)
			}
		}
		if most := 1; won > most || won == 0 && len(cmds) == 4 {
			t.Fatalf("%d won: %v", won, errs)
		}
		end := r.store.pairs[chat.PairOf("t", a, b)]
		s := end.Of(a).Request.State
		contacts := !end.Lo.ContactSince.IsZero() && !end.Hi.ContactSince.IsZero()
		if accepted := errs[0] == nil || errs[3] == nil; accepted != contacts || accepted != (s == chat.RequestAccepted) {
			t.Fatalf("accepted %v: %+v", accepted, end)
		}
		if (errs[1] == nil) != (s == chat.RequestRejected) || errs[2] == nil && s != chat.RequestNone {
			t.Fatalf("%v: %+v", errs, end)
		}
	}
}

// TestModelUnderFaults has many users do everything to one another while storage and conversations fail. Two writers
// of one pair would make the store panic. In the end lists and conversations show what the pairs say.
func TestModelUnderFaults(t *testing.T) {
	r := newRig(t, func(c *user.Config) { c.Idle = time.Millisecond })
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(1, 93))
	fail := func(one int) bool {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(one) == 0
	}
	r.store.fault = func(op string) error {
		switch {
		case !fail(20):
			return nil
		case op == "get" || op == "prefs":
			return chat.ErrUnavailable
		case fail(4) && op == "save":
			return chat.ErrUnavailable
		}
		return chat.ErrUnknown
	}
	r.refuse = func() error {
		if fail(10) {
			return chat.ErrOverloaded
		}
		return nil
	}
	users := []chat.UserID{"a", "b", "c", "d"}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 94))
			var ids []chat.RequestID
			for range 150 {
				me, other := users[rnd.IntN(4)], users[rnd.IntN(4)]
				if me == other {
					continue
				}
				id := chat.NewRequestID()
				if len(ids) > 0 {
					id = ids[rnd.IntN(len(ids))]
				}
				cmd := []chat.PeopleCommand{chat.AddContact{User: other, Ask: true}, chat.RemoveContact{User: other},
					chat.RequestFriend{User: other}, chat.AnswerRequest{User: other, ID: id, Accept: rnd.IntN(2) == 0},
					chat.CancelRequest{User: other, ID: id}, chat.Block{User: other}, chat.Unblock{User: other}}[rnd.IntN(7)]
				p, err := r.try(me, cmd)
				if err != nil {
					continue
				}
				ids = append(ids, p.Of(me).Request.ID)
				if p.Blocked() {
					r.Guard(p.Key, func(err error, release func()) {
						release()
						if err != nil && !errors.Is(err, chat.ErrBlocked) && !errors.Is(err, chat.ErrUnavailable) {
							t.Errorf("guard: %v", err)
						}
					})
				}
			}
		})
	}
	wg.Wait()
	r.store.mu.Lock()
	r.store.fault = nil
	open := []chat.PairKey{}
	for k := range r.store.unsettled {
		open = append(open, k)
	}
	r.store.mu.Unlock()
	r.mu.Lock()
	r.refuse = nil
	r.mu.Unlock()
	for _, k := range open {
		if err := r.Repair(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if len(r.store.pairs) < 6 || len(r.store.unsettled) > 0 {
		t.Fatalf("%d pairs, unsettled %v", len(r.store.pairs), r.store.unsettled)
	}
	for k, p := range r.store.pairs {
		if r.store.derived[k] != p {
			t.Errorf("%s: lists show %+v, the pair says %+v", k, r.store.derived[k], p)
		}
		if r.barred[k] != p.Blocked() {
			t.Errorf("%s: the conversation is barred %v, blocked %v", k, r.barred[k], p.Blocked())
		}
	}
}

// A block is answered after the conversation goes by it, however often it must be told.
func TestReq029_AnsweredAfterTheConversationKnows(t *testing.T) {
	r := newRig(t, nil)
	left := 3
	r.refuse = func() error {
		if left--; left >= 0 {
			return chat.ErrOverloaded
		}
		return nil
	}
	p := r.do("ann", chat.Block{User: "bob"})
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.barred[p.Key] || r.told != 4 {
		t.Fatalf("barred %v, told %d times", r.barred[p.Key], r.told)
	}
}

// What a guard holds, a block waits for.
func TestGuardHoldsThePair(t *testing.T) {
	r := newRig(t, nil)
	pair := chat.PairOf("t", "ann", "bob")
	held := make(chan func())
	r.Guard(pair, func(err error, release func()) {
		if err != nil {
			t.Error(err)
		}
		held <- release
	})
	release := <-held
	var answered atomic.Bool
	done := make(chan struct{})
	r.Do(as("bob"), chat.Block{User: "ann"}, func(_ chat.Pair, err error) {
		answered.Store(true)
		if err != nil {
			t.Error(err)
		}
		close(done)
	})
	r.do("ann", chat.AddContact{User: "cat"}) // another pair of the same actor does not wait
	if answered.Load() {
		t.Fatal("the block did not wait")
	}
	release()
	release()
	<-done
	refused := make(chan error, 1)
	r.Guard(pair, func(err error, release func()) { release(); refused <- err })
	if err := <-refused; !errors.Is(err, chat.ErrBlocked) {
		t.Fatal(err)
	}
}

func (r *rig) ask(u chat.UserID, change func(*chat.Preferences)) (chat.Preferences, error) {
	type answer struct {
		p   chat.Preferences
		err error
	}
	ch := make(chan answer, 1)
	done := func(p chat.Preferences, err error) { ch <- answer{p, err} }
	if change == nil {
		r.AskPreferences(key(u), done)
	} else {
		r.ChangePreferences(key(u), change, done)
	}
	a := <-ch
	return a.p, a.err
}

func TestReq059_PreferencesAreInForceWhenAnswered(t *testing.T) {
	var ahead atomic.Int64 // the clock moves only when the actor is to leave memory
	r := newRig(t, func(c *user.Config) {
		c.Idle, c.Now = 80*time.Millisecond, func() time.Time { return t0.Add(time.Duration(ahead.Load())) }
	})
	if _, ok := r.Preferences(key("ann")); ok {
		t.Fatal("known without having been read")
	}
	for n := range 50 {
		hide := n%2 == 0
		if n%10 == 5 {
			ahead.Add(int64(time.Second))
			for end := time.Now().Add(time.Minute); r.Live() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("stays in memory")
				}
			}
		}
		fails := 2
		r.store.mu.Lock()
		r.store.fault = func(op string) error {
			if fails--; op == "putted" && fails >= 0 {
				return chat.ErrUnknown
			}
			return nil
		}
		r.store.mu.Unlock()
		p, err := r.ask("ann", func(p *chat.Preferences) { p.HideReceipts = hide })
		if err != nil || p.HideReceipts != hide {
			t.Fatal(p, err)
		}
		if got, ok := r.Preferences(key("ann")); !ok || got != p {
			t.Fatalf("%+v %v in memory, %+v was answered", got, ok, p)
		}
		if got, err := r.ask("ann", nil); err != nil || got != p {
			t.Fatal(got, err)
		}
		r.store.mu.Lock()
		if r.store.prefs[key("ann")] != p {
			t.Fatal("not stored")
		}
		r.store.mu.Unlock()
	}
	before := r.store.reads.Load()
	for range 10 {
		_, _ = r.ask("ann", nil)
	}
	if n := r.store.reads.Load() - before; n != 0 {
		t.Fatalf("%d reads of what is in memory", n)
	}
	// Of changes at once none is lost.
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = r.ask("ann", func(p *chat.Preferences) { p.HideReceipts = true }) })
	wg.Go(func() { _, _ = r.ask("ann", func(p *chat.Preferences) { p.Invisible = true }) })
	wg.Wait()
	if p, _ := r.Preferences(key("ann")); p != (chat.Preferences{HideReceipts: true, Invisible: true}) {
		t.Fatalf("%+v", p)
	}
}

// More than fits is refused at once, and who was admitted is answered.
func TestBoundsOfAnActor(t *testing.T) {
	r := newRig(t, func(c *user.Config) { c.Operations = 4; c.Cap = 40 })
	gate := make(chan struct{})
	r.store.fault = func(op string) error {
		if op == "get" {
			<-gate
		}
		return nil
	}
	const n = 3 * user.MaxWaiting
	errs := make(chan error, n)
	for i := range n {
		r.Do(as("a"), chat.AddContact{User: chat.UserID(fmt.Sprint("u", i%30))}, func(_ chat.Pair, err error) { errs <- err })
	}
	close(gate)
	overloaded := 0
	for range n {
		if err := <-errs; errors.Is(err, chat.ErrOverloaded) {
			overloaded++
		}
	}
	if overloaded == 0 || overloaded == n {
		t.Fatalf("%d of %d refused", overloaded, n)
	}
	var refused []error
	for i := range 100 {
		_, err := r.ask(chat.UserID(fmt.Sprint("v", i)), nil)
		refused = append(refused, err)
	}
	if !slices.ContainsFunc(refused, func(err error) bool { return errors.Is(err, chat.ErrOverloaded) }) {
		t.Fatal("no bound on live actors")
	}
}

// Close answers what waits; what cannot be carried out any more says so, and its pair stays unsettled.
func TestCloseGivesUpInTime(t *testing.T) {
	r := newRig(t, nil)
	r.refuse = func() error { return chat.ErrOverloaded }
	done := make(chan error, 1)
	r.Do(as("ann"), chat.Block{User: "bob"}, func(_ chat.Pair, err error) { done <- err })
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		told := r.told
		r.mu.Unlock()
		if told > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not told")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); err == nil {
		t.Error("closed in order")
	}
	if err := <-done; !errors.Is(err, chat.ErrUnknown) {
		t.Fatal(err)
	}
	if !r.store.unsettled[chat.PairOf("t", "ann", "bob")] {
		t.Fatal("settled")
	}
	if _, err := r.try("ann", chat.Unblock{User: "bob"}); !errors.Is(err, chat.ErrShutdown) {
		t.Fatal(err)
	}
}
