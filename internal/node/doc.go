// Package node is the composition root: it joins edge, actors and storage, which do not know one another, into
// one running node, and owns the order in which they start and stop.
//
//	start: store opened and locked → admin port answers (live, not ready) → hub repairs what a crash left
//	       half derived → public port opens → ready
//	stop:  not ready → no new sessions → clients closed with 1001, paced → conversations commit, ack and save
//	       what is in flight → store closed → admin port closed
//
// Nothing here decides anything about messages. Every goroutine started is waited for in Run. The only package
// besides bench that names Prometheus metrics: the layers report through small observers.
package node
