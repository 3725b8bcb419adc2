package node_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/storagetest"
)

type noEdge struct{}

func (noEdge) Deliver(*chat.SessionSet, *chat.Delivery) {}

// actorsOn is a Hub over the repositories and an engine in memory.
func actorsOn(t *testing.T, e storage.Engine) (*actors.Hub, *storage.Store) {
	t.Helper()
	s := storage.New(e, storage.Config{})
	h := actors.New(actors.Config{Store: s, People: s, Edge: noEdge{}})
	if err := h.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return h, s
}

func known(t *testing.T, s *storage.Store, ids ...chat.UserID) {
	t.Helper()
	for _, id := range ids {
		if _, _, err := s.CreateUser(t.Context(), chat.User{Tenant: chat.DefaultTenant, ID: id, Username: string(id)}); err != nil {
			t.Fatal(err)
		}
	}
}

// fill writes n pairs of a user, as they would be after as many commands.
func fill(t *testing.T, s *storage.Store, me chat.UserID, n int, side func(mine, theirs *chat.Side)) {
	t.Helper()
	for i := range n {
		other := chat.UserID(fmt.Sprint("u", i))
		p := chat.Pair{Key: chat.PairOf(chat.DefaultTenant, me, other)}
		before := p
		p.Version = 1
		side(p.Of(me), p.Of(other))
		if err := errors.Join(s.SavePair(t.Context(), p, before), s.SettlePair(t.Context(), p.Key)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBoundsOfPeople(t *testing.T) {
	t.Parallel()
	h, s := actorsOn(t, storagetest.Memory())
	known(t, s, "contacts", "sender", "receiver", "quiet", "blocker", "new", "newer")
	at := time.Now()
	pending := func() chat.FriendRequest {
		return chat.FriendRequest{ID: chat.NewRequestID(), State: chat.RequestPending, CreatedAt: at}
	}
	fill(t, s, "contacts", chat.MaxContacts, func(mine, _ *chat.Side) { mine.ContactSince = at })
	fill(t, s, "blocker", chat.MaxBlocks, func(mine, _ *chat.Side) { mine.BlockedAt = at })
	fill(t, s, "sender", chat.MaxPendingRequests, func(mine, _ *chat.Side) { mine.Request = pending() })
	fill(t, s, "receiver", chat.MaxPendingRequests, func(_, theirs *chat.Side) { theirs.Request = pending() })
	fill(t, s, "quiet", chat.MaxPendingRequests, func(mine, _ *chat.Side) {
		mine.Request = pending()
		mine.Request.Quiet = true
	})
	for _, c := range []struct {
		me   chat.UserID
		cmd  chat.PeopleCommand
		want error
	}{
		{"contacts", chat.AddContact{User: "new"}, chat.ErrTooManyContacts},
		{"blocker", chat.Block{User: "new"}, chat.ErrTooManyBlocks},
		{"sender", chat.RequestFriend{User: "new"}, chat.ErrTooManyRequests},
		{"sender", chat.AddContact{User: "new", Ask: true}, chat.ErrTooManyRequests},
		{"sender", chat.AddContact{User: "new"}, nil},
		{"new", chat.RequestFriend{User: "receiver"}, chat.ErrTooManyRequests},
		// Quiet requests are counted apart.
		{"quiet", chat.RequestFriend{User: "new"}, nil},
		{"quiet", chat.RequestFriend{User: "newer", Quiet: true}, chat.ErrTooManyRequests},
		{"sender", chat.RequestFriend{User: "newer", Quiet: true}, nil},
	} {
		_, err := h.Relate(t.Context(), principal(string(c.me)), c.cmd)
		if !errors.Is(err, c.want) && (c.want != nil || err != nil) {
			t.Errorf("%s %+v: %v, want %v", c.me, c.cmd, err, c.want)
		}
	}
	// Nobody becomes a contact beyond the bound by accepting, either.
	p, err := h.Relate(t.Context(), principal("newer"), chat.RequestFriend{User: "contacts"})
	if err != nil {
		t.Fatal(err)
	}
	answer := chat.AnswerRequest{User: "newer", ID: p.Of("newer").Request.ID, Accept: true}
	if _, err := h.Relate(t.Context(), principal("contacts"), answer); !errors.Is(err, chat.ErrTooManyContacts) {
		t.Error(err)
	}
	all, err := h.Contacts(t.Context(), principal("contacts"))
	if err != nil || len(all) != chat.MaxContacts {
		t.Error(len(all), err)
	}
}

// counting counts reads.
type counting struct {
	storage.Engine
	reads atomic.Int64
}

func (c *counting) GetMany(ctx context.Context, t *storage.Table, keys []storage.FullKey) ([]storage.Row, error) {
	c.reads.Add(1)
	return c.Engine.GetMany(ctx, t, keys)
}

func (c *counting) Scan(ctx context.Context, r storage.Range, yield func(storage.Row) bool) error {
	c.reads.Add(1)
	return c.Engine.Scan(ctx, r, yield)
}

func (c *counting) Get(ctx context.Context, t *storage.Table, p, k storage.Key) (storage.Row, error) {
	c.reads.Add(1)
	return c.Engine.Get(ctx, t, p, k)
}

// The list of contacts reads the store as often for two as for two thousand.
func TestReq155_ContactsReadAConstantNumberOfTimes(t *testing.T) {
	t.Parallel()
	e := &counting{Engine: storagetest.Memory()}
	h, s := actorsOn(t, e)
	fill(t, s, "few", 2, func(mine, _ *chat.Side) { mine.ContactSince = time.Now() })
	fill(t, s, "many", 2000, func(mine, _ *chat.Side) { mine.ContactSince = time.Now() })
	count := func(u string) int64 {
		before := e.reads.Load()
		if _, err := h.Contacts(t.Context(), principal(u)); err != nil {
			t.Fatal(err)
		}
		return e.reads.Load() - before
	}
	if few, many := count("few"), count("many"); few != many || few > 6 {
		t.Errorf("%d reads for two, %d for two thousand", few, many)
	}
}

// crashing lets n more writes through and then fails, as a process does that ends.
type crashing struct {
	storage.Engine
	left int
}

var errCrashed = errors.New("crashed")

func (c *crashing) Apply(ctx context.Context, b storage.Batch) error {
	if c.left--; c.left < 0 {
		return errCrashed
	}
	return c.Engine.Apply(ctx, b)
}

// A block that a crash came behind is carried out at the next start, after whichever write it stopped: the list, the
// direct conversation and the check agree, and nothing is left to do.
func TestReq029_BlockIsSettledAfterACrash(t *testing.T) {
	t.Parallel()
	for n := range 6 {
		e := storagetest.Memory()
		id := chat.DirectID(chat.DefaultTenant, "ann", "bob")
		func() {
			first := storage.New(e, storage.Config{})
			known(t, first, "ann", "bob")
			h := actors.New(actors.Config{Store: first, People: first, Edge: noEdge{}})
			if err := h.Start(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Do(t.Context(), principal("ann"), chat.Create{Kind: chat.Direct, Members: []chat.UserID{"bob"}}); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}()
		before := chat.Pair{Key: chat.PairOf(chat.DefaultTenant, "ann", "bob")}
		after := before
		after.Version, after.Lo.BlockedAt = 1, time.Now().UTC().Truncate(time.Microsecond)
		_ = storage.New(&crashing{e, n}, storage.Config{}).SavePair(t.Context(), after, before)

		h, s := actorsOn(t, e)
		pair, err := h.Pair(t.Context(), principal("ann"), "bob")
		if err != nil {
			t.Fatal(err)
		}
		list, err := h.Blocks(t.Context(), principal("ann"))
		if err != nil || (len(list) == 1) != pair.Blocked() {
			t.Fatalf("after %d writes: blocked %v, listed %v, %v", n, pair.Blocked(), list, err)
		}
		_, err = h.Do(t.Context(), principal("bob"), chat.Send{Conversation: id, Content: "x"})
		if errors.Is(err, chat.ErrBlocked) != pair.Blocked() || err != nil && !errors.Is(err, chat.ErrBlocked) {
			t.Fatalf("after %d writes: blocked %v, sending: %v", n, pair.Blocked(), err)
		}
		if n > 2 && !pair.Blocked() {
			t.Fatalf("after %d writes nothing is stored", n)
		}
		open := 0
		if err := s.UnsettledPairs(t.Context(), func(chat.PairKey) bool { open++; return true }); err != nil || open != 0 {
			t.Fatalf("after %d writes: %d unsettled, %v", n, open, err)
		}
	}
}
