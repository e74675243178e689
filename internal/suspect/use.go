package suspect

import "time"

// MostOwn is the maximum number of endpoints of an account that have an account of their own.
const MostOwn = 64

const (
	leastSpan = time.Minute
	// MostSpan is the longest time for which an endpoint has an own account without new proof.
	MostSpan = 15 * time.Minute
)

// A Use is the time for which an endpoint has its own account. The zero value is one that has
// never begun.
type Use struct {
	Until time.Duration
	Span  time.Duration // how long it is or was; doubles each time, unless the account has not been used for long
}

// Begin begins a use that lasts at least the given time.
func (u *Use) Begin(now, least time.Duration) {
	if u.Over(now) {
		u.Span = 0
	}
	u.Prolong(now, least)
}

// Over reports whether the use ended so long ago that it does not matter any longer.
func (u *Use) Over(now time.Duration) bool { return now-u.Until > 2*u.Span }

// Prolong makes the use last for twice as long as before, from now on.
func (u *Use) Prolong(now, least time.Duration) {
	u.Span = min(max(2*u.Span, least, leastSpan), MostSpan)
	u.Until = now + u.Span
}
