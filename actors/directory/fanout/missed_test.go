package fanout_test

import (
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
)

// Who was removed, was not told of it, and is a member again is not told any more: the sessions that it has by then may be
// there, and would be ended for good.
func TestWhoIsBackIsNotToldThatTheyWereRemoved(t *testing.T) {
	for _, known := range []bool{false, true} { // that the news of the removal were lost, when they are back
		bubble(t, 3, func(w *world) {
			drop := func(p float64) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.drop = p
			}
			before, after := set(1, 1, 2), set(3, 1, 2)
			w.sets[1] = before
			_ = w.n(1).open(1, 1)
			_ = w.n(2).open(2, 1) // of another conversation, say
			time.Sleep(time.Second)
			pub := w.ownerOf(1).pub
			drop(1)
			d := event(1, before, 1)
			d.Detached = []chat.UserID{user(2).User}
			pub.Publish(d)
			if known {
				time.Sleep(time.Second)
			}
			w.mu.Lock()
			w.sets[1], w.heads[1] = after, 2
			w.mu.Unlock()
			back := event(1, after, 2)
			e := back.Notices[0].Event
			e.Type, e.Change, e.Users = chat.EventParticipants, chat.ChangeAdded, d.Detached
			pub.Publish(back)
			time.Sleep(100 * time.Millisecond)
			drop(0)
			_ = w.n(2).open(2, 2)
			time.Sleep(10 * time.Second)
			if got := w.n(2).seen(2); slices.Contains(got, "1:detached") || !slices.Contains(got, "1:head 2") {
				t.Errorf("known %v: %v", known, got)
			}
			if st := pub.Stats(); !pub.Settled(key(1)) || st.Missed != 0 {
				t.Errorf("known %v: it is missed still: %+v", known, st)
			}
		})
	}
}

// Where too many are to be told that they are members no more, the sessions of all of them are ended, and the conversation
// is settled: it may be gone, and nothing would ever be delivered that settles it.
func TestTooManyWhoWereRemovedAreNotMissedForEver(t *testing.T) {
	bubble(t, 2, func(w *world) {
		drop := func(p float64) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.drop = p
		}
		all := make([]int, 4100)
		for i := range all {
			all[i] = i + 1
		}
		before, rest := set(1, all...), set(2, all[50:]...)
		w.sets[1] = before
		for i, u := range []int{1, 4000} {
			_ = w.n(1).open(u, chat.SessionID(i+1))
		}
		time.Sleep(time.Second)
		pub := w.ownerOf(1).pub
		drop(1)
		some := event(1, before, 1)
		some.Notices, some.Detached = nil, before.Users[:50]
		pub.Publish(some)
		time.Sleep(time.Second)
		w.mu.Lock()
		w.sets[1] = set(9)
		w.mu.Unlock()
		gone := event(1, rest, 2)
		gone.Detached, gone.Gone = rest.Users, true
		pub.Publish(gone)
		time.Sleep(100 * time.Millisecond)
		drop(0)
		time.Sleep(10 * time.Second)
		if st := pub.Stats(); !pub.Settled(key(1)) || st.Missed != 0 || st.Resyncs == 0 {
			t.Errorf("%+v", st)
		}
		n := w.n(1)
		n.mu.Lock()
		defer n.mu.Unlock()
		if !n.ended[1] || !n.ended[2] {
			t.Errorf("sessions go on: %v", n.ended)
		}
	})
}
