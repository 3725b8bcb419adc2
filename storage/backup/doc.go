// Package backup is the archive that `hub backup` writes and `hub restore` reads: what is in it, in which order, and how
// it is checked. An archive is an uncompressed tar (POSIX.1-2001 pax) of
//
//	hub-backup.json   Header: what this is, of which format, and how much is to come
//	store/…           the files of a copy of the embedded store that does not change any more
//	blobs/…           further directories, see Source; none of them need be there
//	manifest.json     Manifest: size and SHA-256 of every file, and the state hash of the rows (storage.HashState)
//
// Invariants:
//
//   - The manifest comes last. An archive without one is torn, whatever is in it; Write never needs to read a file twice
//     or to keep one in memory.
//   - Read accepts an archive only if every file of it is in the manifest with its size and hash, and the other way
//     round. What it cannot accept it refuses by the name of the file.
//   - Nothing that an archive says is trusted before it was checked: names are of the few forms that the hub writes,
//     below directories that the caller knows; links, devices, sparse files and second files of a name are refused; no
//     more bytes come out than the header announced.
//
// It must not know what rows mean, HTTP, or how a store is opened: the caller brings the directories and the state hash.
// Write starts one goroutine, for the hash, and waits for it; Read starts none. Both keep about 200 bytes per file in
// memory, and no file.
package backup
