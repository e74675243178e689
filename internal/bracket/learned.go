package bracket

import (
	"math"
	"slices"
	"time"
)

// Learned is what a Controller knows about a limit, in a form that another Controller can
// continue from. The other Controller may be in another process, or may be one of several
// that share the limit from now on. Rates are in requests per second, times in seconds;
// Holding is in units.
type Learned struct {
	Pace    float64 `json:"pace"`
	Lo      float64 `json:"lo"`
	Hi      float64 `json:"hi,omitempty"` // 0: unknown
	Best    float64 `json:"best"`         // the highest recent pace that was proven or held for a long time
	Burst   float64 `json:"burst"`
	Burst0  float64 `json:"burst0"`
	Trip    float64 `json:"trip"`
	Silence float64 `json:"silence"`
	Asked   float64 `json:"asked"`
	Holding float64 `json:"holding"`
}

// Learned returns what the Controller has learned. ok is false until Next or NextInner is
// called after the first pause, because nothing has been learned before.
func (c *Controller) Learned() (l Learned, ok bool) {
	if !c.learned {
		return Learned{}, false
	}
	l = Learned{c.pace, c.lo, c.hi, slices.Max(append([]float64{c.best}, c.proven...)), c.burst, c.burst0, c.trip, c.silence, c.asked, c.holding}
	if math.IsInf(l.Hi, 1) { // JSON has no infinity
		l.Hi = 0
	}
	return l, true
}

const (
	slowest = 1e-7 // requests per second: well below the pace after a Retry-After of a day
	largest = 1e9
)

// Valid reports whether all values of l are in a plausible range. A value from another
// process or from a server may be meaningless.
func (l Learned) Valid() bool {
	for _, v := range []float64{l.Pace, l.Lo, l.Hi, l.Best, l.Burst, l.Burst0, l.Trip, l.Silence, l.Asked, l.Holding} {
		if !(v >= 0 && v <= largest) { // also true for NaN
			return false
		}
	}
	return l.Pace >= slowest && l.Pace <= mostPace && l.Silence >= shortest
}

// Scale returns l adapted to a limit that is factor times as high.
func (l Learned) Scale(factor float64) Learned {
	l.Pace, l.Lo, l.Hi, l.Best = l.Pace*factor, l.Lo*factor, l.Hi*factor, l.Best*factor
	l.Burst, l.Burst0 = max(1, l.Burst*factor), max(1, l.Burst0*factor)
	return l
}

// Resume returns a Controller that continues from l at the end of the pause. If the pause
// is already over, it begins without a burst, because the limit may not have saved
// anything up since the pause. now may be earlier than the present time, if nothing was
// sent in between.
func Resume(now time.Duration, l Learned, pause time.Duration) *Controller {
	c := &Controller{
		Constants: Standard,
		pace:      l.Pace, lo: l.Lo, hi: l.Hi,
		burst: max(l.Burst, 1), burst0: max(l.Burst0, 1),
		trip: l.Trip, heard: l.Trip > 0, timed: l.Trip > 0, silence: l.Silence, quiet: l.Silence, asked: l.Asked,
		wanted: l.Silence, measure: min(l.Silence, longestWindow),
		pause: pause,
		memory: memory{
			learned: true, proven: []float64{l.Best}, marks: []Mark{{}},
			needed: l.Silence, longest: l.Silence,
			best: l.Best, bestAt: now, cost: l.Silence, patience: leastPatience,
		},
		probe: probe{holding: max(l.Holding, Standard.Hold)},
	}
	if c.hi == 0 {
		c.hi = math.Inf(1)
	}
	at := max(now, pause)
	c.last, c.ended = at, at
	c.start(at)
	if pause <= now {
		c.credit, c.granted = 0, 0
	}
	return c
}

// acquitted is the lowest pace after Acquit, in requests per second. If requests have been
// refused from the beginning, no better one is known.
const acquitted = 1.0

// Acquit reports that the limit was not the reason for the recent refusals. It ends the
// pause, and the Controller continues at the best pace that it knows, without an upper
// bound.
func (c *Controller) Acquit(now, pause time.Duration) {
	l, ok := c.Learned()
	if !ok {
		return
	}
	l.Pace, l.Hi, l.Burst, l.Holding = max(l.Pace, l.Best, acquitted), 0, l.Burst0, 0
	l.Silence, l.Asked = min(l.Silence, 1), 0
	fresh := Resume(now, l, pause)
	fresh.Constants, fresh.Late = c.Constants, c.Late
	fresh.epoch = c.epoch + 1
	fresh.flight.flying = c.flight.flying
	fresh.chance, fresh.closed = c.chance, now
	fresh.heard, fresh.timed, fresh.notice, fresh.noticed, fresh.heardOn = c.heard, c.timed, c.notice, c.noticed, c.heardOn
	*c = *fresh
}
