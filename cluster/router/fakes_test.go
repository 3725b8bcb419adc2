package router_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/router"
	"github.com/zumodra/hub/cluster/wire"
)

const self, peer, other chat.NodeID = 1, 2, 3

var (
	errNotSent = errors.New("not sent")
	errBroken  = errors.New("connection broke")
)

// shards is an Ownership in which everything belongs to one node, whose name may be wrong.
type shards struct {
	mu        sync.Mutex
	owner     chat.NodeID
	epoch     uint64
	next      chat.NodeID // the owner from the next Refresh on
	refreshed int
}

func (s *shards) Term(int) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch, s.owner == self
}

func (s *shards) MayAck(_ int, epoch uint64) bool {
	got, ok := s.Term(0)
	return ok && got == epoch
}

func (s *shards) Owner(int) chat.NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

func (s *shards) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refreshed++
	if s.next != 0 {
		s.owner, s.next = s.next, 0
		s.epoch++
	}
}

func (s *shards) move(to chat.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = to
	s.epoch++
}

// sent is something that went to another node.
type sent struct {
	ctx   context.Context
	to    chat.NodeID
	shard int
	place uint64
	q     chat.Question
	p     chat.Parcel
	done  func([]byte, error)
}

func (s *sent) answer(a chat.Answer, err error) {
	b, failed := wire.AppendAnswer(nil, a, err)
	if failed != nil {
		panic(failed)
	}
	s.done(b, nil)
}

// peers is a Transport that keeps what it is given for the test to answer, or lets the test answer at once.
type peers struct {
	mu     sync.Mutex
	list   []*sent
	atOnce func(*sent)
}

func (p *peers) Request(ctx context.Context, node chat.NodeID, payload []byte, done func([]byte, error)) {
	s := &sent{ctx: ctx, to: node, done: done}
	var err error
	if s.shard, s.place, s.q, err = wire.DecodeQuestion(payload); err != nil {
		panic(err)
	}
	p.add(s)
}

func (p *peers) Deliver(node chat.NodeID, payload []byte, done func(error)) {
	s := &sent{to: node, done: func(_ []byte, err error) { done(err) }}
	var err error
	if s.p, err = wire.DecodeParcel(payload); err != nil {
		panic(err)
	}
	p.add(s)
}

func (p *peers) add(s *sent) {
	p.mu.Lock()
	p.list = append(p.list, s)
	atOnce := p.atOnce
	p.mu.Unlock()
	if atOnce != nil {
		atOnce(s)
	}
}

// take returns what was sent since the last call.
func (p *peers) take() []*sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.list
	p.list = nil
	return list
}

// hub is a Handler.
type hub struct {
	answer  func(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error))
	receive func(from chat.NodeID, p chat.Parcel, done func(error))
}

func (h *hub) Answer(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
	h.answer(ctx, shard, q, done)
}

func (h *hub) Receive(from chat.NodeID, p chat.Parcel, done func(error)) { h.receive(from, p, done) }

// node is a router among fakes.
type node struct {
	*router.Router
	shards *shards
	peers  *peers
	hub    *hub
}

func newNode(t *testing.T, owner chat.NodeID, change func(*router.Config)) *node {
	t.Helper()
	n := &node{shards: &shards{owner: owner, epoch: 1}, peers: &peers{}, hub: &hub{}}
	n.hub.answer = func(context.Context, int, chat.Question, func(chat.Answer, error)) {
		t.Error("the hub was asked")
	}
	n.hub.receive = func(chat.NodeID, chat.Parcel, func(error)) { t.Error("the hub got a parcel") }
	cfg := router.Config{
		Self: self, Shards: n.shards, Peers: n.peers, Handler: n.hub,
		NotSent: func(err error) bool { return errors.Is(err, errNotSent) },
		Logger:  slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	n.Router = router.New(cfg)
	return n
}

// outcome of a question.
type outcome struct {
	mu     sync.Mutex
	calls  int
	answer chat.Answer
	err    error
	at     time.Time
}

func (n *node) ask(ctx context.Context, q chat.Question) *outcome {
	o := &outcome{}
	n.Ask(ctx, 17, q, o.set)
	return o
}

func (o *outcome) set(a chat.Answer, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls++
	o.answer, o.err, o.at = a, err, time.Now()
}

func (o *outcome) want(t *testing.T, a chat.Answer, target error) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.calls != 1:
		t.Errorf("done was called %d times", o.calls)
	case o.answer != a:
		t.Errorf("answer %#v, want %#v", o.answer, a)
	case !errors.Is(o.err, target):
		t.Errorf("error %v, want %v", o.err, target)
	case errors.Is(o.err, chat.ErrMoved):
		t.Errorf("%v must not reach a client", o.err)
	}
}

func (o *outcome) open(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls != 0 {
		t.Errorf("ended with %v, %v", o.answer, o.err)
	}
}

var conversation = chat.ConversationID{1}

func message(clientID string) chat.Question {
	return chat.CarryOut{
		Principal: chat.Principal{Tenant: "t", User: "u"},
		Command:   chat.Send{Conversation: conversation, ClientID: clientID, Content: "text"},
	}
}

func clientID(q chat.Question) string { return q.(chat.CarryOut).Command.(chat.Send).ClientID }
