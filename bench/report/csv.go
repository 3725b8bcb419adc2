package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/zumodra/hub/bench/measure"
)

// columns of counters and latencies that intervals.csv always has.
var (
	csvCounts = []string{
		measure.CountIntended, measure.CountSent, measure.CountAcked, measure.CountRefused, measure.CountDelivered, measure.CountFrames,
		measure.CountBytes, measure.CountOpened, measure.CountClosed, measure.CountResumed, measure.CountGaps, measure.CountErrors,
	}
	csvLatencies = []string{
		measure.NameAck, measure.NameDelivery, measure.NameLateness, measure.NameService, measure.NameConnect, measure.NameResume,
	}
	csvQuantiles = []string{"p50", "p90", "p99", "p999", "max"}
)

// CSV writes intervals.csv: a header, and a row for each second of the run. The first columns are the same for every run, in this order:
//
//	at              second since the start of the load; negative: warm-up
//	connected       connections at its end
//	intended … errors   the counters of package measure, in the order in which they stand there
//	ack_p50_ns, ack_p90_ns, ack_p99_ns, ack_p999_ns, ack_max_ns, and so on for delivery, lateness, service, connect, resume
//
// Then follow what else this run has, counters first, by the alphabet (history_p50_ns …). A latency of which nothing was recorded in a
// second is empty; a counter is 0.
func CSV(w io.Writer, r *measure.Run) error {
	counts, latencies := map[string]bool{}, map[string]bool{}
	for _, i := range r.Intervals {
		for n := range i.Counts {
			counts[n] = true
		}
		for n := range i.Latency {
			latencies[n] = true
		}
	}
	parts := []struct{ counts, latencies []string }{
		{csvCounts, csvLatencies},
		{others(csvCounts, counts), others(csvLatencies, latencies)},
	}
	c := csv.NewWriter(w)
	row := []string{"at", "connected"}
	for _, p := range parts {
		row = append(row, p.counts...)
		for _, n := range p.latencies {
			for _, q := range csvQuantiles {
				row = append(row, n+"_"+q+"_ns")
			}
		}
	}
	_ = c.Write(row) // Error has it
	for _, i := range r.Intervals {
		row = append(row[:0], strconv.Itoa(i.At), strconv.FormatInt(i.Connected, 10))
		for _, p := range parts {
			for _, n := range p.counts {
				row = append(row, strconv.FormatInt(i.Counts[n], 10))
			}
			for _, n := range p.latencies {
				for _, q := range csvQuantiles {
					cell := ""
					if v, ok := i.Latency[n][q]; ok {
						cell = strconv.FormatInt(v, 10)
					}
					row = append(row, cell)
				}
			}
		}
		_ = c.Write(row)
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("report: writing the intervals of run %q: %w", r.ID, err)
	}
	return nil
}

// others of all names that are not among the fixed ones, sorted.
func others(fixed []string, all map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(n string) bool { return slices.Contains(fixed, n) })
}
