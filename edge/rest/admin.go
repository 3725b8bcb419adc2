package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"html/template"
	"io"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AdminConfig of the handler of the admin port. The zero value works.
type AdminConfig struct {
	// Ready answers the checks that readiness depends on; nil: always ready.
	Ready func(context.Context) []Check
	// Metrics serves /metrics; nil: 404.
	Metrics http.Handler
	// FlightTrace writes the last seconds of the execution trace: the method WriteTo of a started
	// runtime/trace.FlightRecorder; nil: 404.
	FlightTrace func(io.Writer) (int64, error)
	// Debug are further pages under /debug/, by name.
	Debug map[string]http.Handler
	// Backup answers POST /admin/backup with an archive of the data; nil: 404.
	Backup http.Handler
	// Reindex serves /admin/reindex; nil: 404.
	Reindex http.Handler
	// Drain is called by POST /admin/drain; it must not block. nil: 404.
	Drain func()
	// Timeout bounds the checks; default 5 s.
	Timeout time.Duration
}

// AdminHandler serves the admin port, which is for operators and orchestrators and not for the public:
// /livez, /readyz, /metrics, /admin/ and /debug/. It asks for no credential: who can reach the port may use it.
func AdminHandler(cfg AdminConfig) http.Handler {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", cfg.readyz)
	if cfg.Metrics != nil {
		mux.Handle("GET /metrics", cfg.Metrics)
	}
	if cfg.Backup != nil {
		mux.Handle("POST /admin/backup", cfg.Backup)
	}
	if cfg.Reindex != nil {
		mux.Handle("/admin/reindex", cfg.Reindex)
	}
	if cfg.Drain != nil {
		mux.HandleFunc("POST /admin/drain", func(w http.ResponseWriter, _ *http.Request) {
			cfg.Drain()
			plain(w, http.StatusAccepted, "draining\n")
		})
	}
	pages := []string{"pprof/", "build"}
	mux.HandleFunc("/debug/build", build)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	if cfg.FlightTrace != nil {
		pages = append(pages, "flighttrace")
		mux.HandleFunc("/debug/flighttrace", cfg.flightTrace)
	}
	for name, h := range cfg.Debug {
		pages = append(pages, name)
		mux.Handle("/debug/"+name, h)
	}
	slices.Sort(pages)
	mux.HandleFunc("/debug/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = debugIndex.Execute(w, pages) // the client is gone
	})
	return mux
}

var debugIndex = template.Must(template.New("debug").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>debug</title>
<ul>{{range .}}<li><a href="/debug/{{.}}">{{.}}</a>{{end}}</ul>
</html>
`))

func plain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client is gone
}

// readyz answers 503 while any check fails; ?verbose lists them all, as Kubernetes' own servers do.
func (cfg AdminConfig) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), cfg.Timeout)
	defer cancel()
	var checks []Check
	if cfg.Ready != nil {
		checks = cfg.Ready(ctx)
	}
	status, verdict := http.StatusOK, "ok\n"
	var list strings.Builder
	for _, c := range checks {
		mark := "[+]"
		if !c.OK {
			mark, status, verdict = "[-]", http.StatusServiceUnavailable, "not ready\n"
		}
		list.WriteString(mark + c.Name)
		if c.Detail != "" {
			list.WriteString(" " + c.Detail)
		}
		list.WriteByte('\n')
	}
	if _, verbose := r.URL.Query()["verbose"]; verbose || status != http.StatusOK {
		verdict = list.String() + verdict
	}
	plain(w, status, verdict)
}

func build(w http.ResponseWriter, _ *http.Request) {
	info, _ := debug.ReadBuildInfo()
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		plain(w, http.StatusInternalServerError, "no build information\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // the client is gone
}

func (cfg AdminConfig) flightTrace(w http.ResponseWriter, _ *http.Request) {
	var buf bytes.Buffer // whole or not at all: the status comes first
	if _, err := cfg.FlightTrace(&buf); err != nil {
		plain(w, http.StatusServiceUnavailable, "the flight recorder has nothing to show: "+err.Error()+"\n")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="flight.trace"`)
	h.Set("Content-Length", strconv.Itoa(buf.Len()))
	_, _ = w.Write(buf.Bytes()) // the client is gone
}
