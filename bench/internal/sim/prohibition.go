package sim

import "time"

// A prohibition says until when the server has forbidden requests, as far as the
// client knows: according to the responses that arrived before latest, and to those
// that arrived in that instant. A request may leave in the instant in which the 429
// arrives.
type prohibition struct {
	until    time.Time
	latest   time.Time
	untilNow time.Time
}

// sameTime is how far apart what happens in one instant can be: see trip.
const sameTime = 50 * time.Microsecond

// covers reports whether a request that is sent now is forbidden.
func (p *prohibition) covers(now time.Time) bool {
	p.settle(now)
	return now.Add(sameTime).Before(p.until)
}

// extend records a response that arrives now.
func (p *prohibition) extend(now, until time.Time) {
	p.settle(now)
	p.latest = now
	if until.After(p.untilNow) {
		p.untilNow = until
	}
}

func (p *prohibition) settle(now time.Time) {
	if now.After(p.latest) && p.untilNow.After(p.until) {
		p.until = p.untilNow
	}
}
