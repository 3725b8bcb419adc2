package worker

import "github.com/zumodra/hub/bench/target"

func message(w *Worker, p *pending) target.Message {
	return target.Message{Conversation: w.convs[p.conv].id, Key: p.key, Size: p.size, User: int(w.conns[p.conn].user)}
}
