package report_test

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/report"
)

// cellsOf a heat map: the style at each column and row from above, and the columns and rows that there are.
func cellsOf(t *testing.T, svg string) (cells map[[2]int]int, columns, rows int) {
	t.Helper()
	group := heats.FindString(svg)
	m := regexp.MustCompile(`translate\(([0-9.]+) ([0-9.]+)\) scale\(([0-9.]+) ([0-9.]+)\)`).FindStringSubmatch(group)
	if m == nil {
		t.Fatalf("no heat map: %.500s", svg)
	}
	var v [4]float64
	for i := range v {
		v[i], _ = strconv.ParseFloat(m[i+1], 64)
	}
	rows = int(math.Round(190 / v[3]))
	if math.Abs(v[1]-(36+v[3]/2)) > 0.01 {
		t.Errorf("the first row is at %v, and %v high", v[1], v[3])
	}
	cells = map[[2]int]int{}
	for _, path := range regexp.MustCompile(`class="h([1-7])" d="([^"]*)"`).FindAllStringSubmatch(group, -1) {
		style, _ := strconv.Atoi(path[1])
		for _, run := range strings.Split(path[2], "M")[1:] {
			var c, r int
			var n float64
			if _, err := fmt.Sscanf(run, "%d %dh%g", &c, &r, &n); err != nil || n <= 0 || r < 0 || r >= rows || c < 0 {
				t.Fatalf("%q: %v", run, err)
			}
			if right := v[0] + v[2]*(float64(c)+n); right > 466.1 || v[0]+v[2]*float64(c) < 61.9 {
				t.Errorf("%q is outside: up to %v", run, right)
			}
			for ; n > 0; n-- {
				if cells[[2]int{c, r}] != 0 {
					t.Errorf("two colours at %d, %d", c, r)
				}
				cells[[2]int{c, r}] = style
				columns = max(columns, c+1)
				c++
			}
		}
	}
	return cells, columns, rows
}

func TestHeatMap(t *testing.T) {
	r := &measure.Run{Marks: []measure.Mark{{At: 6, Text: "kill node 2"}}, Latency: map[string]*measure.Distribution{measure.NameAck: {Count: 1}}}
	for at := -2; at < 10; at++ {
		s := measure.Spread{First: 24, Counts: []int64{100, 10}} // from 1 ms on
		if at == 6 {
			s = measure.Spread{First: 47, Counts: []int64{1}} // nearly 1 s
		}
		r.Intervals = append(r.Intervals, measure.Interval{At: at, Spread: map[string]measure.Spread{measure.NameAck: s}})
	}
	text := page(t, r)
	s := plots(t, text)["Latencies over time: ack"]
	cells, columns, rows := cellsOf(t, s)
	// Three decades from 1 ms to 1 s, of eight rows each.
	if columns != 12 || rows != 24 || len(cells) != 2*11+1 {
		t.Fatalf("%d columns, %d rows, %d cells", columns, rows, len(cells))
	}
	for c := range 12 {
		want := [3]int{0, 4, 7} // the slowest, the second and the first bucket
		if c == 8 {
			want = [3]int{1, 0, 0}
		}
		if got := [3]int{cells[[2]int{c, 0}], cells[[2]int{c, 22}], cells[[2]int{c, 23}]}; got != want {
			t.Errorf("column %d: %v, want %v", c, got, want)
		}
	}
	if strings.Index(s, `class="mark"`) < strings.Index(s, "</g>") || !strings.Contains(s, `class="halo"`) {
		t.Error("the mark is not over the cells")
	}
	for _, want := range []string{
		"1211 in all: half took less than 1.33 ms, 99 % less than 1.78 ms, all less than 1.00 s.",
		"From second 6 to 7 it was slower than usual: 99 % less than 1.00 s.</desc>",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("the description has no %q: %.700s", want, s)
		}
	}
	if !strings.Contains(text, `acknowledgements in a cell of 1 second:</li>`) || !strings.Contains(text, `<path class="h7" d="M0 6h18"/></svg>52–100</li>`) {
		t.Error("the legend is another")
	}
}

// However long a run is and whatever its latencies, the map has few cells, none of them outside.
func TestHeatMapsAreSmall(t *testing.T) {
	everything := measure.Spread{Counts: make([]int64, 63)}
	for i := range everything.Counts {
		everything.Counts[i] = int64(1) << (i % 50)
	}
	for name, c := range map[string]struct {
		width, intervals int
		spread           measure.Spread
	}{
		"one":                {1, 1, measure.Spread{First: 62, Counts: []int64{1}}},
		"the shortest":       {1, 2, measure.Spread{Counts: []int64{1 << 40}}},
		"97, more than fits": {1, 97, everything},
		"long":               {15, 2048, everything},
	} {
		r := &measure.Run{Width: c.width}
		for i := range c.intervals {
			s := c.spread
			if i%3 == 1 && len(s.Counts) > 2 { // no neighbours are alike
				s = measure.Spread{First: 1, Counts: s.Counts[1 : len(s.Counts)-1]}
			}
			r.Intervals = append(r.Intervals, measure.Interval{At: i * c.width, Told: c.width, Spread: map[string]measure.Spread{measure.NameDelivery: s}})
		}
		s := plots(t, page(t, r))["Latencies over time: delivery"]
		cells, columns, rows := cellsOf(t, s)
		if len(cells) == 0 || columns > 96 || rows > 32 || len(s) > 40_000 {
			t.Errorf("%s: %d cells, %d columns, %d rows, %d bytes", name, len(cells), columns, rows, len(s))
		}
		if strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
			t.Errorf("%s: a number is none: %s", name, s)
		}
	}
	// A file that somebody else wrote.
	r := &measure.Run{Intervals: []measure.Interval{{At: 90}, {At: 10, Spread: map[string]measure.Spread{measure.NameAck: everything}}, {At: 10}, {At: 50}}}
	cellsOf(t, plots(t, page(t, r))["Latencies over time: ack"])
}

// TestPageToLookAt writes the page of a run with a storm, to the file that HUBBENCH_PAGE names for those who change how it looks.
func TestPageToLookAt(t *testing.T) {
	path := cmp.Or(os.Getenv("HUBBENCH_PAGE"), filepath.Join(t.TempDir(), "report.html"))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := report.HTML(f, sample(t, 600, 4)); err != nil {
		t.Fatal(err)
	}
}
