package session

import (
	"errors"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
)

const (
	// maxReplaying is how many conversations of one session are resumed at once: each may read a part of a log that is much
	// larger than what becomes of it here.
	maxReplaying = 8
	// maxReplays is how many more may wait for that; others are answered rate_limited.
	maxReplays = 4 * frame.MaxResumes
	// replayRetry is how long their client is asked to wait.
	replayRetry = time.Second
)

// replays are the conversations that a session resumes, guarded by its record. There are none in an idle session.
type replays struct {
	waiting []replay
	running int
	pumping bool // somebody is starting them
}

type replay struct {
	q request
	p frame.ResumePoint
}

// resumeAll resumes conversations, a few at once.
func (m *Manager) resumeAll(q request, points []frame.ResumePoint) {
	r := q.r
	r.mu.Lock()
	if r.handle != q.h || r.state != stateOpen && r.state != stateDraining {
		r.mu.Unlock()
		return
	}
	if r.replays == nil {
		r.replays = new(replays)
	}
	w := r.replays
	room := len(w.waiting)+len(points) <= maxReplays
	if room {
		for _, p := range points {
			w.waiting = append(w.waiting, replay{q, p})
		}
	}
	r.mu.Unlock()
	if !room {
		for _, p := range points {
			q.target = p.Conversation
			m.obs.Resumed("error", 0)
			m.fail(&q, &chat.RateLimitError{RetryAfter: replayRetry})
		}
		return
	}
	m.pump(q.caller.link, w)
}

// pump starts what waits, as far as there is room. A dispatcher may answer at once: the loop, and not a call within the
// call, goes on with the next one.
func (m *Manager) pump(s link, w *replays) {
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.pumping {
		return
	}
	w.pumping = true
	for r.replays == w && (r.state == stateOpen || r.state == stateDraining) && len(w.waiting) > 0 && w.running < maxReplaying {
		next := w.waiting[0]
		w.waiting[0] = replay{}
		w.waiting = w.waiting[1:]
		w.running++
		r.mu.Unlock()
		m.resume(next.q, next.p, w)
		r.mu.Lock()
	}
	w.pumping = false
	if r.replays == w && w.running == 0 && len(w.waiting) == 0 {
		r.replays = nil
	}
}

// replayed makes room for the next one.
func (m *Manager) replayed(s link, w *replays) {
	s.r.mu.Lock()
	w.running--
	s.r.mu.Unlock()
	m.pump(s, w)
}

// resume replays one conversation. The frames may arrive among live ones: their seq tells them apart.
func (m *Manager) resume(q request, p frame.ResumePoint, w *replays) {
	q.target = p.Conversation
	cmd := chat.Resume{Conversation: p.Conversation, LastSeq: p.LastSeq}
	m.cfg.Dispatcher.Submit(q.u.principal(), chat.Origin{Node: m.cfg.Self, Session: chat.SessionID(q.h), Ref: q.ref}, cmd, func(res chat.Result, err error) {
		defer m.replayed(q.caller.link, w)
		if err == nil && res.View == nil {
			err = errors.New("resume without a view")
		}
		if err != nil {
			m.obs.Resumed("error", 0)
			m.fail(&q, err)
			return
		}
		head := res.View.Head.Seq
		frames, size := make([][]byte, 0, len(res.Events)), 0
		for i := range res.Events {
			if res.Gap || size > m.cfg.ReplayBytes {
				break
			}
			e := &res.Events[i]
			b := frame.AppendEvent(nil, p.Conversation, e, e.IsMessage() && res.View.ReadByOther(e.Actor, e.Seq), "")
			frames, size = append(frames, b), size+len(b)
		}
		if res.Gap || size > m.cfg.ReplayBytes {
			m.done(&q)
			m.obs.Resumed("gap", 0)
			m.reply(q.caller.link, frame.AppendGap(nil, p.Conversation, p.LastSeq, head, q.ref))
			return
		}
		if wait := m.chargeReplay(q.caller.link, size); wait > 0 {
			m.obs.Resumed("error", 0)
			m.fail(&q, &chat.RateLimitError{RetryAfter: wait})
			return
		}
		m.done(&q)
		for _, b := range frames {
			m.reply(q.caller.link, b)
		}
		m.obs.Resumed("resumed", len(frames))
		m.reply(q.caller.link, frame.AppendResumed(nil, p.Conversation, p.LastSeq, head, q.ref))
	})
}

// chargeReplay keeps the replays of a client that resumes many conversations at once from overflowing its
// queue, which would close it with 4008, upon which it would come back and do the same. It returns how long to
// wait, 0 if the replay may be sent.
func (m *Manager) chargeReplay(s link, size int) time.Duration {
	now := m.cfg.Now()
	sec := uint32(now.Unix())
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.r.handle != s.h {
		return 0
	}
	if s.r.replayAt != sec {
		s.r.replayAt, s.r.replayed = sec, 0
	}
	if int(s.r.replayed)+size > m.cfg.ReplayBytes {
		return now.Truncate(time.Second).Add(time.Second).Sub(now)
	}
	s.r.replayed += uint32(size)
	return 0
}
