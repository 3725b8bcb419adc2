package arrival

import "time"

// Spec of a schedule. In YAML: a rate as `200/s`, `12/m` or `30/h`, or a map.
type Spec struct {
	Kind   Kind          `yaml:"kind,omitempty"`   // default poisson
	Rate   float64       `yaml:"rate,omitempty"`   // a second, over all workers
	To     float64       `yaml:"to,omitempty"`     // ramp, step: the rate at the end; sine: the rate at the peak; spike: within the spike
	Steps  int           `yaml:"steps,omitempty"`  // step: how many plateaus, the first with Rate and the last with To
	Period time.Duration `yaml:"period,omitempty"` // sine: of a whole wave, which begins at its trough
	At     time.Duration `yaml:"at,omitempty"`     // spike: its beginning, and at and once: the only arrival
	Width  time.Duration `yaml:"width,omitempty"`  // spike: its length
	Peaks  int           `yaml:"peaks,omitempty"`  // sine: waves in the whole run, instead of Period
	File   string        `yaml:"file,omitempty"`   // replay: a file with a time in seconds a line; it must be there on each worker
	Random bool          `yaml:"random,omitempty"` // ramp, step, sine, spike: a Poisson process of that rate instead of even gaps
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

// Kinds lists all of them.
func Kinds() []Kind {
	return []Kind{Constant, Poisson, Ramp, Step, Sine, Spike, Once, Replay}
}

// Schedule gives the times of arrivals since the start of the load, in order. It is computed ahead of what the target does, and
// not for concurrent use.
type Schedule interface {
	// Next returns the next arrival; false: there are no more. It allocates nothing.
	Next() (time.Duration, bool)
}
