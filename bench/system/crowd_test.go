package system_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/system"
	"github.com/zumodra/hub/client"
)

// crowd are users of a system in groups of four, whose every move a checker follows.
type crowd struct {
	t       *testing.T
	ctx     context.Context
	check   *check.Checker
	clients []*client.Client
	groups  []string
	stop    func()
	seen    []*check.Observer // by user
	acked   atomic.Int64
}

func userID(n int) client.UserID { return client.UserID(strconv.Itoa(1000 + n)) }

func token(t *testing.T, secret []byte, n int) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, (&jose.SignerOptions{}).WithType("JWT"))
	must(t, err)
	text, err := jwt.Signed(s).Claims(map[string]any{"user_id": 1000 + n, "username": "user" + strconv.Itoa(n), "tenant": "bench", "token_type": "access",
		"exp": time.Now().Add(time.Hour).Unix()}).Serialize()
	must(t, err)
	return text
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// gather connects users to the system and makes their groups.
func gather(ctx context.Context, t *testing.T, s *system.System, users int) *crowd {
	t.Helper()
	ck, err := check.New(check.Config{})
	must(t, err)
	c := &crowd{t: t, ctx: ctx, check: ck}
	run, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	c.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(func() { c.stop(); _ = ck.Close() })
	for i := range users {
		o := ck.Observer("session "+strconv.Itoa(i), string(userID(i)))
		c.seen = append(c.seen, o)
		cl, err := client.New(client.Config{URLs: s.URLs(), TokenSource: client.StaticToken(token(t, s.Secret(), i)), AckTimeout: 5 * time.Second,
			Handler: follow(o), Backoff: client.Backoff{Max: time.Second}})
		must(t, err)
		c.clients = append(c.clients, cl)
		wg.Go(func() { _ = cl.Run(run) })
	}
	for _, cl := range c.clients {
		must(t, cl.WaitOnline(ctx))
	}
	for i := 0; i < users; i += 4 {
		g, err := c.clients[i].CreateGroup(ctx, "group", userID(i+1), userID(i+2), userID(i+3))
		must(t, err)
		c.groups = append(c.groups, g.ID)
	}
	return c
}

func entry(m client.Message) check.Entry {
	key, _, _ := strings.Cut(m.Content, " ")
	return check.Entry{Seq: m.Seq, ID: m.ID, Key: key}
}

func entries(list []client.Message) (e []check.Entry) {
	for _, m := range list {
		e = append(e, entry(m))
	}
	return e
}

func follow(o *check.Observer) func(client.Event) {
	return func(e client.Event) {
		switch e := e.(type) {
		case *client.MessageEvent:
			o.Saw(e.Conversation, entry(e.Message))
		case *client.GapEvent:
			o.Gap(e.Conversation, e.To, entries(e.Messages))
		}
	}
}

// talk has every user send messages one after the other until more reports false.
func (c *crowd) talk(more func(sent int) bool) {
	var wg sync.WaitGroup
	for i, cl := range c.clients {
		wg.Go(func() {
			group := c.groups[i/4]
			for n := 0; more(n) && c.ctx.Err() == nil; n++ {
				key := fmt.Sprintf("%d-%d", i, n)
				c.check.Sent(check.Send{Conversation: group, Sender: strconv.Itoa(i), User: string(userID(i)), Key: key, Intended: time.Now()})
				m, err := cl.Send(c.ctx, group, key+" hello", client.WithClientID(key))
				if err != nil {
					c.t.Errorf("send %s: %v", key, err)
					return
				}
				c.check.Acked(group, key, m.ID, m.Seq)
				c.acked.Add(1)
			}
		})
	}
	wg.Wait()
}

// judge reads everything again and lets the checker decide.
func (c *crowd) judge() *check.Report {
	c.t.Helper()
	for i, cl := range c.clients {
		group := c.groups[i/4]
		_, head, err := cl.Events(c.ctx, group, 0)
		if err != nil {
			c.t.Fatalf("the head of a group: %v", err)
		}
		// What was acknowledged may still be on its way. Who has not got it in the end is the checker's matter.
		late, cancel := context.WithTimeout(c.ctx, 20*time.Second)
		for c.seen[i].Last(group) < head && late.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		if i%4 > 1 {
			continue // two read all of it
		}
		var list []check.Entry
		for before, more := "", true; more; {
			page, err := cl.Messages(c.ctx, group, before)
			if err != nil {
				c.t.Fatalf("read the history: %v", err)
			}
			list = append(list, entries(page.Messages)...)
			if more = page.More && len(page.Messages) > 0; more {
				before = page.Messages[len(page.Messages)-1].ID
			}
		}
		slices.Reverse(list)
		c.check.Final(string(userID(i)), group, list)
	}
	c.stop()
	r, err := c.check.Check()
	must(c.t, err)
	return r
}
