package scylla

import "testing"

func TestReplicatedEverywhere(t *testing.T) {
	const net = "org.apache.cassandra.locator.NetworkTopologyStrategy"
	const simple = "org.apache.cassandra.locator.SimpleStrategy"
	type opts = map[string]any
	type nodes = map[string]int
	for _, c := range []struct {
		class   string
		options opts
		dc      string
		nodes   nodes
		want    bool
	}{
		{net, opts{"dc1": "3"}, "", nodes{"dc1": 3}, true},
		{net, opts{"dc1": "3"}, "dc1", nodes{"dc1": 2}, true},
		{net, opts{"dc1": "3"}, "dc1", nodes{"dc1": 4}, false},
		{net, opts{"dc1": "3", "dc2": "3"}, "dc1", nodes{"dc1": 3, "dc2": 9}, true}, // nobody of dc2 is asked
		{net, opts{"dc1": "3", "dc2": "3"}, "", nodes{"dc1": 3, "dc2": 9}, false},
		{net, opts{"dc1": "3"}, "", nodes{"dc1": 3, "dc2": 1}, false},
		{net, opts{"dc2": "3"}, "dc1", nodes{"dc1": 1}, false},
		{net, opts{"dc1": "3"}, "dc9", nodes{"dc1": 3}, false},
		{net, opts{"dc1": "3/1"}, "", nodes{"dc1": 3}, false},
		{net, opts{"dc1": 3}, "", nodes{"dc1": 3}, false},
		{net, opts{"dc1": "3"}, "", nodes{}, false},
		{simple, opts{"replication_factor": "2"}, "", nodes{"dc1": 1, "dc2": 1}, true},
		{simple, opts{"replication_factor": "2"}, "dc1", nodes{"dc1": 2, "dc2": 1}, false},
		{"org.apache.cassandra.locator.LocalStrategy", opts{}, "", nodes{"dc1": 1}, false},
		{"EverywhereStrategy", opts{}, "", nodes{"dc1": 1}, false}, // not understood
	} {
		if got := replicatedEverywhere(c.class, c.options, c.dc, c.nodes); got != c.want {
			t.Errorf("%s %v, data centre %q, nodes %v: %v", c.class, c.options, c.dc, c.nodes, got)
		}
	}
}
