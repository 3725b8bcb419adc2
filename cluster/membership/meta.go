package membership

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/memberlist"

	"github.com/zumodra/hub/chat"
)

// State of a node, as it says.
type State uint8

const (
	Serving  State = 0
	Draining State = 1 // it gives its shards away and sends its clients elsewhere
	Joining  State = 2 // it takes no part yet, and may never come to
)

// String is for logs and pages.
func (s State) String() string {
	switch s {
	case Serving:
		return "serving"
	case Draining:
		return "draining"
	case Joining:
		return "joining"
	}
	return "unknown"
}

// Member is one node.
type Member struct {
	Name     string // the same in all its lives
	ID       chat.NodeID
	Roles    []string
	Address  string // of its streams
	Version  string
	Weight   uint // its share of the shards, in proportion; 0 counts as 1
	State    State
	Sessions int // that are open there, or were a moment ago
	// Follows names what is fed with the logs there, in a word: nodes that take turns at a shard have to feed the same.
	// Empty: it does not say, as older versions.
	Follows string
}

// meta is what a node says of itself. Names are short for the limit of 512 bytes.
type meta struct {
	Name     string   `json:"n"`
	ID       string   `json:"i"`
	Roles    []string `json:"r,omitempty"`
	Address  string   `json:"a"`
	Version  string   `json:"v,omitempty"`
	Weight   uint     `json:"w,omitempty"`
	State    State    `json:"s,omitempty"`
	Sessions int      `json:"l,omitempty"`
	Follows  string   `json:"f,omitempty"`
}

func (m *Member) encode() ([]byte, error) {
	b, err := json.Marshal(meta{m.Name, m.ID.String(), m.Roles, m.Address, m.Version, m.Weight, m.State, m.Sessions, m.Follows})
	if err == nil && len(b) > memberlist.MetaMaxSize {
		err = fmt.Errorf("membership: the node's name, roles, address and version take %d bytes, at most %d do", len(b), memberlist.MetaMaxSize)
	}
	return b, err
}

var errMeta = errors.New("membership: metadata without a name, id or address")

func decode(b []byte) (Member, error) {
	var m meta
	if err := json.Unmarshal(b, &m); err != nil {
		return Member{}, fmt.Errorf("membership: metadata: %w", err)
	}
	id, err := strconv.ParseUint(m.ID, 16, 64)
	if err != nil || id == 0 || m.Name == "" || m.Address == "" {
		return Member{}, errMeta
	}
	return Member{Name: m.Name, ID: chat.NodeID(id), Roles: m.Roles, Address: m.Address, Version: m.Version, Weight: m.Weight, State: m.State,
		Sessions: max(m.Sessions, 0), Follows: m.Follows}, nil
}
