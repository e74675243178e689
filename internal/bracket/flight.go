package bracket

import "time"

// A flight is what is known of a limit on the number of requests in flight. Such a
// limit refuses what leaves with too many others on their way, and nothing else. A
// rate refuses at any number: after a burst, at a pace.
//
// While there is a cap it takes the place of the pace: one leaves when another one has
// landed. Nothing changes how the pace was judged meanwhile.
type flight struct {
	flying int // sent and not answered, also those of earlier epochs

	cap     int           // as many may be in flight; 0: that is not what is limited
	sure    bool          // one more was refused
	extra   int           // beyond it, as a try
	step    int           // how many that was at first
	pace    float64       // as it was before the cap
	strikes int           // refusals in a row of requests that left with no more than cap
	since   time.Duration // when it was tried last
	hold    float64       // units after which it is tried again

	dropped time.Duration // when a cap turned out to be wrong

	accepted int // the most with which one of this epoch left that was accepted
	suspect  int // with so many the one left that was refused in the epoch before, if no accepted one left with as many
}

const mostCapStrikes = 2

// landed takes it that a request is no longer in flight.
func (f *flight) landed() { f.flying = max(f.flying-1, 0) }

// capAccepted takes it that a request was accepted.
func (c *Controller) capAccepted(s Send) {
	f := &c.flight
	if s.epoch == c.epoch {
		f.accepted = max(f.accepted, s.flying)
	}
	switch {
	case f.cap == 0:
		return
	case s.at <= f.since: // what left before says nothing of the cap as it is now
	case s.flying > f.cap && !f.sure:
		c.dropCap()
		return
	case s.flying > f.cap:
		f.extra -= s.flying - f.cap
		f.cap, f.strikes = s.flying, 0
		if f.extra <= 0 { // the whole step was accepted
			f.step = min(2*f.step, max(1, f.cap/2))
			f.extra = f.step
		}
	}
	if f.pace == 0 {
		f.pace = c.pace
	}
	c.pace = min(max(float64(f.cap)/max(c.trip, shortest), slowest), mostPace)
}

// capRefused reports whether the number in flight explains a refusal.
func (c *Controller) capRefused(now time.Duration, s Send) bool {
	f := &c.flight
	switch {
	case f.cap == 0:
		return false
	case s.flying > f.cap:
		f.sure, f.strikes = true, 0
		f.hold = min(2*f.hold, c.HoldMost)
	case !f.sure, f.strikes+1 >= mostCapStrikes, float64(s.flying) < 0.7*float64(f.cap):
		c.dropCap()
		return false
	default:
		f.strikes++
		f.cap, f.hold = max(s.flying-1, 1), c.Hold
	}
	f.extra, f.step, f.since = 0, 0, now
	return true
}

// dropCap goes back to the pace of before.
func (c *Controller) dropCap() {
	if c.flight.pace > 0 {
		c.pace = c.flight.pace
	}
	c.flight = flight{flying: c.flight.flying, dropped: c.last}
}

// suspectCap looks for a cap at the end of a pause, after a refusal that none
// explains.
func (c *Controller) suspectCap(now time.Duration) {
	f := &c.flight
	if c.Late {
		return
	}
	// Those that were in flight at the refusal and were not refused themselves.
	if n := c.late + f.flying; f.flying >= 2 && f.flying >= n/2 {
		// They have been answered by now, if it is the rate that is limited: a pause
		// is longer than a round trip.
		c.setCap(now, n)
		return
	}
	n := c.refused.flying
	wrong := f.dropped > 0 && seconds(now-f.dropped) < lasting
	if n < 2 || !c.refused.waited || wrong || f.accepted == 0 || f.accepted >= n+n/20 { // an answer on its way counts as in flight
		f.suspect = 0
		return
	}
	if d := n - f.suspect; f.suspect > 0 && max(d, -d) <= max(1, n/10) {
		// At the same pace a rate refuses with as many in flight: one more will tell.
		c.setCap(now, min(n, f.suspect)-1)
	}
	f.suspect = n
}

func (c *Controller) setCap(now time.Duration, n int) {
	c.flight.cap, c.flight.sure, c.flight.strikes = n, false, 0
	c.flight.hold, c.flight.since = c.Hold, now
}

// nextByCap returns when the next request may leave: when one has landed, or when it
// takes so long that it may be lost.
func (c *Controller) nextByCap(now time.Duration) time.Duration {
	f := &c.flight
	if f.extra == 0 && f.flying >= f.cap && (!f.sure && c.accepted > 0 || seconds(now-f.since) > f.hold*c.unit()) {
		f.step = 1
		if f.sure {
			f.step = max(1, f.cap/20)
		}
		f.extra = f.step
	}
	if f.flying < f.cap+f.extra {
		return now
	}
	return max(later(c.last, duration(max(c.OwnMost, 4*c.trip))), now)
}
