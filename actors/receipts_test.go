package actors_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

func TestReq053Req054_OneReceiptWithItsTime(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3")
	m := r.do("1", chat.Send{Conversation: c, Content: "x"}).Event
	r.do("2", chat.MarkRead{Conversation: c, Message: m.Message})
	item, err := r.Message(bg, as("1"), m.Message)
	if err != nil || !item.IsRead || len(item.ReadBy) != 1 || item.ReadBy[0].User != "2" || item.ReadBy[0].At.Before(m.At) {
		t.Fatalf("%+v, %v", item, err)
	}
	at := item.ReadBy[0].At
	r.do("2", chat.MarkRead{Conversation: c, Message: m.Message})
	r.do("1", chat.Send{Conversation: c, Content: "y"})
	r.do("2", chat.MarkRead{Conversation: c})
	item, _ = r.Message(bg, as("3"), m.Message)
	if len(item.ReadBy) != 1 || !item.ReadBy[0].At.Equal(at) {
		t.Fatalf("%+v", item.ReadBy)
	}
}

func TestReq055Req056_MarkConversationRead(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3")
	for i := range 3 {
		r.do("1", chat.Send{Conversation: c, Content: text(i)})
	}
	r.do("2", chat.Send{Conversation: c, Content: "own"})
	unread := func(u chat.UserID) uint64 {
		item, err := r.Conversation(bg, as(u), c)
		if err != nil {
			t.Fatal(err)
		}
		return item.Unread
	}
	if unread("1") != 1 || unread("2") != 3 || unread("3") != 4 {
		t.Fatal(unread("1"), unread("2"), unread("3"))
	}
	if n := r.do("2", chat.MarkRead{Conversation: c}).Marked; n != 3 {
		t.Fatalf("marked %d", n)
	}
	if n := r.do("2", chat.MarkRead{Conversation: c}).Marked; n != 0 {
		t.Fatalf("marked %d again", n)
	}
	if unread("1") != 1 || unread("2") != 0 || unread("3") != 4 {
		t.Fatal(unread("1"), unread("2"), unread("3"))
	}
}

func TestReq057_ReadSurvivesRestart(t *testing.T) {
	store := faultstore.New()
	r := newRig(t, actors.Config{Store: store})
	c := r.direct("1", "2")
	r.do("1", chat.Send{Conversation: c, Content: "x"})
	r.do("2", chat.MarkRead{Conversation: c})
	r.do("1", chat.Send{Conversation: c, Content: "y"})
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_ = r.Close(ctx)
	again := newRig(t, actors.Config{Store: store})
	if item, err := again.Conversation(bg, as("2"), c); err != nil || item.Unread != 1 {
		t.Fatalf("%+v, %v", item, err)
	}
}

func TestReq058_OneFrameForABulkRead(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2")
	for i := range 20 {
		r.do("1", chat.Send{Conversation: c, Content: text(i)})
	}
	r.open("1", c, 11)
	r.do("2", chat.MarkRead{Conversation: c})
	r.do("2", chat.Typing{Conversation: c})
	eventually(t, "the typing after it", func() bool {
		ns := r.edge.notices(11)
		return len(ns) > 0 && ns[len(ns)-1].Typing != nil
	})
	ns := r.edge.notices(11)
	if len(ns) != 2 || ns[0].Read == nil || ns[0].Read.Seq != 21 {
		t.Fatalf("%d notices: %+v", len(ns), ns)
	}
}

func TestReq060_DeliveredAndRead(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.direct("1", "2")
	r.do("1", chat.Send{Conversation: c, Content: "x"})
	r.do("2", chat.MarkDelivered{Conversation: c, Seq: 2})
	me := r.do("2", chat.Attach{Conversation: c}).View.Me
	if me.Delivered.Seq != 2 || me.Read.Seq >= 2 {
		t.Fatalf("%+v", me)
	}
	r.do("2", chat.MarkRead{Conversation: c})
	me = r.do("2", chat.Attach{Conversation: c}).View.Me
	if me.Read.Seq != 2 || me.Delivered.At.After(me.Read.At) {
		t.Fatalf("%+v", me)
	}
}

// The store is read a constant number of times, however many conversations are listed.
func TestReq155_NoNPlusOne(t *testing.T) {
	store := faultstore.New()
	r := newRig(t, actors.Config{Store: store})
	for i := range 60 {
		u := chat.UserID(fmt.Sprint("u", i))
		store.AddUsers(tenant, u)
		c := r.direct("1", u)
		r.do(u, chat.Send{Conversation: c, Content: "x"})
	}
	cost := func(h *rig) int {
		before := store.TotalCalls()
		page, err := h.Conversations(bg, as("1"), chat.ListQuery{Limit: 50})
		if err != nil || page.Total != 60 || len(page.Items) != 50 {
			t.Fatalf("%d of %d, %v", len(page.Items), page.Total, err)
		}
		for i, it := range page.Items {
			if it.Unread != 1 || it.Other == nil || len(it.Members) != 2 {
				t.Fatalf("item %d: %+v", i, it)
			}
		}
		return store.TotalCalls() - before
	}
	if n := cost(r); n > 2 {
		t.Fatalf("%d calls with all in memory", n)
	}
	if err := r.Close(bg); err != nil {
		t.Fatal(err)
	}
	if n := cost(newRig(t, actors.Config{Store: store})); n > 5 {
		t.Fatalf("%d calls with none in memory", n)
	}
}

// In a large group everybody is told of how many have read, and nobody of every reader.
func TestReadersOfALargeGroupAreCounted(t *testing.T) {
	r := newRig(t, actors.Config{})
	members := []chat.UserID{"1"}
	for i := range 299 {
		members = append(members, chat.UserID(fmt.Sprint(i+2)))
	}
	r.store.AddUsers(tenant, members...)
	c := r.group(members[0], members[1:]...)
	for i, u := range members[:3] {
		r.session(u, c, chat.SessionID(i+1))
	}
	m := r.do("1", chat.Send{Conversation: c, Content: "x"}).Event
	for _, u := range members[1:] {
		r.do(u, chat.MarkRead{Conversation: c})
	}
	seen := map[chat.UserID]bool{}
	q := chat.ReceiptQuery{Limit: 100}
	for pages := 1; ; pages++ {
		page, err := r.Readers(bg, as("1"), m.Message, q)
		if err != nil || page.Total != 299 || len(page.Receipts) > 100 || pages > 4 {
			t.Fatalf("page %d: %d receipts of %d, %v", pages, len(page.Receipts), page.Total, err)
		}
		for _, x := range page.Receipts {
			if seen[x.User] || x.User == "1" || x.At.Before(m.At) {
				t.Errorf("%+v", x)
			}
			seen[x.User] = true
		}
		if !page.More {
			break
		}
		q.After, q.AfterUser = page.Next, page.NextUser
	}
	if len(seen) != 299 {
		t.Errorf("%d readers are listed", len(seen))
	}
	if it, err := r.Message(bg, as("2"), m.Message); err != nil || it.Readers != 299 || len(it.ReadBy) != 100 {
		t.Errorf("%d of %d readers, %v", len(it.ReadBy), it.Readers, err)
	}
	counted := func(s chat.SessionID) (readers uint64, own, others int) {
		for _, n := range r.edge.notices(s) {
			switch {
			case n.Read == nil:
			case n.Read.User == "":
				readers = n.Read.Readers
				if n.Read.Message != m.Message {
					t.Errorf("%+v", n.Read)
				}
			case n.Read.User == members[s-1]:
				own++
			default:
				others++
			}
		}
		return readers, own, others
	}
	for i := range 3 {
		s := chat.SessionID(i + 1)
		eventually(t, "the count", func() bool { n, _, _ := counted(s); return n == 299 })
		if _, own, others := counted(s); own != min(i, 1) || others != 0 {
			t.Errorf("session %d was told of %d own reads and %d of others", s, own, others)
		}
	}
}

// Whoever read privately and then for all to see is listed with the time of the latter, and counted.
func TestReq059_ListedOnceTheyTell(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3")
	m := r.do("1", chat.Send{Conversation: c, Content: "x"}).Event
	r.do("2", chat.MarkRead{Conversation: c, Private: true})
	listed := func(total int, users ...chat.UserID) {
		t.Helper()
		page, err := r.Readers(bg, as("3"), m.Message, chat.ReceiptQuery{Limit: 10})
		var got []chat.UserID
		for _, x := range page.Receipts {
			got = append(got, x.User)
		}
		if err != nil || page.Total != total || page.More || !slices.Equal(got, users) {
			t.Errorf("%v of %d are listed, more %v, %v; want %v of %d", got, page.Total, page.More, err, users, total)
		}
	}
	listed(0)
	r.do("1", chat.Send{Conversation: c, Content: "y"})
	r.do("2", chat.MarkRead{Conversation: c})
	listed(1, "2")
}

// Who left and is back has read as a member that it is not any more: it is neither counted nor listed, and does not take
// the place of others.
func TestReadersWhoAreBack(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3", "4")
	m := r.do("1", chat.Send{Conversation: c, Content: "x"}).Event
	r.do("2", chat.MarkRead{Conversation: c})
	r.do("1", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"2"}})
	r.do("1", chat.AddMembers{Conversation: c, Users: []chat.UserID{"2"}})
	r.do("3", chat.MarkRead{Conversation: c})
	it, err := r.Message(bg, as("1"), m.Message)
	if err != nil || it.Readers != 1 || len(it.ReadBy) != 1 || it.ReadBy[0].User != "3" {
		t.Errorf("%d readers, %+v, %v", it.Readers, it.ReadBy, err)
	}
	var listed []chat.UserID
	for q, more := (chat.ReceiptQuery{Limit: 1}), true; more; {
		page, err := r.Readers(bg, as("1"), m.Message, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range page.Receipts {
			listed = append(listed, x.User)
		}
		more, q.After, q.AfterUser = page.More, page.Next, page.NextUser
	}
	if !slices.Equal(listed, []chat.UserID{"3"}) {
		t.Errorf("%v are listed", listed)
	}
}
