// Package clustertest tests a cluster of real processes from outside, under load and faults. It is a test alone: `make
// test-cluster` builds cmd/hub, starts hubs with package testcluster on the store in HUB_CQL_HOSTS, lets clients of the SDK in
// two tenants talk in direct and group conversations whose members are spread over all nodes, makes something go wrong, and in
// the end compares every send, acknowledgement and delivery with the histories that every node answers (package
// bench/check). Every run ends with a table of recovery times. What is checked:
//
//   - no acknowledged message is lost, doubled, changed or out of order, for any reader at any node (I1–I4), and every client
//     has seen all of every conversation, each event once (I6);
//   - who was removed from a group has seen nothing behind the removal (I5);
//   - nobody has seen or can read anything of the other tenant (I8).
//
// HUB_CLUSTER_CYCLES is the number of kills in TestReq162 (unset: all tests are skipped), HUB_CLUSTER_BIN names a binary to test
// instead of this tree's, HUB_CLUSTER_RACE=1 builds it with the race detector, HUB_CLUSTER_ALONE=1 runs one node without the
// flags of a cluster, which tests these tests. HUB_CLUSTER_ARTEFACTS is a directory where failing tests leave the nodes' logs
// and the history; without it they stay in the system's temporary directory, and the test says where.
//
// Recovery times and latencies are measured and printed, and never decide whether a test passes.
package clustertest
