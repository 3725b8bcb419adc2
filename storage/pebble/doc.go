// Package pebble is the embedded engine of the store: storage.Engine on cockroachdb/pebble.
//
// A row is one key: table id, partition columns, clustering columns, each encoded so that bytes.Compare orders rows as
// the table declares and no column's encoding is a prefix of another's (key.go). Its value holds the columns that are
// set (value.go).
//
// Invariants:
//
//   - A Durable batch is in the write-ahead log and synced before Apply returns; concurrent ones share a sync (pebble's
//     own group commit). ApplyGroup makes one batch of many, which spares what the sync does not share: the pass through
//     the commit pipeline and a wake-up for each. A Relaxed batch is in the log, unsynced. There is one log, so what a crash keeps of it is a
//     prefix: a Durable batch makes the Relaxed ones before it durable too.
//   - A mutation that sets every column, or is Whole, is written without a read. A partial one reads the row and
//     merges, under an exclusive lock on its partition's stripe; writers of whole rows hold the stripe shared. That
//     makes it about five times as dear as a whole one (BenchmarkUpsert: 15 against 3 µs, relaxed). Pebble's merge
//     operator would save the read, but puts its price on every later read of the row (a search of all levels and a
//     fold), and the repositories write whole rows wherever it counts: only PutUser may be partial.
//   - A log that is damaged before its synced end is refused (wal.go): pebble alone takes damage with less than 32 KiB of
//     log behind it for a torn tail and drops what follows. Damage to the very last synced record cannot be told from a
//     torn tail by anybody; neither, because pebble undercounts what it synced when blocks fill up, can some of the
//     latest records under heavy concurrency.
//   - Rows past their time are hidden by every read and removed by the sweeper, a bounded number per turn.
//   - The directory is locked against a second process. A store of an unknown schema version is refused.
//   - Below Config.MinFree bytes of free disk, writes other than deletions are refused and Health fails.
//   - A disk that is full in spite of the floor is outlasted: writes of the log and the manifest are repeated until there
//     is room, everything else is refused meanwhile, and reads go on (space.go).
//
// When the log cannot be written for another reason or cannot be synced, pebble cannot go on: nothing unacknowledged is
// acknowledged, Config.Fatal ends the process, and the next start replays the log.
//
// Goroutines: Open starts one (sweeper and disk watch), which Close stops and waits for; pebble's own end with its
// Close. The package must not know what tables mean, except that Verify calls the domain's checks.
package pebble
