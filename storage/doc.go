// Package storage declares every table of the hub once and writes the domain's persistence once, over a small
// wide-column interface (Engine). Engines implement that interface and nothing of the domain: storage/pebble is the
// embedded one, storage/storagetest holds the conformance suite that each of them passes and an in-memory model.
//
// Invariants:
//
//   - The log is the truth. AppendEvents returns after the events are durable; everything that SaveDerived writes can
//     be derived from the log again, and is written so that Head.Seq advances last: after a crash in between the
//     same step is simply done once more.
//   - No step needs a transaction across partitions. What must change together lives in one partition: a
//     conversation's head and members are one, an append touches one bucket of the log at a time. AppendGroup, where
//     the engine has it, is for speed; nothing relies on what it writes together.
//   - A log row carries the epoch of its writer in its key. Of several rows of one seq the highest epoch counts, and a
//     row whose epoch is lower than its predecessor's is a late write of a former owner and is not there.
//   - With Config.Fences a log is written under an epoch alone (Under), and no more once a later one has called Fence: there are
//     no late writes.
//   - Every key starts with the tenant; no method reads across tenants but Verify, DirtyConversations, DirtyShard and
//     Conversations.
//
// The package must not know who owns a conversation, sockets, HTTP or actors. Store keeps no state of its own besides
// pools of buffers; it starts goroutines only within a call (to many partitions), which waits for them.
//
// Calls that write the derived state of one conversation (SaveDerived, SavePersonal, SaveWatermarks, DeleteConversation) must not
// overlap one another: they write whole rows. Their caller is the conversation's single owner, which gives this for
// free.
package storage
