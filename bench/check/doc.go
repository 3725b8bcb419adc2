// Package check decides whether a run of a messaging system kept its promises, while the run lasts and however large it is. It
// records what clients intended, what was acknowledged, what each observer saw, who was a member, what was
// read, and the history that was found at the end, and lists every contradiction with the operations that contradict one another.
//
// What must hold, for each conversation:
//
//   - lost, changed: an acknowledged message is in the final history, under the seq and id of its ack.
//   - duplicate: no message is there twice; no seq and no id is used twice. A send without an answer may be
//     there once or not at all.
//   - phantom, refused: nothing is there that nobody sent, or whose sender was told that it was refused.
//   - skip, repeat: every observer sees seq 1 after another, none twice, but for the holes that it was told of. Across a
//     resume these are kinds of their own.
//   - divergence: all observers and all who read the final history agree on what stands at a seq.
//   - vanished, unobserved: what an observer saw is in the final history, and an observer whose user is a member saw all of it.
//   - sender order: the messages of one sender stand in the order in which it sent them.
//   - real-time order: when A was acknowledged before B was sent, A stands before B.
//   - foreign: nobody sees what stands at a seq at which its user is not a member, if membership is declared.
//   - receipt set back, unread: a position that an observer was told of does not go back; in the end a user is told of as
//     many unread messages as stand behind its last confirmed mark and are not its own.
//   - not linearizable: sends and reads of a sample of conversations are those of one log (porcupine, with a picture).
//
// The first two groups are the final read of Maelstrom's broadcast workload; the real-time order is one half of
// linearizability, which for a log is decided in one pass, and reads are the other.
//
// # How it works
//
// What needs no look at other observers is checked at once: order of deliveries and receipts. What observers saw is compared with
// the hashes of what stands at recent seqs. Everything else, and what is new or differs there, goes to a record of operations: about a
// hundred bytes for each send and its ack and as much for each message that is seen for the first time, nothing for each delivery. The
// end judges the record, one of 64 shards of conversations at a time. With Config.SpillDir the record lies in a file and what a run
// keeps in memory is
//
//   - for each pair of observer and conversation 32 bytes (about 120 beyond 8 conversations), and about 100 bytes for each observer,
//   - for each conversation about 250 bytes, its id, and 24 bytes for each of 8 seqs, more (at most Config.Window) when observers fall behind,
//   - for each receipt position about 40 bytes, at most Config.Receipts of them,
//   - 4 MiB of records not yet spilled; nothing for a send.
//
// TestCosts measures it.
//
// # Several workers
//
// Each worker has a Checker; they Export their records, and Merge judges the union, so that every check holds across workers: the
// sender, the observers and the final read of a conversation may be at different ones. Of two operations of one worker, the one
// of which the Checker was told first is first; its clock does not matter. Between workers it does, and an operation is before
// another only by more than the errors of both clocks (Part). A sender is at one worker.
//
// Call Sent before the send leaves and Acked after the ack came: then what the checker calls "before" was before.
//
// A Checker starts no goroutines. The package knows no client and no server.
package check
