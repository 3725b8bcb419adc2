package actors_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// peopled is a rig whose hub keeps what is between users.
func peopled(t *testing.T, c actors.Config) (*rig, *faultstore.Store) {
	store := faultstore.New()
	c.Store, c.People = store, store
	return newRig(t, c), store
}

func (r *rig) relate(u chat.UserID, c chat.PeopleCommand) chat.Pair {
	r.t.Helper()
	p, err := r.Relate(bg, as(u), c)
	if err != nil {
		r.t.Fatalf("%s by %s: %v", c.Name(), u, err)
	}
	return p
}

// suggested shows the caller's suggestions as USER:SHARED.
func (r *rig) suggested(u chat.UserID) (list []string) {
	r.t.Helper()
	items, err := r.Suggestions(bg, as(u))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range items {
		if want := float64(s.SharedGroups); s.Score() != max(want, 0.5) || s.Profile.Username == "" {
			r.t.Errorf("%+v: score %v", s, s.Score())
		}
		list = append(list, fmt.Sprintf("%s:%d", s.Profile.ID, s.SharedGroups))
	}
	return list
}

func TestReq150_RankedBySharedGroups(t *testing.T) {
	r, _ := peopled(t, actors.Config{EmailPrivacy: true})
	r.direct("1", "9") // is no group
	r.group("1", "2", "3", "4", "5", "6")
	r.group("3", "1", "4", "5", "7")
	r.group("4", "1", "5")
	r.group("8", "2", "3", "4") // not of 1
	want := func(list ...string) {
		t.Helper()
		if got := r.suggested("1"); !slices.Equal(got, list) {
			t.Errorf("suggested %v, want %v", got, list)
		}
	}
	want("4:3", "5:3", "3:2", "2:1", "6:1", "7:1")
	// What is between two users counts at once, in either direction.
	r.relate("1", chat.AddContact{User: "4"})
	r.relate("5", chat.Block{User: "1"})
	r.relate("1", chat.RequestFriend{User: "3"})
	r.relate("6", chat.RequestFriend{User: "1"})
	want("2:1", "7:1")
	r.relate("1", chat.Block{User: "2"})
	want("7:1")
	// That 7 has made 1 a contact is no reason to leave 7 out.
	r.relate("7", chat.AddContact{User: "1"})
	want("7:1")
	// A quiet request tells its sender nothing, neither by who goes missing.
	r.relate("1", chat.RequestFriend{User: "7", Quiet: true})
	want("7:1")
	r.relate("5", chat.Unblock{User: "1"})
	r.relate("1", chat.RemoveContact{User: "4"})
	want("4:3", "5:3", "7:1")
}

func TestReq150_ColleaguesTopTen(t *testing.T) {
	r, store := peopled(t, actors.Config{})
	store.AddUsers("other", "99")
	r.group("1", "8", "9")
	if got, want := r.suggested("1"), []string{"8:1", "9:1", "10:0", "11:0", "2:0", "3:0", "4:0", "5:0", "6:0", "7:0"}; !slices.Equal(got, want) {
		t.Errorf("suggested %v, want %v", got, want)
	}
	for i := range 40 { // one group with more than ten
		store.AddUsers(tenant, chat.UserID(fmt.Sprint("u", i)))
		r.group("2", "3", chat.UserID(fmt.Sprint("u", i)))
	}
	if got := r.suggested("2"); len(got) != chat.MaxSuggestions || got[0] != "3:40" {
		t.Errorf("suggested %v", got)
	}
}

// Suggestions are found once a day; that there are none, once a minute.
func TestReq150_CachedForADay(t *testing.T) {
	start, passed := time.Now(), atomic.Int64{}
	pass := func(d time.Duration) { passed.Add(int64(d)) }
	r, store := peopled(t, actors.Config{EmailPrivacy: true, Now: func() time.Time { return start.Add(time.Duration(passed.Load())) }})
	if got := r.suggested("1"); len(got) != 0 {
		t.Fatalf("suggested %v", got)
	}
	r.group("1", "2")
	pass(time.Minute)
	if got := r.suggested("1"); !slices.Equal(got, []string{"2:1"}) {
		t.Fatalf("suggested %v", got)
	}
	r.group("1", "3")
	pass(24*time.Hour - time.Second)
	before := store.Calls("ListMemberships")
	if got := r.suggested("1"); !slices.Equal(got, []string{"2:1"}) || store.Calls("ListMemberships") != before {
		t.Errorf("suggested %v; %d lists were read", got, store.Calls("ListMemberships")-before)
	}
	pass(time.Second)
	if got := r.suggested("1"); !slices.Equal(got, []string{"2:1", "3:1"}) {
		t.Errorf("suggested %v", got)
	}
	if s := r.Stats(); s.SuggestionHits != 1 || s.SuggestionMisses != 3 {
		t.Errorf("%d hits, %d misses", s.SuggestionHits, s.SuggestionMisses)
	}
}

// However many groups a user is in, and however large, the store is called as often.
func TestReq150_BoundedWork(t *testing.T) {
	r, store := peopled(t, actors.Config{EmailPrivacy: true})
	var members []chat.UserID
	for i := range 150 {
		u := chat.UserID(fmt.Sprintf("m%03d", i))
		members = append(members, u)
		store.AddUsers(tenant, u)
	}
	r.group("1", members...)
	for i := range 120 {
		r.group("1", members[i])
	}
	before := store.TotalCalls()
	got := r.suggested("1")
	if n := store.TotalCalls() - before; n > 5 {
		t.Errorf("%d calls", n)
	}
	if len(got) != chat.MaxSuggestions {
		t.Errorf("suggested %v", got)
	}
}
