// Package freeport finds TCP ports for servers that are given one on their command line: by tests, and by the load harness.
//
// A port that was bound as ":0" and let go is one that the kernel gives away again, to any connection of any process, before
// the server gets to bind it. These lie outside the range that it gives away from.
package freeport
