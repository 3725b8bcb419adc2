package client

import (
	"maps"
	"slices"
	"sync"
)

// Store keeps what a client must know after a restart. Its methods may be called from several goroutines.
type Store interface {
	// Load returns everything. It is called once, before all other methods.
	Load() (Snapshot, error)
	// SetPosition records that the handler has seen everything up to seq. It need not be durable at once: a
	// position that is lost costs a repetition.
	SetPosition(conversation string, seq uint64) error
	DeletePosition(conversation string) error
	// Put makes a send durable. What is put first is sent first.
	Put(Pending) error
	// Remove forgets a send that was acknowledged or refused. Unknown ids are no error. It need not be
	// durable at once: a send that comes back is sent again under the same client id.
	Remove(clientID string) error
}

// Snapshot is the content of a Store.
type Snapshot struct {
	Positions map[string]uint64
	Outbox    []Pending // oldest first
}

// MemoryStore is a Store that lives as long as the program.
type MemoryStore struct {
	mu sync.Mutex
	s  Snapshot
}

// NewMemoryStore returns an empty one.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{s: Snapshot{Positions: map[string]uint64{}}}
}

// Load implements Store.
func (m *MemoryStore) Load() (Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Snapshot{maps.Clone(m.s.Positions), slices.Clone(m.s.Outbox)}, nil
}

// SetPosition implements Store.
func (m *MemoryStore) SetPosition(conversation string, seq uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.s.Positions[conversation] = seq
	return nil
}

// DeletePosition implements Store.
func (m *MemoryStore) DeletePosition(conversation string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.s.Positions, conversation)
	return nil
}

// Put implements Store.
func (m *MemoryStore) Put(p Pending) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.s.Outbox = append(m.s.Outbox, p)
	return nil
}

// Remove implements Store.
func (m *MemoryStore) Remove(clientID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.IndexFunc(m.s.Outbox, func(p Pending) bool { return p.ClientID == clientID }); i >= 0 {
		m.s.Outbox = slices.Delete(m.s.Outbox, i, i+1)
	}
	return nil
}
