package scenario_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/zumodra/hub/bench/scenario"
)

// written is a scenario file as the schema sees it.
func written(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(scenario.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const dir = "../scenarios"

func TestScenariosThatComeWithHubbench(t *testing.T) {
	want := []string{"centrifugo-shape", "dm-mix", "history-scroll", "hot-conversation", "idle", "office-day", "reconnect-storm",
		"rolling-restart", "search-heavy", "slow-consumer", "smoke", "soak", "town-hall"}
	names := scenario.Names()
	for _, name := range want {
		if !slices.Contains(names, name) {
			t.Errorf("there is no scenario %s", name)
		}
	}
	schema := schema(t)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			s, err := scenario.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != name || s.About == "" || len(s.Thresholds) == 0 || s.Thresholds[0] != "violations == 0" {
				t.Errorf("name %q, about %q, thresholds %v", s.Name, s.About, s.Thresholds)
			}
			text, err := os.ReadFile(filepath.Join(dir, name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{string(text), s.Text()} {
				if err := schema.Validate(written(t, text)); err != nil {
					t.Errorf("the schema refuses it: %v", err)
				}
			}
			again, err := scenario.Decode(strings.NewReader(s.Text()))
			if err != nil {
				t.Fatalf("%v\n%s", err, s.Text())
			}
			if again.Text() != s.Text() || again.Hash() != s.Hash() {
				t.Errorf("read again it is\n%s\nwant\n%s", again.Text(), s.Text())
			}
			byPath, err := scenario.Open(filepath.Join(dir, name+".yaml"))
			if err != nil || byPath.Hash() != s.Hash() {
				t.Errorf("by its path: %v", err)
			}
			var b strings.Builder
			if err := s.Explain(&b); err != nil {
				t.Fatal(err)
			}
			t.Log(b.String())
		})
	}
}

func TestSchemaFileIsTheSchema(t *testing.T) {
	path := filepath.Join(dir, "schema.json")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, scenario.Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, scenario.Schema()) {
		t.Errorf("%s is not scenario.Schema() (%v): run UPDATE=1 go test ./bench/scenario", path, err)
	}
}
