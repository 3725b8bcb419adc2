package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/reactor"
)

// discard is a transport that counts frames and sends nothing.
type discard struct {
	mu     sync.Mutex
	cond   sync.Cond
	sends  int
	casts  int
	frames int // sessions that got a frame by Broadcast
	closed atomic.Int64
	alarm  *time.Timer // ends a wait for what does not come
}

func newDiscard() *discard {
	d := &discard{}
	d.cond.L = &d.mu
	d.alarm = time.AfterFunc(time.Minute, d.cond.Broadcast)
	return d
}

// Send implements session.Transport.
func (d *discard) Send(reactor.Handle, *reactor.Frame, reactor.Class) error {
	d.mu.Lock()
	d.sends++
	d.cond.Broadcast()
	d.mu.Unlock()
	return nil
}

// Broadcast implements session.Transport.
func (d *discard) Broadcast(s *reactor.Set, _ *reactor.Frame, _ reactor.Class, _ reactor.Handle) {
	d.mu.Lock()
	d.casts++
	d.frames += s.Len()
	d.cond.Broadcast()
	d.mu.Unlock()
}

// CloseConn implements session.Transport.
func (d *discard) CloseConn(reactor.Handle, uint16, string) error {
	d.closed.Add(1)
	d.cond.Broadcast()
	return nil
}

// wait allocates nothing, so that it does not count.
func (d *discard) wait(done func() bool) error {
	start := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for !done() {
		if d.closed.Load() > 0 {
			return errors.New("a session was closed")
		}
		if time.Since(start) > 20*time.Second {
			return errors.New("nothing came for 20 s")
		}
		d.cond.Wait()
	}
	return nil
}

// measureAllocs counts heap allocations of the whole process per send: from the frame's bytes to the frame handed to
// the transport, with the store's and the runtime's own in between.
func measureAllocs(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.profile != "" {
		runtime.MemProfileRate = 1
		defer writeAllocs(filepath.Join(o.profile, "allocs.pprof"))
	}
	r := &report{Title: "heap allocations in one process: session, actors and store over a transport that discards", Unit: "allocations"}
	const many = 1000
	for round := -1; round < o.runs; round++ {
		one, err := allocsPerSend(filepath.Join(b.dir, fmt.Sprint("one", round)), 1, 0, 3000)
		if err != nil {
			return nil, err
		}
		busy, err := allocsPerSend(filepath.Join(b.dir, fmt.Sprint("busy", round)), 64, 0, 3000)
		if err != nil {
			return nil, err
		}
		group, err := allocsPerSend(filepath.Join(b.dir, fmt.Sprint("group", round)), 1, many, 1000)
		if err != nil {
			return nil, err
		}
		if round < 0 {
			continue
		}
		x := r.row("send, one at a time", "")
		x.Target = 12
		x.add(one)
		x = r.row("send, 64 in flight", "")
		x.Target = 12
		x.add(busy)
		x = r.row("delivery to each further member", "")
		x.Target = 0.01
		x.add(max(0, (group-one)/many))
	}
	r.note("a send: frame bytes in, parsed, decided, committed with fsync, derived rows saved, frame encoded and handed over; everything that the process allocates meanwhile counts, Pebble and compactions too")
	r.note("delivery: a group of %d connected members against a conversation with the sender alone online, per member; up to 0.01 is zero", many)
	return r, nil
}

// writeAllocs saves where everything since the start was allocated.
func writeAllocs(path string) {
	f, err := os.Create(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return
	}
	defer f.Close()
	if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// rig is a stack with sessions over a transport that discards.
type rig struct {
	*stack
	tr    *discard
	conns []reactor.Conn
}

func newRig(dir string, users int) (*rig, error) {
	secret := []byte(randomHex(32))
	s, err := newStack(dir, secret)
	if err != nil {
		return nil, err
	}
	r := &rig{stack: s, tr: newDiscard()}
	s.bind(r.tr)
	for i := range users {
		token, err := signToken(secret, i)
		if err != nil {
			return r, err
		}
		d := s.sessions.Upgrade(&reactor.Request{Path: "/ws/", Host: "localhost", Header: http.Header{"Authorization": {"Bearer " + token}}})
		if d.Status != 0 {
			return r, fmt.Errorf("upgrade: %d %s", d.Status, d.Body)
		}
		// Descriptors start at 10; the generation is in the upper half.
		c := reactor.Conn{Handle: reactor.Handle(1<<32 | uint64(10+i)), Session: d.Session}
		r.conns = append(r.conns, c)
		s.sessions.Open(c)
	}
	return r, r.tr.wait(func() bool { return r.tr.sends >= users })
}

// allocsPerSend has n users send in turn, each into a direct conversation of its own, or with members > 0 into one group of
// that many connected members more, and divides what the process allocates meanwhile by the sends.
func allocsPerSend(dir string, n, members, sends int) (float64, error) {
	r, err := newRig(dir, n+max(members, 1))
	if r != nil {
		defer func() {
			for _, c := range r.conns {
				r.sessions.Closed(c, reactor.CloseAbnormal, "")
			}
			r.close()
		}()
	}
	if err != nil {
		return 0, err
	}
	ids := make([]chat.ConversationID, n)
	for i := range ids {
		if ids[i], err = r.conversation(i, n, members); err != nil {
			return 0, err
		}
	}
	if members == 0 { // the other one goes: the sender alone is online
		r.sessions.Closed(r.conns[n], reactor.CloseAbnormal, "")
		r.conns = r.conns[:n]
	}
	texts := make([][]byte, sends)
	for i := range texts {
		texts[i] = counterText(sendText(ids[i%n].String(), "a", string(payload(128))), i)
	}
	send := func(i int) { r.sessions.Message(r.conns[i%n], true, texts[i]) }
	// The first tenth warms pools and caches.
	var before, after runtime.MemStats
	per := 1 + members
	var base, goal int
	reached := func() bool { return r.tr.frames >= goal }
	for i := 0; i < sends; i += n {
		if i >= sends/10 && before.Mallocs == 0 {
			base = i
			runtime.ReadMemStats(&before)
		}
		r.tr.mu.Lock()
		goal = r.tr.frames + min(n, sends-i)*per
		r.tr.mu.Unlock()
		for j := i; j < min(i+n, sends); j++ {
			send(j)
		}
		if err := r.tr.wait(reached); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(sends-base), nil
}

// conversation of user i: direct with user n, or a group with users n … n+members-1.
func (r *rig) conversation(i, n, members int) (chat.ConversationID, error) {
	p := chat.Principal{Tenant: "bench", User: chat.UserID(strconv.Itoa(userID(i))), Username: "user" + strconv.Itoa(i)}
	cmd := chat.Create{Kind: chat.Direct, Members: []chat.UserID{chat.UserID(strconv.Itoa(userID(n)))}}
	cmd.Conversation = chat.DirectID(p.Tenant, p.User, cmd.Members[0])
	if members > 0 {
		cmd = chat.Create{Kind: chat.Group, Conversation: chat.NewConversationID(), Title: "bench"}
		for m := range members {
			cmd.Members = append(cmd.Members, chat.UserID(strconv.Itoa(userID(n+m))))
		}
	}
	ctx, cancel := contextFor(20 * time.Second)
	defer cancel()
	_, err := r.hub.Do(ctx, p, cmd)
	return cmd.Conversation, err
}
