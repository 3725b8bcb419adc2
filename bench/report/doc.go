// Package report shows what a run gave: as one HTML file with plots that needs nothing else, as a summary for a terminal, as a table
// for RESULTS.md, and as CSV.
//
// The plots are SVG made here: a page that is kept for years, mailed and opened without a network must hold all that it shows, and a
// JavaScript library for six plots would be most of its size. Lines differ by their dashes and not by colour alone, every plot has a title and a description in words, and
// the page has a dark scheme and prints.
//
// Text in a run comes from servers and scenarios and is escaped everywhere.
package report
