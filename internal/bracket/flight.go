package bracket

import "time"

// A flight is what is known of a limit on the number of requests in flight. Such a
// limit refuses whatever leaves with too many others on their way, and nothing else.
// A rate refuses at any number: after a burst, at a pace.
type flight struct {
	flying  int           // sent and not answered, also those of earlier epochs
	cap     int           // as many may be in flight; 0: that is not what is limited
	extra   int           // beyond it, as a try
	strikes int           // refusals in a row of requests that left with no more than cap
	since   time.Duration // the cap has not been tried since
	hold    float64       // units after which it is tried

	accepted int // the most with which one of this epoch left that was accepted
	suspect  int // with so many the one left that was refused in the epoch before, if no accepted one left with as many
}

const (
	mostCapStrikes = 2
	fewFlying      = 2
)

// flew takes the outcome of a request that left with s.flying in flight.
func (c *Controller) flew(s Send) {
	c.flight.flying = max(c.flight.flying-1, 0)
}

// proveFlight takes it that a request was accepted.
func (c *Controller) proveFlight(s Send) {
	f := &c.flight
	if s.epoch == c.epoch {
		f.accepted = max(f.accepted, s.flying)
	}
	if f.cap > 0 && s.flying > f.cap {
		grown := s.flying >= f.cap+f.extra
		f.cap = s.flying
		if grown {
			f.extra *= 2
		}
		f.strikes = 0
	}
}

// byFlight reports whether the number in flight explains the refusal of s, and keeps
// to it.
func (c *Controller) byFlight(now time.Duration, s Send) bool {
	f := &c.flight
	if f.cap == 0 {
		return false
	}
	if s.flying > f.cap {
		f.strikes = 0
		f.hold = min(2*f.hold, c.HoldMost)
	} else if f.strikes++; f.strikes >= mostCapStrikes || float64(s.flying) < 0.7*float64(f.cap) {
		c.dropCap()
		return false
	} else {
		f.cap = max(s.flying-1, 1)
		f.hold = c.Hold
	}
	f.extra, f.since = 0, now
	return true
}

// dropCap goes back to a pace.
func (c *Controller) dropCap() {
	f := &c.flight
	if c.trip > 0 {
		c.pace = max(c.pace, float64(f.cap)/c.trip/2)
	}
	f.cap, f.extra, f.strikes, f.suspect = 0, 0, 0, 0
}

// suspectFlight looks at an epoch that has ended: was the one that was refused the
// only one with so many in flight?
func (c *Controller) suspectFlight() {
	f := &c.flight
	n := c.refused.flying
	if n < fewFlying || f.accepted >= n || f.accepted == 0 {
		f.suspect = 0
		return
	}
	if d := n - f.suspect; f.suspect > 0 && max(d, -d) <= max(1, n/10) {
		f.cap, f.hold, f.since = max(min(n, f.suspect)-1, 1), c.Hold, c.closed
	}
	f.suspect = n
}

// nextByFlight returns when the next request may leave if a number in flight is what
// is limited.
func (c *Controller) nextByFlight(now time.Duration) time.Duration {
	f := &c.flight
	if f.extra == 0 && seconds(now-f.since) > f.hold*c.unit() {
		f.extra = max(1, f.cap/20)
	}
	if f.flying < f.cap+f.extra {
		return now
	}
	return later(max(c.last, now-time.Second), c.lost())
}
