// Package limit is the least that a system which passes messages on over WebSocket can do: one thread with epoll reads a
// frame and writes it to everybody whom it is for, and nothing else. It decides, stores, numbers and checks nothing. What it costs is
// what the kernel costs, and what any hub is measured against.
//
// A message is text: the conversation, a space, the key of the message, and whatever follows. A conversation is "all", or the
// numbers of its users, separated by commas. A user says its number in the path: /ws/7.
package limit
