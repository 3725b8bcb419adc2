package mailbox

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// keep is how many slots an empty mailbox keeps.
const keep = 16

// New makes a mailbox; it is an actor.MailboxProducer.
func New() actor.Mailbox { return new(mailbox) }

// Carrier may be implemented by a message whose sender runs the actors that it wakes up itself, which spares a hand-over
// to another goroutine. A message that did not wake its actor up is handled by whoever runs that.
type Carrier interface {
	// Carry is given what runs the mailbox that the message woke up. If it returns true, that must be called exactly
	// once, after the send, from any goroutine.
	Carry(run func()) bool
}

type mailbox struct {
	mu        sync.Mutex
	user      ring
	system    []any
	running   bool
	suspended bool

	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher
	process    func() // m.run, bound once
}

// RegisterHandlers implements actor.Mailbox.
func (m *mailbox) RegisterHandlers(i actor.MessageInvoker, d actor.Dispatcher) {
	m.invoker, m.dispatcher, m.process = i, d, m.run
}

// Start implements actor.Mailbox.
func (m *mailbox) Start() {}

// UserMessageCount implements actor.Mailbox.
func (m *mailbox) UserMessageCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.user.n
}

// PostUserMessage implements actor.Mailbox.
func (m *mailbox) PostUserMessage(msg any) {
	m.mu.Lock()
	m.user.push(msg)
	wake := !m.running && !m.suspended
	m.running = m.running || wake
	m.mu.Unlock()
	if !wake {
		return
	}
	if c, ok := msg.(Carrier); ok && c.Carry(m.process) {
		return
	}
	m.dispatcher.Schedule(m.process)
}

// PostSystemMessage implements actor.Mailbox.
func (m *mailbox) PostSystemMessage(msg any) {
	m.mu.Lock()
	m.system = append(m.system, msg)
	wake := !m.running
	m.running = true
	m.mu.Unlock()
	if wake {
		m.dispatcher.Schedule(m.process)
	}
}

// next takes the next message; none ends the run.
func (m *mailbox) next() (msg any, system, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case len(m.system) > 0:
		msg = m.system[0]
		m.system[0] = nil
		if m.system = m.system[1:]; len(m.system) == 0 {
			m.system = nil
		}
		return msg, true, true
	case !m.suspended && m.user.n > 0:
		return m.user.pop(), false, true
	}
	m.running = false
	return nil, false, false
}

// run handles messages until there are none, or others are to have their turn.
func (m *mailbox) run() {
	for range max(m.dispatcher.Throughput(), 1) {
		msg, system, ok := m.next()
		if !ok {
			return
		}
		m.invoke(msg, system)
	}
	m.dispatcher.Schedule(m.process)
}

func (m *mailbox) invoke(msg any, system bool) {
	defer func() {
		if r := recover(); r != nil {
			m.invoker.EscalateFailure(r, msg)
		}
	}()
	if !system {
		m.invoker.InvokeUserMessage(msg)
		return
	}
	switch msg.(type) {
	case *actor.SuspendMailbox:
		m.suspend(true)
	case *actor.ResumeMailbox:
		m.suspend(false)
	default:
		m.invoker.InvokeSystemMessage(msg)
	}
}

func (m *mailbox) suspend(on bool) {
	m.mu.Lock()
	m.suspended = on
	m.mu.Unlock()
}

// ring is a queue whose memory is reused.
type ring struct {
	slots   []any // a power of two
	head, n int
}

func (r *ring) push(x any) {
	if r.n == len(r.slots) {
		bigger := make([]any, max(4, 2*len(r.slots)))
		for i := range r.n {
			bigger[i] = r.slots[(r.head+i)&(len(r.slots)-1)]
		}
		r.slots, r.head = bigger, 0
	}
	r.slots[(r.head+r.n)&(len(r.slots)-1)] = x
	r.n++
}

func (r *ring) pop() any {
	x := r.slots[r.head]
	r.slots[r.head] = nil
	r.head = (r.head + 1) & (len(r.slots) - 1)
	if r.n--; r.n == 0 && len(r.slots) > keep {
		r.slots, r.head = nil, 0
	}
	return x
}
