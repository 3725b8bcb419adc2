// Package s3 keeps blobs in a bucket of S3 or of a server that speaks its protocol (tested with versitygw):
//
//	<prefix>blobs/<tenant>/<sha256>     content; a dot and the generation follow where that is not 0
//	<prefix>tmp/<random>                uploads that are not published
//
// The tenant is written in hexadecimal digits.
//
// The name of content is known only after all of it was read. Content of up to one part (5 MiB) waits in memory and is
// stored by one PUT. Longer content is sent as it comes, as a multipart upload of an object in tmp, which is copied
// within the server to its name and then deleted. Either way the server checks every body against the SHA-256 that the
// request is signed with, and an object is visible only when it is complete. Each upload holds one part in memory, and
// Config.Uploads bounds how many there are; more wait.
//
// What a crash leaves in tmp is removed by Clean. A lifecycle rule for the prefix does as well.
//
// The package starts no goroutines; those of the HTTP transport end with Close and with idle connections.
package s3
