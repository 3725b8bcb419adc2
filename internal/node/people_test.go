package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

// person is a user with a profile.
func (h *hub) person(id, email, first string) *user {
	h.t.Helper()
	r := h.call("", "POST", "/api/v1/auth/token/", object{"username": id, "password": "x", "email": email, "first_name": first})
	return &user{h, id, r.want(http.StatusOK).body.str("access")}
}

// array is the body of a reply that is a bare array.
func (r *reply) array() []object {
	r.t.Helper()
	r.want(http.StatusOK)
	var list []object
	if err := json.Unmarshal([]byte(r.raw), &list); err != nil {
		r.t.Fatalf("%s: no array: %s", r.what, r.raw)
	}
	return list
}

func names(list []object, key string) (ids []string) {
	for _, o := range list {
		ids = append(ids, fmt.Sprint(o.obj(key)["id"]))
	}
	return ids
}

// contact adds a contact and answers the id of the entry.
func (u *user) contact(other string) int {
	u.h.t.Helper()
	return u.call("POST", "contacts/", object{"contact_id": other}).want(http.StatusCreated).body.num("id")
}

// ask sends a friend request and answers its id.
func (u *user) ask(other string) string {
	u.h.t.Helper()
	return u.call("POST", "friend-requests/", object{"receiver_id": other}).want(http.StatusCreated).body.str("id")
}

func (u *user) decide(request, action string) *reply {
	u.h.t.Helper()
	return u.call("POST", "friend-requests/"+request+"/"+action+"/", nil)
}

func (u *user) contacts() []object {
	u.h.t.Helper()
	return u.call("GET", "contacts/", nil).want(http.StatusOK).body.list("results")
}

func TestReq038_AddContact(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.person("ann", "ann@example.org", "Ann")
	bob := h.person("bob", "Bob@Example.org", "Bob")
	h.person("cat", "cat@example.org", "Cat")
	s := ann.dial()
	add := func(email string) frame {
		t.Helper()
		s.send(object{"type": "add_contact", "email": email, "name": "Whoever", "invitation_message": "hi", "ref": "c"})
		f := s.next()
		if f.str("ref") != "c" {
			t.Errorf("%s", f.raw)
		}
		return f
	}
	if f := add(" bob@example.ORG"); f.raw != `{"type":"contact_added","contact":{"username":"bob"},"ref":"c"}` {
		t.Error(f.raw)
	}
	if l := ann.contacts(); len(l) != 1 || l[0].obj("contact").str("id") != "bob" {
		t.Error(l)
	}
	if l := bob.call("GET", "friend-requests/received/", nil).array(); len(l) != 1 || l[0].obj("sender").str("id") != "ann" {
		t.Error(l)
	}
	if l := bob.contacts(); len(l) != 0 {
		t.Error(l)
	}
	h.restart()
	s = ann.dial()
	other := bob.dial()
	if l := ann.contacts(); len(l) != 1 {
		t.Error(l)
	}
	for email, want := range map[string]string{
		"nobody@example.org": "User not found", "not an address": "User not found",
		"bob@example.org": "Contact already exists.", "ann@example.org": "Cannot add yourself as a contact.",
	} {
		if f := add(email); f.str("type") != "error" || f.str("message") != want {
			t.Errorf("%s: %s", email, f.raw)
		}
	}
	for _, f := range []string{
		`{"type":"add_contact"}`, `{"type":"add_contact","email":"cat@example.org"}`, `{"type":"add_contact","name":"Cat"}`,
		`{"type":"add_contact","email":"","name":"Cat"}`, `{"type":"add_contact","email":"cat@example.org","name":null}`,
	} {
		s.write(f)
		if e := s.next(); e.str("message") != "Missing fields in add contact" || e.str("code") != "missing_field" {
			t.Errorf("%s: %s", f, e.raw)
		}
	}
	// On the path of one conversation, too, and only to who asked.
	id := ann.direct("bob")
	one := ann.dial(id)
	one.send(object{"type": "add_contact", "email": "cat@example.org", "name": "Cat"})
	if f := one.next(); f.raw != `{"type":"contact_added","contact":{"username":"cat"}}` {
		t.Error(f.raw)
	}
	for _, f := range append(s.alive(), other.alive()...) {
		if f.str("type") == "contact_added" {
			t.Error(f.raw)
		}
	}
	// A block forbids it, in either direction, without saying what it is.
	h.person("dan", "dan@example.org", "Dan").block("ann")
	if f := add("dan@example.org"); f.str("message") != "Cannot send request to this user." {
		t.Error(f.raw)
	}
	// Addresses change; those of another tenant are not found.
	h.person("cat", "kitty@example.org", "Cat")
	if f := add("cat@example.org"); f.str("message") != "User not found" {
		t.Error(f.raw)
	}
	if f := add("kitty@example.org"); f.str("message") != "Contact already exists." {
		t.Error(f.raw)
	}
	stranger := h.userOf("other", "zoe").dial()
	stranger.send(object{"type": "add_contact", "email": "bob@example.org", "name": "Bob"})
	if f := stranger.next(); f.str("message") != "User not found" {
		t.Error(f.raw)
	}
	if strings.Contains(strings.ToLower(h.log.String()), "example.org") {
		t.Error("an address is in the log")
	}
}

// With the option, what comes back does not tell known addresses from unknown ones, nor does anything that the
// sender can read; the receiver has the request.
func TestReq121_AddressesCannotBeProbed(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.EmailPrivacy = true })
	ann := h.person("ann", "ann@example.org", "Ann")
	bob := h.person("bob", "bob@example.org", "Bob")
	dan := h.person("dan", "dan@example.org", "Dan")
	dan.block("ann")
	s := ann.dial()
	probe := func(email string) string {
		t.Helper()
		s.send(object{"type": "add_contact", "email": email, "name": "Friend"})
		return s.next().raw
	}
	const answer = `{"type":"contact_added","contact":{"username":"Friend"}}`
	for range 2 {
		for _, email := range []string{"bob@example.org", "nobody@example.org", "ann@example.org", "dan@example.org", "nonsense"} {
			if got := probe(email); got != answer {
				t.Errorf("%s: %s", email, got)
			}
		}
	}
	var request string
	h.await("bob is asked", func() bool {
		l := bob.call("GET", "friend-requests/received/", nil).array()
		if len(l) == 1 {
			request = l[0].str("id")
		}
		return len(l) == 1
	})
	if l := dan.call("GET", "friend-requests/", nil).want(200); l.body.num("count") != 0 {
		t.Error(l.raw)
	}
	unseen := func() {
		t.Helper()
		for _, path := range []string{"contacts/", "friend-requests/"} {
			if r := ann.call("GET", path, nil).want(200); r.body.num("count") != 0 {
				t.Errorf("%s: %s", path, r.raw)
			}
		}
		for _, path := range []string{"friend-requests/sent/", "contacts/online/", "contacts/favorites/"} {
			if l := ann.call("GET", path, nil).array(); len(l) != 0 {
				t.Errorf("%s: %v", path, l)
			}
		}
		ann.call("GET", "friend-requests/"+request+"/", nil).want(404)
		ann.decide(request, "cancel").want(404)
	}
	unseen()
	// Asking the same user by id does not tell either whose the address is.
	bob.decide(request, "reject").want(200)
	unseen()
	visible := ann.ask("bob")
	if visible == request {
		t.Error("the quiet request shows")
	}
	bob.decide(visible, "accept").want(200)
	if l := ann.contacts(); len(l) != 1 {
		t.Error(l)
	}
}

func TestReq087_Req088_Req090_Contacts(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.person("1", "ann@example.org", "Ann")
	for id, first := range map[string]string{"2": "Zed", "3": "Bob", "4": "Cat", "5": "Adam"} {
		h.person(id, "u"+id+"@example.org", first)
	}
	r := ann.call("POST", "contacts/", object{"contact_id": 2, "is_favorite": true}).want(201)
	if !r.body.yes("is_favorite") || r.body.obj("contact").num("id") != 2 || r.body.yes("is_online") {
		t.Error(r.raw)
	}
	zed := r.body.num("id")
	r = ann.call("POST", "contacts/", object{"contact": "3"}).want(201)
	bob := r.body.num("id")
	ann.contact("4")
	ann.contact("5")
	for body, text := range map[string]string{
		`{"contact_id":2}`: `{"contact_id":["Contact already exists."]}`, `{"contact_id":1}`: `{"contact_id":["Cannot add yourself as a contact."]}`,
		`{"contact_id":9}`: `{"contact_id":["User not found."]}`, `{"contact":9}`: `{"contact":["User not found."]}`,
		`{}`: `{"contact_id":["This field is required."]}`, `{"contact_id":3,"is_favorite":"x"}`: `{"is_favorite":["Must be a valid boolean."]}`,
	} {
		if r := ann.call("POST", "contacts/", body).want(400); r.raw != text {
			t.Errorf("%s: %s", body, r.raw)
		}
	}
	order := func(want ...string) {
		t.Helper()
		if got := names(ann.contacts(), "contact"); !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	}
	order("2", "5", "3", "4") // favourites, then Adam, Bob, Cat
	r = ann.call("POST", fmt.Sprint("contacts/", bob, "/add_favorite/"), nil).want(200).says("Contact added to favorites")
	if !r.body.obj("data").yes("is_favorite") {
		t.Error(r.raw)
	}
	order("3", "2", "5", "4")
	if got := names(ann.call("GET", "contacts/favorites/", nil).array(), "contact"); !slices.Equal(got, []string{"3", "2"}) {
		t.Error(got)
	}
	h.restart()
	order("3", "2", "5", "4")
	r = ann.call("POST", fmt.Sprint("contacts/", zed, "/remove_favorite/"), nil).want(200).says("Contact removed from favorites")
	if r.body.obj("data").yes("is_favorite") {
		t.Error(r.raw)
	}
	order("3", "5", "4", "2")
	ann.call("DELETE", fmt.Sprint("contacts/", zed, "/"), nil).want(204)
	ann.call("DELETE", fmt.Sprint("contacts/", zed, "/"), nil).want(404)
	ann.call("GET", fmt.Sprint("contacts/", zed, "/"), nil).want(404)
	ann.call("POST", fmt.Sprint("contacts/", zed, "/add_favorite/"), nil).want(404)
	order("3", "5", "4")
	if again := ann.contact("2"); again != zed {
		t.Errorf("entry %d, then %d", zed, again)
	}
	// Others' entries are not there.
	h.user("3").call("GET", fmt.Sprint("contacts/", bob, "/"), nil).want(404)
	if l := h.user("3").contacts(); len(l) != 0 {
		t.Error(l)
	}
}

func TestReq091_ContactDetailHasNoSideEffect(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob")
	ann, bob := us[0], us[1]
	path := fmt.Sprint("contacts/", ann.contact("bob"), "/")
	for range 2 {
		r := ann.call("GET", path, nil).want(200)
		wantKeys(t, "contact detail", r.body, "id contact is_favorite is_online created_at last_seen conversation_id")
		if r.body.object("conversation_id") != nil {
			t.Error(r.raw)
		}
	}
	for _, u := range us {
		if l := u.call("GET", "conversations/", nil).want(200); l.body.num("count") != 0 {
			t.Error(l.raw)
		}
	}
	id := bob.direct("ann")
	if r := ann.call("GET", path, nil).want(200); r.body.str("conversation_id") != id {
		t.Error(r.raw)
	}
	h.restart()
	if r := ann.call("GET", path, nil).want(200); r.body.str("conversation_id") != id {
		t.Error(r.raw)
	}
}

// D-20: an address is shown to its owner, and to who was made a contact by its owner.
func TestAddressesAreShownToContactsOnly(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.person("ann", "ann@example.org", "Ann"), h.person("bob", "bob@example.org", "Bob")
	h.person("cat", "cat@example.org", "Cat")
	path := fmt.Sprint("contacts/", ann.contact("bob"), "/")
	group := ann.group("Crew", "bob", "cat")
	ann.direct("bob")
	hidden := func(path string) {
		t.Helper()
		if r := ann.call("GET", path, nil).want(200); strings.Contains(r.raw, "bob@") || strings.Contains(r.raw, "cat@") || !strings.Contains(r.raw, `"email":""`) {
			t.Errorf("%s: %s", path, r.raw)
		}
	}
	for _, p := range []string{"contacts/", path, "conversations/", "conversations/" + group + "/", "status/contact_statuses/"} {
		hidden(p)
	}
	bob.contact("ann")
	for _, p := range []string{"contacts/", path} {
		if r := ann.call("GET", p, nil).want(200); !strings.Contains(r.raw, "bob@example.org") {
			t.Errorf("%s: %s", p, r.raw)
		}
	}
	hidden("conversations/" + group + "/")
	bob.block("ann")
	hidden("contacts/")
}

func TestReq092_Req093_Req094_FriendRequests(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("1", "2", "3")
	ann, bob, cat := us[0], us[1], us[2]
	r := ann.call("POST", "friend-requests/", object{"receiver_id": 2}).want(201)
	wantKeys(t, "new request", r.body, "receiver_id id sender receiver accepted rejected status_display created_at can_accept can_reject can_cancel")
	if r.body.str("receiver_id") != "2" || r.body.str("status_display") != "Pending" || !r.body.yes("can_cancel") || r.body.yes("can_accept") {
		t.Error(r.raw)
	}
	id := r.body.str("id")
	path := "friend-requests/" + id + "/"
	for u, want := range map[*user]string{ann: "false false true", bob: "true true false"} {
		d := u.call("GET", path, nil).want(200)
		if got := fmt.Sprint(d.body["can_accept"], d.body["can_reject"], d.body["can_cancel"]); strings.ReplaceAll(got, "  ", " ") != want {
			t.Errorf("%s may %s: %s", u.id, got, d.raw)
		}
		if l := u.call("GET", "friend-requests/", nil).want(200); l.body.num("count") != 1 || l.body.list("results")[0].str("id") != id {
			t.Error(l.raw)
		}
	}
	cat.call("GET", path, nil).want(404)
	cat.decide(id, "accept").want(404)
	for u, n := range map[*user][2]int{ann: {0, 1}, bob: {1, 0}, cat: {0, 0}} {
		got := [2]int{len(u.call("GET", "friend-requests/received/", nil).array()), len(u.call("GET", "friend-requests/sent/", nil).array())}
		if got != n {
			t.Errorf("%s received and sent %v, want %v", u.id, got, n)
		}
	}
	// The wrong party.
	for _, c := range []struct {
		u            *user
		action, text string
	}{
		{ann, "accept", "Only the receiver can accept this request"}, {ann, "reject", "Only the receiver can reject this request"},
		{bob, "cancel", "Only the sender can cancel this request"},
	} {
		c.u.decide(id, c.action).want(403).says(`"message":"` + c.text + `"`).says(`"error_code":"FORBIDDEN"`)
	}
	state := func(u *user, action, text string) {
		t.Helper()
		u.decide(id, action).want(400).says(`"message":"['` + text + `']"`).says(`"error_code":null`)
	}
	r = bob.decide(id, "accept").want(200)
	if d := r.body.obj("data"); !d.yes("accepted") || d.str("status_display") != "Accepted" || d.yes("can_accept") {
		t.Error(r.raw)
	}
	if got := names(ann.contacts(), "contact"); !slices.Equal(got, []string{"2"}) {
		t.Error(got)
	}
	if got := names(bob.contacts(), "contact"); !slices.Equal(got, []string{"1"}) {
		t.Error(got)
	}
	state(bob, "accept", "Request already accepted.")
	state(bob, "reject", "Cannot reject an accepted request.")
	state(ann, "cancel", "Cannot cancel a completed request.")
	ann.call("POST", "friend-requests/", object{"receiver_id": 2}).want(400).says(`{"receiver_id":["Already in contacts."]}`)

	id = cat.ask("1")
	ann.decide(id, "reject").want(200).says(`"rejected":true`).says("Rejected")
	state(ann, "reject", "Request already rejected.")
	state(ann, "accept", "Cannot accept a rejected request.")
	state(cat, "cancel", "Cannot cancel a completed request.")
	if l := cat.contacts(); len(l) != 0 {
		t.Error(l)
	}

	id = bob.ask("3")
	bob.decide(id, "cancel").want(200).says(`"data":null`)
	bob.decide(id, "cancel").want(404)
	cat.call("GET", "friend-requests/"+id+"/", nil).want(404)
	if l := cat.call("GET", "friend-requests/received/", nil).array(); len(l) != 0 {
		t.Error(l)
	}
	h.restart()
	if l := ann.call("GET", "friend-requests/", nil).want(200); l.body.num("count") != 2 {
		t.Error(l.raw)
	}
	for body, text := range map[string]string{
		`{"receiver_id":1}`: `{"receiver_id":["Cannot send request to yourself."]}`, `{"receiver_id":9}`: `{"receiver_id":["User not found."]}`,
		`{}`: `{"receiver_id":["This field is required."]}`, `{"receiver":9}`: `{"receiver":["User not found."]}`,
	} {
		if r := ann.call("POST", "friend-requests/", body).want(400); r.raw != text {
			t.Errorf("%s: %s", body, r.raw)
		}
	}
	for _, id := range []string{"x", "00000000-0000-0000-0000-000000000000", "7"} {
		ann.call("GET", "friend-requests/"+id+"/", nil).want(404)
		ann.decide(id, "accept").want(404)
	}
}

func TestReq095_Req096_AskingAgainAndBlocks(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.RequestRetry = 48 * time.Hour })
	us := h.users("ann", "bob", "cat")
	ann, bob := us[0], us[1]
	refused := func(u *user, other, text string) {
		t.Helper()
		u.call("POST", "friend-requests/", object{"receiver_id": other}).want(400).says(`{"receiver_id":["` + text + `"]}`)
	}
	id := ann.ask("bob")
	refused(ann, "bob", "Friend request already sent.")
	bob.decide(id, "reject").want(200)
	refused(ann, "bob", "Friend request already sent.")
	h.clock.advance(47 * time.Hour)
	ann = h.user("ann") // tokens have expired
	refused(ann, "bob", "Friend request already sent.")
	h.clock.advance(2 * time.Hour)
	ann, bob = h.user("ann"), h.user("bob")
	cat := h.user("cat")
	again := ann.ask("bob")
	if again == id {
		t.Error("the old request came back")
	}
	bob.decide(id, "accept").want(404)

	// A block takes waiting requests away and forbids new ones, both ways.
	entry := bob.block("ann")
	bob.decide(again, "accept").want(404)
	ann.decide(again, "cancel").want(404)
	refused(ann, "bob", "Cannot send request to this user.")
	refused(bob, "ann", "Cannot send request to this user.")
	ann.call("POST", "contacts/", object{"contact_id": "bob"}).want(400).says("Cannot send request to this user.")
	bob.unblock(entry)
	id = ann.ask("bob")
	// Asking crosswise: one acceptance settles both.
	other := bob.ask("ann")
	ann.decide(other, "accept").want(200)
	bob.decide(id, "accept").want(400).says("Request already accepted.")

	// At once: one wins.
	for round := range 10 {
		id := cat.ask("ann")
		var wg sync.WaitGroup
		got := make([]int, 3)
		for i, c := range []struct {
			u      *user
			action string
		}{{ann, "accept"}, {cat, "cancel"}, {ann, "reject"}} {
			wg.Go(func() {
				r, err := h.request("POST", api+"friend-requests/"+id+"/"+c.action+"/", http.Header{"Authorization": {"Bearer " + c.u.token}}, nil)
				if err == nil {
					got[i] = r.status
				}
			})
		}
		wg.Wait()
		won := 0
		for _, s := range got {
			if s == 200 {
				won++
			} else if s != 400 && s != 404 {
				t.Fatalf("round %d: %v", round, got)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %v", round, got)
		}
		if accepted := len(cat.contacts()) == 1; accepted != (got[0] == 200) {
			t.Fatalf("round %d: %v, contacts %v", round, got, accepted)
		}
		h.clock.advance(49 * time.Hour)
		ann, cat = h.user("ann"), h.user("cat")
		for _, u := range []*user{ann, cat} {
			for _, c := range u.contacts() {
				if id := c.obj("contact").str("id"); id == "ann" || id == "cat" {
					u.call("DELETE", fmt.Sprint("contacts/", c.num("id"), "/"), nil).want(204)
				}
			}
		}
	}
}

// Suggestions are of groups in memory as of those that are not, and name no address.
func TestReq150_Suggestions(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.EmailPrivacy = true })
	ann, bob := h.person("1", "ann@example.org", "Ann"), h.person("2", "bob@example.org", "Bob")
	h.users("3", "4", "5") // 5 shares nothing with anybody
	ann.group("one", "2", "3")
	left := bob.group("two", "1", "4")
	suggested := func(want ...string) {
		t.Helper()
		list := ann.call("GET", "contacts/suggestions/", nil).array()
		if got := names(list, "user"); !slices.Equal(got, want) {
			t.Errorf("suggested %v, want %v", got, want)
		}
		for _, s := range list {
			if s.obj("user").str("email") != "" {
				t.Errorf("an address: %v", s)
			}
		}
	}
	h.restart()
	suggested("2", "3", "4")
	ann.contact("2")
	suggested("3", "4")
	h.restart()
	ann.call("POST", "conversations/"+left+"/leave/", nil).want(http.StatusOK)
	suggested("3") // what was remembered is gone
}
