// Package search finds messages by their text. It holds what every index shares: the interface, the grammar of
// queries, the analysis of text into terms, and highlighting. storage/search/fts is the embedded index (SQLite FTS5),
// storage/search/meili the one that runs on a Meilisearch server.
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
// The package must not know actors, sessions, HTTP or who may read what: callers name the conversations.
package search
