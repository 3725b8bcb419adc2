package testcluster

import (
	"fmt"
	"net"
)

// openDoors makes a node of a network of its own reachable from the machine's: a Gate for each of its two ports for clients.
// Each connection through one costs two goroutines and 64 KiB in this process.
func (n *Node) openDoors() error {
	for _, d := range []struct {
		target string
		url    *string
	}{{n.listen, &n.outside}, {n.admin, &n.outsideAdmin}} {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.10.%d:0", n.index+1))
		if err != nil {
			return fmt.Errorf("testcluster: a door: %w", err)
		}
		n.doors = append(n.doors, newGate(l, d.target, n.c.net.dial))
		*d.url = "http://" + l.Addr().String()
	}
	return nil
}

// OutsideURL of the public port, for processes that are in no network of the cluster's. Empty: there is none (Config.Doors).
func (n *Node) OutsideURL() string {
	if n.c.net == nil {
		return n.URL()
	}
	return n.outside
}

// OutsideAdminURL is OutsideURL of the admin port.
func (n *Node) OutsideAdminURL() string {
	if n.c.net == nil {
		return n.AdminURL()
	}
	return n.outsideAdmin
}
