package asyncapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/frame/asyncapi"
)

// document is the AsyncAPI document as JSON knows it.
func document(t *testing.T) (text []byte, doc any) {
	t.Helper()
	text, err := asyncapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if doc, err = jsonschema.UnmarshalJSON(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	return text, doc
}

// schemas compiles the payloads of all messages, by name.
func schemas(t *testing.T, doc any) map[string]*jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("hub.json", doc); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]*jsonschema.Schema)
	for name := range doc.(map[string]any)["components"].(map[string]any)["messages"].(map[string]any) {
		s, err := c.Compile("hub.json#/components/messages/" + name + "/payload")
		if err != nil {
			t.Fatal(err)
		}
		out[name] = s
	}
	return out
}

// The frames that the codec's tests write and read are what the document says.
func TestReq113_FramesAreAsDescribed(t *testing.T) {
	_, doc := document(t)
	all := schemas(t, doc)
	seen := make(map[string]bool)
	for side, file := range map[string]string{"server_": "server_frames.jsonl", "client_": "client_frames.jsonl"} {
		f, err := os.Open("../testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(lines.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			name := side + v.(map[string]any)["type"].(string)
			s := all[name]
			if s == nil {
				t.Errorf("no message %s", name)
				continue
			}
			seen[name] = true
			if err := s.Validate(v); err != nil {
				t.Errorf("%s\n%v", lines.Text(), err)
			}
			for field := range v.(map[string]any) {
				if !described(doc, name, field) {
					t.Errorf("%s: field %s is not described", name, field)
				}
			}
		}
	}
	for _, f := range frame.Types {
		if !f.FromClient && !seen["server_"+f.Name] {
			t.Errorf("no frame of type %s was held to the document", f.Name)
		}
	}
}

func described(doc any, name, field string) bool {
	m := doc.(map[string]any)["components"].(map[string]any)["messages"].(map[string]any)[name]
	_, ok := m.(map[string]any)["payload"].(map[string]any)["properties"].(map[string]any)[field]
	return ok
}

// Every type of frame is on both channels, in the direction it goes, and every reference leads somewhere.
func TestReq113_EveryFrameIsDescribed(t *testing.T) {
	text, v := document(t)
	doc := v.(map[string]any)
	for name, o := range doc["operations"].(map[string]any) {
		op := o.(map[string]any)
		var got []string
		for _, m := range op["messages"].([]any) {
			ref := m.(map[string]any)["$ref"].(string)
			got = append(got, ref[strings.LastIndex(ref, "/")+1:])
		}
		var want []string
		for _, f := range frame.Types {
			switch {
			case f.FromClient && op["action"] == "receive":
				want = append(want, "client_"+f.Name)
			case !f.FromClient && op["action"] == "send":
				want = append(want, "server_"+f.Name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	for _, m := range regexp.MustCompile(`\$ref: '?#/([^'\n]+)`).FindAllStringSubmatch(string(text), -1) {
		var at any = doc
		for part := range strings.SplitSeq(m[1], "/") {
			next, ok := at.(map[string]any)[part]
			if !ok {
				t.Errorf("%s leads nowhere", m[0])
				break
			}
			at = next
		}
	}
	page, err := asyncapi.Page()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frame.Types {
		if !strings.Contains(string(page), "<code>"+f.Name+"</code></h3>") {
			t.Errorf("the page lacks %s", f.Name)
		}
	}
}
