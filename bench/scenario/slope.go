package scenario

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/zumodra/hub/bench/measure"
)

// slope is the statistic of figures that may not grow.
const slope = "slope"

// byteUnits are those in which memory is given.
var byteUnits = []struct {
	name string
	size float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// parseSlope reads a number an hour: 5/h, and of memory 1MiB/h.
func parseSlope(text string, bytes bool) (float64, error) {
	number, ok := strings.CutSuffix(text, "/h")
	unit := 1.0
	if bytes && ok {
		ok = false
		for _, u := range byteUnits {
			if n, is := strings.CutSuffix(number, u.name); is {
				number, unit, ok = n, u.size, true
				break
			}
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || v != v {
		want := "5/h"
		if bytes {
			want = "1MiB/h"
		}
		return 0, fmt.Errorf("%q is no slope: want one as %s", text, want)
	}
	return v * unit, nil
}

// steepest growth of a figure an hour, of all processes. The first half of the measured part does not count: caches fill in it.
func steepest(r *measure.Run, figure string, length int) (float64, error) {
	most, found := 0.0, false
	for _, p := range r.Processes {
		if g, ok := p.Slope(figure, float64(length)/2, float64(length)); ok && (!found || g > most) {
			most, found = g, true
		}
	}
	if !found {
		return 0, fmt.Errorf("no process was watched long enough")
	}
	return most, nil
}
