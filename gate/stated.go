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

// trials are the times of the trials in a hold, as fractions of the rest of it. A trial is
// a request that is sent although the hold has not ended, because the stated window may be
// another limit's. Once all these trials have been sent and none was accepted, there are no
// more trials, not even in later holds.
var trials = [...]float64{1. / 16, 1. / 4, 1. / 2}

// shortHold is the length of a hold up to which there are no trials, because little is lost
// if the end is wrong.
const shortHold = 61 * time.Second

// A hold keeps requests back until the end of a window. A hold without window follows a
// 429 without Retry-After in which the service stated that end and did not state that
// requests are left in the window; it lasts for about longestReset if that is shorter. A
// hold with window begins when all requests of a stated window have been sent.
//
// A hold is not a pause: it delays a waiter by at most its MaxWait. Unless the hold has a
// window, a waiter that would probably miss its deadline because of the hold follows only the
// gate's own pauses. There is no hold in a fleet, because the leader does not learn when the
// stated window ends.
type hold struct {
	from, until time.Duration // until is 0 if there is no hold
	window      bool          // whether a stated window is used up, so more than its end is known
	stated      time.Duration // the stated end; 0: none, or a request was accepted well before it
	next        time.Duration // when free has to look again at the waiters that it has passed over
	again       time.Duration // lower bound of next
	trial       time.Duration // when the next trial may be sent; 0: there is none
	ticket      Ticket        // the last ticket that was issued before from
}

// state records what the service stated in a 429. begins is true if the 429 began a new
// pause.
func (a *account) state(now time.Duration, o Outcome, begins bool) {
	l := o.Limit
	if l.Requests > 0 && l.Per > 0 {
		a.pacer.Stated(l.Requests, l.Per)
		stated := Limit{Requests: l.Requests, Per: l.Per}
		if c, alone := a.pacer.(fleet1.Solo); alone { // it may have ignored the limit
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
	c, alone := a.pacer.(fleet1.Solo)
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
		if until := now + d>>(2*a.early); until > a.hold.until && !a.hold.window {
			a.hold.until, a.hold.next = until, a.hold.again
			a.hold.trial = a.nextTrial(a.hold)
		}
	}
}

// nextTrial returns when the next trial of a hold may be sent, or 0 if there is none.
func (a *account) nextTrial(h hold) time.Duration {
	if a.tried == len(trials) || h.until-h.from <= shortHold {
		return 0
	}
	return h.from + time.Duration(trials[a.tried]*float64(h.until-h.from))
}

// holdWindow begins a hold if all requests of a stated window have been sent. The result
// is false if it has not begun one.
func (a *account) holdWindow(now time.Duration) bool {
	c, alone := a.pacer.(fleet1.Solo)
	if !alone || a.hold.window && a.hold.until > now {
		return false
	}
	end, ok := c.UsedUp()
	if !ok || end <= now {
		return false
	}
	from := now
	if a.used.until == end { // a trial was refused, and the window is the same
		from = a.used.from
	}
	a.hold = hold{from: from, until: end, window: true, ticket: a.ticket}
	a.used = a.hold
	a.turnAway(now) // some waiters may have too little time for the next window
	return true
}

// heldUntil returns the time until which a waiter has to wait because of the hold: the
// hold's end or the time at which the waiter's MaxWait is used up, whichever is earlier.
// Unless the hold has a window, it returns 0 if the response to a request sent at that
// time would probably miss the waiter's deadline.
func (a *account) heldUntil(w *waiter) time.Duration {
	until := a.hold.until
	if from := max(a.hold.from, w.since); w.maxWait > 0 {
		until = from + min(until-from, w.maxWait)
	}
	if !a.hold.window && w.limited && until >= w.deadline-a.answeredFor(w) {
		return 0
	}
	return until
}

// resumes returns the end of the pause, the hold or the stated window that is used up,
// whichever is latest.
func (a *account) resumes() time.Duration {
	at := max(a.pacer.Paused(), a.hold.until)
	if c, alone := a.pacer.(fleet1.Solo); alone {
		if next, ok := c.UsedUp(); ok {
			at = max(at, next)
		}
	}
	return at
}

// trial makes the next request a trial, if a hold is not over but free has found a waiter
// that need not wait for its end. at is the result of the pacer's Next. The new result
// replaces it.
func (a *account) trial(now, at time.Duration) time.Duration {
	c, alone := a.pacer.(fleet1.Solo)
	due := a.hold.trial > 0 && now >= a.hold.trial
	if !alone || a.hold.until <= now || a.pacer.Paused() > now || at > now && !a.hold.window || !a.hold.window && !due {
		return at
	}
	if at = c.Trial(now); at <= now && due {
		a.tried++
		a.hold.trial = 0
	}
	return at
}

// free returns, for each lane, the first waiter that the hold does not keep back. If no
// lane has such a waiter, at is the time at which a lane may have one. If a trial is due,
// the waiter whose turn it is counts as not kept back. Without a hold, found is empty and
// at is now.
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
	if !none {
		return found, now
	}
	if at = a.hold.next; a.hold.trial > 0 {
		at = min(at, a.hold.trial)
	}
	if a.hold.trial > 0 && at <= now {
		turn := a.lanes.next(func(i int) bool { return a.lanes[i].waiting() > 0 })
		found[turn] = a.lanes[turn].head(false)
	}
	return found, at
}

// endHold ends a hold whose time is over. If nothing has been sent since the pause began,
// the controller treats the hold like a wait that the service asked for.
func (a *account) endHold(now time.Duration) {
	if c, alone := a.pacer.(fleet1.Solo); alone && a.hold.window {
		if _, used := c.UsedUp(); !used { // a request was not sent after all, or the statement was dropped
			a.hold.until = 0
			return
		}
	}
	if a.hold.until == 0 || now < a.hold.until {
		return
	}
	if c, alone := a.pacer.(fleet1.Solo); alone {
		c.Kept(a.hold.until)
	}
	a.hold.until = 0
}
