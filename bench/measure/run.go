package measure

import (
	"time"

	"github.com/zumodra/hub/bench/check"
)

// Schema is the version of Run's JSON. It changes when files of before would be misread; what may be left out comes and goes without.
const Schema = 1

// Run is everything that a run gave: run.json. Its load starts, for all offsets, when the measured part does: the warm-up is before 0.
type Run struct {
	Schema   int       `json:"schema"`
	ID       string    `json:"id"`
	Scenario Scenario  `json:"scenario"`
	Seed     uint64    `json:"seed"`
	Command  []string  `json:"command"`
	Started  time.Time `json:"started"` // of the load; offsets below count from here
	Ended    time.Time `json:"ended"`
	Target   Target    `json:"target"`
	Machine  Machine   `json:"machine"`

	Workers   []Worker                 `json:"workers"`
	Width     int                      `json:"interval_seconds,omitempty"` // of an interval; 0: 1
	Intervals []Interval               `json:"intervals"`                  // all workers together, in order of time
	Latency   map[string]*Distribution `json:"latency"`                    // of the measured part, by name: see Name…
	Totals    map[string]int64         `json:"totals"`                     // counters of the measured part, by name
	Marks     []Mark                   `json:"marks"`
	Processes []Process                `json:"processes"`
	Memory    *Memory                  `json:"memory,omitempty"`

	Check      *check.Report `json:"check,omitempty"`
	Unsettled  string        `json:"unsettled,omitempty"` // what was under way when the time to settle was up: the run is red
	Invalid    []string      `json:"invalid,omitempty"`   // why the figures say nothing about the target: the generator was the limit
	Thresholds []Verdict     `json:"thresholds,omitempty"`
}

// Names of latencies. Each counts from the intended time of the operation, but for lateness, which is from the intended to the
// actual start, and service, from the actual start to the ack.
const (
	NameAck      = "ack"      // send → acknowledgement to the sender
	NameDelivery = "delivery" // send → arrival at another member
	NameLateness = "lateness"
	NameService  = "service"
	NameConnect  = "connect" // open → ready
	NameResume   = "resume"  // connection lost → resumed
	// Operations over REST have their own names: history, list, search …
)

// Names of counters, in intervals and totals.
const (
	CountIntended  = "intended"  // operations that were due
	CountSent      = "sent"      // sends that left
	CountAcked     = "acked"     // sends that were acknowledged
	CountRefused   = "refused"   // sends with an error
	CountDelivered = "delivered" // messages that arrived at others
	CountFrames    = "frames"    // all frames that arrived
	CountBytes     = "bytes"     // that arrived
	CountOpened    = "opened"    // connections
	CountClosed    = "closed"    // connections that the target or the network closed
	CountResumed   = "resumed"   // sessions that came back with nothing missing
	CountGaps      = "gaps"      // sessions that were told to read the history
	CountErrors    = "errors"    // failed operations over REST
	CountClamped   = "clamped"   // latencies above Longest, recorded as that
	CountEarly     = "early"     // latencies below 0, recorded as 0: the clocks of two workers differ
)

// Scenario of a run: its text as it was run, overrides applied.
type Scenario struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	Text string `json:"text"`
}

// Target of a run.
type Target struct {
	Kind    string   `json:"kind"` // hub, centrifugo, wukongim, limit
	URLs    []string `json:"urls"`
	Version string   `json:"version,omitempty"`
}

// Machine of the controller.
type Machine struct {
	CPUs   int    `json:"cpus"`
	Model  string `json:"model,omitempty"`
	Memory uint64 `json:"memory_bytes"`
	Kernel string `json:"kernel"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Go     string `json:"go"`
	Build  string `json:"build,omitempty"` // of hubbench: version and revision
	Files  uint64 `json:"files"`           // RLIMIT_NOFILE
	Load   string `json:"load"`            // averages before the run
}

// Worker is one generator.
type Worker struct {
	Name        string        `json:"name"`
	Host        string        `json:"host"`
	PID         int           `json:"pid"`
	Connections int           `json:"connections"`
	CPU         float64       `json:"cpu"`             // processors used, mean over the measured part
	Offset      time.Duration `json:"clock_offset_ns"` // of its clock to the controller's
	Error       time.Duration `json:"clock_error_ns"`  // of Offset, at most
	Spilled     int64         `json:"record_bytes"`    // of the history
}

// Interval is what happened in one second, or in the Run's Width of them.
type Interval struct {
	At        int                         `json:"at"`                // its first second since the start of the load; negative: warm-up
	Told      int                         `json:"seconds,omitempty"` // of how many of its seconds workers told; 0: 1
	Counts    map[string]int64            `json:"counts"`
	Connected int64                       `json:"connected"`        // at its end; of several seconds: the fewest at the end of one
	Latency   map[string]map[string]int64 `json:"latency"`          // name → p50, p90, p99, p999, max in nanoseconds
	Spread    map[string]Spread           `json:"spread,omitempty"` // of ack and delivery: what a heat map is made of
}

// Seconds of which the interval tells: by them its counters become rates.
func (i Interval) Seconds() int { return max(1, i.Told) }

// Step is how many seconds after an interval the next one begins, if nothing is missing.
func (r *Run) Step() int { return max(1, r.Width) }

// Distribution of a latency.
type Distribution struct {
	Count     int64   `json:"count"`
	Mean      float64 `json:"mean_ns"`
	Min       int64   `json:"min_ns"`
	P50       int64   `json:"p50_ns"`
	P90       int64   `json:"p90_ns"`
	P99       int64   `json:"p99_ns"`
	P999      int64   `json:"p999_ns"`
	Max       int64   `json:"max_ns"`
	Histogram string  `json:"hdr"` // HdrHistogram V2, compressed, base64
}

// Mark of something that was done to the target.
type Mark struct {
	At   float64 `json:"at"` // seconds since the start of the load
	Text string  `json:"text"`
	Err  string  `json:"err,omitempty"`
}

// Process of the target on this machine, watched while the run lasts.
type Process struct {
	Name    string   `json:"name"`
	PID     int      `json:"pid"`
	Samples []Sample `json:"samples"`
	CPU     float64  `json:"cpu_seconds"` // in the measured part
}

// Sample of a process.
type Sample struct {
	At         float64 `json:"at"`
	CPU        float64 `json:"cpu_seconds"` // since its start
	RSS        int64   `json:"rss_bytes"`
	Files      int     `json:"files"`
	Goroutines int     `json:"goroutines,omitempty"`
	Heap       int64   `json:"heap_bytes,omitempty"`
	Store      int64   `json:"store_requests,omitempty"` // to a store that is a server, since the start
}

// Vitals are what a process says of itself.
type Vitals struct {
	Goroutines int
	Heap       int64 // bytes in use
	Store      int64 // requests to a store that is a server, since the start
}

// Memory per connection in bytes, measured when all are open and idle.
type Memory struct {
	Connections int64   `json:"connections"`
	Edge        float64 `json:"edge"`      // growth of the nodes that hold the sockets
	Directory   float64 `json:"directory"` // growth of the nodes that hold none
	Kernel      float64 `json:"kernel"`    // growth of the kernel's slabs and socket buffers, both ends of a loopback connection
}

// Verdict on one threshold.
type Verdict struct {
	Text  string  `json:"text"`
	Value float64 `json:"value"` // seconds for times
	OK    bool    `json:"ok"`
}

// OK reports whether the run is valid and settled, nothing was violated and every threshold is kept.
func (r *Run) OK() bool {
	ok := len(r.Invalid) == 0 && r.Unsettled == "" && (r.Check == nil || r.Check.OK())
	for _, t := range r.Thresholds {
		ok = ok && t.OK
	}
	return ok
}
