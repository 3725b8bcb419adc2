// Package cassandra runs a real Apache Cassandra for tests: it fetches a pinned version from Maven Central through mvn,
// starts one node or several on 127.0.0.1, 127.0.0.2 and so on, each in a JVM of its own with a small heap, can stop,
// kill and restart them, and ends them all with the cluster.
//
// What Maven fetches stays in Maven's own cache; the resolved class path is kept in the user's cache directory, so only
// the first start needs the network. A JDK 17 and mvn are needed: Install says what is missing, and installs it where
// it can (root on Debian).
//
// Nodes die with the process that started them, however that ends (Linux: the kernel sees to it).
//
// The command in run starts a cluster for the life of another command, which finds it by HUB_CQL_HOSTS and may stop,
// kill and restart its nodes through the address in HUB_CASSANDRA_CONTROL (see Remote): that is how the fault tests
// reach the server's processes. Nothing but tests and benchmarks may import this package.
package cassandra
