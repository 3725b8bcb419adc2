package projection

import "github.com/zumodra/hub/chat"

// fifo is a queue of conversations.
type fifo struct {
	buf  []chat.ConversationKey
	head int
}

func (q *fifo) len() int { return len(q.buf) - q.head }

func (q *fifo) first() chat.ConversationKey { return q.buf[q.head] }

func (q *fifo) push(k chat.ConversationKey) {
	if q.head > 64 && q.head*2 >= len(q.buf) {
		n := copy(q.buf, q.buf[q.head:])
		clear(q.buf[n:])
		q.buf, q.head = q.buf[:n], 0
	}
	q.buf = append(q.buf, k)
}

func (q *fifo) pop() chat.ConversationKey {
	k := q.buf[q.head]
	q.buf[q.head] = chat.ConversationKey{}
	if q.head++; q.head == len(q.buf) {
		q.buf, q.head = q.buf[:0], 0
	}
	return k
}
