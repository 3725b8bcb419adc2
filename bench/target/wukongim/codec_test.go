package wukongim_test

import (
	"encoding/json"
	"testing"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/codectest"
	"github.com/zumodra/hub/bench/target/wukongim"
)

func newTarget(t testing.TB, cfg wukongim.Config) *wukongim.Target {
	t.Helper()
	if cfg.URLs == nil {
		cfg.URLs = []string{"http://127.0.0.1:5001", "ws://127.0.0.1:5200", "ws://127.0.0.2:5200"}
	}
	x, err := wukongim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func event(kind target.EventKind, conversation string, seq uint64, id, key, code string) codectest.Event {
	return codectest.Event{Kind: kind, Conversation: conversation, Seq: seq, ID: id, Key: key, Code: code}
}

// The frames are examples of the protocol's documents, and what a server (v3, b249d3a6) sent.
func TestParse(t *testing.T) {
	x := newTarget(t, wukongim.Config{})
	for frame, want := range map[string]codectest.Event{
		`{"result":{"serverKey":"serverPublicKey","salt":"randomSalt","timeDiff":-15,"reasonCode":0},"id":"connect"}`: event(target.Ready, "", 0, "", "", ""),
		`{"jsonrpc":"2.0","result":{"serverVersion":6,"timeDiff":1795686221286,"reasonCode":1,"nodeId":1}}`:           event(target.Ready, "", 0, "", "", ""),
		`{"jsonrpc":"2.0","result":{"reasonCode":21,"nodeId":0}}`:                                                     event(target.Refused, "", 0, "", "", "21"),
		`{"error":{"code":1001,"message":"Authentication Failed"},"id":"connect"}`:                                    event(target.Refused, "", 0, "", "", "1001"),
		`{"result":{"messageId":"serverMsgId1","messageSeq":1001,"reasonCode":0},"id":"r.0.1"}`:                       event(target.Ack, "", 1001, "serverMsgId1", "r.0.1", ""),
		`{"jsonrpc":"2.0","id":"k2","result":{"messageId":"2125888213741473792","messageSeq":1,"reasonCode":1}}`:      event(target.Ack, "", 1, "2125888213741473792", "k2", ""),
		`{"jsonrpc":"2.0","id":"k3","result":{"messageId":"0","messageSeq":0,"reasonCode":5}}`:                        event(target.Refused, "", 0, "0", "k3", "5"),
		`{"jsonrpc":"2.0","id":"k3","error":{"code":5,"message":"ReasonChannelNotExist"}}`:                            event(target.Refused, "", 0, "", "k3", "5"),
		`{"jsonrpc":"2.0","id":"ping"}`: event(target.Pong, "", 0, "", "", ""),
		`{"method":"pong"}`:             event(target.Pong, "", 0, "", "", ""),
		`{"method":"disconnect","params":{"reasonCode":401,"reason":"Kicked by another device"}}`:                                                                                       event(target.Other, "", 0, "", "", ""),
		`{"method":"recv","params":{"messageId":"m2","messageSeq":50,"timestamp":1678886400,"channelId":"g","channelType":2,"fromUid":"u","payload":{"content":"messageId","type":1}}}`: event(target.Msg, "g", 50, "m2", "", ""),
		`{"jsonrpc":"2.0","method":"recv","params":{"messageId":"2125888213741473793","messageSeq":2,"clientMsgNo":"k1","streamId":"0","timestamp":1795686221,"channelId":"g1","channelType":2,"fromUid":"u1","payload":"eyJ0eXBlIjoxfQ=="}}`: event(
			target.Msg, "g1", 2, "2125888213741473793", "k1", ""),
	} {
		codectest.Means(t, x, frame, want)
	}
	codectest.Refused(t, x, "", "[]", `{"id":1`, `{"method":"recv"}`, `{"method":"recv","params":[]}`, `{"id":"k","result":1}`, `{"id":"k","error":"x"}`)
}

func TestEncode(t *testing.T) {
	x := newTarget(t, wukongim.Config{})
	type frame struct {
		Jsonrpc, Method, ID string
		Params              struct {
			UID, Token, DeviceID string
			DeviceFlag           int
			ClientMsgNo          string
			ChannelID            string
			ChannelType          int
			Payload              []byte // Base64
			MessageID            string
			MessageSeq           uint64
		}
	}
	read := func(b []byte) (f frame) {
		t.Helper()
		if err := json.Unmarshal(b, &f); err != nil || f.Jsonrpc != "2.0" {
			t.Fatalf("%s: %v", b, err)
		}
		return f
	}
	f, again := read(x.Open(nil, 7)), read(x.Open(nil, 7))
	if f.Method != "connect" || f.ID != "connect" || f.Params.UID != x.User(7) || f.Params.Token == "" || f.Params.DeviceFlag != 1 {
		t.Errorf("%+v", f)
	}
	if f.Params.DeviceID == again.Params.DeviceID {
		t.Error("two connections are one device")
	}
	codectest.Contents(t, x, func(b []byte) string {
		f := read(b)
		var text struct {
			Type    int
			Content string
		}
		if err := json.Unmarshal(f.Params.Payload, &text); err != nil {
			t.Fatalf("%s: %v", f.Params.Payload, err)
		}
		if f.Method != "send" || f.ID != codectest.Key || f.Params.ClientMsgNo != f.ID || f.Params.ChannelID != "r-1" || f.Params.ChannelType != 2 || text.Type != 1 {
			t.Errorf("%+v %+v", f, text)
		}
		return text.Content
	})
	if f := read(x.Ping(nil)); f.Method != "ping" || f.ID != "ping" {
		t.Errorf("%+v", f)
	}
	f = read(x.Answer(nil, &target.Event{Kind: target.Msg, ID: []byte("2125888213741473793"), Seq: 2}))
	if f.Method != "recvack" || f.ID != "" || f.Params.MessageID != "2125888213741473793" || f.Params.MessageSeq != 2 {
		t.Errorf("%+v", f)
	}
	if got := string(x.Answer(nil, &target.Event{Kind: target.Ack})) + string(x.Typing(nil, "c")) + string(x.Resume(nil, make([]target.Position, 1))); got != "" {
		t.Error(got)
	}
}

func TestAllocations(t *testing.T) {
	codectest.Allocations(t, newTarget(t, wukongim.Config{}),
		`{"jsonrpc":"2.0","method":"recv","params":{"messageId":"21","messageSeq":2,"clientMsgNo":"k1","channelId":"g1","channelType":2,"fromUid":"u1","payload":"eyJ0eXBlIjoxfQ=="}}`)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":"k2","result":{"messageId":"1","messageSeq":1,"reasonCode":1}}`))
	f.Add([]byte(`{"method":"recv","params":{"messageId":"m2","payload":{"content":"x"}}}`))
	x := newTarget(f, wukongim.Config{})
	f.Fuzz(func(t *testing.T, b []byte) { _ = x.Parse(b, func(*target.Event) {}) })
}
