// Package faultstore is the store of the tests in actors: plain maps, a durable part that a crash keeps and a
// relaxed part that it may lose, and faults on demand. It must not be imported by anything but tests.
package faultstore
