// Package worker is the generator of hubbench: one process holds a share of the users' connections, has them do what the
// scenario says at the times that it says, checks what it sees, and tells its controller every second what was measured.
//
// A worker behaves as a client of the target should: it notices holes in a conversation's sequence, asks again for what it
// missed after a lost connection, and repeats a send that was not answered. What it then still misses is a violation.
//
// Everything about connections happens on one goroutine, that of the loop; requests over REST are made by a bounded number of
// others. Begin starts them, and Close ends them and waits.
package worker
