package measure

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Longest latency that is recorded, exactly to 3 digits, as is the shortest of a microsecond. Longer ones are recorded as this
// and counted as CountClamped.
const Longest = time.Minute

// maxHistogram in its text form: one with every bucket filled is smaller.
const maxHistogram = 1 << 20

// Histogram of a latency: HdrHistogram from 1 µs to Longest with 3 digits. It is not for concurrent use. As text it is the
// library's V2 compressed form in base64, which the HdrHistogram tools of all languages read.
type Histogram struct {
	h *hdrhistogram.Histogram
}

// NewHistogram is an empty one.
func NewHistogram() *Histogram {
	return &Histogram{hdrhistogram.New(int64(time.Microsecond), int64(Longest), 3)}
}

// record a latency between 0 and Longest.
func (h *Histogram) record(d time.Duration) {
	_ = h.h.RecordValue(int64(d)) // fails above Longest alone
}

// Merge adds what another one has.
func (h *Histogram) Merge(o *Histogram) {
	h.h.Merge(o.h) // all have the same bounds: UnmarshalText refuses others
}

// Count of recorded latencies.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// Quantile q, from 0 to 1, of the recorded latencies, to 3 digits; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	return min(time.Duration(h.h.ValueAtQuantile(q*100)), Longest)
}

// Distribution of the recorded latencies.
func (h *Histogram) Distribution() (*Distribution, error) {
	text, err := h.MarshalText()
	if err != nil {
		return nil, err
	}
	d := &Distribution{Count: h.Count(), P50: int64(h.Quantile(0.5)), P90: int64(h.Quantile(0.9)), P99: int64(h.Quantile(0.99)),
		P999: int64(h.Quantile(0.999)), Max: int64(h.Quantile(1)), Histogram: string(text)}
	if d.Count > 0 {
		d.Mean, d.Min = h.h.Mean(), h.h.Min()
	}
	return d, nil
}

// summary of one interval.
func (h *Histogram) summary() map[string]int64 {
	return map[string]int64{"p50": int64(h.Quantile(0.5)), "p90": int64(h.Quantile(0.9)), "p99": int64(h.Quantile(0.99)),
		"p999": int64(h.Quantile(0.999)), "max": int64(h.Quantile(1))}
}

// MarshalText encodes the histogram.
func (h *Histogram) MarshalText() ([]byte, error) {
	b, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("encoding a histogram: %w", err)
	}
	return b, nil
}

// UnmarshalText decodes what MarshalText wrote, also at another machine, and refuses histograms with other bounds.
func (h *Histogram) UnmarshalText(text []byte) error {
	if len(text) > maxHistogram {
		return fmt.Errorf("decoding a histogram: %d bytes are too many", len(text))
	}
	got, err := hdrhistogram.Decode(text)
	if err != nil {
		return fmt.Errorf("decoding a histogram: %w", err)
	}
	if got.LowestTrackableValue() != int64(time.Microsecond) || got.HighestTrackableValue() != int64(Longest) || got.SignificantFigures() != 3 {
		return errors.New("decoding a histogram: want one from 1 µs to 60 s with 3 digits")
	}
	h.h = got
	return nil
}
