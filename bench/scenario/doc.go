// Package scenario says what a run of hubbench does: who is connected, who talks where and how often, what is done to the target
// meanwhile and which figures are expected. Scenarios are strict YAML files: an unknown field is an error that says which are known.
// bench/scenarios has those that come with hubbench, and the JSON schema for editors.
//
// # Thresholds
//
// A threshold is a figure, an operator (<= >= < > == !=) and a value:
//
//	ack.p99 <= 50ms          a latency: its p50, p90, p99, p999, max, min or mean, compared with a duration
//	ack.count >= 1000        how many of the latency were recorded
//	delivered.rate >= 1000   a counter a second, over the measured part
//	resumed.count >= 1       a counter; plain resumed is the same
//	violations == 0          of the checker, all kinds; not kept when it was off
//	memory.edge <= 1024      bytes for each connection: edge, directory, both (user) or kernel
//	cpu.delivery <= 20us     processor time of all watched processes for each message that arrived; cpu.ack: for each acknowledged send
//	growth.rss <= 0.1        of the watched process that grew most, by a line through its samples in the measured part: 0.1 is
//	                         a tenth; also growth.files, growth.goroutines and growth.heap
//	memory.slope <= 1MiB/h   by how much the resident memory of the process that grew most grew an hour, by the median of the slopes
//	                         between its samples (Theil and Sen) in the second half of the measured part, when caches are full; also
//	                         heap.slope, and goroutines.slope <= 5/h and descriptors.slope
//
// Latencies and counters are those of package measure, and the operations over REST: history, scroll, list, search. A counter that
// the run does not have is 0. A latency of which nothing was recorded, and any other figure that the run does not have, keeps no
// threshold.
package scenario
