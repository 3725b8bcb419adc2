// Package files keeps the files of messages: it takes uploads in, whole or in parts, remembers what is known of each
// (storage.FileRow), opens them for download, counts downloads, makes small pictures, and removes what nobody needs.
//
// The way of a file: it is received, judged and scanned while it streams into the store of blobs (UploadReady); the one
// who sends it claims it for a message (UploadClaimed), the message is committed, and the file is attached to it
// (UploadAttached). Each step is a compare-and-set of the file's row, so any node may take any of them, and a process
// that ends in between leaves a row from which the next pass of the cleanup goes on: the log of the conversation says
// whether a claimed file became part of a message. Content is removed after its row says so.
//
// The package must not know HTTP or frames, nor who may read a conversation.
package files
