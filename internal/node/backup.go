package node

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/internal/backups"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage/pebble"
)

// Package backups knows the directory of the store by the same name, or this does not compile.
var _ = map[bool]struct{}{false: {}, StoreDir == backups.StoreDir: {}}

// openBackups makes what serves POST /admin/backup.
func (n *Node) openBackups(e *pebble.Engine) (err error) {
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hub_backups_total",
		Help: "Backups that were asked for, by how they ended."}, []string{"outcome"})
	last := prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_backup_last_success_timestamp_seconds",
		Help: "When the last backup began that was made completely; 0: none since the start."})
	took := prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_backup_last_duration_seconds",
		Help: "How long the last complete backup took."})
	n.metrics.registry.MustRegister(ended, last, took)
	for _, outcome := range []string{"ok", "refused", "canceled", "error"} {
		ended.WithLabelValues(outcome)
	}
	n.backups, err = backups.NewLive(backups.LiveConfig{
		Engine: e, Data: n.cfg.Data, Version: n.opts.Version, Now: n.opts.Now, Logger: n.log,
		Observe: func(outcome string, began time.Time, d time.Duration) {
			ended.WithLabelValues(outcome).Inc()
			if outcome == "ok" {
				last.Set(float64(began.UnixMilli()) / 1e3)
				took.Set(d.Seconds())
			}
		},
	})
	if err != nil {
		return fmt.Errorf("preparing backups: %w", err)
	}
	return nil
}

// backupHandler refuses what a page of another origin sends: the admin port asks for no credential.
func (n *Node) backupHandler() http.Handler {
	if n.cfg.Store == config.StoreScylla {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Backups are of the embedded store. A cluster is backed up with its own snapshots: see docs/storage.md.", http.StatusNotImplemented)
		})
	}
	return http.NewCrossOriginProtection().Handler(n.backups)
}
