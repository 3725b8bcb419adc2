// Package s3test gives tests a real S3 server: the one that HUB_S3_ENDPOINT names, or else versitygw (Apache-2.0), which
// `make test-s3` builds once, through the Go module proxy, into the user's cache directory, outside of the tree. Tests
// that need it are skipped where it was not built, unless HUB_S3=required says that a skip is a failure. It is test
// code that other packages' tests import.
package s3test
