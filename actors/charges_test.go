package actors_test

import (
	"sync"
	"testing"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// What a user spends of the rate limit on one node is told to the others, all of it, and not to that one.
func TestReq118_SpendingIsToldToOtherNodes(t *testing.T) {
	var mu sync.Mutex
	total := map[chat.UserKey]float64{}
	g := newGrid(t, 3, actors.Config{Charged: func(k chat.UserKey, n float64) {
		mu.Lock()
		defer mu.Unlock()
		total[k] += n
	}})
	for range 30 {
		g.nodes[0].Spent(as("1").Key())
	}
	g.nodes[1].Spent(as("2").Key())
	eventually(t, "both other nodes know", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return total[as("1").Key()] == 60 && total[as("2").Key()] == 2
	})
}
