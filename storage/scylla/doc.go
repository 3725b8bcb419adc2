// Package scylla is the storage engine of clusters: storage.Engine over CQL, for ScyllaDB and for Apache Cassandra 4.1
// or later, on Scylla's fork of the gocql driver.
//
// Invariants:
//
//   - Every plain write carries a timestamp of the engine's own clock (microseconds, strictly increasing, never below
//     the machine's), one per mutation, so that a batch is as if its mutations were carried out one after the other
//     and sending one again changes nothing.
//   - A compare-and-set is a lightweight transaction, sent once: neither this package nor the driver ever repeats one.
//     When its outcome is unknown a serial read settles what can be settled.
//   - Only this package retries, never the driver, whose policy does not know which errors leave a write undecided
//     (scylladb/gocql#1075). It retries reads, and plain writes under the timestamps of the first attempt; it reports
//     storage.ErrUnknownOutcome unless every attempt is known to have been refused.
//   - Reads and writes are LOCAL_QUORUM, compare-and-sets LOCAL_SERIAL, whatever the Durability: a row that was
//     written is seen by the next read.
//   - A batch is one partition's, hence one mutation to the server, and atomic there. One that is too large for it is
//     refused before it is sent (storage.ErrTooLarge).
//   - Several batches share a request (ApplyGroup) only while every node that may be asked holds every row, within bounds
//     that no stock server warns of. Such a request is sent once; its outcome is unknown unless it is known that the
//     server did not look at it.
//
// What a table becomes (see Migrate): Text and Blob are blob, because the engine's contract is bytes and CQL's text is
// UTF-8; Int and Time are bigint, Bool is boolean. Each table has one hidden column, "live", by which a
// compare-and-set tells a row without any column from no row: CQL has no condition for that. CQL refuses an empty
// value as the only column of a partition key; such a key gets one byte (see keyText).
//
// A Fenced table has a static column more, "fence". A fenced batch (ApplyFenced) is one lightweight transaction on it, under the
// rules of a compare-and-set; a partition that has a fence and no rows is passed over by scans.
//
// Rows that are compared-and-set must not be written by Apply as well: one takes its timestamps from the servers'
// clocks, the other from ours. On one machine both orders come out right; between machines the clocks decide.
//
// The package must not know what the tables mean, Prometheus or the command line. Goroutines: those of the driver's
// session and the one that watches the replication, which Close ends, and those of a GetMany or ApplyGroup, which wait
// for them.
package scylla
