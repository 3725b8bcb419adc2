// Package asyncapi describes the WebSocket protocol for programs and for people: as an AsyncAPI 3.0 document
// (https://www.asyncapi.com/docs/reference/specification/v3.0.0) and as a web page. Both are made of the tables that
// package frame works by, so that they cannot differ from what the hub does; a test holds frames that the hub encodes
// to the schemas. The package must not know what the frames do.
package asyncapi
