// Package pb is what protogen makes of wire.proto: plain structs, their pools and their marshalling. Do not edit it: change
// the schema and run `make generate`. Only package wire sees it; nobody else has use for these types, which are chat's
// once more in the shape that goes over the wire.
package pb
