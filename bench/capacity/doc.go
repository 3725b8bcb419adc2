// Package capacity finds the highest rate at which a system keeps a promise: by doubling until it fails, then by halving between
// what held and what did not. A system under test is noisy, and one second of something else on the machine fails a probe: a failure counts
// only when it repeats, and the rate that is reported held twice. The package knows nothing of what a probe does, and
// takes no time and no chance into account: the same answers give the same search.
package capacity
