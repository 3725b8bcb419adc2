// Package backups makes backups of a data directory and data directories of backups: Live is the handler by which a
// running server gives one away, Download its client, Stopped archives the directory of a server that is not running,
// and Restore makes a directory. The archive itself is package storage/backup's.
//
// Invariants:
//
//   - A backup is consistent: everything acknowledged before it began is in it, and it is a state that the store had. The
//     server goes on meanwhile.
//   - What a backup needs on the server's disk lies in one directory, TempDir. It is removed when the backup ends,
//     however it ends, and what a killed process left when the next one starts. A backup is given up when the disk gets
//     too full for writes, because it holds on to space.
//   - Blobs that the store's copy refers to are in the backup. Files of blobs never change; each is written before the
//     row that names it, and removed only when no row does and it is older than an hour. So they are linked twice, before
//     and after the store is copied: what the copy names was there before (first pass), or is too young to be removed
//     (second pass).
//   - Restore writes into a directory of its own and puts it in its place when all of it was checked: every file by its
//     hash, every row by the state hash. It never writes into a directory that holds something.
//
// It must not know actors, sessions or what rows mean. Goroutines: those of its callers and, while an archive is
// written, one that computes the state hash.
package backups
