package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
)

func call(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(&streams{t.Context(), &o, &e}, args)
	return code, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("name: x\nduration: 5s\nusers: 5\nload:\n  - {op: shout, arrival: 5/s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string // in either stream
	}{
		"help":                    {[]string{"--help"}, 0, "capacity"},
		"no command":              {nil, exitUsage, "expected one of"},
		"version":                 {[]string{"version"}, 0, "dev"},
		"list":                    {[]string{"scenario", "list"}, 0, "reconnect-storm"},
		"explain":                 {[]string{"scenario", "explain", "dm-mix", "--set", "users=5000"}, 0, "5,000 users"},
		"check":                   {[]string{"scenario", "check", "smoke"}, 0, "well-formed"},
		"show":                    {[]string{"scenario", "show", "smoke", "-s", "load[0].arrival=7/s"}, 0, "7/s"},
		"scaled":                  {[]string{"scenario", "show", "smoke", "--scale", "0.5"}, 0, "15/s"},
		"scaled to nothing":       {[]string{"scenario", "show", "smoke", "--scale", "0"}, exitNone, "more than 0"},
		"schema":                  {[]string{"scenario", "schema"}, 0, "$schema"},
		"an unknown scenario":     {[]string{"run", "nothing"}, exitNone, "there is no scenario"},
		"an unknown operation":    {[]string{"scenario", "check", bad}, exitNone, "line 5"},
		"a bad override":          {[]string{"run", "smoke", "--set", "users=many"}, exitNone, "users"},
		"an unknown peer":         {[]string{"run", "smoke", "--peer", "irc=http://x"}, exitNone, "is not known"},
		"a peer without address":  {[]string{"run", "smoke", "--peer", "centrifugo"}, exitNone, "give the address"},
		"chaos behind an address": {[]string{"run", "reconnect-storm", "--url", "http://127.0.0.1:1"}, exitNone, "chaos"},
		"no secret":               {[]string{"run", "smoke", "-q", "--url", "http://127.0.0.1:1"}, exitNone, "secret"},
		"a worker without token":  {[]string{"worker", "--join", "http://127.0.0.1:1"}, exitNone, tokenEnv},
		"no run to compare":       {[]string{"compare", "/nowhere", "/nowhere"}, exitNone, "no such file"},
		"no thresholds":           {[]string{"capacity", "centrifugo-shape", "--set", "thresholds=[]"}, exitNone, "no thresholds"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			code, out, errs := call(t, c.args...)
			if code != c.code || !strings.Contains(out+errs, c.want) {
				t.Errorf("exit %d, want %d, with %q in\n%s%s", code, c.code, c.want, out, errs)
			}
		})
	}
}

func TestDoctor(t *testing.T) {
	if code, out, errs := call(t, "doctor"); code != 0 || out == "" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

// Runs on disk are compared, and reported anew, by what they are; what differs is not compared unless it is wanted.
func TestResults(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, change func(*measure.Run)) string {
		at := filepath.Join(dir, name)
		r := &measure.Run{Schema: measure.Schema, ID: name, Scenario: measure.Scenario{Name: "talk", Hash: "h"}, Started: time.Unix(1e9, 0), Ended: time.Unix(1e9+10, 0),
			Check: &check.Report{Sends: 10, Acked: 10, Stored: 10}, Totals: map[string]int64{measure.CountAcked: 10}}
		change(r)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := measure.Write(at, r); err != nil {
			t.Fatal(err)
		}
		return at
	}
	good := put("good", func(*measure.Run) {})
	lossy := put("lossy", func(r *measure.Run) { r.Check.Counts = map[check.Kind]int{check.Lost: 1} })
	restless := put("restless", func(r *measure.Run) { r.Unsettled = "1 sends unanswered after 10s" })
	other := put("other", func(r *measure.Run) { r.Scenario.Hash = "another" })
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"same":            {[]string{"compare", good, good}, 0},
		"violations":      {[]string{"compare", good, lossy}, 1},
		"did not settle":  {[]string{"compare", good, restless}, 1},
		"nor did base":    {[]string{"compare", restless, good}, 0},
		"other":           {[]string{"compare", good, other}, 2},
		"other by force":  {[]string{"compare", good, other, "--force"}, 0},
		"a file by name":  {[]string{"compare", filepath.Join(good, "run.json"), good}, 0},
		"a whole set":     {[]string{"compare", dir, good, "--force"}, 0},
		"the report anew": {[]string{"report", lossy}, 0},
	} {
		if code, out, errs := call(t, c.args...); code != c.code {
			t.Errorf("%s: exit %d, want %d\n%s%s", name, code, c.code, out, errs)
		}
	}
	page, err := os.ReadFile(filepath.Join(lossy, "report.html"))
	if err != nil || !bytes.Contains(page, []byte("lost")) {
		t.Errorf("the page does not tell: %v", err)
	}
	for text, r := range map[string]*measure.Run{
		"green": {}, "invalid": {Invalid: []string{"late"}}, "red": {Check: &check.Report{Acked: 1, Counts: map[check.Kind]int{check.Lost: 1}}, Invalid: []string{"late"}},
		"missed": {Thresholds: []measure.Verdict{{OK: false}}}, "unsettled": {Unsettled: "1 sends unanswered after 10s", Invalid: []string{"late"}},
	} {
		want := map[string][2]int{"green": {0, 0}, "invalid": {exitNone, 0}, "red": {exitRed, exitRed}, "missed": {exitRed, exitRed}, "unsettled": {exitRed, exitRed}}[text]
		if got := [2]int{exitOf(r, false), exitOf(r, true)}; got != want {
			t.Errorf("%s: exits %v, want %v", text, got, want)
		}
	}
}

// One command runs the load against a hub that it starts, and the bare loop beside it, with workers that are processes of their own.
// TestMain makes this test's binary the command.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the hub and loads it for some seconds")
	}
	dir := t.TempDir()
	code, out, errs := call(t, "run", "smoke", "--quiet", "--allow-invalid", "--workers", "2", "--out", dir, "--peer", "limit",
		"--set", "duration=5s", "--set", "thresholds=[violations == 0, errors == 0, acked.count >= 1]")
	if code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	for _, f := range []string{"run.json", "intervals.csv", "report.html", "latency.hlog", "peer-limit/run.json"} {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
	r, err := measure.Read(filepath.Join(dir, "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Check == nil || !r.Check.OK() || len(r.Workers) != 2 || r.Totals[measure.CountDelivered] == 0 || r.Memory == nil || len(r.Processes) == 0 ||
		r.Latency[measure.NameAck] == nil || len(r.Intervals) < 5 {
		b, _ := json.MarshalIndent(r, "", " ")
		t.Errorf("something is missing in\n%.3000s", b)
	}
	if !strings.Contains(out, "limit") {
		t.Errorf("the peer is not in\n%s", out)
	}
}
