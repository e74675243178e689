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
type Send struct {
	epoch  uint32
	credit bool    // part of the burst after a silence
	seq    int     // in its epoch, from 1
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
	c constants

	pause   time.Duration // nothing leaves before this
	open    bool          // requests have left since the latest refusal
	first   bool          // no epoch has been judged yet
	probes  int           // pauses in a row that ended in a refusal, the current one included
	refused Send          // the one that ended the epoch
	marks   []Mark        // what was accepted before the first refusal

	pace   float64 // requests per second
	lo, hi float64
	burst  float64 // requests that the limit was seen to take at once
	burst0 float64 // the first one
	trip   float64 // seconds from a request to its answer, smoothed
	// silence is how long it was quiet before the current epoch, failed probes
	// included, in seconds; the unit of most constants.
	silence float64
	best    [8]float64 // proven lower bounds of the latest epochs
	sumSent float64    // accepted in the latest epochs, fading
	sumTime float64    // and the time that took

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

	raises    int     // of the pace, in this epoch
	before    float64 // the pace before the latest
	raisedAt  time.Duration
	raisedSeq int
	busy      float64 // seconds in which requests waited for the pace alone
	base      float64 // the pace that the limit is being tried above; 0: it is not
	over      float64 // by how much
	patience  float64 // silences to hold a closed bracket
	strange   float64 // seconds of epochs that were refused without a raise
}

// New returns the controller of an account that was just refused for the first
// time. marks, oldest first, say what had been accepted until now; there must
// be one at least. flying is how many requests are on their way.
func New(now time.Duration, marks []Mark, flying int, retryAfter time.Duration) *Controller {
	c := &Controller{c: standard, first: true, marks: marks, last: now, begin: marks[0].At}
	c.patience = c.c.hold
	oldest := marks[0]
	if n := marks[len(marks)-1].Accepted - oldest.Accepted; n > 0 {
		// Little's law; good enough until the first answer is timed.
		c.trip = float64(flying) * seconds(now-oldest.At) / float64(n)
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
func (c *Controller) Next(now time.Duration) (at time.Duration, ok bool) {
	if now < c.pause {
		return c.pause, true
	}
	if !c.open {
		c.judge(now)
		c.start(now)
	}
	switch {
	case c.probes > 0 && c.accepted == 0: // one probe, and wait for what it brings
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
	c.next = max(c.next, now-duration(2*gap)) + duration(gap)
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
	c.accepted++
	c.flying--
	c.room++
}

// Refused tells that a request was refused, with the wait that the service
// asked for, 0 if none. It reports whether that begins a new pause; the others
// were in flight when the door closed and say nothing new.
func (c *Controller) Refused(now time.Duration, s Send, retryAfter time.Duration) bool {
	if s.epoch != c.epoch || !c.open {
		if s.epoch == c.epoch {
			c.flying--
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
	}
	c.open = false
	c.refused = s
	if retryAfter == 0 || c.probes > 1 {
		own := min(max(c.c.ownPause, 2*c.trip)*math.Pow(2, float64(c.probes-1)), c.c.ownMost)
		c.pause = max(c.pause, now+duration(own))
	}
	c.pause = max(c.pause, later(now, retryAfter))
}

// judge draws the conclusions from the epoch that a refusal has ended, when
// the pause after it is over.
func (c *Controller) judge(now time.Duration) {
	quiet := max(seconds(now-c.last), 2*c.trip)
	if c.first {
		c.judgeFirst(now, quiet)
		return
	}
	// From one refusal to the next a bucket that was empty fills by the limit,
	// and a window is paid for in full: in both, what was accepted, over the
	// time since the last send before the silence, is never above the limit.
	k, took := float64(c.accepted), seconds(c.last-c.begin)
	proven := k / max(took+c.silence, 1e-3)
	c.sumSent, c.sumTime = 0.7*c.sumSent+k, 0.7*c.sumTime+took+c.silence
	switch {
	case c.accepted == 0:
		// The silence was too short, so that it goes on. A bucket would have
		// filled: it is a window, or somebody else.
		c.burst = max(1, c.burst*c.c.creditDecay)
		if c.silence*c.pace >= 2 {
			c.pace = min(c.pace, c.sumSent/(c.sumTime+quiet))
			c.lo, c.hi = c.pace, 1.2*c.pace
		}
		c.silence += quiet
		c.base = 0
		c.floor()
		return
	case c.granted >= 2 && (c.refused.credit || c.paced < max(4, c.granted/4)):
		c.burst = max(1, min(c.c.creditDecay*c.burst, k))
	default:
		c.judgePace(k, took, proven)
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
	total := c.marks[len(c.marks)-1].Accepted + int64(c.accepted)
	k, took := 0.0, 0.0
	for _, m := range c.marks {
		n, t := float64(total-m.Accepted), max(seconds(c.refused.at-m.At), 0)
		if n/(t+quiet) > k/(took+quiet) {
			k, took = n, t
		}
	}
	k = max(k, 1)
	c.lo, c.hi = k/(took+quiet), math.Inf(1)
	factor := c.c.firstFactor
	if c.trip > quiet/4 {
		factor = min(factor, 2)
	}
	c.pace = c.lo * (1 + (factor-1)*quiet/(quiet+4*took))
	c.burst, c.burst0 = k, k
	c.best[len(c.best)-1] = c.lo
	c.silence = quiet
	c.marks, c.first = nil, false
}

func (c *Controller) judgePace(k, took, proven float64) {
	lo := proven
	if took > 0 {
		lo = max(lo, (k-float64(c.granted))/took)
	}
	if c.raises > 0 && k > 2*c.burst0 {
		lo = max(lo, c.before) // no window has absorbed that many
	}
	hi := c.refused.pace
	if n := c.refused.seq - c.raisedSeq; n >= 8 {
		if t := seconds(c.refused.at - c.raisedAt); t > 0 {
			hi = min(hi, float64(n)/t)
		}
	}
	hi = max(hi, proven)
	lo = min(lo, hi)
	if c.base > 0 {
		if lo > 0.8*c.base && hi < 1.35*c.base {
			c.patience = min(2*c.patience, c.c.holdMost)
		} else {
			c.patience = c.c.hold
		}
	}
	c.lo, c.hi = lo, hi
	c.pace = (1 - c.c.margin) * math.Sqrt(lo*hi)
	if c.raises > 0 {
		c.strange = 0
		return
	}
	// Refused at a pace that had been fine: others may use the same limit.
	// Going down each time would leave it to them.
	if c.strange += took + c.silence; c.strange > 10*c.silence {
		c.strange = 0
		c.pace = max(c.pace, min(1.5*max(c.proven(), proven), 1.25*c.pace))
		c.hi = max(c.hi, 2*c.pace)
	}
}

func (c *Controller) proven() float64 {
	best := 0.0
	for _, p := range c.best {
		best = max(best, p)
	}
	return best
}

// floor keeps the pace from falling below one request in two silences.
func (c *Controller) floor() { c.pace = max(c.pace, 0.5/max(c.silence, 0.1)) }

func (c *Controller) start(now time.Duration) {
	c.open = true
	c.epoch++
	c.accepted, c.sent, c.paced, c.flying, c.raises = 0, 0, 0, 0, 0
	c.begin = now
	c.credit = math.Floor(min(c.burst, c.pace*c.silence))
	c.granted = int(c.credit)
	c.room = c.clock()
	c.next = now
	c.raisedAt, c.raisedSeq = now, 0
	c.before = c.pace
}

// clock is how much of a burst may be in flight before the first answer.
func (c *Controller) clock() int { return 4 + int(min(c.lo*c.trip, 1e6)) }

// raise lets the pace rise where that can pay.
func (c *Controller) raise(now time.Duration, backlog float64) {
	step := max(c.c.stepSilence*c.silence, c.c.stepTrips*c.trip, c.c.stepSends/c.pace)
	if seconds(now-c.raisedAt) < step {
		return
	}
	long := backlog/c.pace > c.c.backlog*c.silence
	if c.pace < 0.9*c.hi && c.base == 0 {
		if long || c.busy > 10*c.silence {
			c.setPace(now, c.pace*min(2, math.Sqrt(c.hi/c.pace)))
		}
		return
	}
	if c.base == 0 {
		hold := c.patience * c.silence
		if c.busy < hold || !long && c.busy < 4*hold {
			return
		}
		c.base, c.over = c.pace, c.c.excess/2
	}
	c.over *= 2
	c.setPace(now, c.base*(1+c.over))
}

func (c *Controller) setPace(now time.Duration, pace float64) {
	c.raises++
	c.before, c.pace = c.pace, pace
	c.raisedAt, c.raisedSeq = now, c.sent
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
