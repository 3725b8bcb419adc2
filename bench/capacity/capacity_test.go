package capacity_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/capacity"
)

// upTo is a system that holds every rate up to most.
func upTo(most float64) func(context.Context, float64) (bool, string, error) {
	return func(_ context.Context, rate float64) (bool, string, error) {
		return rate <= most, fmt.Sprintf("p99 at %.0f", rate), nil
	}
}

func rates(r capacity.Result) (out []float64) {
	for _, p := range r.Probes {
		out = append(out, p.Rate)
	}
	return out
}

func TestSearchSteps(t *testing.T) {
	for _, c := range []struct {
		name         string
		cfg          capacity.Config
		most         float64
		want         []float64
		rate, failed float64
	}{
		{"double, halve, confirm", capacity.Config{Low: 100, Precision: 0.1}, 530, []float64{100, 200, 400, 800, 800, 600, 600, 500, 550, 550, 500}, 500, 550},
		{"to the upper bound", capacity.Config{Low: 100, High: 300}, 1e9, []float64{100, 200, 300, 300}, 300, 0},
		{"low is too high", capacity.Config{Low: 100, Repeats: 2}, 50, []float64{100, 100, 100}, 0, 100},
		{"without repeats and confirmation", capacity.Config{Low: 100, Precision: 0.5, Repeats: -1, Confirm: -1}, 250, []float64{100, 200, 400, 300}, 200, 300},
		{"one rate", capacity.Config{Low: 100, High: 100}, 100, []float64{100, 100}, 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := capacity.Search(t.Context(), c.cfg, upTo(c.most))
			if err != nil || got.Rate != c.rate || got.Failed != c.failed || !slices.Equal(rates(got), c.want) {
				t.Errorf("rate %v, failed %v, probes %v, %v; want %v, %v, %v", got.Rate, got.Failed, rates(got), err, c.rate, c.failed, c.want)
			}
		})
	}
}

func TestSearchNoiseDoesNotCount(t *testing.T) {
	// Every second probe fails for no reason: a rate that holds is tried again.
	n := 0
	got, err := capacity.Search(t.Context(), capacity.Config{Low: 100, High: 10000}, func(_ context.Context, rate float64) (bool, string, error) {
		n++
		return n%2 == 0 && rate <= 1000, "", nil
	})
	if err != nil || got.Rate < 950 || got.Rate > 1000 {
		t.Errorf("rate %v, %v, probes %v", got.Rate, err, got.Probes)
	}
}

func TestSearchLuckIsNotConfirmed(t *testing.T) {
	// 800 holds the first time only.
	lucky := true
	got, err := capacity.Search(t.Context(), capacity.Config{Low: 100, High: 800}, func(_ context.Context, rate float64) (bool, string, error) {
		if rate == 800 && lucky {
			lucky = false
			return true, "", nil
		}
		return rate <= 500, "", nil
	})
	if err != nil || got.Rate < 475 || got.Rate > 500 {
		t.Errorf("rate %v, %v, probes %v", got.Rate, err, got.Probes)
	}
}

func TestSearchErrors(t *testing.T) {
	for _, cfg := range []capacity.Config{{}, {Low: -1}, {Low: 10, High: 5}, {Low: 1, Precision: 1}, {Low: 1, Precision: -1}, {Low: math.Inf(1)}, {Low: math.NaN()}} {
		if _, err := capacity.Search(t.Context(), cfg, upTo(1)); !errors.Is(err, capacity.ErrConfig) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	broken := errors.New("connection refused")
	got, err := capacity.Search(t.Context(), capacity.Config{Low: 1}, func(_ context.Context, rate float64) (bool, string, error) {
		if rate > 3 {
			return true, "", broken
		}
		return true, "", nil
	})
	if !errors.Is(err, broken) || len(got.Probes) != 2 || got.Rate != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, err = capacity.Search(ctx, capacity.Config{Low: 1}, func(context.Context, float64) (bool, string, error) {
		cancel()
		return true, "", nil
	})
	if !errors.Is(err, context.Canceled) || len(got.Probes) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestSearchNoisySystems: whatever the capacity and however noisy, the result held and was confirmed, nothing above Failed is
// reported, the search ends, and without noise it is right to the precision.
func TestSearchNoisySystems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Float64Range(1, 1e6).Draw(t, "capacity")
		cfg := capacity.Config{
			Low:       rapid.Float64Range(1, 1000).Draw(t, "low"),
			High:      rapid.SampledFrom([]float64{0, 2000, 1e5}).Draw(t, "high"),
			Precision: rapid.Float64Range(0.02, 0.5).Draw(t, "precision"),
			Repeats:   rapid.IntRange(0, 3).Draw(t, "repeats"),
			Confirm:   rapid.IntRange(0, 3).Draw(t, "confirm"),
		}
		noise := rapid.SampledFrom([]float64{0, 0.05, 0.4}).Draw(t, "noise")
		seed := rapid.Uint64().Draw(t, "seed")
		search := func() capacity.Result {
			rnd := rand.New(rand.NewPCG(seed, 1))
			got, err := capacity.Search(context.Background(), cfg, func(_ context.Context, rate float64) (bool, string, error) {
				return (rate <= most) != (rnd.Float64() < noise), "", nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		got := search()
		if again := search(); got.Rate != again.Rate || !slices.Equal(got.Probes, again.Probes) {
			t.Fatal("the same answers gave another search")
		}
		held := slices.ContainsFunc(got.Probes, func(p capacity.Probe) bool { return p.OK && p.Rate == got.Rate })
		confirmed := slices.ContainsFunc(got.Probes, func(p capacity.Probe) bool { return p.OK && p.Confirms && p.Rate == got.Rate })
		if got.Rate != 0 && !(held && confirmed) {
			t.Fatalf("%v is reported: held %v, confirmed %v", got.Rate, held, confirmed)
		}
		for _, p := range got.Probes {
			if cfg.High > 0 && p.Rate > cfg.High || p.Rate < cfg.Low {
				t.Fatalf("%v was tried", p.Rate)
			}
		}
		if got.Failed != 0 && got.Failed <= got.Rate || got.Rate == 0 && got.Failed == 0 {
			t.Fatalf("rate %v, failed %v", got.Rate, got.Failed)
		}
		if got.Failed != 0 && got.Rate != 0 && got.Failed-got.Rate > cfg.Precision*got.Rate*(1+1e-9) {
			t.Fatalf("rate %v, failed %v: not within %v", got.Rate, got.Failed, cfg.Precision)
		}
		if noise > 0 {
			return
		}
		switch {
		case most < cfg.Low:
			if got.Rate != 0 {
				t.Fatalf("rate %v of at most %v", got.Rate, most)
			}
		case got.Rate > most:
			t.Fatalf("rate %v of at most %v", got.Rate, most)
		case cfg.High > 0 && most >= cfg.High:
			if got.Rate != cfg.High {
				t.Fatalf("rate %v, want the upper bound %v", got.Rate, cfg.High)
			}
		case got.Rate*(1+cfg.Precision)*(1+1e-9) < most:
			t.Fatalf("rate %v of %v", got.Rate, most)
		}
	})
}

func ExampleResult_Text() {
	got, _ := capacity.Search(context.Background(), capacity.Config{Low: 100, Precision: 0.5}, upTo(250))
	_ = got.Text(os.Stdout)
	_ = capacity.Result{Failed: 100}.Text(os.Stdout)
	_ = capacity.Result{Rate: 100}.Text(os.Stdout)
	// Output:
	// ✓      100.0/s  p99 at 100
	// ✓      200.0/s  p99 at 200
	// ✗      400.0/s  p99 at 400
	// ✗      400.0/s  p99 at 400
	// ✗      300.0/s  p99 at 300
	// ✗      300.0/s  p99 at 300
	// ✓      200.0/s (once more)  p99 at 200
	// 200.0/s holds, 300.0/s does not
	// not even 100.0/s holds
	// 100.0/s holds, the highest that was to be tried
}
