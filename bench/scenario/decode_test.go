package scenario_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/arrival"
	"github.com/zumodra/hub/bench/scenario"
)

const small = `name: small
duration: 10s
users: 100
conversations:
  - {name: direct, count: 20, members: 2}
  - {name: groups, count: 5, members: {zipf: 1.2, min: 3, max: 20}}
load:
  - {op: send, arrival: 20/s}
  - op: history
    arrival: {kind: ramp, rate: 1, to: 5}
    of: groups
thresholds: [ack.p99 <= 50ms]
`

func decode(t *testing.T, text string, set ...string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Decode(strings.NewReader(text), set...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDefaults(t *testing.T) {
	s := decode(t, small)
	if s.Connections.PerUser != 1 || s.Connections.Online != 1 || s.Connections.Rate != 2000 || s.Settle != scenario.Duration(10*time.Second) ||
		s.Load[0].Size != (scenario.Size{Fixed: 100}) || s.Check.Sample != 8 || s.Check.Observers != 1 || s.System.Store != "embedded" || s.System.Nodes != 1 {
		t.Errorf("defaults: %+v", s)
	}
	if s.Load[1].Size != (scenario.Size{}) {
		t.Errorf("a read has a size: %+v", s.Load[1])
	}
	if err := s.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
}

func TestErrorsSayWhereAndWhatIsAllowed(t *testing.T) {
	for _, test := range []struct {
		name, old, new string
		want           []string
	}{
		{"unknown field", "users: 100", "usres: 100", []string{"line 3: usres: unknown", "users, connections"}},
		{"unknown field below", "of: groups", "off: groups", []string{"line 11: load[1].off: unknown", "skew"}},
		{"twice", "users: 100", "users: 100\nusers: 5", []string{"line 4: users: is there twice"}},
		{"no number", "users: 100", "users: many", []string{`line 3: users: "many" is no whole number`}},
		{"fraction", "users: 100", "users: 1.5", []string{"line 3", "whole number"}},
		{"no duration", "duration: 10s", "duration: 10", []string{"line 2: duration", "10s or 8h"}},
		{"a map for a number", "users: 100", "users: {a: 1}", []string{"line 3: users: want a single value"}},
		{"a value for a list", "thresholds: [ack.p99 <= 50ms]", "thresholds: 5", []string{"line 12: thresholds: want a list"}},
		{"a list for a map", "{name: direct, count: 20, members: 2}", "[1]", []string{"line 5: conversations[0]: want a map of name, count, members"}},
		{"rate", "arrival: 20/s", "arrival: 20", []string{"line 8: load[0].arrival", "200/s"}},
		{"field of an arrival", "to: 5", "too: 5", []string{"line 10: load[1].arrival.too: unknown", "rate, to, steps"}},
		{"kind of an arrival", "kind: ramp", "kind: rampe", []string{"line 10: load[1].arrival", "constant poisson"}},
		{"size", "members: 2}", "members: two}", []string{"line 5: conversations[0].members", "{zipf: 1.2, min: 3, max: 50}"}},
		{"operation", "op: send", "op: sent", []string{"line 8: load[0].op", "send, typing, read"}},
		{"reference", "of: groups", "of: group", []string{"line 11: load[1].of", "direct, groups"}},
		{"threshold", "ack.p99 <= 50ms", "ack.p98 <= 50ms", []string{"line 12: thresholds[0]", "p50, p90, p99"}},
		{"pairs", "count: 20", "count: 20000", []string{"line 5: conversations[0].count", "4950 pairs"}},
		{"pairs of few", "users: 100", "users: 4", []string{"line 5: conversations[0].count", "6 pairs"}},
		{"pairs of both", "{name: groups, count: 5, members: {zipf: 1.2, min: 3, max: 20}}", "{name: groups, count: 4940, members: 2}", []string{"line 6: conversations[1].count", "4950 pairs"}},
		{"node 0", "users: 100", "users: 100\nchaos: [{at: 1s, do: kill, node: 0}]", []string{"chaos[0].node"}},
		{"too many members", "users: 100\nconversations:", "users: 10_000\nconversations:\n  - {name: big, count: 6000, members: 10000}", []string{"line 5: conversations: 60000", "at most 50000000"}},
		{"size of a set", "max: 20", "max: 200", []string{"line 6: conversations[1].members", "<= 100"}},
		{"name twice", "name: groups", "name: direct", []string{"line 6: conversations[1].name"}},
		{"short", "duration: 10s", "duration: 100ms", []string{"line 2: duration"}},
		{"several", "users: 100", "users: 0", []string{"line 3: users: is 0", "line 5: conversations[0]"}},
		{"embedded cluster", "users: 100", "users: 100\nsystem: {nodes: 3}", []string{"line 4: system.nodes", "store: cassandra"}},
		{"store", "users: 100", "users: 100\nsystem: {store: mongo}", []string{"system.store", "embedded, cassandra"}},
		{"action", "users: 100", "users: 100\nchaos: [{at: 1s, do: explode, node: 1}]", []string{"line 4: chaos[0].do", "kill, stop, drain"}},
		{"late action", "users: 100", "users: 100\nchaos: [{at: 1m, do: kill, node: 1}]", []string{"line 4: chaos[0].at"}},
		{"node", "users: 100", "users: 100\nchaos: [{at: 1s, do: kill, node: first}]", []string{"chaos[0].node", "edge1"}},
		{"partition", "users: 100", "users: 100\nchaos: [{at: 1s, do: partition, node: 1, with: 2}]", []string{"system.isolated"}},
		{"clock", "users: 100", "users: 100\nchaos: [{at: 1s, do: clock, node: 1, value: late}]", []string{"chaos[0].value", "+60s"}},
		{"for", "users: 100", "users: 100\nchaos: [{at: 1s, do: restart, node: 1, for: 5s}]", []string{"chaos[0].for: has no meaning"}},
		{"slow", "users: 100", "users: 100\nconnections: {slow: 2}", []string{"connections.slow: is 2: want 0 to 1"}},
		{"storm", "op: send, ", "op: send, storm: 0.5, ", []string{"load[0].storm", "op: reconnect"}},
		{"two documents", "name: small", "name: a\n---\nname: small", []string{"not several"}},
		{"no YAML", "name: small", "name: [", []string{"line"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(small, test.old, test.new, 1)
			if text == small {
				t.Fatal("the test changes nothing")
			}
			_, err := scenario.Decode(strings.NewReader(text))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error\n%v\nhas not %q", err, want)
				}
			}
		})
	}
}

func TestSchemaRefusesWhatDecodeRefuses(t *testing.T) {
	schema := schema(t)
	if err := schema.Validate(written(t, small)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"users: 100", "usres: 100"}, {"users: 100", "users: many"}, {"op: send", "op: sent"}, {"of: groups", "off: 1"}, {"to: 5", "too: 5"},
		{"kind: ramp", "kind: rampe"}, {"20/s", "20/d"}, {"duration: 10s", "duration: 10"}, {"zipf: 1.2", "zopf: 1.2"}, {"<=", "=<"},
		{"users: 100", "users: 100\nsystem: {store: mongo}"}, {"users: 100", "users: 100\ncheck: {on: true}"},
	} {
		text := strings.Replace(small, change[0], change[1], 1)
		if schema.Validate(written(t, text)) == nil {
			t.Errorf("the schema accepts %q", change[1])
		}
		if _, err := scenario.Decode(strings.NewReader(text)); err == nil {
			t.Errorf("Decode accepts %q", change[1])
		}
	}
}

func TestOverrides(t *testing.T) {
	s := decode(t, small, "users=2000", "load[0].arrival=50/s", "connections.rate=100", "load[1].arrival.to=9", "conversations[1].members=7",
		"chaos[0]={at: 5s, do: kill, node: 1}", "chaos[0].for=2s", "thresholds=[]", "load[2].op=list", "load[2].arrival=1/s", "check.off=true")
	if s.Users != 2000 || s.Load[0].Arrival != (arrival.Spec{Rate: 50}) || s.Connections.Rate != 100 || s.Load[1].Arrival.To != 9 ||
		s.Conversations[1].Members.Fixed != 7 || s.Chaos[0].For != scenario.Duration(2*time.Second) || len(s.Thresholds) != 0 ||
		len(s.Load) != 3 || s.Load[2].Op != scenario.List || !s.Check.Off {
		t.Errorf("%+v", s)
	}
	again, err := s.With("users=100", "duration=20s")
	if err != nil || again.Users != 100 || again.Seconds() != 20 || s.Users != 2000 {
		t.Errorf("With: %+v, %v", again, err)
	}
	if again.Hash() == s.Hash() {
		t.Error("other scenarios have the same hash")
	}
	for set, want := range map[string]string{
		"users":              "path=value",
		"user=5":             "user: unknown",
		"load[7].op=send":    "2 elements",
		"load.op=send":       "no map",
		"users[0]=1":         "no list",
		"load[x].op=send":    "no path",
		"load[0]x=1":         "no path",
		".users=1":           "no path",
		"users=many":         "whole number",
		"load[0].arrival=[":  "the value",
		"load[0].of=nowhere": "want a set of conversations",
	} {
		_, err := scenario.Decode(strings.NewReader(small), set)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", set, err, want)
		}
	}
	var e *scenario.Error
	if _, err := scenario.Decode(strings.NewReader(small), "users=many"); !errors.As(err, &e) || e.Line != 0 || e.Path != "users" {
		t.Errorf("an override has no line: %+v", e)
	}
}

func TestOpen(t *testing.T) {
	if _, err := scenario.Open("dm-mixx"); err == nil || !strings.Contains(err.Error(), "one of centrifugo-shape, ") {
		t.Errorf("error %v", err)
	}
	if _, err := scenario.Open(t.TempDir() + "/x.yaml"); err == nil {
		t.Error("a missing file is no error")
	}
	s, err := scenario.Open("smoke", "users=300")
	if err != nil || s.Users != 300 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestDecodeIsBounded(t *testing.T) {
	if _, err := scenario.Decode(strings.NewReader(small + strings.Repeat("# long\n", 200_000))); err == nil {
		t.Error("a scenario of more than a MiB is no error")
	}
	if _, err := scenario.Decode(strings.NewReader("")); err == nil {
		t.Error("an empty scenario is no error")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(small, "users=5")
	f.Add("a: &a [*a]", "load[0].arrival={kind: sine}")
	f.Add("users: &u 5\nduration: *u\nload: [{<<: {op: send}}]", "users[1]=")
	f.Fuzz(func(t *testing.T, text, set string) {
		s, err := scenario.Decode(strings.NewReader(text), set)
		if err != nil {
			return
		}
		again, err := scenario.Decode(strings.NewReader(s.Text()))
		if err != nil || again.Text() != s.Text() {
			t.Fatalf("not the same when read again: %v\n%s", err, s.Text())
		}
	})
}
