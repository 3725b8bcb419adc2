// Package scyllatest gives tests empty keyspaces on the cluster that HUB_CQL_HOSTS names. Creating one takes a real
// server seconds, so each test binary keeps the keyspaces that it has made, named hub_test_…, and hands them out again
// after deleting their rows. They stay on the cluster: one test run at a time, and drop them from a cluster of yours.
// Tests without HUB_CQL_HOSTS are skipped. It is for tests only; its goroutines end with the call that started them.
package scyllatest
