package freeport_test

import (
	"net"
	"sync"
	"testing"

	"github.com/zumodra/hub/internal/freeport"
)

func TestAddressesAreFreeAndDiffer(t *testing.T) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[string]bool{}
	for range 100 {
		wg.Go(func() {
			a, err := freeport.Address()
			if err != nil {
				t.Error(err)
				return
			}
			l, err := net.Listen("tcp", a)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			mu.Lock()
			defer mu.Unlock()
			if seen[a] {
				t.Errorf("%s twice", a)
			}
			seen[a] = true
		})
	}
	wg.Wait()
}
