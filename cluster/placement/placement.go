package placement

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"

	"github.com/zumodra/hub/chat"
)

// Node that shards are spread over.
type Node struct {
	Name   string      // stable: a node that starts again under its name gets its shards back
	ID     chat.NodeID // of its present life
	Weight uint        // its share is in proportion; 0 counts as 1
}

// weight is what counts.
func (n Node) weight() float64 { return float64(max(n.Weight, 1)) }

// Plan gives every shard a node. It is immutable and safe for concurrent use; the zero Plan has no nodes.
type Plan struct {
	nodes   []Node // by name
	of      [chat.Shards]uint16
	version uint64
}

// MaxNodes is how many nodes a plan can have; New ignores the last by name beyond that.
const MaxNodes = math.MaxUint16

// New spreads the shards over nodes by weighted rendezvous hashing of their names: of each shard, every node has a
// score of its own, and the highest gets it. The order of nodes does not matter. Of several with one name, which should
// not be, the one with the highest ID counts. It takes about 20 ns per node and shard.
func New(nodes []Node) *Plan {
	p := &Plan{nodes: slices.Clone(nodes)}
	slices.SortFunc(p.nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.ID, a.ID), cmp.Compare(b.Weight, a.Weight))
	})
	p.nodes = slices.CompactFunc(p.nodes, func(a, b Node) bool { return a.Name == b.Name })
	p.nodes = p.nodes[:min(len(p.nodes), MaxNodes)]
	p.version = version(p.nodes)
	if len(p.nodes) == 0 {
		return p
	}
	even := true
	seeds := make([]uint64, len(p.nodes))
	for i, n := range p.nodes {
		seeds[i] = seed(n.Name)
		even = even && n.weight() == p.nodes[0].weight()
	}
	for shard := range p.of {
		best, most, high := 0, math.Inf(-1), uint64(0)
		key := mix64(uint64(shard) + 0x9e3779b97f4a7c15)
		for i := range p.nodes {
			h := mix64(seeds[i] ^ key)
			// With equal weights the score grows with the hash, so no floating point, in which machines might differ, is
			// needed. Ties go to the first by name.
			if even {
				if i == 0 || h > high {
					best, high = i, h
				}
			} else if s := score(h, p.nodes[i].weight()); s > most {
				best, most = i, s
			}
		}
		p.of[shard] = uint16(best)
	}
	return p
}

// score is the logarithm method (Schindelhauer, Schomaker 2005): with u uniform in (0, 1), the greatest of -w/ln(u) is
// that of a node with the probability of its weight's share.
func score(h uint64, w float64) float64 {
	u := (float64(h>>11) + 0.5) / (1 << 53)
	return -w / math.Log(u)
}

func seed(name string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(name))
	return mix64(f.Sum64())
}

// mix64 is the finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

func version(nodes []Node) uint64 {
	f := fnv.New64a()
	var b [24]byte
	for _, n := range nodes {
		binary.BigEndian.PutUint64(b[:], uint64(len(n.Name)))
		binary.BigEndian.PutUint64(b[8:], uint64(n.ID))
		binary.BigEndian.PutUint64(b[16:], uint64(n.weight()))
		_, _ = f.Write(b[:])
		_, _ = f.Write([]byte(n.Name))
	}
	return mix64(f.Sum64())
}

// Node that should have the shard; ok is false if there are no nodes.
func (p *Plan) Node(shard int) (n Node, ok bool) {
	if len(p.nodes) == 0 {
		return Node{}, false
	}
	return p.nodes[p.of[shard]], true
}

// ID of the node that should have the shard; 0 if there are no nodes.
func (p *Plan) ID(shard int) chat.NodeID {
	n, _ := p.Node(shard)
	return n.ID
}

// Nodes of the plan, by name. The caller must not change them.
func (p *Plan) Nodes() []Node { return p.nodes }

// Shards that the node should have, ascending.
func (p *Plan) Shards(id chat.NodeID) []int {
	var list []int
	for shard, i := range p.of {
		if len(p.nodes) > 0 && p.nodes[i].ID == id {
			list = append(list, shard)
		}
	}
	return list
}

// Version is the same for plans of the same nodes, lives and weights, and differs for others.
func (p *Plan) Version() uint64 { return p.version }
