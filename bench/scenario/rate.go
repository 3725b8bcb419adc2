package scenario

import "slices"

// SendRate is how many messages a second are sent on average in the measured part.
func (s *Scenario) SendRate() float64 { return s.Totals().Sends }

// Scaled is the scenario with all rates of its loads multiplied.
func (s *Scenario) Scaled(factor float64) *Scenario {
	x := *s
	x.Load = slices.Clone(s.Load)
	for i := range x.Load {
		x.Load[i].Arrival.Rate *= factor
		x.Load[i].Arrival.To *= factor
	}
	return &x
}
