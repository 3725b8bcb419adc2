package sets_test

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/actors/directory/sets"
	"github.com/zumodra/hub/chat"
)

func members(n int, version uint64) *chat.MemberSet {
	s := &chat.MemberSet{Version: version}
	for i := range n {
		s.Users = append(s.Users, chat.UserID(fmt.Sprintf("%06d-%d", i, version)))
	}
	return s
}

func delivery(n byte, set *chat.MemberSet) *chat.Delivery {
	return &chat.Delivery{Key: chat.ConversationKey{Tenant: "t", ID: chat.ConversationID{n}}, Recipients: set}
}

// travel is what a codec makes of a delivery: equal, and elsewhere in memory.
func travel(d *chat.Delivery) *chat.Delivery {
	c := *d
	c.Recipients = &chat.MemberSet{Version: d.Recipients.Version, Users: append([]chat.UserID(nil), d.Recipients.Users...)}
	return &c
}

func TestASetIsSentOnce(t *testing.T) {
	var s sets.Sender
	var r sets.Receiver
	d := delivery(1, members(100, 3))
	full, ticket := s.Pack(7, d)
	if full != d || ticket == 0 {
		t.Fatal("an unknown set was named")
	}
	first, err := r.Recipients(1, travel(full))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := s.Pack(7, d); again != d {
		t.Fatal("a set was named before it was confirmed")
	}
	s.Confirmed(7, d, ticket)
	short, ticket := s.Pack(7, d)
	if len(short.Recipients.Users) != 0 || short.Recipients.Version != 3 {
		t.Fatalf("%+v", short.Recipients)
	}
	if got, err := r.Recipients(1, travel(short)); got != first || err != nil {
		t.Fatal("the name is another set, or none:", err)
	}
	if _, err := r.Recipients(2, travel(short)); !errors.Is(err, chat.ErrUnknownSet) {
		t.Fatal("another node's set was taken:", err)
	}
	if !s.Unknown(7, d, ticket) {
		t.Fatal("the newest may not be sent again")
	}
	if again, _ := s.Pack(7, d); again != d {
		t.Fatal("a set that is not known was named")
	}
	if s.Unknown(7, d, ticket) {
		t.Fatal("one that is not the newest may be sent again")
	}
	small := delivery(1, members(sets.Large-1, 4))
	if got, ticket := s.Pack(7, small); got != small || ticket != 0 {
		t.Fatal("a small set got a name")
	}
}

// Whatever gets lost, forgotten or sent out of turn: a receiver that finds a set finds the right one.
func TestNamesMeanWhatWasMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sets.Sender{Names: rapid.IntRange(1, 4).Draw(t, "names")}
		r := sets.Receiver{Members: rapid.IntRange(100, 600).Draw(t, "members")}
		current := map[byte]*chat.MemberSet{}
		version := uint64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			c := rapid.ByteRange(1, 3).Draw(t, "conversation")
			if current[c] == nil || rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				version++
				current[c] = members(rapid.IntRange(sets.Large-2, 120).Draw(t, "size"), version)
			}
			d := delivery(c, current[c])
			packed, ticket := s.Pack(7, d)
			if rapid.IntRange(0, 4).Draw(t, "lost") == 0 {
				continue
			}
			got, err := r.Recipients(1, travel(packed))
			switch {
			case errors.Is(err, chat.ErrUnknownSet):
				s.Unknown(7, d, ticket)
				if again, _ := s.Pack(7, d); again != d {
					t.Fatal("named again")
				}
			case err != nil:
				t.Fatal(err)
			default:
				if fmt.Sprint(got.Users) != fmt.Sprint(d.Recipients.Users) {
					t.Fatal("another set")
				}
				if rapid.Bool().Draw(t, "confirmed") {
					s.Confirmed(7, d, ticket)
				}
			}
		}
	})
}
