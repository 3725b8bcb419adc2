package target_test

import (
	"testing"

	"github.com/zumodra/hub/bench/target"
)

func TestSpread(t *testing.T) {
	for n := 1; n <= 8; n++ {
		// next counts where those go who tried a node first.
		first, next := make([]int, n), make([][]int, n)
		for i := range next {
			next[i] = make([]int, n)
		}
		const users = 840 // every n and n-1 divides it
		for user := range users * n {
			f := target.Spread(n, user, 0, 0)
			first[f]++
			next[f][target.Spread(n, user, 0, 1)]++
			seen := map[int]bool{}
			for attempt := range n {
				seen[target.Spread(n, user, 0, attempt)] = true
			}
			if len(seen) != n || target.Spread(n, user, 0, n) != f {
				t.Fatalf("%d nodes, user %d: %d tried, and then not the first again", n, user, len(seen))
			}
		}
		for f := range first {
			if first[f] != users {
				t.Fatalf("%d nodes: %v", n, first)
			}
			for i, got := range next[f] {
				if n > 1 && i != f && got != users/(n-1) {
					t.Fatalf("%d nodes: those of %d go to %v", n, f, next[f])
				}
			}
		}
	}
}
