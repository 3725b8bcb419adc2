package node_test

import (
	"testing"
	"time"
)

// A signed URL is worth what its user's credentials are: nothing while the user or the tenant is kept out, and nothing once
// the tokens of its time were revoked.
func TestReq071_LinksOfWhoIsKeptOut(t *testing.T) {
	t.Parallel()
	h, key := operator(t, withFiles)
	h.manage(key, "POST", "tenants/", object{"id": "acme"}).want(201)
	ann, bob := h.userOf("acme", "ann"), h.userOf("acme", "bob")
	id := ann.direct("bob")
	m := ann.sendFile(id, "a.txt", []byte("secret")).want(201).body
	path := "messages/" + m.str("id") + "/"
	link := bob.call("GET", path, nil).want(200).body.str("file_url")
	anns := ann.call("GET", path, nil).want(200).body.str("file_url")
	ann.get(link, false).want(200).says("secret")

	h.manage(key, "POST", "users/bob/suspend/?tenant=acme", object{"reason": "Spam."}).want(200)
	ann.get(link, false).want(403).says("not valid")
	ann.get(anns, false).want(200)
	h.manage(key, "POST", "users/bob/resume/?tenant=acme", nil).want(200)
	ann.get(link, false).want(200)

	h.manage(key, "POST", "tenants/acme/suspend/", object{"reason": "Unpaid."}).want(200)
	for _, l := range []string{link, anns} {
		ann.get(l, false).want(403).says("not valid")
	}
	h.manage(key, "POST", "tenants/acme/resume/", nil).want(200)
	ann.get(link, false).want(200)

	// Whoever took bob's token has taken links with it.
	h.clock.advance(2 * time.Second)
	h.manage(key, "POST", "users/bob/revoke_tokens/?tenant=acme", nil).want(200)
	ann.get(link, false).want(403).says("not valid")
	ann.get(anns, false).want(200)
	h.clock.advance(2 * time.Second)
	bob = h.userOf("acme", "bob")
	link = bob.call("GET", path, nil).want(200).body.str("file_url")
	ann.get(link, false).want(200)
	h.manage(key, "DELETE", "tenants/acme/", nil).want(204)
	ann.get(link, false).want(403)
}
