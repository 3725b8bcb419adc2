package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/actors/projection/searchindex"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/fts"
	"github.com/zumodra/hub/storage/search/meili"
)

// openSearch opens the index that --search names. One that runs elsewhere need not answer for that.
func (n *Node) openSearch() (err error) {
	if n.opts.Index != nil {
		n.index = n.opts.Index
		return nil
	}
	switch n.cfg.Search {
	case "fts":
		var index *fts.Index
		if index, err = fts.Open(fts.Config{Dir: filepath.Join(n.cfg.Data, SearchDir), Logger: n.log}); err != nil {
			return fmt.Errorf("opening the search index: %w", err)
		}
		n.index = index
	case "meili": // which need not be there yet
		var index *meili.Index
		if index, err = meili.Open(meili.Config{URL: n.cfg.MeiliURL, KeyFile: n.cfg.MeiliKeyFile, Prefix: n.cfg.MeiliIndexPrefix, Logger: n.log}); err != nil {
			return fmt.Errorf("opening the search index: %w", err)
		}
		n.index = index
	case "", "off":
	default:
		return fmt.Errorf("--search %s is not known", n.cfg.Search)
	}
	return nil
}

// joinSearch makes the index follow the logs, and the hub ask it.
func (n *Node) joinSearch(c *actors.Config) {
	if n.index == nil {
		return
	}
	index := n.index
	c.Search = index
	c.Consumers = append(c.Consumers, searchindex.New(index, func(ctx context.Context) (projection.Rebuild, error) {
		return index.Rebuild(ctx)
	}))
	c.Searched = newSearchMetrics(n.metrics.registry).searched
}

// watchSearch exports the state of the consumers and of the index.
func (n *Node) watchSearch(r prometheus.Registerer) {
	if n.index == nil {
		return
	}
	r.MustRegister(newProjectionCollector(n.hub.Projections, n.opts.Now), indexCollector(n.index.Stats))
}

// searchChecks tell of the index. It is no reason not to be ready: everything but search works without it.
func (n *Node) searchChecks() []rest.Check {
	if n.index == nil || n.state.Load() != serving {
		return nil
	}
	c := rest.Check{Name: "search", OK: true, Detail: "ok"}
	for _, s := range n.hub.Projections() {
		switch {
		case s.Consumer != searchindex.Name || s.Rebuild:
		case !s.Healthy:
			c.Detail = fmt.Sprintf("unavailable (readiness does not depend on it), %d events behind: %s", s.Lag, s.Error)
		case s.Feeding:
			c.Detail = fmt.Sprintf("ok, being filled: %d of %d conversations", s.Done, s.Total)
		}
	}
	return []rest.Check{c}
}

// reindexView is the state of a rebuild as JSON.
type reindexView struct {
	Phase         string     `json:"phase"` // none, starting, feeding, committing, done, failed, cancelled
	Started       *time.Time `json:"started,omitempty"`
	Ended         *time.Time `json:"ended,omitempty"`
	Conversations int        `json:"conversations"`
	Total         int        `json:"total"` // conversations; 0 before they were counted
	Events        uint64     `json:"events"`
	Failures      uint64     `json:"failures"`
	Error         string     `json:"error,omitempty"`
}

// reindex makes the search index anew: POST begins, GET tells, DELETE cancels.
func (n *Node) reindex(w http.ResponseWriter, r *http.Request) {
	status, err := http.StatusOK, error(nil)
	if n.state.Load() != serving { // there may be no hub yet
		http.Error(w, "the node is not serving", http.StatusServiceUnavailable)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		status, err = http.StatusAccepted, n.hub.Rebuild(searchindex.Name)
	case http.MethodDelete:
		status, err = http.StatusAccepted, n.hub.CancelRebuild(searchindex.Name)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, DELETE")
		http.Error(w, "GET, POST or DELETE", http.StatusMethodNotAllowed)
		return
	}
	switch {
	case errors.Is(err, projection.ErrRebuilding):
		status = http.StatusConflict
	case errors.Is(err, projection.ErrNoRebuild) && r.Method == http.MethodDelete:
		status = http.StatusNotFound
	case errors.Is(err, projection.ErrScattered):
		http.Error(w, "this node does not serve all conversations of the cluster, and the index cannot be made anew by several nodes", http.StatusConflict)
		return
	case err != nil:
		http.Error(w, "there is no search index to make anew, or the node is not serving", http.StatusServiceUnavailable)
		return
	}
	v := reindexView{Phase: "none"}
	if st, ok := n.hub.RebuildStatus(searchindex.Name); ok {
		v = reindexView{Phase: string(st.Phase), Started: &st.Started, Conversations: st.Done, Total: st.Total,
			Events: st.Events, Failures: st.Failures, Error: st.Error}
		if !st.Running() {
			v.Ended = &st.Ended
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone
}

// searchMetrics of searches.
type searchMetrics struct {
	took  *prometheus.HistogramVec
	found prometheus.Histogram
	stale prometheus.Counter
}

func newSearchMetrics(r prometheus.Registerer) *searchMetrics {
	m := &searchMetrics{
		took: prometheus.NewHistogramVec(histogram("hub_search_duration_seconds",
			"Searches, with the check of what the index found.", latency), []string{"outcome"}),
		found: prometheus.NewHistogram(histogram("hub_search_results", "Messages that one search found.",
			[]float64{0, 1, 2, 5, 10, 20, 50})),
		stale: counter("hub_search_stale_hits_total", "Hits of the index that were not true any more."),
	}
	r.MustRegister(m.took, m.found, m.stale)
	return m
}

func (m *searchMetrics) searched(err error, found, stale int, took time.Duration) {
	m.took.WithLabelValues(outcome(err)).Observe(took.Seconds())
	if err == nil {
		m.found.Observe(float64(found))
	}
	m.stale.Add(float64(stale))
}

func indexCollector(take func() search.Stats) prometheus.Collector {
	type S = search.Stats
	c := &snapshot[S]{take: take}
	c.gauge("hub_search_index_documents", "Messages in the index; -1: not known.", func(s *S) float64 { return float64(s.Documents) })
	c.gauge("hub_search_index_tasks", "Changes handed to a search server and not finished yet.", func(s *S) float64 { return float64(s.Tasks) })
	c.gauge("hub_search_index_last_apply_seconds", "How long the newest batch took.", func(s *S) float64 { return s.LastApply.Seconds() })
	c.counter("hub_search_index_applied_total", "Messages written to the index.", func(s *S) float64 { return float64(s.Applied) })
	c.counter("hub_search_index_removed_total", "Messages removed from the index.", func(s *S) float64 { return float64(s.Removed) })
	c.counter("hub_search_index_rejected_total", "Messages that the index could not take.", func(s *S) float64 { return float64(s.Rejected) })
	c.counter("hub_search_index_failures_total", "Batches that failed.", func(s *S) float64 { return float64(s.Failures) })
	return c
}

// projectionCollector exports the consumers. The label data tells a rebuild from the data in use.
type projectionCollector struct {
	take func() []projection.Stats
	now  func() time.Time

	healthy, waiting, lag, oldest, done, total *prometheus.Desc
	applied, failures, overflows               *prometheus.Desc
}

func newProjectionCollector(take func() []projection.Stats, now func() time.Time) *projectionCollector {
	labels := []string{"consumer", "data"}
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, labels, nil) }
	return &projectionCollector{take: take, now: now,
		healthy:   desc("hub_projection_healthy", "1 while the consumer takes what it is fed."),
		waiting:   desc("hub_projection_waiting_conversations", "Conversations that wait for the consumer."),
		lag:       desc("hub_projection_lag_events", "Events that were committed and not applied; a lower bound after a restart."),
		oldest:    desc("hub_projection_lag_seconds", "Age of the oldest event that was committed and not applied."),
		done:      desc("hub_projection_feeding_conversations", "Conversations done while everything is fed; 0 otherwise."),
		total:     desc("hub_projection_feeding_conversations_wanted", "Conversations to do while everything is fed; 0 otherwise."),
		applied:   desc("hub_projection_applied_events_total", "Events that the consumer took."),
		failures:  desc("hub_projection_failures_total", "Attempts to feed the consumer that failed."),
		overflows: desc("hub_projection_overflows_total", "Commits that found the queue of the consumer full; the conversations are found by their marks."),
	}
}

// Describe implements prometheus.Collector.
func (c *projectionCollector) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, ch)
}

// Collect implements prometheus.Collector.
func (c *projectionCollector) Collect(ch chan<- prometheus.Metric) {
	now := c.now()
	for _, s := range c.take() {
		data := "current"
		if s.Rebuild {
			data = "rebuild"
		}
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Consumer, data)
		}
		count := func(d *prometheus.Desc, v uint64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), s.Consumer, data)
		}
		healthy, age := 0.0, 0.0
		if s.Healthy {
			healthy = 1
		}
		if !s.Oldest.IsZero() {
			age = max(0, now.Sub(s.Oldest).Seconds())
		}
		gauge(c.healthy, healthy)
		gauge(c.waiting, float64(s.Waiting))
		gauge(c.lag, float64(s.Lag))
		gauge(c.oldest, age)
		gauge(c.done, float64(s.Done))
		gauge(c.total, float64(s.Total))
		count(c.applied, s.Applied)
		count(c.failures, s.Failures)
		count(c.overflows, s.Overflows)
	}
}
