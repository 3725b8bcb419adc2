package clustertest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/internal/testcluster"
)

// finish ends the talk, waits until everything has arrived everywhere, and checks all promises. The cluster must be whole again.
func (k *talk) finish() {
	t := k.t
	t.Helper()
	k.stop()
	k.sends.Wait()
	settled(t, k.c)
	k.arrived()
	k.readBack()
	k.apart()
	for _, l := range k.leavers {
		l.check()
	}
	report, err := k.check.Check()
	must(t, err)
	t.Logf("%s; %d gaps, %d resumes", report, k.gaps.Load(), k.resumes.Load())
	if !report.OK() {
		t.Error("the promises were not kept")
	}
	for _, m := range k.members {
		_ = m.c.Close()
		if err := <-m.done; err != nil {
			t.Errorf("%s: Run ended with %v", m.full(), err)
		}
	}
}

// arrived waits until every observer has seen every acknowledged message (I6).
func (k *talk) arrived() {
	behind := func() string {
		for _, m := range k.members {
			for _, cv := range m.convs {
				if last, head := m.obs.Last(cv.id), cv.head.Load(); last < head {
					return fmt.Sprintf("%s has seen %d of %d of %s (%v)", m.full(), last, head, cv.id, m.c.State())
				}
			}
		}
		return ""
	}
	for end := time.Now().Add(patience); behind() != ""; wait(10 * time.Millisecond) {
		if time.Now().After(end) {
			k.t.Errorf("not everything was delivered after %v: %s", patience, behind())
			return // the checker says what
		}
	}
}

// readBack reads every conversation at every node.
func (k *talk) readBack() {
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	for i, n := range k.c.Running() {
		var wg sync.WaitGroup
		slots := make(chan struct{}, 4)
		for _, cv := range k.order {
			m := cv.members[i%len(cv.members)]
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				list, err := read(ctx, k.c, n, m.token, cv.id)
				if err != nil {
					k.t.Errorf("%s: read %s: %v", n.Name, cv.id, err)
					return
				}
				k.check.Final(n.Name+" for "+m.full(), cv.id, list)
			})
		}
		wg.Wait()
	}
}

// read is the whole history of a conversation as a node answers it, oldest first.
func read(ctx context.Context, c *testcluster.Cluster, n *testcluster.Node, token, conversation string) ([]check.Entry, error) {
	reader, err := client.New(client.Config{URL: n.URL(), TokenSource: client.StaticToken(token), HTTPClient: c.HTTP()})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var list []check.Entry
	for before := ""; ; {
		page, err := reader.Messages(ctx, conversation, before)
		if err != nil {
			return nil, err
		}
		for _, msg := range page.Messages {
			list = append(list, entry(msg))
			before = msg.ID
		}
		if !page.More || len(page.Messages) == 0 {
			slices.Reverse(list)
			return list, nil
		}
	}
}

// apart checks that no node answers anything of one tenant to a user of the other with the same name (I8).
func (k *talk) apart() {
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	for _, n := range k.c.Running() {
		for i, m := range k.members[:2] {
			stranger := k.members[perTenant+i]
			for _, cv := range m.convs[:2] {
				a, err := n.Call(ctx, http.MethodGet, "messages/?conversation="+cv.id, stranger.token, nil)
				if err != nil {
					k.t.Errorf("%v", err)
				} else if a.Code != http.StatusForbidden && a.Code != http.StatusNotFound {
					k.t.Errorf("%s shows %s of tenant %s to %s: %d", n.Name, cv.id, m.tenant, stranger.full(), a.Code)
				}
			}
		}
	}
}

// leaver is a member who is removed from a group while it is online and the group is busy, and must see nothing behind it (I5).
type leaver struct {
	k     *talk
	m     *member
	group string

	mu   sync.Mutex
	last uint64 // what it saw
}

// removal makes one leaver, who is removed when the returned function is called.
func (k *talk) removal(node int) (remove func()) {
	t := k.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nodes := k.c.Running()
	owner, witness := k.members[0], k.members[1]
	l := &leaver{k: k, m: &member{talk: k, tenant: owner.tenant, name: fmt.Sprintf("%sleaver%d", k.prefix, len(k.leavers)), done: make(chan error, 1)}}
	at := nodes[node%len(nodes)]
	l.m.token = introduce(t, k.c, at, l.m.tenant, l.m.name)
	l.m.c = newClient(t, k.c, at, l.m.token, l.observe, k.logs.With("user", l.m.full()))
	made, err := owner.c.CreateGroup(ctx, "leaving", client.UserID(witness.name), client.UserID(l.m.name))
	must(t, err)
	l.group = made.ID
	cv := &conv{id: made.ID, tenant: owner.tenant, members: []*member{owner, witness}}
	k.order = append(k.order, cv)
	for _, m := range cv.members {
		m.convs = append(m.convs, cv)
		m.c.Follow(cv.id, 0) // the observer begins with what it sees first, which may have come already
	}
	l.m.c.Follow(made.ID, 0)
	l.m.run()
	must(t, l.m.c.WaitOnline(ctx))
	k.leavers = append(k.leavers, l)
	stop := make(chan struct{})
	k.sends.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(pace):
				k.say(owner, cv, fmt.Sprintf("%s/%s/to-%s/%d", owner.tenant, owner.name, l.m.name, n))
			}
		}
	})
	halt := k.stop
	var once sync.Once
	k.stop = func() { halt(); once.Do(func() { close(stop) }) }
	t.Cleanup(func() { once.Do(func() { close(stop) }) })
	await(t, "the leaver hears the group", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.last > 2 })
	return func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for {
			// Through some node; one that is in trouble answers 503, and the next is asked. Removing twice is harmless.
			for _, n := range k.c.Running() {
				once, cancel := context.WithTimeout(ctx, 5*time.Second)
				a, err := n.Call(once, http.MethodPost, "conversations/"+l.group+"/remove_participants/", owner.token, map[string][]string{"user_ids": {l.m.name}})
				cancel()
				if err == nil && (a.Code/100 == 2 || a.Code == http.StatusBadRequest || a.Code == http.StatusNotFound) {
					k.rec.add(recorded{What: "removed", Who: l.m.full(), Conv: l.group, Seq: cv.head.Load()})
					return
				}
			}
			if ctx.Err() != nil {
				t.Fatalf("%s cannot be removed", l.m.full())
			}
			wait(100 * time.Millisecond)
		}
	}
}

func (l *leaver) observe(e client.Event) {
	saw := func(conversation string, seq uint64, key string) {
		l.k.mine(l.m, conversation, key)
		l.k.rec.add(recorded{What: "saw", Who: l.m.full(), Conv: conversation, Seq: seq, Key: key})
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last = max(l.last, seq)
	}
	switch e := e.(type) {
	case *client.MessageEvent:
		saw(e.Conversation, e.Seq, e.Content)
	case *client.ChangeEvent:
		saw(e.Conversation, e.Seq, "")
	case *client.GapEvent:
		saw(e.Conversation, e.To, "")
	case *client.UnknownEvent:
		if e.Seq > 0 {
			saw(e.Conversation, e.Seq, "")
		}
	}
}

// check compares what the leaver saw with where the removal stands in the log, which is the only event there that is no
// message behind the first.
func (l *leaver) check() {
	t := l.k.t
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	list, err := read(ctx, l.k.c, l.k.c.Running()[0], l.k.members[0].token, l.group)
	if err != nil {
		t.Errorf("read %s: %v", l.group, err)
		return
	}
	removal, behind := uint64(0), 0
	for i := 1; i < len(list); i++ {
		if list[i].Seq > list[i-1].Seq+1 {
			removal = list[i-1].Seq + 1
			behind = len(list) - i
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if removal == 0 {
		t.Errorf("the removal of %s from %s is not in the log, or nothing was said after it", l.m.full(), l.group)
		return
	}
	if l.last > removal {
		t.Errorf("%s was removed by event %d of %s and saw event %d", l.m.full(), removal, l.group, l.last)
	}
	for _, n := range l.k.c.Running() {
		a, err := n.Call(ctx, http.MethodGet, "messages/?conversation="+l.group, l.m.token, nil)
		if err != nil {
			t.Errorf("%v", err)
		} else if a.Code != http.StatusForbidden && a.Code != http.StatusNotFound {
			t.Errorf("%s shows %s to %s, who was removed: %d", n.Name, l.group, l.m.full(), a.Code)
		}
	}
	t.Logf("%s saw events up to %d, was removed by %d; %d messages were said after it", l.m.full(), l.last, removal, behind)
}
