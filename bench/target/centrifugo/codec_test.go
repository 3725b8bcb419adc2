package centrifugo_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/centrifugo"
	"github.com/zumodra/hub/bench/target/codectest"
)

func newTarget(t testing.TB, cfg centrifugo.Config) *centrifugo.Target {
	t.Helper()
	if cfg.URLs == nil {
		cfg.URLs = []string{"http://127.0.0.1:1", "http://127.0.0.2:1"}
	}
	x, err := centrifugo.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func event(kind target.EventKind, conversation string, seq uint64, id, key, code string) codectest.Event {
	return codectest.Event{Kind: kind, Conversation: conversation, Seq: seq, ID: id, Key: key, Code: code}
}

// The frames are what a server (v6.9.1) sent.
func TestParse(t *testing.T) {
	x := newTarget(t, centrifugo.Config{})
	x.Resume(nil, []target.Position{{Conversation: "r.1"}, {Conversation: "r.2", Seq: 1}}) // 2 and 3
	sent := string(x.Send(nil, target.Message{Conversation: "r.3", Key: "k3", Size: 5}))
	var command struct {
		ID uint32 `json:"id"`
	}
	if err := json.Unmarshal([]byte(sent), &command); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		frame string
		want  []codectest.Event
	}{
		{`{}`, []codectest.Event{event(target.Pinged, "", 0, "", "", "")}},
		{`{"id":1,"connect":{"client":"1d217f19","version":"0.0.0 OSS","expires":true,"ttl":31536000,"ping":25,"pong":true}}`,
			[]codectest.Event{event(target.Ready, "", 0, "", "", "")}},
		{`{"id":2,"subscribe":{"recoverable":true,"epoch":"VMgm","recovered":true,"positioned":true,"was_recovering":true}}` + "\n" +
			`{"id":3,"subscribe":{"recoverable":true,"epoch":"vwWR","publications":[{"data":"k2 hello","info":{"user":"1","client":"d7db"},"offset":2},{"data":"k4 x","offset":3}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true}}` + "\n",
			[]codectest.Event{event(target.Resumed, "r.1", 0, "", "", ""), event(target.Msg, "r.2", 2, "k2", "k2", ""),
				event(target.Msg, "r.2", 3, "k4", "k4", ""), event(target.Resumed, "r.2", 1, "", "", "")}},
		{`{"id":2,"subscribe":{"recoverable":true,"epoch":"tOAj","offset":9,"positioned":true,"was_recovering":true}}`,
			[]codectest.Event{event(target.Gap, "r.1", 9, "", "", "")}},
		{`{"id":2,"subscribe":{}}`, []codectest.Event{event(target.Resumed, "r.1", 0, "", "", "")}}, // a namespace without history
		{`{"id":2,"error":{"code":105,"message":"already subscribed"}}`, []codectest.Event{event(target.Resumed, "r.1", 0, "", "", "")}},
		{`{"id":3,"error":{"code":106,"message":"limit exceeded"}}`, []codectest.Event{event(target.Refused, "r.2", 0, "", "", "106")}},
		{`{"id":1,"error":{"code":109,"message":"token expired"}}`, []codectest.Event{event(target.Refused, "", 0, "", "", "109")}},
		{`{"push":{"channel":"r.1","pub":{"data":"k1 hello","info":{"user":"1","client":"1d21"},"offset":1,"epoch":"VMgm"}}}` + "\n" +
			fmt.Sprintf(`{"id":%d,"publish":{}}`, command.ID), []codectest.Event{event(target.Msg, "r.1", 1, "k1", "k1", "")}},
		{fmt.Sprintf(`{"id":%d,"error":{"code":103,"message":"permission denied"}}`, command.ID), []codectest.Event{event(target.Refused, "", 0, "", "k3", "103")}},
		{fmt.Sprintf(`{"id":%d,"error":{"code":100,"message":"internal server error"}}`, command.ID), []codectest.Event{event(target.Refused, "", 0, "", "k3", "internal")}},
		{fmt.Sprintf(`{"id":%d,"error":{"code":103}}`, command.ID+1), []codectest.Event{event(target.Refused, "", 0, "", "", "103")}}, // of a send that is not known
		{`{"push":{"channel":"r.1","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`, []codectest.Event{event(target.Head, "r.1", math.MaxUint64, "", "", "")}},
		{`{"push":{"channel":"r.1","unsubscribe":{"code":2000}}}`, []codectest.Event{event(target.Refused, "r.1", 0, "", "", "2000")}},
		{`{"push":{"channel":"r.1","join":{"info":{"user":"1"}}}}`, nil},
	} {
		codectest.Means(t, x, c.frame, c.want...)
	}
	codectest.Refused(t, x, "x", "[]", `{"id":1`, `{"push":1}`, `{"push":{"pub":"x"}}`, `{"id":77,"subscribe":{}}`, `{"id":2,"subscribe":{"publications":[`,
		`{"id":2,"subscribe":{"publications":[1]}}`, "{}\n{")
}

func TestEncode(t *testing.T) {
	x := newTarget(t, centrifugo.Config{})
	if got := string(x.Open(nil, 7)); got != `{"id":1,"connect":{}}` {
		t.Error(got)
	}
	const want = `{"id":2,"subscribe":{"channel":"r.1","recover":true}}` + "\n" + `{"id":3,"subscribe":{"channel":"r.2","recover":true,"offset":5}}`
	at := []target.Position{{Conversation: "r.1"}, {Conversation: "r.2", Seq: 5}}
	if got := string(x.Resume([]byte{}, at)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	// The stream that a channel is goes with the position.
	codectest.Means(t, x, `{"id":3,"subscribe":{"recoverable":true,"recovered":true,"epoch":"abc"}}`, event(target.Resumed, "r.2", 0, "", "", ""))
	if got := string(x.Resume(nil, at[1:])); got != `{"id":3,"subscribe":{"channel":"r.2","recover":true,"offset":5,"epoch":"abc"}}` {
		t.Error(got)
	}
	ids := map[uint32]bool{}
	codectest.Contents(t, x, func(b []byte) string {
		var c struct {
			ID      uint32
			Publish struct{ Channel, Data string }
		}
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		if c.Publish.Channel != "r-1" || ids[c.ID] {
			t.Errorf("%s", b)
		}
		ids[c.ID] = true
		return c.Publish.Data
	})
	if got := string(x.Answer(nil, &target.Event{Kind: target.Pinged})); got != `{}` {
		t.Error(got)
	}
	if got := string(x.Answer(nil, &target.Event{Kind: target.Msg})) + string(x.Ping(nil)) + string(x.Typing(nil, "c")) + string(x.Read(nil, "c", 1)); got != "" {
		t.Error(got)
	}
}

func TestAllocations(t *testing.T) {
	codectest.Allocations(t, newTarget(t, centrifugo.Config{}), `{"push":{"channel":"r.1","pub":{"data":"k1 hello","info":{"user":"1","client":"1d21"},"offset":1}}}`)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"id":2,"subscribe":{"publications":[{"data":"k2 hello","offset":2}],"recovered":true,"offset":1}}`))
	f.Add([]byte("{}\n{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":{\"a\":1}}}}"))
	x := newTarget(f, centrifugo.Config{})
	x.Resume(nil, []target.Position{{Conversation: "r.1"}})
	f.Fuzz(func(t *testing.T, b []byte) { _ = x.Parse(b, func(*target.Event) {}) })
}
