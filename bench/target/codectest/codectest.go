package codectest

import (
	"slices"
	"strings"
	"testing"

	"github.com/zumodra/hub/bench/target"
)

// Event is a target.Event that outlives the call of emit.
type Event struct {
	Kind                              target.EventKind
	Conversation, ID, Key, User, Code string
	Seq                               uint64
}

// Parse returns what a frame means.
func Parse(c target.Codec, frame []byte) (list []Event, err error) {
	err = c.Parse(frame, func(e *target.Event) {
		list = append(list, Event{e.Kind, string(e.Conversation), string(e.ID), string(e.Key), string(e.User), string(e.Code), e.Seq})
	})
	return list, err
}

// Means fails the test unless a frame means these events.
func Means(t testing.TB, c target.Codec, frame string, want ...Event) {
	t.Helper()
	if got, err := Parse(c, []byte(frame)); err != nil || !slices.Equal(got, want) {
		t.Errorf("%s:\n got %+v, %v\nwant %+v", frame, got, err, want)
	}
}

// Refused fails the test unless each of the frames is an error.
func Refused(t testing.TB, c target.Codec, frames ...string) {
	t.Helper()
	for _, f := range frames {
		if got, err := Parse(c, []byte(f)); err == nil {
			t.Errorf("%s is a frame: %+v", f, got)
		}
	}
}

// Key is what Contents sends.
const Key = "run.0.1.zz"

// Contents fails the test unless messages have contents of the size that is asked for, give or take a space at the end, and begin with
// their key. content decodes a frame of Send and returns its content.
func Contents(t testing.TB, c target.Codec, content func(frame []byte) string) {
	t.Helper()
	for _, size := range []int{1, len(Key), len(Key) + 1, len(Key) + 2, 30, 31, 100, 5000} {
		text := content(c.Send([]byte{}, target.Message{Conversation: "r-1", Key: Key, Size: size}))
		key, _, _ := strings.Cut(text, " ")
		if n := len(text); key != Key || n < size-1 || n > max(size, len(Key)) || strings.HasSuffix(text, " ") {
			t.Errorf("%q has %d bytes, want %d and the key", text, n, size)
		}
	}
}

// Allocations fails the test unless to read a frame allocates nothing but the event, which escapes, and to encode a message nothing.
func Allocations(t testing.TB, c target.Codec, frame string) {
	t.Helper()
	b, emit := []byte(frame), func(*target.Event) {}
	if n := testing.AllocsPerRun(100, func() { _ = c.Parse(b, emit) }); n > 1 {
		t.Errorf("parse: %v allocations", n)
	}
	buf := make([]byte, 0, 4096)
	m := target.Message{Conversation: "c", Key: "k", Size: 500}
	if n := testing.AllocsPerRun(100, func() { buf = c.Send(buf[:0], m) }); n > 0 {
		t.Errorf("send: %v allocations", n)
	}
}
