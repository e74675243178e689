package bracket

import (
	"math"
	"time"
)

// A statement is the limit that the service has stated: a number of requests per window
// of time. It may be wrong, and it may not be the limit that the requests exceeded, so it
// is used only while it agrees with what was counted.
type statement struct {
	requests, per float64 // per is in seconds; 0: no limit was stated
	belief        belief
	confirmed     bool    // whether a refusal at a pace above the stated rate has confirmed the statement
	strikes       int     // number of refusals, at or below the stated rate, that count against the statement
	burst         float64 // the burst that was learned before the statement replaced it
	changes       int     // number of statements so far, not counting those that were ignored or changed nothing

	// windowed means that the requests of a window are sent without pacing, and no others
	// before the next window.
	windowed bool
	opened   time.Duration // when the current window began
	unused   float64       // number of requests that it allows beyond those that are sent in it
	dark     float64       // longest time, in seconds, for which nothing is accepted according to failed probes or Retry-After; a long one means a window, not a token bucket
}

// A belief is the degree to which a statement is trusted.
type belief uint8

const (
	unheard   belief = iota // nothing that was counted has been compared with the statement yet
	candidate               // what was counted does not contradict the statement
	firm                    // what was counted agrees with the statement
	disbelieved
)

const (
	mostStrikes = 2
	mostChanges = 8       // value of changes at which new statements begin to be ignored
	shortWindow = 10.0    // seconds; longest window for which a burst is not worthwhile
	longestUsed = 86400.0 // seconds; longest window that is used whole
	longestGap  = 1800.0  // seconds; longest time between two requests because of a statement
	firmHold    = 1800    // seconds that callers wait before a confirmed statement is tested
	beyond      = 1.2     // ratio of what was counted to what was stated, or the reverse, above which the two disagree
	tooFast     = 4.0     // ratio of the pace to the stated rate until a refusal confirms the statement, without Retry-After
	excess      = 4       // how many requests beyond those of a burst are accepted before their rate is compared with the stated one
	narrow      = 2.0     // largest ratio of hi to lo at which a bracket supports a stated rate within it
)

func (s *statement) rate() float64 { return s.requests / s.per }

// Stated sets the limit that the service stated with a refusal. It ignores implausible
// limits and, after mostChanges changes, every new one. Call Stated after the call to
// Refused or New for that refusal.
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

// Windowed reports whether the requests of a stated window are sent without pacing.
func (c *Controller) Windowed() bool { return c.statement.windowed }

// UsedUp reports whether all requests of a stated window have been sent. Next then returns
// the start of the next window, which is also the first result here, although a Trial may
// be sent before it.
func (c *Controller) UsedUp() (next time.Duration, ok bool) {
	s := &c.statement
	if c.Late || !c.open || !s.windowed || c.credit >= 1 || c.flight.cap > 0 || c.probes > 1 && c.accepted == 0 {
		return 0, false
	}
	return later(s.opened, duration(s.per)), true
}

// Trial returns the time at which a request may be sent although a stated window has not
// ended. This is now, unless a request in flight may be a trial. If it is now, the next request
// that is passed to Sent is a trial: its refusal is expected, so it is blamed on nothing.
func (c *Controller) Trial(now time.Duration) time.Duration {
	if c.flying > 0 {
		if at := later(c.last, c.refusedBy()); at > now {
			return at
		}
	}
	c.trial = true
	return now
}

// doubt takes into account an accepted request that may show that the statement is wrong.
func (c *Controller) doubt(now time.Duration, a Send) {
	s := &c.statement
	switch {
	case s.belief != firm:
	case s.windowed:
		switch {
		case !a.trial, a.at < s.opened:
		case s.unused >= 1: // as expected
			s.unused--
		default: // a new window has begun, or the window is another limit's
			s.opened = a.at
			c.fill()
			c.credit--
		}
	case !s.confirmed && float64(c.accepted-c.granted-excess) > beyond*s.rate()*seconds(now-c.begin):
		c.disbelieve()
		c.hi = math.Inf(1)
	}
}

// Kept reports that callers waited until the given time because the service stated the
// end of its window. The wait counts like a Retry-After, unless the service asked for a
// longer one. Kept does nothing if the next epoch has already begun.
func (c *Controller) Kept(until time.Duration) {
	if asked := seconds(until - c.closed); !c.open && asked > max(c.asked, c.OwnPause) {
		c.asked = asked
		c.Pause(until)
	}
}

// Believed reports whether there is a statement and nothing that was counted has
// contradicted it.
func (c *Controller) Believed() bool {
	return c.statement.requests > 0 && c.statement.belief != disbelieved
}

// Statement returns the statement that Believed is about. It is not always the latest one,
// because some statements are ignored.
func (c *Controller) Statement() (requests int, per time.Duration) {
	return int(c.statement.requests), time.Duration(math.Round(c.statement.per * float64(time.Second)))
}

// disbelieve drops the statement and, if it was windowed, restores the burst that was
// learned without it.
func (c *Controller) disbelieve() {
	s := &c.statement
	if s.windowed {
		c.burst = s.burst
	}
	s.belief, s.windowed = disbelieved, false
}

// consider compares the statement with what was counted and, if the statement is firm,
// replaces the findings of judge with it. first is true if judge has just judged the first
// epoch.
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
		if fresh { // wait until there is something to count
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
		s.dark = max(s.dark, c.asked-2) // both the service and the client may have rounded Retry-After up
	}
	if c.refused.pace > rate && !c.refused.credit && c.accepted > 0 && !first {
		s.confirmed = true
	}
	margin := c.Margin * float64(1+s.strikes)
	s.windowed = s.per > shortWindow && s.per <= longestUsed && s.dark >= max(4/rate, s.per/4)
	c.pace, c.lo, c.hi = rate*(1-margin), rate, rate
	// The first epoch may agree with the statement by chance. Until a refusal has confirmed
	// the statement, the pace is therefore high enough for the method doubt to notice: at
	// least one request per two waits. (A Retry-After that agrees with the statement supports
	// it.) After that, the pace is at least two requests per hour, because a statement about
	// another limit could otherwise stop the account for days. Neither bound applies if whole
	// windows are used.
	if !s.windowed {
		wait := longestGap / 2
		if !s.confirmed {
			wait = max(c.asked, 1)
			if c.asked == 0 {
				c.pace = tooFast * rate
			}
		}
		c.pace = max(c.pace, min(0.5/wait, mostPace))
	}
	if s.windowed {
		// Only the start of the window decides when the next requests may be sent.
		// If one request in each window stayed unused, many calls would need an extra window,
		// so there is a margin only after a refusal within a window.
		c.burst, c.hi = max(1, math.Floor(s.requests*(1-c.Margin*float64(s.strikes)))), math.Inf(1)
	}
	c.base = 0
}

// agree compares the statement with the first epoch. A token bucket accepts one request
// per saved token and then accepts requests at its rate; a window accepts only a fixed
// number of requests. If Retry-After does not support the stated window, the window may be
// wrong although the number is right, so more epochs have to decide.
func (c *Controller) agree() {
	s := &c.statement
	rate, most := s.rate(), 0.0
	for _, m := range c.marks {
		most = max(most, float64(c.total-m.Accepted)-rate*max(seconds(c.ended-m.At), 0))
	}
	switch {
	case most > 2*beyond*s.requests || c.hi*beyond < rate: // two windows may have been used up
		c.disbelieve()
	case c.supported() && s.per > shortWindow && most >= 0.8*s.requests && most <= beyond*s.requests+1:
		s.belief, s.burst = firm, c.burst
	default:
		s.belief = candidate
	}
}

// supported reports whether Retry-After is about what the statement suggests: much of the
// window or, for a token bucket, the time until the next token. Services round it up. A
// missing Retry-After is not a contradiction.
func (c *Controller) supported() bool {
	token := 1 / c.statement.rate()
	return c.asked == 0 || c.asked >= c.statement.per/4 || c.asked >= token/4 && c.asked-1 <= token
}

// weigh judges the statement by an epoch with accepted requests and the refusal that ended
// it.
func (c *Controller) weigh(fresh bool) {
	s := &c.statement
	rate := s.rate()
	proven := c.proven[len(c.proven)-1]
	switch {
	case proven > beyond*rate:
		c.disbelieve()
	case fresh: // the statement is new, so the pace was chosen without it
	case c.refused.pace <= rate && !(c.refused.credit && !s.windowed):
		if s.strikes++; s.strikes >= mostStrikes || s.belief == candidate {
			c.disbelieve()
		}
	}
	if s.belief == candidate && c.lo <= rate && rate <= c.hi && c.hi <= narrow*c.lo && c.refused.pace > rate {
		s.belief, s.burst = firm, c.burst
	}
}

// byWindow returns the time at which the next request may be sent, which is now or the
// start of the next window.
func (c *Controller) byWindow(now time.Duration) time.Duration {
	s := &c.statement
	per := duration(s.per)
	if now-s.opened >= per {
		// The window may have begun earlier than now, because the service's windows
		// follow one another without gaps.
		s.opened = now - (now-s.opened)%per
		c.fill()
	}
	if c.credit >= 1 {
		return now
	}
	return later(s.opened, per)
}

// windowOf returns the start of the window in which a request can be sent. ahead is the
// number of requests that are sent before it. 0 means the current window or, during a pause,
// the one after the pause.
func (c *Controller) windowOf(ahead float64) time.Duration {
	s := &c.statement
	opened, left := s.opened, c.credit
	if !c.open {
		opened, left = c.pause, c.burst
	}
	if ahead+1 <= left {
		return 0
	}
	windows := 1 + math.Floor((ahead-left)/c.burst)
	return later(opened, duration(windows*s.per))
}

// fill makes a window's requests available.
func (c *Controller) fill() {
	c.credit, c.statement.unused = c.burst, c.statement.requests-c.burst
	c.granted = max(c.granted, int(c.burst))
	c.room = max(c.room, c.flying+c.clock())
}

// untilWindow adjusts a pause that the controller chooses itself. If a stated window is
// used up, few requests are then sent before the window ends, and one when it must have
// ended. own is the pause without this adjustment, in seconds.
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

// tested reports whether the statement allows the pace to be raised. If the statement is
// firm, a raise is allowed only after callers have waited for firmHold, or for Hold units
// if no refusal has confirmed the statement. The limit may have become higher by then.
// tested discards a firm statement if the base of a probe has risen far above it.
func (c *Controller) tested() bool {
	s := &c.statement
	if s.belief != firm {
		return true
	}
	if c.base > beyond*s.rate() {
		c.disbelieve()
	}
	if !s.confirmed {
		return c.busy > c.Hold*c.unit()
	}
	return c.busy > firmHold
}
