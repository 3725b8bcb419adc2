package scenario

import (
	"math/rand/v2"
	"slices"
)

// Range of conversations: From and those after it, before To.
type Range struct {
	From, To int
}

// World of a valid scenario: the members of each conversation by the number of the user, and the conversations of each set, in the
// scenario's order. It is the same for the same seed. Members are in ascending order, so that those who are connected come first: the first
// so many, Load.Senders, can act. No pair of users has two direct conversations.
func (s *Scenario) World(seed uint64) (members [][]int, sets []Range) {
	rng := rand.New(rand.NewPCG(seed, 0x776f726c64))
	pairs := map[[2]int]bool{}
	for _, set := range s.Conversations {
		sets = append(sets, Range{From: len(members), To: len(members) + set.Count})
		for range set.Count {
			m := draw(rng, s.Users, min(set.Members.Draw(rng), s.Users))
			if set.Members.Fixed == 2 {
				m = apart(pairs, m, s.Users)
			}
			slices.Sort(m)
			members = append(members, m)
		}
	}
	return members, sets
}

// draw k different numbers below n: for few of many by R. Floyd's algorithm (J. Bentley, "A sample of brilliance", 1987), else the
// beginning of a permutation.
func draw(rng *rand.Rand, n, k int) []int {
	if k*4 > n {
		return slices.Clone(rng.Perm(n)[:k])
	}
	out := make([]int, 0, k)
	seen := make(map[int]bool, k)
	for i := n - k; i < n; i++ {
		v := rng.IntN(i + 1)
		if seen[v] {
			v = i
		}
		seen[v] = true
		out = append(out, v)
	}
	return out
}

// apart is the pair, or the next one after it that is not taken: there is one, Validate says.
func apart(taken map[[2]int]bool, pair []int, users int) []int {
	a, b := min(pair[0], pair[1]), max(pair[0], pair[1])
	for taken[[2]int{a, b}] {
		if b++; b == users {
			if a++; a == users-1 {
				a = 0
			}
			b = a + 1
		}
	}
	taken[[2]int{a, b}] = true
	return []int{a, b}
}
