// Package bracket finds the pace that a rate limit allows from nothing but
// the answers: accepted, or refused and come back later.
//
// It keeps a pace that was proven good (lo) and one that was proven bad (hi)
// and sends between the two. What makes it converge is that it asks of each
// refusal what was to blame: the burst that was let out after a silence, a
// raise of the pace, a window that was full, or somebody else. Only a raise
// counts against the pace.
//
// All lengths of time are measured in silences (how long the service wanted to
// hear nothing) or round trips, so that one set of constants serves 1 request a
// second as well as 500, and a Retry-After of 1 s as well as one of 60.
//
// docs/gate.md explains each rule.
package bracket

import (
	"math"
	"time"
)

// The constants that a test varies by half to show that none is an edge.
type constants struct {
	margin      float64 // how far below the middle of the bracket to stay
	firstFactor float64 // the first pace, at most this much above the proven one
	stepSilence float64 // between two raises: silences,
	stepTrips   float64 // round trips; below 1 it would raise without having heard
	stepSends   float64 // and requests
	backlog     float64 // silences of backlog that make a raise worth its price
	hold        float64 // silences at a closed bracket before the limit is tried again
	holdMost    float64 // the same after tries that found nothing
	excess      float64 // first step above a closed bracket
	creditDecay float64 // of the burst after it was refused
	ownPause    float64 // seconds, where the service names none
	ownMost     float64
}

var standard = constants{
	margin:      0.03,
	firstFactor: 4,
	stepSilence: 0.25,
	stepTrips:   1.25,
	stepSends:   4,
	backlog:     3,
	hold:        10,
	holdMost:    80,
	excess:      0.05,
	creditDecay: 0.7,
	ownPause:    0.25,
	ownMost:     30,
}

// A Send is one request that left, as Accepted and Refused want to know it
// again.
const mostLag = 10 * time.Millisecond

type Send struct {
	epoch  uint32
	credit bool    // part of the burst after a silence
	seq    int     // in its epoch, from 1
	pace   float64 // when it left
	at     time.Duration
}

// A moment in an epoch: so many had been sent then.
type moment struct {
	at  time.Duration
	seq int
}

// A Mark says that at a time so many requests in all had been accepted.
type Mark struct {
	At       time.Duration
	Accepted int64
}

// A Controller decides when the requests of one account leave. Make one at the
// first refusal, with New. All times count from one origin and never go back.
// It is not safe for concurrent use.
type Controller struct {
	c constants

	pause            time.Duration // nothing leaves before this
	open             bool          // requests have left since the latest refusal
	first            bool          // no epoch has been judged yet
	probes           int           // pauses in a row that ended in a refusal, the current one included
	refused          Send          // the one that ended the epoch
	ended            time.Duration // the latest refusal that followed accepted requests
	closed           time.Duration // when the latest refusal came
	late             int           // accepted after it, of those that were in flight
	lateFrom, lateAt time.Duration // the first and last of them
	lateRefused      int
	marks            []Mark // of what was accepted in the latest epoch that was accepted anything in
	total            int64  // accepted in all

	pace   float64 // requests per second
	lo, hi float64
	burst  float64 // requests that the limit was seen to take at once
	burst0 float64 // the first one
	trip   float64 // seconds from a request to its answer, smoothed
	// silence is how long it was quiet before the current epoch, failed probes
	// included, in seconds; the unit of most constants.
	silence  float64
	quiet    float64    // the last part of it: the pause before the epoch
	longest  float64    // the longest of late, fading
	asked    float64    // Retry-After of the latest refusal, in seconds
	needed   float64    // the silence that last ended in an accepted request
	best     [8]float64 // proven lower bounds of the latest epochs
	past     []epoch    // the latest ones, for comparison
	previous epoch
	sumSent  float64 // accepted in the latest epochs, fading
	sumTime  float64 // and the time that took

	// Of the epoch: the time from one pause to the next.
	epoch    uint32
	accepted int
	sent     int
	granted  int     // requests of the burst at its beginning
	credit   float64 // of them, not yet sent
	room     int     // how many of them may be in flight
	flying   int     // sent and not answered
	paced    int     // sent after the burst
	begin    time.Duration
	last     time.Duration // the latest send, of any epoch
	next     time.Duration // when the next paced one is due

	raises    int      // of the pace, in this epoch
	paces     []moment // when each pace began
	raisedAt  time.Duration
	raisedSeq int
	busy      float64 // seconds in which requests waited for the pace alone
	base      float64 // the pace that the limit is being tried above; 0: it is not
	over      float64 // by how much
	baseAt    time.Duration
	baseSeq   int
	patience  float64 // silences to hold a closed bracket
	strange   float64 // seconds of epochs that were refused without a raise
}

// New returns the controller of an account that was just refused for the first
// time. marks, oldest first, say what had been accepted until now; there must
// be one at least. flying is how many requests are on their way.
func New(now time.Duration, marks []Mark, flying int, retryAfter time.Duration) *Controller {
	c := &Controller{c: standard, first: true, marks: marks, total: marks[len(marks)-1].Accepted, last: now, begin: marks[0].At}
	c.patience = c.c.hold
	oldest := marks[0]
	if n := marks[len(marks)-1].Accepted - oldest.Accepted; n > 0 {
		// Little's law; good enough until the first answer is timed.
		c.trip = min(seconds(now-oldest.At)*float64(flying)/float64(n), seconds(now))
	}
	c.close(now, Send{at: now}, retryAfter)
	return c
}

// Pause makes nothing leave before the time given.
func (c *Controller) Pause(until time.Duration) { c.pause = max(c.pause, until) }

// Paused returns the time before which nothing leaves.
func (c *Controller) Paused() time.Duration { return c.pause }

// Probes returns how many pauses in a row have ended in nothing but a refusal.
func (c *Controller) Probes() int { return c.probes }

// Silence returns the latest pause as it was felt.
func (c *Controller) Silence() time.Duration { return duration(c.silence) }

// Earliest returns the time before which the request with so many others ahead
// of it certainly cannot leave: what is not proven to be too fast may happen.
func (c *Controller) Earliest(ahead int) time.Duration {
	if c.first || math.IsInf(c.hi, 1) || !c.open {
		return c.pause
	}
	most := 2 * c.hi // the limit may have been raised
	return max(c.pause, c.next+duration((float64(ahead)-c.credit)/most))
}

// Next returns when the next request may leave, now or a time that has passed
// meaning at once. ok is false if that depends on an answer.
func (c *Controller) Next(now time.Duration, backlog int) (at time.Duration, ok bool) {
	if now < c.pause {
		return c.pause, true
	}
	if !c.open {
		c.judge(now, float64(backlog))
		c.start(now)
	}
	switch {
	case c.probes > 1 && c.accepted == 0: // one probe, and wait for what it brings
		return now, c.flying == 0
	case c.credit >= 1:
		return now, c.flying < c.room
	}
	return c.next, true
}

// Sent takes the turn that Next has given. backlog is how many requests wait.
func (c *Controller) Sent(now time.Duration, backlog int) Send {
	c.sent++
	c.flying++
	c.last = now
	s := Send{epoch: c.epoch, seq: c.sent, pace: c.pace, at: now, credit: c.credit >= 1}
	if s.credit {
		c.credit--
		c.next = now + duration(1/c.pace)
		c.raisedAt, c.raisedSeq = now, c.sent
		return s
	}
	if c.paced++; c.paced == 1 {
		c.raisedAt, c.raisedSeq = now, c.sent-1
	}
	gap := 1 / c.pace
	if backlog > 0 {
		c.busy += gap
	}
	// A timer is always late: the next turn counts from when this one was due,
	// but a process that was stopped does not make up for it in a burst.
	c.next = max(c.next, now-min(duration(2*gap), mostLag)) + duration(gap)
	c.raise(now, float64(backlog))
	return s
}

// Idle tells that since the latest turn was due nobody wanted it: what is not
// used is saved up, as far as the limit was seen to save it up too.
func (c *Controller) Idle(now time.Duration) {
	if !c.open || now <= c.next || now < c.pause {
		return
	}
	n := math.Floor(seconds(now-c.next) * c.pace)
	if most := math.Floor(c.burst) - c.credit; n >= most {
		c.credit += max(most, 0)
		c.next = now
	} else {
		c.credit += n
		c.next += duration(n / c.pace)
	}
	c.room = max(c.room, c.flying+c.clock())
}

// Unsend takes Sent back: the request did not leave.
func (c *Controller) Unsend(s Send) {
	if s.epoch != c.epoch || !c.open {
		return
	}
	c.flying--
	c.sent--
	if s.credit {
		c.credit++
	} else {
		c.paced--
		c.next -= duration(1 / s.pace)
	}
}

// Accepted tells that a request was answered and not refused.
func (c *Controller) Accepted(now time.Duration, s Send) {
	if s.at > 0 {
		trip := seconds(now - s.at)
		if c.trip == 0 {
			c.trip = trip
		}
		c.trip += (trip - c.trip) / 8
	}
	if s.epoch != c.epoch {
		return
	}
	// Those that were in flight at the refusal count too: with slow answers
	// they are most of what the limit let through.
	if c.accepted++; c.accepted == 1 && !c.first {
		c.marks = append(c.marks[:0], Mark{c.begin, c.total})
	}
	c.total++
	if !c.open && (c.first || s.at > c.refused.at) {
		if c.late++; c.late == 1 {
			c.lateFrom = now
		}
		c.lateAt = now
	}
	if last := c.marks[len(c.marks)-1]; now > last.At {
		c.mark(now)
	}
	c.flying--
	c.room++
}

// mark notes how much was accepted by now.
func (c *Controller) mark(now time.Duration) {
	const most = 64
	if len(c.marks) == most { // every other one will do
		for i := range most / 2 {
			c.marks[i] = c.marks[2*i]
		}
		c.marks = c.marks[:most/2]
	}
	c.marks = append(c.marks, Mark{now, c.total})
}

// fastest returns the stretch up to the latest accepted request in which the
// most was accepted, had the silence been part of it.
func (c *Controller) fastest(silence float64) (accepted, took float64) {
	for _, m := range c.marks {
		n, t := float64(c.total-m.Accepted), max(seconds(c.ended-m.At), 0)
		if n/(t+silence) > accepted/(took+silence) {
			accepted, took = n, t
		}
	}
	return max(accepted, 1), took
}

// Refused tells that a request was refused, with the wait that the service
// asked for, 0 if none. It reports whether that begins a new pause; the others
// were in flight when the door closed and say nothing new.
func (c *Controller) Refused(now time.Duration, s Send, retryAfter time.Duration) bool {
	if s.epoch != c.epoch || !c.open {
		if s.epoch == c.epoch {
			c.flying--
			c.lateRefused++
		}
		c.pause = max(c.pause, later(now, retryAfter))
		return false
	}
	c.flying--
	c.close(now, s, retryAfter)
	return true
}

func (c *Controller) close(now time.Duration, s Send, retryAfter time.Duration) {
	if c.probes++; c.accepted > 0 || c.first {
		c.probes = 1
		c.ended = s.at
	}
	c.open = false
	c.refused, c.closed = s, now
	c.late, c.lateAt, c.lateRefused = 0, 0, 0
	c.asked = seconds(retryAfter)
	if retryAfter == 0 || c.probes > 1 {
		own := max(c.c.ownPause, 2*c.trip)
		if !c.first && retryAfter == 0 {
			own = max(own, min(1/c.pace, c.needed/2))
		}
		own = min(own*math.Pow(2, float64(c.probes-1)), c.c.ownMost)
		c.pause = max(c.pause, now+duration(own))
	}
	c.pause = max(c.pause, later(now, retryAfter))
}

// judge draws the conclusions from the epoch that a refusal has ended, when
// the pause after it is over.
func (c *Controller) judge(now time.Duration, backlog float64) {
	quiet := max(seconds(now-c.last), 2*c.trip)
	if c.first {
		c.judgeFirst(now, quiet)
		return
	}
	// From one refusal to the next a bucket that was empty fills by the limit,
	// and a window is paid for in full: in both, what was accepted, over the
	// time since the last send before the silence, is never above the limit.
	k, took := float64(c.accepted), seconds(c.last-c.begin)
	if k > 0 {
		c.sumSent, c.sumTime = 0.7*c.sumSent, 0.7*c.sumTime
		c.needed = c.silence
	}
	c.sumSent, c.sumTime = c.sumSent+k, c.sumTime+took+c.quiet
	// Right to one request, that is: of few, nothing is proven, but by the
	// epochs together.
	whole := max(took+c.silence, 1e-3)
	proven := max((k-1)/whole, 0.5*k/whole, (c.sumSent-1)/max(c.sumTime, 1e-3))
	defer func() { c.quiet = quiet }()
	before := c.previous
	c.previous = epoch{k, took, c.silence}
	switch {
	case c.accepted == 0:
		// The silence was too short, so that it goes on. A bucket would have
		// filled: it is a window, or somebody else.
		c.burst = max(1, c.burst*c.c.creditDecay)
		c.silence += quiet
		if c.probes > 2 && c.silence*c.pace >= 2 {
			n, t := c.fastest(c.silence)
			c.pace = min(c.pace, n/(t+c.silence))
			c.lo, c.hi = c.pace, 1.5*c.pace
		}
		c.base = 0
		c.floor()
		return
	case c.granted >= 2 && c.sent-c.accepted <= c.granted && (c.refused.credit || c.paced < max(4, c.granted/4)):
		c.shrink()
	case c.granted >= 2 && math.Abs(k-before.accepted) < 0.05*k && math.Abs(took-before.took) > 0.1*took:
		// As many as before in another time: that is a window, in which the
		// burst is missing later.
		c.burst = max(1, c.burst/2)
	default:
		if c.granted >= 2 && c.refused.credit {
			c.shrink()
		}
		c.judgePace(k, took, proven, backlog)
	}
	copy(c.best[:], c.best[1:])
	c.best[len(c.best)-1] = proven
	c.pace = max(c.pace, c.proven())
	c.floor()
	c.silence = quiet
	c.busy, c.base = 0, 0
}

// judgeFirst makes a first guess from what was accepted until the first
// refusal. Nobody knows for how much of it the limit had saved up; the
// stretch that looks fastest is the one that ends here.
func (c *Controller) judgeFirst(now time.Duration, quiet float64) {
	k, took := c.fastest(quiet)
	c.lo, c.hi = k/(took+quiet), math.Inf(1)
	if _, hi, ok := c.overload(seconds(c.lateAt - c.lateFrom)); ok {
		// Only an upper bound, as answers may have overtaken each other.
		c.hi = max(c.lo, hi)
	}
	factor := c.c.firstFactor
	if c.trip > quiet/4 {
		factor = min(factor, 2)
	}
	c.pace = c.lo * (1 + (factor-1)*quiet/(quiet+4*took))
	if c.asked > 0 { // in which one request at least will be accepted
		c.pace = max(c.pace, 2/c.asked)
	}
	c.pace = min(c.pace, (1-c.c.margin)*math.Sqrt(c.lo*c.hi))
	before := k - float64(c.late) // the limit was used up then
	c.burst = max(1, before-c.pace*min(took, max(seconds(c.closed-c.begin)-c.trip, 0)))
	c.burst0 = max(before, 1)
	c.silence, c.quiet = quiet, quiet
	c.first = false
}

func (c *Controller) judgePace(k, took, proven, backlog float64) {
	most := c.refused.pace
	if n := c.refused.seq - c.raisedSeq; n >= 8 {
		if t := seconds(c.refused.at - c.raisedAt); t > 0 {
			most = min(most, float64(n)/t)
		}
	}
	lo, hi := proven, max(most, proven)
	if l, h, ok := c.overload(seconds(c.last - c.refused.at)); ok {
		lo, hi = min(max(lo, l), hi), max(min(hi, h), lo)
	}
	if c.raises == 0 {
		if took > 0 { // it was above the limit all the time
			hi = max(proven, min(hi, (k+1)/took))
		}
		lo, hi = c.compare(c.previous, lo, hi)
	}
	// Whatever the limit saves up, more than that came through only because the
	// limit allows it.
	for _, r := range c.paces {
		n, t := float64(c.refused.seq-1-r.seq), seconds(c.refused.at-r.at)
		if t > 0 {
			lo = max(lo, min((n-c.burst0)/t, hi))
		}
	}
	if c.base > 0 {
		over := float64(c.refused.seq-c.baseSeq) - c.base*seconds(c.refused.at-c.baseAt)
		if over <= 2*c.burst0 {
			// No more than what is saved up was to be had above the old pace.
			c.patience = min(2*c.patience, c.c.holdMost)
			c.lo, c.hi, c.pace = c.base, 1.1*c.base, c.base
			if c.burst0 < 5 { // that shows at once whatever is above the limit
				c.hi = max(c.hi, hi)
				c.pace = max(c.pace, (1-c.c.margin)*math.Sqrt(c.lo*c.hi))
			}
			return
		}
		c.patience = c.c.hold
	}
	c.lo, c.hi = lo, hi
	weight := 0.5 * min(1, backlog/hi/(10*c.silence))
	c.pace = (1 - c.c.margin) * lo * math.Pow(hi/lo, weight)
	if c.raises > 0 || proven > 0.7*c.refused.pace {
		c.strange = 0
		return
	}
	// Refused at a pace that had been fine: others may use the same limit.
	// Going down each time would leave it to them.
	if c.strange += took + c.silence; c.strange > 10*max(c.silence, 1/c.pace) {
		c.strange = 0
		c.pace = max(c.pace, min(1.5*max(c.proven(), proven), 1.25*c.pace))
		c.hi = max(c.hi, 2*c.pace)
	}
}

// shrink makes the burst smaller after it was refused: all before the refused
// request had been accepted.
func (c *Controller) shrink() {
	c.burst = max(1, min(c.c.creditDecay*c.burst, 0.9*float64(c.refused.seq-1)))
}

// overload returns what the requests say that were in flight at a refusal. If
// there were refused ones among them, they met a limit that was used up and
// asked for more than it: what was accepted then is the limit.
func (c *Controller) overload(t float64) (lo, hi float64, ok bool) {
	if c.late < 8 || c.lateRefused == 0 || t <= 0 {
		return 0, 0, false
	}
	n := float64(c.late)
	return (n - math.Sqrt(n)) / t, (n + math.Sqrt(n)) / t, true
}

// An epoch is what was accepted between two refusals, in how much time after
// how much silence.
type epoch struct{ accepted, took, silence float64 }

// compare narrows the bracket by what differs between this epoch and an
// earlier one. A bucket gives out what it has saved up, which is the same after
// the same silence, and then the limit: more time, more accepted, and the
// quotient of the differences is the limit. Where that does not hold, with a
// window, the quotient is below what is proven, and does no harm.
func (c *Controller) compare(e epoch, lo, hi float64) (float64, float64) {
	var than epoch
	longest := 0.0
	for _, p := range c.past {
		if d := math.Abs(e.took - p.took); d > longest {
			than, longest = p, d
		}
	}
	c.past = append(c.past, e)
	if len(c.past) > 4 {
		c.past = c.past[1:]
	}
	if longest == 0 {
		return lo, hi
	}
	if e.took < than.took {
		e, than = than, e
	}
	// Each count is right to about one request; if the silences differ, so may
	// what was saved up.
	more, time := e.accepted-than.accepted, e.took-than.took
	shift := e.silence - than.silence
	low := (more - 1.5) / max(time, time+shift)
	high := (more + 1.5) / max(min(time, time+shift), 1e-3)
	return min(max(lo, low), hi), min(max(high, lo), hi)
}

func (c *Controller) proven() float64 {
	best := 0.0
	for _, p := range c.best {
		best = max(best, p)
	}
	return best
}

// floor keeps the pace from falling below one request in two of the longest
// silences of late. Who comes less often than that learns nothing any more.
func (c *Controller) floor() {
	c.longest = max(c.silence, 0.8*c.longest)
	silence := c.asked
	if silence == 0 {
		silence = max(c.longest, 1)
	}
	c.pace = max(c.pace, 0.5/silence)
}

var Debug func(string, ...any)

func (c *Controller) start(now time.Duration) {
	if Debug != nil {
		Debug("%8.3f ep %d K %d sent %d paced %d granted %d took %.3f sil %.3f | refused seq %d credit %v pace %.3f raises %d base %.2f | lo %.3f hi %.3f x %.3f b %.1f trip %.3f probes %d\n", seconds(now), c.epoch, c.accepted, c.sent, c.paced, c.granted, seconds(c.last-c.begin), c.silence, c.refused.seq, c.refused.credit, c.refused.pace, c.raises, c.base, c.lo, c.hi, c.pace, c.burst, c.trip, c.probes)
	}
	c.open = true
	c.epoch++
	c.accepted, c.sent, c.paced, c.flying, c.raises = 0, 0, 0, 0, 0
	c.begin = now
	c.credit = math.Floor(min(c.burst, c.pace*c.silence))
	c.granted = int(c.credit)
	c.room = c.clock()
	c.next = now
	c.raisedAt, c.raisedSeq = now, 0
	c.paces = append(c.paces[:0], moment{now, 0})
}

// clock is how much of a burst may be in flight before the first answer.
func (c *Controller) clock() int { return 4 + int(min(c.lo*c.trip, 1e6)) }

// raise lets the pace rise where that can pay.
func (c *Controller) raise(now time.Duration, backlog float64) {
	step := max(c.c.stepSilence*c.silence, c.c.stepTrips*c.trip, c.c.stepSends/c.pace)
	if seconds(now-c.raisedAt) < step {
		return
	}
	long := backlog/c.pace > c.c.backlog*c.unit()
	if c.pace < 0.9*c.hi && c.base == 0 {
		// Too fast a pace shows only when what was saved up is spent.
		if over := c.pace - c.lo; !math.IsInf(c.hi, 1) && over > 0.05*c.lo && seconds(now-c.raisedAt) < c.burst/over {
			return
		}
		if long || c.busy > 10*c.unit() {
			c.setPace(now, c.pace*min(2, math.Sqrt(c.hi/c.pace)))
		}
		return
	}
	if c.base == 0 {
		hold := c.patience * c.unit()
		if c.busy < hold || !long && c.busy < 4*hold {
			return
		}
		c.base, c.over = c.pace, c.c.excess/2
		c.baseAt, c.baseSeq = now, c.sent
	} else {
		// So long that what is saved up would have been spent, were it too fast.
		held, above := seconds(now-c.raisedAt), c.pace-c.base
		if held < min((c.burst0+1)/above, 5*c.unit()) {
			return
		}
		if held*above >= c.burst0+1 {
			c.base = c.pace
			c.baseAt, c.baseSeq = now, c.sent
		}
	}
	c.over *= 2
	c.setPace(now, c.base*(1+c.over))
}

// unit is what longer times are measured in.
func (c *Controller) unit() float64 { return max(c.silence, 2*c.trip, 4/c.pace) }

func (c *Controller) setPace(now time.Duration, pace float64) {
	c.raises++
	c.pace = pace
	c.raisedAt, c.raisedSeq = now, c.sent
	c.paces = append(c.paces, moment{now, c.sent})
}

func seconds(d time.Duration) float64 { return d.Seconds() }

func duration(s float64) time.Duration {
	if s >= math.MaxInt64/1e9 {
		return math.MaxInt64
	}
	return time.Duration(s * 1e9)
}

// later is now+d, saturating.
func later(now, d time.Duration) time.Duration { return now + min(d, math.MaxInt64-now) }
