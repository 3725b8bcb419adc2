// Package jsonwalk reads the fields of JSON objects where they stand, without allocating: a load generator looks at a few short
// fields of each of many frames. It is no parser of values, and does not check all of JSON's grammar (RFC 8259).
package jsonwalk
