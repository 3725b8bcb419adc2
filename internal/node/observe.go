package node

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/session"
)

// actorMetrics implements actors.Observer.
type actorMetrics struct {
	activations, passivations, restarts, rejected, retries, duplicates prometheus.Counter

	batch, commit, accept, recipients prometheus.Histogram
	commands                          *prometheus.HistogramVec
	sent                              prometheus.Observer // of commands: a message accepted, found once
}

var nameOfSend = chat.Send{}.Name()

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func newActorMetrics(r prometheus.Registerer) *actorMetrics {
	m := &actorMetrics{
		activations:  counter("hub_conversation_activations_total", "Conversations brought into memory."),
		passivations: counter("hub_conversation_passivations_total", "Conversations that left memory."),
		restarts:     counter("hub_conversation_restarts_total", "Conversations loaded again after a panic: bugs."),
		rejected:     counter("hub_conversation_rejected_total", "Commands answered overloaded by a conversation."),
		retries:      counter("hub_conversation_commit_retries_total", "Commits whose outcome was unknown and that were written again."),
		duplicates:   counter("hub_duplicates_suppressed_total", "Commands that had been carried out before."),
		batch: prometheus.NewHistogram(histogram("hub_commit_events", "Events of one group commit, of all its conversations.",
			[]float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024})),
		commit: prometheus.NewHistogram(histogram("hub_commit_duration_seconds", "Time of one group commit, sync included.", latency)),
		accept: prometheus.NewHistogram(histogram("hub_message_accept_duration_seconds",
			"From the acceptance of a command until it was durable and handed to the fan-out.", latency)),
		recipients: prometheus.NewHistogram(histogram("hub_fanout_recipients", "Members that one delivery is for.",
			[]float64{1, 2, 5, 10, 50, 100, 500, 1000, 5000, 10000})),
		commands: prometheus.NewHistogramVec(histogram("hub_command_duration_seconds",
			"From the acceptance of a command by the hub to its answer.", latency), []string{"command", "outcome"}),
	}
	r.MustRegister(m.activations, m.passivations, m.restarts, m.rejected, m.retries, m.duplicates,
		m.batch, m.commit, m.accept, m.recipients, m.commands)
	m.sent = m.commands.WithLabelValues(nameOfSend, outcome(nil))
	return m
}

func (m *actorMetrics) Activated()       { m.activations.Inc() }
func (m *actorMetrics) Passivated()      { m.passivations.Inc() }
func (m *actorMetrics) Restarted()       { m.restarts.Inc() }
func (m *actorMetrics) Rejected()        { m.rejected.Inc() }
func (m *actorMetrics) CommitRetried()   { m.retries.Inc() }
func (m *actorMetrics) Duplicates(n int) { m.duplicates.Add(float64(n)) }

func (m *actorMetrics) Committed(events int, took time.Duration) {
	m.batch.Observe(float64(events))
	m.commit.Observe(took.Seconds())
}

func (m *actorMetrics) Answered(name string, err error, d time.Duration) {
	if err == nil && name == nameOfSend {
		m.sent.Observe(d.Seconds())
		return
	}
	m.commands.WithLabelValues(name, outcome(err)).Observe(d.Seconds())
}

func (m *actorMetrics) Published(recipients int, since time.Duration) {
	m.recipients.Observe(float64(recipients))
	m.accept.Observe(since.Seconds())
}

// outcome is "ok" or the wire's code for the error: a bounded set.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return string(frame.OutcomeOf(err).Code)
}

func hubCollector(take func() actors.Stats) prometheus.Collector {
	type S = actors.Stats
	c := &snapshot[S]{take: take}
	c.gauge("hub_conversations_active", "Conversations in memory.", func(s *S) float64 { return float64(s.Live) })
	c.gauge("hub_commit_queue_conversations", "Conversations whose commit waits for the next group.", func(s *S) float64 { return float64(s.Waiting) })
	c.gauge("hub_client_id_filter_bytes", "Memory of the filters that tell new client ids without a read.", func(s *S) float64 { return float64(s.SeenBytes) })
	c.gauge("hub_users_active", "Actors of users in memory.", func(s *S) float64 { return float64(s.Users) })
	c.counter("hub_suggestion_cache_hits_total", "Lists of suggested contacts that were remembered.", func(s *S) float64 { return float64(s.SuggestionHits) })
	c.counter("hub_suggestion_cache_misses_total", "Lists of suggested contacts that had to be made.", func(s *S) float64 { return float64(s.SuggestionMisses) })
	c.gauge("hub_last_seen_pending", "Last-seen times that wait to be written.", func(s *S) float64 { return float64(s.SeenPending) })
	c.counter("hub_last_seen_dropped_total", "Last-seen times that were not written.", func(s *S) float64 { return float64(s.SeenDropped) })
	c.counter("hub_direct_cache_hits_total", "Direct conversations found in the cache.", func(s *S) float64 { return float64(s.DirectHits) })
	c.counter("hub_link_previews_dropped_total", "Messages whose link was not looked at because too many waited.", func(s *S) float64 { return float64(s.PreviewsDropped) })
	c.counter("hub_list_cache_hits_total", "Conversations of a list that were known from an earlier one.", func(s *S) float64 { return float64(s.StandingHits) })
	c.counter("hub_list_cache_misses_total", "Conversations of a list that had to be read.", func(s *S) float64 { return float64(s.StandingMisses) })
	c.counter("hub_direct_cache_misses_total", "Direct conversations not found in the cache.", func(s *S) float64 { return float64(s.DirectMisses) })
	c.counter("hub_directory_deliveries_total", "Deliveries given to directory groups.", func(s *S) float64 { return float64(s.Directory.Deliveries) })
	c.counter("hub_directory_overflows_total", "Durable deliveries that found a directory group full.", func(s *S) float64 { return float64(s.Directory.Overflows) })
	c.counter("hub_directory_shed_total", "Typing notices dropped at a full directory group.", func(s *S) float64 { return float64(s.Directory.Shed) })
	c.counter("hub_directory_rebuilds_total", "Session sets computed anew.", func(s *S) float64 { return float64(s.Directory.Rebuilt) })
	return c
}

// sessionMetrics implements session.Observer.
type sessionMetrics struct {
	opened    *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	closed    *prometheus.CounterVec
	in        *prometheus.CounterVec
	commands  *prometheus.HistogramVec
	delivered *prometheus.CounterVec
	delivery  prometheus.Histogram
	resumes   *prometheus.CounterVec
	resumed   prometheus.Counter

	// What every message counts into, found once.
	sendIn     prometheus.Counter
	sent       prometheus.Observer
	messageOut prometheus.Counter
}

var nameOfMessage = chat.EventMessage.String()

func vec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func newSessionMetrics(r prometheus.Registerer) *sessionMetrics {
	m := &sessionMetrics{
		opened: prometheus.NewHistogramVec(histogram("hub_session_handshake_duration_seconds",
			"From the upgrade request to the status frame.", latency), []string{"path"}),
		refused: vec("hub_session_refused_total", "Sessions refused before they were open, by close code or HTTP status.", "code"),
		closed:  vec("hub_session_closed_total", "Open sessions that ended, by close code.", "code"),
		in:      vec("hub_session_frames_total", "Frames received by type.", "type"),
		commands: prometheus.NewHistogramVec(histogram("hub_session_command_duration_seconds",
			"From a client's frame to its outcome.", latency), []string{"type", "code"}),
		delivered: vec("hub_session_delivered_total", "Frames handed to the transport, once per session, by type.", "type"),
		delivery: prometheus.NewHistogram(histogram("hub_message_delivery_duration_seconds",
			"From the acceptance of a command until its frames were handed to the transport.", latency)),
		resumes: vec("hub_session_resumes_total", "Resumes by outcome.", "outcome"),
		resumed: counter("hub_session_resumed_events_total", "Events replayed by resumes."),
	}
	r.MustRegister(m.opened, m.refused, m.closed, m.in, m.commands, m.delivered, m.delivery, m.resumes, m.resumed)
	m.sendIn = m.in.WithLabelValues(frame.SendMessage.String())
	m.sent = m.commands.WithLabelValues(frame.SendMessage.String(), "ok")
	m.messageOut = m.delivered.WithLabelValues(nameOfMessage)
	return m
}

func (m *sessionMetrics) Opened(single bool, d time.Duration) {
	path := "all"
	if single {
		path = "one"
	}
	m.opened.WithLabelValues(path).Observe(d.Seconds())
}

func (m *sessionMetrics) Refused(code uint16) { m.refused.WithLabelValues(closeLabel(code)).Inc() }
func (m *sessionMetrics) Closed(code uint16)  { m.closed.WithLabelValues(closeLabel(code)).Inc() }

func (m *sessionMetrics) FrameIn(t frame.Type) {
	if t == frame.SendMessage {
		m.sendIn.Inc()
		return
	}
	m.in.WithLabelValues(t.String()).Inc()
}

func (m *sessionMetrics) Delivered(n string, sessions int) {
	if n == nameOfMessage {
		m.messageOut.Add(float64(sessions))
		return
	}
	m.delivered.WithLabelValues(n).Add(float64(sessions))
}
func (m *sessionMetrics) AcceptedToEdge(d time.Duration) { m.delivery.Observe(d.Seconds()) }

func (m *sessionMetrics) Command(t frame.Type, code frame.Code, d time.Duration) {
	if t == frame.SendMessage && code == "" {
		m.sent.Observe(d.Seconds())
		return
	}
	c := string(code)
	if c == "" {
		c = "ok"
	}
	m.commands.WithLabelValues(t.String(), c).Observe(d.Seconds())
}

func (m *sessionMetrics) Resumed(outcome string, events int) {
	m.resumes.WithLabelValues(outcome).Inc()
	m.resumed.Add(float64(events))
}

// closeLabel bounds what peers can make of a label: codes that the hub does not use are one.
func closeLabel(code uint16) string {
	switch {
	case code < 1016, code >= 4000 && code < 4030:
		return strconv.Itoa(int(code))
	}
	return "other"
}

func sessionCollector(take func() session.Stats) prometheus.Collector {
	type S = session.Stats
	c := &snapshot[S]{take: take}
	c.gauge("hub_sessions_open", "Sessions that are open.", func(s *S) float64 { return float64(s.Open) })
	c.gauge("hub_sessions_opening", "Sessions on the way to open.", func(s *S) float64 {
		return float64(s.Verifying + s.Introducing + s.Attaching)
	})
	c.gauge("hub_sessions_closing", "Sessions on the way to closed.", func(s *S) float64 { return float64(s.Closing) })
	c.gauge("hub_users_connected", "Users with at least one session.", func(s *S) float64 { return float64(s.Users) })
	c.gauge("hub_session_work_queue_jobs", "Jobs that wait for a session worker.", func(s *S) float64 { return float64(s.WorkQueue) })
	return c
}
