// Package compare says whether one set of runs of a scenario is better or worse than another. It takes the figures out of each run, the
// median of each figure over the runs of a side, and asks the test of Mann and Whitney whether the sides differ by more than chance:
// nothing is assumed about how the figures are distributed, and one run that the machine disturbed moves little. What differs by less than
// matters is the same. With fewer than four runs a side no difference is significant at 5 %, and the comparison says so.
//
// Take the runs in turns (base, new, base, new …): what else the machine does then meets both sides.
//
// The package reads nothing and writes only to what it is given.
package compare
