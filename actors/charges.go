package actors

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	// chargeEvery is how often other nodes are told what users spent here of their rate limit.
	chargeEvery = 50 * time.Millisecond
	// maxCharged is of how many users at most, each time; of more, other nodes do not hear.
	maxCharged = 16 << 10
)

// charges tells the other edges what users spend here of their rate limit (requirement 118): there the same is taken
// from their buckets, a moment later. What gets lost on the way is not told again: the limit is a soft one.
type charges struct {
	cluster Cluster
	dropped atomic.Uint64

	mu    sync.Mutex
	spent map[chat.UserKey]float64

	stop chan struct{}
	done chan struct{}
}

func newCharges(c Cluster) *charges {
	x := &charges{cluster: c, stop: make(chan struct{}), done: make(chan struct{})}
	go x.run()
	return x
}

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
	if x.spent == nil {
		x.spent = make(map[chat.UserKey]float64)
	}
	x.spent[k] = n + 1
}

func (x *charges) run() {
	defer close(x.done)
	t := time.NewTicker(chargeEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			x.tell()
		case <-x.stop:
			return
		}
	}
}

func (x *charges) tell() {
	x.mu.Lock()
	spent := x.spent
	x.spent = nil
	x.mu.Unlock()
	if len(spent) == 0 {
		return
	}
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
	close(x.stop)
	<-x.done
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
