package scenario_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/scenario"
)

// chiSquare is the distance of counts from what is expected of them, by degree of freedom: about 1 if they are drawn so.
func chiSquare(counts []int, probability []float64) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	var sum float64
	for i, c := range counts {
		want := probability[i] * float64(n)
		sum += (float64(c) - want) * (float64(c) - want) / want
	}
	return sum / float64(len(counts)-1)
}

// The seeds are fixed, and with them the outcome.
func TestZipfIsExact(t *testing.T) {
	for _, exponent := range []float64{0.3, 0.99, 1, 1.000000001, 1.2, 2.5} {
		const least, most, draws = 3, 50, 200_000
		size := scenario.Size{Zipf: exponent, Min: least, Max: most}
		rng := rand.New(rand.NewPCG(1, 2))
		counts, probability, mean, total := make([]int, most-least+1), make([]float64, most-least+1), 0.0, 0.0
		for i := range probability {
			probability[i] = math.Pow(float64(i+least), -exponent)
			total += probability[i]
		}
		for i := range probability {
			probability[i] /= total
			mean += probability[i] * float64(i+least)
		}
		for range draws {
			counts[size.Draw(rng)-least]++ // panics outside
		}
		if x := chiSquare(counts, probability); x > 1.8 {
			t.Errorf("exponent %v: chi-square by degree of freedom %.2f", exponent, x)
		}
		if got := size.Mean(); math.Abs(got-mean) > 1e-9 {
			t.Errorf("exponent %v: mean %v, want %v", exponent, got, mean)
		}
	}
}

func TestPicker(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, skew := range []float64{0, 1, 1.2} {
		const n, draws = 100, 100_000
		p := scenario.NewPicker(n, skew)
		counts, probability, total := make([]int, n), make([]float64, n), 0.0
		for i := range n {
			probability[i] = math.Pow(float64(i+1), -skew)
			total += probability[i]
		}
		for i := range n {
			probability[i] /= total
		}
		for range draws {
			counts[p.Pick(rng)]++
		}
		if x := chiSquare(counts, probability); x > 1.6 {
			t.Errorf("skew %v: chi-square by degree of freedom %.2f", skew, x)
		}
		if n := testing.AllocsPerRun(100, func() { p.Pick(rng) }); n != 0 {
			t.Errorf("skew %v: %v allocations", skew, n)
		}
	}
	if one := scenario.NewPicker(1, 1.2); one.Pick(rng) != 0 {
		t.Error("one of one is not the first")
	}
}

func TestSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []scenario.Size{{Fixed: 7}, {Min: 3, Max: 9}, {Lognormal: 0.9, Median: 120, Min: 30, Max: 4096}} {
		const draws = 100_000
		var sum float64
		below := 0
		for range draws {
			v := size.Draw(rng)
			if size.Max > 0 && (v < size.Min || v > size.Max) {
				t.Fatalf("%+v: drew %d", size, v)
			}
			if v <= size.Median {
				below++
			}
			sum += float64(v)
		}
		if mean := sum / draws; math.Abs(mean/size.Mean()-1) > 0.01 {
			t.Errorf("%+v: mean of the drawn %v, Mean says %v", size, mean, size.Mean())
		}
		if size.Median > 0 && math.Abs(float64(below)/draws-0.5) > 0.01 {
			t.Errorf("%+v: %d of %d are at most the median", size, below, draws)
		}
		if n := testing.AllocsPerRun(100, func() { size.Draw(rng) }); n != 0 {
			t.Errorf("%+v: %v allocations", size, n)
		}
	}
}

func TestWorlds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		users := rapid.IntRange(3, 60).Draw(t, "users")
		s := &scenario.Scenario{
			Users:       users,
			Connections: scenario.Connections{Online: rapid.Float64Range(0.1, 1).Draw(t, "online")},
			Conversations: []scenario.Set{
				{Name: "direct", Count: rapid.IntRange(1, users*(users-1)/2).Draw(t, "pairs"), Members: scenario.Size{Fixed: 2}},
				{Name: "groups", Count: 5, Members: scenario.Size{Zipf: 1, Min: 2, Max: users}},
				{Name: "all", Count: 1, Members: scenario.Size{Fixed: users}},
			},
		}
		seed := rapid.Uint64().Draw(t, "seed")
		members, sets := s.World(seed)
		again, _ := s.World(seed)
		if !reflect.DeepEqual(members, again) {
			t.Fatal("the same seed makes another world")
		}
		at := 0
		for i, set := range s.Conversations {
			if sets[i] != (scenario.Range{From: at, To: at + set.Count}) {
				t.Fatalf("set %d is %+v", i, sets[i])
			}
			at += set.Count
		}
		if len(members) != at {
			t.Fatalf("%d conversations, want %d", len(members), at)
		}
		pairs := map[[2]int]bool{}
		for i, m := range members {
			for j, u := range m {
				if u < 0 || u >= users || j > 0 && u <= m[j-1] {
					t.Fatalf("conversation %d: members %v", i, m)
				}
			}
			if i < sets[0].To {
				if len(m) != 2 {
					t.Fatalf("direct conversation %d has the members %v", i, m)
				}
				pair := [2]int{m[0], m[1]}
				if pairs[pair] {
					t.Fatalf("direct conversation %d: %v is there twice", i, m)
				}
				pairs[pair] = true
			}
		}
		if len(members[len(members)-1]) != users {
			t.Fatalf("all are %d of %d", len(members[len(members)-1]), users)
		}
	})
}

// Everybody is a member as often as anybody else: no user is favoured by how members are drawn.
func TestMembersAreDrawnEvenly(t *testing.T) {
	s := decode(t, small, "users=200", "conversations[0].count=5000", "conversations[1]={name: groups, count: 400, members: 60}")
	members, _ := s.World(3)
	counts, probability := make([]int, 200), make([]float64, 200)
	for _, m := range members {
		for _, u := range m {
			counts[u]++
		}
	}
	for i := range probability {
		probability[i] = 1.0 / 200
	}
	if x := chiSquare(counts, probability); x > 1.4 {
		t.Errorf("chi-square by degree of freedom %.2f: %v", x, counts)
	}
}

func TestTotals(t *testing.T) {
	s := decode(t, small, "warmup=10s", "connections={per_user: 2, online: 0.5}", "load[0].of=direct", "load[1].arrival={kind: ramp, rate: 0, to: 40}")
	got := s.Totals()
	// Half of a ramp from 0 to 40 in 20 s is measured: from 20 to 40.
	if got.Connections != 100 || got.Conversations != 25 || math.Abs(got.Sends-20) > 1e-9 || math.Abs(got.Operations-30) > 1e-9 {
		t.Errorf("%+v", got)
	}
	// The other of two is connected half of the time, with 2 sockets.
	if math.Abs(got.Deliveries-20) > 1e-9 {
		t.Errorf("%v deliveries a second, want 20", got.Deliveries)
	}

	// By Zipf with exponent 1, the first of 3 conversations is picked 6 of 11 times.
	s = decode(t, small, "users=50", "conversations=[{name: a, count: 1, members: 12}, {name: b, count: 2, members: 2}]", "load=[{op: send, arrival: 11/s, skew: 1}]")
	if got := s.Totals(); math.Abs(got.Deliveries-(6*11+3+2)) > 1e-9 {
		t.Errorf("%v deliveries a second, want 71", got.Deliveries)
	}
}
