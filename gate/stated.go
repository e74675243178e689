package gate

import (
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// longestReset is the longest time, without jitter, for which a gate waits after a 429 for
// the stated end of a window. There is a bound because the stated window may belong to
// another limit.
const longestReset = 15 * time.Minute

// mostEarly is the maximum of early. A hold is then 1/1024 of what was stated.
const mostEarly = 5

// A hold keeps requests back until the end of a window, or for about longestReset if that
// is shorter. It follows a 429 without Retry-After in which the service stated that end
// and did not state that requests are left in the window. A hold is not a pause: it delays
// a waiter by at most its MaxWait, and a waiter whose deadline is too early for that
// follows only the gate's own pauses. There is no hold in a fleet, because the leader does
// not learn when the stated window ends.
type hold struct {
	from, until time.Duration // from is when the pause began; until is 0 if there is no hold
	stated      time.Duration // the stated end; 0: none, or a request was accepted well before it
	next        time.Duration // when free has to look again at the waiters that it has passed over
	again       time.Duration // lower bound of next
	ticket      Ticket        // the last ticket that was issued before the pause
}

// state records what the service stated in a 429. begins is true if the 429 began a new
// pause.
func (a *account) state(now time.Duration, o Outcome, begins bool) {
	l := o.Limit
	if l.Requests > 0 && l.Per > 0 {
		a.pacer.Stated(l.Requests, l.Per)
		stated := Limit{Requests: l.Requests, Per: l.Per}
		if c, alone := a.pacer.(*fleet1.Controller); alone { // it may have ignored the limit
			stated.Requests, stated.Per = c.Statement()
		}
		if stated.Requests == l.Requests && stated.Per == l.Per {
			stated.Policy = l.Policy
			a.stated = stated
		}
	}
	if begins {
		a.hold = hold{from: now, ticket: a.ticket}
	}
	c, alone := a.pacer.(*fleet1.Controller)
	if begins && alone && c.Probes() > 1 { // nothing was accepted since the previous pause
		a.early = max(a.early-1, 0)
	}
	if d := min(l.Reset, longestReset); alone && d > 0 && o.RetryAfter <= 0 && l.Remaining == 0 {
		if most := int64(jitter(d)); most > 0 {
			d += time.Duration(a.rng.Int64N(most))
		}
		// If requests were accepted before the stated end, again and again, it is the end of
		// another limit's window.
		a.hold.stated = max(a.hold.stated, now+d)
		if until := now + d>>(2*a.early); until > a.hold.until {
			a.hold.until, a.hold.next = until, a.hold.again
		}
	}
}

// heldUntil returns the time until which a waiter has to wait because of the hold: the
// hold's end or the time at which the waiter's MaxWait is used up, whichever is earlier.
// It returns 0 if the response to a request sent at that time would probably miss the
// waiter's deadline.
func (a *account) heldUntil(w *waiter) time.Duration {
	until := a.hold.until
	if from := max(a.hold.from, w.since); w.maxWait > 0 {
		until = from + min(until-from, w.maxWait)
	}
	if w.limited && until >= w.deadline-a.answeredFor(w) {
		return 0
	}
	return until
}

// free returns, for each lane, the first waiter that the hold does not keep back. If no
// lane has such a waiter, at is the time at which a lane may have one.
// Without a hold, found is empty and at is now.
//
// It does not look at all waiters each time, because there may be very many. It passes over
// a waiter that is kept back until the hold ends for one of those waiters. As the hold may
// end at a different time for each of them, it looks at all waiters at most once in as many
// microseconds as there are waiters.
func (a *account) free(now time.Duration) (found [len(lanes{})]*waiter, at time.Duration) {
	if a.hold.until <= now {
		return found, now
	}
	if now >= a.hold.next {
		for i := range a.lanes {
			a.lanes[i].retries.rewind()
			a.lanes[i].firsts.rewind()
		}
		a.hold.next, a.hold.again = a.hold.until, now+time.Duration(a.waiting())*time.Microsecond
	}
	none := true
	for i := range a.lanes {
		for _, q := range []*queue{&a.lanes[i].retries, &a.lanes[i].firsts} {
			for ; q.look != nil && found[i] == nil; q.look = q.look.next {
				until := a.heldUntil(q.look)
				if until <= now {
					found[i], none = q.look, false
					break
				}
				a.hold.next = min(a.hold.next, max(until, a.hold.again))
			}
		}
	}
	if none {
		return found, a.hold.next
	}
	return found, now
}

// endHold ends a hold whose time is over. If nothing has been sent since the pause began,
// the controller treats the hold like a wait that the service asked for.
func (a *account) endHold(now time.Duration) {
	if a.hold.until == 0 || now < a.hold.until {
		return
	}
	if c, alone := a.pacer.(*fleet1.Controller); alone {
		c.Kept(a.hold.until)
	}
	a.hold.until = 0
}
