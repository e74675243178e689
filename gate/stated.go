package gate

import "time"

// longestReset is how long a gate pauses at most because the service states when a
// window ends: that need not be the window of the limit that was met.
const longestReset = 15 * time.Minute

// pause returns for how long the service asks to send nothing. Where it names no
// Retry-After, the end of its window will do, as long as the caller waits for it.
func (o Outcome) pause(r Request) time.Duration {
	if o.Result != Throttled || o.RetryAfter > 0 || o.Limit.Reset <= 0 {
		return o.RetryAfter
	}
	d := min(o.Limit.Reset, longestReset)
	if r.MaxWait > 0 {
		d = min(d, r.MaxWait)
	}
	return d
}

// state tells the pacer of a limit that the service has stated.
func (a *account) state(l Limit) {
	if l.Requests <= 0 || l.Per <= 0 {
		return
	}
	a.stated = Limit{Requests: l.Requests, Per: l.Per, Policy: l.Policy}
	a.pacer.Stated(l.Requests, l.Per)
}
