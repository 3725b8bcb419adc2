// Package arrival computes when operations are due. Load is open-loop: the times are fixed before the run begins, so that a
// target that answers late does not slow its own load down.
package arrival
