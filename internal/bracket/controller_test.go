package bracket

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// constants are round numbers, so that a test need not know those of Standard.
var constants = Constants{
	Margin: 0.1, FirstFactor: 4, StepSilence: 0.25, StepTrips: 1.25, StepSends: 4, Backlog: 3,
	Hold: 10, HoldMost: 40, Proof: 2, Excess: 0.05, Decay: 0.7, OwnPause: 0.25, OwnMost: 15,
}

// paced returns a controller in the middle of an epoch, at 10 requests a second.
func paced() *Controller {
	c := &Controller{Constants: constants, open: true, pace: 10, lo: 8, hi: 16, burst: 5.9, burst0: 5.9, heard: true, timed: true}
	c.learned, c.patience = true, leastPatience
	c.epoch, c.next, c.measure, c.holding = 7, sec, 1, 10
	c.marks = []Mark{{}}
	c.paces = []moment{{}}
	return c
}

func TestThePauseOfARefusal(t *testing.T) {
	for name, tt := range map[string]struct {
		asked time.Duration
		set   func(*Controller)
		want  time.Duration
	}{
		"is the one that was asked for":      {sec, func(*Controller) {}, sec},
		"or a quarter of a second":           {0, func(*Controller) {}, 250 * ms},
		"which is the least":                 {200 * ms, func(*Controller) {}, 250 * ms},
		"or two round trips":                 {0, func(c *Controller) { c.trip = 2 }, 4 * sec},
		"not if one was asked for":           {sec, func(c *Controller) { c.trip = 2 }, sec},
		"or what was needed before, by half": {0, func(c *Controller) { c.pace, c.needed = 1, 1.2 }, 600 * ms},
		"but no more than a turn":            {0, func(c *Controller) { c.pace, c.needed = 2, 10 }, 500 * ms},
		"and no more than a second":          {0, func(c *Controller) { c.pace, c.needed = 0.1, 10 }, sec},
		"not at the first refusal":           {0, func(c *Controller) { c.learned, c.pace, c.needed = false, 1, 1.2 }, 250 * ms},
		"which is no probe":                  {sec, func(c *Controller) { c.learned, c.probes, c.trip = false, 5, 4 }, sec},
		"not if one was asked for, though":   {sec, func(c *Controller) { c.accepted, c.pace, c.needed = 1, 1, 3 }, sec},
		"an estimate counts a second":        {0, func(c *Controller) { c.trip, c.timed = 2, false }, sec},
		"or less":                            {0, func(c *Controller) { c.trip, c.timed = 0.4, false }, 800 * ms},
		"doubles with each failed probe":     {sec, func(c *Controller) { c.accepted, c.probes, c.trip = 0, 2, 0.5 }, 4 * sec},
		"as long as there are only these":    {sec, func(c *Controller) { c.probes, c.trip = 2, 1 }, sec},
		"up to eight times what was asked":   {sec, func(c *Controller) { c.accepted, c.probes = 0, 20 }, 8 * sec},
		"up to 15 seconds":                   {2 * sec, func(c *Controller) { c.accepted, c.probes = 0, 20 }, 15 * sec},
		"or if nothing was":                  {0, func(c *Controller) { c.accepted, c.probes = 0, 20 }, 15 * sec},
		"but never less than was asked":      {sec * 60, func(c *Controller) { c.accepted, c.probes = 0, 20 }, 60 * sec},
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

func TestATurnCountsFromWhenTheOneBeforeWasDue(t *testing.T) {
	for name, tt := range map[string]struct {
		pace      float64
		now, want time.Duration // the turn before was due at 1 s
	}{
		"in time":                       {10, sec, 1100 * ms},
		"by a timer that is late":       {10, 1010 * ms, 1100 * ms},
		"but a stop is not made up for": {10, 2 * sec, 2*sec - 10*ms + 100*ms},
		"not even two turns":            {1000, 1005 * ms, 1004 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.pace = tt.pace
			s := c.Sent(tt.now, 0)
			assert.InDelta(t, tt.want, c.next, 2)
			assert.Equal(t, Send{epoch: 7, seq: 1, flying: 1, pace: tt.pace, at: tt.now}, s)
			assert.Equal(t, []int{1, 1, 1}, []int{c.sent, c.flying, c.paced})
			assert.Equal(t, tt.now, c.last)
			assert.Zero(t, c.busy, "nobody waits")
		})
	}
}

func TestOnlyWhatLeavesWithOthersBehindItCountsAsBusy(t *testing.T) {
	c := paced()
	c.Sent(sec, 1)
	c.Sent(1100*ms, 5)
	c.Sent(1200*ms, 0)
	assert.InDelta(t, 0.2, c.busy, 1e-9)
	assert.Equal(t, moment{sec, 0}, c.latest, "the pace shows from the first that is no burst on")
}

func TestABurstIsNoPace(t *testing.T) {
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

func TestTurnsThatNobodyWantedAreSavedUp(t *testing.T) {
	for name, tt := range map[string]struct {
		set    func(*Controller)
		now    time.Duration
		credit float64
		next   time.Duration
	}{
		"whole ones":                   {func(*Controller) {}, 1350 * ms, 3 + 1, 1300 * ms},
		"as many as the burst":         {func(*Controller) {}, 1450 * ms, 4 + 1, 1450 * ms},
		"and no more":                  {func(*Controller) {}, time.Hour, 5, time.Hour},
		"not if there is more already": {func(c *Controller) { c.credit = 9 }, time.Hour, 9, time.Hour},
		"none before the turn":         {func(*Controller) {}, sec, 1, sec},
		"none in a pause":              {func(c *Controller) { c.pause = 3 * sec }, 2 * sec, 1, sec},
		"but as soon as it is over":    {func(c *Controller) { c.pause = 3 * sec }, 3 * sec, 5, 3 * sec},
		"none after a refusal":         {func(c *Controller) { c.open = false }, 2 * sec, 1, sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.credit, c.flying, c.trip = 1, 3, 0.5
			tt.set(c)
			c.Idle(tt.now)
			assert.Equal(t, tt.credit, c.credit)
			assert.InDelta(t, tt.next, c.next, 2)
			if c.credit != 1 {
				assert.Equal(t, 3+4+4, c.room, "with 4 and a round trip's worth beyond those in flight")
			}
		})
	}
}

func TestTakingASendBackUndoesIt(t *testing.T) {
	for name, credit := range map[string]float64{"of the burst": 3, "of the pace": 0} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.credit = credit
			if credit > 0 {
				c.next = 1100 * ms // as Sent will say
			}
			state := func() [5]any { return [...]any{c.sent, c.flying, c.paced, c.credit, c.next} }
			before := state()
			s := c.Sent(sec, 0)
			after := state()
			s.epoch--
			c.Unsend(s)
			assert.Equal(t, after, state(), "it is of another epoch")
			s.epoch++
			c.open = false
			c.Unsend(s)
			assert.Equal(t, after, state(), "the epoch is over")
			c.open = true
			c.Unsend(s)
			assert.Equal(t, before, state())
		})
	}
}

// Turns that were on their way to other processes when the pause began come back
// unused: requests left for a shorter time than turns were handed out.
func TestTurnsThatComeBackInAPauseShortenTheEpoch(t *testing.T) {
	c := paced()
	c.credit = 0
	s := c.Sent(sec, 0)
	c.open = false
	c.refused.at, c.last = sec-150*ms, sec
	for _, last := range []time.Duration{sec - time.Duration(1e9/s.pace), c.refused.at} {
		c.Unsend(s)
		assert.InDelta(t, max(last, c.refused.at), c.last, 2, "a gap less, but not before the refused request")
	}
	s.epoch--
	c.last = sec
	c.Unsend(s)
	assert.Equal(t, sec, c.last, "it is of another epoch")
}

func TestTheRoundTripIsThatOfTheFirstAnswerAndThenSmoothed(t *testing.T) {
	c := paced()
	c.heard, c.timed = false, false
	c.Accepted(3*sec, Send{epoch: 7})
	assert.Zero(t, c.trip, "nobody knows when that left")
	assert.False(t, c.heard)
	c.Accepted(3*sec, Send{epoch: 6, at: sec})
	assert.Equal(t, 2.0, c.trip, "though it is of an earlier epoch")
	c.Accepted(13*sec, Send{epoch: 7, at: 3 * sec})
	assert.Equal(t, 3.0, c.trip)
	c.Accepted(13*sec, Send{epoch: 7, at: 2 * sec})
	assert.Equal(t, 3*sec, c.heardAt, "when the latest of them left")
}

func TestAnswersCountInTheirEpochOnly(t *testing.T) {
	c := paced()
	c.begin, c.total, c.flying, c.room = sec, 100, 2, 4
	c.marks = []Mark{{}, {sec / 2, 100}}
	c.Accepted(2*sec, Send{epoch: 6, at: sec})
	assert.Equal(t, []int{0, 100, 2, 4}, []int{c.accepted, int(c.total), c.flying, c.room})
	c.Accepted(2*sec, Send{epoch: 7, at: sec})
	c.Accepted(3*sec, Send{epoch: 7, at: sec})
	assert.Equal(t, []int{2, 102, 0, 6}, []int{c.accepted, int(c.total), c.flying, c.room})
	assert.Equal(t, []Mark{{sec, 100}, {2 * sec, 101}, {3 * sec, 102}}, c.marks, "the earlier ones are history")
	assert.Zero(t, c.late)
}

func TestWhatIsAnsweredAfterTheRefusalIsLateIfItLeftLater(t *testing.T) {
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

func TestBeforeTheFirstEpochAllThatComesAfterTheRefusalIsLate(t *testing.T) {
	c := New(sec, []Mark{{}, {sec, 50}}, 10, sec)
	c.Accepted(sec+ms, Send{})
	c.Accepted(sec+2*ms, Send{})
	assert.Equal(t, 2, c.late)
	assert.EqualValues(t, 52, c.total)
	assert.Len(t, c.marks, 4, "and belongs to what was accepted before")
}

func TestTheFirstRoundTripIsReckonedFromWhatIsInFlight(t *testing.T) {
	for name, tt := range map[string]struct {
		marks  []Mark
		flying int
		want   float64
		heard  bool
	}{
		"20 in flight at 10/s take two seconds": {[]Mark{{10 * sec, 50}, {15 * sec, 100}, {20 * sec, 150}}, 20, 2, true},
		"none has taken longer than all":        {[]Mark{{10 * sec, 50}, {20 * sec, 51}}, 20, 20, true},
		"nobody knows without an answer":        {[]Mark{{10 * sec, 50}, {20 * sec, 50}}, 20, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(20*sec, tt.marks, tt.flying, sec)
			assert.Equal(t, tt.want, c.trip)
			assert.Equal(t, tt.heard, c.heard)
			assert.Equal(t, 10*sec, c.begin)
			assert.Equal(t, tt.marks[len(tt.marks)-1].Accepted, c.total)
			assert.Equal(t, 1, c.Probes())
		})
	}
}

func TestEarliestIsByAPaceThatIsNotExceededSoon(t *testing.T) {
	for name, tt := range map[string]struct {
		set   func(*Controller)
		ahead int
		want  time.Duration
	}{
		"four times the pace, in an open bracket":       {func(*Controller) {}, 80, 102 * sec},
		"or the best pace of the last minutes":          {func(c *Controller) { c.best = 80 }, 80, 101 * sec},
		"half as much again, in a closed one":           {func(c *Controller) { c.hi = 11 }, 30, 102 * sec},
		"or the best pace, which it may come back to":   {func(c *Controller) { c.hi, c.best = 11, 30 }, 30, 101 * sec},
		"a bracket is open until an epoch was judged":   {func(c *Controller) { c.hi, c.proven = 11, nil }, 80, 102 * sec},
		"some may leave at once":                        {func(c *Controller) { c.credit = 40 }, 80, 101 * sec},
		"twice the cap in each round trip, after it":    {func(c *Controller) { c.flight.cap, c.trip = 20, 1 }, 80, 101500 * ms},
		"or twice the pace that it has":                 {func(c *Controller) { c.flight.cap, c.trip, c.pace = 20, 1, 30 }, 80, 101 * sec},
		"all may":                                       {func(c *Controller) { c.credit = 81 }, 80, 0},
		"of a pace that is a guess nothing is certain":  {func(c *Controller) { c.guessed = true }, 80, 100 * sec},
		"the pause comes first":                         {func(c *Controller) { c.pause = 110 * sec }, 80, 112 * sec},
		"and then the burst":                            {func(c *Controller) { c.open, c.pause, c.burst = false, 110*sec, 40 }, 80, 111 * sec},
		"of a window, all of it may leave at its start": {func(c *Controller) { c.statement.windowed, c.pause = true, 110*sec }, 80, 110 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.proven = []float64{8}
			tt.set(c)
			assert.Equal(t, tt.want, c.Earliest(100*sec, tt.ahead))
		})
	}
}

func TestInTheFirstPauseEarliestIsByFourTimesWhatWasAcceptedUntilThen(t *testing.T) {
	c := New(8*sec, []Mark{{}, {8 * sec, 100}}, 1, 2*sec) // 10 a second, with the pause
	assert.Equal(t, 10*sec, c.Earliest(9*sec, 99), "so many were accepted at once")
	assert.Equal(t, 12*sec, c.Earliest(9*sec, 180))
}

func TestWhenTheNextOneLeaves(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Controller)
		want time.Duration
	}{
		"when its turn comes":                       {func(*Controller) {}, 30 * sec},
		"at once in a burst":                        {func(c *Controller) { c.credit = 1 }, 20 * sec},
		"if there is room":                          {func(c *Controller) { c.credit, c.flying = 1, 4 }, 19*sec + 2*sec},
		"or an answer is lost, after a second":      {func(c *Controller) { c.credit, c.flying, c.trip = 1, 4, 0.1 }, 19*sec + sec},
		"not of less than one":                      {func(c *Controller) { c.credit = 0.9 }, 30 * sec},
		"a probe at once":                           {func(c *Controller) { c.probes = 2 }, 20 * sec},
		"one of them":                               {func(c *Controller) { c.probes, c.flying = 2, 1 }, 19*sec + 2*sec},
		"until something was accepted":              {func(c *Controller) { c.probes, c.flying, c.accepted = 2, 1, 1 }, 30 * sec},
		"after one refusal there is nothing to try": {func(c *Controller) { c.probes, c.flying = 1, 1 }, 30 * sec},
		"never in a pause":                          {func(c *Controller) { c.probes, c.pause = 2, 21*sec }, 21 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.next, c.last, c.trip, c.room = 30*sec, 19*sec, 0.5, 4
			tt.set(c)
			assert.Equal(t, tt.want, c.Next(20*sec, 0))
		})
	}
}

func TestAnEpochBeginsWithTheBurstThatTheSilenceAllows(t *testing.T) {
	for name, tt := range map[string]struct {
		silence float64
		want    int
	}{"a short one": {0.35, 3}, "a long one": {60, 5}, "none": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.open, c.silence, c.trip, c.last = false, tt.silence, 0.5, sec
			c.sent, c.accepted, c.busy, c.raises = 9, 9, 9, 9
			c.start(2 * sec)
			assert.True(t, c.open)
			assert.Equal(t, tally{
				epoch: 8, begin: 2 * sec, last: sec, next: 2 * sec,
				credit: float64(tt.want), granted: tt.want, room: 4 + 4, // a round trip at 8/s
				paces: []moment{{2 * sec, 0}}, latest: moment{2 * sec, 0},
			}, c.tally)
		})
	}
}

func TestThePaceAndTheRoundTripAreToldInTheirUnits(t *testing.T) {
	c := paced()
	c.trip = 0.25
	assert.Equal(t, 10.0, c.Pace())
	assert.Equal(t, 250*ms, c.Trip())
	c.heard = false
	assert.Zero(t, c.Trip(), "nobody knows before an answer")
}

func TestProbingLastsUntilTheFirstSendAfterAPause(t *testing.T) {
	c := paced()
	assert.True(t, c.Probing())
	s := c.Sent(sec, 0)
	assert.False(t, c.Probing())
	c.Refused(sec, s, sec)
	assert.True(t, c.Probing())
}

func TestTheSilenceIsTheLongerOfWhatWasAskedForAndWhatWasNeeded(t *testing.T) {
	c := paced()
	c.asked, c.measure = 2, 3
	assert.Equal(t, 3*sec, c.Silence())
	c.asked = 4
	assert.Equal(t, 4*sec, c.Silence())
}

func TestTheUnitIsASilenceOrTwoRoundTripsOrASecond(t *testing.T) {
	for _, tt := range []struct{ measure, trip, want float64 }{
		{3, 1, 3}, {1, 2, 4}, {0.5, 0.1, 1},
	} {
		c := &Controller{measure: tt.measure, trip: tt.trip, pace: 0.01}
		assert.Equal(t, tt.want, c.unit())
	}
}

// The bracket is open from 8 to 14.4, or closed at 10.5.
func TestWhenThePaceIsRaisedAndByHowMuch(t *testing.T) {
	const closedBy = 10.5
	inf := math.Inf(1)
	fast := func(c *Controller, burst, burst0 float64, held time.Duration) { // for what is proven
		c.busy, c.granted = 99, 2
		c.burst, c.burst0, c.latest.at = burst, burst0, 100*sec-held
	}
	try := func(c *Controller, burst0, over float64, held time.Duration) {
		c.hi, c.base, c.over, c.pace, c.burst0, c.latest.at = closedBy, 10, over, 10*(1+over), burst0, 100*sec-held
	}
	for name, tt := range map[string]struct {
		set     func(*Controller)
		want    float64
		backlog float64
	}{
		"a long queue, and nothing known above":                   {func(c *Controller) { c.hi, c.lo = inf, 10 }, 20, 61},
		"a queue that is gone in three units":                     {func(c *Controller) { c.hi, c.lo = inf, 10 }, 10, 60},
		"the middle of an open bracket":                           {func(*Controller) {}, 12, 61},
		"but twice at most":                                       {func(c *Controller) { c.hi = 1000 }, 20, 61},
		"nobody waits":                                            {func(*Controller) {}, 10, 0},
		"some have waited for three units":                        {func(c *Controller) { c.busy = 6.1 }, 12, 0},
		"but not longer":                                          {func(c *Controller) { c.busy = 6 }, 10, 0},
		"a quarter, where the upper bound is the first guess":     {func(c *Controller) { c.proven, c.hi, c.busy = nil, 10, 6.1 }, 12.5, 0},
		"errors alone prove no pace":                              {func(c *Controller) { c.busy, c.unknown, c.heardAt = 99, 1, c.latest.at-1 }, 10, 0},
		"not before it was heard":                                 {func(c *Controller) { c.busy, c.heard = 99, false }, 10, 0},
		"not as fast as can be":                                   {func(c *Controller) { c.pace, c.lo, c.hi, c.busy = mostPace, mostPace, inf, 99 }, mostPace, 0},
		"a closed bracket is held":                                {func(c *Controller) { c.hi, c.busy = closedBy, 19.9 }, 10, 1e3},
		"and tried after ten units":                               {func(c *Controller) { c.hi, c.busy = closedBy, 20 }, 10.5, 0},
		"or more, if that has found nothing":                      {func(c *Controller) { c.hi, c.busy, c.holding = closedBy, 39, 20 }, 10, 0},
		"not before four requests":                                {func(c *Controller) { c.measure, c.lo, c.latest.at = 1, 10, 99601*ms }, 10, 61},
		"after which it is":                                       {func(c *Controller) { c.measure, c.lo, c.latest.at = 1, 10, 99599*ms }, 12, 61},
		"not before a quarter of a silence":                       {func(c *Controller) { c.lo, c.measure, c.latest.at = 10, 4, 99001*ms }, 10, 1e3},
		"after which it may be":                                   {func(c *Controller) { c.lo, c.measure, c.latest.at = 10, 4, 99*sec }, 12, 1e3},
		"nor before an answer":                                    {func(c *Controller) { c.lo, c.trip, c.latest.at = 10, 4, 95001*ms }, 10, 1e3},
		"which is to be heard first":                              {func(c *Controller) { c.lo, c.trip, c.latest.at = 10, 4, 95*sec }, 12, 1e3},
		"a pace shows only when what was saved up is spent":       {func(c *Controller) { fast(c, 6.1, 0, 3*sec) }, 10, 0},
		"which it is":                                             {func(c *Controller) { fast(c, 6, 0, 3*sec) }, 12, 0},
		"or was at the beginning":                                 {func(c *Controller) { fast(c, 0, 8.1, 3*sec) }, 10, 0},
		"but for what was spent at once":                          {func(c *Controller) { fast(c, 0, 7.9, 3*sec) }, 12, 0},
		"or in the next window":                                   {func(c *Controller) { fast(c, 1e6, 0, 4*sec) }, 12, 0},
		"not before":                                              {func(c *Controller) { fast(c, 1e6, 0, 4*sec-ms) }, 10, 0},
		"a pace that is all but proven shows":                     {func(c *Controller) { fast(c, 1e6, 0, 3*sec); c.lo = 9.6 }, 12, 0},
		"a probe that proves nothing yet goes on after two units": {func(c *Controller) { try(c, 99, 0.05, 4*sec) }, 11, 0},
		"but not before":                                          {func(c *Controller) { try(c, 99, 0.05, 4*sec-ms) }, 10.5, 0},
		"nor beyond 40 percent above its base":                    {func(c *Controller) { try(c, 99, 0.4, 25*sec-ms) }, 14, 0},
		"until that is proven":                                    {func(c *Controller) { try(c, 99, 0.4, 25*sec) }, 14 * 1.5, 0},
		"a probe that is proven is the new base":                  {func(c *Controller) { try(c, 0.5, 0.05, 3*sec) }, 10.5 * 1.1, 0},
		"when what was saved up is spent":                         {func(c *Controller) { try(c, 0.5, 0.05, 3*sec-ms) }, 10.5, 0},
		"and that was answered":                                   {func(c *Controller) { try(c, 0.5, 0.05, 4*sec); c.trip = 1 }, 11, 0},
		"as soon as it was":                                       {func(c *Controller) { try(c, 0.5, 0.05, 4250*ms); c.trip = 1 }, 10.5 * 1.1, 0},
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
			assert.Equal(t, base > 0 && c.base != base, len(c.past) == 0, "what is proven in a probe is another limit than before")
			if c.raises > 0 {
				assert.Equal(t, moment{100 * sec, 33}, c.latest)
				assert.Equal(t, c.latest, c.paces[len(c.paces)-1])
			}
		})
	}
}

func TestAPaceThatWasHeldAtAClosedBracketIsRemembered(t *testing.T) {
	c := paced()
	c.hi, c.proven, c.busy, c.best, c.cost = 10.5, []float64{8}, 10, 9, 3
	c.raise(100*sec, 0)
	assert.Equal(t, []float64{10, 3}, []float64{c.best, c.cost})
	assert.Equal(t, 100*sec, c.bestAt)
	assert.Equal(t, probe{base: 10, began: 10, over: 0.05, from: moment{at: 100 * sec}, holding: 10}, c.probe)
}

func TestAPaceThatHasFallenComesBackByHalvesInTheLogarithm(t *testing.T) {
	c := paced()
	c.best, c.cost, c.busy, c.trip = 160, 3, 6-0.1, 0
	now := 100 * sec
	c.raise(now, 1e6)
	assert.Equal(t, 10.0, c.pace, "not before two silences, whatever waits")
	c.busy = 6
	for _, want := range []float64{40, 80, 80 * math.Sqrt2, 160} {
		c.raise(now, 0)
		require.InDelta(t, want, c.pace, 1e-9)
		if want == 160 {
			break
		}
		now += 750*ms - 1
		c.raise(now, 1e6)
		assert.InDelta(t, want, c.pace, 1e-9, "a pace is kept for a quarter of a silence, and until what was saved up is spent")
		now++
	}
	assert.Equal(t, probe{began: 10, from: moment{at: 102250 * ms}, holding: 10}, c.probe, "it is there")
	assert.InDelta(t, 176, c.hi, 1e-9, "and the bracket is closed")
	assert.Zero(t, c.busy)
}

func TestALongRoundTripMakesThePaceComeBackLater(t *testing.T) {
	c := paced()
	c.best, c.cost, c.trip, c.busy = 40, 3, 2, 8-0.1
	c.raise(100*sec, 0)
	assert.Equal(t, 10.0, c.pace)
	c.busy = 8
	c.raise(100*sec, 0)
	assert.Equal(t, 20.0, c.pace)
	c.raise(103189*ms, 0)
	assert.Equal(t, 20.0, c.pace, "the next step waits for what was saved up to be spent, and for the answer")
	c.raise(103190*ms, 0)
	assert.InDelta(t, 20*math.Sqrt2, c.pace, 1e-9)
}

func TestAPaceThatIsNearlyTheBestDoesNotComeBack(t *testing.T) {
	c := paced()
	c.best, c.hi, c.proven, c.busy = 12.5, 10.5, []float64{8}, 9.9
	c.raise(100*sec, 0)
	assert.Equal(t, 10.0, c.pace)
	c.best = 12.6
	c.raise(100*sec, 0)
	assert.Equal(t, 12.6, c.pace)
}
func TestATimeThatIsTooLongForADurationIsTheLongest(t *testing.T) {
	assert.Equal(t, 1500*ms, duration(1.5))
	for _, s := range []float64{math.MaxInt64 / 1e9, 1e10, 1e30, math.Inf(1)} {
		assert.Equal(t, time.Duration(math.MaxInt64), duration(s), s)
	}
	for _, now := range []time.Duration{0, sec, math.MaxInt64} {
		assert.Equal(t, time.Duration(math.MaxInt64), later(now, math.MaxInt64), now)
	}
}

// A caller that knows only a part of the past may count from a later origin.
func TestAControllerMayBeginBeforeTheOriginOfTime(t *testing.T) {
	const before = -200 * time.Millisecond
	c := New(before, []Mark{{At: before}}, 0, 100*time.Millisecond)
	assert.LessOrEqual(t, c.Paused(), 100*time.Millisecond)
	assert.Zero(t, c.flight.flying, "nor may it know of any request in flight")
	assert.LessOrEqual(t, c.Next(time.Second, 1), time.Second)
}
