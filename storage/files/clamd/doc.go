// Package clamd asks a ClamAV daemon whether a file is clean, over its own protocol (clamd(8), command INSTREAM): the
// file is sent in chunks while it is being received, and the answer comes after the last one. The daemon's
// StreamMaxLength must be at least as large as the largest file.
package clamd
