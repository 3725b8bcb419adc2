package actors

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	// chargeAfter is how long what users spend here of their rate limit is gathered before other nodes are told.
	chargeAfter = time.Millisecond
	// maxCharged is how many users may wait to be told of, to all nodes and to each that is slow; of others it is not
	// told what they spend meanwhile.
	maxCharged = 16 << 10
)

// charges tells the other edges what users spend here of their rate limit (requirement 118): there the same is taken
// from their buckets, a moment later. A node is told one thing at a time; what is spent until it has taken that in is
// added up by user. What gets lost on the way, as when the stream to it is given up, is not told again: it may have arrived,
// and the limit is a soft one.
type charges struct {
	cluster Cluster

	mu     sync.Mutex
	spent  map[chat.UserKey]float64 // since the timer runs; nil: it does not
	edges  map[chat.NodeID]*debts   // that a parcel is on its way to
	stats  ChargeStats
	closed bool
	wg     sync.WaitGroup // of the timer
}

// debts is what one node has to be told when it has taken in what is on its way to it.
type debts struct{ spent map[chat.UserKey]float64 }

// ChargeStats are counters since the start, but for the gauges Waiting and UnderWay.
type ChargeStats struct {
	Waiting  int    // users, each counted for each node that is to be told
	UnderWay int    // parcels: one to each node at most
	Parcels  uint64 // sent
	Lost     uint64 // of those, that the node did not confirm
	Dropped  uint64 // charges that a node was not told of because too many users waited
}

func newCharges(c Cluster) *charges {
	return &charges{cluster: c, edges: make(map[chat.NodeID]*debts)}
}

func (x *charges) add(k chat.UserKey) {
	if len(x.cluster.Edges()) < 2 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	if x.spent == nil {
		x.spent = make(map[chat.UserKey]float64)
		x.wg.Add(1)
		time.AfterFunc(chargeAfter, x.tell)
	}
	x.owe(x.spent, k, 1)
}

// owe adds to what is to be told. mu is held.
func (x *charges) owe(spent map[chat.UserKey]float64, k chat.UserKey, n float64) {
	had, ok := spent[k]
	if !ok && len(spent) >= maxCharged {
		x.stats.Dropped++
		return
	}
	spent[k] = had + n
}

// tell tells those nodes that nothing is on its way to, and notes it for the others.
func (x *charges) tell() {
	defer x.wg.Done()
	self, edges := x.cluster.Self(), x.cluster.Edges()
	var idle []chat.NodeID
	x.mu.Lock()
	spent := x.spent
	x.spent = nil
	for _, edge := range edges {
		switch d := x.edges[edge]; {
		case edge == self:
		case d == nil:
			x.edges[edge] = &debts{}
			idle = append(idle, edge)
		case d.spent == nil:
			d.spent = maps.Clone(spent)
		default:
			for k, n := range spent {
				x.owe(d.spent, k, n)
			}
		}
	}
	x.mu.Unlock()
	if len(idle) == 0 {
		return
	}
	p := parcelOf(spent)
	for _, edge := range idle {
		x.send(edge, p)
	}
}

// send is called by whoever has put the node into edges, or found it there without a parcel on its way.
func (x *charges) send(edge chat.NodeID, p *chat.Charges) {
	x.mu.Lock()
	x.stats.Parcels++
	x.mu.Unlock()
	x.cluster.Parcel(edge, p, func(err error) { x.told(edge, err) })
}

// told goes on with what came together since.
func (x *charges) told(edge chat.NodeID, err error) {
	there := slices.Contains(x.cluster.Edges(), edge)
	x.mu.Lock()
	if err != nil {
		x.stats.Lost++
	}
	d := x.edges[edge]
	if d.spent == nil || x.closed || !there {
		delete(x.edges, edge)
		x.mu.Unlock()
		return
	}
	spent := d.spent
	d.spent = nil
	x.mu.Unlock()
	x.send(edge, parcelOf(spent))
}

func parcelOf(spent map[chat.UserKey]float64) *chat.Charges {
	p := &chat.Charges{List: make([]chat.Charge, 0, len(spent))}
	for k, n := range spent {
		p.List = append(p.List, chat.Charge{User: k, Amount: n})
	}
	return p
}

func (x *charges) snapshot() ChargeStats {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.stats
	s.UnderWay, s.Waiting = len(x.edges), len(x.spent)
	for _, d := range x.edges {
		s.Waiting += len(d.spent)
	}
	return s
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
