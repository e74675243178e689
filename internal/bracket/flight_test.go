package bracket

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// capped returns a controller with a cap of 20, of which so many are in flight.
func capped(sure bool, flying int) *Controller {
	c := paced()
	c.measure, c.flying = 1, flying
	c.flight = flight{flying: flying, cap: 20, sure: sure, hold: 10, since: 90 * sec}
	return c
}

// with is a request that left when so many were in flight, itself included.
func with(flying int) Send {
	return Send{waited: true, epoch: 7, flying: flying, pace: 10, at: 99 * sec}
}

func TestTheNumberInFlightIsSuspectedIfMostOfThemAreUnansweredAfterAPause(t *testing.T) {
	for name, tt := range map[string]struct {
		accepted, refused, unknown int // of 20 others in flight, in the pause
		want                       int
	}{
		"all of them":           {0, 0, 0, 20},
		"half of them":          {10, 0, 0, 20},
		"but not fewer":         {11, 0, 0, 0},
		"not those refused too": {0, 10, 0, 10},
		"nor what is unknown":   {0, 0, 10, 10},
		"two at least":          {0, 18, 0, 2},
		"one is chance":         {0, 19, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(sec, []Mark{{}, {sec, 10}}, 21, sec)
			for range tt.accepted {
				c.Accepted(sec, Send{})
			}
			for range tt.refused {
				c.Refused(sec, Send{}, sec)
			}
			for range tt.unknown {
				c.Unknown(sec, Send{})
			}
			c.Next(2*sec, 100)
			assert.Equal(t, tt.want, c.flight.cap)
			assert.False(t, c.flight.sure)
		})
	}
}

func TestTwoRefusalsWithTheSameNumberInFlightMakeACap(t *testing.T) {
	for name, tt := range map[string]struct {
		suspect, flying, accepted int // the refused ones left with, and the accepted one
		cap, then                 int
	}{
		"the first makes it suspected":                 {0, 50, 40, 0, 50},
		"the second too":                               {50, 50, 40, 49, 50},
		"or about the same":                            {50, 55, 40, 49, 55},
		"or a bit less":                                {50, 46, 40, 45, 46},
		"not with many more":                           {50, 56, 40, 0, 56},
		"of few, one more":                             {4, 5, 3, 3, 5},
		"not two":                                      {4, 6, 3, 0, 6},
		"none if as many were accepted":                {50, 50, 52, 0, 0},
		"but for answers on their way":                 {50, 50, 51, 49, 50},
		"a single request is not one too many":         {1, 1, 1, 0, 0},
		"nothing is learned where nothing is accepted": {50, 50, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.refused = with(tt.flying)
			c.flight.suspect, c.flight.accepted = tt.suspect, tt.accepted
			c.suspectCap(100 * sec)
			assert.Equal(t, []int{tt.cap, tt.then}, []int{c.flight.cap, c.flight.suspect})
			assert.False(t, c.flight.sure, "a rate may be the cause too")
			if tt.cap > 0 {
				assert.Equal(t, 100*sec, c.flight.since)
				assert.Equal(t, c.Hold, c.flight.hold)
			}
		})
	}
}

func TestNoCapIsSuspectedIfAllCallersWereInFlightOrOneWasWrongOfLate(t *testing.T) {
	for name, set := range map[string]func(*Controller){
		"nobody else waited":         func(c *Controller) { c.refused.waited = false },
		"a cap was wrong 10 s ago":   func(c *Controller) { c.flight.dropped = 90 * sec },
		"outcomes are told late":     func(c *Controller) { c.Late = true },
		"nothing, and it is the cap": func(*Controller) {},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.refused = with(50)
			c.flight.suspect, c.flight.accepted = 50, 40
			set(c)
			c.suspectCap(100 * sec)
			assert.Equal(t, name == "nothing, and it is the cap", c.flight.cap > 0)
		})
	}
}

func TestWhatLeftBeforeACapWasChangedDoesNotChangeItBack(t *testing.T) {
	c := capped(true, 20)
	before := with(20)
	before.at = 99 * sec
	require.True(t, c.capRefused(100*sec, with(20)))
	require.Equal(t, 19, c.flight.cap)
	c.Accepted(101*sec, before)
	assert.Equal(t, []int{19, 1}, []int{c.flight.cap, c.flight.strikes})
}

func TestTheMostInFlightThatWasAcceptedIsOfItsEpochOnly(t *testing.T) {
	c := paced()
	c.Accepted(100*sec, with(9))
	c.Accepted(100*sec, with(5))
	c.Accepted(100*sec, Send{epoch: 6, flying: 50, at: sec})
	assert.Equal(t, 9, c.flight.accepted)
	c.Refused(100*sec, with(10), sec)
	c.Next(101*sec, 0)
	assert.Zero(t, c.flight.accepted)
	assert.Equal(t, 10, c.flight.suspect)
}

func TestACapTakesThePlaceOfThePace(t *testing.T) {
	c := capped(true, 18)
	c.next = time.Hour
	before := c.tally
	for range 2 {
		require.Equal(t, 100*sec, c.Next(100*sec, 9), "whatever the pace says")
		s := c.Sent(100*sec, 9)
		assert.Equal(t, c.flight.flying, s.flying)
	}
	assert.Equal(t, 115*sec, c.Next(100*sec, 9), "one leaves when another one has landed, or may be lost")
	c.Unsend(c.Sent(100*sec, 9))
	before.flying, before.sent, before.last = 20, 2, 100*sec
	assert.Equal(t, before, c.tally, "nothing is taken of the pace")

	c.trip = 2
	c.Accepted(101*sec, with(20))
	assert.Equal(t, 101*sec, c.Next(101*sec, 9))
	assert.InDelta(t, 20/c.trip, c.pace, 1e-9, "Little's law")
}

func TestOneMoreLeavesBeyondACapIfAnAnswerMayBeLost(t *testing.T) {
	for name, tt := range map[string]struct {
		trip float64
		want time.Duration
	}{"after 15 seconds": {0.1, 114 * sec}, "or four round trips": {5, 119 * sec}} {
		t.Run(name, func(t *testing.T) {
			c := capped(true, 20)
			c.last, c.trip, c.accepted = 99*sec, tt.trip, 1
			assert.Equal(t, tt.want, c.Next(100*sec, 9))
			assert.Equal(t, time.Hour, c.nextByCap(time.Hour), "now at the latest")
		})
	}
}

func TestNothingLeavesInAPauseThoughTheCapAllowsIt(t *testing.T) {
	c := capped(true, 3)
	c.Refused(100*sec, with(21), 5*sec)
	assert.Equal(t, 105*sec, c.Next(100*sec, 9))
}

func TestACapThatIsOnlySuspectedIsTriedByOneMore(t *testing.T) {
	c := capped(false, 20)
	c.last, c.trip, c.silence, c.lo = 100*sec, 2, 3, 1
	assert.Greater(t, c.Next(100*sec, 9), 100*sec, "not before anything was accepted")
	c.accepted = 1
	assert.Equal(t, 100*sec, c.Next(100*sec, 9))
	s := c.Sent(100*sec, 9)
	assert.Greater(t, c.Next(100*sec, 9), 100*sec, "one")
	t.Run("which is accepted", func(t *testing.T) {
		c := *c
		c.Accepted(101*sec, s)
		assert.Equal(t, flight{flying: 20, dropped: 100 * sec}, c.flight, "it was no cap")
	})
	t.Run("which is refused", func(t *testing.T) {
		burst := c.burst
		assert.True(t, c.Refused(101*sec, s, 0))
		assert.Equal(t, []int{20, 0, 0}, []int{c.flight.cap, c.flight.extra, c.flight.strikes})
		assert.True(t, c.flight.sure)
		assert.Equal(t, 20.0, c.flight.hold, "the next try comes later")
		assert.Equal(t, 101*sec, c.flight.since)
		c.Accepted(101*sec, with(20))
		require.Equal(t, 101*sec, c.Next(101*sec, 9), "there is no pause where the service asks for none")
		assert.Equal(t, []float64{10, burst, 4}, []float64{c.pace, c.burst, c.silence}, "and nothing is learned of a rate")
		assert.Empty(t, c.past)
	})
}

func TestTriesBeyondACapGetRarerAsFarAsThoseOfAPaceDo(t *testing.T) {
	c := capped(true, 20)
	for _, want := range []float64{20, 40, 40} {
		require.True(t, c.capRefused(100*sec, with(21)))
		assert.Equal(t, want, c.flight.hold)
	}
}

func TestASureCapGrowsByTriesThatDouble(t *testing.T) {
	c := capped(true, 20)
	c.last, c.accepted = 100*sec, 1
	assert.Greater(t, c.Next(100*sec, 9), 100*sec, "not within ten units")
	for _, want := range []int{1, 2, 4} {
		require.Equal(t, 101*sec, c.Next(101*sec, 9))
		assert.Equal(t, want, c.flight.extra)
		var s Send
		for c.Next(101*sec, 9) == 101*sec {
			s = c.Sent(101*sec, 9)
		}
		c.Accepted(101*sec, s)
		assert.Equal(t, s.flying, c.flight.cap)
		c.Sent(101*sec, 9)
	}
	assert.Equal(t, 27, c.flight.cap)

	c = capped(true, 200)
	c.flight.cap = 200
	require.Equal(t, 101*sec, c.Next(101*sec, 9))
	assert.Equal(t, 10, c.flight.extra, "the first is a twentieth")
}

func TestACapThatIsRefusedIsLoweredOnceAndThenDropped(t *testing.T) {
	c := capped(true, 20)
	require.True(t, c.capRefused(100*sec, with(19)))
	assert.Equal(t, []int{18, 1}, []int{c.flight.cap, c.flight.strikes})
	assert.False(t, c.capRefused(100*sec, with(18)))
	assert.Equal(t, flight{flying: 20}, c.flight)

	c = capped(true, 20)
	require.True(t, c.capRefused(100*sec, with(19)))
	require.True(t, c.capRefused(100*sec, with(20)), "what is beyond it proves it right")
	assert.Zero(t, c.flight.strikes)

	c = capped(true, 20)
	require.True(t, c.capRefused(100*sec, with(14)))
	c = capped(true, 20)
	assert.False(t, c.capRefused(100*sec, with(13)), "far below the cap, that is not what is limited")
	c = capped(false, 20)
	assert.False(t, c.capRefused(100*sec, with(20)), "nor if it was only suspected")

	c = capped(true, 1)
	c.flight.cap = 1
	require.True(t, c.capRefused(100*sec, with(1)))
	assert.Equal(t, 1, c.flight.cap, "one may always leave")
}

func TestWhoeverDropsACapGoesOnByThePace(t *testing.T) {
	c := capped(true, 20)
	c.accepted, c.hi, c.refused.pace = 99, 16, 10
	require.True(t, c.Refused(100*sec, with(5), 0))
	assert.Equal(t, 250*ms, c.Paused()-100*sec)
	c.flight.flying = 0 // all are answered
	c.Next(101*sec, 9)
	assert.Len(t, c.past, 1)
	assert.Zero(t, c.flight.cap)
}

// Nothing at all may be known of a rate until then.
func TestARefusalThatTheNumberInFlightExplainsSaysNothingOfAStatement(t *testing.T) {
	c := capped(true, 20)
	c.accepted, c.proven = 1, nil
	require.True(t, c.Refused(100*sec, with(21), 0))
	c.Stated(60, time.Minute)
	c.Next(100*sec, 9)
	assert.Equal(t, unheard, c.statement.belief)
}

func TestUnknownMovesNothingButThePlacesInFlight(t *testing.T) {
	for name, epoch := range map[string]uint32{"of this epoch": 7, "of an earlier one": 6} {
		t.Run(name, func(t *testing.T) {
			c := capped(true, 20)
			c.marks = []Mark{{}, {sec, 1}}
			want := *c
			want.flight.flying--
			if epoch == 7 {
				want.flying--
				want.room++
				want.unknown++
			}
			s := with(21)
			s.epoch = epoch
			c.Unknown(100*sec, s)
			assert.Equal(t, want, *c)
		})
	}
	c := paced()
	c.Unknown(100*sec, Send{})
	assert.Zero(t, c.flight.flying, "there is none below zero")
}

// A concurrency is a limit on the number in flight, whose answers take so long.
// Refusals come at once. It returns how long so many calls take, and how many
// requests were refused.
func concurrency(t *testing.T, limit int, answer, retryAfter time.Duration, calls int) (took time.Duration, refused int) {
	t.Helper()
	type flying struct {
		at time.Duration
		s  Send
	}
	var served []flying // by the time of their answer
	// 64 have left at once; limit of them are served.
	c := New(0, []Mark{{}}, 64, retryAfter)
	for range limit {
		served = append(served, flying{answer, Send{}})
	}
	for range 64 - limit - 1 {
		c.Refused(0, Send{}, retryAfter)
	}
	waiting, now := calls-limit, time.Duration(0)
	for waiting > 0 || len(served) > 0 {
		require.Less(t, now, time.Hour)
		at := now
		if waiting > 0 {
			at = c.Next(now, waiting)
		}
		switch {
		case len(served) > 0 && (waiting == 0 || served[0].at <= at):
			now = max(now, served[0].at)
			c.Accepted(now, served[0].s)
			served = slices.Delete(served, 0, 1)
		case at > now:
			now = at
		default:
			waiting--
			s := c.Sent(now, waiting)
			if len(served) < limit {
				served = append(served, flying{now + answer, s})
				continue
			}
			refused++
			waiting++
			c.Refused(now, s, retryAfter)
		}
	}
	return now, refused
}

func TestALimitOnTheNumberInFlightIsFoundAndKept(t *testing.T) {
	for name, tt := range map[string]struct {
		limit      int
		answer     time.Duration
		retryAfter time.Duration
		most       float64 // of the ideal
	}{
		"5, 2 s":                  {5, 2 * sec, 0, 1.3},
		"20, 2 s":                 {20, 2 * sec, 0, 1.3},
		"20, 5 s":                 {20, 5 * sec, 0, 1.3},
		"20, 2 s, Retry-After: 1": {20, 2 * sec, sec, 1.5},
		"50, 500 ms":              {50, 500 * ms, 0, 1.5},
	} {
		t.Run(name, func(t *testing.T) {
			const calls = 500
			took, refused := concurrency(t, tt.limit, tt.answer, tt.retryAfter, calls)
			times := seconds(took) / (seconds(tt.answer) * calls / float64(tt.limit))
			t.Logf("%.2f times the ideal, %d refused", times, refused)
			assert.LessOrEqual(t, times, tt.most)
			assert.LessOrEqual(t, refused, 30)
		})
	}
}

func TestTriesBeyondACapStayWithinHalfOfItHoweverManyAreAccepted(t *testing.T) {
	c := capped(true, 20)
	c.flight.extra, c.flight.step, c.accepted = 1, 1, 1
	for range 1000 {
		s := with(c.flight.cap + 1)
		s.at = c.flight.since + 1
		c.Accepted(100*sec, s)
		require.Positive(t, c.flight.extra)
		require.LessOrEqual(t, c.flight.extra, c.flight.cap/2)
	}
	assert.Equal(t, 1020, c.flight.cap)
}

func TestACapThatTurnsOutWrongLeavesThePaceAsItWas(t *testing.T) {
	c := capped(true, 20)
	c.Accepted(100*sec, with(5))
	require.NotEqual(t, 10.0, c.pace)
	c.dropCap()
	assert.InDelta(t, 10, c.pace, 1e-9)
}
