// Package searchindex is the consumer of the logs that keeps a search index (projection.Consumer). The index says
// itself how far it is with each conversation, in the same step in which it takes messages in, so that nothing is
// missing from it and nothing in it twice, whenever the process ends.
//
// The package must not know how an index works, who may find what (actors.Hub.Search says so), or tables.
package searchindex
