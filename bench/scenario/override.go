package scenario

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// override does path=value to a tree.
func override(root *yaml.Node, set string) error {
	path, text, found := strings.Cut(set, "=")
	if !found {
		return errors.New("want path=value, as load[0].arrival=50/s")
	}
	steps, err := split(path)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return fmt.Errorf("the value: %w", err)
	}
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	if doc.Kind != 0 {
		value = doc.Content[0]
	}
	forget(value)
	at := root
	for i, step := range steps {
		next, err := descend(at, step)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimPrefix(strings.Join(steps[:i+1], "."), "."), err)
		}
		at = next
	}
	*at = *value
	return nil
}

// forget the lines of a value that stands in no file.
func forget(n *yaml.Node) {
	n.Line = 0
	for _, c := range n.Content {
		forget(c)
	}
}

// split a path into names and indices, which keep their bracket.
func split(path string) ([]string, error) {
	var steps []string
	for _, dotted := range strings.Split(strings.TrimSpace(path), ".") {
		name, rest, indexed := strings.Cut(dotted, "[")
		if name == "" {
			return nil, fmt.Errorf("%q is no path: want one as load[0].arrival", path)
		}
		steps = append(steps, name)
		for indexed {
			var index string
			index, rest, indexed = strings.Cut(rest, "[")
			number, closed := strings.CutSuffix(index, "]")
			if n, err := strconv.Atoi(number); err != nil || n < 0 || !closed {
				return nil, fmt.Errorf("%q is no path: want one as load[0].arrival", path)
			}
			steps = append(steps, "["+number)
		}
	}
	return steps, nil
}

// descend one step, and make what is not there.
func descend(n *yaml.Node, step string) (*yaml.Node, error) {
	if n.Kind == yaml.AliasNode {
		return nil, errors.New("is an alias: change what it stands for")
	}
	empty := n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	index, list := strings.CutPrefix(step, "[")
	if !list {
		if empty {
			*n = yaml.Node{Kind: yaml.MappingNode}
		}
		if n.Kind != yaml.MappingNode {
			return nil, errors.New("what it would be in is no map: set that as a whole")
		}
		if found := child(n, step); found != nil {
			return found, nil
		}
		added := &yaml.Node{}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: step}, added)
		return added, nil
	}
	if empty {
		*n = yaml.Node{Kind: yaml.SequenceNode}
	}
	if n.Kind != yaml.SequenceNode {
		return nil, errors.New("is no list")
	}
	i, err := strconv.Atoi(index)
	if err != nil || i > len(n.Content) {
		return nil, fmt.Errorf("the list has %d elements", len(n.Content))
	}
	if i == len(n.Content) {
		n.Content = append(n.Content, &yaml.Node{})
	}
	return n.Content[i], nil
}

// child of a map by its key; nil: there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// lineOf what is at a path, or of the nearest thing around it.
func lineOf(root *yaml.Node, path string) int {
	line := 0
	if path == "" {
		return line
	}
	steps, err := split(path)
	if err != nil {
		return line
	}
	n := root
	for _, step := range steps {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var next *yaml.Node
		if index, list := strings.CutPrefix(step, "["); list && n.Kind == yaml.SequenceNode {
			if i, err := strconv.Atoi(index); err == nil && i < len(n.Content) {
				next = n.Content[i]
			}
		} else if n.Kind == yaml.MappingNode {
			next = child(n, step)
		}
		if next == nil {
			return line
		}
		n, line = next, next.Line
	}
	return line
}
