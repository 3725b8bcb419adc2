package node

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zumodra/hub/edge/rest"
)

// openAdmin binds the admin port.
func (n *Node) openAdmin() (err error) {
	n.adminLn, err = net.Listen("tcp", n.cfg.AdminListen)
	if err != nil {
		return fmt.Errorf("listening on the admin address: %w", err)
	}
	n.admin = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		Handler: rest.AdminHandler(rest.AdminConfig{
			Ready:   n.ready,
			Metrics: promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{Registry: n.metrics.registry}),
			Debug:   map[string]http.Handler{"gc": http.HandlerFunc(collectGarbage), "cluster": http.HandlerFunc(n.clusterPage)},
			Backup:  n.backupHandler(),
			Drain:   n.Drain,
			Reindex: http.HandlerFunc(n.reindex),
		}),
	}
	return nil
}

// collectGarbage gives all unused memory back, so that what is left can be measured.
func collectGarbage(w http.ResponseWriter, r *http.Request) {
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "heap_alloc %d\nheap_inuse %d\nstack_inuse %d\nsys %d\ngoroutines %d\n",
		m.HeapAlloc, m.HeapInuse, m.StackInuse, m.Sys, runtime.NumGoroutine())
}
