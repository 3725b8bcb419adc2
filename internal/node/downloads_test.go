package node_test

import (
	"strings"
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

// TestManyRanges: a request for very many ranges does not become as many reads of the store.
func TestManyRanges(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann := h.user("ann")
	h.user("bob")
	content := strings.Repeat("0123456789", 100)
	path := ann.sendFile(ann.direct("bob"), "a.txt", []byte(content)).want(201).body.str("file")
	r := ann.get(path, true, "Range", "bytes=0-0"+strings.Repeat(",5-5", 15)).want(206)
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "multipart/byteranges") {
		t.Errorf("16 ranges: %s", kind)
	}
	if r = ann.get(path, true, "Range", "bytes=0-0"+strings.Repeat(",5-5", 16)).want(200); r.raw != content {
		t.Errorf("17 ranges: %d bytes", len(r.raw))
	}
}
