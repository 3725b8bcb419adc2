package arrival

import "time"

// Spec of a schedule. In YAML: a rate as `200/s` or `12/m`, or a map.
type Spec struct {
	Kind   Kind          `yaml:"kind"`   // default poisson
	Rate   float64       `yaml:"rate"`   // a second, over all workers
	To     float64       `yaml:"to"`     // ramp, step: the rate at the end; sine: the rate at the peak; spike: within the spike
	Steps  int           `yaml:"steps"`  // step: how many
	Period time.Duration `yaml:"period"` // sine: of a whole wave
	At     time.Duration `yaml:"at"`     // spike: its beginning, and at and once: the only arrival
	Width  time.Duration `yaml:"width"`  // spike: its length
	Peaks  int           `yaml:"peaks"`  // sine: waves in the whole run, instead of Period
	File   string        `yaml:"file"`   // replay: a file with a time in seconds a line
}

// Kind of a schedule.
type Kind string

// The kinds.
const (
	Constant Kind = "constant"
	Poisson  Kind = "poisson"
	Ramp     Kind = "ramp"
	Step     Kind = "step"
	Sine     Kind = "sine"
	Spike    Kind = "spike"
	Once     Kind = "once"
	Replay   Kind = "replay"
)

// Schedule gives the times of arrivals since the start of the load, in order. It is computed ahead of what the target does, and
// not for concurrent use.
type Schedule interface {
	// Next returns the next arrival; false: there are no more.
	Next() (time.Duration, bool)
}
