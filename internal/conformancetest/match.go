package conformancetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// more, as the key of an object or the last element of an array, allows more than is named.
const more = "<more>"

var matchers = map[string]func(v any) bool{
	"<any>":    func(any) bool { return true },
	"<string>": func(v any) bool { s, ok := v.(string); return ok && s != "" },
	"<int>":    func(v any) bool { n, ok := v.(json.Number); return ok && integer.MatchString(n.String()) },
	"<number>": func(v any) bool { _, ok := v.(json.Number); return ok },
	"<uuid>":   matches(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`),
	"<time>":   matches(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`),
	"<stamp>":  matches(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$`),
}

var integer = regexp.MustCompile(`^-?\d+$`)

func matches(re string) func(any) bool {
	r := regexp.MustCompile(re)
	return func(v any) bool { s, ok := v.(string); return ok && r.MatchString(s) }
}

// match compares a value with what is expected of it, variables replaced, and says where they differ: a line for each place.
func match(want, got any, at string) []string {
	switch w := want.(type) {
	case string:
		if f := matchers[w]; f != nil {
			if !f(got) {
				return differ(at, w, got)
			}
			return nil
		}
		if re, ok := strings.CutPrefix(w, "</"); ok && strings.HasSuffix(re, "/>") {
			r, err := regexp.Compile(`^(?:` + strings.TrimSuffix(re, "/>") + `)$`)
			if err != nil {
				return []string{fmt.Sprintf("%s: %v", root(at), err)}
			}
			if s, ok := got.(string); !ok || !r.MatchString(s) {
				return differ(at, w, got)
			}
			return nil
		}
		if s, ok := got.(string); !ok || s != w {
			return differ(at, quoted(w), got)
		}
		return nil
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return differ(at, quoted(w), got)
		}
		var out []string
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if k == more {
				continue
			}
			if v, ok := g[k]; ok {
				out = append(out, match(w[k], v, at+"/"+escape(k))...)
			} else {
				out = append(out, fmt.Sprintf("%s: want %s, is not there", at+"/"+escape(k), quoted(w[k])))
			}
		}
		if _, open := w[more]; !open {
			for _, k := range slices.Sorted(maps.Keys(g)) {
				if _, ok := w[k]; !ok {
					out = append(out, fmt.Sprintf("%s: not expected, got %s", at+"/"+escape(k), quoted(g[k])))
				}
			}
		}
		return out
	case []any:
		g, ok := got.([]any)
		if !ok {
			return differ(at, quoted(w), got)
		}
		n := len(w)
		open := n > 0 && w[n-1] == more
		if open {
			n--
		}
		var out []string
		for i := range min(n, len(g)) {
			out = append(out, match(w[i], g[i], at+"/"+strconv.Itoa(i))...)
		}
		if len(g) < n || len(g) > n && !open {
			out = append(out, fmt.Sprintf("%s: want %d elements, got %d: %s", root(at), n, len(g), quoted(got)))
		}
		return out
	}
	if quoted(want) != quoted(got) {
		return differ(at, quoted(want), got)
	}
	return nil
}

func differ(at, want string, got any) []string {
	return []string{fmt.Sprintf("%s: want %s, got %s", root(at), want, quoted(got))}
}

func root(at string) string {
	if at == "" {
		return "(whole)"
	}
	return at
}

func quoted(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}

func escape(k string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(k) }

// decode reads JSON without losing digits of numbers.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return v, nil
}

// pointer finds a value by JSON pointer (RFC 6901).
func pointer(v any, p string) (any, bool) {
	if p == "" {
		return v, true
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(p, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// variables by name.
type variables map[string]any

var reference = regexp.MustCompile(`\$\{([^}]+)\}`)

var letters = regexp.MustCompile(`^x\*(\d{1,7})$`)

var ahead = regexp.MustCompile(`^in (\d{1,9})s$`)

// get is the value of a variable; x*N is there always, N letters x, and so is "in Ns", the time N seconds from now.
func (vars variables) get(name string) (any, bool) {
	if m := ahead.FindStringSubmatch(name); m != nil {
		n, _ := strconv.Atoi(m[1]) // it is digits
		return time.Now().UTC().Add(time.Duration(n) * time.Second).Format("2006-01-02T15:04:05.000000Z"), true
	}
	if m := letters.FindStringSubmatch(name); m != nil {
		n, _ := strconv.Atoi(m[1]) // it is digits
		return strings.Repeat("x", n), true
	}
	v, ok := vars[name]
	return v, ok
}

// text puts variables into a string.
func (vars variables) text(s string) (string, error) {
	var missing error
	out := reference.ReplaceAllStringFunc(s, func(m string) string {
		v, ok := vars.get(m[2 : len(m)-1])
		if !ok {
			missing = fmt.Errorf("no variable %s", m)
			return m
		}
		if s, ok := v.(string); ok {
			return s
		}
		return quoted(v)
	})
	return out, missing
}

// value puts variables into a JSON value: a string that is nothing but a reference becomes the variable's value.
func (vars variables) value(v any) (any, error) {
	switch x := v.(type) {
	case string:
		if m := reference.FindStringSubmatch(x); m != nil && m[0] == x {
			val, ok := vars.get(m[1])
			if !ok {
				return nil, fmt.Errorf("no variable %s", x)
			}
			return val, nil
		}
		return vars.text(x)
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			e, err := vars.value(e)
			if err != nil {
				return nil, err
			}
			out[k] = e
		}
		return out, nil
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			e, err := vars.value(e)
			if err != nil {
				return nil, err
			}
			out[i] = e
		}
		return out, nil
	}
	return v, nil
}

// raw is value of JSON text.
func (vars variables) raw(b json.RawMessage) (any, error) {
	v, err := decode(b)
	if err != nil {
		return nil, err
	}
	return vars.value(v)
}

// general is a value as a vector would expect it: what differs from run to run as a matcher, what a variable holds as a
// reference to it.
func (vars variables) general(v any) any {
	switch x := v.(type) {
	case string:
		for _, name := range slices.Sorted(maps.Keys(vars)) {
			if s, ok := vars[name].(string); ok && s == x && len(s) >= 10 {
				return "${" + name + "}"
			}
		}
		for _, m := range []string{"<uuid>", "<time>", "<stamp>"} {
			if matchers[m](x) && !strings.HasPrefix(x, "00000000-") { // the id of a user, as the original writes it
				return m
			}
		}
		if strings.HasPrefix(x, "eyJ") {
			return "<string>"
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(vars)) {
			if m, ok := vars[name].(map[string]any); ok && len(match(m, x, "")) == 0 {
				return "${" + name + "}"
			}
		}
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = vars.general(e)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = vars.general(e)
		}
		return out
	}
	return v
}
