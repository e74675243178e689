package bracket

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// constants has round numbers, so that tests that use it do not depend on the values in
// Standard.
var constants = Constants{
	Margin: 0.1, FirstFactor: 4, StepSilence: 0.25, StepTrips: 1.25, StepSends: 4, Backlog: 3,
	Hold: 10, HoldMost: 40, Proof: 2, Excess: 0.05, Decay: 0.7, OwnPause: 0.25, OwnMost: 15,
}

// paced returns a controller in the middle of an epoch, at 10 requests per second.
func paced() *Controller {
	c := &Controller{Constants: constants, open: true, pace: 10, lo: 8, hi: 16, burst: 5.9, burst0: 5.9, heard: true, timed: true}
	c.learned, c.patience = true, leastPatience
	c.epoch, c.next, c.measure, c.holding = 7, sec, 1, 10
	c.marks = []Mark{{}}
	c.paces = []moment{{}}
	return c
}

func TestPauseAfterARefusal(t *testing.T) {
	for name, tt := range map[string]struct {
		asked time.Duration
		set   func(*Controller)
		want  time.Duration
	}{
		"is Retry-After":                               {sec, func(*Controller) {}, sec},
		"is 0.25 s without Retry-After":                {0, func(*Controller) {}, 250 * ms},
		"is at least 0.25 s if Retry-After is shorter": {200 * ms, func(*Controller) {}, 250 * ms},
		"is two round trips without Retry-After if they are longer than 0.25 s": {0, func(c *Controller) { c.trip = 2 }, 4 * sec},
		"is Retry-After even if two round trips are longer":                     {sec, func(c *Controller) { c.trip = 2 }, sec},
		"is half of the silence that was needed before":                         {0, func(c *Controller) { c.pace, c.needed = 1, 1.2 }, 600 * ms},
		"is at most the gap between two requests, if more was needed before":    {0, func(c *Controller) { c.pace, c.needed = 2, 10 }, 500 * ms},
		"is at most one second, if more was needed before":                      {0, func(c *Controller) { c.pace, c.needed = 0.1, 10 }, sec},
		"does not depend on an earlier silence if this is the first refusal":    {0, func(c *Controller) { c.learned, c.pace, c.needed = false, 1, 1.2 }, 250 * ms},
		"does not depend on failed probes before the first epoch":               {sec, func(c *Controller) { c.learned, c.probes, c.trip = false, 5, 4 }, sec},
		"is Retry-After even if a longer silence was needed before":             {sec, func(c *Controller) { c.accepted, c.pace, c.needed = 1, 1, 3 }, sec},
		"is at most 1 s if the round trip is only an estimate":                  {0, func(c *Controller) { c.trip, c.timed = 2, false }, sec},
		"is two round trips if their estimate is less than 1 s":                 {0, func(c *Controller) { c.trip, c.timed = 0.4, false }, 800 * ms},
		"doubles with each failed probe":                                        {sec, func(c *Controller) { c.accepted, c.probes, c.trip = 0, 2, 0.5 }, 4 * sec},
		"does not double if a request was accepted":                             {sec, func(c *Controller) { c.probes, c.trip = 2, 1 }, sec},
		"is at most eight times Retry-After":                                    {sec, func(c *Controller) { c.accepted, c.probes = 0, 20 }, 8 * sec},
		"is at most 15 s if Retry-After is shorter":                             {2 * sec, func(c *Controller) { c.accepted, c.probes = 0, 20 }, 15 * sec},
		"is at most 15 s without Retry-After":                                   {0, func(c *Controller) { c.accepted, c.probes = 0, 20 }, 15 * sec},
		"is never less than Retry-After":                                        {sec * 60, func(c *Controller) { c.accepted, c.probes = 0, 20 }, 60 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.accepted, c.probes = 3, 0
			tt.set(c)
			c.close(100*sec, Send{at: 99 * sec}, tt.asked)
			assert.Equal(t, 100*sec+tt.want, c.Paused())
			assert.False(t, c.open)
			assert.Equal(t, 100*sec, c.closed)
			if c.probes == 1 {
				assert.Equal(t, 99*sec, c.ended)
			}
		})
	}
}

func TestNextTurnIsCountedFromTheTimeWhenThePreviousTurnWasDue(t *testing.T) {
	for name, tt := range map[string]struct {
		pace      float64
		now, want time.Duration // the previous turn was due at 1 s
	}{
		"the request is sent on time":               {10, sec, 1100 * ms},
		"the timer is late":                         {10, 1010 * ms, 1100 * ms},
		"only 10 ms of a long delay is made up for": {10, 2 * sec, 2*sec - 10*ms + 100*ms},
		"at most two turns are made up for":         {1000, 1005 * ms, 1004 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.pace = tt.pace
			s := c.Sent(tt.now, 0)
			assert.InDelta(t, tt.want, c.next, 2)
			assert.Equal(t, Send{epoch: 7, seq: 1, flying: 1, pace: tt.pace, at: tt.now}, s)
			assert.Equal(t, []int{1, 1, 1}, []int{c.sent, c.flying, c.paced})
			assert.Equal(t, tt.now, c.last)
			assert.Zero(t, c.busy, "busy should not grow while no request is waiting")
		})
	}
}

func TestOnlyRequestsSentWhileOthersWaitAddToBusy(t *testing.T) {
	c := paced()
	c.Sent(sec, 1)
	c.Sent(1100*ms, 5)
	c.Sent(1200*ms, 0)
	assert.InDelta(t, 0.2, c.busy, 1e-9)
	assert.Equal(t, moment{sec, 0}, c.latest, "latest should be the time of the first request after the burst")
}

// A lone caller makes one call after another, so no other request ever waits.
func TestTimeThatTheOnlyRequestHasToWaitAddsToBusy(t *testing.T) {
	c := paced()
	c.credit, c.next = 0, sec
	c.Idle(960 * ms) // the request arrives before its turn
	c.Sent(sec, 0)
	assert.InDelta(t, 0.04, c.busy, 1e-9)
	c.Idle(1200 * ms) // this one arrives after its turn
	c.Sent(1200*ms, 0)
	assert.InDelta(t, 0.04, c.busy, 1e-9)
	c.Sent(1300*ms, 0) // nothing is known about this one
	assert.InDelta(t, 0.04, c.busy, 1e-9)
	c.Idle(1310 * ms)
	c.Sent(1800*ms, 0) // and this one waited for something else, too
	assert.InDelta(t, 0.14, c.busy, 1e-9)
}

func TestUnsendDoesNotFillTheBurstBeyondItsSize(t *testing.T) {
	c := Resume(0, Learned{Pace: 5, Lo: 5, Hi: 6, Best: 5, Burst: 10, Burst0: 10, Trip: 0.02, Silence: 60}, sec)
	require.Equal(t, sec, c.Next(sec, 10))
	var sent []Send
	for range 4 {
		sent = append(sent, c.Sent(sec, 0))
	}
	c.Idle(61 * sec) // the burst has been saved up again
	for _, s := range sent {
		c.Unsend(s)
	}
	assert.Equal(t, 10.0, c.credit)
}

func TestBurstRequestsDoNotCountAsPaced(t *testing.T) {
	c := paced()
	c.credit = 2.5
	for left := 1.5; left > 0; left-- {
		s := c.Sent(sec, 9)
		assert.True(t, s.credit)
		assert.Equal(t, left, c.credit)
		assert.Equal(t, 1100*ms, c.next)
		assert.Equal(t, moment{sec, c.sent}, c.latest)
	}
	assert.False(t, c.Sent(sec, 9).credit)
	assert.Equal(t, []int{3, 3, 1}, []int{c.sent, c.flying, c.paced})
	assert.Equal(t, moment{sec, 2}, c.latest)
}

func TestUnusedTurnsAreSavedUp(t *testing.T) {
	for name, tt := range map[string]struct {
		set    func(*Controller)
		now    time.Duration
		credit float64
		next   time.Duration
	}{
		"only whole requests":     {func(*Controller) {}, 1350 * ms, 3 + 1, 1300 * ms},
		"up to the burst":         {func(*Controller) {}, 1450 * ms, 4 + 1, 1450 * ms},
		"not more than the burst": {func(*Controller) {}, time.Hour, 5, time.Hour},
		"nothing if more than the burst is already saved up": {func(c *Controller) { c.credit = 9 }, time.Hour, 9, time.Hour},
		"nothing before the turn is due":                     {func(*Controller) {}, sec, 1, sec},
		"nothing during a pause":                             {func(c *Controller) { c.pause = 3 * sec }, 2 * sec, 1, sec},
		"as soon as the pause is over":                       {func(c *Controller) { c.pause = 3 * sec }, 3 * sec, 5, 3 * sec},
		"nothing after a refusal":                            {func(c *Controller) { c.open = false }, 2 * sec, 1, sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.credit, c.flying, c.trip = 1, 3, 0.5
			tt.set(c)
			c.Idle(tt.now)
			assert.Equal(t, tt.credit, c.credit)
			assert.InDelta(t, tt.next, c.next, 2)
			if c.credit != 1 {
				assert.Equal(t, 3+4+4, c.room, "room should be the requests in flight, plus 4, plus those sent in a round trip")
			}
		})
	}
}

func TestUnsendUndoesSent(t *testing.T) {
	for name, credit := range map[string]float64{"burst request": 3, "paced request": 0} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.credit = credit
			if credit > 0 {
				c.next = 1100 * ms // as Sent will set it
			}
			state := func() [5]any { return [...]any{c.sent, c.flying, c.paced, c.credit, c.next} }
			before := state()
			s := c.Sent(sec, 0)
			after := state()
			s.epoch--
			c.Unsend(s)
			assert.Equal(t, after, state(), "a request of another epoch should change none of the counts")
			s.epoch++
			c.open = false
			c.Unsend(s)
			assert.Equal(t, after, state(), "a request of a finished epoch should change none of the counts")
			c.open = true
			c.Unsend(s)
			assert.Equal(t, before, state())
		})
	}
}

// Turns that were on their way to other processes when the pause began come back unused.
// So requests were sent for a shorter time than turns were handed out.
func TestTurnsReturnedDuringAPauseShortenTheEpoch(t *testing.T) {
	c := paced()
	c.credit = 0
	s := c.Sent(sec, 0)
	c.open = false
	c.refused.at, c.last = sec-150*ms, sec
	for _, last := range []time.Duration{sec - time.Duration(1e9/s.pace), c.refused.at} {
		c.Unsend(s)
		assert.InDelta(t, max(last, c.refused.at), c.last, 2, "last should move back by one gap, but not before the refused request")
	}
	s.epoch--
	c.last = sec
	c.Unsend(s)
	assert.Equal(t, sec, c.last, "a request of another epoch should not change last")
}

func TestRoundTripIsMeasuredAtTheFirstResponseAndThenSmoothed(t *testing.T) {
	c := paced()
	c.heard, c.timed = false, false
	c.Accepted(3*sec, Send{epoch: 7})
	assert.Zero(t, c.trip, "a request whose send time is unknown should not be timed")
	assert.False(t, c.heard)
	c.Accepted(3*sec, Send{epoch: 6, at: sec})
	assert.Equal(t, 2.0, c.trip, "a request of an earlier epoch should count too")
	c.Accepted(6*sec, Send{epoch: 7, at: 3 * sec})
	assert.Equal(t, 2.125, c.trip)
	c.Accepted(13*sec, Send{epoch: 7, at: 2 * sec})
	assert.InDelta(t, 2.125*9/8, c.trip, 0.001, "a response should count for at most twice the round trip, so that a few slow ones do not hide the others")
	assert.Equal(t, 3*sec, c.heardAt, "heardAt should be the latest time at which an accepted request was sent")
}

func TestAcceptedRequestsCountOnlyInTheirOwnEpoch(t *testing.T) {
	c := paced()
	c.begin, c.total, c.flying, c.room = sec, 100, 2, 4
	c.marks = []Mark{{}, {sec / 2, 100}}
	c.Accepted(2*sec, Send{epoch: 6, at: sec})
	assert.Equal(t, []int{0, 100, 2, 4}, []int{c.accepted, int(c.total), c.flying, c.room})
	c.Accepted(2*sec, Send{epoch: 7, at: sec})
	c.Accepted(3*sec, Send{epoch: 7, at: sec})
	assert.Equal(t, []int{2, 102, 0, 6}, []int{c.accepted, int(c.total), c.flying, c.room})
	assert.Equal(t, []Mark{{sec, 100}, {2 * sec, 101}, {3 * sec, 102}}, c.marks, "the marks of the previous epoch should be dropped")
	assert.Zero(t, c.late)
}

func TestAcceptedRequestSentAfterTheRefusedOneCountsAsLate(t *testing.T) {
	c := paced()
	c.flying = 9
	refused := Send{epoch: 7, at: 2 * sec}
	assert.True(t, c.Refused(3*sec, refused, sec))
	c.Accepted(3*sec, Send{epoch: 7, at: sec})
	c.Accepted(3*sec, Send{epoch: 7, at: 2 * sec})
	assert.Zero(t, c.late)
	for i := range 3 {
		c.Accepted(time.Duration(4+i)*sec, Send{epoch: 7, at: 2500 * ms})
	}
	assert.Equal(t, 3, c.late)
	assert.Equal(t, []time.Duration{4 * sec, 6 * sec}, []time.Duration{c.lateFrom, c.lateAt})
	assert.False(t, c.Refused(6*sec, Send{epoch: 7, at: 2500 * ms}, 10*sec))
	assert.Equal(t, 1, c.lateRefused)
	assert.Equal(t, 16*sec, c.Paused())
	assert.Equal(t, 9-1-5-1, c.flying)
	assert.False(t, c.Refused(6*sec, Send{epoch: 6}, 20*sec))
	assert.Equal(t, []int{1, 2}, []int{c.lateRefused, c.flying})
	assert.Equal(t, 26*sec, c.Paused())
	assert.False(t, c.Refused(6*sec, Send{}, math.MaxInt64))
	assert.Equal(t, time.Duration(math.MaxInt64), c.Paused())
}

func TestInTheFirstPauseAllAcceptedRequestsCountAsLate(t *testing.T) {
	c := New(sec, []Mark{{}, {sec, 50}}, 10, 0, sec)
	c.Accepted(sec+ms, Send{})
	c.Accepted(sec+2*ms, Send{})
	assert.Equal(t, 2, c.late)
	assert.EqualValues(t, 52, c.total)
	assert.Len(t, c.marks, 4, "each late request should add a mark")
}

func TestRoundTripIsNotNegativeIfTheFirstRefusalWasBeforeTheOrigin(t *testing.T) {
	c := New(-5*sec, []Mark{{-10 * sec, 0}, {-5 * sec, 50}}, 20, 0, sec)
	assert.Zero(t, c.trip)
	assert.Positive(t, c.notice)
}

func TestFirstRoundTripIsEstimatedFromTheNumberInFlight(t *testing.T) {
	for name, tt := range map[string]struct {
		marks  []Mark
		flying int
		timed  time.Duration
		want   float64
		heard  bool
	}{
		"20 in flight at 10/s take two seconds":                              {[]Mark{{10 * sec, 50}, {15 * sec, 100}, {20 * sec, 150}}, 20, 0, 2, true},
		"the estimate is at most the time since the account's first request": {[]Mark{{10 * sec, 50}, {20 * sec, 51}}, 20, 0, 20, true},
		"the estimate is at most twice the time that a response took":        {[]Mark{{10 * sec, 50}, {20 * sec, 51}}, 20, 50 * ms, 0.1, true},
		"an estimate that is not too long stays":                             {[]Mark{{10 * sec, 50}, {15 * sec, 100}, {20 * sec, 150}}, 20, 1500 * ms, 2, true},
		"unknown if no request was accepted":                                 {[]Mark{{10 * sec, 50}, {20 * sec, 50}}, 20, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(20*sec, tt.marks, tt.flying, tt.timed, sec)
			assert.Equal(t, tt.want, c.trip)
			assert.Equal(t, tt.heard, c.heard)
			assert.Equal(t, 10*sec, c.begin)
			assert.Equal(t, tt.marks[len(tt.marks)-1].Accepted, c.total)
			assert.Equal(t, 1, c.Probes())
		})
	}
}

func TestEarliestAssumesAPaceThatWillNotBeExceededSoon(t *testing.T) {
	for name, tt := range map[string]struct {
		set   func(*Controller)
		ahead int
		want  time.Duration
	}{
		"open bracket: four times the pace":                           {func(*Controller) {}, 80, 102 * sec},
		"open bracket: at least the best pace":                        {func(c *Controller) { c.best = 80 }, 80, 101 * sec},
		"closed bracket: one and a half times the pace":               {func(c *Controller) { c.hi = 11 }, 30, 102 * sec},
		"closed bracket: at least the best pace":                      {func(c *Controller) { c.hi, c.best = 11, 30 }, 30, 101 * sec},
		"the bracket is open until an epoch has proven a pace":        {func(c *Controller) { c.hi, c.proven = 11, nil }, 80, 102 * sec},
		"part of the requests ahead can be sent as a burst":           {func(c *Controller) { c.credit = 40 }, 80, 101 * sec},
		"with a cap: twice the cap per round trip":                    {func(c *Controller) { c.flight.cap, c.trip = 20, 1 }, 80, 101500 * ms},
		"with a cap: at least twice the pace":                         {func(c *Controller) { c.flight.cap, c.trip, c.pace = 20, 1, 30 }, 80, 101 * sec},
		"all requests ahead can be sent as a burst":                   {func(c *Controller) { c.credit = 81 }, 80, 0},
		"guessed pace: now, because nothing is certain":               {func(c *Controller) { c.guessed = true }, 80, 100 * sec},
		"during a pause: counted from its end":                        {func(c *Controller) { c.pause = 110 * sec }, 80, 112 * sec},
		"during a pause: the burst is sent at its end":                {func(c *Controller) { c.open, c.pause, c.burst = false, 110*sec, 40 }, 80, 111 * sec},
		"the next turn has not come yet":                              {func(c *Controller) { c.next = 105 * sec }, 80, 107 * sec},
		"a probe may be sent before the next turn":                    {func(c *Controller) { c.next, c.probes, c.accepted = 105*sec, 2, 0 }, 80, 102 * sec},
		"a probe has failed with an error: counted from the next one": {func(c *Controller) { c.next, c.last, c.probes, c.unknown = 100500*ms, 100*sec, 2, 1 }, 80, 102500 * ms},
		"stated window: the end of the pause":                         {windowed(110 * sec), 79, 110 * sec},
		"stated window: the next one if this one is full":             {windowed(0), 80, 90*sec + 60*sec},
		"stated window: a later one":                                  {windowed(0), 200, 90*sec + 120*sec},
		"stated window: the second one after the pause":               {windowed(110 * sec), 80, 110*sec + 60*sec},
		"stated window, after a failed probe: not counted in windows": {func(c *Controller) { windowed(0)(c); c.probes = 2 }, 80, 100 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.proven = []float64{8}
			tt.set(c)
			assert.Equal(t, tt.want, c.Earliest(100*sec, tt.ahead))
		})
	}
}

// windowed returns a function that makes a controller send 80 requests at the beginning of
// each window of a minute. The current window began at 90 s, unless there is a pause.
func windowed(pause time.Duration) func(*Controller) {
	const n = 80
	return func(c *Controller) {
		c.statement = statement{requests: n, per: 60, windowed: true, opened: 90 * sec}
		c.burst, c.credit, c.pause = n, n, pause
		c.open = pause == 0
	}
}

func TestInTheFirstPauseEarliestAssumesFourTimesTheRateAcceptedSoFar(t *testing.T) {
	c := New(8*sec, []Mark{{}, {8 * sec, 100}}, 1, 0, 2*sec) // 100 requests in 10 s, including the pause
	assert.Equal(t, 10*sec, c.Earliest(9*sec, 99), "99 requests may be accepted at once, because 100 were accepted before")
	assert.Equal(t, 12*sec, c.Earliest(9*sec, 180))
	assert.Equal(t, 18*sec, c.Earliest(9*sec, 100+8*40))
}

// A limit that is known from one refusal only may be much higher than it seems, for
// example if the number in flight is limited and responses are fast.
func TestAfterFourUnitsEarliestAssumesThatThePaceDoublesOncePerUnit(t *testing.T) {
	c := New(8*sec, []Mark{{}, {8 * sec, 100}}, 1, 0, 2*sec)
	assert.InDelta(t, 10+2*(4+math.Log2(1+6*math.Ln2)), c.Earliest(9*sec, 100+20*40).Seconds(), 1e-6)
	assert.Less(t, c.Earliest(9*sec, 100_000), 60*sec)
}

func TestNextRequestIsSentInTurnAtOnceOrAfterAWait(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Controller)
		want time.Duration
	}{
		"paced: when its turn comes": {func(*Controller) {}, 30 * sec},
		"burst: at once":             {func(c *Controller) { c.credit = 1 }, 20 * sec},
		"burst without room: after two round trips, by which it would have been refused":  {func(c *Controller) { c.credit, c.flying = 1, 4 }, 20 * sec},
		"burst without room, refusals take 0.1 s: after twice that time":                  {func(c *Controller) { c.credit, c.flying, c.notice, c.last = 1, 4, 0.1, 20*sec }, 20*sec + 200*ms},
		"burst without room: after four round trips if no response was timed":             {func(c *Controller) { c.credit, c.flying, c.timed = 1, 4, false }, 19*sec + 2*sec},
		"burst without room, no response timed: after a second if four trips are shorter": {func(c *Controller) { c.credit, c.flying, c.trip, c.timed = 1, 4, 0.1, false }, 19*sec + 1001*ms},
		"paced if less than one request is saved up":                                      {func(c *Controller) { c.credit = 0.9 }, 30 * sec},
		"after a failed probe: the next probe at once":                                    {func(c *Controller) { c.probes = 2 }, 20 * sec},
		"a probe has failed with an error: when its turn comes":                           {func(c *Controller) { c.probes, c.unknown, c.next = 2, 1, 20500*ms }, 20500 * ms},
		"a probe has failed with an error: after four round trips at the latest":          {func(c *Controller) { c.probes, c.unknown = 2, 1 }, 19*sec + 2*sec},
		"a probe is in flight: after four round trips":                                    {func(c *Controller) { c.probes, c.flying = 2, 1 }, 19*sec + 2*sec},
		"a probe is in flight: after 15 s if four round trips are longer":                 {func(c *Controller) { c.probes, c.flying, c.trip = 2, 1, 5 }, 19*sec + 15*sec},
		"a request was accepted after a failed probe: paced":                              {func(c *Controller) { c.probes, c.flying, c.accepted = 2, 1, 1 }, 30 * sec},
		"paced after a single refusal":                                                    {func(c *Controller) { c.probes, c.flying = 1, 1 }, 30 * sec},
		"during a pause: not before its end":                                              {func(c *Controller) { c.probes, c.pause = 2, 21*sec }, 21 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.next, c.last, c.trip, c.room = 30*sec, 19*sec, 0.5, 4
			tt.set(c)
			assert.Equal(t, tt.want, c.Next(20*sec, 0))
		})
	}
}

// A service that fails requests at once must not get them at that rate. When it works again,
// they must not have used the turns of later ones.
func TestFailedProbesAreSentAtThePaceAndUseNoLaterTurns(t *testing.T) {
	for name, tt := range map[string]struct {
		pace  float64
		inner bool
		want  int // in 30 s
	}{
		"probes":                {10, false, 300},
		"probes at a slow pace": {0.5, false, 30}, // one per lost()
		"inner requests":        {10, true, 30_000},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			next, send := c.Next, c.Sent
			if tt.inner {
				next, send = c.NextInner, c.SentInner
			}
			c.probes, c.trip, c.pace = 2, 0.1, tt.pace
			now, sent := 100*sec, 0
			for now < 130*sec {
				if at := next(now, 5); at > now {
					now = at
					continue
				}
				s := send(now, 5)
				sent++
				now += ms
				c.Unknown(now, s)
			}
			assert.InEpsilon(t, tt.want, sent, 0.05)
			c.Accepted(now, c.Sent(now, 5))
			turn := now + duration(1/tt.pace)
			assert.LessOrEqual(t, c.Next(now, 5), turn)
			assert.LessOrEqual(t, c.Earliest(now, 0), turn)
		})
	}
}

func TestEpochBeginsWithTheBurstThatTheSilenceAllows(t *testing.T) {
	for name, tt := range map[string]struct {
		silence float64
		want    int
	}{"short silence": {0.35, 3}, "long silence": {60, 5}, "no silence": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.open, c.silence, c.trip, c.last = false, tt.silence, 0.5, sec
			c.sent, c.accepted, c.busy, c.raises = 9, 9, 9, 9
			c.start(2 * sec)
			assert.True(t, c.open)
			assert.Equal(t, tally{
				epoch: 8, begin: 2 * sec, last: sec, next: 2 * sec,
				credit: float64(tt.want), granted: tt.want, room: 4 + 4, // 4, plus the requests in a round trip at 8/s
				paces: []moment{{2 * sec, 0}}, latest: moment{2 * sec, 0},
			}, c.tally)
		})
	}
}

func TestPaceIsPerSecondAndTripIsADuration(t *testing.T) {
	c := paced()
	c.trip = 0.25
	assert.Equal(t, 10.0, c.Pace())
	assert.Equal(t, 250*ms, c.Trip())
	c.heard = false
	assert.Zero(t, c.Trip(), "Trip should be zero while it is not known")
}

func TestProbingLastsUntilTheFirstSendAfterAPause(t *testing.T) {
	c := paced()
	assert.True(t, c.Probing())
	s := c.Sent(sec, 0)
	assert.False(t, c.Probing())
	c.Refused(sec, s, sec)
	assert.True(t, c.Probing())
}

func TestSilenceIsTheLongerOfRetryAfterAndMeasure(t *testing.T) {
	c := paced()
	c.asked, c.measure = 2, 3
	assert.Equal(t, 3*sec, c.Silence())
	c.asked = 4
	assert.Equal(t, 4*sec, c.Silence())
}

func TestUnitIsTheLongestOfASilenceTwoRoundTripsAndASecond(t *testing.T) {
	for _, tt := range []struct{ measure, trip, want float64 }{
		{3, 1, 3}, {1, 2, 4}, {0.5, 0.1, 1},
	} {
		c := &Controller{measure: tt.measure, trip: tt.trip, pace: 0.01}
		assert.Equal(t, tt.want, c.unit())
	}
}

// Unless a row changes it, the bracket is open, from 8 to 14.4. A row closes it by setting
// hi to closedBy.
func TestPaceIsRaisedWhenAndAsFarAsTheBracketAllows(t *testing.T) {
	const closedBy = 10.5
	inf := math.Inf(1)
	fast := func(c *Controller, burst, burst0 float64, held time.Duration) { // requests have waited, so only the proof of the pace counts
		c.busy, c.granted = 99, 2
		c.burst, c.burst0, c.latest.at = burst, burst0, 100*sec-held
	}
	since := func(c *Controller, ago time.Duration, accepted int) { c.refused.at, c.accepted = 100*sec-ago, accepted }
	try := func(c *Controller, burst0, over float64, held time.Duration) {
		c.hi, c.base, c.over, c.pace, c.burst0, c.latest.at = closedBy, 10, over, 10*(1+over), burst0, 100*sec-held
	}
	slow := func(c *Controller, busy, base, over float64) {
		c.pace, c.lo, c.hi, c.burst0, c.holding = 0.05, 0.05, 0.055, 0.5, 1e3
		c.busy, c.base, c.over = busy, base, over
	}
	for name, tt := range map[string]struct {
		set     func(*Controller)
		want    float64
		backlog float64
	}{
		"no upper bound, backlog above three units: doubled":                                                            {func(c *Controller) { c.hi, c.lo = inf, 10 }, 20, 61},
		"no upper bound, backlog of three units: not raised":                                                            {func(c *Controller) { c.hi, c.lo = inf, 10 }, 10, 60},
		"open bracket: raised to the geometric mean of the pace and hi":                                                 {func(*Controller) {}, 12, 61},
		"open bracket: raised at most twofold":                                                                          {func(c *Controller) { c.hi = 1000 }, 20, 61},
		"open bracket, no request waits: not raised":                                                                    {func(*Controller) {}, 10, 0},
		"open bracket, requests have waited for more than three units: raised to the geometric mean of the pace and hi": {func(c *Controller) { c.busy = 6.1 }, 12, 0},
		"open bracket, requests have waited for three units: not raised":                                                {func(c *Controller) { c.busy = 6 }, 10, 0},
		"the upper bound is a guess: raised by a quarter":                                                               {func(c *Controller) { c.proven, c.hi, c.busy = nil, 10, 6.1 }, 12.5, 0},
		"only unknown outcomes at this pace: not raised":                                                                {func(c *Controller) { c.busy, c.unknown, c.heardAt = 99, 1, c.latest.at-1 }, 10, 0},
		"not raised before the first response":                                                                          {func(c *Controller) { c.busy, c.heard = 99, false }, 10, 0},
		"not raised above the highest pace":                                                                             {func(c *Controller) { c.pace, c.lo, c.hi, c.busy = mostPace, mostPace, inf, 99 }, mostPace, 0},
		"closed bracket: held for ten units":                                                                            {func(c *Controller) { c.hi, c.busy = closedBy, 19.9 }, 10, 1e3},
		"closed bracket: probed after ten units":                                                                        {func(c *Controller) { c.hi, c.busy = closedBy, 20 }, 10.5, 0},
		"closed bracket: probed later after probes that found nothing":                                                  {func(c *Controller) { c.hi, c.busy, c.holding = closedBy, 39, 20 }, 10, 0},
		"slower than one request in 15 s: held for five requests":                                                       {func(c *Controller) { slow(c, 99, 0, 0) }, 0.05, 0},
		"slower than one request in 15 s: doubled after five requests":                                                  {func(c *Controller) { slow(c, 100, 0, 0) }, 0.1, 0},
		"slower than one request in 15 s, and proven: doubled again":                                                    {func(c *Controller) { slow(c, 0, 0.025, 1) }, 0.1, 0},
		"not raised within the time of four requests":                                                                   {func(c *Controller) { c.measure, c.lo, c.latest.at = 1, 10, 99601*ms }, 10, 61},
		"raised after the time of four requests":                                                                        {func(c *Controller) { c.measure, c.lo, c.latest.at = 1, 10, 99599*ms }, 12, 61},
		"not raised within a quarter of a silence":                                                                      {func(c *Controller) { c.lo, c.measure, c.latest.at = 10, 4, 99001*ms }, 10, 1e3},
		"raised after a quarter of a silence":                                                                           {func(c *Controller) { c.lo, c.measure, c.latest.at = 10, 4, 99*sec }, 12, 1e3},
		"not raised within 1.25 round trips":                                                                            {func(c *Controller) { c.lo, c.trip, c.latest.at = 10, 4, 95001*ms }, 10, 1e3},
		"raised after 1.25 round trips":                                                                                 {func(c *Controller) { c.lo, c.trip, c.latest.at = 10, 4, 95*sec }, 12, 1e3},
		"burst not used up by the excess: not raised":                                                                   {func(c *Controller) { fast(c, 6.1, 0, 3*sec) }, 10, 0},
		"burst used up by the excess: raised":                                                                           {func(c *Controller) { fast(c, 6, 0, 3*sec) }, 12, 0},
		"saved-up requests not used up by the excess: not raised":                                                       {func(c *Controller) { fast(c, 0, 8.1, 3*sec) }, 10, 0},
		"saved-up requests, minus those already sent in the burst, used up by the excess: raised":                       {func(c *Controller) { fast(c, 0, 7.9, 3*sec) }, 12, 0},
		"burst not used up, but held for two units: raised":                                                             {func(c *Controller) { fast(c, 1e6, 0, 4*sec) }, 12, 0},
		"burst not used up, held for less than two units: not raised":                                                   {func(c *Controller) { fast(c, 1e6, 0, 4*sec-ms) }, 10, 0},
		"burst not used up, but the pace is almost proven: raised":                                                      {func(c *Controller) { fast(c, 1e6, 0, 3*sec); c.lo = 9.6 }, 12, 0},
		"unproven probe: next step after two units":                                                                     {func(c *Controller) { try(c, 99, 0.05, 4*sec) }, 11, 0},
		"unproven probe: no step within two units":                                                                      {func(c *Controller) { try(c, 99, 0.05, 4*sec-ms) }, 10.5, 0},
		"unproven probe at 40 percent: next step after two units":                                                       {func(c *Controller) { try(c, 99, 0.4, 4*sec) }, 18, 0},
		"probe at 40 percent that is proven: its pace becomes the new base":                                             {func(c *Controller) { try(c, 99, 0.4, 25*sec) }, 14 * 1.5, 0},
		"more accepted since the refusal than the base allows: proven after two units":                                  {func(c *Controller) { try(c, 99, 0.4, 4*sec); since(c, 10*sec, 102) }, 14 * 1.5, 0},
		"more accepted since the refusal than the base allows: not proven within two units":                             {func(c *Controller) { try(c, 99, 0.4, 4*sec-ms); since(c, 10*sec, 102) }, 14, 0},
		"as many accepted since the refusal as the base allows: raised, but not proven":                                 {func(c *Controller) { try(c, 99, 0.4, 4*sec); since(c, 10*sec, 101) }, 18, 0},
		"proven probe: its pace becomes the new base":                                                                   {func(c *Controller) { try(c, 0.5, 0.05, 3*sec) }, 10.5 * 1.1, 0},
		"probe whose excess has not used up the saved-up requests: not raised":                                          {func(c *Controller) { try(c, 0.5, 0.05, 3*sec-ms) }, 10.5, 0},
		"probe whose last responses are missing: raised, but not proven":                                                {func(c *Controller) { try(c, 0.5, 0.05, 4*sec); c.trip = 1 }, 11, 0},
		"probe whose last responses have arrived: its pace becomes the new base":                                        {func(c *Controller) { try(c, 0.5, 0.05, 4250*ms); c.trip = 1 }, 10.5 * 1.1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.measure, c.sent, c.hi, c.proven, c.past = 2, 33, 14.4, []float64{8}, []epoch{{}}
			c.heardAt = 100 * sec
			tt.set(c)
			base := c.base
			c.raise(100*sec, tt.backlog)
			assert.InDelta(t, tt.want, c.pace, 1e-9)
			if c.base != base {
				assert.Equal(t, moment{100 * sec, 33}, c.from)
			}
			assert.Equal(t, base > 0 && c.base != base, len(c.past) == 0, "past should be cleared if and only if the probe was proven")
			if c.raises > 0 {
				assert.Equal(t, moment{100 * sec, 33}, c.latest)
				assert.Equal(t, c.latest, c.paces[len(c.paces)-1])
			}
		})
	}
}

func TestPaceHeldAtAClosedBracketIsRemembered(t *testing.T) {
	c := paced()
	c.hi, c.proven, c.busy, c.best, c.cost = 10.5, []float64{8}, 10, 9, 3
	c.raise(100*sec, 0)
	assert.Equal(t, []float64{10, 10.5, 3}, []float64{c.best, c.bestHi, c.cost})
	assert.Equal(t, 100*sec, c.bestAt)
	assert.Equal(t, probe{base: 10, began: 10, over: 0.05, from: moment{at: 100 * sec}, holding: 10, before: 10}, c.probe)
}

// At a pace of 11, one request per second is above the base, so 5.9 saved-up requests are
// used up after 6.9 s.
func TestProbeBeginsWhereTheFailedOneStoodAndStaysThereForLonger(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Controller)
		pace float64       // of the first step
		held time.Duration // time until the next step
		next float64
	}{
		"no failed probe: steps of 5% and 10% that are not proven":             {func(*Controller) {}, 10.5, 2 * sec, 11},
		"after a failed probe: until the step is proven, then 5% more":         {func(c *Controller) { c.stood = 11 }, 11, 6900 * ms, 11 * 1.05},
		"round trips: until responses show it":                                 {func(c *Controller) { c.stood, c.trip = 11, 0.4 }, 11, 7400 * ms, 11 * 1.05},
		"after a failed probe: eight units at most":                            {func(c *Controller) { c.stood, c.burst0 = 11, 100 }, 11, 8 * sec, 12},
		"after a failed probe that stood at almost the present pace: as usual": {func(c *Controller) { c.stood = 10.2 }, 10.5, 2 * sec, 11},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.hi, c.proven, c.busy, c.trip = 10.5, []float64{8}, 10, 0
			tt.set(c)
			now := 100 * sec
			c.heardAt, c.refused.at = now, 50*sec
			c.raise(now, 0)
			require.InDelta(t, tt.pace, c.pace, 1e-9)
			assert.Zero(t, c.stood, "a pace should be tried again once, and not before each probe")
			c.heardAt, c.heardOn = now+tt.held, now+tt.held
			c.raise(now+tt.held-ms, 0)
			require.InDelta(t, tt.pace, c.pace, 1e-9, "raised too early")
			c.raise(now+tt.held+ms, 0)
			assert.InDelta(t, tt.next, c.pace, 1e-9)
			assert.InDelta(t, tt.pace, c.before, 1e-9, "the pace before the step")
			assert.False(t, c.again, "only the first step should be held longer")
		})
	}
}

func TestFallenPaceReturnsInStepsOnALogarithmicScale(t *testing.T) {
	c := paced()
	c.best, c.bestHi, c.cost, c.busy, c.trip = 160, 240, 3, 6-0.1, 0
	now := 100 * sec
	c.raise(now, 1e6)
	assert.Equal(t, 10.0, c.pace, "the pace should not start to return before requests have waited for two silences, whatever the backlog")
	c.busy = 6
	for _, want := range []float64{40, 80, 80 * math.Sqrt2, 160} {
		c.raise(now, 0)
		require.InDelta(t, want, c.pace, 1e-9)
		if want == 160 {
			break
		}
		now += 750*ms - 1
		c.raise(now, 1e6)
		assert.InDelta(t, want, c.pace, 1e-9, "the pace should be kept for a quarter of a silence")
		now++
	}
	assert.Equal(t, probe{began: 10, from: moment{at: 102250 * ms}, holding: 10}, c.probe, "the pace has returned, so the probe should be over")
	assert.InDelta(t, 240, c.hi, 1e-9, "the bracket should be as open as it was at the best pace")
	assert.Zero(t, c.busy)
}

func TestLongRoundTripMakesThePaceReturnLater(t *testing.T) {
	c := paced()
	c.best, c.cost, c.trip, c.busy = 40, 3, 2, 8-0.1
	c.raise(100*sec, 0)
	assert.Equal(t, 10.0, c.pace)
	c.busy = 8
	c.raise(100*sec, 0)
	assert.Equal(t, 20.0, c.pace)
	c.raise(103189*ms, 0)
	assert.Equal(t, 20.0, c.pace, "the next step should wait until the saved-up requests are used up and responses have arrived")
	c.raise(103190*ms, 0)
	assert.InDelta(t, 20*math.Sqrt2, c.pace, 1e-9)
}

func TestPaceNearTheBestPaceDoesNotReturnToIt(t *testing.T) {
	c := paced()
	c.best, c.hi, c.proven, c.busy = 12.5, 10.5, []float64{8}, 9.9
	c.raise(100*sec, 0)
	assert.Equal(t, 10.0, c.pace)
	c.best = 12.6
	c.raise(100*sec, 0)
	assert.Equal(t, 12.6, c.pace)
}
func TestTimeTooLongForADurationBecomesTheLongestDuration(t *testing.T) {
	assert.Equal(t, 1500*ms, duration(1.5))
	for _, s := range []float64{math.MaxInt64 / 1e9, 1e10, 1e30, math.Inf(1)} {
		assert.Equal(t, time.Duration(math.MaxInt64), duration(s), s)
	}
	for _, now := range []time.Duration{0, sec, math.MaxInt64} {
		assert.Equal(t, time.Duration(math.MaxInt64), later(now, math.MaxInt64), now)
	}
}

// A caller that knows only part of the past may choose an origin that is later than the
// first refusal, so times can be negative.
func TestControllerCanBeginBeforeTheOriginOfTime(t *testing.T) {
	const before = -200 * time.Millisecond
	c := New(before, []Mark{{At: before}}, 0, 0, 100*time.Millisecond)
	assert.LessOrEqual(t, c.Paused(), 100*time.Millisecond)
	assert.Zero(t, c.flight.flying, "no request should be in flight")
	assert.LessOrEqual(t, c.Next(time.Second, 1), time.Second)
}

func TestReturnToTheBestPaceDoesNotDependOnTheLengthOfTheLatestPause(t *testing.T) {
	for held, pace := range map[time.Duration]float64{1900 * ms: 25, 2100 * ms: 50} {
		c := paced()
		c.best, c.cost, c.measure, c.burst0 = 100, 1, 60, 1000
		c.pace, c.probe, c.latest = 25, probe{base: 10, began: 10, returning: true}, moment{at: 100*sec - held}
		c.raise(100*sec, 50)
		assert.InDelta(t, pace, c.pace, 0.1)
	}
}

func TestLateTimersDoNotLowerThePace(t *testing.T) {
	for _, pace := range []float64{1, 100, 1000, 50_000} {
		c := paced()
		c.pace, c.heard = pace, false // without a response, the pace stays unchanged
		n := 0
		for now := sec; now < 11*sec; {
			if at := c.Next(now, 9); at > now {
				now = at + ms // the timer fires late
				continue
			}
			c.Sent(now, 9)
			n++
		}
		assert.InEpsilon(t, 10*pace, n, 0.1, "wrong number of requests in 10 s at %v per second", pace)
	}
}

func TestSuspendedProcessDoesNotMakeUpForLostTurnsInABurst(t *testing.T) {
	for pace, most := range map[float64]int{1: 1, 100: 3, 1000: 3, 50_000: 101} {
		c := paced()
		c.pace, c.heard = pace, false
		c.Sent(sec, 9)
		n := 0
		for now := 10 * sec; c.Next(now, 9) <= now; n++ {
			c.Sent(now, 9)
		}
		assert.LessOrEqual(t, n, most+1, "too many requests at once after 9 s, at %v per second", pace)
	}
}

func TestHastenedPauseIsNeitherShorterThanRetryAfterNorThanAQuarter(t *testing.T) {
	for name, tt := range map[string]struct{ asked, at, want time.Duration }{
		"as soon as wanted":          {sec, 9 * sec, 9 * sec},
		"not before Retry-After":     {5 * sec, 2 * sec, 5 * sec},
		"not before a quarter":       {sec, 2 * sec, 4 * sec},
		"not longer than before":     {sec, 99 * sec, 16 * sec},
		"only if there was a header": {0, 9 * sec, 16 * sec},
	} {
		c := paced()
		c.closed, c.pause, c.asked = 100*sec, 116*sec, tt.asked.Seconds()
		c.Hasten(100*sec + tt.at)
		assert.Equal(t, 100*sec+tt.want, c.Paused(), name)
	}
}

func TestHastenedPauseIsNotShorterThanTheRetryAfterOfALateRefusal(t *testing.T) {
	c := paced()
	old := c.Sent(100*sec, 1)
	require.True(t, c.Refused(101*sec, c.Sent(100*sec, 1), sec))
	require.False(t, c.Refused(102*sec, old, time.Minute))
	c.Hasten(110 * sec)
	assert.Equal(t, 162*sec, c.Paused())
}

// Refusals are often quicker than responses.
func TestRequestsWithoutAResponseCountInTheFirstEstimate(t *testing.T) {
	c := New(sec, []Mark{{}}, 61, 0, time.Minute)
	assert.Equal(t, c.Paused(), c.Earliest(sec, 59), "the requests in flight were not refused, so they were a burst that the limit allows")
	assert.Less(t, c.Earliest(sec, 100), 2*time.Minute)
}
