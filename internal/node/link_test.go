package node_test

import (
	"testing"
	"time"
)

// TestLinksEndWithTheRightToLogIn: a signed URL is worth nothing while its user, or the user's tenant, is suspended, and
// nothing any more once the user's tokens were revoked.
func TestLinksEndWithTheRightToLogIn(t *testing.T) {
	t.Parallel()
	h, root := operator(t, withFiles)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.group("Crew", "bob")
	m := ann.sendFile(id, "a.txt", []byte("secret")).want(201).body
	own := func(u *user) string {
		return u.call("GET", "messages/"+m.str("id")+"/", nil).want(200).body.str("file_url")
	}
	link, other := own(bob), own(ann)
	bob.get(link, false).want(200)

	h.manage(root, "POST", "users/bob/suspend/", object{"reason": "Spam."}).want(200)
	bob.get(link, false).want(403).says("The link is not valid or has expired.")
	ann.get(other, false).want(200)
	h.manage(root, "POST", "users/bob/resume/", nil).want(200)
	bob.get(link, false).want(200)

	h.clock.advance(2 * time.Second) // tokens and links say to the second when they were made
	h.manage(root, "POST", "users/bob/revoke_tokens/", nil).want(200)
	bob.get(link, false).want(403)
	ann.get(other, false).want(200)
	h.clock.advance(2 * time.Second)
	bob = h.user("bob") // has a new token
	bob.get(own(bob), false).want(200)
	bob.get(link, false).want(403)
}
