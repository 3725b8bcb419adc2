package node

// ClusterStatus is the cluster as one node sees it: /debug/cluster.
type ClusterStatus struct {
	Self      string          `json:"self"`
	Shards    int             `json:"shards"`
	Unowned   int             `json:"unowned"` // shards whose owner is not known, or no member
	LeaseLeft int64           `json:"lease_left_ms"`
	Members   []ClusterMember `json:"members"`
}

// ClusterMember is one node.
type ClusterMember struct {
	Name     string   `json:"name"`
	ID       string   `json:"id"`
	Roles    []string `json:"roles"`
	State    string   `json:"state"`
	Version  string   `json:"version"`
	Protocol string   `json:"protocol"` // that is spoken to it; of this node: those that it speaks
	Address  string   `json:"address,omitempty"`
	Follows  string   `json:"follows,omitempty"` // what it feeds with the logs
	Shards   int      `json:"shards"`
	Sessions int      `json:"sessions"`
	Reached  bool     `json:"reached"` // a stream to it stands
}
