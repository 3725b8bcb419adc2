package clustertest

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/testcluster"
)

// TestScheduledMessagesAreTakenOver: messages that were scheduled at every node are sent once, in order, though a node dies
// while they fall due: whoever owns their conversations next sends them.
func TestScheduledMessagesAreTakenOver(t *testing.T) {
	several(t)
	c := sharedCluster(t, plain)
	ps := people(t, c, "red", "ann", "bob", "cat")
	ann := ps[0]
	const groups, each = 6, 12
	var ids []string
	for i := range groups {
		ids = append(ids, ann.made(node(c, i), "conversations/", object{"participant_ids": []string{ps[1].name, ps[2].name}, "name": fmt.Sprint("later ", i)}))
	}
	first := time.Now().Add(10 * time.Second) // each has to be there before its time
	for i := range each {
		for j, id := range ids {
			at := first.Add(time.Duration(i) * 300 * time.Millisecond)
			ann.made(node(c, i+j), "scheduled/", object{"conversation_id": id, "content": fmt.Sprint(i), "send_at": at.UTC().Format(time.RFC3339Nano)})
		}
	}
	wait(time.Until(first) + time.Second)
	victim := c.Running()[len(c.Running())-1]
	victim.Kill()
	at := c.Running()[0]
	left := func(n *testcluster.Node) int {
		var page struct{ Count int }
		if a := ann.call(n, http.MethodGet, "scheduled/", nil); a.Code != http.StatusOK || a.Decode(&page) != nil {
			return -1
		}
		return page.Count
	}
	await(t, "the others send what is due", func() bool { return left(at) == 0 })
	must(t, victim.Start())
	revive(t, c)
	for _, id := range ids {
		var page struct {
			Results []struct{ Content string }
		}
		if a := ann.call(at, http.MethodGet, "messages/?conversation="+id, nil); a.Code != http.StatusOK || a.Decode(&page) != nil {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
		var got, want []string
		for _, m := range page.Results {
			got = append(got, m.Content)
		}
		for i := range each {
			want = append(want, fmt.Sprint(each-1-i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("conversation %s has %q", id, got)
		}
	}
}
