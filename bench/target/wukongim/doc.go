// Package wukongim is a running WuKongIM as a target of hubbench, as its clients see it: JSON-RPC over WebSocket
// (https://docs.githubim.com/en/getting-started/learning/jsonrpc, pkg/jsonrpc of github.com/WuKongIM/WuKongIM), and its HTTP API, by
// which applications make channels and clients read histories (/channel, /channel/messagesync).
//
// Every conversation is a group channel (type 2), also one of two: a person channel has another name for each of its members. A
// message arrives at everybody but the connection that sent it, which gets an ack of its own with the place of the message. Acks and messages
// of a channel are not in one order, and what a client missed it reads over HTTP; so single clients are measured and not checked
// (target.Unordered), and the log at the end is. A resume figure says how fast a connection is back, not a history.
// Received messages are acknowledged, as the protocol wants it.
//
// Servers whose gateway encrypts want wkproto, which is not spoken here: its JSON-RPC has to be without.
package wukongim
