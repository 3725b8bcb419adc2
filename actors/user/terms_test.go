package user_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/actors/user"
	"github.com/zumodra/hub/chat"
)

// tenure is an Owner of all shards whose terms a test begins and ends: 0 is none.
type tenure struct{ epoch atomic.Uint64 }

func (o *tenure) Term(int) (uint64, bool) {
	e := o.epoch.Load()
	return e, e > 0
}
func (o *tenure) MayAck(_ int, epoch uint64) bool { return o.epoch.Load() == epoch }

func everything() *chat.ShardSet {
	s := new(chat.ShardSet)
	for i := range chat.Shards {
		s.Add(i)
	}
	return s
}

func newTermRig(t *testing.T) (*rig, *tenure) {
	o := new(tenure)
	o.epoch.Store(1)
	return newRig(t, func(c *user.Config) { c.Owner = o }), o
}

type verdict struct {
	p   chat.Pair
	err error
}

func (r *rig) begin(me chat.UserID, cmd chat.PeopleCommand) <-chan verdict {
	ch := make(chan verdict, 1)
	r.Do(as(me), cmd, func(p chat.Pair, err error) { ch <- verdict{p, err} })
	return ch
}

func TestReleaseFinishesWhatWasAccepted(t *testing.T) {
	r, o := newTermRig(t)
	r.store.fault = func(string) error {
		time.Sleep(time.Millisecond)
		return nil
	}
	var under []<-chan verdict
	for i := range 20 {
		under = append(under, r.begin("a", chat.Block{User: chat.UserID(fmt.Sprint("b", i))}))
	}
	if err := r.Release(t.Context(), everything()); err != nil || r.Live() != 0 {
		t.Fatalf("%v, %d live", err, r.Live())
	}
	for _, ch := range under {
		if v := <-ch; v.err != nil || !v.p.Blocked() {
			t.Fatal(v.err)
		}
	}
	if len(r.store.unsettled) > 0 {
		t.Fatal("unsettled pairs are left")
	}
	if _, err := r.try("a", chat.Unblock{User: "b1"}); !errors.Is(err, chat.ErrMoved) {
		t.Fatal(err)
	}
	o.epoch.Store(2)
	r.do("a", chat.Unblock{User: "b1"})
}

// What is under way when the term is lost is not acknowledged, and what comes under the next term waits for its end.
func TestDropGivesUp(t *testing.T) {
	r, o := newTermRig(t)
	hang, hanging := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.store.fault = func(op string) error {
		if op == "save" {
			once.Do(func() {
				close(hanging)
				<-hang
			})
		}
		return nil
	}
	under := r.begin("a", chat.Block{User: "b"})
	<-hanging
	behind := r.begin("b", chat.Block{User: "a"})
	guarded := make(chan error, 1)
	r.Guard(chat.PairOf("t", "a", "b"), func(err error, _ func()) { guarded <- err })
	o.epoch.Store(0)
	r.Drop(everything())
	if v := <-behind; !errors.Is(v.err, chat.ErrMoved) {
		t.Fatal(v.err)
	}
	if err := <-guarded; !errors.Is(err, chat.ErrMoved) {
		t.Fatal(err)
	}
	o.epoch.Store(5)
	again := r.begin("b", chat.Block{User: "a"})
	select {
	case v := <-again:
		t.Fatalf("%v while the last term's write is under way", v.err)
	case <-time.After(20 * time.Millisecond):
	}
	close(hang)
	if v := <-under; !errors.Is(v.err, chat.ErrUnknown) || errors.Is(v.err, chat.ErrMoved) {
		t.Fatal(v.err)
	}
	if v := <-again; v.err != nil || v.p.Lo.BlockedAt.IsZero() || v.p.Hi.BlockedAt.IsZero() {
		t.Fatalf("%+v, %v", v.p, v.err) // it saw the other block
	}
}

func TestReleaseGivesUp(t *testing.T) {
	r, _ := newTermRig(t)
	release := make(chan func(), 1)
	r.Guard(chat.PairOf("t", "a", "b"), func(err error, f func()) { release <- f })
	held := <-release
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.Release(ctx, everything()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	held()
	for deadline := time.Now().Add(time.Minute); r.Live() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not end")
		}
	}
}
