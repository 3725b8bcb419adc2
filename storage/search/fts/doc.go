// Package fts is the embedded index of messages: search.Index on SQLite's FTS5, in pure Go (modernc.org/sqlite).
//
// The directory holds one database, named by the file CURRENT, its write-ahead log, and, during a rebuild, the next
// one. A database has a row per message (docs: where it is, when, by whom), a contentless FTS5 table (its tokens, made
// in Go by search.Analyze; the text itself is not kept), a row per conversation (its number and its cursor) and the
// vocabulary. ADR 0005 says why.
//
// Invariants:
//
//   - Documents, tokens and cursor of a change are in one transaction, synced before Apply returns: after a crash the
//     cursor says exactly what the index holds.
//   - A message's rowid is its time in microseconds since 1970, or the next free one after that and after the last of
//     its conversation. So newest first is ORDER BY rowid DESC, which FTS5 answers without sorting and without finding
//     more than it is asked for, whatever order messages arrive in; within a conversation it is by seq. Among
//     messages of different conversations in the same microsecond the order is arbitrary, and what moved aside for
//     them is off by as many microseconds. An edit keeps the rowid.
//   - Every expression carries the conversations that may be found: up to ScopeColumn of them as terms of a column of
//     their own, above that as a condition on the row. Conversations have numbers that are never used twice, so a
//     deleted conversation cannot be found from the moment its row is gone; its documents are removed in pieces.
//   - A word finds words that contain it, and words at a typo, by looking them up in the vocabulary and asking for
//     all of them. The vocabulary in memory is bounded (Config.VocabularyBytes): beyond, the words seen last are not
//     found by their middle or with a typo. At most maxInfix and maxTypos words stand for one, fewer where a query has more
//     than four words, those seen first.
//   - What cannot be read as a database, or is found to be damaged when it is opened after a crash, is set aside and an
//     empty index begins, under a new generation. One of another version is removed. Damage that shows in use makes
//     calls fail until a rebuild or the next start.
//
// Deleted text is gone from answers at once; traces of its tokens remain in the file until FTS5 merges segments, and
// its words in the vocabulary until a rebuild.
//
// Goroutines: none of its own; database/sql keeps one per database and one per call that can be cancelled.
package fts
