package arrival_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/arrival"
)

// drawn is any valid spec that has a rate, and a load that has not too many arrivals.
func drawn(t *rapid.T) (arrival.Spec, time.Duration) {
	length := time.Duration(rapid.Int64Range(1, 100_000).Draw(t, "length ms")) * time.Millisecond
	rate := rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0.001, 200))
	s := arrival.Spec{
		Kind: rapid.SampledFrom([]arrival.Kind{"", arrival.Constant, arrival.Poisson, arrival.Ramp, arrival.Step, arrival.Sine, arrival.Spike}).Draw(t, "kind"),
		Rate: rate.Draw(t, "rate"),
	}
	switch s.Kind {
	case "", arrival.Constant, arrival.Poisson:
		s.Rate = max(s.Rate, 0.1)
		return s, length
	case arrival.Step:
		s.Steps = rapid.IntRange(2, 20).Draw(t, "steps")
	case arrival.Sine:
		if rapid.Bool().Draw(t, "peaks") {
			s.Peaks = rapid.IntRange(1, 5).Draw(t, "peaks")
		} else {
			s.Period = time.Duration(rapid.Int64Range(50, 200_000).Draw(t, "period ms")) * time.Millisecond
		}
	case arrival.Spike:
		s.At = time.Duration(rapid.Int64Range(0, 100_000).Draw(t, "at ms")) * time.Millisecond
		s.Width = time.Duration(rapid.Int64Range(1, 100_000).Draw(t, "width ms")) * time.Millisecond
	}
	s.To = rate.Draw(t, "to")
	if s.Rate == 0 && s.To == 0 {
		s.To = 5
	}
	s.Random = rapid.Bool().Draw(t, "random")
	return s, length
}

func all(t rapid.TB, s arrival.Spec, length time.Duration, seed uint64, part, parts int) []time.Duration {
	t.Helper()
	schedule, err := arrival.New(s, length, seed, part, parts)
	if err != nil {
		t.Fatalf("New(%+v): %v", s, err)
	}
	var out []time.Duration
	for {
		at, ok := schedule.Next()
		if !ok {
			return out
		}
		out = append(out, at)
	}
}

func TestSchedulesAreOrderedAndSharesMakeTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, length := drawn(t)
		seed := rapid.Uint64().Draw(t, "seed")
		whole := all(t, s, length, seed, 0, 1)
		if !slices.IsSorted(whole) {
			t.Fatal("not in order")
		}
		if n := len(whole); n > 0 && (whole[0] < 0 || whole[n-1] >= length) {
			t.Fatalf("outside of the load: %v … %v of %v", whole[0], whole[n-1], length)
		}
		if !slices.Equal(whole, all(t, s, length, seed, 0, 1)) {
			t.Fatal("the same seed gave other times")
		}
		parts := rapid.IntRange(2, 7).Draw(t, "parts")
		var union []time.Duration
		for part := range parts {
			union = append(union, all(t, s, length, seed, part, parts)...)
		}
		slices.Sort(union)
		if len(union) != len(whole) {
			t.Fatalf("%d shares have %d arrivals, the whole %d", parts, len(union), len(whole))
		}
		for i := range union {
			// Newton's method may end a nanosecond beside.
			if (union[i] - whole[i]).Abs() > 2*time.Nanosecond {
				t.Fatalf("arrival %d: %v in a share, %v in the whole", i, union[i], whole[i])
			}
		}
	})
}

// The integral is that of the rate's definition, summed in small steps: not by the code under test.
func TestEvenSchedulesFollowTheIntegralOfTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, length := drawn(t)
		s.Random = false
		if s.Kind == "" || s.Kind == arrival.Poisson {
			s.Kind = arrival.Constant
		}
		times := all(t, s, length, rapid.Uint64().Draw(t, "seed"), 0, 1)
		upTo := length.Seconds() * rapid.Float64Range(0, 1).Draw(t, "up to")
		const steps = 20_000
		var want float64
		for i := range steps {
			want += rateAt(s, length.Seconds(), upTo*(float64(i)+0.5)/steps) * upTo / steps
		}
		got, _ := slices.BinarySearch(times, time.Duration(upTo*1e9))
		// A jump of the rate within a step of the sum is a part of the sum's error.
		slack := 1.01 + 2*math.Abs(s.To-s.Rate)*upTo/steps*float64(max(2, s.Steps))
		if math.Abs(float64(got)-want) > slack {
			t.Fatalf("%+v: %d arrivals in %.3f of %v, want %.2f ± %.2f", s, got, upTo, length, want, slack)
		}
		count, peak := s.Expected(length, 0, time.Duration(upTo*1e9))
		if math.Abs(count-want) > slack {
			t.Fatalf("Expected says %.2f, want %.2f", count, want)
		}
		for i := range 100 {
			if r := rateAt(s, length.Seconds(), upTo*float64(i)/100); upTo > 1e-6 && r > peak*1.000001 {
				t.Fatalf("Expected says at most %v a second, but it is %v", peak, r)
			}
		}
	})
}

func rateAt(s arrival.Spec, length, t float64) float64 {
	switch s.Kind {
	case arrival.Ramp:
		return s.Rate + (s.To-s.Rate)*t/length
	case arrival.Step:
		step := math.Floor(t / length * float64(s.Steps))
		return s.Rate + (s.To-s.Rate)*step/float64(s.Steps-1)
	case arrival.Sine:
		period := s.Period.Seconds()
		if s.Peaks > 0 {
			period = length / float64(s.Peaks)
		}
		return (s.Rate+s.To)/2 - (s.To-s.Rate)/2*math.Cos(2*math.Pi*t/period)
	case arrival.Spike:
		if t >= s.At.Seconds() && t < (s.At+s.Width).Seconds() {
			return s.To
		}
	}
	return s.Rate
}

// The gaps of a Poisson process: their mean and their deviation are the same, and the count is close to the integral. The seed is
// fixed, so that the outcome is.
func TestRandomSchedulesArePoisson(t *testing.T) {
	times := all(t, arrival.Spec{Rate: 1000}, 100*time.Second, 1, 0, 1)
	if n := float64(len(times)); math.Abs(n-100_000) > 5*math.Sqrt(100_000) {
		t.Errorf("%v arrivals, want about 100,000", n)
	}
	var sum, squares float64
	for i := 1; i < len(times); i++ {
		gap := (times[i] - times[i-1]).Seconds()
		sum += gap
		squares += gap * gap
	}
	mean := sum / float64(len(times)-1)
	deviation := math.Sqrt(squares/float64(len(times)-1) - mean*mean)
	if math.Abs(deviation/mean-1) > 0.02 {
		t.Errorf("gaps: mean %v, deviation %v: want the same", mean, deviation)
	}
	ramp := all(t, arrival.Spec{Kind: arrival.Ramp, To: 2000, Random: true}, 100*time.Second, 1, 0, 1)
	half, _ := slices.BinarySearch(ramp, 50*time.Second)
	if share := float64(half) / float64(len(ramp)); math.Abs(share-0.25) > 0.01 {
		t.Errorf("the first half of a ramp from 0 has %v of the arrivals, want a quarter", share)
	}
}

func TestSeedsShiftEvenSchedules(t *testing.T) {
	s := arrival.Spec{Kind: arrival.Constant, Rate: 1}
	a, b := all(t, s, 10*time.Second, 1, 0, 1), all(t, s, 10*time.Second, 2, 0, 1)
	if a[0] == b[0] {
		t.Errorf("two loads with different seeds both begin at %v", a[0])
	}
	for i := 1; i < len(a); i++ {
		if gap := a[i] - a[i-1]; (gap - time.Second).Abs() > time.Microsecond {
			t.Errorf("gap of %v, want 1s", gap)
		}
	}
}

func TestOnceAndReplay(t *testing.T) {
	once := arrival.Spec{Kind: arrival.Once, At: 5 * time.Second}
	if got := all(t, once, 10*time.Second, 1, 0, 3); !slices.Equal(got, []time.Duration{5 * time.Second}) {
		t.Errorf("once: %v", got)
	}
	if got := all(t, once, 10*time.Second, 1, 1, 3); got != nil {
		t.Errorf("once, the second worker: %v", got)
	}
	if got := all(t, once, 5*time.Second, 1, 0, 1); got != nil {
		t.Errorf("once after the end: %v", got)
	}

	path := filepath.Join(t.TempDir(), "times")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# seconds\n0\n0.5\n\n0.5\n1.25\n2\n")
	s := arrival.Spec{Kind: arrival.Replay, File: path}
	ms := time.Millisecond
	if got := all(t, s, 2*time.Second, 1, 0, 2); !slices.Equal(got, []time.Duration{0, 500 * ms}) {
		t.Errorf("replay, first worker: %v", got)
	}
	if got := all(t, s, 2*time.Second, 1, 1, 2); !slices.Equal(got, []time.Duration{500 * ms, 1250 * ms}) {
		t.Errorf("replay, second worker: %v", got)
	}
	for text, want := range map[string]string{"1\nx\n": ":2:", "2\n1\n": "order", "-1\n": ":1:"} {
		write(text)
		if _, err := arrival.New(s, time.Minute, 1, 0, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if _, err := arrival.New(arrival.Spec{Kind: arrival.Replay, File: path + "x"}, time.Minute, 1, 0, 1); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestYAML(t *testing.T) {
	for text, want := range map[string]arrival.Spec{
		"200/s":     {Rate: 200},
		"12/m":      {Rate: 0.2},
		"1.5 / h":   {Rate: 1.5 / 3600},
		"{rate: 3}": {Rate: 3},
		"{kind: spike, rate: 1, to: 50, at: 10s, width: 500ms}": {Kind: arrival.Spike, Rate: 1, To: 50, At: 10 * time.Second, Width: 500 * time.Millisecond},
	} {
		var got arrival.Spec
		if err := yaml.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
			continue
		}
		out, err := yaml.Marshal(got)
		var again arrival.Spec
		if err != nil || yaml.Unmarshal(out, &again) != nil || again != want {
			t.Errorf("%s: written as %s, read as %+v (%v)", text, out, again, err)
		}
	}
	for _, text := range []string{"200", "x/s", "3/d", "1/s/s", ""} {
		if err := new(arrival.Spec).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "200/s") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

func TestValidateSaysWhatIsAllowed(t *testing.T) {
	for _, test := range []struct {
		spec arrival.Spec
		want string
	}{
		{arrival.Spec{}, "no rate"},
		{arrival.Spec{Kind: "steady", Rate: 1}, "want one of [constant"},
		{arrival.Spec{Rate: -1}, "want 0 to"},
		{arrival.Spec{Rate: math.NaN()}, "want 0 to"},
		{arrival.Spec{Rate: 1e9}, "want 0 to"},
		{arrival.Spec{Rate: 1, To: 2}, "to has no meaning"},
		{arrival.Spec{Kind: arrival.Once, Rate: 2}, "rate has no meaning: it has at"},
		{arrival.Spec{Kind: arrival.Step, Rate: 1, To: 5, Steps: 1}, "2 to 10000"},
		{arrival.Spec{Kind: arrival.Sine, Rate: 1, To: 5}, "either a period or peaks"},
		{arrival.Spec{Kind: arrival.Sine, Rate: 1, To: 5, Period: time.Second, Peaks: 1}, "either a period or peaks"},
		{arrival.Spec{Kind: arrival.Spike, Rate: 1, To: 5}, "width"},
		{arrival.Spec{Kind: arrival.Once, At: -1}, "0 or later"},
		{arrival.Spec{Kind: arrival.Replay}, "no file"},
	} {
		if err := test.spec.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want %q", test.spec, err, test.want)
		}
	}
	if _, err := arrival.New(arrival.Spec{Rate: 1}, time.Second, 1, 2, 2); err == nil {
		t.Error("share 2 of 2 is no error")
	}
}

// ever is a load that does not end within a test.
const ever = 1_000_000 * time.Hour

func TestNextAllocatesNothing(t *testing.T) {
	for _, s := range []arrival.Spec{
		{Rate: 1000}, {Kind: arrival.Constant, Rate: 1000}, {Kind: arrival.Ramp, Rate: 10, To: 100},
		{Kind: arrival.Sine, Rate: 0, To: 100, Period: time.Minute}, {Kind: arrival.Spike, Rate: 5, To: 100, At: time.Second, Width: time.Second, Random: true},
	} {
		schedule, err := arrival.New(s, ever, 1, 0, 2)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(1000, func() { schedule.Next() }); n != 0 {
			t.Errorf("%s: %v allocations", s.Kind, n)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, s := range []arrival.Spec{{Kind: arrival.Poisson, Rate: 1000}, {Kind: arrival.Sine, Rate: 10, To: 100, Period: time.Minute}} {
		b.Run(string(s.Kind), func(b *testing.B) {
			schedule, err := arrival.New(s, ever, 1, 0, 1)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				schedule.Next()
			}
		})
	}
}
