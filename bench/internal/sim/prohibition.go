package sim

import "time"

// A prohibition records how long requests are forbidden, as far as the client knows from
// the responses that have arrived. A 429 does not forbid requests that are sent at the
// very instant at which it arrives.
type prohibition struct {
	until    time.Time // end of the prohibition, according to the responses that arrived before the latest settle
	latest   time.Time // arrival of the latest response
	untilNow time.Time // end of the prohibition, according to all responses, including those that arrived at latest
}

// A request that is sent at most sameTime before the end of a prohibition is not forbidden,
// because of the nanoseconds that trip adds.
const sameTime = 50 * time.Microsecond

// covers reports whether a request that is sent at the time now is forbidden.
func (p *prohibition) covers(now time.Time) bool {
	p.settle(now)
	return now.Add(sameTime).Before(p.until)
}

// extend records a 429 that arrives at the time now, and whose Retry-After ends at until.
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
