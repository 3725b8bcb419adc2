package report

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
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

// Rows collects the seconds of a run for intervals.csv, in a temporary file: how many there are does not matter. It is not for
// concurrent use.
type Rows struct {
	file              *os.File
	w                 *bufio.Writer
	counts, latencies map[string]bool // names that have occurred
	err               error           // the first
}

// NewRows makes the temporary file in a directory; empty: the system's.
func NewRows(dir string) (*Rows, error) {
	f, err := os.CreateTemp(dir, "hubbench-seconds-")
	if err != nil {
		return nil, fmt.Errorf("report: the file for the seconds of a run: %w", err)
	}
	return &Rows{file: f, w: bufio.NewWriter(f), counts: map[string]bool{}, latencies: map[string]bool{}}, nil
}

// Add a second. What goes wrong CSV says.
func (r *Rows) Add(i measure.Interval) {
	for n := range i.Counts {
		r.counts[n] = true
	}
	for n := range i.Latency {
		r.latencies[n] = true
	}
	b, err := json.Marshal(i)
	if err == nil {
		_, err = r.w.Write(append(b, '\n'))
	}
	r.err = cmp.Or(r.err, err)
}

// Close removes the temporary file.
func (r *Rows) Close() error {
	return errors.Join(r.file.Close(), os.Remove(r.file.Name()))
}

// CSV writes intervals.csv: a header, and a row for each second. The first columns are the same for every run, in this order:
//
//	at              second since the start of the load; negative: warm-up
//	connected       connections at its end
//	intended … errors   the counters of package measure, in the order in which they stand there
//	ack_p50_ns, ack_p90_ns, ack_p99_ns, ack_p999_ns, ack_max_ns, and so on for delivery, lateness, service, connect, resume
//
// Then follow what else this run has, counters first, by the alphabet (history_p50_ns …). A latency of which nothing was recorded in a
// second is empty; a counter is 0.
func (r *Rows) CSV(w io.Writer) error {
	parts := []csvPart{{csvCounts, csvLatencies}, {others(csvCounts, r.counts), others(csvLatencies, r.latencies)}}
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
	err := cmp.Or(r.err, r.w.Flush())
	if err == nil {
		_, err = r.file.Seek(0, io.SeekStart)
	}
	for d := json.NewDecoder(bufio.NewReader(r.file)); err == nil; {
		var i measure.Interval
		if err = d.Decode(&i); err == nil {
			row = csvRow(row[:0], i, parts)
			_ = c.Write(row)
		}
	}
	c.Flush()
	if errors.Is(err, io.EOF) {
		err = c.Error()
	}
	if err != nil {
		return fmt.Errorf("report: writing the seconds of a run: %w", err)
	}
	return nil
}

// csvPart is some of the columns.
type csvPart struct{ counts, latencies []string }

func csvRow(row []string, i measure.Interval, parts []csvPart) []string {
	row = append(row, strconv.Itoa(i.At), strconv.FormatInt(i.Connected, 10))
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
	return row
}

// others of all names that are not among the fixed ones, sorted.
func others(fixed []string, all map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(n string) bool { return slices.Contains(fixed, n) })
}
