package rest_test

import (
	"context"
	"slices"
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
