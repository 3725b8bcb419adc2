package sets

import (
	"container/list"
	"slices"
	"sync"

	"github.com/zumodra/hub/chat"
)

// Large is how many members a set has at least that is worth a name; smaller ones are sent along.
const Large = 65

type place struct {
	node chat.NodeID
	key  chat.ConversationKey
}

// Sender remembers what other nodes were sent. The zero value is ready; its methods are safe for concurrent use.
type Sender struct {
	Names int // that are kept; default 16,384

	mu      sync.Mutex
	names   map[place]*list.Element // of *name
	recent  list.List
	tickets uint64
}

type name struct {
	place
	set       *chat.MemberSet
	confirmed bool
	ticket    uint64 // of the newest delivery
}

// Pack returns the delivery as it is to be sent to a node, and the ticket that its outcome is told with. What is not
// large is sent as it is, and has none (0).
func (s *Sender) Pack(node chat.NodeID, d *chat.Delivery) (*chat.Delivery, uint64) {
	if len(d.Recipients.Users) < Large {
		return d, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{node, d.Key}
	e := s.names[at]
	if e == nil {
		if s.names == nil {
			s.names = make(map[place]*list.Element)
		}
		if s.Names <= 0 {
			s.Names = 16_384
		}
		for len(s.names) >= s.Names {
			s.remove(s.recent.Back())
		}
		e = s.recent.PushFront(&name{place: at})
		s.names[at] = e
	}
	s.recent.MoveToFront(e)
	n := e.Value.(*name)
	if n.set != d.Recipients {
		n.set, n.confirmed = d.Recipients, false
	}
	s.tickets++
	n.ticket = s.tickets
	if n.confirmed {
		short := *d
		short.Recipients = &chat.MemberSet{Version: d.Recipients.Version}
		return &short, n.ticket
	}
	return d, n.ticket
}

// Confirmed says that a delivery has arrived. The receiver may have the set now.
func (s *Sender) Confirmed(node chat.NodeID, d *chat.Delivery, ticket uint64) {
	if ticket == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.names[place{node, d.Key}]; e != nil {
		if n := e.Value.(*name); n.set == d.Recipients {
			n.confirmed = true
		}
	}
}

// Unknown says that the receiver does not know the set. It reports whether the delivery may be sent again without
// overtaking another one of its conversation; the set is sent in full then.
func (s *Sender) Unknown(node chat.NodeID, d *chat.Delivery, ticket uint64) (newest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.names[place{node, d.Key}]
	if e == nil {
		return false
	}
	n := e.Value.(*name)
	n.confirmed = false
	return n.ticket == ticket
}

func (s *Sender) remove(e *list.Element) {
	delete(s.names, e.Value.(*name).place)
	s.recent.Remove(e)
}

// Receiver keeps what other nodes sent. The zero value is ready; its methods are safe for concurrent use.
type Receiver struct {
	Members int // of all sets that are kept together; default 1,048,576

	mu     sync.Mutex
	sets   map[place]*list.Element // of *kept
	recent list.List
	n      int
}

type kept struct {
	place
	set *chat.MemberSet
}

// Recipients finds whom a delivery is for; chat.ErrUnknownSet if it names a set that is not there.
func (r *Receiver) Recipients(from chat.NodeID, d *chat.Delivery) (*chat.MemberSet, error) {
	set := d.Recipients
	if n := len(set.Users); n > 0 && n < Large {
		return set, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := place{from, d.Key}
	e := r.sets[at]
	if e != nil {
		have := e.Value.(*kept).set
		if have.Version == set.Version && (len(set.Users) == 0 || slices.Equal(have.Users, set.Users)) {
			r.recent.MoveToFront(e)
			return have, nil
		}
	}
	if len(set.Users) == 0 {
		return nil, chat.ErrUnknownSet
	}
	if e != nil {
		r.remove(e)
	}
	if r.sets == nil {
		r.sets = make(map[place]*list.Element)
	}
	if r.Members <= 0 {
		r.Members = 1 << 20
	}
	r.sets[at] = r.recent.PushFront(&kept{at, set})
	r.n += len(set.Users)
	for r.n > r.Members && r.recent.Len() > 1 {
		r.remove(r.recent.Back())
	}
	return set, nil
}

func (r *Receiver) remove(e *list.Element) {
	k := e.Value.(*kept)
	delete(r.sets, k.place)
	r.recent.Remove(e)
	r.n -= len(k.set.Users)
}
