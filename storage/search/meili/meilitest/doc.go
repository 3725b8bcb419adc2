// Package meilitest is a Meilisearch server for tests, strict and in memory, as the documentation of its HTTP API describes
// it: no such server can be installed from the package registries that builds may use. It knows the routes, settings and
// syntax that the driver uses and fails the test on any other; tasks are carried out later, in order, when they are asked
// for. Operators run the driver's suite against a real server through HUB_MEILI_URL. It starts the goroutines of an HTTP
// server, which end with the test.
package meilitest
