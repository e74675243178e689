// Package bracket finds the pace, in requests per second, that a rate limit allows. It
// learns from the outcomes of requests: a request is accepted, is refused and has to
// wait, or ends in a way that says nothing about the limit.
//
// The controller keeps a bracket: a pace that it believes to be good (lo) and a pace that
// it believes to be bad (hi). It usually sends requests at a pace between the two. After a
// refusal, it decides what to blame: the burst that was sent after a silence, the pace, a
// window that was full, or the number of requests in flight. It also counts requests,
// because the number accepted between two refusals bounds the limit from both sides. It
// remembers the best pace of the last 15 minutes and returns to that pace, because most
// trouble is temporary.
//
// An epoch is the time from one pause to the next, and a silence is the time before an
// epoch in which nothing but failed probes was sent. Long durations are measured in units:
// a unit is the silence that a pause caused (at most 90 s), two round trips or a second,
// whichever is longest. The same constants therefore work for 1 request per second and
// for 5000, and for a Retry-After of 1 s and of 60 s. A probe tests what the service
// accepts, with a raised pace or with a single request after a pause.
//
// docs/gate.md explains the rules.
package bracket

import (
	"math"
	"time"

	"github.com/iamhttp/iamhttp/internal/suspect"
)

// Constants are the tuning parameters of the controller.
type Constants struct {
	Margin      float64 // how far the pace stays below its target, as a fraction of the target
	FirstFactor float64 // maximum ratio of the first pace to the accepted rate, unless Retry-After suggests a higher pace
	StepSilence float64 // minimum time between two raises, in silences
	StepTrips   float64 // minimum time between two raises, in round trips; more than 1, so that a response arrives first
	StepSends   float64 // minimum time between two raises, in requests at the current pace; does not apply to a pace that has fallen
	Backlog     float64 // work that is waiting or has waited, in units, that makes a raise worth its risk
	Hold        float64 // busy time at a closed bracket, in units, before a higher pace is tried
	HoldMost    float64 // upper bound of that time, which doubles after a probe that found nothing
	Proof       float64 // duration of a step of a probe, in units, unless the step is proven sooner
	Excess      float64 // first step of a probe above its base, as a fraction of the base
	Decay       float64 // factor by which a burst shrinks, if not by more, after an early refusal or a failed probe
	OwnPause    float64 // lower bound of most pauses that the service did not ask for, in seconds
	OwnMost     float64 // upper bound of most of these pauses, in seconds
}

// Standard holds the values that New and Resume use. A test varies each value by up to
// half to show that none of them is critical; nothing else changes them.
var Standard = Constants{
	Margin:      0.03,
	FirstFactor: 4,
	StepSilence: 0.25,
	StepTrips:   1.25,
	StepSends:   4,
	Backlog:     3,
	Hold:        10,
	HoldMost:    25,
	Proof:       2,
	Excess:      0.05,
	Decay:       0.7,
	OwnPause:    0.25,
	OwnMost:     15,
}

const (
	leastLag = 2 * time.Millisecond  // lower bound of the longest timer delay that is made up for
	mostLag  = 10 * time.Millisecond // upper bound of it; between the bounds, it is the time of two turns
	mostPace = 1e6                   // requests per second
	known    = 4.0                   // for how many units the pace stays below most() if no upper bound of the limit is known
)

// A Send describes a request that was sent. It is passed to the method that reports the
// outcome of the request. The zero value stands for a request that was sent before the
// first refusal.
type Send struct {
	Turn   uint64           // set by a fleet that paces the request; a Controller ignores it
	To     suspect.Endpoint // set by the gate for the fleet's leader; a Controller ignores it
	epoch  uint32
	credit bool    // whether the request was part of the burst after a silence, or used a saved-up turn
	seq    int     // number of the request within its epoch, from 1
	flying int     // number of requests in flight when it was sent, including itself; 0 for an inner request
	waited bool    // whether others were waiting when it was sent, so that not all callers were in flight
	trial  bool    // whether it was a trial: see Controller.Trial
	pace   float64 // the pace when it was sent
	at     time.Duration
}

// A Mark records how many requests in total had been accepted at a given time.
type Mark struct {
	At       time.Duration
	Accepted int64
}

// A Controller decides when the requests of one account are sent. Create it with New on
// the first refusal, or with Resume. All times have the same origin and never decrease. A
// Controller is not safe for concurrent use.
type Controller struct {
	Constants

	// Late means that outcomes are reported some time after the responses. The number of
	// requests in flight then includes some that have a response.
	Late bool

	pause     time.Duration // time before which nothing is sent
	required  time.Duration // the latest end of a pause that the service has asked for
	open      bool          // whether the latest pause is over and the epoch has begun
	explained bool          // whether the latest refusal is blamed only on the number of requests in flight, or on a single fault
	probes    int           // number of pauses in a row, up to the latest, between which no accepted request was sent
	refused   Send          // the request whose refusal began the latest pause
	closed    time.Duration // when the latest pause began
	asked     float64       // wait in seconds that the service asked for with that refusal, or that Kept reported; 0: none, or too short to matter

	pace    float64       // requests per second
	lo, hi  float64       // the bracket
	burst   float64       // number of requests that the limit is expected to accept at once
	burst0  float64       // number of requests that the limit can save up, as an estimate
	trip    float64       // round trip in seconds, smoothed
	heard   bool          // whether trip is known, at least as an estimate
	timed   bool          // whether trip was measured rather than estimated
	notice  float64       // how long a refusal takes, in seconds, smoothed; before the first one that was timed, an upper bound, or 0 after Resume
	noticed bool          // whether a refusal was timed
	heardOn time.Duration // when the latest response to an accepted request arrived

	// silence is the length of the silence before the current epoch, in seconds. It
	// includes the time of failed probes; quiet is the part after the last failed probe.
	// wanted is silence without the time after a pause in which no request was waiting.
	silence, quiet, wanted float64
	// measure is wanted, capped so that a long idle time or outage does not slow the
	// controller down afterwards. Longer durations are derived from measure.
	measure float64

	tally  // the current epoch
	memory // earlier epochs
	probe  // the test of a higher pace

	chance    chance
	statement statement // the limit that the service has stated
	flight    flight
}

// A tally counts the events of an epoch.
type tally struct {
	epoch    uint32
	begin    time.Duration
	last     time.Duration // when the latest request was sent
	next     time.Duration // when the next paced request is due
	sent     int
	paced    int     // number of requests sent at the pace, without credit
	granted  int     // size of the burst at the beginning
	credit   float64 // number of requests that may be sent at once: the rest of the burst, and unused turns
	flying   int     // number of requests that were sent and have no outcome yet
	room     int     // how many requests of a burst may be in flight
	trial    bool    // whether the request that is sent next is a trial
	inner    bool    // whether there were inner requests, so that some requests in flight may not be on their way to the service
	accepted int
	unknown  int           // number of requests whose outcome says nothing about the limit
	gap      float64       // the longest time between two requests, in seconds
	idle     float64       // seconds during which the pace allowed requests, but none was waiting
	idleTo   time.Duration // time up to which idle has been counted
	used     int           // number of requests that have used the burst or saved-up turns, since the burst last grew
	regrown  bool          // whether the burst has grown again in this epoch
	arrived  time.Duration // when the request that is sent next, if it is the only one that waits, began to wait for its turn; 0: it did not have to
	busy     float64       // seconds during which requests waited only because of the pace
	raises   int           // number of times that the pace changed
	paces    []moment      // when each pace began
	latest   moment        // when the latest pace began to have an effect, which is after the burst

	// late and lateRefused are the numbers of requests that were in flight at the refusal
	// and were then accepted or refused. After the first epoch, late counts only requests
	// sent after the refused one. lateFrom and lateAt are the times at which the first
	// and the latest of the late requests were accepted.
	late, lateRefused int
	lateFrom, lateAt  time.Duration
}

// A moment is a time in an epoch, with the number of requests that had been sent by
// then.
type moment struct {
	at  time.Duration
	seq int
}

// A probe finds out whether the limit allows more than the bracket suggests.
type probe struct {
	base      float64 // the pace at which the probe began, or the highest that it has proven; 0: there is no probe
	began     float64 // the pace at which the probe began
	over      float64 // how far the pace is above the base, as a fraction of the base; not used if returning
	from      moment  // when base was set
	returning bool    // whether the probe leads back to the best recent pace
	holding   float64 // busy time at a closed bracket, in units, before the next probe
	before    float64 // the pace before its latest step
	again     bool    // whether its latest step was the first one, to the pace stood
}

// New returns a controller for an account that has just had its first refusal.
// marks, oldest first, record how many requests have been accepted so far; there must be
// at least one mark. flying is the number of requests in flight, including the refused
// one. trip is how long recent responses took; 0 means that none was timed. retryAfter is
// the wait that the service asked for, or 0.
func New(now time.Duration, marks []Mark, flying int, trip, retryAfter time.Duration) *Controller {
	oldest, newest := marks[0], marks[len(marks)-1]
	c := &Controller{Constants: Standard}
	c.begin, c.last = oldest.At, now
	c.marks, c.total = marks, newest.Accepted
	c.holding, c.patience = c.Hold, leastPatience
	if n := newest.Accepted - oldest.Accepted; n > 0 {
		// An estimate by Little's law; good enough until the first response is timed.
		c.trip = max(min(seconds(now-oldest.At)*float64(flying)/float64(n), seconds(now)), 0)
		if trip > 0 { // idle time makes the estimate too long
			c.trip = min(c.trip, 2*seconds(trip))
		}
		c.heard = true
	}
	c.notice = max(seconds(now), leastNotice) // an upper bound, if no request was sent before time 0
	c.flight.flying = flying
	c.flight.landed() // the refused request
	c.close(now, Send{at: now}, retryAfter)
	return c
}

// Pause prevents requests from being sent before the given time.
func (c *Controller) Pause(until time.Duration) { c.pause = max(c.pause, until) }

// Hasten lets a pause that is longer than the Retry-After end at the given time, or
// after a quarter of it if that is later.
func (c *Controller) Hasten(at time.Duration) {
	if c.asked > 0 {
		least := max(duration(c.asked), (c.pause-c.closed)/4)
		c.pause = min(c.pause, max(at, c.required, later(c.closed, least)))
	}
}

// Paused returns the time before which no request is sent.
func (c *Controller) Paused() time.Duration { return c.pause }

// Probes returns the number of pauses in a row, up to the latest, between which no
// accepted request was sent.
func (c *Controller) Probes() int { return c.probes }

// Probing reports whether nothing has been sent since the latest pause began.
func (c *Controller) Probing() bool { return !c.open || c.sent == 0 }

// Pace returns the pace, in requests per second.
func (c *Controller) Pace() float64 { return c.pace }

// Silence returns the length of the latest silence that the service required.
func (c *Controller) Silence() time.Duration { return duration(max(c.asked, c.measure)) }

// Earliest estimates the earliest time at which a request can be sent. ahead is the number of
// requests that are sent before it. A time in the past means now.
func (c *Controller) Earliest(now time.Duration, ahead int) time.Duration {
	from, n := max(now, c.pause), float64(ahead)
	switch {
	case c.flight.cap > 0:
		n -= float64(c.flight.cap + c.flight.extra)
	case c.statement.windowed && (c.probes <= 1 || c.accepted > 0):
		return max(c.pause, c.windowOf(n))
	case c.open && c.credit < 1 && (c.probes <= 1 || c.accepted > 0):
		from = max(from, c.next)
	case c.open && c.probes > 1 && c.accepted == 0 && c.unknown > 0 && c.flying == 0:
		from = max(from, c.nextProbe(now))
	case c.open:
		n -= c.credit
	case c.learned:
		n -= c.burst
	default: // as many requests as before may be accepted at once, including those that have no response yet
		n -= float64(c.total-c.marks[0].Accepted) + float64(c.flight.flying)
	}
	if n < 0 {
		return c.pause
	}
	took := n / c.most()
	if unit := max(c.unit(), seconds(c.pause-c.closed)); (!c.learned || math.IsInf(c.hi, 1)) && took > known*unit {
		// Little is known about the limit, so the pace may then double once per unit.
		took = unit * (known + math.Log2(1+(took/unit-known)*math.Ln2))
	}
	return later(from, duration(took))
}

// most returns a pace that is unlikely to be exceeded soon.
func (c *Controller) most() float64 {
	switch {
	case !c.learned:
		k, took := c.fastest(seconds(c.pause - c.closed))
		k += float64(c.flight.flying) // refusals may have overtaken responses
		return c.FirstFactor * k / max(took+seconds(c.pause-c.closed), shortest)
	case c.guessed:
		return math.Inf(1)
	case c.flight.cap > 0:
		return 2 * max(c.pace, float64(c.flight.cap)/max(c.trip, shortest))
	case c.pace < 0.9*c.hi || len(c.proven) == 0:
		return max(4*c.pace, c.best)
	}
	return max(1.5*c.pace, c.best)
}

// Next returns the time at which the next request may be sent. If that is not later than
// now, the request may be sent at once. After a response, call Next again, because the
// time may have become earlier. backlog is the number of waiting requests.
func (c *Controller) Next(now time.Duration, backlog int) time.Duration {
	c.trial = false
	if now < c.pause {
		return c.pause
	}
	c.begins(now, backlog)
	switch {
	case c.flight.cap > 0:
		return c.nextByCap(now)
	case c.probes > 1 && c.accepted == 0: // send one probe and wait for its outcome
		return c.nextProbe(now)
	case c.credit >= 1:
		if c.flying >= c.room {
			return c.last + c.refusedBy()
		}
		return now
	case c.statement.windowed:
		return c.byWindow(now)
	}
	return c.next
}

// nextProbe returns the time at which the next probe may be sent after a failed one. If the pace
// is slow, probes are sent faster, because they also find out whether an outage is over.
func (c *Controller) nextProbe(now time.Duration) time.Duration {
	switch {
	case c.flying > 0:
		return c.last + c.lost()
	case c.unknown > 0: // a service in trouble must not get requests as fast as it fails them
		return min(c.next, c.last+c.lost())
	}
	return now
}

// NextInner is like Next for an inner request. Another request waits for its result, and
// has used a turn but is not yet on its way to the service. An inner request waits for
// the end of a pause and, if the pace or a window decides, for its turn. It never waits
// for the responses to other requests, because these may be waiting for it.
func (c *Controller) NextInner(now time.Duration, backlog int) time.Duration {
	if now < c.pause {
		return c.pause
	}
	c.inner = true
	c.begins(now, backlog)
	switch {
	case c.flight.cap > 0, c.probes > 1 && c.accepted == 0, c.credit >= 1:
		return now
	case c.statement.windowed:
		return c.byWindow(now)
	}
	return c.next
}

// SentInner is like Sent for a request that NextInner has admitted. The number of requests
// in flight when it was sent proves nothing, because some of them are not on their way to
// the service.
func (c *Controller) SentInner(now time.Duration, backlog int) Send {
	s := c.Sent(now, backlog)
	s.flying, c.inner = 0, true
	return s
}

// begins starts an epoch if a pause has ended.
func (c *Controller) begins(now time.Duration, backlog int) {
	if c.open {
		return
	}
	first := !c.learned
	c.judge(now, float64(backlog))
	c.consider(first)
	c.start(now)
	switch s := &c.statement; {
	case !s.windowed:
	case c.refused.trial && c.asked == 0 && now < later(s.opened, duration(s.per)): // as expected
		c.credit, c.granted = 0, 0
	default:
		s.opened = now
		c.fill()
	}
}

// leastLost is a lower bound of lost. It is not a whole second, because many responses take
// just that long, and would then arrive at the very moment at which they are given up.
const leastLost = 1001 * time.Millisecond

// lost returns how long to wait for a response before the next request is sent without
// it, because one slow request must not stall the others.
func (c *Controller) lost() time.Duration {
	return min(max(duration(4*c.trip), leastLost), duration(c.OwnMost))
}

// refusedBy returns how long after it was sent a request would usually have been refused.
func (c *Controller) refusedBy() time.Duration {
	switch {
	case c.quick():
		return duration(c.delay())
	case c.timed:
		return min(duration(2*c.trip), c.lost())
	}
	return c.lost()
}

// start begins an epoch.
func (c *Controller) start(now time.Duration) {
	c.open = true
	credit := math.Floor(min(c.burst, c.pace*c.silence))
	next := now
	if c.probes <= 1 && c.burst < 2 && c.heardAt > 0 { // the limit saves up nothing, so the next request is due when the pace says
		next = max(now, later(c.heardAt, duration(1/c.pace)))
	}
	c.tally = tally{
		epoch:   c.epoch + 1,
		begin:   now,
		last:    c.last,
		next:    next,
		credit:  credit,
		granted: int(credit),
		room:    c.clock(),
		paces:   append(c.paces[:0], moment{now, 0}),
		latest:  moment{now, 0},
	}
}

// clock returns how many requests of a burst may be in flight before the first response.
func (c *Controller) clock() int { return 4 + int(min(c.lo*c.trip, 1e6)) }

// Sent reports that a request uses the turn that Next has offered. It returns the Send
// with which to report the outcome.
func (c *Controller) Sent(now time.Duration, backlog int) Send {
	c.sent++
	c.flying++
	c.flight.flying++
	c.gap = max(c.gap, seconds(now-max(c.last, c.begin)))
	c.last = now
	s := Send{epoch: c.epoch, seq: c.sent, flying: c.flight.flying, waited: backlog > 0, trial: c.trial, pace: c.pace, at: now, credit: c.credit >= 1}
	c.trial = false
	if c.flight.cap > 0 {
		return s
	}
	gap := 1 / c.pace
	if s.credit {
		c.credit--
		c.used++
		c.next = later(now, duration(gap))
		c.latest = moment{now, c.sent}
		return s
	}
	if c.paced++; c.paced == 1 {
		c.latest = moment{now, c.sent - 1}
	}
	switch {
	case backlog > 0:
		c.busy += gap
	case c.arrived > 0:
		c.busy += min(seconds(now-c.arrived), gap)
	}
	c.arrived = 0
	// Timers always fire late, so the next turn is counted from the time at which this
	// one was due. But a process that was suspended must not make up for lost turns in a
	// burst. A probe and an inner request may be sent before their turns, which must not
	// delay later requests, however many fail.
	due := max(c.next, now-min(max(duration(2*gap), leastLag), mostLag))
	c.next = later(min(due, now), duration(gap))
	c.raise(now, float64(backlog))
	return s
}

// Idle reports that no request has been waiting, so the turns that have come due are
// unused. Unused turns are saved up, but never more than the burst that the limit
// accepts. If a whole burst was accepted, and has been saved up again, the next may be twice
// as large: a burst may have shrunk because others used the limit for a while.
func (c *Controller) Idle(now time.Duration) {
	c.arrived = 0
	if c.open && now < c.next {
		c.arrived = now
	}
	if !c.open || now <= c.next || now < c.pause || c.statement.windowed {
		return
	}
	c.idle += seconds(now - max(c.next, c.idleTo))
	c.idleTo = now
	n := math.Floor(seconds(now-c.next) * c.pace)
	if whole := math.Floor(c.burst); c.burst < c.burst0 && float64(c.used) >= whole && n >= whole-c.credit {
		c.burst, c.used, c.regrown = min(2*c.burst, c.burst0), 0, true
	}
	if most := math.Floor(c.burst) - c.credit; n >= most {
		c.credit += max(most, 0)
		c.next = now
	} else {
		c.credit += n
		c.next += duration(n / c.pace)
	}
	c.room = max(c.room, c.flying+c.clock())
}

// Unsend undoes Sent for a request that was not sent after all.
func (c *Controller) Unsend(s Send) {
	c.flight.landed()
	if s.epoch != c.epoch || !c.open {
		if s.epoch == c.epoch && s.pace > 0 && !s.credit { // the turn was on its way to another process when the pause began
			c.last = max(c.last-duration(1/s.pace), c.refused.at)
		}
		return
	}
	c.flying--
	c.sent--
	switch {
	case c.flight.cap > 0: // the pace did not limit the request
	case s.credit:
		c.credit = min(c.credit+1, math.Floor(c.burst))
	default:
		c.paced--
		c.next -= duration(1 / s.pace)
	}
}

// Accepted reports that a request got a response that shows that it was not refused.
func (c *Controller) Accepted(now time.Duration, s Send) {
	c.flight.landed()
	c.capAccepted(s)
	c.heardAt, c.heardOn = max(c.heardAt, s.at), now
	if s.at > 0 {
		trip := seconds(now - s.at)
		if !c.timed {
			c.trip, c.heard, c.timed = trip, true, true
		}
		// The bound keeps a few slow responses, such as long polls, from hiding how long
		// the others take.
		c.trip += (min(trip, 2*c.trip+shortest) - c.trip) / 8
	}
	if s.epoch != c.epoch {
		return
	}
	// Requests that were in flight at the refusal count too, because most of the accepted
	// requests are among them if responses are slow.
	if c.accepted++; c.accepted == 1 && c.learned {
		c.marks = append(c.marks[:0], Mark{c.begin, c.total})
	}
	c.total++
	c.mark(now)
	c.flying--
	c.room++
	if c.open {
		c.doubt(now, s)
	}
	if !c.open && (!c.learned || s.at > c.refused.at) {
		if c.late++; c.late == 1 {
			c.lateFrom = now
		}
		c.lateAt = now
	}
}

// Unknown reports that a request has ended in a way that says nothing about the limit,
// and nothing about the round trip, such as a timeout or a 5xx.
func (c *Controller) Unknown(_ time.Duration, s Send) {
	c.flight.landed()
	if s.epoch == c.epoch {
		c.flying--
		c.room++
		c.unknown++
	}
}

// Trip returns the duration of a round trip, or 0 if it is not known.
func (c *Controller) Trip() time.Duration {
	if !c.heard {
		return 0
	}
	return duration(c.trip)
}

// Refused reports that a request was refused. retryAfter is the wait that the service
// asked for, or 0. Refused returns true if a new pause begins. It returns false for
// requests that were in flight when a pause began: their refusals can delay the next
// request, but do not begin a pause.
func (c *Controller) Refused(now time.Duration, s Send, retryAfter time.Duration) bool {
	c.flight.landed()
	c.required = max(c.required, later(now, retryAfter))
	switch {
	case s.at > 0:
		c.notices(max(seconds(now-s.at), leastNotice))
	case !c.noticed:
		c.notice = max(c.notice, seconds(now)) // a bound, as in New
	}
	if s.epoch == c.epoch {
		c.flying--
		if c.open {
			c.close(now, s, retryAfter)
			return true
		}
		c.lateRefused++
	}
	c.Pause(later(now, retryAfter))
	return false
}

// close begins a pause.
func (c *Controller) close(now time.Duration, s Send, retryAfter time.Duration) {
	if c.probes++; c.accepted > 0 || !c.learned {
		c.probes = 1
		c.ended = s.at
	} else if s.trial {
		c.probes = max(c.probes-1, 1) // it says nothing new
	}
	c.open = false
	c.refused, c.closed, c.asked = s, now, seconds(retryAfter)
	c.Pause(later(now, retryAfter))
	if c.asked < c.OwnPause { // too short to say anything about the pace, so treat it as none
		c.asked = 0
	}
	switch c.explained = s.trial || c.learned && c.capRefused(now, s); {
	case s.trial:
	case c.explained:
		if held := seconds(c.last - c.begin); held >= lasting { // the service accepted the pace that resulted from the cap
			c.remember(now, float64(c.accepted)/held, c.quiet)
		}
		if c.flight.reaches(s) {
			return // after Retry-After, the next request waits only until one in flight has landed
		}
	}
	if c.asked > 0 && c.probes == 1 {
		return
	}
	// The service did not ask for a wait, or the wait was too short.
	own, most := max(c.OwnPause, 2*c.delay()), c.OwnMost
	if !c.timed {
		own = max(c.OwnPause, min(2*c.delay(), 1))
	}
	if c.asked > 0 {
		most = min(most, 8*c.asked)
	} else if c.learned {
		// Wait half as long as was needed before, up to a bound. Without the bound,
		// random refusals would make each pause longer than the previous one.
		own = max(own, min(1/c.pace, c.needed/2, 4*c.OwnPause))
	}
	own = min(own*math.Pow(2, float64(c.probes-1)), most)
	if !s.trial {
		own = c.untilWindow(now, own)
	}
	c.Pause(now + duration(own))
}

// raise increases the pace if that is likely to pay off.
func (c *Controller) raise(now time.Duration, backlog float64) {
	held, unit := seconds(now-c.latest.at), c.unit()
	if !c.heard || c.pace >= mostPace || held < c.step() || !c.tested() {
		return
	}
	if c.unknown > 0 && c.heardAt < c.latest.at || !c.responding(now) { // failures and silence do not prove a pace
		return
	}
	switch {
	case c.base > 0:
		proof := (c.burst0+1)/(c.pace-c.base) + c.StepTrips*c.delay()
		if c.returning { // pauses at the best pace may be shorter than the latest one
			unit = max(c.cost, 2*c.delay(), 1)
		}
		longest := c.Proof * unit
		if c.again {
			longest *= 4
		}
		if held < min(proof, longest) {
			return // a pace that is too high is noticed only when the saved-up requests are used up
		}
		// When the limit refused a request, nothing was saved up. If the limit were at the base,
		// it would have accepted at most base requests per second since then.
		more := float64(c.passed(now)-1) > c.base*seconds(now-c.refused.at)
		if held >= proof || more { // the pace is not too high, so the limit may have changed since the past epochs
			c.base, c.from = c.pace, moment{now, c.sent}
			c.over = min(c.over, 0.25)
			if c.slow() {
				c.over = 0.5 // double the pace again
			}
			c.past = c.past[:0]
			if c.again {
				c.over = c.Excess / 2
			}
		}
		c.again = false
	case c.fallen() && c.failures < mostFailures:
		if c.busy < c.patience*max(c.cost, 2*c.delay()) {
			return
		}
		c.probe = probe{base: c.pace, began: c.pace, from: moment{now, c.sent}, returning: true, holding: c.holding}
	case c.pace < 0.9*c.hi || len(c.proven) == 0: // the bracket is open
		// As above, a pace that is too high is noticed only when the saved-up requests
		// are used up, or in the next window.
		over, saved := c.pace-c.lo, max(c.burst, c.burst0-float64(c.granted))
		if !math.IsInf(c.hi, 1) && over > 0.05*c.lo && held < min(saved/over, 2*unit) {
			return
		}
		if max(c.busy, backlog/c.pace) > c.Backlog*unit {
			least := 1.0
			if len(c.proven) == 0 { // hi is a guess
				least = 1.25
			}
			c.setPace(now, c.pace*min(2, max(math.Sqrt(c.hi/c.pace), least)))
		}
		return
	default:
		hold := c.holding * unit
		switch {
		case c.slow():
			hold = min(hold, 5/c.pace)
		case c.fallen():
			hold = min(hold, c.patience*max(c.cost, 2*c.delay()))
		}
		if c.busy < hold {
			return
		}
		c.remember(now, c.pace, c.cost)
		c.failures = 0
		c.probe = probe{base: c.pace, began: c.pace, from: moment{now, c.sent}, over: c.Excess / 2, holding: c.holding}
		if c.slow() {
			c.over = 0.5
		}
		if c.stood > leastStep*c.pace {
			c.again, c.over = true, (c.stood/c.pace-1)/2
		}
		c.stood = 0
	}
	if c.returning {
		c.comeBack(now)
		return
	}
	c.over *= 2
	c.before = c.pace
	c.setPace(now, c.base*(1+c.over))
}

// comeBack raises the pace halfway to the best one, on a logarithmic scale, or all the
// way if halfway is close enough. At the best pace, the bracket is as open as it was when
// that pace was found, because callers may not have asked for more, but hi is at least 1.1
// times and at most twice that pace.
func (c *Controller) comeBack(now time.Duration) {
	if to := math.Sqrt(c.pace * c.best); to < nearly*c.best {
		c.setPace(now, to)
		return
	}
	c.setPace(now, c.best)
	c.hi = max(1.1*c.best, min(c.bestHi, 2*c.best))
	c.base, c.returning, c.busy = 0, false, 0
}

// slow reports whether the pace is slower than one request in the longest pause that the
// controller chooses on its own. It is then raised sooner and in larger steps, because it
// would otherwise take half an hour to notice that the limit has risen, while a refusal
// costs little time.
func (c *Controller) slow() bool { return 1/c.pace > c.OwnMost }

// fallen reports whether the pace is well below the best recent one.
func (c *Controller) fallen() bool { return c.pace < nearly*c.best }

// step returns the minimum time for which a pace is kept before it is raised, in seconds.
func (c *Controller) step() float64 {
	if c.fallen() {
		return max(c.StepSilence*c.cost, c.StepTrips*c.delay())
	}
	return max(c.StepSilence*c.measure, c.StepTrips*c.delay(), c.StepSends/c.pace)
}

// unit returns the unit of longer durations, in seconds.
func (c *Controller) unit() float64 { return max(c.measure, 2*c.delay(), 1) }

func (c *Controller) setPace(now time.Duration, pace float64) {
	c.raises++
	c.pace = min(pace, mostPace)
	c.latest = moment{now, c.sent}
	c.paces = append(c.paces, c.latest)
}

func seconds(d time.Duration) float64 { return d.Seconds() }

func duration(s float64) time.Duration {
	if !(s < math.MaxInt64/1e9) { // also true for NaN, which must not become a short time
		return math.MaxInt64
	}
	return time.Duration(s * 1e9)
}

// later returns now+d, saturating.
func later(now, d time.Duration) time.Duration { return now + min(d, math.MaxInt64-max(now, 0)) }
