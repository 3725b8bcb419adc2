package main

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lxzan/gws"
)

// minimalPeer is the least that a server of durable messages does: gws, a goroutine per connection, one bare commit
// per message, the message written back as the ack. No authentication, no order, no members, no duplicates, no
// parsing. What it reaches on a machine that it shares with its clients is what the network leaves of the bare store.
type minimalPeer struct {
	gws.BuiltinEventHandler
	db     *pebble.DB
	l      net.Listener
	serial atomic.Uint32
	in     atomic.Int64
	mu     sync.Mutex
	open   int
}

func newMinimalPeer(dir string) (*minimalPeer, error) {
	db, err := openBare(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	p := &minimalPeer{db: db, l: l}
	s := gws.NewServer(p, &gws.ServerOption{CheckUtf8Enabled: true, Logger: quiet{}})
	go s.RunListener(l)
	return p, nil
}

// OnOpen implements gws.Event.
func (p *minimalPeer) OnOpen(c *gws.Conn) {
	c.Session().Store("id", p.serial.Add(1))
	p.count(1)
}

// OnClose implements gws.Event.
func (p *minimalPeer) OnClose(*gws.Conn, error) { p.count(-1) }

func (p *minimalPeer) count(n int) {
	p.mu.Lock()
	p.open += n
	p.mu.Unlock()
}

// OnMessage implements gws.Event.
func (p *minimalPeer) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	id, _ := c.Session().Load("id")
	serial, _ := id.(uint32)
	var key [51]byte
	binary.BigEndian.PutUint32(key[:], serial)
	binary.BigEndian.PutUint64(key[16:], uint64(p.in.Add(1)))
	b := p.db.NewBatch()
	defer b.Close()
	b.Set(key[:], m.Bytes(), nil)
	if err := b.Commit(pebble.Sync); err != nil {
		return
	}
	c.WriteMessage(gws.OpcodeText, m.Bytes())
}

func (p *minimalPeer) addr() string { return p.l.Addr().String() }

func (p *minimalPeer) conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

func (p *minimalPeer) inbound() int64              { return p.in.Load() }
func (p *minimalPeer) broadcast([]byte, int) error { return errors.ErrUnsupported }
func (p *minimalPeer) next([]byte, int) error      { return errors.ErrUnsupported }
func (p *minimalPeer) close()                      { p.db.Close() }
