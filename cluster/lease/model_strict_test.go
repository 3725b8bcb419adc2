package lease_test

import (
	"os"
	"strings"
	"testing"
)

// anyClocks are the rules of strict fencing without all that leases promise: whoever has one believes in it for ever, others
// take it for ended at any moment, and nobody asks MayAck before acknowledging.
func anyClocks(nodes, seqs, epochs uint8) rules {
	return rules{nodes: nodes, seqs: seqs, epochs: epochs, versions: 1, strict: true, drift: true, noAckCheck: true, shown: true}
}

// With strict fencing nothing that was acknowledged is lost, and nothing late is seen (P1-P6), whatever clocks do, without the
// check after the write, and without sealing: the fence is what all of them rest on.
func TestModelStrict(t *testing.T) {
	sizes := []rules{anyClocks(2, 2, 3), anyClocks(2, 1, 4), anyClocks(3, 1, 3)}
	if os.Getenv("HUB_MODEL") == "full" {
		sizes = append(sizes, anyClocks(3, 2, 3), anyClocks(2, 2, 4))
	}
	for _, r := range sizes {
		states, wrong, trace := search(r)
		t.Logf("%d nodes, %d seqs, %d epochs: %d states", r.nodes, r.seqs, r.epochs, states)
		if wrong != "" {
			t.Errorf("%s after\n%q", wrong, trace)
		}
		if states < 1000 {
			t.Errorf("only %d states: the search does not get anywhere", states)
		}
	}
}

// Strict fencing takes nothing away from leases: with both, everything holds that holds with leases, and P5 and P6.
func TestModelStrictWithLeases(t *testing.T) {
	r := rules{nodes: 2, seqs: 1, epochs: 3, versions: 1, strict: true, shown: true}
	states, wrong, trace := search(r)
	t.Logf("%d states", states)
	if wrong != "" {
		t.Errorf("%s after\n%q", wrong, trace)
	}
}

// Each part of the fence is needed: without it the search finds what goes wrong.
func TestModelStrictWithoutARule(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*rules)
	}{
		{"no fence", "P", func(r *rules) { r.strict = false }},
		{"a fence that writes alone set", "P", func(r *rules) { r.noFence = true }},
		{"the same, of acknowledged messages", "P", func(r *rules) { r.noFence, r.shown = true, false }},
		{"the fence after loading", "P6", func(r *rules) { r.lateFence = true }},
		{"the same epoch", "P", func(r *rules) { r.noBump = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := anyClocks(2, 1, 3)
			c.change(&r)
			states, wrong, trace := search(r)
			if !strings.HasPrefix(wrong, c.want) {
				t.Fatalf("%q in %d states, want %s", wrong, states, c.want)
			}
			t.Logf("%s after %d steps: %q", wrong, len(trace), trace)
		})
	}
}
