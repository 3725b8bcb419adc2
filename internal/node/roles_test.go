package node_test

import (
	"fmt"
	"net/http"
	"testing"
)

// by answers a request on the user's socket: its error code, or "" if it was carried out.
func (s *socket) by(request object) string {
	s.t.Helper()
	ref := nextRef()
	request["ref"] = ref
	s.send(request)
	for {
		f := s.next()
		if f.str("ref") != ref {
			continue
		}
		if f.str("type") == "error" {
			return f.str("code")
		}
		return ""
	}
}

// TestReq023_EveryRoleAndAction goes through the table of roles and actions by socket and by REST, in a group of its own
// for each so that nothing that was allowed disturbs the next.
func TestReq023_EveryRoleAndAction(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := map[string]*user{"owner": h.user("ann"), "admin": h.user("bob"), "member": h.user("cat")}
	h.users("dan", "eve", "new")
	type group struct {
		id, message string // of the owner
	}
	make := func() group {
		id := us["owner"].group("Crew", "bob", "cat", "dan", "eve")
		for _, admin := range []string{"bob", "eve"} {
			us["owner"].call("POST", "conversations/"+id+"/set_role/", object{"user_id": admin, "role": "admin"}).want(200)
		}
		return group{id, us["owner"].post(id, "by the owner").str("id")}
	}
	all := []string{"owner", "admin", "member"}
	for _, c := range []struct {
		what    string
		by      []string // who may
		socket  func(group) object
		method  string
		path    func(group) string // below /messages/
		body    any
		success int
	}{
		{"add", all, func(group) object { return object{"type": "add_participants", "user_ids": []string{"new"}} },
			"POST", func(g group) string { return "conversations/" + g.id + "/add_participants/" }, object{"user_ids": []string{"new"}}, 200},
		{"remove a member", all[:2], func(group) object { return object{"type": "remove_participants", "user_ids": []string{"dan"}} },
			"POST", func(g group) string { return "conversations/" + g.id + "/remove_participants/" }, object{"user_ids": []string{"dan"}}, 200},
		{"remove an admin", all[:1], func(group) object { return object{"type": "remove_participants", "user_ids": []string{"eve"}} },
			"POST", func(g group) string { return "conversations/" + g.id + "/remove_participants/" }, object{"user_ids": []string{"eve"}}, 200},
		{"rename", all[:2], func(group) object { return object{"type": "rename", "name": "New"} },
			"PATCH", func(g group) string { return "conversations/" + g.id + "/" }, object{"name": "New"}, 200},
		{"set_role", all[:1], func(group) object { return object{"type": "set_role", "user_id": "dan", "role": "admin"} },
			"POST", func(g group) string { return "conversations/" + g.id + "/set_role/" }, object{"user_id": "dan", "role": "admin"}, 200},
		{"transfer", all[:1], func(group) object { return object{"type": "set_role", "user_id": "dan", "role": "owner"} },
			"POST", func(g group) string { return "conversations/" + g.id + "/transfer_ownership/" }, object{"user_id": "dan"}, 200},
		{"permissions", all[:2], func(group) object { return object{"type": "set_permissions", "who_can_add": "owner"} },
			"PATCH", func(g group) string { return "conversations/" + g.id + "/" }, object{"who_can_add": "owner"}, 200},
		{"delete another's message", all[:2], func(g group) object { return object{"type": "delete", "message_id": g.message} },
			"DELETE", func(g group) string { return "messages/" + g.message + "/" }, nil, 204},
		{"leave", all, func(group) object { return object{"type": "leave"} },
			"POST", func(g group) string { return "conversations/" + g.id + "/leave/" }, nil, 200},
	} {
		for i, role := range all {
			may := i < len(c.by)
			g := make()
			s := us[role].dial(g.id)
			if code := s.by(c.socket(g)); (code == "") != may || !may && code != "forbidden" {
				t.Errorf("%s by the %s on a socket: %q", c.what, role, code)
			}
			g = make()
			want := c.success
			if !may {
				want = http.StatusForbidden
			}
			if r := us[role].call(c.method, c.path(g), c.body); r.status != want {
				t.Errorf("%s by the %s: %d %s, want %d", c.what, role, r.status, r.raw, want)
			}
		}
	}
}

func TestReq023_PermissionsOfAGroup(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, cat := us[0], us[2]
	h.users("dan", "eve")
	id := ann.group("Crew", "bob", "cat")
	d := cat.detail(id).want(200).body
	if d.str("my_role") != "member" || d.str("who_can_add") != "member" || d.str("who_can_pin") != "admin" || d.str("who_can_mention_all") != "admin" ||
		!d.yes("can_add_participants") {
		t.Errorf("at first: %v", d)
	}
	s := cat.dial(id)
	ann.call("PATCH", "conversations/"+id+"/", object{"who_can_add": "admin"}).want(200)
	if f := s.expect("conversation_updated"); f.str("change") != "permissions" || f.str("who_can_add") != "admin" || f.str("who_can_pin") != "admin" {
		t.Error(f.raw)
	}
	cat.act(id, "add_participants", "dan").want(403)
	if d := cat.detail(id).body; d.yes("can_add_participants") || d.str("who_can_add") != "admin" || d.str("name") != "Crew" {
		t.Errorf("then: %v", d)
	}
	h.restart() // and they last
	cat.act(id, "add_participants", "dan").want(403)
	ann.act(id, "add_participants", "dan").want(200)
	ann.call("PATCH", "conversations/"+id+"/", object{"who_can_add": "member", "name": "Both"}).want(200).says("Both")
	cat.act(id, "add_participants", "eve").want(200)
	ann.call("PATCH", "conversations/"+id+"/", object{"who_can_add": "boss"}).want(400).says("who_can_add")
	direct := ann.direct("bob")
	ann.call("PATCH", "conversations/"+direct+"/", object{"who_can_add": "owner"}).want(400)
}

// TestReq023_SystemEvents: what became of a group is in its log, for sockets that resume and for REST.
func TestReq023_SystemEvents(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob := us[0], us[1]
	id := ann.group("Crew", "bob", "cat")
	ann.post(id, "hello")
	ann.call("PATCH", "conversations/"+id+"/", object{"name": "Ship"}).want(200)
	ann.act(id, "add_participants", "dan").want(200)
	ann.act(id, "remove_participants", "cat").want(200)
	ann.call("POST", "conversations/"+id+"/transfer_ownership/", object{"user_id": "bob"}).want(200)
	us[3].act(id, "leave").want(200)
	bob.call("PATCH", "conversations/"+id+"/", object{"who_can_pin": "member"}).want(200)
	want := []string{"created by ann", "message by ann", "renamed by ann", "added by ann", "removed by ann", "role by ann",
		"role by ann", "left by dan", "permissions by bob"}
	what := func(f object) string {
		if f.str("type") == "message" {
			return "message by " + f.str("sender")
		}
		return f.str("change") + " by " + f.str("user")
	}
	var got []string
	path := "conversations/" + id + "/events/?after=0"
	page := bob.call("GET", path, nil).want(200).body
	for _, f := range page.list("results") {
		got = append(got, what(f))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || page.num("head_seq") != len(want) || page["next"] != nil {
		t.Errorf("forwards: %v", page)
	}
	got = nil
	for before := len(want) + 1; before > 1; {
		l := bob.call("GET", fmt.Sprintf("conversations/%s/events/?before=%d", id, before), nil).want(200).body.list("results")
		for _, f := range l {
			got = append([]string{what(f)}, got...)
			before = f.num("seq")
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("backwards: %v", got)
	}
	s := bob.dial(id)
	s.send(object{"type": "resume", "last_seq": 0})
	for _, w := range want {
		if f := s.next(); what(f.object) != w {
			t.Errorf("resumed: %s, want %s", f.raw, w)
		}
	}
	us[3].call("GET", path, nil).want(404)
	bob.call("GET", "conversations/"+id+"/events/?after=x", nil).want(400)
}

// TestReq023_Ownership is handed over as one step: there is always exactly one owner.
func TestReq023_Ownership(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, bob := us[0], us[1]
	id := ann.group("Crew", "bob", "cat")
	s := us[2].dial(id)
	ann.call("POST", "conversations/"+id+"/transfer_ownership/", object{"user_id": "bob"}).want(200)
	for _, want := range []string{"owner [bob]", "admin [ann]"} {
		f := s.expect("participants_changed")
		if got := fmt.Sprint(f.str("role"), " ", f.object["user_ids"]); got != want {
			t.Errorf("%s, want %s", f.raw, want)
		}
	}
	roles := map[string]string{}
	for _, p := range bob.detail(id).want(200).body.list("participants") {
		roles[fmt.Sprint(p["id"])] = p.str("role")
	}
	if fmt.Sprint(roles) != "map[ann:admin bob:owner cat:member]" {
		t.Error(roles)
	}
	ann.call("POST", "conversations/"+id+"/transfer_ownership/", object{"user_id": "ann"}).want(403)
	bob.call("POST", "conversations/"+id+"/transfer_ownership/", object{"user_id": "dan"}).want(404)
}
