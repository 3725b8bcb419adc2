// Package compare says whether one set of runs of a scenario is better or worse than another. It takes the figures out of each run, the
// median of each figure over the runs of a side, and asks the test of Mann and Whitney whether the sides differ by more than chance:
// nothing is assumed about how the figures are distributed, and one run that the machine disturbed moves little. What differs by less than
// matters is the same.
//
// Many figures are compared at once, and of twenty that are the same one is significant at 5 % by chance. So the exit code depends on
// few of them, those that the runs have thresholds on, and their probabilities are corrected for their number (Holm); the others are
// hints. The number must be small because runs are few: the least probability that n runs a side can give is 2 of all ways to choose n
// of 2n, 0.029 for four, 0.008 for five, 0.002 for six. Four a side can decide one figure at 5 %, five decide six and six
// twenty-three; with fewer the comparison says that they are too few.
//
// Take the runs in turns (base, new, base, new …): what else the machine does then meets both sides.
//
// The package reads nothing and writes only to what it is given.
package compare
