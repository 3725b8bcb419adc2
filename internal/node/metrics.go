package node

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/zumodra/hub/edge/reactor"
)

// latency buckets, in seconds: from a cached read to the deadline of a request. Every histogram is native as
// well (factor 1.1), for scrapers that ask for it.
var latency = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// metrics names everything that the node exports. Labels never hold users, conversations or tenants.
type metrics struct {
	registry *prometheus.Registry

	requests *prometheus.HistogramVec // REST
	panics   *prometheus.CounterVec
}

func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 200, NativeHistogramMinResetDuration: time.Hour,
	}
}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(
			histogram("hub_rest_request_duration_seconds", "Time to answer a REST request.", latency),
			[]string{"route", "method", "class"}),
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hub_rest_panics_total", Help: "REST handlers that panicked: bugs."}, []string{"route"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_build_info", Help: "Always 1; the version is a label.",
		ConstLabels: prometheus.Labels{"version": version}})
	info.Set(1)
	m.registry.MustRegister(m.requests, m.panics, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ObserveRequest implements rest.Observer.
func (m *metrics) ObserveRequest(route, method, class string, d time.Duration) {
	m.requests.WithLabelValues(route, method, class).Observe(d.Seconds())
}

// ObservePanic implements rest.Observer.
func (m *metrics) ObservePanic(route string) { m.panics.WithLabelValues(route).Inc() }

// gauge or counter that is read from a snapshot when it is scraped.
type reading[S any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*S) float64
}

// snapshot is a collector over one snapshot per scrape.
type snapshot[S any] struct {
	take     func() S
	readings []reading[S]
	more     []*prometheus.Desc
	extra    func(*S, chan<- prometheus.Metric)
}

func (c *snapshot[S]) gauge(name, help string, v func(*S) float64) {
	c.readings = append(c.readings, reading[S]{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, v})
}

func (c *snapshot[S]) counter(name, help string, v func(*S) float64) {
	c.readings = append(c.readings, reading[S]{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, v})
}

// Describe implements prometheus.Collector.
func (c *snapshot[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, r := range c.readings {
		ch <- r.desc
	}
	for _, d := range c.more {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *snapshot[S]) Collect(ch chan<- prometheus.Metric) {
	s := c.take()
	for _, r := range c.readings {
		ch <- prometheus.MustNewConstMetric(r.desc, r.kind, r.value(&s))
	}
	if c.extra != nil {
		c.extra(&s, ch)
	}
}

func edgeCollector(take func() reactor.Stats) prometheus.Collector {
	type S = reactor.Stats
	c := &snapshot[S]{take: take}
	c.gauge("hub_edge_connections", "Open WebSocket connections.", func(s *S) float64 { return float64(s.Connections) })
	c.gauge("hub_edge_handshaking_connections", "Connections that have not completed their handshake.", func(s *S) float64 { return float64(s.Handshaking) })
	c.gauge("hub_edge_queue_bytes", "Bytes waiting in write queues.", func(s *S) float64 { return float64(s.QueuedBytes) })
	c.gauge("hub_edge_large_message_bytes", "Bytes taken by large messages that are being received.", func(s *S) float64 { return float64(s.LargeBytes) })
	c.gauge("hub_edge_queued_connections", "Connections with a write queue.", func(s *S) float64 { return float64(s.QueuedConnections) })
	c.counter("hub_edge_accepted_total", "Connections accepted.", func(s *S) float64 { return float64(s.Accepted) })
	c.counter("hub_edge_accept_errors_total", "Failed accepts, such as running out of descriptors.", func(s *S) float64 { return float64(s.AcceptErrors) })
	c.counter("hub_edge_refused_total", "Connections answered 503 for lack of room or rate.", func(s *S) float64 { return float64(s.Refused) })
	c.counter("hub_edge_upgraded_total", "Completed WebSocket handshakes.", func(s *S) float64 { return float64(s.Upgraded) })
	c.counter("hub_edge_upgrades_rejected_total", "Refused WebSocket handshakes.", func(s *S) float64 { return float64(s.UpgradeRejected) })
	c.counter("hub_edge_handshake_timeouts_total", "Handshakes that took too long.", func(s *S) float64 { return float64(s.HandshakeTimeouts) })
	c.counter("hub_edge_http_connections_total", "Connections handed to the HTTP server.", func(s *S) float64 { return float64(s.HTTPConns) })
	c.counter("hub_edge_sends_total", "System calls that wrote to clients.", func(s *S) float64 { return float64(s.Sends) })
	c.counter("hub_edge_pings_total", "Pings sent to silent clients.", func(s *S) float64 { return float64(s.PingsSent) })
	c.counter("hub_edge_half_open_closed_total", "Connections closed because the client vanished.", func(s *S) float64 { return float64(s.HalfOpenClosed) })
	c.counter("hub_edge_slow_closed_total", "Connections closed because the client did not read.", func(s *S) float64 { return float64(s.SlowClosed) })
	c.counter("hub_edge_shed_frames_total", "Typing and presence frames dropped for slow clients.", func(s *S) float64 { return float64(s.EphemeralShed) })
	c.counter("hub_edge_protocol_errors_total", "Connections closed for breaking the WebSocket protocol.", func(s *S) float64 { return float64(s.ProtocolErrors) })
	c.counter("hub_edge_too_big_total", "Connections closed for too long a message.", func(s *S) float64 { return float64(s.TooBig) })
	frames := prometheus.NewDesc("hub_edge_frames_total", "Frames by direction.", []string{"direction"}, nil)
	bytes := prometheus.NewDesc("hub_edge_frame_bytes_total", "Bytes of frames by direction.", []string{"direction"}, nil)
	closed := prometheus.NewDesc("hub_edge_closed_total", "Closed connections by close code.", []string{"code"}, nil)
	c.more = []*prometheus.Desc{frames, bytes, closed}
	c.extra = func(s *S, ch chan<- prometheus.Metric) {
		ch <- prometheus.MustNewConstMetric(frames, prometheus.CounterValue, float64(s.FramesIn), "in")
		ch <- prometheus.MustNewConstMetric(frames, prometheus.CounterValue, float64(s.FramesOut), "out")
		ch <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(s.BytesIn), "in")
		ch <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(s.BytesOut), "out")
		for code, n := range s.ClosedByCode {
			ch <- prometheus.MustNewConstMetric(closed, prometheus.CounterValue, float64(n), strconv.Itoa(int(code)))
		}
	}
	return c
}
