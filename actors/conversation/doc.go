// Package conversation decides on one conversation: it is the only writer of that conversation's log.
//
// It has two layers. State is the pure core: Step takes an input (a command, or the outcome of an earlier
// effect) and the time, and leaves effects: answers, deliveries, a batch to commit, rows to read or write. It
// does no I/O, starts no goroutine and reads no clock, so that every race is a table in a test. Registry and
// its activations are the shell: one protoactor actor per live conversation, which carries the effects out.
//
// Invariants (DESIGN §3):
//
//   - I1: an answer to a command that appended an event, and its delivery, leave after the commit returned,
//     in log order.
//   - I2: one batch is in flight at a time and its numbers are frozen; while its outcome is unknown the very
//     same rows are written again.
//   - I3: a (sender, client id) becomes at most one message. The window in memory knows the newest ids, those
//     in flight included; a filter of older ones says which are new for sure (seen), and the store is asked for the
//     others before numbers are given.
//   - I4: everything happens in a term: the epoch under which this node serves the conversation's shard (Owner). What
//     belongs to another is answered chat.ErrMoved; nothing is acknowledged or published unless the term lasted until
//     after the write. What has a conversation under a later term on this node begins when the writes of the earlier
//     one have ended. With strict fencing (RegistryConfig.Under) the store refuses what a succeeded owner writes, whatever
//     Owner says; the first refusal ends the term.
//   - I5: a change of membership is a barrier: commands behind it are judged after it took effect.
//
// The state that is derived from the log (head, members, rewritten rows) is saved within SaveDelay after the
// commit, in one write at a time; stored member rows are exact as of the stored head, so that replaying the
// log from there restores the same state after a crash.
//
// Goroutines: the handlers run on the workers of the actor system. A read and a derived write each have a
// goroutine of their own for as long as it lasts; commits run on goroutines that are used again and end with the
// registry (committers): a few leaders write what many conversations have ready as one group, where the store can.
// Registry.Close waits for all of them.
//
// The package must not know sessions, edges, JSON or tables.
package conversation
