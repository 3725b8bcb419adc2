package clustertest

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/zumodra/hub/internal/testcluster"
)

// resident is the memory of a node's process, in bytes, after it was asked to give back what it does not use.
func resident(t *testing.T, n *testcluster.Node) int64 {
	t.Helper()
	for range 2 {
		if _, err := n.Get(t.Context(), "/debug/gc"); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			must(t, err)
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// idlers are authenticated sockets that say nothing, each of its own user.
type idlers struct {
	c     *testcluster.Cluster
	mu    sync.Mutex
	conns []net.Conn
}

// open adds n of them at a node.
func (x *idlers) open(t *testing.T, at *testcluster.Node, n int) {
	t.Helper()
	have := len(x.conns)
	each(32, n, func(i int) {
		token, err := x.c.Token("red", fmt.Sprintf("idle-%d", have+i))
		if err != nil {
			t.Error(err)
			return
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(at.URL(), "http://"))
		if err != nil {
			t.Error(err)
			return
		}
		x.mu.Lock()
		x.conns = append(x.conns, conn)
		x.mu.Unlock()
		fmt.Fprintf(conn, "GET /ws/ HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n", token)
		resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("handshake: %v %+v", err, resp)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
}

// TestReq152_MemoryOfIdleConnections measures what an authenticated connection that says nothing takes, at a node by itself, and at a
// node with the role edge alone whose users' homes are on another, with what it takes there. Only that all are known, and the bound of the requirement, decide.
func TestReq152_MemoryOfIdleConnections(t *testing.T) {
	several(t)
	n := size(t, "HUB_CLUSTER_IDLE", 2000, 6000)
	const warm = 200
	for _, nodes := range []int{1, 2} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			c := ownCluster(t, nodes, "", func(cfg *testcluster.Config) {
				cfg.Gated = false
				cfg.Args = append(cfg.Args, "--ping-interval", "1h", "--pong-timeout", "1h")
				if nodes == 2 {
					cfg.Roles = map[int]string{0: "edge", 1: "actors"}
				}
			})
			edge, home := node(c, 0), node(c, nodes-1)
			x := &idlers{c: c}
			t.Cleanup(func() {
				for _, conn := range x.conns {
					_ = conn.Close()
				}
			})
			open := func(count int) {
				x.open(t, edge, count)
				await(t, "all are known", func() bool {
					return metric(t, edge, "hub_sessions_open") == len(x.conns) && metric(t, home, "hub_cluster_home_users") == len(x.conns)
				})
			}
			open(warm)
			atEdge, atHome := resident(t, edge), resident(t, home)
			open(n)
			atEdge, atHome = resident(t, edge)-atEdge, resident(t, home)-atHome
			if each := (atEdge + atHome) / int64(n); each > 20<<10 {
				t.Errorf("%d B for each connection", each)
			}
			if nodes == 1 {
				measured(t, fmt.Sprintf("%d idle connections, one node", n), "%d B each", atEdge/int64(n))
			} else {
				measured(t, fmt.Sprintf("%d idle connections, homes on another node", n), "%d B each at the edge, %d B at the home", atEdge/int64(n), atHome/int64(n))
			}
		})
	}
}
