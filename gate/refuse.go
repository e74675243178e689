package gate

import "time"

// refuse returns why a waiter that has just arrived is refused, nil if it may wait. So
// many will certainly leave before it.
func (a *account) refuse(w *waiter, ahead int) error {
	if a.pacer == nil {
		return nil
	}
	now := a.now()
	if left := a.pacer.Paused() - now; w.outlasted(left) {
		return &Error{RetryAfter: left, Err: ErrPaused}
	}
	if w.limited {
		// Earlier waiters may have become too late. They must not be counted.
		if a.came++; a.came > a.waiting()/8 {
			a.turnAway(now)
		}
		if at, late := a.late(w, now, ahead); late {
			return &Error{RetryAfter: at - now, Err: ErrDeadline}
		}
	}
	return nil
}

// outlasted reports whether the pause is longer than the waiter's MaxWait. The random
// part that the gate has added does not count, because the service asked for less.
func (w *waiter) outlasted(pause time.Duration) bool {
	return w.maxWait > 0 && pause-jitter(w.maxWait) > w.maxWait
}

// jitter is the most that a pause is made longer by, at random.
func jitter(pause time.Duration) time.Duration { return min(pause/20, maxJitter) }

// late reports whether a waiter with so many ahead of it certainly leaves too late
// for a response before its deadline, and the earliest time at which it could leave.
func (a *account) late(w *waiter, now time.Duration, ahead int) (earliest time.Duration, late bool) {
	if a.hold.until > now && a.heldUntil(w) <= now { // those ahead may wait for the stated end
		ahead = min(ahead, 1)
	}
	earliest = max(a.pacer.Earliest(now, ahead), now)
	left := w.deadline - earliest
	// The first waiter is sent in any case, because responses may have become faster.
	return earliest, w.limited && (left <= 0 || ahead > 0 && left < a.answered())
}

// gaveUp takes note that a request has got no response. It says nothing if a later one
// has got one, and little alone, or with others that end with it: they may be lost.
func (a *account) gaveUp(now time.Duration, s sent) {
	if s.at >= a.answeredAt && now-a.givenAt >= a.given && now-s.at > a.given {
		a.given, a.givenAt = min(now-s.at, 2*max(a.given, a.pacer.Trip(), shortAnswer)), now
	}
}

// heardAfter takes note that a request was accepted. A 429 does not count: it comes
// sooner than an answer.
func (a *account) heardAfter(now time.Duration, s sent) {
	if s.at > 0 { // it has waited
		a.given = min(a.given, now-s.at)
		a.answeredAt = max(a.answeredAt, s.at)
	}
}

// answered returns how long before its deadline a request has to leave. Requests that
// run into their deadlines tell it too: if none was taken for too late, each would
// leave when its time is nearly over, and no answer would come.
func (a *account) answered() time.Duration { return max(a.pacer.Trip(), a.given) * 6 / 5 }

// turnAway refuses the waiters that cannot wait for their turn, or do not want to.
func (a *account) turnAway(now time.Duration) {
	a.came = 0
	pause := a.pacer.Paused() - now
	look := func(w *waiter, ahead int) {
		if w.outlasted(pause) {
			w.refused(&Error{RetryAfter: pause, Err: ErrPaused})
		} else if at, late := a.late(w, now, ahead); late {
			w.refused(&Error{RetryAfter: at - now, Err: ErrDeadline})
			if w.queue != &a.inner {
				a.turned++
			}
		}
	}
	a.lanes.all(look)
	for w := a.inner.head; w != nil; {
		next := w.next
		look(w, 0)
		w = next
	}
}

func (w *waiter) refused(err *Error) {
	w.queue.remove(w)
	w.ready <- err
}

// wastes reports whether a waiter whose turn has come would get its response too
// late. Another waiter can use the turn.
func (a *account) wastes(w *waiter, now time.Duration) bool {
	return w.limited && w.deadline-now < a.answered()
}
