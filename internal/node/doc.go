// Package node is the composition root: it joins edge, actors and storage, which do not know one another, into
// one running node, and owns the order in which they start and stop.
//
//	start: store opened and locked → admin port answers (live, not ready) → hub repairs what a crash left
//	       half derived → public port opens → ready
//	       on a cluster: admin port answers → servers reached, waiting as long as it takes → schema checked, or
//	       migrated if that was asked for → other nodes found, a lease and shards taken, every shard has an
//	       owner that can be asked → public port opens → ready
//	stop:  not ready → no new sessions → clients closed with 1001, paced → conversations commit, ack and save
//	       what is in flight → store closed → admin port closed
//	       in a cluster, before clients are closed: shards handed over; by itself, after
//
// A node that another one declared dead closes its clients, saves nothing, and Run returns an error.
//
// Nothing here decides anything about messages. Every goroutine started is waited for in Run. The only package
// besides bench that names Prometheus metrics: the layers report through small observers.
package node
