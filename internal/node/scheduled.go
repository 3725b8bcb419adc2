package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/scheduled"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/session"
)

// newScheduler joins what sends messages later with the hub, the tenants and the rate of users. It sends nothing before it
// is started.
func (n *Node) newScheduler(hub *actors.Hub, limiter *session.Limiter) *scheduled.Scheduler {
	tenants, r := n.tenancy, n.metrics.registry
	s := scheduled.New(scheduled.Config{Store: n.store, Hub: hub, Now: n.opts.Now, Log: n.log, Observer: newScheduledMetrics(r),
		// No token that was revoked sends it.
		Admit: func(k chat.UserKey) error { return tenants.Admit(auth.Pass{User: k, Issued: 1<<32 - 1}) },
		Allow: func(k chat.UserKey) (bool, time.Duration) {
			v := limiter.Allow(k, session.Change)
			return v.OK, v.RetryAfter
		}})
	now := n.opts.Now
	c := &snapshot[scheduled.Stats]{take: s.Stats}
	c.gauge("hub_scheduled_due", "Scheduled messages of this node that were due when it last looked, and were not sent.", func(s *scheduled.Stats) float64 { return float64(s.Due) })
	c.gauge("hub_scheduled_lag_seconds", "How long the first of them has been due.", func(s *scheduled.Stats) float64 {
		if s.Oldest.IsZero() {
			return 0
		}
		return max(0, now().Sub(s.Oldest).Seconds())
	})
	r.MustRegister(c)
	return s
}

// scheduledMetrics of messages that were to be sent later.
type scheduledMetrics struct {
	late    prometheus.Histogram
	failed  *prometheus.CounterVec
	retries prometheus.Counter
}

func newScheduledMetrics(r prometheus.Registerer) *scheduledMetrics {
	m := &scheduledMetrics{
		late: prometheus.NewHistogram(histogram("hub_scheduled_late_seconds", "Scheduled messages that were sent, by how late they were.",
			[]float64{0.1, 0.5, 1, 2, 5, 15, 60, 300, 3600, 86400})),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_scheduled_failed_total",
			Help: "Scheduled messages that were refused at their time, by reason."}, []string{"reason"}),
		retries: counter("hub_scheduled_retries_total", "Scheduled messages that could not be sent yet: the rate of their user, or something that was not there."),
	}
	r.MustRegister(m.late, m.failed, m.retries)
	return m
}

// Sent implements scheduled.Observer.
func (m *scheduledMetrics) Sent(late time.Duration) { m.late.Observe(late.Seconds()) }

// Failed implements scheduled.Observer.
func (m *scheduledMetrics) Failed(reason string) { m.failed.WithLabelValues(reason).Inc() }

// Retried implements scheduled.Observer.
func (m *scheduledMetrics) Retried() { m.retries.Inc() }
