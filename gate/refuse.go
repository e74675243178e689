package gate

import "time"

// refuse returns why a waiter is not let in, nil if it is.
func (a *account) refuse(w *waiter) error {
	if a.pacer == nil {
		return nil
	}
	now := a.now()
	if left := a.pacer.Paused() - now; w.outlasted(left) {
		return &Error{RetryAfter: left, Err: ErrPaused}
	}
	if at, late := a.tooLate(w, now); late {
		return &Error{RetryAfter: at - now, Err: ErrDeadline}
	}
	return nil
}

// outlasted reports whether a pause is longer than the waiter waits for. What the
// gate has added at random does not count: the service asked for less.
func (w *waiter) outlasted(pause time.Duration) bool {
	return w.maxWait > 0 && pause-jitter(w.maxWait) > w.maxWait
}

// jitter is the most that a pause is made longer by, at random.
func jitter(pause time.Duration) time.Duration { return min(pause/20, maxJitter) }

// tooLate reports whether a waiter cannot leave so early that its answer comes
// before its deadline, and until when. Waiters ahead of it whose own deadline passes
// before their own turn do not count.
func (a *account) tooLate(w *waiter, now time.Duration) (until time.Duration, late bool) {
	before := []*queue{&a.retries, &a.firsts}
	if w.resend > 0 {
		before = before[:1]
	}
	ahead := 0
	for _, q := range before {
		ahead += q.n
	}
	until = max(a.pacer.Earliest(now, ahead), now)
	latest := w.deadline - a.pacer.Trip()
	if !w.limited || until < latest {
		return until, false
	}
	turn, taken := max(a.pacer.Earliest(now, 0), now), 0
	for _, q := range before {
		for o := q.head; o != nil && turn < w.deadline; o = o.next {
			if !o.limited || o.deadline > turn {
				taken++
				turn = max(a.pacer.Earliest(now, taken), now)
			}
		}
	}
	return until, turn >= w.deadline || ahead > 0 && turn >= latest
}

// turnAway refuses the waiters that cannot, or will not, outlast the pause.
func (a *account) turnAway(now time.Duration) {
	until := a.pacer.Paused()
	for _, q := range []*queue{&a.retries, &a.firsts} {
		var next *waiter
		for w := q.head; w != nil; w = next {
			next = w.next
			switch {
			case w.outlasted(until - now):
				q.remove(w)
				w.ready <- &Error{RetryAfter: until - now, Err: ErrPaused}
			case w.limited && until >= w.deadline:
				q.remove(w)
				w.ready <- &Error{RetryAfter: until - now, Err: ErrDeadline}
			}
		}
	}
}

// wastes reports whether a waiter whose turn has come would be answered too late.
// Another one can use the turn.
func (a *account) wastes(w *waiter, now time.Duration) bool {
	return w.limited && w.deadline-now < a.pacer.Trip()*6/5
}
