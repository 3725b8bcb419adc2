package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

const (
	readsPage = 50    // messages or conversations of a page
	readsLoad = 1000  // durable sends a second beside the reads
	readsUser = 10000 // users that conversations are spread over; user 0 has readsList of them
	readsList = 1000
)

// storedConversation is one of those that reads choose from.
type storedConversation struct {
	key   chat.ConversationKey
	owner int // user
	last  uint64
}

// measureReads stores messages, then reads the newest of random conversations: through the store, and through the hub
// with a REST client, idle and beside durable sends.
func measureReads(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.messages == 0 {
		o.messages = 5_000_000
	}
	if o.conns == 0 {
		o.conns = 50_000
	}
	if o.seconds == 0 {
		o.seconds = 5
	}
	r := &report{Title: fmt.Sprintf("reads with %d messages stored in %d conversations", o.messages, o.conns), Unit: "ms"}
	data := filepath.Join(b.dir, "data")
	stored, err := loadStore(filepath.Join(data, "store"), o.messages, o.conns, r)
	if err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	all := stored
	if long := slices.DeleteFunc(slices.Clone(stored), func(c storedConversation) bool { return c.last <= readsPage }); len(long) > 0 {
		stored = long
	}
	if b.wants("store") {
		if err := b.readStore(filepath.Join(data, "store"), stored, o, r); err != nil {
			return nil, err
		}
	}
	if b.wants("hub") {
		if err := b.readHub(data, stored, min(readsList, len(all)), o, r); err != nil {
			return nil, err
		}
	}
	r.note("a read is one at a time, of a conversation chosen evenly among the %d that have %d messages (all if none has): nearly none is in the hub's memory, nor, at first, in a cache",
		len(stored), readsPage)
	r.note("CPU: what the process used in a read's time while nothing else was asked of it, which moves less with the machine's load than times do")
	r.note("hub: REST answers pages of 20, so the last 50 messages and the first 50 conversations are three requests, one after the other, decoded")
	r.note("beside %d durable sends a second: appends of one message by 64 writers (store), paced WebSocket clients on the same two processors (hub)", readsLoad)
	return r, nil
}

// loadStore fills an empty store: conversations whose sizes follow Zipf's law with exponent 1, written in pieces of up to
// 10 messages in random order, durably, and their derived rows.
func loadStore(dir string, messages, conversations int, r *report) ([]storedConversation, error) {
	start := time.Now()
	e, s, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	all := make([]storedConversation, conversations)
	harmonic := 0.0
	for i := range all {
		harmonic += 1 / float64(i+1)
	}
	const workers, piece = 64, 10
	every := max(1, conversations/readsList)
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	var total atomic.Int64
	for w := range workers {
		group.Go(func() {
			var schedule []int
			sizes := make(map[int]uint64)
			for i := w; i < len(all); i += workers {
				all[i] = storedConversation{key: benchKey(), owner: 1 + i%readsUser}
				n := max(1, int(math.Round(float64(messages)/harmonic/float64(i+1))))
				sizes[i] = uint64(n) + 1 // and the creation
				for range (n + piece) / piece {
					schedule = append(schedule, i)
				}
			}
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			rng.Shuffle(len(schedule), func(a, b int) { schedule[a], schedule[b] = schedule[b], schedule[a] })
			for _, i := range schedule {
				n, err := appendPiece(s, &all[i], min(piece, sizes[i]-all[i].last))
				if err == nil && all[i].last == sizes[i] {
					other := 0 // the one who has a list of them
					if i%every != 0 || i/every >= readsList {
						other = 1 + readsUser
					}
					err = saveConversation(s, &all[i], other)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				total.Add(int64(n))
			}
		})
	}
	group.Wait()
	if p := failed.Load(); p != nil {
		return nil, errors.Join(*p, e.Close())
	}
	took := time.Since(start)
	m := e.Metrics()
	r.row("load, messages a second", "").Unit = "1/s"
	r.row("load, messages a second", "").add(float64(total.Load()) / took.Seconds())
	r.note("loaded %d messages in %.0f s; %d MB on disk", total.Load(), took.Seconds(), m.DiskBytes>>20)
	return all, e.Close()
}

func appendPiece(s *storage.Store, c *storedConversation, n uint64) (messages int, err error) {
	events := make([]chat.Event, 0, n)
	for range n {
		c.last++
		ev := message(c.key, c.last)
		ev.MsgNo--
		ev.Actor = chat.UserID(fmt.Sprint(userID(c.owner)))
		if c.last == 1 {
			ev = chat.Event{Seq: 1, Epoch: 1, Type: chat.EventConversation, At: ev.At, Actor: ev.Actor, Change: chat.ChangeCreated,
				Users: []chat.UserID{ev.Actor}, Kind: chat.Group, Name: "bench"}
		} else {
			messages++
		}
		events = append(events, ev)
	}
	return messages, s.AppendEvents(context.Background(), c.key, events)
}

func saveConversation(s *storage.Store, c *storedConversation, other int) error {
	at := time.Now().UTC().Truncate(time.Microsecond)
	owner := chat.UserID(fmt.Sprint(userID(c.owner)))
	return s.SaveDerived(context.Background(), c.key, chat.Derived{
		Head: chat.Head{Key: c.key, Kind: chat.Group, Name: "bench", CreatedBy: owner, CreatedAt: at, UpdatedAt: at, Seq: c.last, Epoch: 1,
			MsgNo: c.last - 1, MemberCount: 2, Last: chat.LastMessage{Seq: c.last, ID: chat.NewMessageID(c.key, c.last, at), Sender: owner,
				Text: "a message", At: at}},
		Members: []chat.Member{{User: owner, Role: chat.RoleOwner, JoinedSeq: 1, JoinedAt: at},
			{User: chat.UserID(fmt.Sprint(userID(other))), Role: chat.RoleMember, JoinedSeq: 1, JoinedAt: at}},
	})
}

// addLatencies adds a round's quantiles of what was read.
func (r *report) addLatencies(name string, ms []float64, target float64) {
	sum := summarise(ms)
	r.row(name+", p50", "").add(sum.P50)
	p99 := r.row(name+", p99", "")
	p99.add(sum.P99)
	p99.Target = target
}

// timed calls read for as long and returns how long each call took, in milliseconds.
func timed(seconds float64, read func() error) ([]float64, error) {
	var ms []float64
	for stop := time.Now().Add(time.Duration(seconds * float64(time.Second))); time.Now().Before(stop); {
		at := time.Now()
		if err := read(); err != nil {
			return nil, err
		}
		ms = append(ms, time.Since(at).Seconds()*1e3)
	}
	return ms, nil
}

// readStore measures the store alone.
func (b *bench) readStore(dir string, all []storedConversation, o options, r *report) error {
	e, s, err := openStore(dir)
	if err != nil {
		return err
	}
	defer e.Close()
	rng := rand.New(rand.NewPCG(7, 7))
	rows, reads := 0, 0
	read := func() error {
		c := &all[rng.IntN(len(all))]
		reads++
		return s.ReadEventsReverse(context.Background(), c.key, c.last, readsPage, func(chat.Event) bool { rows++; return true })
	}
	for round := -1; round < o.runs; round++ {
		before := ownCPU()
		idle, err := timed(o.seconds, read)
		if err != nil {
			return err
		}
		used := ownCPU() - before
		ctx, cancel := context.WithCancel(context.Background())
		sends := make(chan error, 1)
		var sent atomic.Int64
		go func() { sends <- pacedAppends(ctx, s, &sent) }()
		at := time.Now()
		busy, err := timed(o.seconds, read)
		rate := float64(sent.Load()) / time.Since(at).Seconds()
		cancel()
		if err = errors.Join(err, <-sends); err != nil {
			return err
		}
		if round < 0 {
			r.row("store, last 50, first reads, p99", "").add(summarise(idle).P99)
			continue
		}
		r.addLatencies("store, last 50, idle", idle, 0)
		r.row("store, last 50, CPU", "").add(used / float64(len(idle)) * 1e3)
		r.addLatencies("store, last 50, beside sends", busy, 0)
		rates := r.row("store, sends beside", "")
		rates.Unit = "1/s"
		rates.add(rate)
	}
	r.note("store: %.1f rows a read on average", float64(rows)/float64(max(1, reads)))
	return nil
}

// pacedAppends makes readsLoad durable appends a second to conversations of its own until ctx ends.
func pacedAppends(ctx context.Context, s *storage.Store, sent *atomic.Int64) error {
	const writers = 64 // so that each may wait for the disk
	var group sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		group.Go(func() {
			c := storedConversation{key: benchKey()}
			tick := time.NewTicker(writers * time.Second / readsLoad)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if _, err := appendPiece(s, &c, 1); err != nil {
					errs[w] = err
					return
				}
				sent.Add(1)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// readHub measures pages of history and of the list over REST.
func (b *bench) readHub(data string, all []storedConversation, listed int, o options, r *report) error {
	h, err := b.startHub(anyCPU, "--data", data, "--search", "off") // or it would index the whole store meanwhile
	if err != nil {
		return err
	}
	t, err := b.directConversations(h, 100, 0)
	if err != nil {
		return err
	}
	tokens := make(map[int]string)
	for _, user := range append([]int{0}, owners(all)...) {
		if tokens[user], err = h.token(user); err != nil {
			return err
		}
	}
	rng := rand.New(rand.NewPCG(9, 9))
	history := func() error {
		x := &all[rng.IntN(len(all))]
		return h.pages(tokens[x.owner], "messages/?conversation="+x.key.ID.String())
	}
	list := func() error { return h.pages(tokens[0], "conversations/?type=group") }
	for _, what := range []struct {
		name   string
		read   func() error
		target float64
	}{{"hub, last 50", history, 0}, {fmt.Sprintf("hub, list 50 of %d conversations", listed), list, 50}} {
		for round := -1; round < o.runs; round++ {
			var idle []float64
			used, err := t.clocked(func() (err error) {
				idle, err = timed(o.seconds, what.read)
				return err
			})
			if err != nil {
				return err
			}
			busy, rate, err := t.beside(o.seconds, what.read)
			if err != nil {
				return err
			}
			if round < 0 {
				continue
			}
			r.addLatencies(what.name+", idle", idle, what.target)
			r.row(what.name+", CPU of the hub", "").add(used / float64(len(idle)) * 1e3)
			r.addLatencies(what.name+", beside sends", busy, what.target)
			rates := r.row(what.name+", sends beside", "")
			rates.Unit = "1/s"
			rates.add(rate)
		}
	}
	return nil
}

func owners(all []storedConversation) []int {
	seen := make(map[int]bool)
	var list []int
	for i := range all {
		if !seen[all[i].owner] {
			seen[all[i].owner] = true
			list = append(list, all[i].owner)
		}
	}
	return list
}

// beside reads while clients send, and returns the rate of the sends that were delivered.
func (t *loadedHub) beside(seconds float64, read func() error) ([]float64, float64, error) {
	path, err := t.texts(len(t.ids))
	if err != nil {
		return nil, 0, err
	}
	defer os.Remove(path)
	if _, err := t.client.call(command{Op: "reset", Match: messageMark}); err != nil {
		return nil, 0, err
	}
	type answer struct {
		n   int64
		err error
	}
	sent := make(chan answer, 1)
	start := time.Now()
	go func() {
		got, err := t.client.call(command{Op: "paced", N: readsLoad, Seconds: seconds, Texts: path})
		if err == nil {
			_, err = t.client.call(command{Op: "await", N: int(got.N), Seconds: 20})
		}
		sent <- answer{got.N, err}
	}()
	ms, err := timed(seconds, read)
	a := <-sent
	return ms, float64(a.n) / time.Since(start).Seconds(), errors.Join(err, a.err)
}

// pages reads over REST until it has readsPage things or there are no more. A page has 20.
func (h *hub) pages(token, path string) error {
	for page, got := 1, 0; got < readsPage; page++ {
		var answer struct {
			Next    *string           `json:"next"`
			Results []json.RawMessage `json:"results"`
		}
		if err := h.get(token, fmt.Sprintf("/api/v1/messages/%s&page=%d", path, page), &answer); err != nil {
			return err
		}
		if got += len(answer.Results); answer.Next == nil {
			if got == 0 {
				return fmt.Errorf("GET %s: nothing", path)
			}
			return nil
		}
	}
	return nil
}

func (h *hub) get(token, path string, out any) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+h.listen+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := h.web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.300s", path, resp.Status, b)
	}
	return json.Unmarshal(b, out)
}
