package actors

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	// chargeAfter is how long what users spend here of their rate limit is gathered before other nodes are told.
	chargeAfter = time.Millisecond
	// maxCharged is of how many users at most, each time; of more, other nodes do not hear.
	maxCharged = 16 << 10
)

// charges tells the other edges what users spend here of their rate limit (requirement 118): there the same is taken
// from their buckets, a moment later. What gets lost on the way is not told again: the limit is a soft one.
type charges struct {
	cluster Cluster
	dropped atomic.Uint64

	mu     sync.Mutex
	spent  map[chat.UserKey]float64
	closed bool
	wg     sync.WaitGroup // of the timer
}

func newCharges(c Cluster) *charges { return &charges{cluster: c} }

func (x *charges) add(k chat.UserKey) {
	if len(x.cluster.Edges()) < 2 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := x.spent[k]
	if !ok && len(x.spent) >= maxCharged {
		x.dropped.Add(1)
		return
	}
	if x.closed {
		return
	}
	if x.spent == nil {
		x.spent = make(map[chat.UserKey]float64)
		x.wg.Add(1)
		time.AfterFunc(chargeAfter, x.tell)
	}
	x.spent[k] = n + 1
}

func (x *charges) tell() {
	defer x.wg.Done()
	x.mu.Lock()
	spent := x.spent
	x.spent = nil
	x.mu.Unlock()
	p := &chat.Charges{List: make([]chat.Charge, 0, len(spent))}
	for k, n := range spent {
		p.List = append(p.List, chat.Charge{User: k, Amount: n})
	}
	for _, edge := range x.cluster.Edges() {
		if edge != x.cluster.Self() {
			x.cluster.Parcel(edge, p, func(error) {})
		}
	}
}

func (x *charges) close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.wg.Wait()
}

// Spent takes in that a user spent one command of the rate limit on this node. It does not block.
func (h *Hub) Spent(k chat.UserKey) {
	if d := h.delivery.Load(); d != nil {
		d.charges.add(k)
	}
}

// charged is told by another node what users spent there.
func (h *Hub) charged(p *chat.Charges) {
	if h.cfg.Charged == nil {
		return
	}
	for _, c := range p.List {
		h.cfg.Charged(c.User, c.Amount)
	}
}
