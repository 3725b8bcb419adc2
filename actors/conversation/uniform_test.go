package conversation_test

import (
	"math/rand/v2"
	"testing"
)

type uniform struct{ *rand.Rand }

func (u uniform) n(max int) int { return u.IntN(max) }

// TestModelUniform makes the moves of TestModel equally likely, which rapid does not: longer runs with more of
// everything in flight.
func TestModelUniform(t *testing.T) {
	runs := 300
	if testing.Short() {
		runs = 30
	}
	for seed := range runs {
		m := newModel(nil)
		m.fail = func(format string, args ...any) {
			t.Helper()
			for _, s := range m.trace {
				t.Log(s)
			}
			t.Logf("seed %d", seed)
			t.Fatalf(format, args...)
		}
		m.run(uniform{rand.New(rand.NewPCG(1, uint64(seed)))}, 300)
	}
}
