// Package fs keeps blobs in a directory of its own:
//
//	DIR/lock                                   held by the one process that uses it, or by all that share it
//	DIR/tmp/<random>                           uploads that are not published
//	DIR/content/<tenant>/<ab>/<cd>/<sha256>    content; a dot and the generation follow where that is not 0
//
// The tenant is written in hexadecimal digits, ab and cd are the first digits of the hash.
//
// A file is written in tmp, synced, linked to its name, and the directories that changed are synced: it is there whole
// or not at all, whenever the machine stops. Linking, other than renaming, never replaces what is there and leaves
// the upload in place until it is discarded. Uploads found at start belong to nobody and are removed, but not from a
// directory that is shared, where only Clean removes them. No directory is ever removed.
//
// Writes are refused while less than Config.MinFree is free, a floor that is above that of the embedded store, so that
// attachments never take the room that messages need.
//
// The package starts goroutines only within Publish, which waits for them.
package fs
