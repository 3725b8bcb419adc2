// Package blobtest is the suite that every blob.Store passes. Run checks
// content, ranges, limits, cut streams, concurrent puts of equal content, listing, cleaning, contexts and closing, and
// the library and the sweeper over the store. It is test code that other packages' tests import.
package blobtest
