package centrifugo

import "sync"

// channels are numbered as they are named, so that the reply to a subscription, which has no more than the id of the command, tells which
// it is about. There are as many as conversations in the run.
type channels struct {
	mu     sync.RWMutex
	number map[string]uint32
	list   []channel
}

type channel struct{ name, epoch string }

// use returns the id of a command about a channel, and its epoch if that is known.
func (c *channels) use(name string) (id uint32, epoch string) {
	c.mu.RLock()
	n, ok := c.number[name]
	if ok {
		epoch = c.list[n].epoch
	}
	c.mu.RUnlock()
	if ok {
		return firstChannelID + n, epoch
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok = c.number[name]; !ok {
		n = uint32(len(c.list))
		c.number[name] = n
		c.list = append(c.list, channel{name: name})
	}
	return firstChannelID + n, c.list[n].epoch
}

// name of the channel of a command; empty: there is none.
func (c *channels) name(id uint32) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if n := id - firstChannelID; id >= firstChannelID && int(n) < len(c.list) {
		return c.list[n].name
	}
	return ""
}

// learn the epoch of a channel, which is the same for everybody.
func (c *channels) learn(id uint32, epoch []byte) {
	n := id - firstChannelID
	c.mu.RLock()
	same := c.list[n].epoch == string(epoch)
	c.mu.RUnlock()
	if same {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[n].epoch = string(epoch)
}

// remembered is how many sends are known by their ids. Only the answer to one that is refused is looked up.
const remembered = 1 << 15

// sends numbers what is published.
type sends struct {
	mu   sync.Mutex
	last uint32
	ring [remembered]sent
}

type sent struct {
	id  uint32
	key string
}

func (s *sends) add(key string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	id := s.last | publishBit
	s.ring[id%remembered] = sent{id, key}
	return id
}

// key of a send; empty: too many followed.
func (s *sends) key(id uint32) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.ring[id%remembered]; e.id == id {
		return e.key
	}
	return ""
}
