package gate

import (
	"context"
	"errors"
	"time"
)

// A caller whose request would be too late is told so early. But a worker that takes the
// next item of a list as soon as a call has failed would use up the list in an instant,
// because its next request would be too late as well. So a refusal is held back, at first
// for a short time. If refusals then become rarer, they go to workers that each wait for
// their previous call, and are held back longer. Otherwise, the callers do not depend on
// each other, and are told early.

// A telling decides for how long refusals are held back. The zero value is ready to use.
type telling struct {
	times float64       // how long refusals are held back, in multiples of firstHold
	from  time.Duration // when their rate was last compared
	n     int           // number of refusals since then
	rate  float64       // refusals per second before times was last raised; 0: not known
	rest  int           // number of refusals before times is raised again
}

const (
	firstHold  = 1. / 50 // as a share of the time left before the deadline
	longerHold = 4       // factor by which times is raised
	mostHold   = 45      // maximum of times
	telltale   = 16      // number of refusals after which their rate is compared
	resting    = 32      // value of rest after a raise has had no effect
)

// hold returns for how long to hold back a refusal. left is the time left before the
// deadline.
func (l *telling) hold(now, left time.Duration) time.Duration {
	if l.times == 0 {
		*l = telling{times: 1, from: now}
	}
	l.n++
	l.rest--
	if elapsed := now - l.from; l.rest <= 0 && l.n >= telltale && elapsed >= l.of(left) {
		rate := float64(l.n) / elapsed.Seconds()
		switch {
		case l.rate > 0 && rate > l.rate/2:
			*l = telling{times: 1, rest: resting}
		case l.times < mostHold:
			l.times, l.rate = min(longerHold*l.times, mostHold), rate
		}
		l.from, l.n = now, 0
	}
	return l.of(left)
}

func (l *telling) of(left time.Duration) time.Duration {
	return time.Duration(l.times * firstHold * float64(left))
}

// tell returns a refusal when it has been held back, or the context's error if that ends
// earlier.
func tell(ctx context.Context, refusal error, hold time.Duration) error {
	t := time.NewTimer(hold)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	var e *Error
	if errors.As(refusal, &e) {
		e.RetryAfter = max(e.RetryAfter-hold, 0)
	}
	return refusal
}
