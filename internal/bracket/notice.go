package bracket

import "time"

// Some services refuse a request at once but take seconds to process one that they
// accept. Whether a request was accepted is then known long before its response arrives:
// it was, if it has not been refused within twice the time that refusals take. Without
// this rule, a controller that may raise its pace at most once per round trip would need
// minutes to find the limit of such a service.

// leastNotice is the lower bound of the time that a refusal counts as taking, in seconds.
const leastNotice = 1e-6

// notices records how long a refusal took, in seconds.
func (c *Controller) notices(took float64) {
	if !c.noticed {
		c.notice, c.noticed = took, true
	}
	// A refusal that took longer counts at once, because requests whose refusals are still
	// to come must not pass for accepted. If it took more than twice as long, it counts
	// only partly, because it may be an exception.
	c.notice = max(min(took, 2*c.notice), c.notice+(took-c.notice)/8)
}

// quick reports whether the service is known to refuse requests much sooner than it
// responds to accepted ones. While the round trip is unknown, it reports whether refusals
// are known to take less than OwnPause. It returns false if Late is set.
func (c *Controller) quick() bool {
	switch {
	case c.notice == 0 || c.Late:
		return false
	case !c.heard:
		return c.notice < c.OwnPause
	}
	return 4*c.notice < c.trip
}

// delay returns the time, in seconds, after which it is usually known whether a request
// was accepted, or 0 if that time is not known.
func (c *Controller) delay() float64 {
	if c.quick() {
		return max(2*c.notice, shortest)
	}
	return c.trip
}

// responding reports whether accepted requests seem to get their responses. It returns
// false only if several requests are in flight and, in this epoch, no response to an
// accepted request has arrived for longer than two round trips plus two turns. Those in
// flight may then be lost. Without the turns, a few very slow requests would prevent any raise from a
// low pace, at which responses are rare.
func (c *Controller) responding(now time.Duration) bool {
	return !c.heard || c.flying <= 1 || seconds(now-max(c.heardOn, c.begin)) <= 2*c.trip+2/c.pace
}

// settled reports whether the requests in flight must have been accepted: refusals are
// quick and would have arrived by now. If other requests got a 5xx or no response, these
// may fail in the same way.
func (c *Controller) settled(now time.Duration) bool {
	return c.quick() && c.unknown == 0 && seconds(now-c.last) >= c.delay() && c.responding(now)
}

// passed returns the number of requests of the epoch that count as accepted.
func (c *Controller) passed(now time.Duration) int {
	if c.settled(now) {
		return c.accepted + max(c.flying, 0)
	}
	return c.accepted
}
