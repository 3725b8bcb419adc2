package centrifugo_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/centrifugo"
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

func parse(x target.Codec, frame string) (list []string, err error) {
	err = x.Parse([]byte(frame), func(e *target.Event) {
		list = append(list, fmt.Sprintf("%d %s %d %s %s %s", e.Kind, e.Conversation, e.Seq, e.ID, e.Key, e.Code))
	})
	return list, err
}

func event(kind target.EventKind, conversation string, seq uint64, id, key, code string) string {
	return fmt.Sprintf("%d %s %d %s %s %s", kind, conversation, seq, id, key, code)
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
		want  []string
	}{
		{`{}`, []string{event(target.Pinged, "", 0, "", "", "")}},
		{`{"id":1,"connect":{"client":"1d217f19","version":"0.0.0 OSS","expires":true,"ttl":31536000,"ping":25,"pong":true}}`,
			[]string{event(target.Ready, "", 0, "", "", "")}},
		{`{"id":2,"subscribe":{"recoverable":true,"epoch":"VMgm","recovered":true,"positioned":true,"was_recovering":true}}` + "\n" +
			`{"id":3,"subscribe":{"recoverable":true,"epoch":"vwWR","publications":[{"data":"k2 hello","info":{"user":"1","client":"d7db"},"offset":2},{"data":"k4 x","offset":3}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true}}` + "\n",
			[]string{event(target.Resumed, "r.1", 0, "", "", ""), event(target.Msg, "r.2", 2, "k2", "k2", ""),
				event(target.Msg, "r.2", 3, "k4", "k4", ""), event(target.Resumed, "r.2", 1, "", "", "")}},
		{`{"id":2,"subscribe":{"recoverable":true,"epoch":"tOAj","offset":9,"positioned":true,"was_recovering":true}}`,
			[]string{event(target.Gap, "r.1", 9, "", "", "")}},
		{`{"id":2,"subscribe":{}}`, []string{event(target.Resumed, "r.1", 0, "", "", "")}}, // a namespace without history
		{`{"id":2,"error":{"code":105,"message":"already subscribed"}}`, []string{event(target.Resumed, "r.1", 0, "", "", "")}},
		{`{"id":3,"error":{"code":106,"message":"limit exceeded"}}`, []string{event(target.Refused, "r.2", 0, "", "", "106")}},
		{`{"id":1,"error":{"code":109,"message":"token expired"}}`, []string{event(target.Refused, "", 0, "", "", "109")}},
		{`{"push":{"channel":"r.1","pub":{"data":"k1 hello","info":{"user":"1","client":"1d21"},"offset":1,"epoch":"VMgm"}}}` + "\n" +
			fmt.Sprintf(`{"id":%d,"publish":{}}`, command.ID), []string{event(target.Msg, "r.1", 1, "k1", "k1", "")}},
		{fmt.Sprintf(`{"id":%d,"error":{"code":103,"message":"permission denied"}}`, command.ID), []string{event(target.Refused, "", 0, "", "k3", "103")}},
		{fmt.Sprintf(`{"id":%d,"error":{"code":100,"message":"internal server error"}}`, command.ID), []string{event(target.Refused, "", 0, "", "k3", "internal")}},
		{fmt.Sprintf(`{"id":%d,"error":{"code":103}}`, command.ID+1), []string{event(target.Refused, "", 0, "", "", "103")}}, // of a send that is not known
		{`{"push":{"channel":"r.1","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`, []string{event(target.Head, "r.1", math.MaxUint64, "", "", "")}},
		{`{"push":{"channel":"r.1","unsubscribe":{"code":2000}}}`, []string{event(target.Refused, "r.1", 0, "", "", "2000")}},
		{`{"push":{"channel":"r.1","join":{"info":{"user":"1"}}}}`, nil},
	} {
		got, err := parse(x, c.frame)
		if err != nil || strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s:\n got %q, %v\nwant %q", c.frame, got, err, c.want)
		}
	}
	for _, bad := range []string{"x", "[]", `{"id":1`, `{"push":1}`, `{"push":{"pub":"x"}}`, `{"id":77,"subscribe":{}}`, `{"id":2,"subscribe":{"publications":[`, `{"id":2,"subscribe":{"publications":[1]}}`, "{}\n{"} {
		if _, err := parse(x, bad); err == nil {
			t.Errorf("%s is a frame", bad)
		}
	}
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
	if _, err := parse(x, `{"id":3,"subscribe":{"recoverable":true,"recovered":true,"epoch":"abc"}}`); err != nil {
		t.Fatal(err)
	}
	if got := string(x.Resume(nil, at[1:])); got != `{"id":3,"subscribe":{"channel":"r.2","recover":true,"offset":5,"epoch":"abc"}}` {
		t.Error(got)
	}
	ids := map[uint32]bool{}
	for _, size := range []int{1, 20, 1000} {
		var c struct {
			ID      uint32 `json:"id"`
			Publish struct{ Channel, Data string }
		}
		b := x.Send([]byte{}, target.Message{Conversation: "r.2", Key: "run.0.1.zz", Size: size})
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		key, _, _ := strings.Cut(c.Publish.Data, " ")
		if n := len(c.Publish.Data); c.Publish.Channel != "r.2" || key != "run.0.1.zz" || n > max(size, len(key)) || n < size-1 || ids[c.ID] {
			t.Errorf("%s", b)
		}
		ids[c.ID] = true
	}
	if got := string(x.Answer(nil, &target.Event{Kind: target.Pinged})); got != `{}` {
		t.Error(got)
	}
	if got := string(x.Answer(nil, &target.Event{Kind: target.Msg})) + string(x.Ping(nil)) + string(x.Typing(nil, "c")) + string(x.Read(nil, "c", 1)); got != "" {
		t.Error(got)
	}
}

func TestAllocations(t *testing.T) {
	x := newTarget(t, centrifugo.Config{})
	frame := []byte(`{"push":{"channel":"r.1","pub":{"data":"k1 hello","info":{"user":"1","client":"1d21"},"offset":1}}}`)
	emit := func(*target.Event) {}
	if n := testing.AllocsPerRun(100, func() { _ = x.Parse(frame, emit) }); n > 1 { // the event
		t.Errorf("parse: %v", n)
	}
	buf := make([]byte, 0, 4096)
	m := target.Message{Conversation: "c", Key: "k", Size: 500}
	if n := testing.AllocsPerRun(100, func() { buf = x.Send(buf[:0], m) }); n > 0 {
		t.Errorf("send: %v", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"id":2,"subscribe":{"publications":[{"data":"k2 hello","offset":2}],"recovered":true,"offset":1}}`))
	f.Add([]byte("{}\n{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":{\"a\":1}}}}"))
	x := newTarget(f, centrifugo.Config{})
	x.Resume(nil, []target.Position{{Conversation: "r.1"}})
	f.Fuzz(func(t *testing.T, b []byte) { _ = x.Parse(b, func(*target.Event) {}) })
}
