package measure_test

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/bench/measure"
)

func TestReadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	for text, want := range map[string]string{
		`{"schema":99}`:              "schema 99",
		`{}`:                         "no schema",
		`{"schema":1,"seed":"none"`:  "JSON",
		`{"schema":1,"seed":"none"}`: "seed",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := measure.Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
	if _, err := measure.Read(path + "x"); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestValidity(t *testing.T) {
	valid := func() *measure.Run {
		r := &measure.Run{Latency: map[string]*measure.Distribution{measure.NameLateness: {Count: 5, P99: int64(9 * time.Millisecond)}},
			Workers: []measure.Worker{{Name: "w1", CPU: 0.7}}}
		for at := -2; at < 100; at++ {
			r.Intervals = append(r.Intervals, measure.Interval{At: at})
		}
		return r
	}
	if got := measure.Validity(valid(), measure.Bounds{}); got != nil {
		t.Errorf("a valid run: %v", got)
	}
	for want, spoil := range map[string]func(*measure.Run){
		"late":             func(r *measure.Run) { r.Latency[measure.NameLateness].P99 = int64(11 * time.Millisecond) },
		"0.90 processors":  func(r *measure.Run) { r.Workers[0].CPU = 0.9 },
		"nothing was":      func(r *measure.Run) { r.Intervals = r.Intervals[:2] },
		"5 of 100 seconds": func(r *measure.Run) { r.Intervals = append(r.Intervals[:50], r.Intervals[55:]...) },
	} {
		r := valid()
		spoil(r)
		if got := measure.Validity(r, measure.Bounds{}); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("want %q: %q", want, got)
		}
	}
	r := valid()
	if got := measure.Validity(r, measure.Bounds{Lateness: time.Millisecond, CPU: 0.5}); len(got) != 2 {
		t.Errorf("narrow bounds: %q", got)
	}
}

func TestGrowth(t *testing.T) {
	p := &measure.Process{}
	for i := range 101 {
		// A line from 1000 to 1500 with a saw on it.
		p.Samples = append(p.Samples, measure.Sample{At: float64(i) - 10, RSS: int64(1000 + 5*i + 20*(i%2)), Files: 30, Goroutines: 100 - i/2})
	}
	for figure, want := range map[string]float64{"rss": 0.5, "files": 0, "goroutines": -0.5} {
		if got, ok := p.Growth(figure, -10, 90); !ok || math.Abs(got-want) > 0.02 {
			t.Errorf("%s grew by %v (%v), want %v", figure, got, ok, want)
		}
	}
	if got, ok := p.Growth("rss", 40, 90); !ok || math.Abs(got-0.2) > 0.02 { // 1250 to 1500
		t.Errorf("of the second half: %v, %v", got, ok)
	}
	for _, figure := range []string{"heap", "size"} {
		if got, ok := p.Growth(figure, -10, 90); ok {
			t.Errorf("%s grew by %v, but there is none", figure, got)
		}
	}
	if _, ok := p.Growth("rss", 0, 5); ok {
		t.Error("a line through 6 samples")
	}
}

func TestSlope(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := &measure.Process{}
	for i := range 4*3600/5 + 1 { // four hours
		s := measure.Sample{At: float64(5 * i), Files: 1000, Goroutines: 50 + rnd.IntN(9), Heap: 1}
		hours := s.At / 3600
		// 2 MiB an hour, with the saw of a collector, noise, and six minutes with a gigabyte more, by which a line of least squares would be some 130 off.
		s.RSS = int64((100+2*hours)*(1<<20)) + int64(i%40)<<17 + rnd.Int64N(1<<20)
		if hours > 3.8 && hours < 3.9 {
			s.RSS += 1 << 30
		}
		if hours > 3 { // a leak of connections begins: half of the second half
			s.Files += int(100 * (hours - 3))
		}
		p.Samples = append(p.Samples, s)
	}
	const end = 4 * 3600
	for figure, want := range map[string][2]float64{"rss": {1.8 * (1 << 20), 2.6 * (1 << 20)}, "goroutines": {-0.5, 0.5}, "files": {20, 60}, "heap": {0, 0}} {
		if got, ok := p.Slope(figure, end/2, end); !ok || got < want[0] || got > want[1] {
			t.Errorf("%s grows by %v an hour (%v), want %v", figure, got, ok, want)
		}
	}
	if got, ok := p.Slope("size", 0, end); ok {
		t.Errorf("what there is not grows by %v", got)
	}
	for name, samples := range map[string][]measure.Sample{
		"few":             p.Samples[len(p.Samples)-9:],
		"started again":   p.Samples[len(p.Samples)*4/5:],
		"ended early":     p.Samples[:len(p.Samples)*6/10],
		"at one time":     slices.Repeat(p.Samples[:1], 20),
		"ended before it": p.Samples[:10],
	} {
		if got, ok := (&measure.Process{Samples: samples}).Slope("rss", end/2, end); ok {
			t.Errorf("%s: it grows by %v", name, got)
		}
	}
}

func TestThisMachineAndProcess(t *testing.T) {
	m := measure.MachineInfo()
	if m.CPUs != runtime.NumCPU() || m.Go != runtime.Version() || m.Files == 0 {
		t.Errorf("%+v", m)
	}
	before := measure.Self()
	for sum := 0; measure.Self() == before; sum++ {
		_ = sum
	}
	if runtime.GOOS != "linux" {
		t.Skip("the rest is read from /proc")
	}
	if m.Memory < 1<<20 || m.Kernel == "" || m.Load == "" || m.OS == "" {
		t.Errorf("%+v", m)
	}
	if rss := measure.RSS(os.Getpid()); rss < 1<<20 {
		t.Errorf("this process has %d bytes", rss)
	}
	if measure.RSS(-1) != 0 {
		t.Error("no process has memory")
	}
	if k := measure.KernelMemory(); k < 1<<20 {
		t.Errorf("the kernel has %d bytes", k)
	}
}

func TestWatch(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are watched on Linux alone")
	}
	ctx, cancel := context.WithCancel(t.Context())
	rounds := 0
	got := measure.Watch(ctx, time.Now(), time.Millisecond, time.Hour, func() map[string]int {
		if rounds++; rounds == 5 {
			cancel()
		}
		for used := measure.Self(); measure.Self()-used < 20*time.Millisecond; {
			// Something to see.
			_ = used
		}
		return map[string]int{"self": os.Getpid(), "gone": 1 << 30}
	}, func() map[string]measure.Vitals {
		return map[string]measure.Vitals{"self": {Goroutines: 7, Heap: 8, Store: 9}}
	})
	if len(got) != 1 || got[0].Name != "self" || got[0].PID != os.Getpid() || len(got[0].Samples) < 5 {
		t.Fatalf("%+v", got)
	}
	first, last := got[0].Samples[0], got[0].Samples[len(got[0].Samples)-1]
	if first.RSS < 1<<20 || first.Files < 3 || last.Goroutines != 7 || last.Heap != 8 || last.Store != 9 || last.At <= first.At || last.CPU < first.CPU+0.05 {
		t.Errorf("from %+v to %+v", first, last)
	}
	if got[0].CPU <= 0 || got[0].CPU > last.CPU-first.CPU+1e-9 {
		t.Errorf("used %v of %v", got[0].CPU, last.CPU-first.CPU)
	}
}

func TestLongWatchesAreBounded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are watched on Linux alone")
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		rounds := 0
		got := measure.Watch(ctx, time.Now(), time.Second, time.Hour, func() map[string]int {
			if rounds++; rounds == 10_000 {
				cancel()
			}
			return map[string]int{"self": os.Getpid()}
		}, nil)
		samples := got[0].Samples
		if len(samples) != 2500 { // each fourth
			t.Fatalf("%d samples of %d", len(samples), rounds)
		}
		for i, s := range samples {
			if s.At != float64(4*i) {
				t.Fatalf("sample %d is of second %v", i, s.At)
			}
		}
	})
}
