// Package hub is the hub as a target of hubbench, as its clients see it: the WebSocket /ws/, which carries all conversations of
// a user, and the REST API (docs/protocol.md). Tokens are made with the secret that the hub verifies them by; the operator's key, if
// it is given, introduces users in bulk.
//
// User n has the id 1000+n. The content of a message begins with its key, which is its client_id, too; since every member is
// shown the content, everybody can name a message.
package hub
