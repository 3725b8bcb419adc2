package scenario

import (
	"time"

	"github.com/zumodra/hub/bench/arrival"
)

// Scenario is what one run does. Decode, Open and With make valid ones; who builds one by hand calls Defaults and Validate. Every user has its number, from 0; every conversation belongs to a set.
type Scenario struct {
	Name  string `yaml:"name"`
	About string `yaml:"about,omitempty"`
	// Warmup is load that is checked but not measured; Duration is measured; Settle bounds the wait for what is still
	// on its way, before everything is read again and judged.
	Warmup   Duration `yaml:"warmup,omitempty"`
	Duration Duration `yaml:"duration,omitempty"`
	Settle   Duration `yaml:"settle,omitempty"`

	Users         int         `yaml:"users,omitempty"`
	Connections   Connections `yaml:"connections,omitempty"`
	Conversations []Set       `yaml:"conversations,omitempty"`
	Load          []Load      `yaml:"load,omitempty"`
	Chaos         []Action    `yaml:"chaos,omitempty"`
	Thresholds    []Threshold `yaml:"thresholds,omitempty"`
	Check         Check       `yaml:"check,omitempty"`
	// System is what `hubbench run` starts when no target is given.
	System System `yaml:"system,omitempty"`
}

// Duration is a time.Duration that is written 250ms, 10s, 8h.
type Duration time.Duration

// Connections of the users: the first Users × Online of them hold PerUser sockets each.
type Connections struct {
	PerUser int     `yaml:"per_user,omitempty"` // default 1
	Online  float64 `yaml:"online,omitempty"`   // share of the users that are connected; default 1
	Rate    float64 `yaml:"rate,omitempty"`     // sockets opened a second, over all workers; default 2000
	// Slow is the share of the connections that read SlowRate bytes a second and no more.
	Slow     float64  `yaml:"slow,omitempty"`
	SlowRate int      `yaml:"slow_rate,omitempty"`
	Ping     Duration `yaml:"ping,omitempty"` // a ping of each client so often; 0: none
	// Reconnect: a lost connection is opened again after a random time up to this, which is doubled with each attempt; default 200ms.
	Reconnect Duration `yaml:"reconnect,omitempty"`
}

// Set of conversations that are alike.
type Set struct {
	Name    string `yaml:"name,omitempty"`
	Count   int    `yaml:"count,omitempty"`
	Members Size   `yaml:"members,omitempty"` // with 2 exactly: direct conversations
}

// Size is a number, or a distribution of numbers. In YAML a plain number, or one of the maps
// {zipf: 1.2, min: 3, max: 50} and {lognormal: 0.7, median: 120, min: 1, max: 4096} (the number is sigma), {min: 1, max: 9} (uniform).
type Size struct {
	Fixed     int     `yaml:"fixed,omitempty"`
	Zipf      float64 `yaml:"zipf,omitempty"`
	Lognormal float64 `yaml:"lognormal,omitempty"`
	Median    int     `yaml:"median,omitempty"`
	Min       int     `yaml:"min,omitempty"`
	Max       int     `yaml:"max,omitempty"`
}

// Op is something that a client does.
type Op string

// The operations of a Load.
const (
	Send      Op = "send"
	Typing    Op = "typing"
	Read      Op = "read"      // mark the newest seen as read
	React     Op = "react"     // to the newest seen message of another
	Edit      Op = "edit"      // the newest own message
	History   Op = "history"   // REST: the newest page of messages
	Scroll    Op = "scroll"    // REST: an older page
	List      Op = "list"      // REST: the first page of conversations
	Search    Op = "search"    // REST: a word, in all conversations of the user
	Reconnect Op = "reconnect" // close the socket without a word, open it again, resume
)

// Load is one open-loop stream of operations: when they arrive does not depend on how the target answers.
type Load struct {
	Op      Op           `yaml:"op,omitempty"`
	Arrival arrival.Spec `yaml:"arrival,omitempty"`
	// Of names the set of conversations; empty: all. Skew > 0 picks them by Zipf with this exponent, 0 evenly. The user is one
	// of the conversation's connected members.
	Of      string  `yaml:"of,omitempty"`
	Skew    float64 `yaml:"skew,omitempty"`
	Senders int     `yaml:"senders,omitempty"` // only the first so many members of each conversation act; 0: all
	Size    Size    `yaml:"size,omitempty"`    // of a message's content in bytes; default 100
	Storm   float64 `yaml:"storm,omitempty"`   // reconnect: each arrival takes this share of all connections at once; 0: one
}

// Action of chaos, At counted from the start of the measured part.
type Action struct {
	At   Duration `yaml:"at,omitempty"`
	Do   Do       `yaml:"do,omitempty"`
	Node string   `yaml:"node,omitempty"` // by number from 1, also node1 or core1; edge1; cql1 for a server of the store
	// With is the other side of a partition: numbers separated by commas.
	With  string   `yaml:"with,omitempty"`
	For   Duration `yaml:"for,omitempty"`   // undone after so long; 0: never (kill: not started again)
	Value string   `yaml:"value,omitempty"` // clock: by how much (+60s); slow: latency and rate (20ms 1mbit)
}

// Do is a kind of Action.
type Do string

// The kinds of chaos.
const (
	Kill      Do = "kill"      // SIGKILL
	Stop      Do = "stop"      // SIGSTOP, SIGCONT after For
	Drain     Do = "drain"     // SIGTERM: an orderly end
	Restart   Do = "restart"   // SIGTERM, and start again at once
	Start     Do = "start"     // a node that does not run
	Partition Do = "partition" // no packet between Node and With; needs network namespaces
	Slow      Do = "slow"      // latency and rate of a node's links
	Store     Do = "store"     // the node reaches no store
	Clock     Do = "clock"     // the node's clock jumps; needs a hub built with -tags chaos
)

// Threshold bounds a figure of the run, as `ack.p99 <= 50ms`, `delivered.rate >= 1000`, `violations == 0`. The package comment has
// the grammar.
type Threshold string

// Check of correctness.
type Check struct {
	Off bool `yaml:"off,omitempty"` // for measurements of cost alone; the report says so
	// Sample is how many conversations are given to the linearizability checker; default 8.
	Sample int `yaml:"sample,omitempty"`
	// Observers is the share of the connections whose deliveries are checked; default 1.
	Observers float64 `yaml:"observers,omitempty"`
}

// System to start on this machine.
type System struct {
	Store string `yaml:"store,omitempty"` // embedded (default) or cassandra
	Nodes int    `yaml:"nodes,omitempty"` // that have both roles; default 1
	Edges int    `yaml:"edges,omitempty"` // further ones with the role edge alone
	CQL   int    `yaml:"cql,omitempty"`   // servers of the store, with cassandra; default 1
	// Isolated puts every node into a network namespace, for partition and slow.
	Isolated bool     `yaml:"isolated,omitempty"`
	Args     []string `yaml:"args,omitempty"` // further flags of every hub
}
