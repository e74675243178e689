package redisgate

import "time"

// A lag decides when a process uses the turns that arrive. Turns that were held up on
// their way must not be used all at once, because together they would exceed the limit.
// The lag is the time from when the leader sent a turn to when the process may use it,
// not counting the turn's offset. A slower turn raises the lag at once. After that, the lag
// shrinks so slowly that the fleet's pace rises by less than the margin that its controller
// keeps, unless a turn would be kept for longer than maxLag. The lag contains the difference
// between two clocks, so only its changes are meaningful. The zero value is ready to use.
type lag struct {
	long time.Duration
	at   time.Duration // when long was computed; 0: never
}

const (
	shrink = 40                     // a lag shrinks by a second in this many seconds
	maxLag = 500 * time.Millisecond // longest time for which a lag keeps a turn that has arrived
)

// after returns the lag for a turn that took the given time to arrive.
func (l *lag) after(now, took time.Duration) time.Duration {
	if l.at == 0 {
		l.long = took
	}
	l.long = min(max(l.long-(now-l.at)/shrink, took), took+maxLag)
	l.at = max(now, 1)
	return l.long
}
