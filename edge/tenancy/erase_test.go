package tenancy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/tenancy"
	"github.com/zumodra/hub/edge/tenancy/tenancytest"
)

// stuff is what steps erase: so much of each.
type stuff struct {
	mu    sync.Mutex
	left  map[string]int
	done  []string
	fail  string // the step that fails
	block string // the step during which the process ends
	stop  context.CancelFunc
}

func (s *stuff) steps(names ...string) (steps []tenancy.EraseStep) {
	for _, name := range names {
		steps = append(steps, tenancy.EraseStep{Name: name, Do: func(ctx context.Context, _ chat.TenantID) (int, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.fail == name {
				return 0, errors.New("no")
			}
			if s.block == name {
				s.stop()
				return 0, ctx.Err()
			}
			s.done = append(s.done, name)
			n := min(s.left[name], 2)
			s.left[name] -= n
			if name == "b" && n > 0 { // as somebody who writes late
				s.left["a"]++
			}
			return n, nil
		}})
	}
	return steps
}

func erasing(t *testing.T, m *tenancytest.Memory, s *stuff, mine bool) (r *tenancy.Registry, stop func()) {
	t.Helper()
	r, err := tenancy.Open(t.Context(), tenancy.Config{Store: m, Poll: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	e := tenancy.NewEraser(tenancy.EraserConfig{Registry: r, Steps: s.steps("a", "b", "c"), Grace: 30 * time.Second,
		Owns: func(chat.TenantID) bool { return mine }})
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	return r, func() {
		cancel()
		wg.Wait()
		r.Close()
	}
}

func state(t *testing.T, r *tenancy.Registry) (chat.TenantState, string) {
	t.Helper()
	x, err := r.Tenant(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	return x.State, x.Erasure.Step
}

// Nothing is erased before the grace is over, everything is until a whole pass finds nothing, and one entry is left.
func TestEraser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := tenancytest.New(nil), &stuff{left: map[string]int{"a": 5, "b": 1}}
		r, stop := erasing(t, m, s, true)
		defer stop()
		other, stopOther := erasing(t, m, &stuff{}, false)
		defer stopOther()
		if _, err := r.EraseTenant(t.Context(), operator, "acme", 0); !errors.Is(err, chat.ErrNotFound) {
			t.Fatal(err)
		}
		x, err := r.CreateTenant(t.Context(), operator, chat.Tenant{ID: "acme", Name: "Acme"})
		if err != nil {
			t.Fatal(err)
		}
		ctx := chat.WithAddress(t.Context(), "203.0.113.9")
		if _, err := r.EraseTenant(ctx, operator, "acme", x.Version+1); !errors.Is(err, chat.ErrConflict) {
			t.Fatal(err)
		}
		if x, err = r.EraseTenant(ctx, operator, "acme", x.Version); err != nil || x.State != chat.TenantErasing {
			t.Fatal(x, err)
		}
		time.Sleep(29 * time.Second)
		if len(s.done) > 0 {
			t.Fatal("begun within the grace")
		}
		for name, f := range map[string]func() error{
			"user": func() error { return other.PutUser(t.Context(), chat.User{Tenant: "acme", ID: "ann"}) },
			"seen": func() error { _, err := other.Seen(t.Context(), chat.User{Tenant: "acme", ID: "ann"}); return err },
			"key": func() error {
				_, _, err := other.CreateKey(t.Context(), operator, chat.APIKey{Tenant: "acme"})
				return err
			},
			"suspend": func() error {
				_, err := other.SuspendUser(t.Context(), operator, chat.UserKey{Tenant: "acme", User: "ann"}, "")
				return err
			},
		} {
			if err := f(); !errors.Is(err, chat.ErrSuspended) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := r.ResumeTenant(t.Context(), operator, "acme"); !errors.Is(err, chat.ErrNotFound) {
			t.Errorf("it can be taken back: %v", err)
		}
		time.Sleep(10 * time.Minute)
		if got, _ := state(t, other); got != chat.TenantErased {
			t.Fatalf("it is %s after %v", got, s.done)
		}
		if s.left["a"]+s.left["b"] > 0 || !slices.Equal(s.done[len(s.done)-3:], []string{"a", "b", "c"}) {
			t.Errorf("left %v after %v", s.left, s.done)
		}
		var own []chat.AuditEntry
		for _, e := range m.Entries() {
			if e.Tenant == "acme" {
				own = append(own, e)
			}
		}
		if len(own) != 1 || own[0].Action != chat.ActionTenantErased || own[0].Actor != operator || own[0].Address != "203.0.113.9" {
			t.Errorf("entries %+v", own)
		}
		if x, err := r.EraseTenant(t.Context(), operator, "acme", 0); err != nil || x.State != chat.TenantErased {
			t.Errorf("again: %v %v", x, err)
		}
	})
}

// A process that ends in the middle is followed by one that goes on at the same step, and looks at all of them once more.
// The id is given again when the rest is over.
func TestEraserGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := tenancytest.New(nil), &stuff{left: map[string]int{"a": 3, "b": 3, "c": 3}, block: "b"}
		r, stop := erasing(t, m, s, true)
		if _, err := r.CreateTenant(t.Context(), operator, chat.Tenant{ID: "acme"}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.EraseTenant(t.Context(), operator, "acme", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if st, step := state(t, r); st != chat.TenantErasing || step != "b" {
			t.Fatalf("%s at %q", st, step)
		}
		stop()
		s.block, s.done, s.fail = "", nil, "c"
		r, stop = erasing(t, m, s, true)
		defer stop()
		time.Sleep(time.Minute)
		if st, step := state(t, r); st != chat.TenantErasing || step != "c" || !strings.HasPrefix(strings.Join(s.done, ""), "bb") {
			t.Fatalf("%s at %q after %v", st, step, s.done)
		}
		s.mu.Lock()
		s.fail = ""
		s.mu.Unlock()
		time.Sleep(5 * time.Minute)
		if st, _ := state(t, r); st != chat.TenantErased {
			t.Fatalf("%s after %v", st, s.done)
		}
		if _, err := r.CreateTenant(t.Context(), operator, chat.Tenant{ID: "acme"}); !errors.Is(err, chat.ErrConflict) {
			t.Errorf("the id was given at once: %v", err)
		}
		time.Sleep(chat.EraseRest)
		x, err := r.CreateTenant(t.Context(), operator, chat.Tenant{ID: "acme", Name: "II"})
		if err != nil || x.State != chat.TenantActive || x.Erasure != (chat.Erasure{}) {
			t.Fatal(x, err)
		}
	})
}
