package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	lagLoad  = 1000                  // durable sends a second
	lagEvery = 20 * time.Millisecond // between looks at the lag
)

// measureLag sends at a fixed rate and watches how far the embedded search index is behind the log; what the index costs
// is the difference to a hub without one.
func measureLag(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if b.hub == "joined" {
		b.hub = "" // those layers have no index
	}
	if o.seconds == 0 {
		o.seconds = 10
	}
	if o.conns == 0 {
		o.conns = 100
	}
	r := &report{Title: fmt.Sprintf("lag of the search index at %d durable sends a second in %d conversations", lagLoad, o.conns), Unit: "ms"}
	for _, mode := range []string{"fts", "off"} {
		h, err := b.startHub(anyCPU, "--search", mode)
		if err != nil {
			return nil, err
		}
		l, err := b.directConversations(h, o.conns, 0)
		if err != nil {
			return nil, err
		}
		for round := -1; round < o.runs; round++ {
			got, err := l.watched(o.seconds, mode == "fts")
			if err != nil {
				return nil, fmt.Errorf("%w\n%s", err, h.logTail())
			}
			if round < 0 {
				continue
			}
			cost := r.row("CPU of the hub, --search "+mode, "")
			cost.Unit = "µs/send"
			cost.add(got.cpu / float64(max(1, got.sent)) * 1e6)
			rate := r.row("sends, --search "+mode, "")
			rate.Unit = "1/s"
			rate.add(float64(got.sent) / o.seconds)
			if mode == "off" {
				continue
			}
			ms, events := summarise(got.ms), summarise(got.events)
			r.row("age of the oldest message not in the index, p50", "").add(ms.P50)
			r.row("age of the oldest message not in the index, p99", "").add(ms.P99)
			for _, x := range []struct {
				name  string
				value float64
			}{{"p50", events.P50}, {"p99", events.P99}} {
				row := r.row("events not in the index, "+x.name, "")
				row.Unit = "events"
				row.add(x.value)
			}
			r.row("from the last send until all is in the index", "").add(got.rest)
		}
		l.client.close()
		h.stop(5 * time.Second)
	}
	r.note("the lag is read from the hub's own metrics every %v; messages are 128 bytes", lagEvery)
	return r, nil
}

// watch is what was seen while a hub was loaded.
type watch struct {
	sent       int64
	cpu        float64 // seconds of the hub's, until everything was delivered
	ms, events []float64
	rest       float64 // ms from the last send until the index had all
}

// watched sends for some seconds and, if wanted, looks at the lag meanwhile and until there is none.
func (l *loadedHub) watched(seconds float64, lag bool) (w watch, err error) {
	path, err := l.texts(len(l.ids))
	if err != nil {
		return w, err
	}
	defer os.Remove(path)
	if err := l.settled(); err != nil {
		return w, err
	}
	if _, err := l.client.call(command{Op: "reset", Match: messageMark}); err != nil {
		return w, err
	}
	done := make(chan error, 1)
	w.cpu, err = l.clocked(func() error {
		var last time.Time
		go func() {
			got, err := l.client.call(command{Op: "paced", N: lagLoad, Seconds: seconds, Texts: path})
			last = time.Now()
			if w.sent = got.N; err == nil {
				_, err = l.client.call(command{Op: "await", N: int(got.N), Seconds: 30})
			}
			done <- err
		}()
		if !lag {
			return <-done
		}
		running := true
		for end := time.Now().Add(time.Duration(seconds*float64(time.Second)) + 2*time.Minute); ; time.Sleep(lagEvery) {
			select {
			case err := <-done:
				if running = false; err != nil {
					return err
				}
			default:
			}
			events, age, err := l.target.hub.lag()
			switch {
			case err != nil:
				return err
			case !running && events == 0:
				w.rest = time.Since(last).Seconds() * 1e3
				return nil
			case running:
				w.events, w.ms = append(w.events, events), append(w.ms, age*1e3)
			case time.Now().After(end):
				return errors.New("the index does not catch up")
			}
		}
	})
	return w, err
}

// lag is how many events the index lacks, and the age in seconds of the oldest.
func (h *hub) lag() (events, age float64, err error) {
	page, err := h.adminGet("/metrics")
	if err != nil {
		return 0, 0, err
	}
	found := 0
	for s := bufio.NewScanner(bytes.NewReader(page)); s.Scan(); {
		for name, v := range map[string]*float64{"hub_projection_lag_events{": &events, "hub_projection_lag_seconds{": &age} {
			line := s.Text()
			if !strings.HasPrefix(line, name) {
				continue
			}
			if *v, err = strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64); err != nil {
				return 0, 0, fmt.Errorf("reading the metrics: %w", err)
			}
			found++
		}
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("the metrics have %d of 2 lags", found)
	}
	return events, age, nil
}
