package lease_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
)

// duration of leases where none is given.
const duration = 6 * time.Second

// admit asks for a node named name that reaches some lives; what it answers within a span, and whom it missed last.
func (w *world) admit(name string, span time.Duration, reached ...chat.NodeID) (missed []string, err error) {
	w.t.Helper()
	m, err := lease.New(lease.Config{Name: name, Store: &faults{memory: w.rows}, Duration: duration})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), span)
	defer cancel()
	err = m.Admit(ctx, func(id chat.NodeID) bool { return slices.Contains(reached, id) }, func(list []lease.Holder) {
		missed = nil
		for _, h := range list {
			missed = append(missed, h.Name)
		}
	})
	return missed, err
}

// Who does not reach most of those that live stays outside for as long as they live; who does, or is the first, comes in.
func TestOnlyWhoIsReachedComesIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if _, err := w.admit("a", duration); err != nil {
			t.Fatal("the first of all:", err)
		}
		a := w.add("a", nil)
		if missed, err := w.admit("b", 10*duration); err == nil || !slices.Equal(missed, []string{"a"}) {
			t.Fatal("reaches nobody:", err, missed)
		}
		b := w.add("b", nil)
		if missed, err := w.admit("c", 10*duration); err == nil || len(missed) != 2 {
			t.Fatal("reaches nobody:", err, missed)
		}
		if _, err := w.admit("c", duration/2, b.Self()); err != nil {
			t.Fatal("reaches one of two, and is the second of three:", err)
		}
		if _, err := w.admit("a", duration/2, b.Self()); err != nil {
			t.Fatal("its own former life:", err)
		}
		a.Close()
		b.Close() // dead, and nobody is left to declare it
		if _, err := w.admit("c", duration/2); err == nil {
			t.Fatal("their leases may still hold")
		}
		if _, err := w.admit("c", 2*duration); err != nil {
			t.Fatal("their leases have run out:", err)
		}
	})
}
