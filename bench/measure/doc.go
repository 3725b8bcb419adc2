// Package measure records what a run of hubbench gave: latencies from the intended time in HDR histograms, counters by the second,
// what processes used, and the verdicts, as one JSON document.
package measure
