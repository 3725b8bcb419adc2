package wire_test

import (
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire"
)

// benchSend is a message of 150 bytes on its way to its conversation.
func benchSend() chat.Question {
	return chat.CarryOut{
		Principal: chat.Principal{Tenant: "default", User: "4711", Username: "alice"},
		Origin:    chat.Origin{Node: 0x1234_5678_9abc_def0, Session: 1 << 33, Ref: "r-17"},
		Command: chat.Send{
			Conversation: chat.DirectID("default", "4711", "4712"), ClientID: "3b241101-e2bb-4255-8caf-4136c566a962",
			Content: strings.Repeat("hello, ", 21) + "you",
		},
	}
}

func benchEvent() *chat.Event {
	k := chat.ConversationKey{Tenant: "default", ID: chat.DirectID("default", "4711", "4712")}
	at := time.UnixMicro(1_790_000_000_000_000).UTC()
	return &chat.Event{
		Seq: 41, Epoch: 3, MsgNo: 40, Type: chat.EventMessage, At: at, Actor: "4711", ActorName: "alice",
		ClientID: "3b241101-e2bb-4255-8caf-4136c566a962", Message: chat.NewMessageID(k, 41, at), MessageSeq: 41,
		Content: strings.Repeat("hello, ", 21) + "you",
	}
}

func benchDelivery(users []chat.UserID) chat.Parcel {
	k := chat.ConversationKey{Tenant: "default", ID: chat.DirectID("default", "4711", "4712")}
	var shards chat.ShardSet
	shards.Add(17)
	shards.Add(900)
	return &chat.ToHome{
		Delivery: &chat.Delivery{
			Key: k, Recipients: &chat.MemberSet{Version: 1, Users: users},
			Notices: []chat.Notice{{Event: benchEvent(), Origin: chat.Origin{Node: 0x1234_5678_9abc_def0, Session: 1 << 33, Ref: "r-17"}}},
		},
		Shards: &shards,
	}
}

func BenchmarkAppendSend(b *testing.B) {
	q := benchSend()
	benchAppend(b, func(buf []byte) ([]byte, error) { return wire.AppendQuestion(buf, 17, 1, q) })
}

func BenchmarkDecodeSend(b *testing.B) {
	buf, err := wire.AppendQuestion(nil, 17, 1, benchSend())
	benchDecode(b, buf, err, func() error { _, _, _, err := wire.DecodeQuestion(buf); return err })
}

func BenchmarkAppendSent(b *testing.B) {
	a := chat.Done{Result: chat.Result{Event: benchEvent()}}
	benchAppend(b, func(buf []byte) ([]byte, error) { return wire.AppendAnswer(buf, a, nil) })
}

func BenchmarkDecodeSent(b *testing.B) {
	buf, err := wire.AppendAnswer(nil, chat.Done{Result: chat.Result{Event: benchEvent()}}, nil)
	benchDecode(b, buf, err, func() error { _, err := wire.DecodeAnswer(buf); return err })
}

func BenchmarkAppendDelivery(b *testing.B) {
	p := benchDelivery([]chat.UserID{"4711", "4712"})
	benchAppend(b, func(buf []byte) ([]byte, error) { return wire.AppendParcel(buf, p) })
}

func BenchmarkDecodeDelivery(b *testing.B) {
	buf, err := wire.AppendParcel(nil, benchDelivery([]chat.UserID{"4711", "4712"}))
	benchDecode(b, buf, err, func() error { _, err := wire.DecodeParcel(buf); return err })
}

func BenchmarkDecodeDelivery10000(b *testing.B) {
	users := make([]chat.UserID, 10_000)
	for i := range users {
		users[i] = chat.UserID("3b241101-e2bb-4255-8caf-4136c566a962")
	}
	buf, err := wire.AppendParcel(nil, benchDelivery(users))
	benchDecode(b, buf, err, func() error { _, err := wire.DecodeParcel(buf); return err })
}

func BenchmarkMoved(b *testing.B) {
	benchAppend(b, func(buf []byte) ([]byte, error) {
		buf, err := wire.AppendAnswer(buf, nil, chat.ErrMoved)
		_, _ = wire.DecodeAnswer(buf)
		return buf, err
	})
}

func benchAppend(b *testing.B, encode func([]byte) ([]byte, error)) {
	b.ReportAllocs()
	var buf []byte
	var err error
	for b.Loop() {
		if buf, err = encode(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf)), "B/msg")
}

func benchDecode(b *testing.B, buf []byte, err error, decode func() error) {
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf)), "B/msg")
}
