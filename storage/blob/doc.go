// Package blob keeps attachments: immutable byte strings named by tenant and content (SHA-256). It holds what both
// stores share: the interface, names, reading and checking, the library that ties content to references, and the
// sweeper that removes what nobody refers to. storage/blob/fs keeps blobs in a directory, storage/blob/s3 in a bucket;
// storage/blob/blobtest is the suite that both pass. docs/adr/0007-blobs.md records the decisions.
//
// Invariants:
//
//   - Content is found under its own hash, and only whole: a blob appears at once, after all of it is durable.
//   - Equal content of one tenant is stored once; tenants share nothing, not even the knowledge that content exists.
//   - Names of files and objects are hexadecimal digits. Nothing that a user wrote becomes part of one.
//   - Memory is bounded whatever the size: content is streamed.
//   - A blob that has a reference is never removed. This depends on no clock and no lock: see Library.
//
// The package must not know attachments, file types, quotas, HTTP or who may read what. Its one goroutine of its own
// is Sweeper.Run, which its caller owns.
package blob
