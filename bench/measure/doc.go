// Package measure records what a run of hubbench gave: latencies from the intended time in HDR histograms, counters by the second,
// what processes used and by how much it grew, and the verdicts, as one JSON document whose size does not grow with the run's length, and the
// histograms in HdrHistogram's log format. It must not know a target, a scenario or how a report looks.
package measure
