// Package centrifugo is a running Centrifugo (v5, v6) as a target of hubbench, as its clients see it: the bidirectional client
// protocol in JSON over /connection/websocket (https://centrifugal.dev/docs/transports/client_protocol and client.proto of
// github.com/centrifugal/protocol), and the server API over HTTP for histories (https://centrifugal.dev/docs/server/server_api).
//
// A conversation is a channel; a message is a publication of its members, and its place in the channel is the offset. Clients
// subscribe to their conversations on every connection and recover from the offset that they have. The server's pings are answered.
//
// The server needs in channel.without_namespace, or in the namespace that is given:
//
//	allow_subscribe_for_client, allow_publish_for_subscriber: true
//	history_size, history_ttl: so much that a run fits in; force_recovery, force_positioning: true
//
// and client.channel_limit as large as the conversations of a user. It has no members, so isolation says nothing here; it keeps
// nothing that says who read what, and no ids: the key of a message is taken for its id. A message counts as acknowledged when its
// sender gets it back, which is when it is in the history.
package centrifugo
