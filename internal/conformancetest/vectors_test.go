package conformancetest_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zumodra/hub/internal/conformancetest"
)

const pack = "../../docs/conformance"

var record = flag.Bool("record", false, "fill in what came for the steps of the vectors that do not say what they expect")

func load(t *testing.T) []*conformancetest.Vector {
	t.Helper()
	all, err := conformancetest.Load(os.DirFS(pack))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no vectors")
	}
	return all
}

// Every vector of the pack, against the real binary: one hub for all that ask for the same server.
func TestReq173_Vectors(t *testing.T) {
	all := load(t)
	hubs := map[string]*hub{}
	for _, v := range all {
		if hubs[v.Server] == nil && v.Server != "drained" {
			hubs[v.Server] = start(t, v.Server)
		}
	}
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			h := hubs[v.Server]
			if h == nil {
				h = start(t, v.Server) // it does not outlive the vector
			}
			r := h.runner()
			r.Record = *record
			if err := r.Run(t.Context(), v); err != nil {
				t.Error(err)
			}
			layout, err := v.Layout()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(pack, v.Name+".json")
			if *record {
				if err := os.WriteFile(file, layout, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, layout) {
				t.Errorf("%s is not in the layout of the pack: run\n\tgo test ./internal/conformancetest -run 'TestReq173_Vectors/%s$' -record",
					file, strings.ReplaceAll(v.Name, " ", "_"))
			}
		})
	}
}
