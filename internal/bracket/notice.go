package bracket

import "time"

// Many services refuse a request at once but take seconds to process one that they
// accept. Whether a request was accepted is then known long before its response arrives:
// it was, if it has not been refused within the time that refusals take. Without this
// rule, a controller that may raise its pace once per round trip would need minutes to
// find the limit of such a service.

// leastNotice is the lower bound of the time that a refusal takes, in seconds.
const leastNotice = 1e-6

// notices records how long a refusal took, in seconds.
func (c *Controller) notices(took float64) {
	if !c.noticed {
		c.notice, c.noticed = took, true
	}
	// A refusal that took longer counts at once, because requests whose refusals are still
	// to come must not pass for accepted. A single late one counts only partly.
	c.notice = max(min(took, 2*c.notice), c.notice+(took-c.notice)/8)
}

// quick reports whether the service refuses requests much sooner than it accepts them.
func (c *Controller) quick() bool {
	switch {
	case c.notice == 0 || c.Late:
		return false
	case !c.heard:
		return c.notice < c.OwnPause
	}
	return 4*c.notice < c.trip
}

// delay returns the time after which it is known whether a request was accepted, in
// seconds.
func (c *Controller) delay() float64 {
	if c.quick() {
		return max(2*c.notice, shortest)
	}
	return c.trip
}

// responding reports whether responses to accepted requests keep arriving. If they do not,
// the requests in flight may be lost.
func (c *Controller) responding(now time.Duration) bool {
	return !c.heard || c.flying <= 1 || seconds(now-max(c.heardOn, c.begin)) <= 2*c.trip
}

// passed returns the number of requests of the epoch that the service has accepted. It is
// called when all of them were sent some time ago.
func (c *Controller) passed(now time.Duration) int {
	if c.quick() && c.responding(now) {
		return c.accepted + max(c.flying, 0)
	}
	return c.accepted
}
