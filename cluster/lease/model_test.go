package lease_test

import (
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strings"
	"testing"
)

// An explicit-state search over everything that some nodes, their leases, one shard and its log can do, in the manner of
// TLA+: each step below is atomic, and any step that is possible may be the next one. That a node pauses, or that a
// message is late, is only that its steps are not taken for a while. Shards share nothing but the leases, so one is enough.
//
// Properties, checked in every state that can be reached:
//
//   - P1: no two acknowledgements of one seq are of different content.
//   - P2: what is acknowledged is in the log that every later owner loads, and under the head of whoever serves.
//   - P3: a reader, who asked whoever serves for the head first and reads then, is shown what was acknowledged.
//   - P4: the epochs of a shard strictly rise from one holder to the next.
//   - P5: what one reader was shown at a seq, acknowledged or not, every later one is shown.
//   - P6: nothing of an owner gets into the log once a later one has loaded it (strict fencing alone).
//
// The log is read as everywhere in the hub: of a seq the highest epoch, up to the first gap or row whose epoch is lower
// than that of the row before it.
//
// P1-P4 hold of the protocol as it is. P5 does not without a further rule, see TestModelSeal. For strict fencing see
// TestModelStrict.

const (
	modelNodes  = 3
	modelEpochs = 4
	modelSeqs   = 2
	modelHold   = 1 // ticks that a renewal holds, from when it was sent
	modelWait   = 2 // ticks that others wait, from when they saw it
)

// rules of a search: its size, and what is left out or added.
type rules struct {
	nodes, seqs, epochs, versions uint8

	noAckCheck  bool // acknowledge when the write has returned, without asking MayAck
	noBump      bool // take with the same epoch
	noDeath     bool // take when a lease stood still, without declaring its holder dead
	noWait      bool // declare dead at once
	fromAnswer  bool // measure the lease from when the renewal was answered
	noFlush     bool // release while a write is under way, and acknowledge it afterwards
	checkBefore bool // ask MayAck before the write, not after it
	adopt       bool // serve whenever the row names the node, also after having begun to release it

	seal  bool // write what was loaded again, under the own epoch, before serving
	shown bool // check P5, and P6 if strict

	strict    bool // writes depend on the fence, which an owner sets before it loads; checks P6
	drift     bool // clocks are anything: a lease never ends for who has it, and may have ended for all others at any time
	noFence   bool // strict, but the fence is set by writes alone
	lateFence bool // strict, but the fence is set after loading
}

type flight struct{ seq, epoch, content uint8 }

type modelNode struct {
	left      uint8 // ticks that its lease holds, by its own clock
	age       uint8 // 1 + ticks since its renewal was sent; 0: none
	landed    uint8 // the renewal: 1 stored, 2 refused
	version   uint8 // of its row
	dead      bool  // its row
	gone      bool  // it knows
	watching  uint8 // 1 + the node that it watches
	watched   uint8 // the version that it saw
	still     uint8 // ticks since
	term      uint8
	renounced uint8
	releasing uint8 // epoch of a release that has not arrived
	loaded    bool
	head      uint8
	pending   uint8 // 1 + flight that it waits for
	sealing   bool  // the pending one seals
	may       bool  // what MayAck said before the write (checkBefore)
	fenced    bool  // it has set the fence in this term
	refused   bool  // the fence has turned the pending one away
	flights   [2]flight
}

type modelState struct {
	nodes    [modelNodes]modelNode
	holder   uint8
	epoch    uint8
	released bool
	log      [modelSeqs][modelEpochs + 1]uint8 // content by seq-1 and epoch; 0: none
	acked    [modelSeqs]uint8
	shown    [modelSeqs]uint8
	reader   uint8 // head that a reader was told and has not used yet
	fence    uint8 // the highest epoch that has set it
	loaded   uint8 // the highest epoch that has loaded the log
}

func firstState(r rules) (s modelState) {
	for i := range r.nodes {
		s.nodes[i].version, s.nodes[i].left = 1, modelHold
	}
	s.epoch = 1
	s.nodes[0].term = 1
	return s
}

// read is the log up to a head.
func (s *modelState) read(limit uint8) (list []uint8, epochs []uint8) {
	last := uint8(0)
	for seq := range limit {
		epoch := uint8(modelEpochs)
		for epoch > 0 && s.log[seq][epoch] == 0 {
			epoch--
		}
		if epoch == 0 || epoch < last {
			break
		}
		list, epochs, last = append(list, s.log[seq][epoch]), append(epochs, epoch), epoch
	}
	return list, epochs
}

func (s *modelState) ack(seq, content uint8) string {
	if a := s.acked[seq-1]; a != 0 && a != content {
		return fmt.Sprintf("P1: %d and %d are acknowledged at %d", a, content, seq)
	}
	s.acked[seq-1] = content
	return ""
}

// serves is Term.
func (n *modelNode) serves(r rules) bool {
	return n.term != 0 && (n.left > 0 || r.drift) && !n.gone && n.loaded && !n.sealing
}

func (n *modelNode) drop() {
	n.renounced = max(n.renounced, n.term)
	n.term, n.loaded, n.head, n.pending, n.sealing, n.may = 0, false, 0, 0, false, false
	n.fenced, n.refused = false, false
}

// send puts a write under way.
func (n *modelNode) send(seq, epoch, content uint8) bool {
	for i := range n.flights {
		if n.flights[i].content == 0 {
			n.flights[i] = flight{seq, epoch, content}
			n.pending = uint8(i) + 1
			return true
		}
	}
	return false
}

// steps yields every state that may be next, with what was done, and what is wrong about it.
func (s modelState) steps(r rules, yield func(did string, next modelState, wrong string)) {
	tick := s
	for i := range r.nodes {
		n := &tick.nodes[i]
		n.left -= min(n.left, 1)
		if n.age > 0 {
			n.age = min(n.age+1, modelHold+2)
		}
		if n.watching > 0 {
			n.still = min(n.still+1, modelWait)
		}
	}
	if tick != s && !r.drift {
		yield("a tick", tick, "")
	}
	for i := range r.nodes {
		s.node(r, i, yield)
	}
	if s.reader > 0 {
		next, wrong := s, ""
		list, _ := s.read(s.reader)
		if len(list) < int(s.reader) {
			wrong = "P3: the reader finds less than it was told"
		}
		for seq, content := range list {
			if a := s.acked[seq]; a != 0 && a != content {
				wrong = fmt.Sprintf("P3: %d was acknowledged at %d, %d is read", a, seq+1, content)
			}
			if was := s.shown[seq]; r.shown && was != 0 && was != content {
				wrong = fmt.Sprintf("P5: %d was shown at %d, now %d", was, seq+1, content)
			}
			if r.shown {
				next.shown[seq] = content
			}
		}
		next.reader = 0
		yield("the reader reads", next, wrong)
	}
}

func (s modelState) node(r rules, i uint8, yield func(string, modelState, string)) {
	do := func(what string, f func(next *modelState, n *modelNode) string) {
		next := s
		wrong := f(&next, &next.nodes[i])
		yield(fmt.Sprintf("node %d %s", i, what), next, wrong)
	}
	n := &s.nodes[i]
	if n.age == 0 && !n.gone && n.version < r.versions && !r.drift {
		do("sends a renewal", func(_ *modelState, n *modelNode) string { n.age = 1; return "" })
	}
	if n.age > 0 && n.landed == 0 {
		do("renewal arrives", func(_ *modelState, n *modelNode) string {
			if n.landed = 2; !n.dead {
				n.landed = 1
				n.version++
			}
			return ""
		})
	}
	if n.landed > 0 {
		do("hears of its renewal", func(_ *modelState, n *modelNode) string {
			switch {
			case n.landed == 2:
				n.gone = true
				n.drop()
			case r.fromAnswer:
				n.left = modelHold
			case n.age-1 < modelHold:
				n.left = max(n.left, modelHold-(n.age-1))
			}
			n.age, n.landed = 0, 0
			return ""
		})
	}
	h := s.holder
	if h != i && !s.nodes[h].dead && !r.drift && (n.watching != h+1 || n.watched != s.nodes[h].version) {
		do("looks at the holder's lease", func(_ *modelState, n *modelNode) string {
			n.watching, n.watched, n.still = h+1, s.nodes[h].version, 0
			return ""
		})
	}
	ranOut := h != i && (n.watching == h+1 && n.watched == s.nodes[h].version && (n.still >= modelWait || r.noWait) || r.drift)
	if ranOut && !s.nodes[h].dead && !r.noDeath {
		do("declares the holder dead", func(next *modelState, n *modelNode) string {
			next.nodes[h].dead = true
			n.watching, n.watched, n.still = 0, 0, 0
			return ""
		})
	}
	if (s.released || h != i && (s.nodes[h].dead || r.noDeath && ranOut)) && s.epoch < r.epochs {
		do("takes the shard", func(next *modelState, _ *modelNode) string {
			next.holder, next.released = i, false
			if !r.noBump {
				next.epoch++
			}
			if h != i && next.epoch <= s.epoch && !r.noBump {
				return "P4: the epoch does not rise"
			}
			return ""
		})
	}
	if h == i && !s.released && n.term == 0 && !n.gone && (s.epoch > n.renounced || r.adopt) {
		do("learns that it holds the shard", func(_ *modelState, n *modelNode) string { n.term = s.epoch; return "" })
	}
	if r.drift && n.term != 0 && (h != i || s.epoch != n.term) { // otherwise its lease tells, if in time
		do("learns that it was succeeded", func(_ *modelState, n *modelNode) string { n.drop(); return "" })
	}
	if r.strict && !r.noFence && n.term != 0 && !n.fenced && (n.loaded || !r.lateFence) {
		do("sets the fence", func(next *modelState, n *modelNode) string {
			if s.fence > n.term {
				n.drop()
				return ""
			}
			next.fence, n.fenced = n.term, true
			return ""
		})
	}
	if n.term != 0 && !n.loaded && (!r.strict || n.fenced || r.noFence || r.lateFence) {
		do("loads the log", func(next *modelState, n *modelNode) string {
			list, epochs := s.read(r.seqs)
			if r.strict {
				next.loaded = max(s.loaded, n.term)
			}
			n.loaded, n.head = true, uint8(len(list))
			if n.term == s.epoch && h == i {
				for seq, a := range s.acked {
					if a != 0 && (seq >= len(list) || list[seq] != a) {
						return fmt.Sprintf("P2: %d was acknowledged at %d and is not in the log of a new owner", a, seq+1)
					}
				}
			}
			if last := len(list) - 1; r.seal && last >= 0 && epochs[last]+1 < n.term {
				// One row is enough here: a write of this model has one.
				n.sealing = n.send(uint8(last)+1, n.term, list[last])
				if !n.sealing {
					n.loaded = false
				}
			}
			return ""
		})
	}
	if n.loaded && n.pending == 0 && !n.gone && n.head < r.seqs && (!r.strict || n.fenced || r.noFence) && (!r.checkBefore || n.left > 0) {
		next := s
		m := &next.nodes[i]
		if m.send(m.head+1, m.term, m.term<<2|i+1) {
			m.may = true
			yield(fmt.Sprintf("node %d writes", i), next, "")
		}
	}
	for f := range n.flights {
		if n.flights[f].content != 0 {
			do("write arrives", func(next *modelState, n *modelNode) string {
				w := n.flights[f]
				if r.strict && w.epoch < s.fence {
					n.refused = n.refused || n.pending == uint8(f)+1
					n.flights[f] = flight{}
					return ""
				}
				if r.strict {
					next.fence = w.epoch
					if r.shown && w.epoch < s.loaded {
						return fmt.Sprintf("P6: a write of epoch %d arrives after epoch %d has loaded", w.epoch, s.loaded)
					}
				}
				next.log[w.seq-1][w.epoch] = w.content
				n.flights[f] = flight{}
				return ""
			})
		}
	}
	if n.refused {
		do("hears that it is fenced off", func(_ *modelState, n *modelNode) string { n.drop(); return "" })
	}
	if n.pending > 0 && n.flights[n.pending-1].content == 0 && !n.refused {
		may := n.term != 0 && (n.left > 0 || r.drift) && !n.gone
		if may || r.noAckCheck || r.checkBefore && n.may {
			do("acknowledges", func(next *modelState, n *modelNode) string {
				n.pending = 0
				if n.sealing {
					n.sealing = false
					return ""
				}
				n.head++
				return next.ack(n.head, n.term<<2|i+1)
			})
		}
	}
	if n.term != 0 && n.releasing == 0 && (n.pending == 0 || n.flights[n.pending-1].content != 0) {
		do("begins to release", func(_ *modelState, n *modelNode) string {
			n.releasing = n.term
			if !r.noFlush {
				n.drop() // a write that has not returned is given up, and may arrive later
			}
			return ""
		})
	}
	if n.releasing != 0 {
		do("release arrives", func(next *modelState, n *modelNode) string {
			if h == i && s.epoch == n.releasing {
				next.released = true
			}
			n.releasing = 0
			return ""
		})
	}
	if n.serves(r) && s.reader == 0 {
		wrong := ""
		for seq, a := range s.acked {
			// With any clocks who was succeeded may tell an old head: fences are about writes.
			if a != 0 && uint8(seq) >= n.head && !r.noFlush && (!r.drift || n.term == s.epoch && h == i) {
				wrong = fmt.Sprintf("P2: %d was acknowledged at %d, above the head of the owner", a, seq+1)
			}
		}
		if n.head > 0 || wrong != "" {
			do("tells a reader its head", func(next *modelState, n *modelNode) string { next.reader = n.head; return wrong })
		}
	}
}

// search visits every state until something is wrong; it returns that with the steps that led to it. States are
// remembered by a hash of 64 bits: that one of some millions is missed has a chance below 10^-5.
func search(r rules) (states int, wrong string, trace []string) {
	type step struct {
		from int32
		did  string
	}
	seed := maphash.MakeSeed()
	first := firstState(r)
	seen := map[uint64]struct{}{maphash.Comparable(seed, first): {}}
	way := []step{{-1, ""}} // of every state, in the order in which they were found
	// Breadth first, so that a counterexample is a shortest one.
	for level, at := []modelState{first}, int32(0); len(level) > 0; {
		var below []modelState
		for i := range level {
			level[i].steps(r, func(did string, next modelState, bad string) {
				h := maphash.Comparable(seed, next)
				switch _, known := seen[h]; {
				case wrong != "":
				case bad != "":
					wrong, trace = bad, []string{did}
					for k := at; k > 0; k = way[k].from {
						trace = append(trace, way[k].did)
					}
				case !known:
					seen[h] = struct{}{}
					below = append(below, next)
					way = append(way, step{at, did})
				}
			})
			if wrong != "" {
				slices.Reverse(trace)
				return len(seen), wrong, trace
			}
			at++
		}
		level = below
	}
	return len(seen), "", nil
}

// Everything that can be reached in these sizes. HUB_MODEL=full searches larger ones: 15.6 million states, about
// a minute.
func TestModel(t *testing.T) {
	sizes := []rules{{nodes: 2, seqs: 2, epochs: 3, versions: 1}, {nodes: 2, seqs: 1, epochs: 2, versions: 2}, {nodes: 3, seqs: 1, epochs: 2, versions: 1}}
	if os.Getenv("HUB_MODEL") == "full" {
		sizes = []rules{{nodes: 2, seqs: 2, epochs: 3, versions: 2}, {nodes: 3, seqs: 1, epochs: 3, versions: 1}}
	}
	for _, r := range sizes {
		states, wrong, trace := search(r)
		t.Logf("%d nodes, %d seqs, %d epochs, %d versions of leases: %d states", r.nodes, r.seqs, r.epochs, r.versions, states)
		if wrong != "" {
			t.Errorf("%s after\n%q", wrong, trace)
		}
	}
}

// P5 needs more than fences. Two former owners may each have a write under way to the same seq, neither acknowledged. One
// arrives and is loaded, and shown, by a third owner; then the other, of a higher epoch, arrives and takes its place. It
// does not happen if an owner that loads a row of a lower epoch, which another's row may still replace, writes it again
// under its own epoch before it serves. A row of the epoch just before its own cannot be replaced: nobody held the shard
// in between.
func TestModelSeal(t *testing.T) {
	r := rules{nodes: 2, seqs: 1, epochs: 4, versions: 1, shown: true}
	states, wrong, trace := search(r)
	if !strings.HasPrefix(wrong, "P5") {
		t.Errorf("%q in %d states without sealing", wrong, states)
	}
	t.Logf("%s after %q", wrong, trace)
	for _, seqs := range []uint8{1, 2} {
		r.seal, r.seqs, r.epochs = true, seqs, 5-seqs
		states, wrong, trace = search(r)
		t.Logf("%d states", states)
		if wrong != "" {
			t.Errorf("%s after\n%q", wrong, trace)
		}
	}
}

// Each rule is needed: without it the search finds what goes wrong.
func TestModelWithoutARule(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*rules)
	}{
		{"acknowledge without asking", func(r *rules) { r.noAckCheck = true }},
		{"ask before the write", func(r *rules) { r.checkBefore = true }},
		{"take with the same epoch", func(r *rules) { r.noBump = true }},
		{"take without declaring dead", func(r *rules) { r.noDeath = true }},
		{"declare dead without waiting", func(r *rules) { r.noWait = true }},
		{"measure from the answer", func(r *rules) { r.fromAnswer = true }},
		{"release without flushing", func(r *rules) { r.noFlush = true }},
		{"serve again what is being released", func(r *rules) { r.adopt = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rules{nodes: 2, seqs: 1, epochs: 2, versions: 2}
			c.change(&r)
			states, wrong, trace := search(r)
			if wrong == "" {
				t.Fatalf("nothing goes wrong in %d states", states)
			}
			t.Logf("%s after %d steps: %q", wrong, len(trace), trace)
		})
	}
}
