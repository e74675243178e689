package bracket

import (
	"time"
)

// A flight holds what is known about a limit on the number of requests in flight. A limit
// of this kind refuses a request only if too many others are in flight. A rate limit can
// refuse requests after a burst or because of the pace, no matter how few are in flight.
//
// While there is a cap, it replaces the pace: once as many requests are in flight as it
// allows, the next one waits until another has landed, which means that its outcome was
// reported, or may be lost. In the meantime, the controller does not judge the pace, but
// it remembers a pace that was accepted for a long time.
type flight struct {
	flying int // number of requests that have no outcome yet, including those of earlier epochs

	cap       int           // assumed limit on the number of requests in flight; 0: none is assumed
	confirmed bool          // whether a request beyond the cap, as it was at the time, has been refused
	extra     int           // how many requests beyond the cap may be in flight, as a trial
	step      int           // initial value of extra in the latest trial
	pace      float64       // the pace that the cap has replaced; 0: none yet
	strikes   int           // number of recent refusals of requests that were sent within the cap
	raised    int           // number that was accepted in flight when the cap was last raised; 0: not raised since a refusal
	undone    int           // number of times in a row that a refusal within the cap has undone a raise
	since     time.Duration // when the cap was set, or was last kept or lowered after a refusal
	stalls    int           // number of requests beyond the cap that were refused since one was accepted
	hold      float64       // units, or round trips if these are longer, from since to the next trial; an unconfirmed cap is usually tested sooner

	dropped time.Duration // when a cap was last dropped, the send time of the latest request
	doubt   float64       // seconds after dropped for which no cap is suspected

	first    bool // whether suspect comes from the first burst
	accepted int  // maximum number in flight when an accepted request of this epoch was sent
	suspect  int  // number in flight when the request was sent whose refusal began the latest pause, or, if first, one more than the number that suspectCap counted after the first refusal; 0: the number is not suspected to be the cause
}

const (
	mostCapStrikes = 2
	mostUndone     = 3
	leastDoubt     = 20.0 // seconds
	mostDoubt      = 900.0
)

// Capped reports whether a limit on the number of requests in flight is assumed.
func (c *Controller) Capped() bool { return c.flight.cap > 0 }

// Suspected returns the number of requests in flight that the service may allow at most, although
// no limit is assumed yet, or 0.
func (c *Controller) Suspected() int { return c.flight.suspect }

// InFlight returns the number of requests in flight.
func (c *Controller) InFlight() int { return c.flight.flying }

// SetInFlight sets that number. A leader keeps count itself, because it may hear of outcomes of
// requests that an earlier leader has admitted, and never hear of others.
func (c *Controller) SetInFlight(n int) { c.flight.flying = n }

// landed records that a request is no longer in flight.
func (f *flight) landed() { f.flying = max(f.flying-1, 0) }

// capAccepted records that a request was accepted.
func (c *Controller) capAccepted(s Send) {
	f := &c.flight
	if s.epoch == c.epoch {
		f.accepted = max(f.accepted, s.flying)
	}
	switch {
	case f.cap == 0:
		return
	case s.at <= f.since: // a request sent by then says nothing about the current cap
	case s.flying > f.cap && !f.confirmed:
		c.dropCap()
		return
	case s.flying > f.cap:
		f.raise(s.flying)
	}
	if f.pace == 0 {
		f.pace = c.pace
	}
	c.pace = min(max(float64(f.cap)/max(c.trip, shortest), slowest), mostPace)
}

// raise raises the cap to n, because that many requests were accepted.
func (f *flight) raise(n int) {
	f.extra -= n - f.cap
	f.cap, f.strikes, f.raised, f.stalls = n, 0, n, 0
	if f.extra <= 0 { // the whole step was accepted
		f.step = min(2*f.step, max(1, f.cap/2))
		f.extra = f.step
	}
}

// capRefused adjusts the cap after a refusal. It reports whether nothing else is to be
// blamed, because the number in flight explains the refusal, or because the refusal may be
// a single fault.
func (c *Controller) capRefused(now time.Duration, s Send) bool {
	f := &c.flight
	if f.cap == 0 {
		return false
	}
	if seconds(now-f.since) > c.Hold*c.unit() {
		f.strikes = 0
	}
	switch {
	case s.flying > f.cap:
		if f.raised == 0 {
			f.undone = 0
		}
		f.confirmed, f.strikes = true, 0
		f.stalls++
		f.hold = min(2*f.hold, c.HoldMost)
	case !f.confirmed, f.strikes+1 >= mostCapStrikes:
		c.dropCap()
		return false
	case !f.reaches(s): // the cap is not the cause, but this may be a single fault
		f.strikes++
	case s.flying <= f.raised && f.undone+1 >= mostUndone: // as many were accepted, and then refused, again and again
		f.confirmed = false
		c.dropCap()
		return false
	default:
		f.strikes++
		if s.flying <= f.raised {
			f.undone++
		}
		f.raised = 0
		f.cap, f.hold = max(s.flying-1, 1), c.Hold
	}
	f.extra, f.step, f.since = 0, 0, now
	return true
}

// reaches reports whether a request was sent with at least 70% as many in flight as the
// cap allows, so that their number may be the cause of its refusal.
func (f *flight) reaches(s Send) bool { return float64(s.flying) >= 0.7*float64(f.cap) }

// dropCap removes the cap and restores the pace that it has replaced.
func (c *Controller) dropCap() {
	if c.flight.pace > 0 {
		c.pace = c.flight.pace
	}
	doubt := leastDoubt
	if !c.flight.confirmed { // there never was such a limit: the requests in flight were a burst
		doubt = min(max(4*c.flight.doubt, doubt), mostDoubt)
		c.burst0 = max(c.burst0, float64(c.flight.cap))
	}
	c.flight = flight{flying: c.flight.flying, dropped: c.last, doubt: doubt}
}

// suspectCap looks for a cap at the end of a pause, if no cap explains the refusal that
// began the pause.
func (c *Controller) suspectCap(now time.Duration) {
	f := &c.flight
	if f.dropped > 0 && seconds(now-f.dropped) < f.doubt { // a cap was wrong
		f.suspect = 0
		return
	}
	// n counts requests that were in flight at the refusal: those that still are, and
	// those that were accepted late. A pause is usually longer than a round trip, so a
	// service that limits only the rate would have responded to them by now. If the round
	// trip is longer, compare n with the number of late refusals. The number in flight at
	// most doubles in a round trip, so a limit on it would have refused no more requests
	// than it accepted. Inner requests make n too large, so one late refusal is enough.
	n := c.late + f.flying
	if c.learned { // after the first refusal, late does not count requests that were sent before the refused one
		n = max(n, c.refused.flying-1-c.lateRefused)
	}
	slow := c.heard && (c.timed || c.trip <= c.OwnMost) && seconds(now-c.last) < c.trip && (c.lateRefused > n || c.inner && c.lateRefused > 0)
	if !slow && f.flying >= 2 && f.flying >= n/2 {
		c.setCap(now, n)
		return
	}
	if !c.learned {
		// If the number in flight is limited, the limit is about n, and the refused
		// request was one beyond it.
		if n >= 4 {
			f.suspect, f.first = n+1, true
		}
		return
	}
	first := f.first
	n = c.refused.flying
	f.first = false
	if first && c.sent-n < n/4 { // while a burst is still in flight, a rate limit looks the same
		f.suspect, first = 0, false
	}
	if n < 2 || !c.refused.waited || f.accepted == 0 || f.accepted >= n+n/20 { // a response on its way counts as in flight
		f.suspect = 0
		return
	}
	if d := n - f.suspect; f.suspect > 0 && max(d, -d) <= max(1, n/10) {
		// At the same pace, a rate limit also refuses with the same number in flight. One
		// extra request will show which of the two limits it is.
		if first { // suspect does not count requests whose responses had arrived before the refusal
			f.suspect = n
		}
		c.setCap(now, min(n, f.suspect)-1)
	}
	f.suspect = n
}

func (c *Controller) setCap(now time.Duration, n int) {
	c.flight.cap, c.flight.confirmed, c.flight.strikes = n, false, 0
	c.flight.hold, c.flight.since = c.Hold, now
}

// nextByCap returns the time at which the next request may be sent. If the cap allows it,
// this is now, or shortly after the latest request. Otherwise, it is the time from which an
// extra request may be sent, by which one would have been refused, or after which a
// response may be lost.
func (c *Controller) nextByCap(now time.Duration) time.Duration {
	f := &c.flight
	quick := c.quick()
	if f.flying > f.cap && !f.confirmed {
		if at := later(c.last, c.refusedBy()); at > now {
			return at
		}
		c.dropCap() // a request beyond the cap was not refused in time
		if !quick {
			c.start(now) // so many requests have no response that the epoch says little about the pace
		}
		return now
	}
	if quick && !f.confirmed && f.flying == f.cap && f.extra == 0 && f.accepted == 0 {
		// An extra request that is sent right after those that fill the cap may overtake
		// one of them, which would then be refused although the cap is right.
		if at := later(c.last, duration(max(c.delay(), c.StepSends/c.pace))); at > now {
			return at
		}
	}
	full := f.extra == 0 && f.flying >= f.cap
	doubtful := !f.confirmed && (quick || f.accepted > 0 || now >= later(f.since, c.lost())) // and an extra request would show whether the cap is right
	if held := seconds(now-f.since) > f.hold*max(c.unit(), c.trip); full && (doubtful || held) {
		f.step = 1
		if f.confirmed {
			f.step = max(1, f.cap/20)
		}
		f.extra = f.step
	}
	if f.flying < f.cap+f.extra {
		// Requests that are sent together finish together, again and again. A bucket
		// would then refuse the extra ones, like a limit on the number in flight.
		return max(now, later(c.last, duration(c.trip/float64(4*f.cap))))
	}
	// Responses may be lost, or those requests may stay open for hours, as watches do. If
	// others failed, the service may be in trouble.
	wait := duration(max(c.OwnMost, 4*c.trip))
	if c.unknown == 0 {
		wait = min(wait, c.lost()<<min(f.stalls, 10)) // at least a thousand seconds after so many
	}
	return max(later(c.last, wait), now)
}
