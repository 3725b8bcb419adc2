// Package attachmenttest holds the table of files that every way of uploading must judge alike (requirement 70): the
// tests of the rules, of REST, of resumable uploads and of sockets walk through it. It also makes samples of each type.
package attachmenttest
