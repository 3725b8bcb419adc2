// Package meili is the search.Index on a Meilisearch server (https://www.meilisearch.com/docs, API of version 1.53;
// 1.18 or newer is needed).
//
// The server finds candidates, newest first; what a query means is decided here, by the same analysis and matcher as in
// every other index (package search). A document holds, besides what filters and sorts:
//
//	words    the tokens of search.Analyze in their order
//	grams    the three-letter parts of each word, its first one and two letters, single characters of scripts without
//	         spaces: marked, so that they are never words
//	content  the message, to match it again and not searched by the server
//
// Tokens of scripts that the server would divide by rules of its own are written in letters a–p. So words, phrases,
// beginnings and middles of words are all looked up exactly, which takes no prefix search and no language of the server.
// Its typo tolerance serves queries with nearly no result. A query becomes one search per alternative (disjunctive
// normal form) and per chunk of conversations; their answers are merged, checked by the matcher, and fetched further
// until there are enough or maxRounds is reached: a message that very many newer ones hide, which have all parts of the
// query's words but not the words, is then not found. Typos are found in Latin, Greek, Cyrillic, Armenian and Georgian.
//
// The index <prefix>_messages_v<format> holds three kinds of documents: messages (<tenant>_<conversation>_<seq>, tenant
// and user ids in hexadecimal digits), the cursor of each conversation, written in the same task as the messages that
// lead to it, so that a crash comes before or after both; and the generation. A rebuild fills ..._new and swaps the two
// indexes in one task.
//
// Apply returns when the server's tasks succeeded. Payloads are bounded by bytes and documents, and few tasks are
// outstanding at a time; who comes then waits. Of a task that fails because of its documents the halves are tried again
// until the document to blame stands alone; it is counted, logged by its position and left out. While the server is
// away every call answers search.ErrUnavailable; nothing is kept here that would have to heal.
//
// The package starts no goroutine of its own. It must not know who may read what.
package meili
