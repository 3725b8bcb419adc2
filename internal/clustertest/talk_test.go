package clustertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/internal/testcluster"
)

// pace is the pause between two sends of one user in one conversation.
const pace = 60 * time.Millisecond

// perTenant users of each of the two tenants, with the same names in both; a user's client begins at node number modulo nodes.
const perTenant = 6

var tenants = []string{"red", "blue"}

// member is one user of a talk, with one client that goes to any node.
type member struct {
	talk         *talk
	tenant, name string
	token        string
	c            *client.Client
	obs          *check.Observer
	convs        []*conv
	done         chan error // of Run
}

func (m *member) full() string { return m.tenant + "/" + m.name }

type conv struct {
	id, tenant string
	members    []*member
	head       atomic.Uint64 // the highest acknowledged seq
	acks       timeline
	burst      bool // nobody speaks in it all the time
}

// talk is a load of clients, with everything that is known of it.
type talk struct {
	t       *testing.T
	c       *testcluster.Cluster
	prefix  string // of user names: a keyspace may see several talks
	check   *check.Checker
	rec     *recorder
	logs    *slog.Logger
	members []*member
	convs   map[string]*conv
	order   []*conv
	leavers []*leaver
	sends   sync.WaitGroup
	stop    context.CancelFunc
	mixups  atomic.Int64 // I8

	acked, refused, gaps, resumes atomic.Int64
}

// groups of a tenant, by numbers of users. Pairs across nodes, pairs on one, groups over all.
var groups = [][]int{{0, 1}, {1, 2}, {2, 3}, {4, 5}, {0, 3}, {1, 5}, {0, 1, 2}, {2, 3, 4}, {3, 4, 5}, {0, 2, 4}, {1, 3, 5}, {0, 1, 2, 3, 4, 5}}

// startTalk makes users and conversations and starts their talking. It ends with finish, at the latest with the test.
func startTalk(t *testing.T, c *testcluster.Cluster) *talk {
	t.Helper()
	dir := artefacts(t)
	checker, err := check.New(check.Config{})
	must(t, err)
	k := &talk{t: t, c: c, prefix: fmt.Sprintf("%x-", rand.Uint32()), check: checker, rec: newRecorder(t, dir), convs: map[string]*conv{}}
	f, err := os.Create(filepath.Join(dir, "clients.log"))
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	k.logs = slog.New(slog.NewTextHandler(f, nil))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, tenant := range tenants {
		var us []*member
		for i := range perTenant {
			m := k.member(ctx, tenant, fmt.Sprintf("%suser%d", k.prefix, i), i)
			us = append(us, m)
		}
		k.members = append(k.members, us...)
		for _, who := range groups {
			k.converse(ctx, us, who)
		}
	}
	// Registered before the clients, so that what speakers wait for ends first.
	sctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	t.Cleanup(func() { stop(); k.sends.Wait() })
	for _, m := range k.members {
		m.run()
	}
	for _, m := range k.members {
		if err := m.c.WaitOnline(ctx); err != nil {
			t.Fatalf("%s is not online: %v", m.full(), err)
		}
	}
	for _, cv := range k.order {
		// Two speak, three where there are so many: on different nodes.
		for _, m := range cv.members[:min(3, len(cv.members))] {
			k.sends.Go(func() { k.speak(sctx, m, cv) })
		}
	}
	k.progress(2 * int64(len(k.order)))
	return k
}

// member introduces a user and makes its client, which is not connected.
func (k *talk) member(ctx context.Context, tenant, name string, node int) *member {
	k.t.Helper()
	m := &member{talk: k, tenant: tenant, name: name, done: make(chan error, 1)}
	nodes := k.c.Running()
	m.token = introduce(k.t, k.c, nodes[node%len(nodes)], tenant, name)
	m.obs = k.check.Observer(m.full(), m.full())
	m.c = newClient(k.t, k.c, nodes[node%len(nodes)], m.token, func(e client.Event) { k.observe(m, e) }, k.logs.With("user", m.full()))
	return m
}

func (m *member) run() {
	go func() { m.done <- m.c.Run(context.Background()) }()
	m.talk.t.Cleanup(func() { _ = m.c.Close() })
}

// introduce makes a user known and returns a token for it.
func introduce(t *testing.T, c *testcluster.Cluster, at *testcluster.Node, tenant, name string) string {
	t.Helper()
	token, err := c.Token(tenant, name)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := at.Call(ctx, "GET", "conversations/", token, nil)
	must(t, err)
	if a.Code != 200 {
		t.Fatalf("%s at %s: %d %s", name, at.Name, a.Code, a.Body)
	}
	return token
}

// newClient begins at a node and goes to any.
func newClient(t *testing.T, c *testcluster.Cluster, at *testcluster.Node, token string, h func(client.Event), log *slog.Logger) *client.Client {
	t.Helper()
	cl, err := client.New(client.Config{
		URL: at.URL(), URLs: c.URLs(), TokenSource: client.StaticToken(token), Handler: h, HTTPClient: c.HTTP(), Logger: log, FromStart: true,
		Backoff:        client.Backoff{Min: 50 * time.Millisecond, Max: time.Second},
		ConnectTimeout: 3 * time.Second, AckTimeout: 6 * time.Second, PingInterval: 2 * time.Second, PongTimeout: 2 * time.Second,
	})
	must(t, err)
	return cl
}

func (k *talk) converse(ctx context.Context, us []*member, who []int) *conv {
	k.t.Helper()
	var others []client.UserID
	var members []*member
	for i, u := range who {
		members = append(members, us[u])
		if i > 0 {
			others = append(others, client.UserID(us[u].name))
		}
	}
	var made *client.Conversation
	var err error
	if len(others) == 1 {
		made, err = members[0].c.CreateDirect(ctx, others[0])
	} else {
		made, err = members[0].c.CreateGroup(ctx, fmt.Sprint("group of ", len(who)), others...)
	}
	must(k.t, err)
	cv := &conv{id: made.ID, tenant: us[0].tenant, members: members}
	if k.convs[cv.id] != nil {
		k.t.Fatalf("the conversation %s exists twice", cv.id)
	}
	k.convs[cv.id] = cv
	k.order = append(k.order, cv)
	for _, m := range members {
		m.convs = append(m.convs, cv)
		m.obs.Follow(cv.id, 0)
		m.c.Follow(cv.id, 0)
	}
	return cv
}

func entry(m client.Message) check.Entry {
	return check.Entry{Seq: m.Seq, ID: m.ID, Key: m.Content}
}

// observe is the handler of every client.
func (k *talk) observe(m *member, e client.Event) {
	saw := func(conversation string, e check.Entry) {
		k.mine(m, conversation, e.Key)
		m.obs.Saw(conversation, e)
		k.rec.add(recorded{What: "saw", Who: m.full(), Conv: conversation, Seq: e.Seq, ID: e.ID, Key: e.Key})
	}
	other := func(l client.Log) { saw(l.Conversation, check.Entry{Seq: l.Seq}) }
	switch e := e.(type) {
	case *client.MessageEvent:
		saw(e.Conversation, entry(e.Message))
	case *client.EditedEvent:
		other(e.Log)
	case *client.DeletedEvent:
		other(e.Log)
	case *client.ReactionEvent:
		other(e.Log)
	case *client.ChangeEvent:
		other(e.Log)
	case *client.GapEvent:
		k.gaps.Add(1)
		var list []check.Entry
		for _, msg := range e.Messages {
			k.mine(m, e.Conversation, msg.Content)
			list = append(list, entry(msg))
		}
		m.obs.Gap(e.Conversation, e.To, list)
		k.rec.add(recorded{What: "gap", Who: m.full(), Conv: e.Conversation, Seq: e.To})
	case *client.LostEvent:
		k.t.Errorf("%s lost %s: %v", m.full(), e.Conversation, e.Err)
	case *client.ErrorEvent:
		k.logs.Info("an error that belongs to nothing", "user", m.full(), "error", e.Err)
	case *client.UnknownEvent:
		if e.Seq > 0 {
			other(e.Log)
		}
	case *client.StateEvent:
		note := e.State.String()
		if e.Err != nil {
			note += ": " + e.Err.Error()
		}
		k.rec.add(recorded{What: "state", Who: m.full(), Note: note})
		if e.State == client.StateResuming {
			k.resumes.Add(1)
		}
	}
}

// mine checks that what a member got is of its tenant (I8).
func (k *talk) mine(m *member, conversation, key string) {
	cv := k.convs[conversation] // complete before any client runs, but for those of leavers
	if cv != nil && cv.tenant != m.tenant || key != "" && !strings.HasPrefix(key, m.tenant+"/") {
		k.mixups.Add(1)
		k.t.Errorf("%s got %q of %s", m.full(), key, conversation)
	}
}

// speak sends, one message after the other, until ctx ends.
func (k *talk) speak(ctx context.Context, m *member, cv *conv) {
	short := cv.id[:4] + cv.id[max(4, len(cv.id)-6):]
	for n := 1; ctx.Err() == nil; n++ {
		k.say(m, cv, fmt.Sprintf("%s/%s/%s/%d", m.tenant, m.name, short, n))
		select {
		case <-time.After(pace/2 + rand.N(pace)):
		case <-ctx.Done():
		}
	}
}

// say sends one message and waits for its end.
func (k *talk) say(m *member, cv *conv, key string) { k.sayAs(m.full(), m, cv, key) }

// sayAs is say with the name under which the checker keeps the order of sends.
func (k *talk) sayAs(sender string, m *member, cv *conv, key string) {
	k.check.Sent(check.Send{Conversation: cv.id, Sender: sender, Key: key})
	k.rec.add(recorded{What: "send", Who: m.full(), Conv: cv.id, Key: key})
	o, err := m.c.SendAsync(cv.id, key)
	if err != nil {
		k.check.Refused(cv.id, key)
		if !errors.Is(err, client.ErrClosed) {
			k.t.Errorf("%s: send: %v", m.full(), err)
		}
		return
	}
	select {
	case <-o.Done():
	case <-time.After(patience):
		k.t.Errorf("%s of %s is not acknowledged after %v (client %v)", key, cv.id, patience, m.c.State())
		return
	}
	msg, err := o.Result()
	switch {
	case errors.Is(err, client.ErrClosed): // the end of a test that failed
	case err != nil: // everything that was sent was allowed, and the SDK retries what may be retried
		k.refused.Add(1)
		k.check.Refused(cv.id, key)
		k.rec.add(recorded{What: "refused", Who: m.full(), Conv: cv.id, Key: key, Note: err.Error()})
		k.t.Errorf("%s was refused: %v", key, err)
	default:
		k.check.Acked(cv.id, key, msg.ID, msg.Seq)
		k.rec.add(recorded{What: "ack", Who: m.full(), Conv: cv.id, Key: key, Seq: msg.Seq, ID: msg.ID})
		k.acked.Add(1)
		cv.acks.add(time.Now())
		for old := cv.head.Load(); old < msg.Seq && !cv.head.CompareAndSwap(old, msg.Seq); old = cv.head.Load() {
		}
	}
}

// progress waits for n more acknowledgements.
func (k *talk) progress(n int64) {
	k.t.Helper()
	goal := k.acked.Load() + n
	await(k.t, fmt.Sprintf("%d more acknowledgements; %v", n, k.states()), func() bool { return k.acked.Load() >= goal })
}

func (k *talk) states() []string {
	var states []string
	for _, m := range k.members {
		states = append(states, fmt.Sprintf("%s %v, %d unsent", m.full(), m.c.State(), m.c.Unsent()))
	}
	return states
}

// writable waits until every conversation has acknowledged something that was sent from now on: what is under way may have
// been decided before.
func (k *talk) writable() {
	k.t.Helper()
	now := time.Now()
	heads := map[*conv]uint64{}
	for _, cv := range k.order {
		if cv.burst {
			continue
		}
		heads[cv] = cv.head.Load() + uint64(min(3, len(cv.members))) // one of each speaker may be under way
	}
	for cv := range heads {
		await(k.t, fmt.Sprintf("conversation %s is writable again (silent since %v)", cv.id, time.Since(now)), func() bool { return cv.head.Load() > heads[cv] })
	}
}

// event makes something happen, waits until all conversations are writable after it, and measures.
func (k *talk) event(name string, f func()) {
	k.t.Helper()
	k.rec.add(recorded{What: "event", Note: name})
	from := time.Now()
	f()
	k.rec.add(recorded{What: "event over", Note: name})
	k.writable()
	measured(k.t, name, "%v", k.outage(from, time.Now()))
}

func (k *talk) outage(from, until time.Time) outage {
	var lines []*timeline
	for _, cv := range k.order {
		if cv.burst {
			continue
		}
		lines = append(lines, &cv.acks)
	}
	return outages(lines, from, until)
}
