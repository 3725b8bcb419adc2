package rest

import (
	"context"
	"net/http"
	"strings"
)

// healthView is what the original's /health/ answers (contract §8).
type healthView struct {
	Status    string `json:"status"` // healthy, degraded
	Timestamp string `json:"timestamp"`
	Version   string `json:"version"`
	Database  string `json:"database"` // ok, error
	Cache     string `json:"cache"`    // ok: it is part of the process that answers
}

// healthy reports whether the node is ready and, apart, whether its storage is.
func (a *API) healthy(ctx context.Context) (ready, storage bool) {
	ready, storage = true, true
	if a.cfg.Ready == nil {
		return
	}
	for _, c := range a.cfg.Ready(ctx) {
		if !c.OK {
			ready = false
			if strings.HasPrefix(c.Name, "storage") {
				storage = false
			}
		}
	}
	return
}

func (a *API) health(ctx context.Context, _ *call) response {
	ready, storage := a.healthy(ctx)
	v := healthView{
		Status: "healthy", Timestamp: a.cfg.Now().UTC().Format(metaTime), Version: a.cfg.Version,
		Database: "ok", Cache: "ok",
	}
	if !storage {
		v.Database = "error"
	}
	if !ready {
		v.Status = "degraded"
		return response{status: http.StatusServiceUnavailable, body: v}
	}
	return ok(v)
}

func (a *API) healthReady(ctx context.Context, _ *call) response {
	ready, _ := a.healthy(ctx)
	res := ok(map[string]bool{"ready": ready})
	if !ready {
		res.status = http.StatusServiceUnavailable
	}
	return res
}

func (a *API) healthLive(context.Context, *call) response { return ok(map[string]bool{"alive": true}) }

const index = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>hub</title>
<h1>hub</h1>
<p>A messaging server. <a href="/api/docs/">API description</a> · <a href="/health/">health</a></p>
</html>
`

// root serves what is not the API.
func (a *API) root(w http.ResponseWriter, r *http.Request) {
	if a.cfg.Root != nil {
		a.cfg.Root.ServeHTTP(w, r)
		return
	}
	switch {
	case r.URL.Path != "/":
		notFound.write(w, r.Method)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		res := fail(http.StatusMethodNotAllowed, `Method "`+printable(r.Method)+`" not allowed.`)
		res.header = map[string]string{"Allow": "GET, HEAD"}
		res.write(w, r.Method)
	default:
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'")
		response{status: http.StatusOK, raw: []byte(index)}.write(w, r.Method)
	}
}
