package rest

import (
	"context"
	_ "embed"
	"net/http"

	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the document that describes the API, as YAML. The caller does not change it.
func OpenAPI() []byte { return openAPI }

func (a *API) document(_ context.Context, c *call) response {
	c.w.Header().Set("Content-Type", "application/yaml")
	return response{status: http.StatusOK, raw: openAPI}
}

func (a *API) socketDocument(_ context.Context, c *call) response {
	if a.cfg.Sockets.AsyncAPI == nil {
		return notFound
	}
	c.w.Header().Set("Content-Type", "application/yaml")
	return response{status: http.StatusOK, raw: a.cfg.Sockets.AsyncAPI}
}

const docsPath = "/api/docs"

// browse adds the pages on which people read the documents: Swagger UI, whose files the binary has in it, and the
// WebSocket protocol's own. They are no part of the API that they show.
func (a *API) browse() {
	ui := v5emb.NewHandlerWithConfig(swgui.Config{Title: "hub REST API", SwaggerJSON: "/api/openapi.yaml", BasePath: docsPath,
		AppendHTML: `<p style="text-align: center"><a href="` + docsPath + `/websocket/">WebSocket protocol</a></p>`})
	page := func(csp string, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				a.missing.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Security-Policy", csp+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			h.ServeHTTP(w, r)
		})
	}
	scripts := page("default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:", ui)
	a.mux.Handle(docsPath, scripts)
	a.mux.Handle(docsPath+"/{file}", scripts)
	if p := a.cfg.Sockets.Page; p != nil {
		a.mux.Handle(docsPath+"/websocket", page("default-src 'none'; style-src 'unsafe-inline'", http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				response{status: http.StatusOK, raw: p}.write(w, r.Method)
			})))
	}
}
