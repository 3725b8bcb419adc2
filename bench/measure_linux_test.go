package main

import (
	"os"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/cassandra"
)

// TestMain lets the test binary be the child processes that measurements start.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		if err := runChild(os.Args[2], os.Args[3:]); err != nil {
			os.Stderr.WriteString("bench child: " + err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestMeasurementsRun runs each measurement on a small scale against the joined layers: that every row gets its
// figures, not what they are.
func TestMeasurementsRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts about thirty processes")
	}
	for _, tt := range []struct {
		name string
		o    options
		rows []string
	}{
		{"fanout", options{conns: 30}, []string{"hub", "send(2) loop", "transport alone", "gws", "gobwas", "hub, bursts of 16"}},
		{"inbound", options{conns: 20}, []string{"gws", "gobwas", "reactor", "hub, ping answered"}},
		{"accept", options{conns: 20}, []string{"gws", "gobwas", "coder", "reactor", "hub, authenticated"}},
		{"trickle", options{conns: 50, seconds: 0.2}, []string{"gobwas", "gws", "reactor", "raw", "hub"}},
		{"idle", options{conns: 50}, []string{"hub", "reactor", "gws", "gobwas", "gobwas+tls", "reactor+tls", "hub+tls"}},
		{"sends", options{conns: 10, seconds: 0.1, flight: 1}, []string{"1 in flight: bare Pebble", "1 in flight: storage alone", "1 in flight: minimal server", "1 in flight: hub",
			"1 in flight: hub, multiplexed"}},
		{"lag", options{conns: 10, seconds: 0.3}, []string{"CPU of the hub, --search fts", "CPU of the hub, --search off", "events not in the index, p99",
			"from the last send until all is in the index"}},
		{"cql", options{conns: 10, seconds: 0.1, flight: 1}, []string{"1 in flight: bare gocql", "1 in flight: storage alone", "1 in flight: hub"}},
		{"reads", options{conns: 300, messages: 5000, seconds: 0.2}, []string{"store, last 50, idle, p99", "store, last 50, beside sends, p99", "hub, last 50, idle, p99",
			"hub, last 50, beside sends, p99", "hub, list 50 of 300 conversations, idle, p99", "hub, list 50 of 300 conversations, beside sends, p99"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "cql" && os.Getenv(cassandra.HostsEnv) == "" {
				t.Skip(cassandra.HostsEnv + " is not set: use make test-integration")
			}
			tt.o.runs, tt.o.hub, tt.o.data = 1, "joined", t.TempDir()
			for _, m := range measurements() {
				if m.name != tt.name {
					continue
				}
				r, err := m.run(tt.o)
				if err != nil {
					t.Fatal(err)
				}
				r.finish(m.name, time.Now())
				for _, name := range tt.rows {
					if x := r.find(name); x == nil || len(x.Rounds) == 0 {
						t.Errorf("no figures for %q", name)
					}
				}
				return
			}
			t.Fatal("no such measurement")
		})
	}
}
