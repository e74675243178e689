package bracket

import (
	"math"
	"time"
)

// A statement is the limit that the service has stated: so many requests in a
// length of time. Nobody promises that it is true, or that it is the limit that
// the requests met. It is used only while it agrees with what was counted.
type statement struct {
	requests, per float64 // in seconds; 0: nothing is stated
	belief        belief
	strikes       int     // refusals at the stated rate or below it
	burst         float64 // what was learned before the statement took its place
	changes       int     // how often another limit was stated

	// A window is used as one: its requests at once, and then none until the next.
	windowed bool
	opened   time.Duration // when the current window began
	dark     float64       // seconds in which a bucket would have given something, and nothing came
}

// A belief is how far a statement is used.
type belief uint8

const (
	unheard   belief = iota // nothing was counted since it was stated
	candidate               // it does not contradict what was counted
	firm                    // what was counted agrees with it
	disbelieved
)

const (
	mostStrikes = 2
	mostChanges = 8    // a service that states so many different limits states none
	shortWindow = 10.0 // seconds: a window no longer than that is not worth a burst
	firmHold    = 1800 // seconds of callers that wait before a firm statement is put to the test
	beyond      = 1.2  // of the rate: proof that the statement is too low
	narrow      = 2.0  // of its lower end: what agrees with such a bracket is no accident
)

func (s *statement) rate() float64 { return s.requests / s.per }

// Stated tells of the limit that came with a refusal, after Refused or New was
// called for it.
func (c *Controller) Stated(requests int, per time.Duration) {
	if requests <= 0 || per <= 0 {
		return
	}
	s := &c.statement
	n, t := float64(requests), seconds(per)
	if n/t < slowest || n/t > mostPace {
		return
	}
	if s.requests == n && s.per == t || s.changes >= mostChanges {
		return
	}
	c.disbelieve()
	c.statement = statement{requests: n, per: t, changes: s.changes + 1}
}

// Kept tells that callers have waited until then because the service has stated
// the end of its window: as if it had asked for that. It does nothing if a request
// has left since the latest refusal.
func (c *Controller) Kept(until time.Duration) {
	if asked := seconds(until - c.closed); !c.open && asked > max(c.asked, c.OwnPause) {
		c.asked = asked
		c.Pause(until)
	}
}

// Believed reports whether the limit that was stated last is believed: nothing
// that was counted since contradicts it.
func (c *Controller) Believed() bool {
	return c.statement.requests > 0 && c.statement.belief != disbelieved
}

// disbelieve goes back to what was learned without the statement.
func (c *Controller) disbelieve() {
	s := &c.statement
	if s.windowed {
		c.burst = s.burst
	}
	s.belief, s.windowed = disbelieved, false
}

// consider lets a statement take the place of what judge has found, if the two
// agree. first: the epoch before was the first one.
func (c *Controller) consider(first bool) {
	s := &c.statement
	if !c.Believed() || c.explained {
		return
	}
	fresh := s.belief == unheard
	rate := s.rate()
	switch {
	case first:
		c.agree()
	case c.accepted == 0:
		s.dark = max(s.dark, seconds(c.last-c.ended))
		if fresh { // wait for something to count
			return
		}
	default:
		if fresh {
			s.belief = candidate
		}
		c.weigh(fresh)
	}
	if s.belief != firm {
		return
	}
	if c.asked > 0 {
		s.dark = max(s.dark, c.asked-2) // it may be rounded up twice
	}
	margin := c.Margin * float64(1+s.strikes)
	s.windowed = s.per > shortWindow && s.dark*rate >= 4
	c.pace, c.lo, c.hi = rate*(1-margin), rate, rate
	if s.windowed {
		// Only the start of the window says when the next requests may leave.
		c.burst, c.hi = max(1, math.Floor(s.requests*(1-margin))), math.Inf(1)
	}
	c.base = 0
}

// agree compares the statement with the first epoch. A bucket gives what it holds
// and its rate, a window what is in it.
func (c *Controller) agree() {
	s := &c.statement
	rate, most := s.rate(), 0.0
	for _, m := range c.marks {
		most = max(most, float64(c.total-m.Accepted)-rate*max(seconds(c.ended-m.At), 0))
	}
	switch {
	case most > 2*beyond*s.requests || c.hi*beyond < rate: // two windows may have been used
		c.disbelieve()
	case s.per > shortWindow && most >= 0.8*s.requests && most <= beyond*s.requests+1:
		s.belief, s.burst = firm, c.burst
	default:
		s.belief = candidate
	}
}

// weigh looks at a refusal after something was accepted.
func (c *Controller) weigh(fresh bool) {
	s := &c.statement
	rate := s.rate()
	proven := c.proven[len(c.proven)-1]
	switch {
	case proven > beyond*rate:
		c.disbelieve()
	case fresh: // it was not sent by the statement
	case c.refused.pace <= rate && !(c.refused.credit && !s.windowed):
		if s.strikes++; s.strikes >= mostStrikes || s.belief == candidate {
			c.disbelieve()
		}
	}
	if s.belief == candidate && c.lo <= rate && rate <= c.hi && c.hi <= narrow*c.lo && c.refused.pace > rate {
		s.belief, s.burst = firm, c.burst
	}
}

// byWindow returns when the next request may leave by the window: now, or the start
// of the next one.
func (c *Controller) byWindow(now time.Duration) time.Duration {
	s := &c.statement
	per := duration(s.per)
	if now-s.opened >= per {
		// Never from now on: the service's windows begin where they began.
		s.opened = now - (now-s.opened)%per
		c.fill()
	}
	if c.credit >= 1 {
		return now
	}
	return later(s.opened, per)
}

// fill lets the requests of a window leave.
func (c *Controller) fill() {
	c.credit = c.burst
	c.granted = max(c.granted, int(c.burst))
	c.room = max(c.room, c.flying+c.clock())
}

// untilWindow shortens the pause of a probe so that one is sent when a window
// that was full has certainly ended. own is the pause that the service has not
// asked for.
func (c *Controller) untilWindow(now time.Duration, own float64) float64 {
	s := &c.statement
	if s.belief != firm || s.per <= shortWindow || s.dark*s.rate() < 4 {
		return own
	}
	ends := c.ended
	for i := len(c.marks) - 1; i >= 0 && float64(c.total-c.marks[i].Accepted) < s.requests; i-- {
		ends = min(ends, c.marks[i].At)
	}
	left := seconds(ends-now) + s.per + max(c.OwnPause, c.trip)
	if left <= 0 {
		return own
	}
	return min(max(own, min(left/4, 4*c.OwnMost)), left)
}

// tested reports whether callers have waited for a firm statement for so long that
// the pace may be raised above it; the limit may have become higher.
func (c *Controller) tested() bool {
	s := &c.statement
	if s.belief != firm {
		return true
	}
	if c.base > beyond*s.rate() {
		c.disbelieve()
	}
	return c.busy > firmHold
}
