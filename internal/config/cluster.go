package config

import (
	"net"
	"regexp"
	"slices"
)

// Roles of a node.
const (
	RoleEdge   = "edge"
	RoleActors = "actors"
)

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Clustered reports whether other nodes may join this one.
func (c *Config) Clustered() bool { return c.GossipListen != "" }

// HasRole reports whether the node has a role.
func (c *Config) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

func (c *Config) checkCluster(bad func(flag, format string, args ...any)) {
	if c.NodeName != "" && !nodeName.MatchString(c.NodeName) {
		bad("node-name", "%q is not 1 to 63 letters, digits, dots, hyphens and underscores, a letter or digit first", c.NodeName)
	}
	for _, r := range c.Roles {
		if r != RoleEdge && r != RoleActors {
			bad("roles", "%q is neither edge nor actors", r)
		}
	}
	if (c.Clustered() || len(c.Join) > 0) && c.Store != StoreScylla {
		bad("join", "the nodes of a cluster share one store, and the embedded one belongs to one process: add --store scylla --cql-hosts …")
	}
	if !c.Clustered() {
		for flag, given := range map[string]bool{"join": len(c.Join) > 0, "cluster-listen": c.ClusterListen != "",
			"gossip-advertise": c.GossipAdvertise != "", "gossip-key-file": c.GossipKeyFile != "", "cluster-advertise": c.ClusterAdvertise != "",
			"cluster-cert": c.ClusterCert != "", "cluster-key": c.ClusterKey != "", "cluster-ca": c.ClusterCA != "", "cluster-insecure": c.ClusterInsecure} {
			if given {
				bad(flag, "needs --gossip-listen and --cluster-listen, the addresses at which the other nodes reach this one")
			}
		}
		if len(c.Roles) > 0 && (!c.HasRole(RoleEdge) || !c.HasRole(RoleActors)) {
			bad("roles", "a node by itself has both roles, edge and actors: leave it out, or add --gossip-listen and --cluster-listen")
		}
		return
	}
	if c.Search == "fts" || c.Search == "" {
		bad("search", "fts keeps its index on one node's disk: in a cluster add --search meili --meili-url …, or --search off")
	}
	if c.Blobs != "s3" && c.BlobsShared == "" {
		bad("blobs", "fs keeps attachments on one node's disk: in a cluster add --blobs s3 --s3-endpoint …, or --blobs-shared with a directory that all nodes share")
	}
	if c.Dev && c.AuthSecretFile == "" {
		bad("dev", "every node would make a secret of its own: give all of them the same --auth-secret-file")
	}
	if c.ClusterListen == "" {
		bad("cluster-listen", "needed with --gossip-listen")
	}
	if len(c.Roles) == 0 {
		bad("roles", "at least one of edge and actors is needed")
	}
	for flag, addr := range map[string]string{"gossip-listen": c.GossipListen, "gossip-advertise": c.GossipAdvertise,
		"cluster-listen": c.ClusterListen, "cluster-advertise": c.ClusterAdvertise} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && err != nil {
			bad(flag, "%q is not HOST:PORT", addr)
		}
	}
	for _, addr := range c.Join {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad("join", "%q is not HOST:PORT", addr)
		}
	}
	if given := [...]bool{c.ClusterCert != "", c.ClusterKey != "", c.ClusterCA != ""}; given[0] != given[1] || given[1] != given[2] {
		bad("cluster-cert", "--cluster-cert, --cluster-key and --cluster-ca go together")
	}
	if c.ClusterInsecure {
		return
	}
	if c.ClusterCert == "" && !loopback(c.ClusterListen) {
		bad("cluster-listen", "whoever reaches %s could read and write everything: add --cluster-cert, --cluster-key and --cluster-ca, or --cluster-insecure", c.ClusterListen)
	}
	if c.GossipKeyFile == "" && !loopback(c.GossipListen) {
		bad("gossip-listen", "whoever reaches %s could join: add --gossip-key-file, or --cluster-insecure", c.GossipListen)
	}
}

// loopback reports whether only this machine reaches an address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
