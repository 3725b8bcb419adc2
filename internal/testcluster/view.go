package testcluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// shards of a hub.
const shards = 1024

// Member as a node sees it.
type Member struct {
	Name, ID, State string
	Shards          int // -1: the node does not say
}

// View is what a node says of its cluster at /debug/cluster.
type View struct {
	Members  []Member
	Sessions int // of the node; -1: it does not say
	Raw      []byte
}

// View asks the node.
func (n *Node) View(ctx context.Context) (*View, error) {
	b, err := n.Get(ctx, "/debug/cluster")
	if err != nil {
		return nil, err
	}
	return ParseView(b)
}

// ParseView takes what it understands: names of fields are compared without case and underscores, and what is missing is
// not known. It must not break when the page grows.
func ParseView(b []byte) (*View, error) {
	var top map[string]any
	if err := json.Unmarshal(b, &top); err != nil {
		return nil, fmt.Errorf("testcluster: /debug/cluster: %w", err)
	}
	v := &View{Raw: b, Sessions: -1}
	if n, ok := number(field(top, "sessions")); ok {
		v.Sessions = n
	}
	counts, _ := field(top, "shards").(map[string]any)
	list, _ := field(top, "members", "nodes").([]any)
	for _, e := range list {
		o, ok := e.(map[string]any)
		if !ok {
			continue
		}
		m := Member{Name: text(field(o, "name", "nodename")), ID: text(field(o, "id", "nodeid", "incarnation")),
			State: strings.ToLower(text(field(o, "state", "status"))), Shards: -1}
		for _, s := range []any{field(o, "shards", "owned", "shardcount"), counts[m.Name], counts[m.ID]} {
			if n, ok := number(s); ok {
				m.Shards = n
				break
			}
		}
		v.Members = append(v.Members, m)
	}
	return v, nil
}

func field(o map[string]any, names ...string) any {
	for _, name := range names {
		for k, v := range o {
			if strings.ReplaceAll(strings.ToLower(k), "_", "") == name {
				return v
			}
		}
	}
	return nil
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return fmt.Sprint(v)
}

// number of a count, or of the elements of a list.
func number(v any) (int, bool) {
	switch v := v.(type) {
	case float64:
		return int(v), true
	case []any:
		return len(v), true
	}
	return 0, false
}

// Alive reports whether the member takes part: its state is none of those that say otherwise.
func (m Member) Alive() bool {
	switch m.State {
	case "dead", "failed", "down", "left", "leaving", "gone", "suspect", "draining", "drained", "starting", "joining", "unreachable", "expired":
		return false
	}
	return true
}

// agrees reports why the view is not that of a settled cluster of these nodes.
func (v *View) agrees(running []*Node) error {
	var names, want []string
	sum, known := 0, true
	for _, m := range v.Members {
		if !m.Alive() {
			continue
		}
		names = append(names, m.Name)
		sum += m.Shards
		known = known && m.Shards >= 0
	}
	for _, n := range running {
		want = append(want, n.Name)
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		return fmt.Errorf("its members are %v, those that run %v", names, want)
	}
	if known && sum != shards {
		return fmt.Errorf("%d of %d shards have an owner: %+v", sum, shards, v.Members)
	}
	return nil
}
