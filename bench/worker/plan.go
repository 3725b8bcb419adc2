package worker

import (
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
)

// Plan is what a worker is to do. All workers of a run have the same but for Part and Offset.
type Plan struct {
	Scenario string   `json:"scenario"` // YAML
	Seed     uint64   `json:"seed"`
	Run      string   `json:"run"`
	Part     int      `json:"part"` // of Parts: users whose number leaves this rest are here
	Parts    int      `json:"parts"`
	Target   Access   `json:"target"`
	IDs      []string `json:"conversations"`
	Heads    []uint64 `json:"heads"` // of the conversations' logs before the run
}

// Access to a target: how to connect to it and by what right. It holds secrets.
type Access struct {
	Kind   string   `json:"kind"`
	URLs   []string `json:"urls"`
	Tenant string   `json:"tenant,omitempty"`
	Secret []byte   `json:"secret,omitempty"` // that signs tokens
	Key    string   `json:"key,omitempty"`    // of an API for operators
}

// Progress of a worker between its intervals.
type Progress struct {
	Ready  int `json:"ready"`  // connections
	Failed int `json:"failed"` // that could not be opened
	Of     int `json:"of"`
}

// Report of a worker at its end.
type Report struct {
	Connections int     `json:"connections"`
	CPU         float64 `json:"cpu"` // processors used, in the measured part
	Spilled     int64   `json:"spilled"`
	// Unchecked are reads at the end that failed: conversations about which nothing is known.
	Unchecked  int   `json:"unchecked"`
	Violations int64 `json:"violations"` // noticed so far
}

// Events of a worker that its owner is told of, on goroutines of the worker.
type Events struct {
	Progress func(Progress)
	Interval func(measure.Part)
}

// Config of a Worker. Plan is required.
type Config struct {
	Plan     Plan
	Name     string
	SpillDir string // of the history; default: os.TempDir()
	// Now is the time of the controller, about; default time.Now.
	Now func() time.Time
	Events
	Linear check.Linear
}
