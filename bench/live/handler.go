package live

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// descriptions of the metrics.
var (
	descSecond     = prometheus.NewDesc("hubbench_second", "Second of the load that the other metrics tell of; negative: warm-up.", nil, nil)
	descConnected  = prometheus.NewDesc("hubbench_connections", "Connections that are open.", nil, nil)
	descTarget     = prometheus.NewDesc("hubbench_connections_target", "Connections that there shall be.", nil, nil)
	descEvents     = prometheus.NewDesc("hubbench_events_total", "What happened since the start, warm-up included: intended, sent, acked, delivered …", []string{"what"}, nil)
	descLatency    = prometheus.NewDesc("hubbench_latency_seconds", "Latency in the last second, from the intended time of each operation; quantile 1 is the longest.", []string{"name", "quantile"}, nil)
	descViolations = prometheus.NewDesc("hubbench_violations", "Broken promises that were found so far.", nil, nil)
	descMarks      = prometheus.NewDesc("hubbench_chaos_actions_total", "What was done to the target.", nil, nil)
)

// quantiles of an interval, and what Prometheus calls them.
var quantiles = map[string]string{"p50": "0.5", "p90": "0.9", "p99": "0.99", "p999": "0.999", "max": "1"}

// Handler serves the latest interval in the text format of Prometheus. Before the load there is nothing to tell.
func (v *View) Handler() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{v})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// collector of a view.
type collector struct{ v *View }

func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSecond, descConnected, descTarget, descEvents, descLatency, descViolations, descMarks} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.v.mu.Lock()
	defer c.v.mu.Unlock()
	if !c.v.seen {
		return
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		for i := range labels {
			labels[i] = strings.ToValidUTF8(labels[i], "?")
		}
		ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	i := c.v.interval
	send(descSecond, prometheus.GaugeValue, float64(i.At))
	send(descConnected, prometheus.GaugeValue, float64(i.Connected))
	send(descTarget, prometheus.GaugeValue, float64(c.v.target))
	send(descViolations, prometheus.GaugeValue, float64(c.v.violations))
	send(descMarks, prometheus.CounterValue, float64(c.v.marks))
	for what, n := range c.v.totals {
		send(descEvents, prometheus.CounterValue, float64(n), what)
	}
	for name, values := range i.Latency {
		for q, ns := range values {
			if label, ok := quantiles[q]; ok {
				send(descLatency, prometheus.GaugeValue, float64(ns)/1e9, name, label)
			}
		}
	}
}
