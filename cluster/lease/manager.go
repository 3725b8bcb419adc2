package lease

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/placement"
)

// leaving marks the term of a shard that is being released: it is served no more, but what is under way may be
// acknowledged.
const leaving = 1 << 63

// never is before any moment of the clock.
const never = math.MinInt64

// Manager of one node's lease and shards. It is safe for concurrent use.
type Manager struct {
	cfg    Config
	until  atomic.Int64               // on cfg.Now: this node's lease holds before
	terms  [chat.Shards]atomic.Uint64 // epoch, perhaps with leaving; 0: not ours
	owners [chat.Shards]atomic.Uint64 // what Owner answers
	counts counts

	dead     chan struct{}
	wake     chan struct{} // of the taker
	free     chan struct{} // of the releaser
	asked    atomic.Bool   // to read the owners
	draining chan struct{} // closed by Leave: takes and releases end
	stop     context.CancelFunc
	renewing context.CancelFunc
	renewed  sync.WaitGroup // the renewer
	work     sync.WaitGroup // taker and releaser

	// hooks is held while Gained and Lost are told, so that the last told of a shard is true. Before mu.
	hooks sync.Mutex

	mu      sync.Mutex
	started bool
	leave   bool // Leave or Close was called
	ended   bool // the lease is gone for good
	lease   NodeLease
	lapses  int // how often the lease had run out when it was renewed
	shards  [chat.Shards]shard
	nodes   map[chat.NodeID]*watched
	listed  time.Duration // when the last successful read of the leases began
	members members
	plan    *placement.Plan
}

// shard is what is known of a shard.
type shard struct {
	row       Owner         // the newest known
	at        time.Duration // when a read that showed it had ended
	since     time.Duration // when it was first seen
	epoch     uint64        // under which this node holds it; 0: it does not
	gained    time.Duration
	hinted    bool   // taken because it was released for us, not because the plan says so
	renounced uint64 // epochs up to this one are never served again, whatever the row says
}

// New returns a Manager that does nothing before Start.
func New(cfg Config) (*Manager, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, dead: make(chan struct{}), wake: make(chan struct{}, 1), free: make(chan struct{}, 1),
		draining: make(chan struct{}), nodes: make(map[chat.NodeID]*watched), plan: placement.New(nil), listed: never}
	m.until.Store(never)
	for i := range m.shards {
		m.shards[i].row.Shard = i
	}
	return m, nil
}

// Start acquires the lease of this life of the node, trying until ctx ends, and begins to take the shards that the
// members say. Leave or Close must be called in the end.
func (m *Manager) Start(ctx context.Context) error {
	m.mu.Lock()
	if m.started || m.leave {
		m.mu.Unlock()
		return errors.New("lease: started before")
	}
	m.started = true
	m.mu.Unlock()
	if err := m.acquire(ctx); err != nil {
		m.Close()
		return fmt.Errorf("acquire the lease of node %s: %w", m.cfg.Name, err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	renew, stopRenewing := context.WithCancel(run)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stop, m.renewing = stop, stopRenewing
	if m.leave { // closed meanwhile
		stop()
		return errors.New("lease: closed")
	}
	m.renewed.Go(func() { m.renew(renew) })
	m.work.Go(func() { m.takeShards(run) })
	m.work.Go(func() { m.releaseShards(run) })
	return nil
}

// Self is this life of the node.
func (m *Manager) Self() chat.NodeID { return m.cfg.Self }

// valid reports whether the own lease holds now. What was true before it was called counts if it is.
func (m *Manager) valid() bool {
	until := m.until.Load()
	return int64(m.cfg.Now()) < until
}

// Term reports whether this node serves a shard now, and under which epoch. It takes no locks and allocates nothing.
func (m *Manager) Term(shard int) (epoch uint64, ok bool) {
	epoch = m.terms[shard].Load()
	if epoch == 0 || epoch&leaving != 0 || !m.valid() {
		return 0, false
	}
	return epoch, true
}

// MayAck reports whether what was written to a shard under an epoch, by a write that has returned, may be acknowledged.
// It answers false once the lease has run out, even if it may become valid again: ask again then. Unlike Term it is true
// while the shard is being released. It takes no locks and allocates nothing.
func (m *Manager) MayAck(shard int, epoch uint64) bool {
	return epoch != 0 && m.terms[shard].Load()&^leaving == epoch && m.valid()
}

// Owner is the node that holds a shard as far as is known, or, while nobody does, the one that it was released for; 0:
// unknown. It may be out of date: see Refresh.
func (m *Manager) Owner(shard int) chat.NodeID { return chat.NodeID(m.owners[shard].Load()) }

// Refresh has the owners read soon: a node said that it does not hold what Owner said, or that it released a shard for
// this one. Calls in quick succession count as one.
func (m *Manager) Refresh() {
	m.asked.Store(true)
	poke(m.wake)
}

// Dead is closed when somebody has declared this life of the node dead. Everything is lost then, and Lost was told so:
// the node must end, and may come back under another NodeID.
func (m *Manager) Dead() <-chan struct{} { return m.dead }

// SetMembers says which nodes are there, this one included: those that should have shards. Nodes that are only suspected
// to be gone are there. It does not block.
func (m *Manager) SetMembers(nodes []placement.Node) {
	m.mu.Lock()
	m.members.set(nodes, m.cfg.Now())
	m.mu.Unlock()
	poke(m.wake)
}

// Leave gives everything back: all shards, after Release, and then the lease, so that nobody has to wait. When ctx ends
// what is left is given up: other nodes then find the lease released, or wait until it has run out.
func (m *Manager) Leave(ctx context.Context) error {
	if !m.end() {
		return nil
	}
	m.work.Wait()
	m.releaseAll(ctx)
	m.renewing()
	m.renewed.Wait()
	err := m.giveBack(ctx)
	m.stop()
	return err
}

// end begins the end. It reports false if there is nothing to give back.
func (m *Manager) end() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leave {
		return false
	}
	m.leave = true
	close(m.draining)
	return m.stop != nil
}

// Close stops at once, as the end of the process would: nothing is released, and nothing is told.
func (m *Manager) Close() {
	m.end()
	m.mu.Lock()
	stop := m.stop
	m.until.Store(never)
	m.ended = true
	m.mu.Unlock()
	if stop != nil {
		stop()
	}
	m.work.Wait()
	m.renewed.Wait()
}

// poke wakes the receiver of a channel of one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
