package clustertest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/internal/testcluster"
)

// size of a measurement: from the environment, or short where CI runs it.
func size(t *testing.T, name string, short, long int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	if cycles(t) < 20 {
		return short
	}
	return long
}

// TestReq162_SessionsOfAKilledNode: thousands of sessions are on one node when it dies, while their conversations go on at the
// others. Each comes back somewhere and gets exactly what it missed.
func TestReq162_SessionsOfAKilledNode(t *testing.T) {
	n := size(t, "HUB_CLUSTER_SESSIONS", 1000, 5000)
	const perUser, perGroup = 10, 10
	c := ownCluster(t, 3, "", func(cfg *testcluster.Config) { cfg.Gated = false })
	victim := node(c, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	// Users, ten to a group; who speaks is elsewhere.
	users := make([]*person, n/perUser)
	each(16, len(users), func(i int) {
		name := fmt.Sprintf("storm-%d", i)
		users[i] = &person{t, c, name, introduce(t, c, node(c, i%2), "red", name)}
	})
	speakers := people(t, c, "red", "speaker1", "speaker2")
	type room struct {
		id   string
		head atomic.Uint64
	}
	rooms := make([]*room, (len(users)+perGroup-1)/perGroup)
	each(8, len(rooms), func(i int) {
		names := []string{speakers[1].name}
		for _, u := range users[i*perGroup : min(len(users), (i+1)*perGroup)] {
			names = append(names, u.name)
		}
		rooms[i] = &room{id: speakers[0].made(node(c, i%2), "conversations/", object{"participant_ids": names, "name": "storm"})}
	})

	// Sessions.
	type sessionState struct {
		last   atomic.Uint64
		broken atomic.Int64 // skips and repeats
		online atomic.Int64 // when it was caught up last, in Unix nanoseconds
		c      *client.Client
	}
	sessions := make([]*sessionState, n)
	var running sync.WaitGroup
	for i := range sessions {
		s := &sessionState{}
		sessions[i] = s
		user := i / perUser
		at := func(seq uint64) {
			if !s.last.CompareAndSwap(seq-1, seq) {
				s.broken.Add(1)
				s.last.Store(seq)
			}
		}
		var err error
		s.c, err = client.New(client.Config{
			// The others in turn: all with one order would be a storm on one node.
			URL: victim.URL(), URLs: []string{victim.URL(), node(c, i%2).URL(), node(c, 1-i%2).URL()},
			TokenSource: client.StaticToken(users[user].token), HTTPClient: c.HTTP(),
			Backoff: client.Backoff{Min: 200 * time.Millisecond, Max: 2 * time.Second},
			Handler: func(e client.Event) {
				switch e := e.(type) {
				case *client.MessageEvent:
					at(e.Seq)
				case *client.ChangeEvent:
					at(e.Seq)
				case *client.UnknownEvent:
					if e.Seq > 0 {
						at(e.Seq)
					}
				case *client.GapEvent:
					s.last.Store(e.To)
				case *client.LostEvent:
					s.broken.Add(1)
				case *client.StateEvent:
					if e.State == client.StateOnline {
						s.online.Store(time.Now().UnixNano())
					}
				}
			},
		})
		must(t, err)
		s.c.Follow(rooms[user/perGroup].id, 0)
	}
	t.Cleanup(func() {
		each(64, n, func(i int) { _ = sessions[i].c.Close() })
		running.Wait()
	})
	opened := time.Now()
	each(64, n, func(i int) {
		running.Go(func() { _ = sessions[i].c.Run(context.Background()) })
		if err := sessions[i].c.WaitOnline(ctx); err != nil {
			t.Errorf("session %d: %v", i, err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	measured(t, fmt.Sprintf("%d sessions opened at one node", n), "in %v", time.Since(opened).Round(10*time.Millisecond))

	// Talk, slowly, all the time.
	var talkers sync.WaitGroup
	quiet, hush := context.WithCancel(context.Background())
	t.Cleanup(func() { hush(); talkers.Wait() })
	speaker, _ := speakers[0].sdk(node(c, 0), nil)
	for i, r := range rooms {
		talkers.Go(func() {
			for k := 0; quiet.Err() == nil; k++ {
				msg, err := speaker.Send(ctx, r.id, fmt.Sprintf("%d/%d", i, k))
				if err != nil {
					t.Errorf("send: %v", err)
					return
				}
				r.head.Store(msg.Seq)
				select {
				case <-time.After(2 * time.Second):
				case <-quiet.Done():
				}
			}
		})
	}
	await(t, "all have heard something", func() bool {
		return !slices.ContainsFunc(sessions, func(s *sessionState) bool { return s.last.Load() < 2 })
	})

	there := min(n, metric(t, victim, "hub_sessions_open")) // some may have gone elsewhere while all came at once
	killed := time.Now()
	victim.Kill()
	if alone() {
		must(t, victim.Start())
	}
	var done []time.Duration
	await(t, "the sessions are back", func() bool {
		done = done[:0]
		for _, s := range sessions {
			if at := s.online.Load(); at > 0 && time.Unix(0, at).After(killed) {
				done = append(done, time.Unix(0, at).Sub(killed))
			}
		}
		return len(done) >= there
	})
	slices.Sort(done)
	measured(t, fmt.Sprintf("%d sessions of a killed node resumed", there), "p25 %v, p50 %v, p99 %v, all after %v", done[len(done)/4].Round(10*time.Millisecond), done[len(done)/2].Round(10*time.Millisecond),
		done[len(done)*99/100].Round(10*time.Millisecond), done[len(done)-1].Round(10*time.Millisecond))

	hush()
	talkers.Wait()
	await(t, "everybody has everything", func() bool {
		for i, s := range sessions {
			if s.last.Load() < rooms[i/perUser/perGroup].head.Load() {
				return false
			}
		}
		return true
	})
	for i, s := range sessions {
		if b := s.broken.Load(); b > 0 {
			t.Errorf("session %d: %d events were skipped, repeated or lost", i, b)
		}
	}
}

// metric of a node, rounded.
func metric(t *testing.T, n *testcluster.Node, name string) int {
	t.Helper()
	b, err := n.Get(t.Context(), "/metrics")
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			must(t, err)
			return int(f)
		}
	}
	t.Fatalf("%s has no metric %s", n.Name, name)
	return 0
}

// each calls f for 0 … n−1, some at a time.
func each(parallel, n int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() { defer func() { <-slots }(); f(i) })
	}
	wg.Wait()
}

// TestReq032_Req164_Latency measures send → receive at a fixed rate, each message for two (its sender and a reader on another node), at
// two nodes and three. Only completeness decides.
func TestReq032_Req164_Latency(t *testing.T) {
	cycles(t)
	for _, nodes := range []int{1, 2, 3} {
		if nodes > 1 && alone() {
			break
		}
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) { latency(t, nodes) })
	}
}

func latency(t *testing.T, nodes int) {
	rate := size(t, "HUB_CLUSTER_RATE", 1000, 1000)
	span := time.Duration(size(t, "HUB_CLUSTER_SECONDS", 5, 20)) * time.Second
	const pairs = 100
	c := ownCluster(t, nodes, "", func(cfg *testcluster.Config) { cfg.Gated = false })
	type pair struct {
		id       string
		from     *client.Client
		received atomic.Int64
		sent     int64
	}
	var mu sync.Mutex
	var took []time.Duration
	ps := make([]*pair, pairs)
	began := time.Now()
	each(8, pairs, func(i int) {
		p := &pair{}
		ps[i] = p
		names := []string{fmt.Sprintf("from-%d", i), fmt.Sprintf("to-%d", i)}
		a := &person{t, c, names[0], introduce(t, c, node(c, i), "red", names[0])}
		b := &person{t, c, names[1], introduce(t, c, node(c, i+1), "red", names[1])}
		p.id = a.direct(node(c, i), b)
		p.from, _ = a.sdkWide(node(c, i), nil)
		b.sdkWide(node(c, i+1), func(e client.Event) {
			m, ok := e.(*client.MessageEvent)
			if !ok {
				return
			}
			p.received.Add(1)
			if ns, err := strconv.ParseInt(strings.TrimPrefix(m.Content, "t"), 10, 64); err == nil && ns > 0 {
				mu.Lock()
				took = append(took, time.Since(began)-time.Duration(ns))
				mu.Unlock()
			}
		})
	})
	for _, p := range ps { // all conversations are in memory, all caches warm
		if _, err := p.from.Send(t.Context(), p.id, "warm"); err != nil {
			t.Fatal(err)
		}
		p.sent++
	}
	before := cpu(c)
	from := time.Now()
	total := int64(span.Seconds()) * int64(rate)
	for i := range total { // open loop: what is late is late
		due := from.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if d := time.Until(due); d > 0 {
			wait(d)
		}
		p := ps[i%pairs]
		if _, err := p.from.SendAsync(p.id, fmt.Sprintf("t%d", due.Sub(began).Nanoseconds())); err != nil {
			t.Fatalf("send: %v", err)
		}
		p.sent++
	}
	sent := time.Since(from)
	await(t, "everything is received", func() bool {
		return !slices.ContainsFunc(ps, func(p *pair) bool { return p.received.Load() < p.sent })
	})
	arrived := time.Since(from)
	used := cpu(c) - before
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(took)
	if int64(len(took)) != total {
		t.Errorf("%d of %d messages were received, or some twice", len(took), total)
	}
	if len(took) == 0 {
		return
	}
	measured(t, fmt.Sprintf("send → receive, %d nodes, %d/s, fan-out 2", nodes, rate), "p50 %v p99 %v max %v; sent in %v, received in %v; CPU of the hubs %v a message",
		took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond), took[len(took)-1].Round(time.Millisecond),
		sent.Round(time.Millisecond), arrived.Round(time.Millisecond), (used / time.Duration(total)).Round(time.Microsecond))
}

// sdkWide is sdk with a window for many sends at once.
func (p *person) sdkWide(at *testcluster.Node, h func(client.Event)) (*client.Client, func()) {
	p.t.Helper()
	c, err := client.New(client.Config{URL: at.URL(), TokenSource: client.StaticToken(p.token), HTTPClient: p.c.HTTP(), Handler: h, Window: 64, FromStart: true})
	must(p.t, err)
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

// cpu is the processor time that all nodes have used, as the kernel counts it.
func cpu(c *testcluster.Cluster) time.Duration {
	var sum time.Duration
	for _, n := range c.Running() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
		if err != nil {
			return 0
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		for _, v := range f[11:13] { // utime and stime, in hundredths of a second
			if ticks, err := strconv.ParseInt(v, 10, 64); err == nil {
				sum += time.Duration(ticks) * 10 * time.Millisecond
			}
		}
	}
	return sum
}
