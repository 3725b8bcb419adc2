package membership_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/membership"
)

// node is a member and the newest list that it was told.
type node struct {
	*membership.Membership
	mu   sync.Mutex
	list []membership.Member
}

func start(t *testing.T, id int, c membership.Config) *node {
	t.Helper()
	n := new(node)
	if c.Name == "" {
		c.Name = fmt.Sprint("n", id)
	}
	c.ID, c.Bind, c.Address = chat.NodeID(id), "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", 1000+id)
	c.Probe, c.Rejoin, c.Rekey = 50*time.Millisecond, 300*time.Millisecond, 20*time.Millisecond
	c.Changed = func(list []membership.Member) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.list = list
	}
	m, err := membership.New(c)
	if err != nil {
		t.Fatal(err)
	}
	n.Membership = m
	t.Cleanup(func() { _ = m.Close() })
	return n
}

func (n *node) ids() (ids []chat.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.list {
		ids = append(ids, m.ID)
	}
	return ids
}

func (n *node) sees(t *testing.T, want ...chat.NodeID) {
	t.Helper()
	eventually(t, fmt.Sprintf("members %v", want), func() bool { return slices.Equal(n.ids(), want) })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// Nodes find one another through any of them, learn what each says of itself, and notice who leaves and who vanishes.
func TestLifeOfMembers(t *testing.T) {
	a := start(t, 1, membership.Config{Roles: []string{"edge", "actors"}, Version: "v1"})
	b := start(t, 2, membership.Config{Join: []string{a.Addr()}})
	c := start(t, 3, membership.Config{Join: []string{"127.0.0.1:1", b.Addr()}, Weight: 2})
	for _, n := range []*node{a, b, c} {
		n.sees(t, 1, 2, 3)
	}
	eventually(t, "what a says of itself", func() bool { // a slow machine takes members for dead now and then, and back
		first := c.Members()[0]
		return first.Name == "n1" && first.Address == "127.0.0.1:1001" && first.Version == "v1" && slices.Equal(first.Roles, []string{"edge", "actors"})
	})
	a.SetState(membership.Draining)
	a.SetSessions(17)
	eventually(t, "what a says now", func() bool {
		m := c.Members()[0]
		return m.State == membership.Draining && m.Sessions == 17
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Leave(ctx); err != nil {
		t.Error(err)
	}
	_ = b.Close()
	a.sees(t, 1, 3)
	_ = c.Close() // without a word
	a.sees(t, 1)
}

// A node that comes back under its name is another one, and is found although it joins nobody: who vanished is tried.
func TestNextLife(t *testing.T) {
	a := start(t, 1, membership.Config{Name: "a"})
	b := start(t, 2, membership.Config{Name: "b", Join: []string{a.Addr()}})
	a.sees(t, 1, 2)
	_ = b.Close()
	b2 := start(t, 3, membership.Config{Name: "b", Join: []string{a.Addr()}})
	a.sees(t, 1, 3)
	b2.sees(t, 1, 3)
}

// A seed that is not there yet is tried until it is; a DNS name will do.
func TestSeedComesLater(t *testing.T) {
	a := start(t, 1, membership.Config{})
	port := a.Addr()[strings.LastIndex(a.Addr(), ":"):]
	b := start(t, 2, membership.Config{Join: []string{"localhost" + port}})
	b.sees(t, 1, 2)
}

// The nodes of two clusters do not mix, also if one is told of the other's.
func TestClustersApart(t *testing.T) {
	a := start(t, 1, membership.Config{Cluster: "a"})
	b := start(t, 2, membership.Config{Cluster: "b", Join: []string{a.Addr()}})
	c := start(t, 3, membership.Config{Cluster: "a", Join: []string{b.Addr(), a.Addr()}})
	c.sees(t, 1, 3)
	if len(b.Members()) != 1 {
		t.Errorf("b sees %v", b.Members())
	}
}

func key(b byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(b), 32)))
}

func write(t *testing.T, file string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// Without the key nobody joins; keys can be changed while nodes run.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	f1, f2, f3 := filepath.Join(dir, "1"), filepath.Join(dir, "2"), filepath.Join(dir, "3")
	write(t, f1, "# of the first", key('a'))
	write(t, f2, key('b'))
	a := start(t, 1, membership.Config{KeyFile: f1})
	b := start(t, 2, membership.Config{KeyFile: f2, Join: []string{a.Addr()}})
	stranger := start(t, 4, membership.Config{Join: []string{a.Addr()}})
	time.Sleep(700 * time.Millisecond) // attempts at it
	if len(a.Members()) != 1 || len(b.Members()) != 1 || len(stranger.Members()) != 1 {
		t.Fatalf("%v, %v, %v", a.Members(), b.Members(), stranger.Members())
	}
	write(t, f1, key('a'), key('b')) // knows the next one
	write(t, f2, key('b'), key('a'))
	b.sees(t, 1, 2)
	write(t, f1, key('b')) // uses it alone
	write(t, f2, key('b'))
	write(t, f3, key('b'))
	c := start(t, 3, membership.Config{KeyFile: f3, Join: []string{a.Addr()}})
	c.sees(t, 1, 2, 3)
}

func TestBadSettings(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	write(t, bad, key('a'), "not a key")
	empty := filepath.Join(dir, "empty")
	write(t, empty, "# nothing")
	ok := membership.Config{Name: "a", ID: 1, Bind: "127.0.0.1:0", Address: "127.0.0.1:1"}
	for want, change := range map[string]func(*membership.Config){
		"line 2":       func(c *membership.Config) { c.KeyFile = bad },
		"holds no key": func(c *membership.Config) { c.KeyFile = empty },
		"no such file": func(c *membership.Config) { c.KeyFile = bad + "x" },
		"must be":      func(c *membership.Config) { c.ID = 0 },
		"512":          func(c *membership.Config) { c.Version = strings.Repeat("v", 600) },
		"port":         func(c *membership.Config) { c.Bind = "127.0.0.1" },
	} {
		c := ok
		change(&c)
		m, err := membership.New(c)
		if err == nil {
			_ = m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
