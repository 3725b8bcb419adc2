package control_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/zumodra/hub/bench/control"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/system"
	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/hub"
	"github.com/zumodra/hub/bench/worker"
)

const talk = `
name: talk
users: 60
warmup: 1s
duration: 5s
connections: {rate: 500}
conversations:
  - {name: direct, count: 40, members: 2}
  - {name: group, count: 5, members: 12}
load:
  - {op: send, arrival: 100/s, size: {lognormal: 0.7, median: 120, min: 20, max: 2000}}
  - {op: typing, arrival: 20/s}
  - {op: read, arrival: 50/s}
  - {op: react, arrival: 10/s}
  - {op: edit, arrival: 5/s}
  - {op: history, arrival: 20/s}
  - {op: list, arrival: 10/s}
  - {op: reconnect, arrival: 3/s}
thresholds:
  - violations == 0
  - errors == 0
  - resumed.count >= 1
`

func scene(t *testing.T, text string) *scenario.Scenario {
	t.Helper()
	sc, err := scenario.Decode(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

func open(a worker.Access) (target.Target, error) {
	return hub.New(hub.Config{URLs: a.URLs, Secret: a.Secret, Key: a.Key})
}

// Two workers, as goroutines here, load a real hub; everything that they saw is judged together.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the hub and loads it for some seconds")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	sys, err := system.Start(ctx, system.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	access := worker.Access{Kind: "hub", URLs: sys.URLs(), Secret: sys.Secret(), Key: sys.AdminKey()}
	tgt, err := open(access)
	if err != nil {
		t.Fatal(err)
	}
	sc := scene(t, talk)
	var joined sync.WaitGroup
	r, err := control.Run(ctx, control.Config{Scenario: sc, Seed: 7, Target: tgt, Access: access, Workers: 2, Dir: t.TempDir(),
		Joinable: func(url, token string, n int) error {
			for i := range n {
				joined.Go(func() {
					if err := control.Join(ctx, control.JoinConfig{URL: url, Token: token, Name: fmt.Sprint("w", i), SpillDir: t.TempDir(), Open: open}); err != nil {
						t.Error(err)
					}
				})
			}
			return nil
		}})
	joined.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.Check, r.Totals)
	for _, v := range r.Thresholds {
		if !v.OK {
			t.Error(v)
		}
	}
	if !r.Check.OK() || r.Check.Observers != 60 || r.Check.Linear.Decided == 0 || len(r.Workers) != 2 || r.Totals[measure.CountAcked] < 100 {
		t.Errorf("%+v", r)
	}
}

// silent is a target for runs that do not come to that.
type silent struct{ target.Target }

func (silent) Kind() string                                            { return "silent" }
func (silent) Version(context.Context) (string, error)                 { return "", nil }
func (silent) Prepare(context.Context, target.World) ([]string, error) { return []string{"c"}, nil }
func (silent) Head(context.Context, int, string) (uint64, error)       { return 0, target.ErrNotSupported }

const small = "name: x\nusers: 2\nduration: 5s\nconversations: [{name: d, count: 1, members: 2}]\nload: [{op: send, arrival: 1/s}]\n"

// A worker that has another token, speaks another version, or leaves, does not hold the run up for ever.
func TestWorkersThatDoNotFit(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var others sync.WaitGroup
	defer others.Wait()
	_, err := control.Run(ctx, control.Config{Scenario: scene(t, small), Target: silent{}, Workers: 1, Token: "right",
		Joinable: func(url, token string, _ int) error {
			if err := control.Join(ctx, control.JoinConfig{URL: url, Token: "wrong", Open: open}); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("with another token: %v", err)
			}
			others.Go(func() {
				c, resp, err := websocket.Dial(ctx, url+"/join", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = c.CloseNow() }()
				_ = resp
				if err := wsjson.Write(ctx, c, map[string]any{"kind": "hello", "hello": map[string]any{"protocol": 99, "name": "new"}}); err != nil {
					t.Error(err)
				}
				var ce websocket.CloseError
				if _, _, err := c.Read(ctx); !errors.As(err, &ce) || !strings.Contains(ce.Reason, "version") {
					t.Errorf("another version: %v", err)
				}
				c2, _, err := websocket.Dial(ctx, url+"/join", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
				if err != nil {
					t.Error(err)
					return
				}
				_ = wsjson.Write(ctx, c2, map[string]any{"kind": "hello", "hello": map[string]any{"protocol": control.Protocol, "name": "brief"}})
				_ = c2.CloseNow()
			})
			return nil
		}})
	if err == nil || !strings.Contains(err.Error(), "brief") {
		t.Errorf("a worker that left: %v", err)
	}
}

const brief = "name: x\nusers: 2\nduration: 1s\nsettle: 30s\ncheck: {off: true}\nconversations: [{name: d, count: 1, members: 2}]\n" +
	"load: [{op: send, arrival: 1/s}]\n"

// play is a worker that says what it is told to, for each kind of message of the controller.
func play(ctx context.Context, url, token, name string, says map[string]map[string]any) error {
	c, _, err := websocket.Dial(ctx, url+"/join", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 20)
	said := map[string]any{"kind": "hello", "hello": map[string]any{"protocol": control.Protocol, "name": name}}
	for {
		if said != nil {
			if err := wsjson.Write(ctx, c, said); err != nil {
				return err
			}
		}
		var m struct{ Kind string }
		if err := wsjson.Read(ctx, c, &m); err != nil {
			return err
		}
		switch said = says[m.Kind]; m.Kind {
		case "time":
			said = map[string]any{"kind": "time", "at": time.Now().UnixNano()}
		case "finish":
			return wsjson.Write(ctx, c, said)
		}
	}
}

// What workers still wait for when the time to settle is up makes the run red, whatever else it says.
func TestARunThatDoesNotSettle(t *testing.T) {
	for want, left := range map[string][]map[string]any{
		"": {{}, {}},
		"3 sends unanswered, 7 messages not seen after 30s": {{"sends": 1, "messages": 7}, {"sends": 2}},
		"messages still arriving after 30s":                 {{}, {"arriving": true}},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var workers sync.WaitGroup
			defer workers.Wait()
			r, err := control.Run(ctx, control.Config{Scenario: scene(t, brief), Target: silent{}, Workers: len(left),
				Joinable: func(url, token string, _ int) error {
					for i, u := range left {
						workers.Go(func() {
							counts := map[string]int64{measure.CountAcked: 1}
							if err := play(ctx, url, token, fmt.Sprint("w", i), map[string]map[string]any{
								"connect": {"kind": "connected"},
								"start":   {"kind": "interval", "interval": map[string]any{"at": 0, "counts": counts}},
								"settle":  {"kind": "settled", "unsettled": u},
								"finish":  {"kind": "done", "report": map[string]any{"connections": 1}},
							}); err != nil {
								t.Error(err)
							}
						})
					}
					return nil
				}})
			if err != nil {
				t.Fatal(err)
			}
			if r.Unsettled != want || r.OK() != (want == "") {
				t.Errorf("unsettled %q, ok %v, invalid %q; want %q", r.Unsettled, r.OK(), r.Invalid, want)
			}
		})
	}
}

func TestNobodyComes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := control.Run(ctx, control.Config{Scenario: scene(t, small), Target: silent{}, Workers: 3,
		Joinable: func(string, string, int) error { cancel(); return nil }})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "0 of 3") {
		t.Error(err)
	}
	if _, err := control.Run(t.Context(), control.Config{Scenario: scene(t, small), Target: silent{}, Workers: 5000}); err == nil {
		t.Error("5,000 workers are allowed")
	}
}
