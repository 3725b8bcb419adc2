package projection_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/chat"
)

var errDown = errors.New("down")

// world is what a Runner sees of the hub: logs, marks, heads, and what is remembered of consumers.
type world struct {
	t         *testing.T
	mu        sync.Mutex
	logs      map[chat.ConversationKey][]chat.Event
	heads     map[chat.ConversationKey]uint64 // visible
	marks     map[chat.ConversationKey]bool
	states    map[string]chat.ConsumerState
	consumers []*consumer
	broken    map[string]int // calls that fail, by name

	runner *projection.Runner
	config projection.Config
	unseen time.Duration // between a commit and the moment in which it can be seen
}

func newWorld(t *testing.T, c projection.Config, names ...string) *world {
	w := &world{t: t, logs: map[chat.ConversationKey][]chat.Event{}, heads: map[chat.ConversationKey]uint64{},
		marks: map[chat.ConversationKey]bool{}, states: map[string]chat.ConsumerState{}, broken: map[string]int{}, config: c}
	for _, n := range names {
		w.consumers = append(w.consumers, newConsumer(w, n))
	}
	return w
}

func key(n int) chat.ConversationKey {
	k := chat.ConversationKey{Tenant: "t", ID: chat.ConversationID{6: 0x70, 8: 0x80}}
	binary.BigEndian.PutUint32(k.ID[10:], uint32(n))
	return k
}

func (w *world) start() {
	w.config.Conversations, w.config.Store = w, w
	w.config.Consumers = nil
	for _, c := range w.consumers {
		w.config.Consumers = append(w.config.Consumers, c)
	}
	w.runner = projection.New(w.config)
	for {
		if err := w.runner.Prepare(w.t.Context()); err == nil {
			break
		}
	}
	w.runner.Start()
}

func (w *world) stop() { w.runner.Close() }

// commit does what a conversation does.
func (w *world) commit(k chat.ConversationKey, n int) {
	w.mu.Lock()
	w.marks[k] = true
	for range n {
		seq := uint64(len(w.logs[k])) + 1
		e := chat.Event{Seq: seq, MsgNo: seq, Type: chat.EventMessage, At: time.Now().UTC(), Content: fmt.Sprint("text ", seq)}
		w.logs[k] = append(w.logs[k], e)
	}
	head := uint64(len(w.logs[k]))
	w.mu.Unlock()
	full := w.runner.Committed(k, head, n)
	if w.unseen > 0 {
		time.Sleep(w.unseen)
	}
	w.mu.Lock()
	w.heads[k] = head
	w.mu.Unlock()
	if full {
		w.runner.Visible()
	}
}

// remove is the last member leaving.
func (w *world) remove(k chat.ConversationKey) {
	if w.head(k) == 0 {
		return
	}
	w.commit(k, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.logs, k)
	delete(w.heads, k)
}

func (w *world) head(k chat.ConversationKey) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heads[k]
}

func (w *world) marked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.marks)
}

func (w *world) breaks(call string) error {
	if w.broken[call] > 0 {
		w.broken[call]--
		return fmt.Errorf("%s: %w", call, chat.ErrUnavailable)
	}
	return nil
}

func (w *world) breakNext(call string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[call] = n
}

// Positions implements projection.Conversations.
func (w *world) Positions(_ context.Context, keys []chat.ConversationKey) ([]projection.Position, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.breaks("Positions"); err != nil {
		return nil, err
	}
	out := make([]projection.Position, len(keys))
	for i, k := range keys {
		head, ok := w.heads[k]
		out[i] = projection.Position{Head: head, Exists: ok, Later: !ok && len(w.logs[k]) > 0}
		if w.breaks("Position") != nil {
			out[i] = projection.Position{Err: errDown}
		}
	}
	return out, nil
}

// Rewritten implements projection.Conversations.
func (w *world) Rewritten(chat.ConversationKey) []*chat.Event { return nil }

// Followed implements projection.Conversations. It checks the promise: everybody has it.
func (w *world) Followed(_ context.Context, list []projection.Followed) (failed []chat.ConversationKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range list {
		for _, c := range w.consumers {
			if got := c.cursor(x.Key); x.Seq != projection.Gone && got < x.Seq || x.Seq == projection.Gone && got != 0 && len(w.logs[x.Key]) == 0 {
				w.t.Errorf("%s is reported up to %d, but %s has %d", x.Key, x.Seq, c.name, got)
			}
		}
		if w.breaks("Followed") != nil {
			failed = append(failed, x.Key)
			continue
		}
		if n := uint64(len(w.logs[x.Key])); n == 0 && x.Seq == projection.Gone || n > 0 && x.Seq >= n {
			delete(w.marks, x.Key)
		}
	}
	return failed
}

// ReadEvents implements projection.Store, as the methods below do.
func (w *world) ReadEvents(_ context.Context, k chat.ConversationKey, from, to uint64, limit int) ([]chat.Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.breaks("ReadEvents"); err != nil {
		return nil, err
	}
	if w.breaks("ReadEvent") != nil {
		return nil, errDown
	}
	log := w.logs[k]
	if from > uint64(len(log)) {
		return nil, nil
	}
	if to > w.heads[k] && w.heads[k] > 0 {
		w.t.Errorf("%s is read up to %d, its head is %d", k, to, w.heads[k])
	}
	return slices.Clone(log[from-1 : min(to, uint64(len(log)), from+uint64(limit)-1)]), nil
}

func order(a, b chat.ConversationKey) int {
	return cmp.Or(strings.Compare(string(a.Tenant), string(b.Tenant)), bytes.Compare(a.ID[:], b.ID[:]))
}

func (w *world) DirtyShard(_ context.Context, shard int, after chat.ConversationKey, limit int) ([]chat.ConversationKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.breaks("DirtyShard"); err != nil {
		return nil, err
	}
	var keys []chat.ConversationKey
	for k := range w.marks {
		if k.Shard() == shard && (after.Tenant == "" || order(k, after) > 0) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, order)
	return keys[:min(limit, len(keys))], nil
}

func (w *world) Conversations(_ context.Context, yield func(chat.ConversationKey, uint64) bool) error {
	w.mu.Lock()
	heads := maps.Clone(w.heads)
	err := w.breaks("Conversations")
	w.mu.Unlock()
	for k, seq := range heads {
		if !yield(k, seq) {
			break
		}
	}
	return err
}

func (w *world) Consumers(context.Context) ([]chat.ConsumerState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.states)), w.breaks("Consumers")
}

func (w *world) PutConsumer(_ context.Context, c chat.ConsumerState) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.breaks("PutConsumer"); err != nil {
		return err
	}
	w.states[c.Name] = c
	return nil
}

func (w *world) ForgetConsumer(_ context.Context, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.states, name)
	return w.breaks("ForgetConsumer")
}

// data is what a consumer has.
type data map[chat.ConversationKey]uint64

// consumer keeps how far it was told, and checks that nothing is left out or overlaps.
type consumer struct {
	w    *world
	name string

	mu         sync.Mutex
	data       data
	generation int
	down       bool
	partly     bool // an Apply that fails has applied its first half
	slow       time.Duration
	busy       map[chat.ConversationKey]bool
	applies    int
	largest    int
	fresh      *fresh
}

func newConsumer(w *world, name string) *consumer {
	return &consumer{w: w, name: name, data: data{}, busy: map[chat.ConversationKey]bool{}}
}

func (c *consumer) cursor(k chat.ConversationKey) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data[k]
}

func (c *consumer) set(f func(*consumer)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

// Name implements projection.Consumer, as the methods below do.
func (c *consumer) Name() string { return c.name }

func (c *consumer) Generation(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return "", errDown
	}
	return fmt.Sprint(c.generation), nil
}

func (c *consumer) Cursors(_ context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cursors(c.data, keys)
}

func (c *consumer) cursors(d data, keys []chat.ConversationKey) ([]uint64, error) {
	if c.down {
		return nil, errDown
	}
	out := make([]uint64, len(keys))
	for i, k := range keys {
		out[i] = d[k]
	}
	return out, nil
}

func (c *consumer) Apply(ctx context.Context, changes []chat.IndexChange) error {
	return c.apply(ctx, func() data { return c.data }, c.busy, changes)
}

func (c *consumer) apply(ctx context.Context, d func() data, busy map[chat.ConversationKey]bool, changes []chat.IndexChange) error {
	c.mu.Lock()
	for _, x := range changes {
		if busy[x.Key] {
			c.w.t.Errorf("%s: changes of %s overlap", c.name, x.Key)
		}
		busy[x.Key] = true
	}
	slow := c.slow
	c.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applies++
	events := 0
	for _, x := range changes {
		delete(busy, x.Key)
		events += len(x.Events)
	}
	c.largest = max(c.largest, events)
	err := ctx.Err()
	if c.down {
		err = errDown
	}
	if err != nil && !c.partly {
		return err
	}
	for i, x := range changes {
		if err != nil && i >= len(changes)/2 {
			break
		}
		if x.Gone {
			delete(d(), x.Key)
			continue
		}
		if first := x.Events[0].Seq; first > d()[x.Key]+1 {
			c.w.t.Errorf("%s: %s continues at %d behind %d", c.name, x.Key, first, d()[x.Key])
		}
		for i, e := range x.Events {
			if e.Seq != x.Events[0].Seq+uint64(i) {
				c.w.t.Errorf("%s: %s has a gap", c.name, x.Key)
			}
		}
		d()[x.Key] = max(d()[x.Key], x.Last())
	}
	return err
}

// fresh is a rebuild.
type fresh struct {
	c    *consumer
	data data
	busy map[chat.ConversationKey]bool
}

func (c *consumer) Rebuild(context.Context) (projection.Rebuild, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, errDown
	}
	c.fresh = &fresh{c, data{}, map[chat.ConversationKey]bool{}}
	return c.fresh, nil
}

func (f *fresh) Apply(ctx context.Context, changes []chat.IndexChange) error {
	return f.c.apply(ctx, func() data { return f.data }, f.busy, changes)
}

func (f *fresh) Cursors(_ context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.c.cursors(f.data, keys)
}

func (f *fresh) Commit(context.Context) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.c.down || f.c.fresh != f {
		return errDown
	}
	if len(f.busy) > 0 || len(f.c.busy) > 0 {
		f.c.w.t.Error("the new data takes over while changes are applied")
	}
	f.c.data, f.c.fresh = f.data, nil
	f.c.generation++
	return nil
}

func (f *fresh) Abort(context.Context) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if len(f.busy) > 0 {
		f.c.w.t.Error("aborted while changes are applied")
	}
	if f.c.fresh == f {
		f.c.fresh = nil
	}
	return nil
}

// settled waits until everybody has everything, and checks it.
func (w *world) settled() {
	w.t.Helper()
	done := func() bool {
		if w.marked() > 0 {
			return false
		}
		w.mu.Lock()
		whole := true
		for _, c := range w.consumers {
			g, _ := c.Generation(context.Background())
			st := w.states[c.name]
			rebuilding, _ := w.runner.RebuildStatus(c.name)
			whole = whole && st.Complete && st.Generation == g && (rebuilding.Phase == "" || !rebuilding.Running())
		}
		w.mu.Unlock()
		if !whole {
			return false
		}
		for _, s := range w.runner.Stats() {
			if s.Waiting > 0 || s.Lag != 0 || s.Overflow || s.Feeding && !s.Rebuild {
				return false
			}
		}
		return true
	}
	for i := 0; !done(); i++ {
		if i == 2000 {
			w.t.Fatalf("never settled: %d marks, %+v", w.marked(), w.runner.Stats())
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.consumers {
		c.mu.Lock()
		want := data{}
		for k, log := range w.logs {
			want[k] = uint64(len(log))
		}
		if !maps.Equal(c.data, want) {
			for k := range c.data {
				if c.data[k] != want[k] {
					w.t.Errorf("%s has %d of %d of %s", c.name, c.data[k], want[k], k)
				}
			}
			w.t.Errorf("%s has %d conversations of %d", c.name, len(c.data), len(want))
		}
		c.mu.Unlock()
	}
}
