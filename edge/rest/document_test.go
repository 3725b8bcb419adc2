package rest_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zumodra/hub/edge/rest"
)

func TestDocumentIsValid(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// The document and the mux name the same operations.
func TestReq113_DocumentNamesEveryRoute(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(described)
	b := newBench(t)
	if diff := cmp.Diff(b.api.Routes(), described); diff != "" {
		t.Errorf("served (-) and described (+):\n%s", diff)
	}
}

func TestReq113_DocumentIsServed(t *testing.T) {
	b := newBench(t)
	a := b.as("", "GET", "/api/openapi.yaml", "")
	if a.status != 200 || a.body != string(rest.OpenAPI()) || a.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%d %s, %d bytes", a.status, a.header.Get("Content-Type"), len(a.body))
	}
}

// People read the documents in a browser, with nothing from elsewhere.
func TestDocumentsAreBrowsable(t *testing.T) {
	b := newBench(t, func(c *rest.Config) {
		c.Sockets = rest.SocketDocuments{AsyncAPI: []byte("asyncapi: 3.0.0\n"), Page: []byte("<h1>frames</h1>")}
	})
	for _, c := range []struct{ path, kind, text string }{
		{"/api/docs/", "text/html", "/api/openapi.yaml"},
		{"/api/docs/", "text/html", "/api/docs/websocket/"},
		{"/api/docs/swagger-ui-bundle.js", "javascript", "SwaggerUIBundle"},
		{"/api/docs/swagger-ui.css", "text/css", ".swagger-ui"},
		{"/api/docs/websocket/", "text/html", "<h1>frames</h1>"},
		{"/api/asyncapi.yaml", "application/yaml", "asyncapi: 3.0.0"},
	} {
		a := b.as("", "GET", c.path, "")
		if a.status != 200 || !strings.Contains(a.header.Get("Content-Type"), c.kind) || !strings.Contains(a.body, c.text) {
			t.Errorf("%s: %d, %s, %d bytes", c.path, a.status, a.header.Get("Content-Type"), len(a.body))
		}
		if strings.Contains(c.path, "docs") && !strings.Contains(a.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s may be framed", c.path)
		}
	}
	for _, c := range []struct{ method, path string }{{"GET", "/api/docs/nothing.js"}, {"POST", "/api/docs/"}, {"GET", "/api/docs/a/b"}} {
		if a := b.as("", c.method, c.path, ""); a.status != 404 {
			t.Errorf("%s %s: %d", c.method, c.path, a.status)
		}
	}
	if a := newBench(t).as("", "GET", "/api/asyncapi.yaml", ""); a.status != 404 {
		t.Errorf("%d without sockets", a.status)
	}
}
