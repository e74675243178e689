// Package bracket finds the pace that a rate limit allows from nothing but
// the answers: accepted, or refused and come back later.
//
// It keeps a pace that was proven good (lo) and one that was proven bad (hi)
// and sends between the two. It asks of each refusal what was to blame: the
// burst that left after a silence, the pace, a window that was full, or the
// number of requests in flight. And it counts: what was accepted between two
// refusals bounds the limit from both sides. It remembers the best pace of the
// last minutes and goes back to it, because most trouble ends.
//
// A silence is the quiet time before an epoch, an epoch the time from one pause
// to the next. Lengths of time are measured in silences, round trips or seconds,
// whichever is longest, so that one set of constants serves 1 request a second
// as well as 5000, and a Retry-After of 1 s as well as 60.
//
// docs/gate.md explains each rule.
package bracket

import (
	"math"
	"time"
)

// Constants are the tuning parameters of the controller.
type Constants struct {
	Margin      float64 // how far below the pace that is aimed at to stay
	FirstFactor float64 // the first pace, at most this much above the proven one
	StepSilence float64 // between two raises: silences,
	StepTrips   float64 // round trips; below 1 it would raise without having heard,
	StepSends   float64 // and requests
	Backlog     float64 // units of backlog that make a raise worth its price
	Hold        float64 // units at a closed bracket before the limit is tried again
	HoldMost    float64 // the same after tries that found nothing
	Proof       float64 // units that a small step above it lasts, if nothing proves it sooner
	Excess      float64 // first step above a closed bracket
	Decay       float64 // of a burst that was refused
	OwnPause    float64 // seconds, where the service names none
	OwnMost     float64 // the same after many in a row
}

// Standard is what New uses. A test varies each by half, to show that none of
// them is an edge; nothing else changes it.
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
	mostLag  = 10 * time.Millisecond // of a timer, that is made up for
	mostPace = 1e6                   // requests per second
	unproven = 0.4                   // above its base: as far as a probe goes without proof
)

// A Send is one request that left, as Accepted and Refused want to know it
// again. The zero value is one that left before the first refusal.
type Send struct {
	Turn   uint64 // of the fleet, for whoever paces it; nothing to a Controller
	epoch  uint32
	credit bool    // part of the burst after a silence
	seq    int     // in its epoch, from 1
	flying int     // in flight with it, itself included
	waited bool    // others waited when it left: not all callers were in flight
	pace   float64 // when it left
	at     time.Duration
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
	Constants

	// Late says that outcomes are told some time after the answers. Nothing can then
	// be said of the number in flight.
	Late bool

	pause     time.Duration // nothing leaves before this
	open      bool          // requests have left since the latest refusal
	explained bool          // by the number in flight
	probes    int           // pauses in a row that ended in a refusal, the current one included
	refused   Send          // the one that began the latest pause
	closed    time.Duration // when it did
	asked     float64       // the Retry-After that came with it, in seconds

	pace   float64 // requests per second
	lo, hi float64 // the bracket
	burst  float64 // requests that the limit was seen to take at once
	burst0 float64 // the first of these, before anything was learned
	trip   float64 // seconds from a request to its answer, smoothed
	heard  bool    // of any answer that says how long that is
	timed  bool    // trip is no estimate

	// silence is how long it was quiet before the current epoch, failed probes
	// included, in seconds; quiet is the last part of it. wanted is how much of
	// it the service had for itself, though somebody waited.
	silence, quiet, wanted float64
	// measure is what longer times are measured by: wanted, capped so that a long
	// idle time or outage does not slow the controller down afterwards.
	measure float64

	tally  // of the current epoch
	memory // of the earlier ones
	probe  // above a closed bracket

	statement statement // of the limit, by the service
	flight    flight
}

// A tally counts what happens in an epoch, the time from one pause to the next.
type tally struct {
	epoch    uint32
	begin    time.Duration
	last     time.Duration // the latest send
	next     time.Duration // when the next paced one is due
	sent     int
	paced    int     // of them, after the burst
	granted  int     // the burst at the beginning
	credit   float64 // what is left of it, and what was saved up since
	flying   int     // sent and not answered
	room     int     // how many of a burst may be
	accepted int
	unknown  int      // ended in a way that says nothing of the limit
	busy     float64  // seconds in which requests waited for the pace alone
	raises   int      // of the pace
	paces    []moment // when each pace began
	latest   moment   // when the latest began to show: a burst does not count

	// Accepted and refused after the refusal, of those that had been in flight.
	late, lateRefused int
	lateFrom, lateAt  time.Duration
}

// A moment in an epoch: so many had been sent then.
type moment struct {
	at  time.Duration
	seq int
}

// A probe is the try whether there is more to be had than the closed bracket
// says.
type probe struct {
	base      float64 // the pace that was last proven in it; 0: there is none
	began     float64 // the pace that it started from
	over      float64 // how far above the base the pace is now, as a share
	from      moment  // when the base began
	returning bool    // it goes back to the best pace of the last minutes
	holding   float64 // units to hold a closed bracket before the next one
}

// New returns the controller of an account that was just refused for the first
// time. marks, oldest first, say what had been accepted until now; there must
// be one at least. flying is how many requests were on their way, retryAfter
// the wait that the service asked for, 0 if none.
func New(now time.Duration, marks []Mark, flying int, retryAfter time.Duration) *Controller {
	oldest, newest := marks[0], marks[len(marks)-1]
	c := &Controller{Constants: Standard}
	c.begin, c.last = oldest.At, now
	c.marks, c.total = marks, newest.Accepted
	c.holding, c.patience = c.Hold, leastPatience
	if n := newest.Accepted - oldest.Accepted; n > 0 {
		// Little's law; good enough until the first answer is timed.
		c.trip = min(seconds(now-oldest.At)*float64(flying)/float64(n), seconds(now))
		c.heard = true
	}
	c.flight.flying = flying
	c.flight.landed() // the refused one
	c.close(now, Send{at: now}, retryAfter)
	return c
}

// Pause makes nothing leave before the time given.
func (c *Controller) Pause(until time.Duration) { c.pause = max(c.pause, until) }

// Paused returns the time before which nothing leaves.
func (c *Controller) Paused() time.Duration { return c.pause }

// Probes returns how many pauses in a row have ended in nothing but a refusal.
func (c *Controller) Probes() int { return c.probes }

// Probing reports whether nothing has left since the latest pause.
func (c *Controller) Probing() bool { return !c.open || c.sent == 0 }

// Pace returns how many requests leave in a second while requests wait.
func (c *Controller) Pace() float64 { return c.pace }

// Silence returns how long a silence the service wanted last.
func (c *Controller) Silence() time.Duration { return duration(max(c.asked, c.measure)) }

// Earliest returns the time before which a request with so many others ahead of it
// certainly does not leave.
func (c *Controller) Earliest(now time.Duration, ahead int) time.Duration {
	from, n := max(now, c.pause), float64(ahead)
	switch {
	case c.flight.cap > 0:
		n -= float64(c.flight.cap + c.flight.extra)
	case c.open:
		n -= c.credit
	case c.learned:
		n -= c.burst
	default: // whatever was accepted may be had again
		n -= float64(c.total - c.marks[0].Accepted)
	}
	if n < 0 || c.statement.windowed {
		return c.pause
	}
	return later(from, duration(n/c.most()))
}

// most is a pace that is higher than any to come soon.
func (c *Controller) most() float64 {
	switch {
	case !c.learned:
		k, took := c.fastest(seconds(c.pause - c.closed))
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

// Next returns when the next request may leave, now or a time that has passed
// meaning at once. An answer that comes until then may make it earlier. backlog
// is how many requests wait.
func (c *Controller) Next(now time.Duration, backlog int) time.Duration {
	if now < c.pause {
		return c.pause
	}
	if !c.open {
		first := !c.learned
		c.judge(now, float64(backlog))
		c.consider(first)
		c.start(now)
		if c.statement.windowed {
			c.statement.opened = now
			c.fill()
		}
	}
	switch {
	case c.flight.cap > 0:
		return c.nextByCap(now)
	case c.probes > 1 && c.accepted == 0: // one probe, and wait for what it brings
		if c.flying > 0 {
			return c.last + c.lost()
		}
		return now
	case c.credit >= 1:
		if c.flying >= c.room {
			return c.last + c.lost()
		}
		return now
	case c.statement.windowed:
		return c.byWindow(now)
	}
	return c.next
}

// lost is after how long no answer is waited for: one slow request must not
// stall the others.
func (c *Controller) lost() time.Duration { return duration(max(4*c.trip, 1)) }

// start begins an epoch.
func (c *Controller) start(now time.Duration) {
	c.open = true
	credit := math.Floor(min(c.burst, c.pace*c.silence))
	c.tally = tally{
		epoch:   c.epoch + 1,
		begin:   now,
		last:    c.last,
		next:    now,
		credit:  credit,
		granted: int(credit),
		room:    c.clock(),
		paces:   append(c.paces[:0], moment{now, 0}),
		latest:  moment{now, 0},
	}
}

// clock is how much of a burst may be in flight before the first answer.
func (c *Controller) clock() int { return 4 + int(min(c.lo*c.trip, 1e6)) }

// Sent takes the turn that Next gives now.
func (c *Controller) Sent(now time.Duration, backlog int) Send {
	c.sent++
	c.flying++
	c.flight.flying++
	c.last = now
	s := Send{epoch: c.epoch, seq: c.sent, flying: c.flight.flying, waited: backlog > 0, pace: c.pace, at: now, credit: c.credit >= 1}
	if c.flight.cap > 0 {
		return s
	}
	gap := 1 / c.pace
	if s.credit {
		c.credit--
		c.next = later(now, duration(gap))
		c.latest = moment{now, c.sent}
		return s
	}
	if c.paced++; c.paced == 1 {
		c.latest = moment{now, c.sent - 1}
	}
	if backlog > 0 {
		c.busy += gap
	}
	// A timer is always late: the next turn counts from when this one was due,
	// but a process that was stopped does not make up for it in a burst.
	c.next = later(max(c.next, now-min(duration(2*gap), mostLag)), duration(gap))
	c.raise(now, float64(backlog))
	return s
}

// Idle tells that since the latest turn was due nobody wanted it: what is not
// used is saved up, as far as the limit was seen to save it up too.
func (c *Controller) Idle(now time.Duration) {
	if !c.open || now <= c.next || now < c.pause || c.statement.windowed {
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
	c.flight.landed()
	if s.epoch != c.epoch || !c.open {
		if s.epoch == c.epoch && s.pace > 0 && !s.credit { // it was on its way to another process when the pause began
			c.last = max(c.last-duration(1/s.pace), c.refused.at)
		}
		return
	}
	c.flying--
	c.sent--
	switch {
	case c.flight.cap > 0: // it took nothing of the pace
	case s.credit:
		c.credit++
	default:
		c.paced--
		c.next -= duration(1 / s.pace)
	}
}

// Accepted tells that a request was answered and not refused.
func (c *Controller) Accepted(now time.Duration, s Send) {
	c.flight.landed()
	c.capAccepted(s)
	c.heardAt = max(c.heardAt, s.at)
	if s.at > 0 {
		trip := seconds(now - s.at)
		if !c.timed {
			c.trip, c.heard, c.timed = trip, true, true
		}
		c.trip += (trip - c.trip) / 8
	}
	if s.epoch != c.epoch {
		return
	}
	// Those that were in flight at the refusal count too: with slow answers
	// they are most of what the limit let through.
	if c.accepted++; c.accepted == 1 && c.learned {
		c.marks = append(c.marks[:0], Mark{c.begin, c.total})
	}
	c.total++
	c.mark(now)
	c.flying--
	c.room++
	if !c.open && (!c.learned || s.at > c.refused.at) {
		if c.late++; c.late == 1 {
			c.lateFrom = now
		}
		c.lateAt = now
	}
}

// Unknown tells that a request has ended in a way that says nothing of the limit, nor
// of how long an answer takes: it may have run into a timeout.
func (c *Controller) Unknown(_ time.Duration, s Send) {
	c.flight.landed()
	if s.epoch == c.epoch {
		c.flying--
		c.room++
		c.unknown++
	}
}

// Trip returns how long an answer takes, 0 if that is not known.
func (c *Controller) Trip() time.Duration {
	if !c.heard {
		return 0
	}
	return duration(c.trip)
}

// Refused tells that a request was refused, with the wait that the service
// asked for, 0 if none. It reports whether that begins a new pause; the others
// were in flight when the door closed and say nothing new.
func (c *Controller) Refused(now time.Duration, s Send, retryAfter time.Duration) bool {
	c.flight.landed()
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
	}
	c.open = false
	c.refused, c.closed, c.asked = s, now, seconds(retryAfter)
	c.Pause(later(now, retryAfter))
	if c.asked < c.OwnPause { // too short to mean a pace: as good as none
		c.asked = 0
	}
	if c.explained = c.learned && c.capRefused(now, s); c.explained {
		return // the next one leaves when one of those in flight has landed
	}
	if c.asked > 0 && c.probes == 1 {
		return
	}
	// The service names no time, or the time that it named was too short.
	own, most := max(c.OwnPause, 2*c.trip), c.OwnMost
	if !c.timed {
		own = max(c.OwnPause, min(2*c.trip, 1))
	}
	if c.asked > 0 {
		most = min(most, 8*c.asked)
	} else if c.learned {
		// What was needed before, but not so much that a pause makes the next one
		// longer, where it is by chance that requests are refused.
		own = max(own, min(1/c.pace, c.needed/2, 4*c.OwnPause))
	}
	c.Pause(now + duration(c.untilWindow(now, min(own*math.Pow(2, float64(c.probes-1)), most))))
}

// raise lets the pace rise where that can pay.
func (c *Controller) raise(now time.Duration, backlog float64) {
	held, unit := seconds(now-c.latest.at), c.unit()
	if !c.heard || c.pace >= mostPace || held < c.step() || !c.tested() {
		return
	}
	if c.unknown > 0 && c.heardAt < c.latest.at { // errors alone prove no pace
		return
	}
	switch {
	case c.base > 0:
		proof := (c.burst0+1)/(c.pace-c.base) + c.StepTrips*c.trip
		if held < proof && (held < c.Proof*unit || c.over >= unproven) {
			return // a pace that is too fast shows only when what was saved up is spent
		}
		if held >= proof { // it is not too fast, and what was learned before is of another limit
			c.base, c.from = c.pace, moment{now, c.sent}
			c.over = min(c.over, 0.25)
			c.past = c.past[:0]
		}
	case c.fallen():
		if c.busy < c.patience*max(c.cost, 2*c.trip) {
			return
		}
		c.probe = probe{base: c.pace, began: c.pace, from: moment{now, c.sent}, returning: true, holding: c.holding}
	case c.pace < 0.9*c.hi || len(c.proven) == 0: // the bracket is open
		// As above, or in the next window.
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
		if c.busy < c.holding*unit {
			return
		}
		c.remember(now, c.pace, c.cost)
		c.probe = probe{base: c.pace, began: c.pace, from: moment{now, c.sent}, over: c.Excess / 2, holding: c.holding}
	}
	if c.returning {
		c.comeBack(now)
		return
	}
	c.over *= 2
	c.setPace(now, c.base*(1+c.over))
}

// comeBack raises the pace half of the way to the best one, in the logarithm.
func (c *Controller) comeBack(now time.Duration) {
	if to := math.Sqrt(c.pace * c.best); to < nearly*c.best {
		c.setPace(now, to)
		return
	}
	c.setPace(now, c.best)
	c.hi = 1.1 * c.best
	c.base, c.returning, c.busy = 0, false, 0
}

// fallen reports whether the pace is far below the best of the last minutes.
func (c *Controller) fallen() bool { return c.pace < nearly*c.best }

// step is how long a pace is kept at least.
func (c *Controller) step() float64 {
	if c.fallen() {
		return max(c.StepSilence*c.cost, c.StepTrips*c.trip)
	}
	return max(c.StepSilence*c.measure, c.StepTrips*c.trip, c.StepSends/c.pace)
}

// unit is what longer times are measured in.
func (c *Controller) unit() float64 { return max(c.measure, 2*c.trip, 1) }

func (c *Controller) setPace(now time.Duration, pace float64) {
	c.raises++
	c.pace = min(pace, mostPace)
	c.latest = moment{now, c.sent}
	c.paces = append(c.paces, c.latest)
}

func seconds(d time.Duration) float64 { return d.Seconds() }

func duration(s float64) time.Duration {
	if !(s < math.MaxInt64/1e9) { // nor is it NaN: what makes no sense is not at once
		return math.MaxInt64
	}
	return time.Duration(s * 1e9)
}

// later is now+d, saturating.
func later(now, d time.Duration) time.Duration { return now + min(d, math.MaxInt64-max(now, 0)) }
