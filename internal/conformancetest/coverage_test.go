package conformancetest_test

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/internal/conformancetest"
)

// unprovoked is what nobody outside can bring about at will, and where it is tested instead. An entry that a vector covers
// after all fails the test, as does one that the hub does not know.
var unprovoked = map[string]string{
	conformancetest.ServerFrame("head"):          "a node sends it where deliveries between nodes got lost (edge/session, internal/clustertest)",
	conformancetest.ServerFrame("read_count"):    "it takes a group of 257 (actors, edge/frame)",
	conformancetest.ServerFrame("link_preview"):  "it takes --link-previews and a page on a public address (internal/node)",
	conformancetest.ErrorCode("overloaded"):      "queues inside must be full (actors, edge/session)",
	conformancetest.ErrorCode("unavailable"):     "the storage must be out of reach (internal/crashtest, cmd/hub)",
	conformancetest.ErrorCode("outcome_unknown"): "the storage must fail in the middle of a write (actors, internal/crashtest)",
	conformancetest.ErrorCode("gone"):            "a request to a conversation that is gone is answered not_found; its sockets have been closed with 4004 before",
	conformancetest.ErrorCode("suspended"):       "sockets of who is suspended are closed with 4003, so that nobody is left to be told so in a frame (edge/session)",
	conformancetest.ErrorCode("file_infected"):   "it takes a virus scanner (internal/node, edge/frame)",
	conformancetest.ErrorCode("internal"):        "it takes a defect (edge/session)",
	conformancetest.CloseCode(1011):              "it takes a defect (edge/session)",
	conformancetest.CloseCode(1013):              "queues inside must be full (edge/session)",
	conformancetest.CloseCode(4008):              "it takes as much unread as the system buffers, which no vector can say (edge/reactor)",

	conformancetest.Response("GET /health/", http.StatusServiceUnavailable):                          "the storage must be out of reach (cmd/hub)",
	conformancetest.Response("GET /health/ready/", http.StatusServiceUnavailable):                    "the storage must be out of reach (cmd/hub)",
	conformancetest.Response("POST /api/v1/messages/contacts/", http.StatusNotFound):                 "the contact must be removed between the two halves of the request",
	conformancetest.Response("POST /api/v1/messages/messages/{id}/pin/", http.StatusBadRequest):      "it takes more pinned messages than a vector should have steps (internal/node)",
	conformancetest.Response("POST /api/v1/messages/conversations/{id}/pin/", http.StatusBadRequest): "it takes more pinned conversations than a vector should have steps (actors)",
	conformancetest.Response("PATCH /api/v1/messages/scheduled/{id}/", http.StatusConflict):          "it must be asked in the moment of sending (edge/rest, actors/scheduled)",
	conformancetest.Response("DELETE /api/v1/messages/scheduled/{id}/", http.StatusConflict):         "it must be asked in the moment of sending (edge/rest, actors/scheduled)",
	// What the document leaves to errors of the layers below (edge/rest), and no request brings about.
	conformancetest.Response("DELETE /api/v1/messages/blocked/{id}/", http.StatusBadRequest):               "there is nothing in it to be wrong but the id, which is 404",
	conformancetest.Response("POST /api/v1/messages/conversations/{id}/mark_read/", http.StatusBadRequest): "there is nothing in it to be wrong but the id, which is 404",
	conformancetest.Response("GET /api/v1/messages/preferences/", http.StatusNotFound):                     "every user has preferences",
	conformancetest.Response("PATCH /api/v1/messages/preferences/", http.StatusNotFound):                   "every user has preferences",
}

// operations of the OpenAPI document with their statuses, except default.
func operations(t *testing.T) map[string][]int {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal(rest.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	out := map[string][]int{}
	for path, item := range doc.Paths {
		for method, node := range item {
			if method == "parameters" {
				continue
			}
			var op struct{ Responses map[string]yaml.Node }
			if err := node.Decode(&op); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			name := strings.ToUpper(method) + " " + path
			for status := range op.Responses {
				if n, err := strconv.Atoi(status); err == nil {
					out[name] = append(out[name], n)
				}
			}
		}
	}
	if len(out) < 50 {
		t.Fatalf("only %d operations in the OpenAPI document", len(out))
	}
	return out
}

// A frame type, error code, close code or response that is new needs a vector.
func TestReq173_EveryFrameAndRouteHasAVector(t *testing.T) {
	statuses := operations(t)
	names := slices.Sorted(maps.Keys(statuses))
	covered := conformancetest.Coverage{}
	for _, v := range load(t) {
		covered.Cover(v, names)
	}
	known := map[string]bool{}
	want := func(what, file string) {
		known[what] = true
		switch why := unprovoked[what]; {
		case covered[what] && why != "":
			t.Errorf("%s is listed as one that cannot be provoked (%s), but a vector does: take it off the list", what, why)
		case !covered[what] && why == "":
			t.Errorf("%s: no vector. Add a step without what it expects to docs/conformance/%s.json (new, or there already; any file below "+
				"that directory counts), run\n\tgo test ./internal/conformancetest -run TestReq173_Vectors/%s -record\nand check what it wrote. "+
				"Nobody outside can provoke it? Then say why in unprovoked, in coverage_test.go.", what, file, file)
		}
	}
	for _, f := range frame.Types {
		if f.FromClient {
			want(conformancetest.ClientFrame(f.Name), "ws/"+f.Name)
		} else {
			want(conformancetest.ServerFrame(f.Name), "ws/"+f.Name)
		}
	}
	for _, c := range frame.Codes {
		want(conformancetest.ErrorCode(string(c)), "ws/errors")
	}
	for _, c := range frame.CloseCodes {
		want(conformancetest.CloseCode(int(c.Code)), "ws/connect")
	}
	for _, op := range names {
		for _, status := range statuses[op] {
			want(conformancetest.Response(op, status), "rest/"+file(op, status))
		}
	}
	for what := range unprovoked {
		if !known[what] {
			t.Errorf("%s is listed as one that cannot be provoked, but the hub does not know it", what)
		}
	}
}

// file is where a response belongs: the resource of its path, but for what all routes have.
func file(op string, status int) string {
	if status == http.StatusUnauthorized {
		return "unauthorized"
	}
	_, path, _ := strings.Cut(op, " ")
	for _, prefix := range []string{"/api/v1/messages/", "/api/v1/", "/api/", "/"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok && rest != "" {
			path = rest
			break
		}
	}
	name, _, _ := strings.Cut(path, "/")
	return name
}
