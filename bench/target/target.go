package target

import (
	"bytes"
	"context"
	"errors"
	"net/netip"

	"github.com/zumodra/hub/bench/check"
)

// ErrNotSupported says that the target has nothing of the kind.
var ErrNotSupported = errors.New("not supported by the target")

// Codec is a protocol as a client speaks it over WebSocket text or binary frames. It keeps no state of a connection, and is for
// concurrent use. Methods that encode append the payload of one frame to dst, unmasked and without its header, and allocate nothing else.
type Codec interface {
	// Binary reports whether frames are binary ones.
	Binary() bool
	// Endpoint of a user's socket: where to connect (another address of the target for the next socket or attempt), and the HTTP request for the upgrade without Sec-WebSocket-Key.
	Endpoint(user, socket, attempt int) Endpoint
	// Open is the first frame after the upgrade, if the protocol has one; else dst as it is.
	Open(dst []byte, user int) []byte
	// Send is a message. Its content begins with the key and a space, and is padded to size bytes.
	Send(dst []byte, m Message) []byte
	Typing(dst []byte, conversation string) []byte
	// Read marks the conversation as read up to seq; dst as it is when the protocol has none. So do the next ones.
	Read(dst []byte, conversation string, seq uint64) []byte
	React(dst []byte, conversation, id, emoji string) []byte
	Edit(dst []byte, conversation, id, content string) []byte
	// Resume asks for what was missed of up to 256 conversations.
	Resume(dst []byte, positions []Position) []byte
	Ping(dst []byte) []byte
	// Parse says what a frame means. One frame may hold several messages (Centrifugo): emit is called for each. What Event holds is
	// valid during the call.
	Parse(frame []byte, emit func(*Event)) error
}

const filler = " lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua"

// AppendContent appends a content: the key and words, size bytes or one less, but never less than the key. It needs no
// escapes in JSON, and does not end with a space, which systems may take away.
func AppendContent(dst []byte, key string, size int) []byte {
	dst = append(dst, key...)
	for left := size - len(key); left > 0; left -= len(filler) {
		dst = append(dst, filler[:min(left, len(filler))]...)
	}
	return bytes.TrimSuffix(dst, []byte{' '})
}

// Endpoint of a socket.
type Endpoint struct {
	Addr   netip.AddrPort
	Host   string
	Path   string
	Header string // further lines of the request, each ending with \r\n
	// TCP: there is no WebSocket; the protocol's own frames (WuKongIM's may be spoken so).
	TCP bool
}

// Message to send.
type Message struct {
	Conversation string
	Key          string // unique in the run: the client's id of the message, and the first word of its content
	Size         int
	User         int // who sends
}

// Position in a conversation.
type Position struct {
	Conversation string
	Seq          uint64
}

// Event is what one arrived message means.
type Event struct {
	Kind         EventKind
	Conversation []byte
	Seq          uint64
	ID           []byte
	Key          []byte // of a message: from its content; of an answer: of the send that it answers, if the protocol tells
	User         []byte // Receipt: who read
	Code         []byte // Refused, Closed: of the error
	Count        uint64
}

// EventKind of an Event.
type EventKind uint8

// The kinds. A message that its sender gets back is Message; protocols that acknowledge by a frame of its own have Ack.
const (
	Other   EventKind = iota
	Ready             // the connection may be used
	Msg               // a message in its conversation
	Logged            // another event of the log: it has a seq
	Ack               // of the send Key: ID and Seq
	Refused           // of the send Key, with Code; Key is empty when it is not about a send
	Resumed           // all that was missed has come
	Gap               // more is missing than is sent, up to Seq: read the history
	Receipt           // User has read up to Seq
	Head              // the log of Conversation reaches to Seq: who has less asks for the rest
	Pong
	Pinged // the target asks whether the client is there: see Answerer
)

// Answerer is a Codec whose clients answer some frames at once. What it appends, if anything, is sent on the same connection.
type Answerer interface {
	Answer(dst []byte, e *Event) []byte
}

// Subscriber is a Codec whose clients say after Ready, on every connection, which conversations they want, by Resume. A new
// connection is of use once Resumed has come for each of them.
type Subscriber interface {
	Subscribes()
}

// Unordered is a Codec whose messages arrive without a place in their conversation, or not in its order. What single clients see
// is then measured and not checked; the log at the end is.
type Unordered interface {
	Unordered()
}

// Target is a running system. Its methods are for concurrent use, and block.
type Target interface {
	Codec
	// Kind is hub, centrifugo, wukongim or limit.
	Kind() string
	// User is the name of a user by number, as Event.User has it.
	User(user int) string
	// Version of the running system, as it says.
	Version(ctx context.Context) (string, error)
	// Prepare makes the conversations of a world and returns their ids in the same order. Users exist as soon as they are named.
	Prepare(ctx context.Context, w World) ([]string, error)
	// Call does an operation over REST: history, scroll, list, search.
	Call(ctx context.Context, op string, user int, conversation string) error
	// Final reads a whole conversation as user, oldest first. ErrNotSupported: the target keeps nothing.
	Final(ctx context.Context, user int, conversation string) ([]check.Entry, error)
	// Last reads the newest messages, oldest first; whole: there are no others before them.
	Last(ctx context.Context, user int, conversation string) (last []check.Entry, whole bool, err error)
	// Unread messages of a user in a conversation.
	Unread(ctx context.Context, user int, conversation string) (uint64, error)
	// Head of a conversation: the last seq of its log.
	Head(ctx context.Context, user int, conversation string) (uint64, error)
}

// World is what a run needs to be there.
type World struct {
	Run           string // a name that no other run has: part of the names of what is made
	Users         int
	Conversations [][]int // the members of each, by number; the first creates it
}

// Spread says which of n nodes the socket of a user tries: the sockets spread evenly over all, and the further attempts of those that
// tried one node first spread over all others before they come back to it, as they do behind a balancer. One that dies would hand all it
// had to its neighbour otherwise.
func Spread(n, user, socket, attempt int) int {
	first := (user + socket) % n
	if attempt %= n; attempt == 0 {
		return first
	}
	return (first + 1 + ((user+socket)/n+attempt-1)%(n-1)) % n
}
