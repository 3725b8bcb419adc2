package node_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/zumodra/hub/client"
)

// The SDK against the real hub.
func TestClientPeople(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	h.user("cat")
	ctx := t.Context()
	c, err := client.New(client.Config{URL: h.url, TokenSource: func(context.Context) (string, error) { return ann.token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if k, err := c.AddContact(ctx, "bob"); err != nil || k.User.ID != "bob" || k.ID == 0 {
		t.Fatalf("%+v, %v", k, err)
	}
	bob.dial()
	h.await("bob online", func() bool {
		page, err := c.Contacts(ctx, 1)
		return err == nil && page.Count == 1 && page.Contacts[0].Online && !page.More
	})
	id := ann.direct("bob")
	if err := c.Block(ctx, "bob"); err != nil {
		t.Fatal(err)
	}
	bob.call("POST", "messages/", object{"conversation_id": id, "content": "no"}).want(http.StatusForbidden)
	var he *client.HTTPError
	if err := c.Block(ctx, "bob"); !errors.As(err, &he) || he.Status != http.StatusBadRequest {
		t.Error(err)
	}
	for range 2 {
		if err := c.Unblock(ctx, "bob"); err != nil {
			t.Fatal(err)
		}
	}
	bob.post(id, "yes")
	ann.group("G", "bob", "cat")
	if list, err := c.Suggestions(ctx); err != nil || len(list) != 1 || list[0].User.ID != "cat" || list[0].SharedGroups != 1 || list[0].Score != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := c.SetReadReceipts(ctx, false); err != nil {
		t.Fatal(err)
	}
	if p := ann.call("GET", "preferences/", nil).want(200); p.body.yes("read_receipts") {
		t.Error(p.raw)
	}
}
