// Package history decides whether a run of a messaging system kept its promises. It records what clients
// intended, what was acknowledged, what each observer saw, and the history that was read at the end, and lists
// every contradiction.
//
// What must hold, for each conversation:
//
//   - lost, changed: an acknowledged message is in the final history, under the seq and id of its ack.
//   - duplicate: no message is there twice; no seq and no id is used twice. A send without an answer may be
//     there once or not at all.
//   - phantom, refused: nothing is there that nobody sent, or whose sender was told that it was refused.
//   - skip, repeat: every observer sees seq 1 after another, none twice, but for the holes that it was told of.
//   - divergence: all observers and the final history agree on what stands at a seq.
//   - vanished, unobserved: what an observer saw is in the final history, and an observer saw all of it.
//   - sender order: the messages of one sender stand in the order in which it sent them.
//   - real-time order: when A was acknowledged before B was sent, A stands before B.
//
// The first two groups are the final read of Maelstrom's broadcast workload; the last is the real-time half of
// linearizability, which for a log is decided in one pass.
//
// Work and memory are linear in the number of messages; observers are checked as they report. A Checker starts
// no goroutines; its methods may be called from any. Times are logical: the order in which the methods were
// called, so clocks do not matter. Call Sent before the send leaves and Acked after the ack came: then what
// the checker calls "before" was before.
//
// The package knows no client and no server.
package history
