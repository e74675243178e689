package gate

import (
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// longestReset is how long a gate holds requests back at most because the service
// states when a window ends: that need not be the window of the limit that was met.
const longestReset = 15 * time.Minute

// A hold is what the service has stated of the end of its window, with a 429 that
// names no Retry-After. It is no pause: a waiter that cannot wait for that end goes by
// the gate's own pauses, as if nothing had been stated. In a fleet there is none,
// because the leader is not told what the service has stated to one process.
type hold struct {
	from, until time.Duration // until 0: there is none
	next        time.Duration // nobody is free before
	ticket      Ticket        // the latest one before it
}

// state takes what the service has stated with a 429. begins: the 429 has begun a
// new pause.
func (a *account) state(now time.Duration, o Outcome, begins bool) {
	l := o.Limit
	if l.Requests > 0 && l.Per > 0 {
		a.stated = Limit{Requests: l.Requests, Per: l.Per, Policy: l.Policy}
		a.pacer.Stated(l.Requests, l.Per)
	}
	if begins {
		a.hold = hold{from: now, ticket: a.ticket}
	}
	_, alone := a.pacer.(*fleet1.Controller)
	if d := min(l.Reset, longestReset); alone && d > 0 && o.RetryAfter <= 0 && l.Remaining == 0 {
		if most := int64(jitter(d)); most > 0 {
			d += time.Duration(a.rng.Int64N(most))
		}
		a.hold.until, a.hold.next = max(a.hold.until, now+d), 0
	}
}

// heldUntil returns until when a waiter waits for the stated end, 0 if it does not:
// no longer than its MaxWait, and not if its answer would then miss its deadline.
func (a *account) heldUntil(w *waiter) time.Duration {
	until := a.hold.until
	if from := max(a.hold.from, w.since); w.maxWait > 0 {
		until = from + min(until-from, w.maxWait)
	}
	if w.limited && until >= w.deadline-a.pacer.Trip()*6/5 {
		return 0
	}
	return until
}

// free returns the first waiter that does not, or no longer, wait for the stated end,
// and otherwise when there will be one. Without a hold it is up to the lanes.
func (a *account) free(now time.Duration) (w *waiter, at time.Duration) {
	switch {
	case a.hold.until <= now:
		return nil, now
	case now < a.hold.next: // to look at all of them for each that comes would take too long
		return nil, a.hold.next
	}
	at = a.hold.until
	a.lanes.all(func(o *waiter, _ int) {
		until := a.heldUntil(o)
		if w == nil && until <= now {
			w = o
		}
		at = min(at, until)
	})
	if w == nil {
		a.hold.next = at
	}
	return w, at
}

// endHold ends a hold whose time has come. To the controller it was a wait that the
// service has asked for, if nobody was sent meanwhile.
func (a *account) endHold(now time.Duration) {
	if a.hold.until == 0 || now < a.hold.until {
		return
	}
	if c, alone := a.pacer.(*fleet1.Controller); alone {
		c.Kept(a.hold.until)
	}
	a.hold.until = 0
}
