package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/internal/testcluster"
)

// person is a user with a token; most tests need no more.
type person struct {
	t           *testing.T
	c           *testcluster.Cluster
	name, token string
}

// people introduces users with names of this test's own.
func people(t *testing.T, c *testcluster.Cluster, tenant string, names ...string) []*person {
	t.Helper()
	var ps []*person
	for i, n := range names {
		nodes := c.Running()
		name := fmt.Sprintf("%s-%s-%x", t.Name(), n, time.Now().UnixNano())
		ps = append(ps, &person{t, c, name, introduce(t, c, nodes[i%len(nodes)], tenant, name)})
	}
	return ps
}

func node(c *testcluster.Cluster, i int) *testcluster.Node { return c.Nodes()[i%len(c.Nodes())] }

// call makes a request at a node.
func (p *person) call(at *testcluster.Node, method, path string, body any) *testcluster.Answer {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a, err := at.Call(ctx, method, path, p.token, body)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

type object = map[string]any

// made is a call that creates something with an id.
func (p *person) made(at *testcluster.Node, path string, body any) string {
	p.t.Helper()
	a := p.call(at, http.MethodPost, path, body)
	var out struct {
		ID json.RawMessage `json:"id"` // a string or a number
	}
	if err := a.Decode(&out); a.Code/100 != 2 || err != nil {
		p.t.Fatalf("%s at %s: %d %s", path, at.Name, a.Code, a.Body)
	}
	return strings.Trim(string(out.ID), `"`)
}

func (p *person) direct(at *testcluster.Node, other *person) string {
	p.t.Helper()
	return p.made(at, "conversations/", object{"participant_ids": []string{other.name}})
}

func (p *person) post(at *testcluster.Node, conversation, text string) int {
	p.t.Helper()
	return p.call(at, http.MethodPost, "messages/", object{"conversation": conversation, "content": text}).Code
}

// sdk runs a client at a node until the test ends or the returned function is called.
func (p *person) sdk(at *testcluster.Node, h func(client.Event)) (*client.Client, func()) {
	p.t.Helper()
	c := newClient(p.t, p.c, at, p.token, h, nil)
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(context.Background()) }()
	end := func() { _ = c.Close(); <-done }
	p.t.Cleanup(end)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.WaitOnline(ctx); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	return c, end
}

// TestReq003_OneDirectConversationForAllNodes: whoever of a pair creates it, at any node, at the same moment, gets the same one.
func TestReq003_OneDirectConversationForAllNodes(t *testing.T) {
	c := sharedCluster(t, plain)
	for range 3 {
		ps := people(t, c, "red", "ann", "bob")
		var ids sync.Map
		var wg sync.WaitGroup
		for i := range 33 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				a, err := node(c, i).Call(ctx, http.MethodPost, "conversations/", ps[i%2].token, object{"participant_ids": []string{ps[1-i%2].name}})
				var out client.Conversation
				if err != nil || a.Code/100 != 2 || a.Decode(&out) != nil {
					t.Errorf("create: %v %+v", err, a)
					return
				}
				ids.Store(out.ID, true)
			})
		}
		wg.Wait()
		n := 0
		ids.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("%d conversations of one pair", n)
		}
		for i := range c.Nodes() {
			var list struct{ Count int }
			if a := ps[0].call(node(c, i), http.MethodGet, "conversations/", nil); a.Decode(&list) != nil || list.Count != 1 {
				t.Errorf("%s lists %s", node(c, i).Name, a.Body)
			}
		}
	}
}

// TestReq020_Req164_EveryMemberOnEveryNodeOnce: in a group whose members have a session at every node, each session gets every
// message once and in the same order, whichever node it was sent at.
func TestReq020_Req164_EveryMemberOnEveryNodeOnce(t *testing.T) {
	c := sharedCluster(t, plain)
	ps := people(t, c, "red", "ann", "bob", "cat", "dan")
	var names []string
	for _, p := range ps[1:] {
		names = append(names, p.name)
	}
	id := ps[0].made(node(c, 0), "conversations/", object{"participant_ids": names, "name": "all over"})
	checker, err := check.New(check.Config{})
	must(t, err)
	var observers []*check.Observer
	var clients []*client.Client
	for _, p := range ps {
		for i := range c.Nodes() {
			o := checker.Observer(p.name+" at "+node(c, i).Name, p.name)
			o.Follow(id, 0)
			cl := newClient(t, c, node(c, i), p.token, func(e client.Event) {
				switch e := e.(type) {
				case *client.MessageEvent:
					o.Saw(e.Conversation, entry(e.Message))
				case *client.ChangeEvent:
					o.Saw(e.Conversation, check.Entry{Seq: e.Seq})
				case *client.GapEvent:
					t.Errorf("a gap without any fault: %+v", e)
				}
			}, nil)
			cl.Follow(id, 0)
			done := make(chan struct{})
			go func() { defer close(done); _ = cl.Run(context.Background()) }()
			t.Cleanup(func() { _ = cl.Close(); <-done })
			observers, clients = append(observers, o), append(clients, cl)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, cl := range clients {
		must(t, cl.WaitOnline(ctx))
	}
	var head atomic.Uint64
	var wg sync.WaitGroup
	for i, cl := range clients {
		wg.Go(func() {
			for n := range 10 {
				key := fmt.Sprintf("%d/%d", i, n)
				checker.Sent(check.Send{Conversation: id, Sender: fmt.Sprint(i), Key: key})
				msg, err := cl.Send(ctx, id, key)
				if err != nil {
					t.Errorf("send: %v", err)
					checker.Refused(id, key)
					return
				}
				checker.Acked(id, key, msg.ID, msg.Seq)
				for old := head.Load(); old < msg.Seq && !head.CompareAndSwap(old, msg.Seq); old = head.Load() {
				}
			}
		})
	}
	wg.Wait()
	await(t, "everybody has everything", func() bool {
		for _, o := range observers {
			if o.Last(id) < head.Load() {
				return false
			}
		}
		return true
	})
	for _, n := range c.Nodes() {
		list, err := read(ctx, c, n, ps[1].token, id)
		must(t, err)
		checker.Final(n.Name, id, list)
	}
	report, err := checker.Check()
	must(t, err)
	if !report.OK() {
		t.Error(report)
	}
}

// TestReq042_TenantsApartOnEveryNode: the same users and pairs in two tenants have nothing to do with each other.
func TestReq042_TenantsApartOnEveryNode(t *testing.T) {
	c := sharedCluster(t, plain)
	red := people(t, c, "red", "ann", "bob")
	var blue []*person
	for i, p := range red {
		blue = append(blue, &person{t, c, p.name, introduce(t, c, node(c, i), "blue", p.name)})
	}
	id := red[0].direct(node(c, 0), red[1])
	if other := blue[0].direct(node(c, 1), blue[1]); other == id {
		t.Fatalf("one id for two tenants: %s", id)
	}
	if code := red[0].post(node(c, 0), id, "secret"); code/100 != 2 {
		t.Fatal(code)
	}
	for _, n := range c.Nodes() {
		for _, p := range blue {
			if a := p.call(n, http.MethodGet, "messages/?conversation="+id, nil); a.Code != http.StatusForbidden && a.Code != http.StatusNotFound {
				t.Errorf("%s shows the other tenant's messages: %d %s", n.Name, a.Code, a.Body)
			}
			if code := p.post(n, id, "intruder"); code != http.StatusForbidden && code != http.StatusNotFound && code != http.StatusBadRequest {
				t.Errorf("%s takes a message for the other tenant: %d", n.Name, code)
			}
		}
		list, err := read(t.Context(), c, n, red[1].token, id)
		if err != nil || len(list) != 1 || list[0].Key != "secret" {
			t.Errorf("%s: %+v, %v", n.Name, list, err)
		}
	}
}

// TestReq100_BlockHoldsAtOnceOnEveryNode: once blocking has returned, at whichever node, no node takes a message of the pair.
func TestReq100_BlockHoldsAtOnceOnEveryNode(t *testing.T) {
	c := sharedCluster(t, plain)
	for i := range c.Nodes() {
		ps := people(t, c, "red", "ann", "bob")
		ann, bob := ps[0], ps[1]
		id := ann.direct(node(c, i+1), bob)
		for j := range c.Nodes() { // every node has had to do with both
			for _, p := range ps {
				if code := p.post(node(c, j), id, "before"); code/100 != 2 {
					t.Fatal(code)
				}
			}
		}
		entry := ann.made(node(c, i), "blocked/", object{"user_id": bob.name})
		for j := range c.Nodes() {
			for _, p := range ps {
				if code := p.post(node(c, j), id, "no"); code != http.StatusForbidden {
					t.Errorf("blocked at %s, %s takes a message: %d", node(c, i).Name, node(c, j).Name, code)
				}
			}
		}
		if a := ann.call(node(c, i+2), http.MethodDelete, "blocked/"+entry+"/", nil); a.Code/100 != 2 {
			t.Fatalf("unblock: %d %s", a.Code, a.Body)
		}
		for j := range c.Nodes() {
			if code := bob.post(node(c, j), id, "again"); code/100 != 2 {
				t.Errorf("unblocked at %s, %s refuses: %d", node(c, i+2).Name, node(c, j).Name, code)
			}
		}
	}
}

// TestReq102_PresenceAcrossNodes: a user is online at all nodes from its first socket until its last, wherever they are, and
// after the node with the last one has died.
func TestReq102_PresenceAcrossNodes(t *testing.T) {
	several(t)
	c := sharedCluster(t, plain)
	ps := people(t, c, "red", "ann", "bob")
	ann, bob := ps[0], ps[1]
	ann.made(node(c, 0), "contacts/", object{"contact_id": bob.name})
	online := func(at *testcluster.Node) bool {
		var list struct{ Results []client.Contact }
		if a := ann.call(at, http.MethodGet, "contacts/", nil); a.Code != http.StatusOK || a.Decode(&list) != nil || len(list.Results) != 1 {
			t.Fatalf("%s: %d %s", at.Name, a.Code, a.Body)
		}
		return list.Results[0].Online
	}
	everywhere := func(what string, want bool) {
		t.Helper()
		from := time.Now()
		await(t, what, func() bool {
			for _, n := range c.Running() {
				if online(n) != want {
					return false
				}
			}
			return true
		})
		measured(t, what, "after %v", time.Since(from).Round(time.Millisecond))
	}
	everywhere("offline at first", false)
	_, endFirst := bob.sdk(node(c, 1), nil)
	everywhere("the first socket is open", true)
	_, endSecond := bob.sdk(node(c, 2), nil)
	endFirst()
	wait(time.Second)
	everywhere("one of two sockets is closed", true)
	endSecond()
	everywhere("the last socket is closed", false)

	// A client that knows no other node.
	only, err := client.New(client.Config{URL: node(c, 1).URL(), TokenSource: client.StaticToken(bob.token), HTTPClient: c.HTTP()})
	must(t, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = only.Run(context.Background()) }()
	everywhere("a socket at the node that will die", true)
	node(c, 1).Kill()
	everywhere("the node of the last socket has died", false)
	_ = only.Close()
	<-done
	must(t, node(c, 1).Start())
	revive(t, c)
}

// TestReq118_RateLimitSpansNodes: what a user may do in a second is counted over all nodes.
func TestReq118_RateLimitSpansNodes(t *testing.T) {
	several(t)
	c := ownCluster(t, 2, "", func(cfg *testcluster.Config) { cfg.Args = []string{"--user-rate", "1", "--user-burst", "10"} })
	ps := people(t, c, "red", "ann", "bob")
	id := ps[0].direct(node(c, 0), ps[1])
	wait(11 * time.Second) // the bucket is full again
	from := time.Now()
	took, refused := 0, 0
	for i := range 30 {
		switch code := ps[0].post(node(c, i), id, fmt.Sprint(i)); {
		case code/100 == 2:
			took++
		case code == http.StatusTooManyRequests:
			refused++
		default:
			t.Errorf("status %d", code)
		}
	}
	allowed := 10 + int(time.Since(from)/time.Second) + 1
	allowed += 2 // what one node accepts while the other's word is on its way
	if took > allowed || refused == 0 {
		t.Errorf("%d of 30 were taken in %v, %d refused; 10 and 1 a second are allowed", took, time.Since(from), refused)
	}
	measured(t, "30 sends in turn at two nodes, burst 10", "%d taken in %v", took, time.Since(from).Round(time.Millisecond))
	if code := ps[1].post(node(c, 0), id, "bob is not limited"); code/100 != 2 {
		t.Errorf("the other user: %d", code)
	}
}
