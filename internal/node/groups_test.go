package node_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage"
)

func (u *user) detail(conversation string) *reply {
	u.h.t.Helper()
	return u.call("GET", "conversations/"+conversation+"/", nil)
}

// act posts an action on a conversation, with user ids if there are any.
func (u *user) act(conversation, action string, ids ...string) *reply {
	u.h.t.Helper()
	var body any
	if len(ids) > 0 {
		body = object{"user_ids": ids}
	}
	return u.call("POST", "conversations/"+conversation+"/"+action+"/", body)
}

func TestReq012_Req013_CreateGroup(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.users("bob", "cat")
	g := ann.call("POST", "conversations/", object{"participant_ids": []string{"bob", "cat"}, "name": "Crew"}).want(http.StatusCreated)
	if !g.body.yes("is_group") || len(g.body.list("participants")) != 3 || g.body.str("name") != "Crew" {
		t.Error(g.raw)
	}
	d := ann.call("POST", "conversations/", object{"participant_ids": []string{"bob"}, "name": "Crew"}).want(http.StatusCreated)
	if d.body.yes("is_group") || len(d.body.list("participants")) != 2 {
		t.Errorf("two are not a group: %s", d.raw)
	}
	ann.call("POST", "conversations/", object{"participant_ids": []string{"bob", "nobody"}, "name": "x"}).want(http.StatusBadRequest).
		says("One or more users not found.")
}

func TestReq013_ShrunkGroupStaysAGroup(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	id := us[0].group("Crew", "bob", "cat")
	us[0].act(id, "remove_participant", "cat").want(http.StatusOK)
	d := us[1].detail(id).want(http.StatusOK)
	if !d.body.yes("is_group") || len(d.body.list("participants")) != 2 || !d.body.yes("can_leave") {
		t.Error(d.raw)
	}
	if l := us[1].call("GET", "conversations/?type=direct", nil).want(200); l.body.num("count") != 0 {
		t.Errorf("listed as direct: %s", l.raw)
	}
	us[1].act(id, "leave").want(http.StatusOK)
	us[1].detail(id).want(http.StatusNotFound)
}

func TestReq014_AddParticipants(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob, dan := us[0], us[1], us[3]
	id := ann.group("Crew", "bob", "cat")
	live, watcher := dan.dial(), bob.dial(id) // dan is connected before he is a member
	r := ann.act(id, "add_participants", "dan").want(http.StatusOK).says("Participants added")
	if n := len(r.body.obj("data").list("participants")); n != 4 {
		t.Errorf("%d participants: %s", n, r.raw)
	}
	if f := watcher.expect("participants_changed"); f.str("change") != "added" || fmt.Sprint(f.object["user_ids"]) != "[dan]" {
		t.Error(f.raw)
	}
	bob.post(id, "welcome")
	if f := live.message("welcome"); f.str("conversation_id") != id {
		t.Error(f.raw)
	}
	if l := dan.call("GET", "conversations/", nil).want(200).body.list("results"); len(l) != 1 || l[0].str("id") != id {
		t.Errorf("dan's list: %v", l)
	}
	ann.act(id, "add_participants", "dan", "dan").want(http.StatusOK)
	if n := len(bob.detail(id).body.list("participants")); n != 4 {
		t.Errorf("adding twice made %d participants", n)
	}
	ann.act(id, "add_participants", "nobody").want(http.StatusBadRequest)
}

func TestReq015_DirectHasNoChangesOfMembers(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.users("bob", "cat")
	id := ann.direct("bob")
	ann.act(id, "add_participants", "cat").want(400).says("Cannot add participants to direct conversation. Create a group instead.")
	ann.act(id, "remove_participant", "bob").want(400).says("Cannot remove participants from direct conversation.")
	ann.act(id, "leave").want(400).says("Cannot leave a direct conversation.")
	if n := len(ann.detail(id).body.list("participants")); n != 2 {
		t.Errorf("%d participants", n)
	}
}

func TestReq017_RemoveParticipant(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, cat := us[0], us[2]
	id := ann.group("Crew", "bob", "cat")
	one, all, stays := cat.dial(id), cat.dial(), us[1].dial(id)
	r := ann.act(id, "remove_participant", "cat").want(http.StatusOK).says("Participants removed")
	if n := len(r.body.obj("data").list("participants")); n != 2 {
		t.Errorf("%d participants", n)
	}
	// At once, before the socket is known to be closed.
	cat.call("POST", "messages/", object{"conversation_id": id, "content": "still here"}).want(http.StatusBadRequest)
	cat.detail(id).want(http.StatusNotFound)
	one.wantClose(4003)
	all.send(object{"type": "send_message", "conversation_id": id, "content": "and here"})
	all.refused("not_participant")
	ann.post(id, "without cat")
	for _, f := range stays.until("without cat") {
		if f.str("type") == "message" && f.str("sender") == "cat" {
			t.Errorf("heard from the removed: %s", f.raw)
		}
	}
	for _, f := range all.alive() {
		if f.str("type") == "message" {
			t.Errorf("the removed heard %s", f.raw)
		}
	}
	again, err := h.open("/ws/chat/"+id+"/", http.Header{"Authorization": {"Bearer " + cat.token}})
	if err != nil {
		t.Fatal(err)
	}
	again.wantClose(4003)
}

func TestReq028_MembershipIsCheckedOnEveryCommand(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, cat := us[0], us[2]
	id := ann.group("Crew", "bob", "cat")
	m := ann.post(id, "hello").str("id")
	s := cat.dial()
	ann.act(id, "remove_participant", "cat").want(http.StatusOK)
	for _, cmd := range []object{
		{"type": "send_message", "content": "x"},
		{"type": "typing", "is_typing": true},
		{"type": "read", "message_id": m},
		{"type": "delivered", "seq": 1},
		{"type": "resume", "last_seq": 0},
		{"type": "react", "message_id": m, "emoji": "x"},
		{"type": "edit", "message_id": m, "content": "x"},
		{"type": "delete", "message_id": m},
		{"type": "rename", "name": "x"},
		{"type": "add_participants", "user_ids": []string{"cat"}},
		{"type": "remove_participants", "user_ids": []string{"bob"}},
		{"type": "leave"},
	} {
		cmd["conversation_id"], cmd["ref"] = id, cmd["type"]
		s.send(cmd)
		if f := s.refused("not_participant"); f.str("ref") != cmd["type"] {
			t.Errorf("%v: %s", cmd, f.raw)
		}
	}
	if got := ann.history(id); len(got) != 1 || got[0].yes("is_read") {
		t.Errorf("something was changed: %v", got)
	}
}

func TestReq018_LastMemberLeaves(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	id, kept := us[0].group("Crew", "bob", "cat"), us[0].group("Other", "bob", "cat")
	for _, conversation := range []string{id, kept} {
		s := us[1].dial(conversation)
		for i := range 20 {
			s.send(object{"type": "send_message", "content": fmt.Sprint("m", i), "client_id": fmt.Sprint("c", i)})
		}
		f := s.message("m19")
		s.send(object{"type": "react", "message_id": f.str("id"), "emoji": "👍"})
		s.expect("reaction")
		for _, u := range us {
			u.act(conversation, "mark_read").want(http.StatusOK)
		}
	}
	for _, u := range us {
		u.act(id, "leave").want(http.StatusOK)
	}
	for _, u := range us {
		u.detail(id).want(http.StatusNotFound)
		u.call("GET", "messages/?conversation="+id, nil).want(http.StatusNotFound)
	}
	h.stop()
	of := func(conversation string) func(storage.Key, storage.Row) bool {
		cid, err := chat.ParseConversationID(conversation)
		if err != nil {
			t.Fatal(err)
		}
		return func(p storage.Key, r storage.Row) bool {
			return slices.ContainsFunc(append(slices.Clone(p), r.Clustering...), func(v storage.Value) bool { return bytes.Equal(v.B, cid[:]) })
		}
	}
	for _, table := range storage.Tables() {
		if n := h.rows(table, of(id)); n != 0 {
			t.Errorf("%d rows left in %s", n, table.Name)
		}
		switch table {
		case storage.TableLog, storage.TableConversation, storage.TableMemberships, storage.TableDedup, storage.TableReceipts:
			if h.rows(table, of(kept)) == 0 {
				t.Errorf("nothing of the other conversation in %s: the check does not see what it should", table.Name)
			}
		}
	}
	h.run()
	us[0].detail(id).want(http.StatusNotFound)
	us[0].detail(kept).want(http.StatusOK)
}

func TestReq019_Leave(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	id := us[0].group("Crew", "bob", "cat")
	stays, goes, cat := us[0].dial(id), us[1].dial(id), us[2].dial()
	us[1].act(id, "leave").want(http.StatusOK).says("Left conversation")
	f := stays.expect("participants_changed")
	if f.str("change") != "left" || f.str("user") != "bob" || fmt.Sprint(f.object["user_ids"]) != "[bob]" {
		t.Error(f.raw)
	}
	goes.wantClose(4003)
	us[1].detail(id).want(http.StatusNotFound)

	// By WebSocket, and the owner hands over.
	stays.send(object{"type": "leave"})
	for _, want := range []string{"left [bob]", "left [ann]", "role [cat]"} {
		f := cat.expect("participants_changed")
		if got := fmt.Sprint(f.str("change"), " ", f.object["user_ids"]); got != want {
			t.Errorf("%s, want %s", f.raw, want)
		}
	}
	stays.wantClose(4003)
}

func TestReq020_Req046_EveryMemberAndSocketGetsEveryMessageOnce(t *testing.T) {
	t.Parallel()
	h := start(t)
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprint("user", i))
	}
	us := h.users(names...)
	id := us[0].group("Crew", names[1:]...)
	var sockets []*socket
	for _, u := range us {
		sockets = append(sockets, u.dial(id), u.dial(), u.dial(id))
	}
	const each = 10
	for i := range us {
		for j := range each {
			sockets[3*i+j%3].send(object{"type": "send_message", "content": fmt.Sprintf("%d-%d", i, j), "conversation_id": id})
		}
	}
	var first []string
	for i, s := range sockets {
		var got []string
		seen := map[string]bool{}
		for range each * len(us) {
			f := s.expect("message")
			if seen[f.str("id")] {
				t.Fatalf("socket %d: twice %s", i, f.raw)
			}
			seen[f.str("id")] = true
			got = append(got, f.str("content"))
		}
		if first == nil {
			first = got
		} else if !slices.Equal(first, got) {
			t.Errorf("socket %d: another order", i)
		}
	}
	last := us[0].post(id, "last").str("id")
	for i, s := range sockets {
		if f := s.next(); f.str("id") != last {
			t.Errorf("socket %d: %s", i, f.raw)
		}
	}
}

func TestReq021_FilterByType(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.users("bob", "cat")
	d, g := ann.direct("bob"), ann.group("Crew", "bob", "cat")
	for query, want := range map[string][]string{"": {d, g}, "?type=direct": {d}, "?type=group": {g}} {
		l := ann.call("GET", "conversations/"+query, nil).want(200)
		var got []string
		for _, c := range l.body.list("results") {
			got = append(got, c.str("id"))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || l.body.num("count") != len(want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
	}
	ann.call("GET", "conversations/?type=other", nil).want(400)
}

func TestReq022_NameLength(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.users("bob", "cat")
	fits, long := strings.Repeat("ß", 255), strings.Repeat("ß", 256)
	body := object{"participant_ids": []string{"bob", "cat"}, "name": long}
	ann.call("POST", "conversations/", body).want(400).says(`{"name":["Ensure this field has no more than 255 characters."]}`)
	body["name"] = fits
	g := ann.call("POST", "conversations/", body).want(http.StatusCreated)
	if g.body.str("name") != fits {
		t.Error("the name was changed")
	}
	ann.call("PATCH", "conversations/"+g.body.str("id")+"/", object{"name": long}).want(400)
	s := ann.dial()
	s.send(object{"type": "create_group", "group_name": long, "members": []string{"bob", "cat"}})
	s.expect("error")
	s.send(object{"type": "rename", "conversation_id": g.body.str("id"), "name": long})
	s.expect("error")
	if d := ann.detail(g.body.str("id")); d.body.str("name") != fits {
		t.Error("renamed")
	}
}

func TestReq023_Roles(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob := us[0], us[1]
	id := ann.group("Crew", "bob", "cat", "dan")
	bob.act(id, "remove_participant", "cat").want(http.StatusForbidden).says(`"error_code":"FORBIDDEN"`)
	bob.act(id, "remove_participants", "ann").want(http.StatusForbidden)
	bob.call("PATCH", "conversations/"+id+"/", object{"name": "Bob's"}).want(http.StatusForbidden)
	s := bob.dial(id)
	s.send(object{"type": "remove_participants", "user_ids": []string{"cat"}})
	s.refused("forbidden")
	s.send(object{"type": "rename", "name": "Bob's"})
	s.refused("forbidden")
	if d := ann.detail(id).want(200); len(d.body.list("participants")) != 4 || d.body.str("name") != "Crew" {
		t.Error(d.raw)
	}
	// An admin may remove members, but not the owner, and may not make admins.
	role := func(u *user, whom, role string) *reply {
		return u.call("POST", "conversations/"+id+"/set_role/", object{"user_id": whom, "role": role})
	}
	role(bob, "bob", "admin").want(http.StatusForbidden)
	role(ann, "bob", "boss").want(http.StatusBadRequest).says("role")
	role(ann, "nobody", "admin").want(http.StatusNotFound)
	role(ann, "bob", "admin").want(http.StatusOK)
	bob.act(id, "remove_participant", "dan").want(http.StatusOK)
	bob.act(id, "remove_participant", "ann")
	role(bob, "cat", "admin").want(http.StatusForbidden)
	if d := ann.detail(id).want(200); len(d.body.list("participants")) != 3 {
		t.Error(d.raw)
	}
	role(ann, "bob", "member").want(http.StatusOK)
	bob.act(id, "remove_participant", "cat").want(http.StatusForbidden)
	// The owner goes; the oldest member inherits what owners may do.
	ann.act(id, "leave").want(http.StatusOK)
	heir, other := bob, "cat"
	if heir.act(id, "remove_participant", other).status != http.StatusOK {
		heir, other = us[2], "bob"
		heir.act(id, "remove_participant", other).want(http.StatusOK)
	}
	if d := heir.detail(id).want(200); len(d.body.list("participants")) != 1 {
		t.Error(d.raw)
	}
}

func TestReq024_MaxGroupSize(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.MaxGroupSize = 4 })
	ann := h.user("ann")
	h.users("bob", "cat", "dan", "eve")
	ann.call("POST", "conversations/", object{"participant_ids": []string{"bob", "cat", "dan", "eve"}, "name": "x"}).want(400)
	id := ann.group("Crew", "bob", "cat")
	ann.act(id, "add_participants", "dan", "eve").want(400)
	ann.act(id, "add_participants", "dan").want(200)
	ann.act(id, "add_participants", "eve").want(400)
	s := ann.dial(id)
	s.send(object{"type": "add_participants", "user_ids": []string{"eve"}})
	s.refused("group_full")
	if n := len(ann.detail(id).body.list("participants")); n != 4 {
		t.Errorf("%d participants", n)
	}
	if doc, err := os.ReadFile("../../docs/configuration.md"); err != nil || !strings.Contains(string(doc), "| `--max-group-size` | `HUB_MAX_GROUP_SIZE` | `10000` |") {
		t.Error("the default is not documented")
	}
}

func TestReq025_Req039_GroupCreated(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	var sockets []*socket
	for _, u := range us {
		sockets = append(sockets, u.dial())
	}
	maker := us[0].dial(us[0].direct("bob")) // a socket of another conversation may create, too
	check := func(f frame, name string) string {
		t.Helper()
		g := f.obj("group")
		if g.str("name") != name || g.num("participant_count") != 3 || len(g.str("id")) != 36 {
			t.Error(f.raw)
		}
		return g.str("id")
	}
	// Twice the same member, and the creator among the members: three people all the same.
	maker.send(object{"type": "create_group", "group_name": "By socket", "members": []string{"bob", "cat", "bob", "ann"}, "ref": 7})
	f := maker.expect("group_created")
	id := check(f, "By socket")
	if f.num("ref") != 7 {
		t.Error(f.raw)
	}
	for _, s := range sockets {
		if got := check(s.expect("group_created"), "By socket"); got != id {
			t.Errorf("told of %s, want %s", got, id)
		}
	}
	if d := us[2].detail(id).want(200); len(d.body.list("participants")) != 3 {
		t.Error(d.raw)
	}
	id = us[1].group("By REST", "ann", "cat")
	for _, s := range sockets {
		if got := check(s.expect("group_created"), "By REST"); got != id {
			t.Errorf("told of %s, want %s", got, id)
		}
	}
	for want, cmd := range map[string]object{
		"Group name required":          {"group_name": " ", "members": []string{"bob"}},
		"At least one member required": {"group_name": "x", "members": []string{}},
		"User not found":               {"group_name": "x", "members": []string{"nobody"}},
	} {
		cmd["type"] = "create_group"
		maker.send(cmd)
		if f := maker.expect("error"); f.str("message") != want {
			t.Errorf("%s, want %q", f.raw, want)
		}
	}
}
