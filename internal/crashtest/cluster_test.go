package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/internal/cassandra"
)

// nodes returns the control over the cluster that the test was started with, if it has that many nodes.
func nodes(t *testing.T, n int) *cassandra.Remote {
	t.Helper()
	remote, ok := cassandra.FromEnv()
	if !ok {
		t.Skip("the tests were not started with a cluster of their own: use make test-integration")
	}
	if have := os.Getenv(cassandra.NodesEnv); have != fmt.Sprint(n) {
		t.Skipf("for a cluster of %d nodes, this one has %s: use make test-integration CQL_NODES=%d", n, have, n)
	}
	return remote
}

// TestClusterStopsUnderLoad: while the only server of the store hangs or is dead, sends fail in a way that says "again";
// when it is back, everything goes on by itself and the promises were kept.
func TestClusterStopsUnderLoad(t *testing.T) {
	server := nodes(t, 1)
	ctx := t.Context()
	r, _, stop := startRun(t, newServer(t, true))
	r.storeMayFail = true
	began := time.Now()
	r.progress(100)

	var hung, dead times
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []time.Duration{time.Second, 7 * time.Second} { // within the lease of the keyspace, and beyond
		do(server.Pause(ctx, 0))
		if d > 5*time.Second {
			r.s.unready("storage")
			r.refusedForNow("paused")
		} else {
			wait(d)
		}
		do(server.Resume(ctx, 0))
		back := time.Now()
		r.recovered()
		hung.add(time.Since(back))
		r.progress(300)
		r.s.alive()
	}
	for range 2 {
		do(server.Kill(ctx, 0))
		r.s.unready("storage")
		r.refusedForNow("dead")
		do(server.Start(ctx, 0))
		back := time.Now()
		r.recovered()
		dead.add(time.Since(back))
		r.progress(300)
		r.s.alive()
	}
	r.s.ready()
	r.progress(100)
	r.finish(stop, fmt.Sprintf("SIGSTOP for 1s and beyond the lease, SIGKILL twice; from the end of each until every conversation had acks again: %v; %v", &hung, &dead), began)
}

// TestReplicaLostUnderLoad: with three replicas, the death of any one of them is no outage, and what it missed is not
// missing when another one dies after its return.
func TestReplicaLostUnderLoad(t *testing.T) {
	servers := nodes(t, 3)
	ctx := t.Context()
	r, _, stop := startRun(t, newServer(t, true))
	r.storeMayFail = true
	began := time.Now()
	r.progress(100)
	var gap times
	for i := range 3 {
		if err := servers.Kill(ctx, i); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		r.recovered()
		gap.add(time.Since(killed))
		r.progress(500)
		r.s.alive()
		if err := servers.Start(ctx, i); err != nil {
			t.Fatal(err)
		}
		r.progress(200)
		r.recovered()
	}
	r.finish(stop, fmt.Sprintf("3 replicas killed in turn and returned; from the kill until every conversation had acks: %v", &gap), began)
}

// recovered waits until a message of every conversation that was not acknowledged before has been.
func (r *run) recovered() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before := map[string]uint64{}
	head := func(id string) uint64 {
		v, _ := r.heads.Load(id)
		return v.(*atomic.Uint64).Load()
	}
	for id := range r.convs {
		before[id] = head(id)
	}
	if err := poll(ctx, func() bool {
		for id, seq := range before {
			if head(id) <= seq {
				return false
			}
		}
		return true
	}); err != nil {
		for id, seq := range before {
			if head(id) <= seq {
				r.t.Errorf("conversation %s has had no acknowledgement for %v", id, patience)
			}
		}
		r.t.FailNow()
	}
}

// unready waits until /readyz says 503 and names what.
func (s *server) unready(what string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var code int
	var body string
	if err := poll(ctx, func() bool {
		s.alive()
		code, body = s.readiness(ctx)
		return code == http.StatusServiceUnavailable && strings.Contains(body, what)
	}); err != nil {
		s.t.Fatalf("/readyz answers %d %s", code, body)
	}
	if resp, err := http.Get("http://" + s.admin + "/livez"); err != nil || resp.StatusCode != http.StatusOK {
		s.t.Errorf("/livez: %v %v", resp, err)
	}
}

// refusedForNow sends by REST while the store is away: the answer comes in time and says that it may be tried again.
func (r *run) refusedForNow(state string) {
	r.t.Helper()
	m := r.members[0]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	key := fmt.Sprintf("probe/%d while the store is %s", time.Now().UnixNano(), state)
	r.check.Sent(check.Send{Conversation: m.convs[0], Sender: "probe", Key: key})
	body, err := json.Marshal(map[string]any{"conversation": m.convs[0], "content": key})
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.s.url()+"/api/v1/messages/messages/", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Errorf("%s: a send got no answer in %v: %v", state, time.Since(began), err)
		return
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	r.t.Logf("%s: a send was answered after %v: %s %s", state, time.Since(began).Round(time.Millisecond), resp.Status, answer)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		r.t.Errorf("%s: a send was answered %s", state, resp.Status)
	}
}

// tokenOf logs a user in, before the store goes away.
func (r *run) tokenOf(ctx context.Context, user string) string {
	tok, err := client.DevToken(ctx, r.s.url(), "", user)
	if err != nil {
		r.t.Fatal(err)
	}
	return tok
}
