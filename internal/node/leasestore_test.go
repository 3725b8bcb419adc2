package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
	"github.com/zumodra/hub/cluster/placement"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/storagetest"
)

// Two nodes hand all shards to and fro over real rows.
func TestLeasesOverTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := leaseStore{storage.New(storagetest.Memory(), storage.Config{})}
		start := func(name string) *lease.Manager {
			m, err := lease.New(lease.Config{Name: name, Store: rows, Duration: 6*time.Second + 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			return m
		}
		held := func(m *lease.Manager) (n int, top uint64) {
			for shard := range chat.Shards {
				if epoch, ok := m.Term(shard); ok {
					n, top = n+1, max(top, epoch)
				}
			}
			return n, top
		}
		a, b := start("a"), start("b")
		defer a.Close()
		defer b.Close()
		both := []placement.Node{{Name: "a", ID: a.Self()}, {Name: "b", ID: b.Self()}}
		a.SetMembers(both)
		b.SetMembers(both)
		time.Sleep(10 * time.Second)
		x, _ := held(a)
		if y, _ := held(b); x == 0 || y == 0 || x+y != chat.Shards {
			t.Fatal(x, y)
		}
		if err := a.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if n, top := held(b); n != chat.Shards || top != 2 {
			t.Error(n, top)
		}
		b.Close()
		c := start("c")
		defer c.Close()
		c.SetMembers([]placement.Node{{Name: "c", ID: c.Self()}})
		time.Sleep(8 * time.Second)
		if n, top := held(c); n != chat.Shards || top != 3 {
			t.Error(n, top, c.Status())
		}
	})
}
