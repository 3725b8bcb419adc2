package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/zumodra/hub"

type pkg struct {
	ImportPath, Dir, Name     string
	Imports                   []string
	GoFiles, IgnoredGoFiles   []string
	TestImports, XTestImports []string
}

func (p pkg) rel() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Imports,GoFiles,IgnoredGoFiles,TestImports,XTestImports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var ps []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	if len(ps) < 5 {
		t.Fatalf("only %d packages listed: the test looks at the wrong tree", len(ps))
	}
	return ps
}

func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// laws: a package under From may not import one under any of Not, except those under But.
var laws = []struct {
	From string
	Not  []string
	But  []string
	Why  string
}{
	{"chat", []string{""}, []string{"chat"}, "chat is the vocabulary; it knows nobody"},
	{"edge/reactor", []string{""}, []string{"edge/reactor"}, "the transport knows no chat and can be taken elsewhere"},
	{"edge", []string{"actors", "cluster", "storage", "internal", "client", "cmd"}, nil, "layers meet in chat and are joined by internal/node"},
	{"actors", []string{"edge", "cluster", "storage", "internal", "client", "cmd"}, nil, "layers meet in chat and are joined by internal/node"},
	{"cluster", []string{"edge", "actors", "storage", "internal", "client", "cmd"}, nil, "layers meet in chat and are joined by internal/node"},
	{"storage", []string{"edge", "actors", "cluster", "internal", "client", "cmd"}, nil, "layers meet in chat and are joined by internal/node"},
	{"storage/search", []string{"storage"}, []string{"storage/search"}, "an index is fed from the log; it never reads the store"},
	{"client", []string{"edge", "actors", "cluster", "storage", "internal", "cmd", "bench"}, nil, "the SDK is what users import: it must not drag the server in"},
	{"edge/frame", []string{"edge/session", "edge/rest", "edge/auth", "edge/reactor"}, nil, "the codec is pure"},
	{"actors/conversation", []string{"actors/directory"}, nil, "a conversation tells a Fanout, it does not know who delivers"},
	{"internal/config", []string{"edge", "actors", "cluster", "storage", "internal/node"}, nil, "configuration is plain data"},
}

// external: a third-party import may be used only under these places.
var external = []struct {
	Import string
	Only   []string
	Why    string
}{
	{"github.com/asynkron/protoactor-go/actor", []string{"actors"}, "protoactor types stay inside actors"},
	{"github.com/asynkron/protoactor-go/remote", nil, "its remote and cluster are not used"},
	{"github.com/asynkron/protoactor-go/cluster", nil, "its remote and cluster are not used"},
	{"github.com/cockroachdb/pebble", []string{"storage/pebble", "bench"}, "the engine hides its library; bench measures the bare one"},
	{"github.com/anishathalye/porcupine", []string{"bench/check"}, "the checker hides its library"},
	{"github.com/HdrHistogram/hdrhistogram-go", []string{"bench"}, "the load harness alone has histograms of its own"},
	{"github.com/gabriel-vasile/mimetype", []string{"chat/attachment"}, "one list of rules about files, which hides its library"},
	{"github.com/tus/tusd", []string{"edge/rest"}, "the protocol of resumable uploads is the API's alone"},
	{"github.com/minio/minio-go", []string{"storage/blob/s3"}, "the store hides its library"},
	{"github.com/gocql/gocql", []string{"storage/scylla", "bench"}, "the engine hides its driver; bench measures the bare one"},
	{"github.com/gobwas/ws", []string{"edge/reactor", "bench"}, "the transport hides its library; bench has it as a peer"},
	{"github.com/meilisearch/meilisearch-go", []string{"storage/search/meili"}, "the index hides its library"},
	{"github.com/hashicorp/memberlist", []string{"cluster/membership"}, "membership hides its library"},
	{"modernc.org/sqlite", []string{"storage/search/fts"}, "the index hides its library"},
	{"google.golang.org/protobuf", []string{"cluster/wire"}, "the codec hides its library"},
	{"github.com/planetscale/vtprotobuf", []string{"cluster/wire"}, "the codec hides its library"},
	{"github.com/prometheus/client_golang", []string{"internal/node", "internal/metrics", "bench"}, "packages report through small observers; one place names the metrics"},
}

func TestPackageLaw(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for _, l := range laws {
				if !under(p.rel(), l.From) || !under(imp, module) {
					continue
				}
				rel := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
				for _, not := range l.Not {
					if not != "" && !under(rel, not) {
						continue
					}
					allowed := false
					for _, but := range l.But {
						allowed = allowed || under(rel, but)
					}
					if !allowed {
						t.Errorf("%s imports %s: %s", p.rel(), rel, l.Why)
					}
				}
			}
			for _, e := range external {
				if !under(imp, e.Import) {
					continue
				}
				allowed := false
				for _, o := range e.Only {
					allowed = allowed || under(p.rel(), o)
				}
				if !allowed {
					t.Errorf("%s imports %s: %s", p.rel(), imp, e.Why)
				}
			}
		}
	}
}

func TestForbiddenNames(t *testing.T) {
	for _, p := range packages(t) {
		switch base := filepath.Base(p.ImportPath); base {
		case "util", "utils", "common", "helpers", "helper", "pkg", "misc":
			t.Errorf("%s: the name %q says nothing", p.rel(), base)
		}
	}
}

// TestEveryPackageIntroducesItself wants a package comment: in doc.go, or in main.go of a command.
func TestEveryPackageIntroducesItself(t *testing.T) {
	for _, p := range packages(t) {
		file := "doc.go"
		if p.Name == "main" {
			file = "main.go"
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: %v", p.rel(), err)
			continue
		}
		if f.Doc == nil || len(strings.Fields(f.Doc.Text())) < 12 {
			t.Errorf("%s/%s: the package comment does not say what the package is for", p.rel(), file)
		}
	}
}

// generated is the header that Go's tools know generated files by.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func TestFilesAreReadableInOneSitting(t *testing.T) {
	const limit = 700
	for _, p := range packages(t) {
		entries, err := os.ReadDir(p.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			b, err := os.ReadFile(filepath.Join(p.Dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if generated.Match(b) {
				continue // nobody reads it: its source is a schema that is read
			}
			if n := bytes.Count(b, []byte("\n")); n > limit {
				t.Errorf("%s/%s has %d lines (limit %d)", p.rel(), e.Name(), n, limit)
			}
		}
	}
}
