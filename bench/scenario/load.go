package scenario

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/zumodra/hub/bench/scenarios"
)

// maxText of a scenario in bytes.
const maxText = 1 << 20

// Error is one thing that is wrong with a scenario. Errors of Decode, Open, With and Validate are joined ones of these: all that
// is wrong, not only the first.
type Error struct {
	Line int    // 0: of no file, as what an override says
	Path string // as load[0].arrival
	Text string
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Path != "" {
		fmt.Fprintf(&b, "%s: ", e.Path)
	}
	return b.String() + e.Text
}

// Names of the scenarios that come with hubbench.
func Names() []string {
	entries, err := scenarios.Files.ReadDir(".")
	if err != nil {
		return nil // an embedded directory can be read
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// Open reads a scenario from a file, or one that comes with hubbench by its name, and applies overrides as Decode does.
func Open(name string, set ...string) (*Scenario, error) {
	if slices.Contains(Names(), name) {
		f, err := scenarios.Files.Open(name + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("scenario %s: %w", name, err)
		}
		return named(f, name, name, set)
	}
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(name, "/.") {
		return nil, fmt.Errorf("there is no scenario %q: want a file, or one of %s", name, strings.Join(Names(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	return named(f, name, strings.TrimSuffix(path.Base(name), path.Ext(name)), set)
}

// named is a scenario that has the name of its file if it says no other.
func named(f io.ReadCloser, source, name string, set []string) (*Scenario, error) {
	defer func() { _ = f.Close() }()
	s, err := load(f, name, set)
	if err != nil {
		return nil, fmt.Errorf("scenario %s:\n%w", source, err)
	}
	return s, nil
}

// Decode reads one YAML document, applies overrides (users=2000, load[0].arrival=50/s, connections.rate=100: values are YAML; an index one
// beyond the end adds an element), fills in defaults and validates.
func Decode(r io.Reader, set ...string) (*Scenario, error) {
	return load(r, "", set)
}

func load(r io.Reader, name string, set []string) (*Scenario, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("reading a scenario: %w", err)
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("the scenario has more than %d bytes", maxText)
	}
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, err // names the line
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one YAML document, not several")
	}
	if doc.Kind == 0 {
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	root := doc.Content[0]
	for _, s := range set {
		if err := override(root, s); err != nil {
			return nil, fmt.Errorf("override %q: %w", s, err)
		}
	}
	s := &Scenario{}
	var dec decoder
	dec.value(root, reflect.ValueOf(s).Elem(), "")
	if len(dec.errs) > 0 {
		return nil, errors.Join(dec.errs...)
	}
	if s.Name == "" {
		s.Name = name
	}
	s.Defaults()
	errs := s.check()
	if len(errs) == 0 {
		return s, nil
	}
	joined := make([]error, len(errs))
	for i, e := range errs {
		e.Line = lineOf(root, e.Path)
		joined[i] = e
	}
	return nil, errors.Join(joined...)
}

// With is the scenario with overrides applied, as Decode does it.
func (s *Scenario) With(set ...string) (*Scenario, error) {
	return Decode(strings.NewReader(s.Text()), set...)
}

// Text is the scenario as YAML: Decode of it gives the same one.
func (s *Scenario) Text() string {
	var b strings.Builder
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(s); err != nil {
		return "# " + err.Error() // no type here has a reason
	}
	return b.String()
}

// Hash of Text: runs with the same hash did the same.
func (s *Scenario) Hash() string {
	sum := sha256.Sum256([]byte(s.Text()))
	return hex.EncodeToString(sum[:8])
}

// UnmarshalText reads a duration as time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration: want one as 250ms, 10s or 8h", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(d.String()), nil
}

func (d Duration) String() string {
	return time.Duration(d).String()
}

// UnmarshalText reads a plain number.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("%q is no size: want a whole number, or a map as {zipf: 1.2, min: 3, max: 50}, {lognormal: 0.7, median: 120, min: 1, max: 4096} or {min: 1, max: 9}", text)
	}
	*s = Size{Fixed: n}
	return nil
}

// MarshalYAML writes a plain number when that is all.
func (s Size) MarshalYAML() (any, error) {
	if s == (Size{Fixed: s.Fixed}) {
		return s.Fixed, nil
	}
	type plain Size
	return plain(s), nil
}

// decoder fills a struct from a tree. yaml.v3 could, but names Go types instead of what is allowed, and not all errors have a line.
type decoder struct {
	errs []error
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	d.errs = append(d.errs, &Error{Line: n.Line, Path: path, Text: fmt.Sprintf(format, args...)})
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode {
		if n.Tag != "!!null" {
			d.scalar(n, v, path)
		}
		return
	}
	switch {
	case n.Kind == yaml.MappingNode && v.Kind() == reflect.Struct:
		d.mapping(n, v, path)
	case n.Kind == yaml.SequenceNode && v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case v.Kind() == reflect.Struct:
		d.fail(n, path, "want a map of %s", strings.Join(known(v.Type()), ", "))
	case v.Kind() == reflect.Slice:
		d.fail(n, path, "want a list")
	default:
		d.fail(n, path, "want a single value")
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	names := known(v.Type())
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		field := slices.Index(names, key.Value)
		switch at := join(path, key.Value); {
		case field < 0:
			d.fail(key, at, "unknown: want one of %s", strings.Join(names, ", "))
		case seen[key.Value]:
			d.fail(key, at, "is there twice")
		default:
			seen[key.Value] = true
			d.value(n.Content[i+1], v.Field(field), at)
		}
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			d.fail(n, path, "%v", err)
		}
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		var t Duration
		if err := t.UnmarshalText([]byte(n.Value)); err != nil {
			d.fail(n, path, "%v", err)
		}
		v.SetInt(int64(t))
		return
	}
	switch number := strings.ReplaceAll(n.Value, "_", ""); v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Int:
		i, err := strconv.Atoi(number)
		if err != nil {
			d.fail(n, path, "%q is no whole number", n.Value)
		}
		v.SetInt(int64(i))
	case reflect.Float64:
		f, err := strconv.ParseFloat(number, 64)
		if err != nil {
			d.fail(n, path, "%q is no number", n.Value)
		}
		v.SetFloat(f)
	case reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			d.fail(n, path, "%q is neither true nor false", n.Value)
		}
		v.SetBool(n.Value == "true")
	case reflect.Struct:
		d.fail(n, path, "want a map of %s", strings.Join(known(v.Type()), ", "))
	default:
		d.fail(n, path, "want a list")
	}
}

// known are the names of a struct's fields in YAML, in their order: all fields have one.
func known(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
	}
	return names
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
