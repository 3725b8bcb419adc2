package conformancetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

const width = 150

// Layout is a vector as it is kept in the pack: what fits is on one line.
func (v *Vector) Layout() ([]byte, error) {
	c := *v
	if c.Server == "default" {
		c.Server = ""
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(c); err != nil {
		return nil, fmt.Errorf("conformance: %s: %w", v.Name, err)
	}
	d := json.NewDecoder(&b)
	d.UseNumber()
	n, err := parseNode(d)
	if err != nil {
		return nil, fmt.Errorf("conformance: %s: %w", v.Name, err)
	}
	var out strings.Builder
	n.print(&out, "", 0)
	return []byte(out.String() + "\n"), nil
}

// node is a JSON value that keeps the order of its members.
type node struct {
	open  json.Delim // '{', '[' or 0
	keys  []string
	elems []node
	text  string
}

func parseNode(d *json.Decoder) (node, error) {
	t, err := d.Token()
	if err != nil {
		return node{}, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return node{text: quoted(t)}, nil
	}
	n := node{open: delim}
	for d.More() {
		if delim == '{' {
			k, err := d.Token()
			if err != nil {
				return n, err
			}
			n.keys = append(n.keys, quoted(k))
		}
		e, err := parseNode(d)
		if err != nil {
			return n, err
		}
		n.elems = append(n.elems, e)
	}
	_, err = d.Token()
	return n, err
}

func (n node) line() string {
	if n.open == 0 {
		return n.text
	}
	parts := make([]string, len(n.elems))
	for i, e := range n.elems {
		if n.open == '{' {
			parts[i] = n.keys[i] + ": "
		}
		parts[i] += e.line()
	}
	return string(n.open) + strings.Join(parts, ", ") + string(n.open+2)
}

// print writes the value; used is what its line holds already.
func (n node) print(b *strings.Builder, indent string, used int) {
	if l := n.line(); n.open == 0 || len(n.elems) == 0 || used+utf8.RuneCountInString(l) <= width && indent != "" {
		b.WriteString(l)
		return
	}
	inner := indent + "  "
	b.WriteString(string(n.open))
	for i, e := range n.elems {
		if i > 0 {
			b.WriteByte(',')
		}
		key := ""
		if n.open == '{' {
			key = n.keys[i] + ": "
		}
		b.WriteString("\n" + inner + key)
		e.print(b, inner, len(inner)+len(key)+1)
	}
	b.WriteString("\n" + indent + string(n.open+2))
}
