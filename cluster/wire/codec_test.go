package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire"
)

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func checkQuestion(t failer, shard int, q chat.Question) {
	t.Helper()
	b, err := wire.AppendQuestion([]byte("before"), shard, 1<<63+1, q)
	if err != nil || !bytes.HasPrefix(b, []byte("before")) {
		t.Fatalf("%#v: %q, %v", q, b, err)
	}
	s, place, got, err := wire.DecodeQuestion(b[6:])
	if err != nil || s != shard || place != 1<<63+1 {
		t.Fatalf("%#v: shard %d, place %d, %v", q, s, place, err)
	}
	if diff := cmp.Diff(q, got, sameAs); diff != "" {
		t.Fatalf("sent (-), received (+):\n%s", diff)
	}
}

func checkAnswer(t failer, a chat.Answer) {
	t.Helper()
	b, err := wire.AppendAnswer(nil, a, nil)
	if err != nil {
		t.Fatalf("%#v: %v", a, err)
	}
	got, err := wire.DecodeAnswer(b)
	if err != nil {
		t.Fatalf("%#v: %v", a, err)
	}
	if diff := cmp.Diff(a, got, sameAs); diff != "" {
		t.Fatalf("sent (-), received (+):\n%s", diff)
	}
}

// pointed is the pointer to a parcel: they travel by it.
func pointed(p chat.Parcel) chat.Parcel {
	v := reflect.ValueOf(p)
	if v.Kind() != reflect.Struct {
		return p
	}
	at := reflect.New(v.Type())
	at.Elem().Set(v)
	to, _ := at.Interface().(chat.Parcel)
	return to
}

func checkParcel(t failer, p chat.Parcel) {
	t.Helper()
	p = pointed(p)
	b, err := wire.AppendParcel(nil, p)
	if err != nil {
		t.Fatalf("%#v: %v", p, err)
	}
	got, err := wire.DecodeParcel(b)
	if err != nil {
		t.Fatalf("%#v: %v", p, err)
	}
	if diff := cmp.Diff(p, got, sameAs); diff != "" {
		t.Fatalf("sent (-), received (+):\n%s", diff)
	}
}

// TestEveryFieldTravels fails when a field is added to a type of chat and not to the schema.
func TestEveryFieldTravels(t *testing.T) {
	for _, kind := range questions {
		for _, q := range fullOf(kind) {
			t.Run(q.Name(), func(t *testing.T) { checkQuestion(t, 1023, q) })
		}
	}
	for _, kind := range answers {
		for _, a := range fullOf(kind) {
			t.Run(fmt.Sprintf("%T", a), func(t *testing.T) { checkAnswer(t, a) })
		}
	}
	for _, kind := range parcels {
		for _, p := range fullOf(kind) {
			t.Run(p.Name(), func(t *testing.T) { checkParcel(t, p) })
		}
	}
}

func TestZeroValuesTravel(t *testing.T) {
	for _, q := range questions {
		switch q.(type) {
		case chat.CarryOut, chat.Relate: // nothing without a command
			if b, err := wire.AppendQuestion([]byte("x"), 0, 0, q); !errors.Is(err, wire.ErrUnknownType) || string(b) != "x" {
				t.Errorf("%s: %q, %v", q.Name(), b, err)
			}
		default:
			checkQuestion(t, 0, q)
		}
	}
	for _, c := range commands {
		checkQuestion(t, 0, chat.CarryOut{Command: c})
	}
	for _, c := range peopleCommands {
		checkQuestion(t, 0, chat.Relate{Command: c})
	}
	for _, a := range answers {
		checkAnswer(t, a)
	}
	for _, p := range parcels {
		checkParcel(t, p)
	}
}

func TestAnythingTravels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Several in a row: the structs of one serve the next.
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				checkQuestion(t, rapid.IntRange(0, chat.Shards-1).Draw(t, "shard"), randomOf(t, questions))
			case 1:
				checkAnswer(t, randomOf(t, answers))
			case 2:
				checkParcel(t, randomOf(t, parcels))
			}
		}
	})
}

func TestTimesTravelAsTheSameInstant(t *testing.T) {
	zone := time.FixedZone("east", 3600)
	for _, at := range []time.Time{
		{},
		time.UnixMicro(0), time.UnixMicro(-1), time.UnixMicro(1),
		time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, zone),
		time.Date(1800, 1, 1, 0, 0, 0, 0, zone),
		time.Now(),
	} {
		b, err := wire.AppendAnswer(nil, chat.PresenceOf{List: []chat.Presence{{Seen: at}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := wire.DecodeAnswer(b)
		if err != nil {
			t.Fatal(err)
		}
		got := a.(chat.PresenceOf).List[0].Seen
		if !got.Equal(at.Truncate(time.Microsecond)) || got.IsZero() != at.IsZero() || got.Location() != time.UTC {
			t.Errorf("%v became %v", at, got)
		}
	}
}

func TestAcceptedAtStaysHere(t *testing.T) {
	b, err := wire.AppendParcel(nil, &chat.ToHome{Delivery: &chat.Delivery{AcceptedAt: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := wire.DecodeParcel(b)
	if err != nil || !p.(*chat.ToHome).Delivery.AcceptedAt.IsZero() {
		t.Fatalf("%+v, %v", p, err)
	}
}

func TestShardSetsOfEverySizeTravel(t *testing.T) {
	var s chat.ShardSet
	checkParcel(t, chat.Recount{})
	for n := range chat.Shards {
		checkParcel(t, chat.Recount{Shards: &s})
		s.Add(n * 389 % chat.Shards)
	}
	checkParcel(t, chat.Recount{Shards: &s})
}

func TestShardsAreInRange(t *testing.T) {
	for _, n := range []int{-1, chat.Shards} {
		if _, err := wire.AppendQuestion(nil, n, 0, chat.Read{}); err == nil {
			t.Errorf("shard %d was encoded", n)
		}
		if _, err := wire.AppendParcel(nil, &chat.Enrol{Shard: n}); err == nil {
			t.Errorf("shard %d was encoded", n)
		}
		if _, err := wire.AppendParcel(nil, &chat.Digests{List: []chat.ShardDigest{{Shard: n}}}); err == nil {
			t.Errorf("shard %d was encoded", n)
		}
	}
	varint := func(field protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
	}
	message := func(field protowire.Number, inner []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), inner)
	}
	if _, _, _, err := wire.DecodeQuestion(append(varint(1, chat.Shards), message(3, nil)...)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a question of shard %d: %v", chat.Shards, err)
	}
	for _, p := range [][]byte{
		message(3, varint(1, chat.Shards)),                                     // Enrol
		message(4, message(1, varint(1, chat.Shards))),                         // Digests
		message(5, message(1, varint(1, chat.Shards))),                         // Recount, few
		message(5, message(1, message(2, make([]byte, 8*17)))),                 // Recount, words
		message(1, message(1, message(4, append(varint(1, 1), 0x18, 1)))),      // a set that is cut off
		message(1, message(1, message(4, append(varint(1, 1), 0x1a, 9, 255)))), // and no message
	} {
		if got, err := wire.DecodeParcel(p); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%x: %#v, %v", p, got, err)
		}
	}
}

// A question, answer, command or parcel of a newer node is refused, and a field of one is skipped.
func TestNewerNodes(t *testing.T) {
	fresh := protowire.AppendBytes(protowire.AppendTag(nil, 900, protowire.BytesType), []byte("later"))
	shard := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 17)
	if n, _, q, err := wire.DecodeQuestion(append(shard, fresh...)); !errors.Is(err, wire.ErrUnknownType) || n != 17 {
		t.Errorf("question: %d, %#v, %v", n, q, err)
	}
	if a, err := wire.DecodeAnswer(fresh); !errors.Is(err, wire.ErrUnknownType) {
		t.Errorf("answer: %#v, %v", a, err)
	}
	if p, err := wire.DecodeParcel(fresh); !errors.Is(err, wire.ErrUnknownType) {
		t.Errorf("parcel: %#v, %v", p, err)
	}
	for _, question := range []protowire.Number{2, 6} {
		command := protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), []byte{0x08, 99})
		if question == 6 {
			command = protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte{0x08, 99})
		}
		b := protowire.AppendBytes(protowire.AppendTag(nil, question, protowire.BytesType), command)
		if _, _, q, err := wire.DecodeQuestion(b); !errors.Is(err, wire.ErrUnknownType) {
			t.Errorf("command: %#v, %v", q, err)
		}
	}
	known, err := wire.AppendQuestion(nil, 5, 0, fullOf(questions[1])[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, _, q, err := wire.DecodeQuestion(append(known, fresh...)); err != nil || !cmp.Equal(q, fullOf(questions[1])[0]) {
		t.Errorf("with an unknown field: %#v, %v", q, err)
	}
}

func TestUnknownTypesAreNotEncoded(t *testing.T) {
	if _, err := wire.AppendQuestion(nil, 0, 0, nil); !errors.Is(err, wire.ErrUnknownType) {
		t.Error(err)
	}
	if _, err := wire.AppendAnswer(nil, nil, nil); !errors.Is(err, wire.ErrUnknownType) {
		t.Error(err)
	}
	if _, err := wire.AppendParcel(nil, nil); !errors.Is(err, wire.ErrUnknownType) {
		t.Error(err)
	}
	type odd struct{ chat.Leave }
	if _, err := wire.AppendQuestion(nil, 0, 0, chat.CarryOut{Command: odd{}}); !errors.Is(err, wire.ErrUnknownType) {
		t.Error(err)
	}
	type oddPerson struct{ chat.Block }
	if _, err := wire.AppendQuestion(nil, 0, 0, chat.Relate{Command: oddPerson{}}); !errors.Is(err, wire.ErrUnknownType) {
		t.Error(err)
	}
}

// What a decoder allocates is linear in its input, whatever that says.
func TestAllocationIsBounded(t *testing.T) {
	const n = 64 << 10
	wrap := func(b []byte, fields ...protowire.Number) []byte {
		for _, f := range fields {
			b = protowire.AppendBytes(protowire.AppendTag(nil, f, protowire.BytesType), b)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"events":    wrap(bytes.Repeat([]byte{0x32, 0}, n/2), 1, 2),
		"rewritten": wrap(bytes.Repeat([]byte{0x12, 0}, n/2), 3),
		"snapshots": wrap(bytes.Repeat([]byte{0x0a, 0}, n/2), 4),
		"lengths":   wrap(make([]byte, n), 3, 3, 1, 4),
		"a length":  {0x12, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		if got := testing.AllocsPerRun(3, func() { _, _ = wire.DecodeAnswer(b) }); got > n*2 {
			t.Errorf("%s: %.0f allocations for %d bytes", name, got, len(b))
		}
	}
}

func seeds(f *testing.F, add func([]byte)) {
	f.Helper()
	must := func(b []byte, err error) {
		if err != nil {
			f.Fatal(err)
		}
		add(b)
	}
	for _, kind := range questions {
		for _, q := range fullOf(kind) {
			must(wire.AppendQuestion(nil, 7, 3, q))
		}
	}
	for _, kind := range answers {
		must(wire.AppendAnswer(nil, fullOf(kind)[0], nil))
	}
	for _, kind := range parcels {
		must(wire.AppendParcel(nil, pointed(fullOf(kind)[0])))
	}
	for _, err := range someErrors {
		must(wire.AppendAnswer(nil, nil, err))
	}
}

func FuzzDecodeQuestion(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if shard, _, q, err := wire.DecodeQuestion(b); err == nil {
			checkQuestion(t, shard, q)
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := wire.DecodeAnswer(b); err == nil {
			checkAnswer(t, a)
		} else {
			checkError(t, err)
		}
	})
}

func FuzzDecodeParcel(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := wire.DecodeParcel(b); err == nil {
			checkParcel(t, p)
		}
	})
}
