package bracket

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// A memory is what earlier epochs have left.
type memory struct {
	learned      bool          // one at least has been judged
	past         []epoch       // the latest, oldest first
	proven       []float64     // what each of them proves the limit to be at least
	marks        []Mark        // of the latest one in which anything was accepted
	total        int64         // accepted in all
	ended        time.Duration // the refusal behind these marks
	sumSent      float64       // accepted in the latest epochs, fading
	sumTime      float64       // and the seconds that took
	needed       float64       // the silence that last ended in an accepted request
	longest      float64       // the longest silence of late, fading
	longestAsked float64       // the longest Retry-After of late, fading
	heardAt      time.Duration // when the latest request left that was accepted
	guessed      bool          // the pace is one, after probes that all failed

	best     float64       // the highest pace of the last minutes that was proven, or held for long
	bestAt   time.Duration // when
	cost     float64       // the silence after it, in seconds: what a refusal costs at that pace
	patience float64       // of these that have to pass before the pace goes back to it
}

// An epoch is what was accepted between two refusals, in how much time after
// how much silence.
type epoch struct {
	accepted, took, silence float64
	pace                    float64 // at the end
	steady                  bool    // and all the time
}

const (
	shortest      = 1e-3 // seconds
	guessable     = 2.0  // seconds
	longestWindow = 90.0 // seconds: a window of a minute and what is late; a longer one names its time
	remembered    = 8    // epochs
	mostMarks     = 64   // of one

	bestKept      = 15 * time.Minute
	lasting       = 20.0 // seconds
	nearly        = 0.8  // of the best pace is as good as it
	leastPatience = 2.0
	mostPatience  = 16.0
)

// mark notes how much was accepted by now.
func (c *Controller) mark(now time.Duration) {
	if now <= c.marks[len(c.marks)-1].At {
		return
	}
	if n := len(c.marks); n >= mostMarks { // every other one will do
		for i := range n / 2 {
			c.marks[i] = c.marks[2*i]
		}
		c.marks = c.marks[:n/2]
	}
	c.marks = append(c.marks, Mark{now, c.total})
}

// fastest returns the stretch before the refusal in which the most was
// accepted, had the silence been part of it.
func (c *Controller) fastest(silence float64) (accepted, took float64) {
	for _, m := range c.marks {
		n, t := float64(c.total-m.Accepted), max(seconds(c.ended-m.At), 0)
		if n/(t+silence) > accepted/(took+silence) {
			accepted, took = n, t
		}
	}
	return max(accepted, 1), took
}

// judge draws the conclusions from the epoch that a refusal has ended, when
// the pause after it is over.
func (c *Controller) judge(now time.Duration, backlog float64) {
	quiet := max(seconds(now-c.last), 2*c.trip, shortest)
	wanted := max(seconds(min(now, c.pause)-c.last), 2*c.trip, shortest)
	if !c.explained {
		c.suspectCap(now)
	}
	c.flight.accepted = 0
	switch {
	case c.explained:
		c.silence = quiet
	case !c.learned:
		c.judgeFirst(quiet)
	case c.accepted == 0:
		wanted += c.wanted
		c.judgeFailedProbe(quiet)
	default:
		c.judgeEpoch(now, quiet, backlog)
	}
	c.wanted, c.measure = wanted, min(wanted, longestWindow)
	if c.accepted == 0 && c.probes > 1 {
		c.measure = min(wanted, cmp.Or(c.asked, c.OwnMost), longestWindow)
	}
	c.base, c.returning = 0, false
	c.pace = min(max(c.pace, c.least()), mostPace)
	c.quiet = quiet
}

// least is the pace below which the controller cannot learn: one request per two
// silences. A silence may be an outage, so it counts for no more than the longest of
// the controller's own pauses: without a gate a caller would come back as often.
func (c *Controller) least() float64 {
	c.longest, c.longestAsked = max(c.silence, 0.8*c.longest), max(c.asked, 0.98*c.longestAsked)
	if c.asked == 0 {
		return 0.5 / min(max(c.longest, 1), c.OwnMost)
	}
	// A Retry-After may be what is left of the gap between two requests.
	gap := c.asked + min(max(seconds(c.closed-c.heardAt), 0), c.longestAsked)
	return min(0.5/c.asked, 1/gap)
}

// judgeFirst makes a first guess from what was accepted until the first
// refusal. Nobody knows how much of it the limit had saved up; the stretch that
// looks fastest is taken.
func (c *Controller) judgeFirst(quiet float64) {
	c.learned = true
	k, took := c.fastest(quiet)
	c.lo, c.hi = k/(took+quiet), math.Inf(1)
	if _, hi, ok := c.overload(seconds(c.lateAt - c.lateFrom)); ok {
		// Only an upper bound: answers may have overtaken each other.
		c.hi = max(c.lo, hi)
	}
	factor := c.FirstFactor
	if c.trip > quiet/4 { // much can go wrong until it shows
		factor = min(factor, 2)
	}
	c.pace = c.lo * (1 + (factor-1)*quiet/(quiet+4*took))
	if c.asked > 0 { // the time in which one request at least will be accepted
		c.pace = max(c.pace, 2/c.asked)
	}
	c.pace = min(c.pace, (1-c.Margin)*math.Sqrt(c.lo*c.hi))
	// By the late ones it was used up, as far as the limit gave them meanwhile.
	c.burst0 = max(k-min(float64(c.late), c.pace*seconds(c.lateAt-c.lateFrom)), 1)
	c.burst = max(1, c.burst0-c.pace*min(took, max(seconds(c.closed-c.begin)-c.trip, 0)))
	c.silence = quiet
	// What was fine for so long is no burst.
	for _, m := range slices.Backward(c.marks) {
		if t := seconds(c.ended - m.At); t >= lasting {
			c.remember(c.closed, float64(c.total-m.Accepted)/(t+quiet), quiet)
			break
		}
	}
}

// judgeFailedProbe takes it that the silence was too short, and goes on.
func (c *Controller) judgeFailedProbe(quiet float64) {
	c.sumTime += seconds(c.last-c.begin) + c.quiet
	c.burst = max(1, c.burst*c.Decay)
	c.silence += quiet
	// A bucket would have filled. The first may be chance. After it the limit is
	// taken for a short window: so many requests in all the time since they began.
	// That is a guess, which proves no pace bad. A longer silence is an outage, or a
	// window that will open: in both the pace of before is as good as it was.
	if c.asked == 0 && c.silence <= guessable && c.probes > 2 && c.silence*c.pace >= 2 {
		n, took := c.fastest(c.silence)
		c.pace = min(c.pace, n/(took+c.silence))
		c.lo, c.hi = c.pace, math.Inf(1)
		c.guessed = true
	}
}

// judgeEpoch finds out what to blame for a refusal.
func (c *Controller) judgeEpoch(now time.Duration, quiet, backlog float64) {
	c.guessed = false
	e := epoch{float64(c.accepted), seconds(c.last - c.begin), c.silence, c.refused.pace, c.raises == 0 && c.unknown == 0}
	c.needed = c.silence
	c.sumSent = 0.7*c.sumSent + e.accepted
	c.sumTime = 0.7*c.sumTime + e.took + c.quiet
	// From one refusal to the next a bucket that was empty fills by the limit,
	// and a window is paid for in full: in both, what was accepted, over the
	// time since the last send before the silence, is never above the limit. It
	// is right to one request, so that few prove nothing, but by the epochs
	// together.
	whole := e.took + e.silence
	proven := max((e.accepted-1)/whole, 0.5*e.accepted/whole, (c.sumSent-1)/c.sumTime)

	switch burst := c.granted >= 2; {
	case burst && c.sent-c.accepted <= c.granted && (c.refused.credit || c.paced < max(4, c.granted/4)):
		c.shrink()
	case burst && (c.window(e) || c.wasFine(c.refused.pace)):
		c.burst = max(1, c.burst/2) // it is missing later in the window
	default:
		if burst && c.refused.credit {
			c.shrink()
		}
		c.judgePace(e, proven, backlog)
	}
	c.past = keep(c.past, e)
	c.proven = keep(c.proven, proven)
	if proven >= c.best || now-c.bestAt > bestKept {
		c.best = 0
		c.remember(now, proven, quiet)
	}
	if proven > nearly*c.best {
		c.patience = leastPatience
	}
	c.pace = max(c.pace, slices.Max(c.proven))
	c.silence = quiet
}

// remember notes a pace that was fine, and what a refusal costs there.
func (c *Controller) remember(now time.Duration, pace, cost float64) {
	if pace >= c.best {
		c.best, c.bestAt, c.cost = pace, now, cost
	}
}

// shrink makes the burst smaller after it was refused: all before the refused
// request had been accepted.
func (c *Controller) shrink() {
	c.burst = max(1, min(c.Decay*c.burst, 0.9*float64(c.refused.seq-1)))
}

// window reports whether as many were accepted as in an earlier epoch, in
// another time or at another pace. A bucket gives out more the longer it is
// asked, and lasts longer the slower.
func (c *Controller) window(e epoch) bool {
	return slices.ContainsFunc(c.past, func(p epoch) bool {
		return math.Abs(e.accepted-p.accepted) <= 0.01*p.accepted &&
			(math.Abs(e.took-p.took) > 0.1*p.took || math.Abs(e.pace-p.pace) > 0.1*p.pace)
	})
}

// wasFine reports whether of late a pace no lower was proven good, so that it
// is not to blame.
func (c *Controller) wasFine(pace float64) bool {
	return slices.ContainsFunc(c.proven, func(p float64) bool { return p >= pace })
}

// judgePace narrows the bracket and chooses a pace in it.
func (c *Controller) judgePace(e epoch, proven, backlog float64) {
	lo, hi := c.bounds(e, proven)
	if c.base > 0 {
		over := float64(c.refused.seq-c.from.seq) - c.base*seconds(c.refused.at-c.from.at)
		if over <= 2*c.burst0 {
			c.endProbe(hi)
			return
		}
		c.holding = c.Hold
	}
	c.lo, c.hi = lo, hi
	// Another refusal costs a silence, going too slowly a part of all that is
	// still to come: with much to come, the middle, else the safe end.
	weight := 0.5 * min(1, backlog/hi/(10*c.silence))
	c.pace = (1 - c.Margin) * lo * math.Pow(hi/lo, weight)
}

// endProbe goes back to the base of a probe: no more than what is saved up was to be
// had above it. hi is what the epoch proves bad.
func (c *Controller) endProbe(hi float64) {
	found := c.base > 1.1*c.began
	if !found && c.base > c.began { // a step that small is proven in the margin too
		c.base *= 1 - c.Margin
	}
	c.lo, c.hi, c.pace = c.base, 1.1*c.base, c.base
	switch {
	case found: // look between the two
		c.holding = c.Hold
		if hi > 1.25*c.base {
			c.hi = hi
			c.pace = max(c.pace, (1-c.Margin)*math.Sqrt(c.lo*c.hi))
		}
	case c.returning || c.best > 1.25*c.base:
		c.patience = min(2*c.patience, mostPatience)
	default:
		// A silence that the next burst makes up for costs nothing.
		c.holding = max(c.Hold, min(2*c.holding, c.HoldMost*(1-c.burst/(c.pace*c.silence))))
	}
}

// bounds returns the pace that the epoch proves good, and the one that it
// proves bad.
func (c *Controller) bounds(e epoch, proven float64) (lo, hi float64) {
	lo, hi = proven, c.refused.pace
	if n, t := c.refused.seq-c.latest.seq, seconds(c.refused.at-c.latest.at); n >= 8 && t > 0 {
		hi = min(hi, float64(n)/t)
	}
	hi = max(hi, lo)
	if l, h, ok := c.overload(seconds(c.last - c.refused.at)); ok {
		lo, hi = min(max(lo, l), hi), max(min(hi, h), lo)
	}
	if e.steady {
		// The pace was above the limit all the time, so that nothing of it was
		// left over; but up to half of it in a bucket of one token, which
		// overflows between two requests.
		single := c.burst0 < 2
		if used := (e.accepted + 1) / max(e.took, shortest); single {
			hi = max(lo, min(hi, 2*used))
			lo = max(lo, min(hi, 0.93*c.lo)) // what was proven before is given up slowly
		} else {
			hi = max(lo, min(hi, used))
		}
		lo, hi = c.compare(e, lo, hi)
	}
	// Whatever the limit had saved up, more than that came through only because
	// the limit allows it.
	for _, p := range c.paces {
		if t := seconds(c.refused.at - p.at); t > 0 {
			n := float64(c.refused.seq - 1 - p.seq - c.unknown)
			lo = max(lo, min((n-c.burst0)/t, hi))
		}
	}
	return lo, hi
}

// overload returns what the requests say that were in flight at a refusal, and
// that left in t seconds. If there were refused ones among them, they met a
// limit that was used up and asked for more than it: what was accepted then is
// the limit.
func (c *Controller) overload(t float64) (lo, hi float64, ok bool) {
	if c.late < 8 || c.lateRefused == 0 || t <= 0 {
		return 0, 0, false
	}
	n := float64(c.late)
	return (n - math.Sqrt(n)) / t, (n + math.Sqrt(n)) / t, true
}

// compare narrows the bracket by what differs between this epoch and an
// earlier one. A bucket gives out what it has saved up, which is the same after
// the same silence, and then the limit: more time, more accepted, and the
// quotient of the differences is the limit. Where that does not hold, with a
// window, the quotient is below what is proven, and does no harm; or so far
// above that after this silence more would have been accepted at once.
func (c *Controller) compare(e epoch, lo, hi float64) (float64, float64) {
	var than epoch
	longest := 0.0
	for _, p := range c.past {
		if d := math.Abs(e.took - p.took); p.steady && d > longest {
			than, longest = p, d
		}
	}
	if longest == 0 {
		return lo, hi
	}
	if e.took < than.took {
		e, than = than, e
	}
	// Each count is right to about one request; if the silences differ, so may
	// what was saved up.
	more, time, shift := e.accepted-than.accepted, e.took-than.took, e.silence-than.silence
	low := (more - 1.5) / max(time, time+shift, shortest)
	high := (more + 1.5) / max(min(time, time+shift), shortest)
	if saved := min(c.burst0, low*e.silence); e.accepted < saved+low*e.took {
		return lo, hi
	}
	return min(max(lo, low), hi), min(max(high, lo), hi)
}

// keep appends and forgets the oldest.
func keep[T any](s []T, v T) []T {
	if s = append(s, v); len(s) > remembered {
		s = slices.Delete(s, 0, 1)
	}
	return s
}
