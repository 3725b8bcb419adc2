package scheduled

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

const (
	// behind is how far below now the calendar is still read when nothing stands there: clocks of nodes differ.
	behind = 2 * time.Minute
	// wholeEvery is how often it is read from its beginning: in case a clock was further off.
	wholeEvery = 10 * time.Minute
	// maxLook bounds the entries that one look reads of a part of the calendar: those that are other nodes', or wait.
	maxLook = 20_000
	// maxWaits bounds the messages that are remembered to be tried later; those beyond are tried at every look.
	maxWaits = 20_000
	// firstBackoff is the first pause before a message is tried again.
	firstBackoff = time.Second
	// unsure is the reason of those of which nobody can tell whether they were sent.
	unsure = "outcome_unknown"
)

// pass is what looks at the calendar remember. One goroutine has it.
type pass struct {
	low   [chat.ScheduledSlots]time.Time // nothing stands before it
	whole time.Time                      // of the last look at everything
	mu    sync.Mutex                     // of the rest, while messages are sent
	waits map[chat.ScheduledDue]wait
	left  Stats
}

// note counts what is due and not done.
func (p *pass) note(d chat.ScheduledDue) {
	if p.left.Due++; p.left.Oldest.IsZero() || d.Due.Before(p.left.Oldest) {
		p.left.Oldest = d.Due
	}
}

// wait says when a message is tried again, or an entry looked at that no message says, which holds nobody up.
type wait struct {
	void  bool
	until time.Time
	pause time.Duration
}

func (s *Scheduler) run() {
	defer close(s.done)
	t := time.NewTicker(s.cfg.Every)
	defer t.Stop()
	var complained time.Time
	for {
		more, err := s.Pass(s.ctx)
		if err != nil && s.ctx.Err() == nil && time.Since(complained) > time.Minute {
			complained = time.Now()
			s.cfg.Log.Warn("scheduled messages: the calendar cannot be read, it will be tried again", "error", err)
		}
		if more && err == nil && s.ctx.Err() == nil {
			continue
		}
		select {
		case <-t.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// Pass looks at the calendar once and sends what is due. It reports whether there was more than it took. It is what Start
// does again and again, and must not run beside that.
func (s *Scheduler) Pass(ctx context.Context) (more bool, err error) {
	now := s.now()
	if now.Sub(s.pass.whole) > wholeEvery {
		s.pass.whole, s.pass.low = now, [chat.ScheduledSlots]time.Time{}
	}
	for d, w := range s.pass.waits {
		if now.Sub(w.until) > s.cfg.MaxBackoff { // gone, or another node's
			delete(s.pass.waits, d)
		}
	}
	var due []chat.ScheduledDue
	s.pass.left = Stats{}
	var errs []error
	for slot := range chat.ScheduledSlots {
		list, full, err := s.look(ctx, slot, now)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		due, more = append(due, list...), more || full
	}
	slices.SortStableFunc(due, func(a, b chat.ScheduledDue) int { return a.Due.Compare(b.Due) })
	if len(due) > 0 {
		did, err := s.sendAll(ctx, now, due)
		errs, more = append(errs, err), more && did
	}
	s.mu.Lock()
	s.stats = s.pass.left
	s.mu.Unlock()
	return more, errors.Join(errs...)
}

// look reads what is due of one part of the calendar.
func (s *Scheduler) look(ctx context.Context, slot int, now time.Time) (list []chat.ScheduledDue, full bool, err error) {
	first := now.Add(-behind)
	n := 0
	held := make(map[chat.ScheduledDue]bool) // users and conversations with something that is tried later
	err = s.cfg.Store.DueScheduled(ctx, slot, s.pass.low[slot], now.Add(time.Microsecond), func(d chat.ScheduledDue) bool {
		if n == 0 && d.Due.Before(first) {
			first = d.Due
		}
		n++
		if s.cfg.Hub.Serves(d.Key.Shard()) {
			w, waits := s.pass.waits[d]
			waits = waits && now.Before(w.until)
			if waits && !w.void {
				held[line(d)] = true
			}
			switch {
			case waits && w.void:
			case held[line(d)]:
				s.pass.note(d)
			default:
				list = append(list, d)
			}
			if full = len(list) >= s.cfg.Batch; full {
				s.pass.note(d) // and perhaps more behind it
			}
		}
		return !full && n < maxLook
	})
	if err == nil {
		s.pass.low[slot] = first
	}
	return list, full, err
}

// line is what messages stand in line in: those of a user in a conversation.
func line(d chat.ScheduledDue) chat.ScheduledDue { return chat.ScheduledDue{User: d.User, Key: d.Key} }

// sendAll does what is due, of each conversation one after the other. It reports whether any of it is done.
func (s *Scheduler) sendAll(ctx context.Context, now time.Time, due []chat.ScheduledDue) (bool, error) {
	rows, err := s.cfg.Store.GetDueScheduled(ctx, due)
	if err != nil {
		return false, err
	}
	var did atomic.Bool
	groups := make(map[chat.ConversationKey][]int)
	var order []chat.ConversationKey
	for i, d := range due {
		if groups[d.Key] == nil {
			order = append(order, d.Key)
		}
		groups[d.Key] = append(groups[d.Key], i)
	}
	var g errgroup.Group
	g.SetLimit(s.cfg.Parallel)
	for _, k := range order {
		g.Go(func() error {
			held := make(map[chat.UserKey]bool)
			for _, i := range groups[k] {
				if ctx.Err() != nil || !s.cfg.Hub.Serves(k.Shard()) {
					return nil // the next owner's
				}
				if held[due[i].User] {
					continue
				}
				later, err := s.one(ctx, now, due[i], rows[i])
				if err != nil && ctx.Err() == nil {
					s.cfg.Log.Debug("scheduled messages: one will be tried again", "tenant", k.Tenant, "conversation", k.ID,
						"scheduled", due[i].ID, "error", err)
				}
				w := wait{void: void(due[i], &rows[i])}
				if !s.wait(due[i], w, now, later, err) {
					did.Store(true)
				} else if !w.void {
					held[due[i].User] = true
				}
			}
			return nil
		})
	}
	err = g.Wait()
	return did.Load(), err
}

// wait notes whether a message is to be tried again, and when.
func (s *Scheduler) wait(d chat.ScheduledDue, w wait, now time.Time, later time.Duration, err error) bool {
	s.pass.mu.Lock()
	defer s.pass.mu.Unlock()
	if err == nil && later <= 0 {
		delete(s.pass.waits, d)
		return false
	}
	if !w.void {
		s.pass.note(d)
		s.cfg.Observer.Retried()
	}
	w.pause = s.pass.waits[d].pause
	if w.pause = min(max(2*w.pause, firstBackoff), s.cfg.MaxBackoff); later > 0 {
		w.pause = 0 // it is known when
		w.until = now.Add(min(later, s.cfg.MaxBackoff))
	} else {
		w.until = now.Add(w.pause)
	}
	if _, ok := s.pass.waits[d]; ok || len(s.pass.waits) < maxWaits {
		s.pass.waits[d] = w
	}
	return true
}

// void reports whether a message does not say what an entry of the calendar does.
func void(d chat.ScheduledDue, m *chat.Scheduled) bool {
	return m.ID.IsZero() || m.Turn != d.Turn || !m.Due.Equal(d.Due)
}

var errChanged = errors.New("scheduled: it was changed meanwhile")

// one does with one entry of the calendar what is due. It is tried again after later, if that is positive, or after a
// while if there is an error.
func (s *Scheduler) one(ctx context.Context, now time.Time, d chat.ScheduledDue, m chat.Scheduled) (later time.Duration, err error) {
	if void(d, &m) {
		// Where the row does not know of the turn, whoever wrote the entry may be about to say so.
		if unheard := m.ID.IsZero() || m.Turn < d.Turn; unheard && now.Sub(d.Due) <= s.cfg.Grace {
			return s.cfg.Grace - now.Sub(d.Due) + time.Second, nil
		}
		_, err := s.cfg.Store.VoidScheduled(ctx, d)
		return 0, err
	}
	switch m.State {
	case chat.ScheduledPending, chat.ScheduledSending:
		return s.send(ctx, now, m)
	default:
		return 0, s.cfg.Store.RemoveScheduled(ctx, d)
	}
}

func (s *Scheduler) send(ctx context.Context, now time.Time, m chat.Scheduled) (later time.Duration, err error) {
	user := m.By.Key()
	tried := m.State == chat.ScheduledSending // by a try that nobody knows the end of, which may have sent it
	if err := s.cfg.Admit(user); err != nil {
		if reason := chat.ScheduledReasonOf(err); reason != "" {
			return 0, s.refused(ctx, m, reason, tried)
		}
		return 0, err
	}
	if m.State == chat.ScheduledPending {
		if ok, after := s.cfg.Allow(user); !ok {
			return max(after, time.Millisecond), nil
		}
		m, err = s.cfg.Store.ChangeScheduled(ctx, user, m.ID, func(row *chat.Scheduled) error {
			if row.Turn != m.Turn || row.State != chat.ScheduledPending && row.State != chat.ScheduledSending {
				return errChanged
			}
			if row.State == chat.ScheduledPending {
				row.State, row.ChangedAt = chat.ScheduledSending, now
			}
			return nil
		})
		if errors.Is(err, errChanged) {
			return 0, nil // its new entry says when
		}
		if err != nil {
			return 0, err
		}
	}
	if now.Sub(m.ChangedAt) > s.cfg.Memory {
		return 0, s.failed(ctx, m, unsure)
	}
	sending, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	_, err = s.cfg.Hub.Do(sending, m.By, m.Send())
	if err == nil {
		s.cfg.Observer.Sent(max(0, s.now().Sub(m.SendAt)))
		_, err = s.end(ctx, m, chat.ScheduledSent, "", s.cfg.Grace)
		return 0, err
	}
	if reason := chat.ScheduledReasonOf(err); reason != "" {
		return 0, s.refused(ctx, m, reason, tried)
	}
	if limited := (*chat.RateLimitError)(nil); errors.As(err, &limited) {
		return max(limited.RetryAfter, time.Millisecond), nil
	}
	return 0, err
}

// refused is failed of a message that may not be sent now. Whether it was sent before, as long as it might be, that does
// not say: who has left since is refused whatever they sent.
func (s *Scheduler) refused(ctx context.Context, m chat.Scheduled, reason string, tried bool) error {
	if tried {
		reason = unsure
	}
	return s.failed(ctx, m, reason)
}

// failed notes why a message was refused and tells its user.
func (s *Scheduler) failed(ctx context.Context, m chat.Scheduled, reason string) error {
	did, err := s.end(ctx, m, chat.ScheduledFailed, reason, chat.KeepFailedScheduled)
	if err != nil || !did {
		return err
	}
	s.cfg.Observer.Failed(reason)
	s.cfg.Log.Info("scheduled messages: one was refused", "tenant", m.Key.Tenant, "conversation", m.Key.ID, "scheduled", m.ID, "reason", reason)
	s.cfg.Hub.TellScheduled(m.Key, m.By.User, &chat.ScheduledNotice{ID: m.ID, Reason: reason, SendAt: m.SendAt})
	return nil
}

// end notes what became of a message, unless somebody else did, or it was changed meanwhile.
func (s *Scheduler) end(ctx context.Context, m chat.Scheduled, state chat.ScheduledState, reason string, keep time.Duration) (did bool, err error) {
	// Whether it may end so was decided while ctx had not ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	now := s.now()
	_, err = s.cfg.Store.ChangeScheduled(ctx, m.By.Key(), m.ID, func(row *chat.Scheduled) error {
		if row.Turn != m.Turn || row.State != m.State {
			return errChanged
		}
		row.State, row.Reason, row.ChangedAt, row.Due = state, reason, now, now.Add(keep)
		return nil
	})
	if errors.Is(err, errChanged) || errors.Is(err, chat.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
