package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// settled says that verification finds nothing wrong.
func settled(t *testing.T, s *storage.Store) storage.Summary {
	t.Helper()
	sum, err := s.Verify(t.Context(), func(p storage.Problem) { t.Errorf("problem: %s", p) })
	must(t, err)
	return sum
}

func fullPair() chat.Pair {
	p := chat.Pair{Key: chat.PairOf("t", "bob", "al\x00ice"), Version: 3}
	p.Lo = chat.Side{ContactSince: At(1), Favorite: true, BlockedAt: At(2),
		Request: chat.FriendRequest{ID: chat.NewRequestID(), State: chat.RequestRejected, CreatedAt: At(3), DecidedAt: At(4), Quiet: true}}
	p.Hi = chat.Side{ContactSince: At(5), Request: chat.FriendRequest{ID: chat.NewRequestID(), State: chat.RequestPending, CreatedAt: At(6)}}
	return p
}

func storePairs(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	p := fullPair()
	none := chat.Pair{Key: p.Key}
	got, err := s.GetPair(ctx, p.Key)
	must(t, err)
	equal(t, got, none)
	must(t, s.SavePair(ctx, p, none))
	must(t, s.SavePair(ctx, p, none)) // again
	ps, err := s.GetPairs(ctx, []chat.PairKey{chat.PairOf("t", "x", "y"), p.Key})
	must(t, err)
	equal(t, ps, []chat.Pair{{Key: chat.PairOf("t", "x", "y")}, p})
	alice, bob := chat.UserKey{Tenant: "t", User: "al\x00ice"}, chat.UserKey{Tenant: "t", User: "bob"}
	lists := func(k chat.UserKey, contacts []chat.Contact, blocks []chat.BlockRow, requests []chat.RequestRow) {
		t.Helper()
		c, err := s.ListContacts(ctx, k)
		must(t, err)
		equal(t, c, contacts)
		b, err := s.ListBlocks(ctx, k)
		must(t, err)
		equal(t, b, blocks)
		r, err := s.ListRequests(ctx, k)
		must(t, err)
		equal(t, r, requests)
	}
	sent := chat.RequestRow{FriendRequest: p.Lo.Request, Sender: alice.User, Receiver: bob.User}
	received := chat.RequestRow{FriendRequest: p.Hi.Request, Sender: bob.User, Receiver: alice.User}
	lists(alice, []chat.Contact{{User: bob.User, Since: At(1), Favorite: true}}, []chat.BlockRow{{User: bob.User, At: At(2)}},
		[]chat.RequestRow{sent, received})
	lists(bob, []chat.Contact{{User: alice.User, Since: At(5)}}, nil, []chat.RequestRow{received, sent})
	equal(t, settled(t, s).Unsettled, 1)
	must(t, s.SettlePair(ctx, p.Key))
	equal(t, settled(t, s).Unsettled, 0)
	// All of it is taken back.
	empty := chat.Pair{Key: p.Key, Version: 4}
	must(t, s.SavePair(ctx, empty, p))
	must(t, s.SettlePair(ctx, p.Key))
	got, err = s.GetPair(ctx, p.Key)
	must(t, err)
	equal(t, got, empty)
	lists(alice, nil, nil, nil)
	lists(bob, nil, nil, nil)
	settled(t, s)
	for _, k := range []chat.PairKey{{Tenant: "t", Lo: "b", Hi: "a"}, {Tenant: "t", Lo: "a", Hi: "a"}, {Lo: "a", Hi: "b"}, {Tenant: "t", Hi: "b"}} {
		if err := s.SavePair(ctx, chat.Pair{Key: k, Version: 1}, chat.Pair{Key: k}); !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("%s: %v", k, err)
		}
	}
}

// storePairInterrupted breaks a change of a pair off after each of its writes: once the pair itself was written,
// it is unsettled, and RederivePair leaves what an unbroken change leaves.
func storePairInterrupted(t *testing.T, s *storage.Store, e storage.Engine) {
	ctx := t.Context()
	for n := 0; ; n++ {
		before := fullPair()
		before.Key = chat.PairOf("t", "alice", chat.UserID(fmt.Sprint("bob", n)))
		must(t, s.SavePair(ctx, before, chat.Pair{Key: before.Key}))
		must(t, s.SettlePair(ctx, before.Key))
		after := before
		after.Version++
		after.Lo, after.Hi = before.Hi, before.Lo
		err := storage.New(&failing{Engine: e, left: n}, storage.Config{}).SavePair(ctx, after, before)
		if err == nil {
			if n < 5 {
				t.Fatalf("a change has %d writes only", n)
			}
			must(t, s.SettlePair(ctx, after.Key))
			settled(t, s)
			return
		}
		got, err := s.GetPair(ctx, after.Key)
		must(t, err)
		var open []chat.PairKey
		must(t, s.UnsettledPairs(ctx, func(k chat.PairKey) bool { open = append(open, k); return true }))
		of, err := s.UnsettledShard(ctx, after.Key.Home().Shard())
		must(t, err)
		equal(t, of, open) // of this pair alone
		of, err = s.UnsettledShard(ctx, (after.Key.Home().Shard()+1)%chat.Shards)
		must(t, err)
		equal(t, len(of), 0)
		if got.Version == after.Version && !slices.Contains(open, after.Key) {
			t.Fatalf("after %d writes the pair is changed and not unsettled", n)
		}
		must(t, s.RederivePair(ctx, got))
		must(t, s.SettlePair(ctx, after.Key))
		equal(t, settled(t, s).Unsettled, 0)
	}
}

func storePeopleTenants(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	p := fullPair()
	must(t, s.SavePair(ctx, p, chat.Pair{Key: p.Key}))
	must(t, s.PutPreferences(ctx, chat.UserKey{Tenant: "t", User: "bob"}, chat.Preferences{HideReceipts: true}))
	other := p.Key
	other.Tenant = "u"
	got, err := s.GetPair(ctx, other)
	must(t, err)
	equal(t, got, chat.Pair{Key: other})
	bob := chat.UserKey{Tenant: "u", User: "bob"}
	c, err := s.ListContacts(ctx, bob)
	must(t, err)
	r, err := s.ListRequests(ctx, bob)
	must(t, err)
	b, err := s.ListBlocks(ctx, chat.UserKey{Tenant: "u", User: p.Key.Lo})
	must(t, err)
	equal(t, len(c)+len(r)+len(b), 0)
	prefs, err := s.GetPreferences(ctx, "u", []chat.UserID{"bob"})
	must(t, err)
	equal(t, prefs, []chat.Preferences{{}})
}

func storePreferences(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	a, b := chat.UserKey{Tenant: "t", User: "a"}, chat.UserKey{Tenant: "t", User: "b"}
	ids := []chat.UserID{"a", "b", "c"}
	must(t, s.PutPreferences(ctx, a, chat.Preferences{HideReceipts: true, Invisible: true}))
	must(t, s.PutLastSeen(ctx, []chat.Seen{{User: a, At: At(1)}, {User: b, At: At(2)}}))
	must(t, s.PutPreferences(ctx, a, chat.Preferences{Invisible: true}))
	must(t, s.PutLastSeen(ctx, nil))
	prefs, err := s.GetPreferences(ctx, "t", ids)
	must(t, err)
	equal(t, prefs, []chat.Preferences{{Invisible: true}, {}, {}})
	seen, err := s.GetLastSeen(ctx, "t", ids)
	must(t, err)
	equal(t, seen, []time.Time{At(1), At(2), {}})
	// The two writers of a row do not undo one another.
	var wg sync.WaitGroup
	for i := range uint64(50) {
		wg.Go(func() { must(t, s.PutPreferences(ctx, b, chat.Preferences{HideReceipts: true})) })
		wg.Go(func() { must(t, s.PutLastSeen(ctx, []chat.Seen{{User: b, At: At(10 + i)}})) })
	}
	wg.Wait()
	prefs, err = s.GetPreferences(ctx, "t", ids[1:2])
	must(t, err)
	seen, err = s.GetLastSeen(ctx, "t", ids[1:2])
	must(t, err)
	if !prefs[0].HideReceipts || seen[0].Before(At(10)) {
		t.Fatal(prefs, seen)
	}
}

func storeTokens(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	refused, err := s.TokenRefused(ctx, "t", "x")
	must(t, err)
	equal(t, refused, false)
	var wg sync.WaitGroup
	var mu sync.Mutex
	first := 0
	for range 8 { // of several at once, one uses it up
		wg.Go(func() {
			fresh, err := s.RefuseToken(ctx, "t", "x", At(1))
			must(t, err)
			mu.Lock()
			defer mu.Unlock()
			if fresh {
				first++
			}
		})
	}
	wg.Wait()
	equal(t, first, 1)
	for k, want := range map[[2]string]bool{{"t", "x"}: true, {"u", "x"}: false, {"t", "y"}: false} {
		got, err := s.TokenRefused(ctx, chat.TenantID(k[0]), k[1])
		must(t, err)
		equal(t, got, want)
	}
	if _, err := s.RefuseToken(ctx, "t", "", At(1)); !errors.Is(err, chat.ErrInvalid) {
		t.Fatal(err)
	}
}

func storeEmails(t *testing.T, s *storage.Store, e storage.Engine) {
	ctx := t.Context()
	find := func(tenant chat.TenantID, email string, want ...chat.UserID) {
		t.Helper()
		users, err := s.FindByEmail(ctx, tenant, email)
		must(t, err)
		var got []chat.UserID
		for _, u := range users {
			got = append(got, u.ID)
		}
		equal(t, got, want)
	}
	put := func(id chat.UserID, email string, made uint64) {
		t.Helper()
		must(t, s.PutUser(ctx, chat.User{Tenant: "t", ID: id, Username: string(id), Email: email, CreatedAt: At(made), UpdatedAt: At(made)}))
	}
	// A user of a store from before the index, and one who was created since.
	must(t, e.Apply(ctx, storage.Batch{Table: storage.TableUsers, Partition: storage.Key{txt("t"), txt("old")},
		Mutations: []storage.Mutation{{Columns: row(txt("old"), txt("Old@Example.org"))}}}))
	_, _, err := s.CreateUser(ctx, chat.User{Tenant: "t", ID: "a", Username: "a", Email: "a@example.org", CreatedAt: At(2)})
	must(t, err)
	find("t", "old@example.org")
	must(t, s.IndexUsers(ctx))
	must(t, s.IndexUsers(ctx))
	find("t", " OLD@example.org ", "old")
	find("t", "A@example.org", "a")
	find("u", "a@example.org")
	find("t", "b@example.org")
	find("t", "not an address")
	put("a", "new@example.org", 2)
	find("t", "a@example.org")
	find("t", "new@example.org", "a")
	put("b", "new@example.org", 1) // namesakes: the longest-known first
	find("t", "new@example.org", "b", "a")
	put("b", "", 1)
	find("t", "new@example.org", "a")
	settled(t, s)
	// Two at a time: whatever address a user ends with finds the user.
	for n := range 20 {
		var wg sync.WaitGroup
		for _, email := range []string{"x@example.org", "y@example.org", "x@example.org"} {
			wg.Go(func() { put("r", email, 1) })
		}
		wg.Wait()
		users, err := s.GetUsers(ctx, "t", []chat.UserID{"r"})
		must(t, err)
		find("t", users[0].Email, "r")
		if t.Failed() {
			t.Fatalf("round %d", n)
		}
	}
	settled(t, s)
}
