// Package arch holds the laws of the source tree as tests: which package may import which, and why; that every
// package introduces itself in doc.go; that files stay readable in one sitting. It has no code of its own.
package arch
