package testcluster_test

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/testcluster"
)

func fakehub(t *testing.T) string {
	bin := filepath.Join(t.TempDir(), "fakehub")
	if out, err := exec.Command("go", "build", "-o", bin, "./testdata/fakehub").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLifeOfACluster goes through everything that the tests of real clusters do to nodes, with nodes that only listen.
func TestLifeOfACluster(t *testing.T) {
	bin, store := fakehub(t), echo(t)
	for name, isolated := range map[string]bool{"on the machine's network": false, "on its own": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			c, err := testcluster.Start(ctx, testcluster.Config{Bin: bin, Dir: t.TempDir(), CQLHosts: []string{store}, Keyspace: "k", Gated: true, Isolated: isolated})
			if errors.Is(err, testcluster.ErrNoNetwork) {
				t.Skip(err)
			}
			must(t, err)
			defer func() {
				if t.Failed() {
					t.Log(c.Logs(2000))
				}
				c.Close()
			}()
			nodes := c.Nodes()
			if len(nodes) != 3 || len(c.URLs()) != 3 {
				t.Fatalf("%d nodes", len(nodes))
			}
			// unsettled waits until the cluster is not whole, and why.
			unsettled := func(words string) {
				t.Helper()
				for {
					short, cancel := context.WithTimeout(ctx, 3*time.Second)
					err := c.Settled(short)
					cancel()
					if err != nil && strings.Contains(err.Error(), words) {
						return
					}
					if ctx.Err() != nil {
						t.Fatalf("settled, or for another reason than %q not: %v", words, err)
					}
				}
			}

			must(t, nodes[1].CutStore())
			unsettled("n2 is not ready: 503")
			nodes[1].HealStore()
			must(t, c.Settled(ctx))

			must(t, nodes[2].Pause())
			unsettled("n3 is not ready")
			must(t, nodes[2].Resume())
			must(t, c.Settled(ctx))

			if isolated {
				must(t, c.Cut(nodes[0], nodes[1]))
				unsettled("its members are")
				must(t, c.Heal())
				must(t, c.Settled(ctx))
			} else if err := c.Cut(nodes[0], nodes[1]); !errors.Is(err, testcluster.ErrNoNetwork) {
				t.Errorf("cut: %v", err)
			}

			more, err := c.Add()
			must(t, err)
			must(t, more.Start())
			must(t, nodes[0].Stop(time.Minute)) // so that it learns of the new one
			must(t, nodes[0].Start())
			for {
				v, err := more.View(ctx)
				if err == nil && len(v.Members) == 4 {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("the new node sees %+v, %v", v, err)
				}
			}
			must(t, more.Stop(time.Minute))
			c.Remove(more)
			must(t, c.Settled(ctx))

			nodes[1].Kill()
			if nodes[1].Runs() || len(c.Running()) != 2 || nodes[1].PID() != 0 {
				t.Error("a killed node runs")
			}
			must(t, c.Settled(ctx))
			must(t, nodes[1].Start())
			must(t, c.Settled(ctx))

			must(t, exec.Command("kill", "-9", strconv.Itoa(nodes[2].PID())).Run())
			<-nodes[2].Ended()
			unsettled("n3 has ended by itself: signal: killed")
			if nodes[2].Exit() == nil {
				t.Error("no reason for the end")
			}
			nodes[2].Kill()
			must(t, nodes[2].Start())
			must(t, c.Settled(ctx))

			if code, _ := nodes[0].Readiness(ctx); code != http.StatusOK {
				t.Errorf("status %d", code)
			}
			must(t, c.Drain(time.Minute))
			if len(c.Running()) != 0 {
				t.Error("a drained node runs")
			}
		})
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	if _, err := testcluster.New(testcluster.Config{Bin: "hub"}); err == nil {
		t.Error("no store, and no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := testcluster.Start(ctx, testcluster.Config{Bin: "/bin/false", Dir: t.TempDir(), CQLHosts: []string{"127.0.0.1:1"}, Keyspace: "k", Nodes: 1, Alone: true})
	if err == nil {
		t.Fatal("a node that ends at once is a cluster")
	}
}
