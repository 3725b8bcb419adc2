package vclient

import (
	"container/heap"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// At has f called at a time, on the loop's goroutine; timers of the same time in their order.
func (l *Loop) At(t time.Time, f func()) {
	l.turn++
	heap.Push(&l.timers, timer{t, l.turn, f})
}

type timer struct {
	at   time.Time
	turn uint64
	f    func()
}

type timers []timer

func (t timers) Len() int      { return len(t) }
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t timers) Less(i, j int) bool {
	return t[i].at.Before(t[j].at) || t[i].at.Equal(t[j].at) && t[i].turn < t[j].turn
}
func (t *timers) Push(x any) { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	x := old[len(old)-1]
	old[len(old)-1] = timer{}
	*t = old[:len(old)-1]
	return x
}

// arm sets the clock to the first timer.
func (l *Loop) arm() error {
	if len(l.timers) == 0 || l.timers[0].at.Equal(l.armed) {
		return nil
	}
	l.armed = l.timers[0].at
	d := max(time.Until(l.armed), time.Nanosecond)
	if err := unix.TimerfdSettime(l.clock, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil); err != nil {
		return fmt.Errorf("vclient: timerfd: %w", err)
	}
	return nil
}

// due calls what is due. What those functions put off to the same moment waits for the next round.
func (l *Loop) due() {
	now, last := time.Now(), l.turn
	for len(l.timers) > 0 && !l.timers[0].at.After(now) && l.timers[0].turn <= last {
		heap.Pop(&l.timers).(timer).f()
	}
}
