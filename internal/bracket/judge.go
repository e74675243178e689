package bracket

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// A memory holds what the controller keeps from one epoch to the next.
type memory struct {
	learned bool          // whether the first refusal has been judged, here or by the Controller that this one continues
	past    []epoch       // latest epochs that judgeEpoch has judged, oldest first
	proven  []float64     // lower bounds of the limit that the latest epochs prove, oldest first
	marks   []Mark        // marks of the latest epoch in which a request was accepted
	total   int64         // number of requests that were accepted in the epoch in which they were sent
	ended   time.Duration // send time of the refused request that ended the epoch recorded in marks
	sumSent float64       // number of requests accepted in the latest epochs, with decaying weights
	sumTime float64       // seconds that the latest epochs and their silences took, with the same weights
	needed  float64       // length of the latest silence after which a request was accepted, in seconds
	longest float64       // the longest recent wait, in seconds, as least counts it; it decays unless a refusal confirms it
	starved float64       // the longest recent result of starving; it decays unless a refusal confirms it
	heardAt time.Duration // latest time at which an accepted request was sent
	stood   float64       // the pace with which the next probe begins, because the latest one, or a return to best, failed above it; 0: none
	guessed bool          // whether the pace is a guess, made after several probes failed

	best     float64       // the highest pace of the last 15 minutes that was proven, was held until a probe, or was accepted for 5 s
	bestHi   float64       // hi when best was found
	bestAt   time.Duration // when best was found or last confirmed
	cost     float64       // the silence that a refusal at the best pace causes, in seconds, smoothed
	failures int           // number of returns to best that have failed although patience had reached its upper bound, since the latest probe that was not a return
	patience float64       // how long requests must have waited, in multiples of cost, before the pace begins to return to best
}

// An epoch records how many of its requests were accepted, for how many seconds requests
// were sent, and how many seconds of silence came before.
type epoch struct {
	accepted, took, silence float64
	pace                    float64 // the pace when the refused request was sent
	failed                  float64 // seconds from its end to the last failed probe after it; 0: none failed
	steady                  bool    // whether the pace did not change, most outcomes are known, and no gap was long enough for the limit to save up all that it can
	regrown                 bool    // whether the burst had grown again and was then refused
}

// used returns the rate of an epoch whose limit was used up all the time.
func (e epoch) used() float64 { return (e.accepted + 1) / max(e.took, shortest) }

const (
	shortest      = 1e-3 // seconds; lower bound of a silence, and of a time that something is divided by
	guessable     = 2.0  // seconds; longest silence after which a short window is guessed
	longestWindow = 90.0 // seconds: a minute plus delays; services with longer windows usually state how long to wait
	remembered    = 8    // maximum number of values in past and in proven
	mostMarks     = 64   // maximum number of marks per epoch

	bestKept      = 15 * time.Minute
	lasting       = 5.0  // seconds; a rate that is accepted for this long is probably not just a burst
	leastStep     = 1.02 // ratio of two paces below which trying the higher one is not worth its risk
	nearly        = 0.8  // share of the best pace above which a pace counts as equally good
	leastPatience = 2.0
	mostPatience  = 16.0
	mostFailures  = 3   // number of failed returns to the best pace after which a probe comes first
	longSilence   = 4.0 // ratio of the silence to cost above which there seems to have been an outage
)

// mark records how many requests have been accepted by now.
func (c *Controller) mark(now time.Duration) {
	if now <= c.marks[len(c.marks)-1].At {
		return
	}
	if n := len(c.marks); n >= mostMarks { // keep every other mark
		for i := range n / 2 {
			c.marks[i] = c.marks[2*i]
		}
		c.marks = c.marks[:n/2]
	}
	c.marks = append(c.marks, Mark{now, c.total})
}

// fastest looks at each stretch of time from a mark until the refused request was sent,
// and counts the silence as part of each. It finds the stretch with the highest rate, and
// returns how many requests were accepted in it (at least 1) and how many seconds it took,
// not including the silence.
func (c *Controller) fastest(silence float64) (accepted, took float64) {
	for _, m := range c.marks {
		n, t := float64(c.total-m.Accepted), max(seconds(c.ended-m.At), 0)
		if n/(t+silence) > accepted/(took+silence) {
			accepted, took = n, t
		}
	}
	return max(accepted, 1), took
}

// judge draws conclusions from the epoch that a refusal has ended. It is called when the
// pause after that refusal is over.
func (c *Controller) judge(now time.Duration, backlog float64) {
	quiet := max(seconds(now-c.last), 2*c.delay(), shortest)
	wanted := max(seconds(min(now, c.pause)-c.last), 2*c.delay(), shortest)
	passed := c.passed(now)
	if passed > 0 {
		c.probes = min(c.probes, 1) // when the pause began, the outcomes of the requests in flight were still unknown
	}
	if !c.explained {
		c.suspectCap(now)
	}
	c.flight.accepted = 0
	switch {
	case c.refused.trial && passed == 0:
		wanted += c.wanted
		c.silence += quiet
	case c.explained:
		c.silence = quiet
	case !c.learned:
		c.judgeFirst(now, quiet)
	case passed == 0:
		wanted += c.wanted
		c.judgeFailedProbe(quiet)
	default:
		c.judgeEpoch(now, passed, quiet, backlog)
	}
	c.wanted, c.measure = wanted, min(wanted, longestWindow)
	if c.probes > 1 {
		c.measure = min(wanted, cmp.Or(c.asked, c.OwnMost), longestWindow)
	}
	c.base, c.returning = 0, false
	c.pace = min(max(c.pace, c.least()), mostPace)
	c.quiet = quiet
}

// least returns the pace below which the controller cannot learn, which is usually one
// request per two waits. A wait is Retry-After or, if that is longer, the silence that
// the service required. The latter counts as no longer than the longest pause that the
// controller chooses on its own, because it may be an outage, unless it was required several
// times. A caller without a gate would retry as often.
func (c *Controller) least() float64 {
	wait := max(c.asked, min(c.wanted, c.OwnMost))
	most := max(c.OwnMost, 1.5*c.starved)
	since := max(seconds(c.refused.at-c.heardAt), 0)
	// If the limit accepts one request in a certain time, Retry-After is only the rest of
	// this time, and is short at the right pace. The sum of both then shows that the
	// longest wait is still true.
	if sum := wait + since; c.probes <= 1 && (sum < 0.8*c.longest-1 || sum > 1.5*c.longest+1) {
		c.longest *= 0.9
		c.starved *= 0.9
	}
	c.longest = max(c.longest, wait, c.starved)
	// Three refusals in a row are not chance, so a request has to wait this long; nor are two
	// that confirm the longest wait.
	if c.probes > 2 || c.probes == 2 && since < 1.5*c.longest {
		c.longest = max(c.longest, min(since, most))
	}
	if c.asked == 0 || c.starved > wait {
		return max(0.5/min(max(c.longest, 1), most), 1/longestWindow) // so that a limit that has risen is noticed
	}
	// At a pace that is too low for another reason, since is long.
	return min(0.5/wait, 1/(wait+min(since, c.longest)))
}

// starving returns for how many seconds per accepted request all requests were refused after
// each of the latest three epochs, or 0 if after one of them, the first probe was accepted.
// A limit that allows more would have accepted one of the probes. A single epoch proves
// nothing, because an outage may have followed it.
func (c *Controller) starving() float64 {
	const several = 3
	if len(c.past) < several {
		return 0
	}
	each := longestWindow
	for _, e := range c.past[len(c.past)-several:] {
		each = min(each, e.failed/e.accepted)
	}
	if each < c.OwnMost {
		return 0
	}
	return each
}

// judgeFirst makes a first guess from what was accepted until the end of the first pause.
// It is unknown how much of that the limit had saved up, so the guess uses the stretch
// that looks fastest.
func (c *Controller) judgeFirst(now time.Duration, quiet float64) {
	c.learned = true
	k, took := c.fastest(quiet)
	if c.settled(now) {
		k = max(k, float64(c.total-c.marks[0].Accepted+int64(c.flight.flying)))
	}
	c.lo, c.hi = k/(took+quiet), math.Inf(1)
	if _, hi, ok := c.overload(seconds(c.lateAt - c.lateFrom)); ok {
		// Only an upper bound, because responses may have overtaken each other.
		c.hi = max(c.lo, hi)
	}
	factor := c.FirstFactor
	if c.delay() > quiet/4 { // a pace that is too high is noticed late and costs a lot
		factor = min(factor, 2)
	}
	c.pace = c.lo * (1 + (factor-1)*quiet/(quiet+4*took))
	if c.asked > 0 { // at least one request will be accepted within this time
		c.pace = max(c.pace, 2/c.asked)
	}
	c.pace = min(c.pace, (1-c.Margin)*math.Sqrt(c.lo*c.hi))
	// Late requests that the pace explains do not belong to the burst.
	c.burst0 = max(k-min(float64(c.late), c.pace*seconds(c.lateAt-c.lateFrom)), 1)
	c.burst = max(1, c.burst0-c.pace*min(took, max(seconds(c.closed-c.begin)-c.trip, 0)))
	c.silence = quiet
	// Remember a rate that was accepted for too long to be just a burst: that of the
	// fastest stretch or, if that was a burst, of the shortest one that was not.
	if took >= lasting {
		c.remember(c.closed, c.lo, quiet)
		return
	}
	for _, m := range slices.Backward(c.marks) {
		if t := seconds(c.ended - m.At); t >= lasting {
			c.remember(c.closed, float64(c.total-m.Accepted)/(t+quiet), quiet)
			break
		}
	}
}

// judgeFailedProbe handles a silence that was too short: the controller keeps waiting.
func (c *Controller) judgeFailedProbe(quiet float64) {
	if n := len(c.past); n > 0 {
		c.past[n-1].failed = c.silence
	}
	c.burst = max(1, c.burst*c.Decay)
	c.silence += quiet
	// A token bucket would have gained a token by now. One failed probe may be chance.
	// After a second one, assume that the limit is a short window. Its rate is then that
	// of the fastest stretch, including the silence. This rate is a guess and does not
	// prove any pace bad. A longer silence is an outage, or a window that will open. In
	// both cases, the earlier pace is still good.
	if c.asked == 0 && c.silence <= guessable && c.probes > 2 && c.silence*c.pace >= 2 {
		n, took := c.fastest(c.silence)
		c.pace = min(c.pace, n/(took+c.silence))
		c.lo, c.hi = c.pace, math.Inf(1)
		c.guessed = true
	}
}

// judgeEpoch finds out what caused a refusal.
func (c *Controller) judgeEpoch(now time.Duration, passed int, quiet, backlog float64) {
	c.guessed = false
	c.starved = max(c.starved, c.starving())
	e := epoch{accepted: float64(passed), took: seconds(c.last - c.begin), silence: c.silence, pace: c.refused.pace}
	e.steady = c.raises == 0 && c.unknown == 0 && 2*c.flying <= c.sent && c.gap <= (c.burst0+2)/e.used() && !c.mostlyIdle(e)
	c.needed = c.silence
	whole := e.took + e.silence
	c.sumSent = 0.7*c.sumSent + e.accepted
	c.sumTime = 0.7*c.sumTime + whole
	// From one refusal to the next, an empty token bucket fills at the limit's rate, or
	// usually a whole window passes. The number of accepted requests divided by the time
	// since the last send before the silence is then not above the limit. The number may
	// be off by one, so a single epoch with few requests proves little, but several such
	// epochs together prove more.
	proven := max((e.accepted-1)/whole, 0.5*e.accepted/whole, (c.sumSent-1)/c.sumTime)

	blamed := false // whether the pace was blamed
	switch burst := c.granted >= 2; {
	case burst && c.sent-passed <= c.granted && (c.refused.credit || c.paced < max(4, c.granted/4)):
		c.shrink()
		// Few callers, each of which waits for its response, use only the burst and saved-up
		// turns. If the pace is too high, the burst grows and is refused again and again.
		e.regrown = c.regrown
		if n := len(c.past); e.regrown && n > 0 && c.past[n-1].regrown && !c.wasFine(c.refused.pace) && !c.mostlyIdle(e) {
			c.judgePace(e, proven, backlog)
			blamed = true
		}
	case burst && c.wasFine(c.refused.pace): // later in the window, the requests of the burst were missing
		paused := min(quiet, max(seconds(c.pause-c.last), 0))
		room := e.accepted - c.refused.pace*(e.took+paused) // what a window of that many requests leaves for a burst at this pace
		c.burst = max(1, min(c.burst/2, max(c.burst/4, room)))
	case burst && slices.ContainsFunc(c.past, e.window):
		c.burst = max(1, c.burst/2)
	default:
		if burst && c.refused.credit {
			c.shrink()
		}
		c.judgePace(e, proven, backlog)
		blamed = true
	}
	proven = c.together(e, proven)
	c.past = keep(c.past, e)
	c.proven = keep(c.proven, proven)
	cost := min(quiet, max(seconds(c.pause-c.last), 2*c.delay(), shortest)) // without the time in which no request was waiting
	switch {
	case proven >= c.best, now-c.bestAt > bestKept:
		c.best = 0
		c.remember(now, proven, cost)
	case c.refused.pace >= nearly*c.best && cost <= longSilence*c.cost: // one silence may be long or short by chance
		c.cost = math.Sqrt(c.cost * cost)
	}
	switch {
	case proven > nearly*c.best:
		c.patience, c.failures = leastPatience, 0
	case c.raises > 0 && c.base == 0 && c.refused.pace >= nearly*c.best: // the pace had been raised almost to the best one, or further
		c.returnFailed()
	}
	c.pace = max(c.pace, slices.Max(c.proven))
	if c.pace >= c.hi { // proven and refused: the limit was lower for a while, or is again
		c.hi = max(c.hi, min(c.bestHi, 2*c.pace))
	}
	if blamed {
		c.byChance(now, e)
	}
	c.silence = quiet
}

// together returns the rate to remember after an epoch that proves a rate by itself. If
// a window is used up earlier than the previous one, the time between the two refusals is
// shorter than a window, and the rate is too high. Over several epochs, that matters less.
func (c *Controller) together(e epoch, proven float64) float64 {
	n := len(c.past)
	if n < 2 || !c.past[n-1].window(c.past[n-2]) {
		return proven
	}
	sum, time := e.accepted, e.took+e.silence
	for _, p := range c.past[max(n-3, 0):] {
		sum, time = sum+p.accepted, time+p.took+p.silence
	}
	return min(proven, max((sum-1)/time, proven/2))
}

// returnFailed records that a return to the best pace has failed.
func (c *Controller) returnFailed() {
	if c.patience == mostPatience {
		c.failures++
	}
	c.patience = min(2*c.patience, mostPatience)
}

// remember records a pace that worked, and the silence that a refusal costs at that pace,
// unless best is higher.
func (c *Controller) remember(now time.Duration, pace, cost float64) {
	if pace >= c.best {
		c.best, c.bestHi, c.bestAt, c.cost = pace, c.hi, now, cost
	}
}

// shrink reduces the burst after a refusal, to fewer requests than were sent before the
// refused one, but to at least one.
func (c *Controller) shrink() {
	c.burst = max(1, min(c.Decay*c.burst, 0.9*float64(c.refused.seq-1)))
}

// window reports whether an earlier epoch accepted about the same number of requests in a
// different time, or at a different pace. A token bucket would accept more requests over
// a longer time, and would last longer at a slower pace.
func (e epoch) window(earlier epoch) bool {
	return math.Abs(e.accepted-earlier.accepted) <= 0.01*earlier.accepted &&
		(math.Abs(e.took-earlier.took) > 0.1*earlier.took || math.Abs(e.pace-earlier.pace) > 0.1*earlier.pace)
}

// wasFine reports whether a pace at least this high was recently good. If so, the pace is
// not to blame.
func (c *Controller) wasFine(pace float64) bool {
	return pace <= c.best || slices.ContainsFunc(c.proven, func(p float64) bool { return p >= pace })
}

// mostlyIdle reports whether, for more than half of an epoch and its silence, more requests
// could have been sent than callers made. The rate over that time is the callers' rate, not
// the limit.
func (c *Controller) mostlyIdle(e epoch) bool {
	return 2*(c.idle+c.silence-c.wanted) > e.took+e.silence
}

// judgePace sets the bracket anew and chooses the pace.
func (c *Controller) judgePace(e epoch, proven, backlog float64) {
	c.stood = 0
	if c.mostlyIdle(e) { // halve the pace at most, because little is known
		c.lo = max(proven, min(c.lo, c.refused.pace))
		c.pace = max((1-c.Margin)*c.lo, c.refused.pace/2)
		c.hi = max(c.hi, 1.1*c.pace)
		return
	}
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
	// The first epoch may have seen little of what the limit can save up, because most of
	// that had been used up before. Requests accepted beyond the highest possible rate
	// had been saved up. burst0 at most doubles, because their number would also be high
	// if other users of the limit had paused.
	c.burst0 = max(c.burst0, min(e.accepted-hi*e.took, 2*c.burst0))
	// Another refusal costs a silence; a pace that is too slow costs a share of all the
	// time still to come. If a lot of work is left, use the middle of the bracket; if
	// little is left, use the safe end.
	weight := 0.5 * min(1, backlog/hi/(10*c.silence))
	c.pace = (1 - c.Margin) * lo * math.Pow(hi/lo, weight)
	// The epoch after an outage proves little, because its silence is long. If the best pace was
	// exceeded, it is not disproved.
	if c.silence > longSilence*c.cost && c.refused.pace*nearly > c.best && c.pace < c.best {
		c.pace = c.best
		c.hi = max(c.hi, 1.1*c.pace)
	}
}

// endProbe ends a probe if the limit may have accepted only as many requests above the
// base as it had saved up. The pace returns to the base. If the probe has raised the base
// by more than a tenth, it may go on to a pace between the base and hi, which is the pace
// that the epoch proves bad.
//
// A pace that is too high is noticed late, so the step at which a request is refused says
// little about the steps before it. The next probe therefore begins with the step before,
// and stays there for a longer time. If saved-up requests were the reason why that step
// was not refused, there will be a refusal. But if the limit is a window, which saves up
// nothing, the pace will often be proven.
func (c *Controller) endProbe(hi float64) {
	found := c.base > 1.1*c.began
	switch {
	case c.returning:
		if c.patience == mostPatience { // perhaps the limit has fallen for good, to less than this step
			c.stood = math.Sqrt(c.base * c.refused.pace)
		}
	case c.again, c.refused.pace <= c.before: // not even the step before was good, so try one halfway to it
		c.stood = math.Sqrt(c.base * c.refused.pace)
	default:
		c.stood = c.before
	}
	if !found && c.base > c.began { // the margin alone may allow a step this small
		c.base *= 1 - c.Margin
	}
	c.lo, c.hi, c.pace = c.base, 1.1*c.base, c.base
	switch {
	case found: // try a pace between the base and hi
		c.holding = c.Hold
		if hi > 1.25*c.base {
			c.hi = hi
			c.pace = max(c.pace, (1-c.Margin)*math.Sqrt(c.lo*c.hi))
		}
	case c.returning:
		c.returnFailed()
	case c.best > 1.25*c.base:
		c.patience = min(2*c.patience, mostPatience)
	default:
		// A silence that the next burst makes up for costs nothing.
		c.holding = max(c.Hold, min(2*c.holding, c.HoldMost*(1-c.burst/(c.pace*c.silence))))
	}
}

// bounds returns the pace that the epoch proves good, and the pace that it proves bad.
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
		// The pace was above the limit all the time, so no part of the limit was left
		// unused. A bucket with one token is an exception: it overflows between two
		// requests, and up to half of the limit may be lost.
		if c.burst0 < 2 {
			hi = max(lo, min(hi, 2*e.used()))
			lo = max(lo, min(hi, 0.93*c.lo)) // it was proven earlier, so lower it slowly
		} else {
			hi = max(lo, min(hi, e.used()))
		}
		lo, hi = c.compare(e, lo, hi)
	}
	if t := c.starving(); t > 0 {
		hi = max(proven, min(hi, 1/t))
		lo = min(lo, hi)
	}
	// Requests accepted beyond what the limit can have saved up were within its rate.
	for _, p := range c.paces {
		if t := seconds(c.refused.at - p.at); t > 0 {
			n := float64(c.refused.seq - 1 - p.seq - c.unknown)
			lo = max(lo, min((n-c.burst0)/t, hi))
		}
	}
	return lo, hi
}

// overload estimates the limit from the requests that were in flight at a refusal, which
// were spread over t seconds. If some of them were refused, they exceeded a limit that
// was used up, so the limit is the rate at which the rest of them were accepted. ok is
// false if fewer than 8 were accepted, if none was refused, or if t is not positive.
func (c *Controller) overload(t float64) (lo, hi float64, ok bool) {
	if c.late < 8 || c.lateRefused == 0 || t <= 0 {
		return 0, 0, false
	}
	n := float64(c.late)
	return (n - math.Sqrt(n)) / t, (n + math.Sqrt(n)) / t, true
}

// compare narrows the bracket, using the difference between this epoch and an earlier
// one. A token bucket first accepts what it has saved up, which is the same after the
// same silence, and then accepts requests at the limit's rate. A longer epoch therefore
// accepts more requests, and the limit is the difference in requests divided by the
// difference in time. This does not hold for a window. There, the quotient is either
// below what is proven, which does no harm, or too high. A quotient that is too high is
// recognized and ignored: a limit that high would have accepted more requests in the
// longer epoch.
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
	// Each count may be off by about one. If the silences differ, the bucket may also
	// have saved up different numbers of requests.
	more, time, shift := e.accepted-than.accepted, e.took-than.took, e.silence-than.silence
	low := (more - 1.5) / max(time, time+shift, shortest)
	high := (more + 1.5) / max(min(time, time+shift), shortest)
	if saved := min(c.burst0, low*e.silence); e.accepted < saved+low*e.took {
		return lo, hi
	}
	return min(max(lo, low), hi), min(max(high, lo), hi)
}

// keep appends v, and drops the oldest value if there are too many values.
func keep[T any](s []T, v T) []T {
	if s = append(s, v); len(s) > remembered {
		s = slices.Delete(s, 0, 1)
	}
	return s
}
