// Package live shows a run while it lasts: on a terminal a view of a dozen lines that is drawn anew each second, elsewhere (a file, CI)
// one line a second, and at the same time for Prometheus.
//
// The view is redrawn by moving the cursor up, with golang.org/x/term to ask whether there is a terminal and how large: it takes no keys and has
// one page, and a framework such as bubbletea would take over input and signals of the program and bring some fifteen modules for it.
package live
