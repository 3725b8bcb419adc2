package live_test

import (
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/zumodra/hub/bench/live"
	"github.com/zumodra/hub/bench/measure"
)

// screen is a terminal that knows the few things that the view uses, and fails the test on others.
type screen struct {
	t     *testing.T
	lines []string
	row   int
}

var escapes = regexp.MustCompile(`^\x1b\[(\d*)([A-Za-z])`)

func (s *screen) Write(p []byte) (int, error) {
	for rest := string(p); rest != ""; {
		for s.row >= len(s.lines) {
			s.lines = append(s.lines, "")
		}
		if m := escapes.FindStringSubmatch(rest); m != nil {
			n, _ := strconv.Atoi(m[1])
			switch m[2] {
			case "A":
				if s.row -= n; s.row < 0 {
					s.t.Fatal("above the top")
				}
			case "J":
				s.lines = s.lines[:s.row]
			case "K": // the line was overwritten from its beginning
			default:
				s.t.Fatalf("unknown %q", m[0])
			}
			rest = rest[len(m[0]):]
			continue
		}
		switch rest[0] {
		case '\n':
			s.row++
			rest = rest[1:]
		case '\r':
			rest = rest[1:]
		default:
			end := strings.IndexAny(rest, "\n\r\x1b")
			if end < 0 {
				end = len(rest)
			}
			s.lines[s.row] = rest[:end]
			rest = rest[end:]
		}
	}
	return len(p), nil
}

func interval(at int) measure.Interval {
	return measure.Interval{
		At: at, Connected: 14980,
		Counts: map[string]int64{measure.CountIntended: 1000, measure.CountSent: 1000, measure.CountAcked: int64(900 + at), measure.CountDelivered: 9200},
		Latency: map[string]map[string]int64{
			measure.NameAck: {"p50": 4e6, "p90": 5e6, "p99": int64(at+1) * 1e6, "p999": 30e6, "max": 45e6},
		},
	}
}

func fixed(width, height int) func() (int, int, bool) {
	return func() (int, int, bool) { return width, height, true }
}

func TestViewIsRedrawn(t *testing.T) {
	s := &screen{t: t}
	v := live.New(live.Config{Out: s, Name: "dm-mix", Warmup: 10 * time.Second, Duration: 90 * time.Second, Size: fixed(120, 50)})
	v.Print("cluster is up")
	v.Phase("opening connections")
	v.Connecting(14980, 15000, 20)
	if got := strings.Join(s.lines, "|"); got != "cluster is up|dm-mix  opening connections|connections  14980 of 15000 ready, 20 failed" {
		t.Errorf("before the load: %s", got)
	}
	v.Phase("load")
	for at := range 40 {
		v.Interval(interval(at), 0)
	}
	one := len(s.lines)
	v.Mark(measure.Mark{At: 20, Text: "stop node 1"})
	v.Mark(measure.Mark{At: 24.2, Text: "kill node 2", Err: "no such node"})
	v.Interval(interval(40), 3)
	v.Print("node 2 has gone")
	if len(s.lines) != one+1 || one > 14 {
		t.Errorf("%d lines, then %d:\n%s", one, len(s.lines), strings.Join(s.lines, "\n"))
	}
	for i, want := range []string{
		"cluster is up", "node 2 has gone", "dm-mix  load  40s of 1m30s  ████████████░░░░░░░░░░░░  51 %", "connections  14980 of 15000",
		"sends /s     intended 1000  sent 1000  acked 940  refused 0", "arrivals /s  delivered 9200", "sessions ",
		"ack          50 % 4.00 ms  99 % 41.0 ms  max 45.0 ms", "delivery     –", "lateness     –",
		"chaos        2: at 24.2 s: kill node 2: no such node", "violations   ✗ 3",
	} {
		if !strings.HasPrefix(s.lines[i], want) {
			t.Errorf("line %d is %q, want %q", i, s.lines[i], want)
		}
	}
	if l := s.lines[7]; !strings.HasSuffix(l, "█") || !strings.Contains(l, "▁▂") {
		t.Errorf("no rising curve in %q", l)
	}
	// The end: what stands there stays, and what comes later is below it.
	v.Close()
	v.Close()
	v.Interval(interval(41), 4)
	v.Phase("over")
	v.Print("report: x")
	if got := s.lines[one+1:]; len(got) != 1 || got[0] != "report: x" || !strings.Contains(s.lines[2], "40s of") {
		t.Errorf("after the end: %q", s.lines)
	}
}

func TestViewFitsTheTerminal(t *testing.T) {
	s := &screen{t: t}
	v := live.New(live.Config{Out: s, Name: strings.Repeat("long", 50), Duration: time.Minute, Size: fixed(40, 6)})
	for at := range 100 {
		v.Phase(strings.Repeat("long ", 50))
		v.Interval(interval(at), 0)
	}
	if len(s.lines) != 5 {
		t.Errorf("%d lines in a terminal of 6", len(s.lines))
	}
	for _, l := range s.lines {
		if utf8.RuneCountInString(l) > 39 {
			t.Errorf("%q is wider than the terminal", l)
		}
	}
}

func TestOneLineASecondWithoutATerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := live.New(live.Config{Out: f, Name: "dm-mix", Duration: time.Minute})
	v.Phase("opening connections")
	for ready := range 16 {
		v.Connecting(ready*1000, 15000, 2)
	}
	v.Phase("load")
	v.Interval(interval(-1), 0)
	v.Mark(measure.Mark{At: 0.5, Text: "kill\x1b[2J node 2"})
	v.Interval(interval(0), 7)
	v.Print("done")
	v.Close()
	v.Interval(interval(1), 7)
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := "opening connections\n"
	for _, n := range []int{2000, 3000, 5000, 6000, 8000, 9000, 11000, 12000, 14000, 15000} {
		want += fmt.Sprintf("%d of 15000 connections, 2 failed\n", n)
	}
	const counts = "connected 14980/15000, sent 1000, acked %d, delivered 9200, refused 0, errors 0, ack 4.00 ms/%s, violations %d\n"
	want += "load\n" +
		"  -1s " + fmt.Sprintf(counts, 899, "0 s", 0) +
		"at 0.5 s: kill [2J node 2\n" +
		"   0s " + fmt.Sprintf(counts, 900, "1.00 ms", 7) +
		"done\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func scrape(v *live.View) string {
	w := httptest.NewRecorder()
	v.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestHandler(t *testing.T) {
	v := live.New(live.Config{Out: io.Discard})
	if got := scrape(v); strings.Contains(got, "hubbench") {
		t.Errorf("before the start: %s", got)
	}
	v.Connecting(15000, 15000, 0)
	v.Interval(interval(0), 0)
	v.Mark(measure.Mark{})
	v.Mark(measure.Mark{})
	i := interval(1)
	i.Latency["bad\xff"] = map[string]int64{"max": 1e9, "p42": 7}
	v.Interval(i, 3)
	got := scrape(v)
	for _, want := range []string{
		"hubbench_second 1\n", "hubbench_connections 14980\n", "hubbench_connections_target 15000\n", "hubbench_violations 3\n", "hubbench_chaos_actions_total 2\n",
		`hubbench_events_total{what="acked"} 1801` + "\n", `hubbench_latency_seconds{name="ack",quantile="0.5"} 0.004` + "\n",
		`hubbench_latency_seconds{name="ack",quantile="1"} 0.045` + "\n", `hubbench_latency_seconds{name="bad?",quantile="1"} 1` + "\n",
		"# TYPE hubbench_events_total counter\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "p42") {
		t.Error("a quantile that is none")
	}
}

func TestConcurrentUse(t *testing.T) {
	v := live.New(live.Config{Out: io.Discard, Size: fixed(80, 24)})
	h := v.Handler()
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for at := range 50 {
				switch n {
				case 0:
					v.Interval(interval(at), 0)
				case 1:
					v.Print("x")
					v.Mark(measure.Mark{})
				default:
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
				}
			}
		})
	}
	wg.Wait()
	if got := scrape(v); !strings.Contains(got, "hubbench_second 49\n") {
		t.Error(got)
	}
}
