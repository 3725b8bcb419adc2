package main

// childArg is the hidden sub-command that makes this program a server or a client under the parent's control.
const childArg = "child"

// command is one line of JSON that the parent writes to a child's standard input; each is answered by one reply.
type command struct {
	Op string

	// Client.
	Addr    string  `json:",omitempty"`
	Path    string  `json:",omitempty"`
	Tokens  string  `json:",omitempty"` // file with one bearer token per line, used in turn
	Texts   string  `json:",omitempty"` // file with one payload per line; {n} is replaced by a counter
	Text    string  `json:",omitempty"`
	Match   string  `json:",omitempty"` // count only messages that contain it within their first 256 bytes
	N       int     `json:",omitempty"`
	Rounds  int     `json:",omitempty"`
	Window  int     `json:",omitempty"`
	Sockets int     `json:",omitempty"` // loop: connections that the conversations share, 0: one each
	Every   int     `json:",omitempty"` // paced: payload i leaves from connection i × Every
	First   bool    `json:",omitempty"` // a connection is ready when its first message came, not at the upgrade
	Raw     bool    `json:",omitempty"` // no WebSocket: ready when connected
	Seconds float64 `json:",omitempty"`

	// Server.
	Payload []byte `json:",omitempty"`
	Bytes   int    `json:",omitempty"`
	Config  string `json:",omitempty"`
}

// reply answers a command.
type reply struct {
	Err     string    `json:",omitempty"`
	Addr    string    `json:",omitempty"`
	N       int64     `json:",omitempty"`
	Failed  int64     `json:",omitempty"`
	Bytes   int64     `json:",omitempty"` // length of the last counted message, with its frame header
	Seconds float64   `json:",omitempty"`
	Millis  []float64 `json:",omitempty"`
	CPU     float64   `json:",omitempty"` // seconds of CPU that the command took, by the child's own clock
	Text    string    `json:",omitempty"`
}
