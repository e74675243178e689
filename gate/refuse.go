package gate

import (
	"math"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// refuse returns nil if w, which has just arrived, may wait with priority p. Otherwise it
// returns the error with which w is refused.
func (a *account) refuse(w *waiter, p Priority) error {
	if a.pacer == nil {
		return nil
	}
	now := a.now()
	if left := a.pacer.Paused() - now; w.outlasted(left) {
		return &Error{RetryAfter: left, Err: ErrPaused}
	}
	if !w.limited {
		return nil
	}
	// Waiters that have become too late in the meantime must not count as ahead of this
	// one for long. Checking all of them at each arrival would be slow.
	if a.came++; a.came > a.waiting()/8 {
		a.turnAway(now)
	}
	ahead := 0
	if !w.inner {
		ahead = a.lanes.ahead(w, p)
	}
	at, late := a.late(w, now, ahead)
	o := &a.overloads[p.lane()]
	switch {
	case late && !a.queued(w, now):
		return &Error{RetryAfter: at - now, Err: ErrDeadline}
	case !late && !a.crowds(w, p, now, at, ahead), late && a.mayOvertake(w, p, now), a.mayTestify(w, p, now):
		return nil
	case late:
		o.late(now)
	}
	o.latest = now
	if w.first() && p < Interactive {
		w.held = o.telling.hold(now, w.deadline-now)
	}
	return &Error{RetryAfter: at - now, Err: ErrDeadline}
}

// queued reports whether w is too late only because others are ahead of it.
func (a *account) queued(w *waiter, now time.Duration) bool {
	return !w.inner && w.deadline-max(a.pacer.Earliest(now, 0), now) >= a.answeredFor(w)
}

const (
	// mostEarlier is the maximum number of waiters in a lane that may have an earlier deadline
	// than a request that overtakes others.
	mostEarlier = 16
	// plenty is how many times as long as all requests take must be left for a waiter that is
	// overtaken, because the pace may fall.
	plenty = 1.5
)

// mayOvertake reports whether w, which is too late only because of the waiters ahead of it,
// may be sent before those with a later deadline, so that a request with little time does not
// fail behind a long queue of requests that have plenty. The first of these must have plenty of
// time to wait until all requests have been sent. If it has no deadline, it has its MaxWait,
// because it must not be overtaken for ever.
func (a *account) mayOvertake(w *waiter, p Priority, now time.Duration) bool {
	if w.goesFirst() || w.inner || a.hold.until > now {
		return false
	}
	firsts := &a.lanes[p.lane()].firsts
	next, earlier := firsts.head, 0
	for next != nil && next.limited && next.deadline <= w.deadline && earlier < mostEarlier {
		next = next.next
		earlier++
	}
	if next == nil {
		return false
	}
	until := next.since + next.maxWait
	if next.limited {
		until = next.deadline - a.answeredFor(next)
	}
	begin := max(a.pacer.Earliest(now, 0), now)
	if all := plenty * float64(a.waiting()+1) / a.pacer.Pace(); all > (until - begin).Seconds() {
		return false
	}
	if _, late := a.late(w, now, a.lanes.ahead(w, p)-firsts.n+earlier); late {
		return false
	}
	w.before = next
	return true
}

// An overload is a time in which requests of one priority are refused because too many
// others are ahead of them.
type overload struct {
	since   time.Duration // when it began; 0: there is none
	latest  time.Duration // when a request was last refused
	telling telling
}

// late records that a request was too late.
func (o *overload) late(now time.Duration) {
	if o.since == 0 {
		o.since = now
	}
	o.latest = now
}

// crowds reports whether a first attempt that can be sent at the given time should be
// refused, because there have been too many requests for longer than the time that it has
// left. Some requests have to be refused then. If the gate refused only those that are
// certain to be too late, each request would wait almost until its deadline, and no time
// would be left for what depends on it. Refusals would not shorten the part of the wait that
// is due to requests without a deadline, so that part does not count. An overload is over if
// no request was refused for as long as the new request has left.
func (a *account) crowds(w *waiter, p Priority, now, at time.Duration, ahead int) bool {
	left, o := w.deadline-now, &a.overloads[p.lane()]
	if o.since == 0 || !w.first() || w.inner {
		return false
	}
	if now-o.latest > left {
		*o = overload{}
		return false
	}
	wait := at - max(a.pacer.Paused(), now) // a pause delays everybody
	rivals := a.lanes[p.lane()].firsts.limited
	return now-o.since > left && float64(wait)*float64(rivals) > float64(left)/4*float64(ahead)
}

// outlasted reports whether the pause is longer than the waiter's MaxWait. It allows for
// the jitter that the gate may have added to the pause, because the service did not ask
// for it.
func (w *waiter) outlasted(pause time.Duration) bool {
	return w.maxWait > 0 && pause-jitter(w.maxWait) > w.maxWait
}

// jitter returns the upper bound of the random time that may be added to a pause or a hold
// of the given length.
func jitter(pause time.Duration) time.Duration { return min(pause/20, maxJitter) }

// late returns the earliest time at which w can be sent, and whether w should be refused
// because of that time. ahead is the number of waiters that are sent before w. A waiter
// should be refused if its deadline is not after that time; if its response would probably
// miss the deadline, unless no waiter is ahead and tries allows it; or if the turn should go
// to a caller with more time. An inner request is sent before all others, so it may be sent
// as long as any time is left.
func (a *account) late(w *waiter, now time.Duration, ahead int) (earliest time.Duration, late bool) {
	if w.witness || a.hold.until > now && a.heldUntil(w) <= now { // the waiters ahead may be waiting for the stated end
		ahead = min(ahead, 1)
	}
	earliest = max(a.pacer.Earliest(now, ahead), now)
	left, answered := w.deadline-earliest, a.answeredFor(w)
	switch {
	case !w.limited:
		return earliest, false
	case left <= 0:
		return earliest, true
	case w.inner:
		return earliest, false
	case ahead == 0 && earliest > max(now, a.pacer.Paused()) && left < max(answered, min(3*answered, (w.deadline-now)/2)):
		// The next turn is far away, and w would keep it from callers that arrive later and
		// have more time left.
		a.far++
		return earliest, true
	}
	return earliest, left < answered && (ahead > 0 || !a.tries(w, earliest))
}

// mostSharing bounds the time between two tries, because a process that has sent nothing for long
// seems to get few turns.
const mostSharing = 8

// tries reports whether a waiter may be sent at the given time although its response is
// expected after its deadline. The gate allows this if no other request seems to want the
// turn, and otherwise now and then, because responses may have become faster. It does so
// less often for a request that has waited by then, because the next request to arrive
// probably has more time left and can use the turn. The processes of a fleet take turns, so that
// together, they then try about as often as a single one.
func (a *account) tries(w *waiter, at time.Duration) bool {
	every, wanted := min(a.answered(), longAnswer), a.turned > a.far
	if at-w.since > every/16 {
		every = min(8*every, 2*longAnswer)
		if p, shared := a.pacer.(fleet1.Shared); shared {
			n := min(p.Sharing(), mostSharing)
			every *= time.Duration(n)
			wanted = wanted || n > 1
		}
	}
	return !wanted || at-a.sentAt >= every
}

// gaveUp records how long a request took that was neither accepted nor throttled, usually
// because it got no response, unless a request that was sent later was accepted. Requests
// that end without a response may simply have been lost, even several together. So given
// grows to at most twice the current estimate, and then does not grow again for that long.
func (a *account) gaveUp(now time.Duration, s sent) {
	if s.at >= a.answeredAt && now-a.givenAt >= a.given && now-s.at > a.given {
		a.given, a.givenAt = min(now-s.at, 2*max(a.given, a.pacer.Trip(), shortAnswer)), now
	}
}

// heardAfter records that a request was accepted. It is not called for a 429, because a
// 429 often arrives sooner than a successful response.
func (a *account) heardAfter(now time.Duration, s sent) {
	if s.at > 0 { // at is 0 for ticket 0, whose send time is unknown
		a.measure(now - s.at)
		a.given = min(a.given, now-s.at)
		a.answeredAt = max(a.answeredAt, s.at)
	}
}

// answered estimates how long before its deadline a request has to be sent to get a
// response in time. Requests that ran into their deadlines count too. Otherwise, if
// responses became slow, each request might be sent shortly before its deadline, and none
// would get a response.
func (a *account) answered() time.Duration { return max(a.pacer.Trip(), a.given) * 6 / 5 }

// answeredFor is like answered, but also allows for response times that vary. In a steady
// overload, requests are sent when just that much time is left, so if it were only a mean,
// many responses would be late. It allows at most half of the time that the waiter had,
// because a request with a short deadline would otherwise never be sent.
func (a *account) answeredFor(w *waiter) time.Duration {
	return max(a.answered(), min(a.took+4*a.spread, (w.deadline-w.since)/2))
}

// measure records how long a response took. As with TCP's timeout (RFC 6298), nearly all
// responses take at most took+4*spread. The bound keeps a few slow responses, such as long
// polls, from hiding how long the others take.
func (a *account) measure(d time.Duration) {
	if a.took == 0 {
		a.took, a.spread = d, d/4
	}
	off := min(d, 4*a.took+time.Millisecond) - a.took
	a.spread += (max(off, -off) - a.spread) / 8
	a.took += off / 8
}

// soonest returns the earliest time, not before from, at which some waiter has to be sent
// if its response is to arrive before its deadline.
func (a *account) soonest(from time.Duration) time.Duration {
	soonest := time.Duration(math.MaxInt64)
	a.lanes.all(func(w *waiter, _ int) {
		if at := w.deadline - a.answeredFor(w) - max(a.answered(), shortAnswer); w.limited && at >= from {
			soonest = min(soonest, at)
		}
	})
	return soonest
}

// turnAway refuses the waiters that should be refused according to late, and those whose
// MaxWait is shorter than the pause.
func (a *account) turnAway(now time.Duration) {
	a.came, a.checked = 0, a.pacer.Paused()
	pause := a.checked - now
	look := func(w *waiter, ahead int) {
		if w.outlasted(pause) {
			w.refused(&Error{RetryAfter: pause, Err: ErrPaused})
		} else if at, late := a.late(w, now, ahead); late {
			if a.queued(w, now) {
				a.overloads[w.lane].late(now)
			}
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

// recent is how long the patience of canceled waiters is remembered.
const recent = 10 * time.Second

// lostPatience records how long a canceled waiter without a deadline had waited.
func (a *account) lostPatience(w *waiter) {
	if w.limited || w.inner {
		return
	}
	now := a.now()
	if a.patience == 0 || now-a.canceledAt > recent {
		a.patience = now - w.since
	}
	a.patience += (now - w.since - a.patience) / 4
	a.canceledAt = now
}

// shouldDefer reports whether w should go behind the other waiters, which happens at most
// once. If callers without a deadline give up, and the gate kept the order of arrival, it
// would send each request just before its caller gives up, and none would get a response. A
// request that has been refused several times is never deferred.
func (a *account) shouldDefer(w *waiter, now time.Duration) bool {
	if w.limited || w.deferred || w.resend > 2 || a.waiting() == 0 || a.canceledAt == 0 || now-a.canceledAt > recent {
		return false
	}
	waited := now - w.since
	return waited > a.patience-2*a.answered() && waited < 2*a.patience
}
