// Package search finds messages by their text. It holds what every index shares: the interface, the grammar of
// queries, the analysis of text into terms, and highlighting. storage/search/fts is the embedded index (SQLite FTS5),
// storage/search/meili the one that runs on a Meilisearch server.
//
// Text becomes tokens by Analyze, queries become a Query by Parse, and a Query finds and highlights texts by its
// Matcher: the same rules for every index, which may find less (an index that cannot look inside of words) or, before
// callers check its hits with SearchAnswer.Highlight, more. What a bare word finds is itself, words that contain it if
// it has MinInfix letters, and, where an answer would be nearly empty, words at one typo if it has MinTypo.
//
// Newest first is by the time of the message, and within a conversation by seq, whatever their times say. Voice
// messages count as having an attachment.
//
// Invariants:
//
//   - The log is the truth; an index is a projection of it and can be thrown away and built again. Apply is idempotent
//     and at-least-once is enough.
//   - What Apply acknowledged survives a crash of the machine: whoever called it forgets that the work was there.
//   - An index finds nothing outside of the conversations that a query names, nor another tenant's messages. It may be
//     late; callers check every hit against the log and drop what is stale.
//   - Content never reaches a log or a metric.
//
// The package must not know actors, sessions, HTTP or who may read what: callers name the conversations. It does no I/O
// and starts no goroutine.
package search
