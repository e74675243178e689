package bracket

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// swift returns a controller for a service that accepts a request after four seconds and
// refuses one after 10 ms.
func swift() *Controller {
	c := paced()
	c.trip, c.notice, c.noticed = 4, 0.01, true
	return c
}

func TestRequestsThatWereNotRefusedInTimeCountAsAcceptedIfRefusalsAreQuick(t *testing.T) {
	c := swift()
	c.heardOn = 9 * sec
	c.Sent(10*sec, 9)
	c.Sent(10*sec, 9)
	s := c.Sent(10*sec, 9)
	require.True(t, c.Refused(10*sec+10*ms, s, sec))
	assert.Equal(t, 2, c.passed(12*sec))
	assert.Zero(t, c.passed(19*sec), "no response has arrived for two round trips, so the requests may be lost")
	c.trip, c.heardOn = 0.02, 12*sec
	assert.Zero(t, c.passed(12*sec), "refusals take more than a quarter of a round trip, so they are not quick")
}

func TestRequestIsKnownToBeAcceptedAfterADelay(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*Controller)
		want float64
	}{
		"refusals are quick: twice as long as they take":               {func(*Controller) {}, 0.02},
		"refusals are not quick: a round trip":                         {func(c *Controller) { c.notice = 1 }, 4},
		"it is not known how long refusals take: a round trip":         {func(c *Controller) { c.notice = 0 }, 4},
		"outcomes are reported late: a round trip":                     {func(c *Controller) { c.Late = true }, 4},
		"the round trip is not known: twice as long as refusals take":  {func(c *Controller) { c.heard, c.trip = false, 0 }, 0.02},
		"the round trip is not known, and refusals take long: unknown": {func(c *Controller) { c.heard, c.trip, c.notice = false, 0, 1 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := swift()
			tt.set(c)
			assert.InDelta(t, tt.want, c.delay(), 1e-9)
		})
	}
}

func TestTimeThatRefusalsTakeIsBoundedAndThenMeasured(t *testing.T) {
	c := New(sec, []Mark{{}, {sec, 0}}, 1, 0, sec)
	assert.InDelta(t, 1, c.notice, 1e-9, "the bound is the age of the account, one second")
	c.notices(0.01)
	assert.InDelta(t, 0.01, c.notice, 1e-9, "the first timed refusal replaces the bound")
	c.notices(5)
	assert.InDelta(t, 0.02+(5-0.01)/8-0.01, c.notice, 1e-9)
	c.notices(0.01)
	assert.Less(t, c.notice, 0.6)
}

func TestCapIsDroppedAsSoonAsARequestBeyondItIsNotRefusedInTime(t *testing.T) {
	c := swift()
	c.setCap(10*sec, 20)
	c.flight.flying, c.flying = 20, 20
	require.Equal(t, 10*sec, c.Next(10*sec, 9), "a request beyond the cap is sent at once")
	c.Sent(10*sec, 9)
	require.Equal(t, 10*sec+20*ms, c.Next(10*sec, 9))
	c.Next(10*sec+20*ms, 9)
	assert.Zero(t, c.flight.cap)
}

func TestPaceIsNotRaisedWhileRequestsAreLost(t *testing.T) {
	for _, heard := range []bool{false, true} {
		c := swift()
		c.hi, c.pace = 1e6, 10
		c.paced = 1
		if heard {
			c.heardOn = 19 * sec
		}
		c.flying = 50
		c.Sent(20*sec, 1000)
		assert.Equal(t, heard, c.pace > 10, "a response arrived recently: %v", heard)
	}
}

// Requests that are sent together may overtake each other on the way. The service would
// then refuse one of those within the cap, and the cap would be dropped although it is
// right.
func TestRequestBeyondACapIsNotSentTogetherWithThoseThatFillIt(t *testing.T) {
	c := swift()
	c.setCap(10*sec, 20)
	c.flight.flying, c.flying = 19, 19
	c.Sent(10*sec, 9)
	require.Equal(t, 20, c.flight.flying)
	assert.Equal(t, 10*sec+400*ms, c.Next(10*sec, 9), "four turns at a pace of 10 per second")
	assert.Equal(t, 10*sec+400*ms, c.Next(10*sec+400*ms, 9))
}

// At a low pace, responses are rare, and requests that take very long may be in flight all
// the time.
func TestServiceCountsAsRespondingIfItsResponsesAreAsFarApartAsTheRequests(t *testing.T) {
	c := swift()
	c.trip, c.notice, c.pace = 0.05, 0.005, 2
	c.flying, c.heardOn = 3, 10*sec
	assert.True(t, c.responding(11*sec))
	assert.False(t, c.responding(12*sec))
}

func TestRequestsInFlightAreNotSettledIfOthersGotNoResponse(t *testing.T) {
	c := swift()
	c.heardOn = 10 * sec
	lost := c.Sent(10*sec, 9)
	c.Sent(10*sec, 9)
	require.True(t, c.settled(11*sec))
	c.Unknown(11*sec, lost)
	assert.False(t, c.settled(11*sec))
}

// These decisions depend only on whether requests are refused, so they must not wait for the
// round trip of four seconds.
func TestControllerDoesNotWaitForARoundTripIfRefusalsAreQuick(t *testing.T) {
	t.Run("step", func(t *testing.T) {
		c := swift()
		c.measure, c.pace = 0.01, 1000
		assert.InDelta(t, 1.25*0.02, c.step(), 1e-9)
		c.best, c.cost = 2000, 0.01
		assert.InDelta(t, 1.25*0.02, c.step(), 1e-9, "below the best pace")
	})
	t.Run("unit", func(t *testing.T) {
		c := swift()
		c.measure = 0.5
		assert.InDelta(t, 1, c.unit(), 1e-9)
	})
	t.Run("a pause that the controller chooses", func(t *testing.T) {
		for _, timed := range []bool{true, false} {
			c := swift()
			c.timed = timed
			require.True(t, c.Refused(10*sec, c.Sent(10*sec, 9), 0))
			assert.Equal(t, 10*sec+250*ms, c.Paused(), "timed: %v", timed)
		}
	})
	t.Run("silence", func(t *testing.T) {
		c := swift()
		require.True(t, c.Refused(10*sec, c.Sent(10*sec, 9), sec))
		c.judge(11*sec, 9)
		assert.InDelta(t, 1, c.quiet, 1e-9)
		assert.InDelta(t, 1, c.wanted, 1e-9)
	})
	t.Run("first guess", func(t *testing.T) {
		c := &Controller{Constants: constants, trip: 4, heard: true, notice: 0.01, noticed: true, closed: 20 * sec}
		c.marks, c.begin, c.total, c.ended = []Mark{{20 * sec, 0}}, 20*sec, 10, 20*sec
		c.judgeFirst(21*sec, 1)
		assert.InDelta(t, 4*10, c.pace, 1e-9, "four times the rate, and not twice")
	})
	t.Run("proof of a raised pace", func(t *testing.T) {
		c := swift()
		c.heardOn, c.pace, c.burst0 = 100*sec, 20, 9
		c.probe = probe{base: 10, began: 10, over: 1}
		c.latest.at = 100*sec - 1100*ms // proven after (9+1)/(20-10) s plus 1.25 times the delay
		c.measure = 0.1
		c.raise(100*sec, 1e3)
		assert.InDelta(t, 20, c.base, 1e-9)
	})
	t.Run("next step back to the best pace", func(t *testing.T) {
		c := swift()
		c.heardOn, c.pace, c.burst0, c.best, c.cost = 100*sec, 11, 1e6, 100, 0.1
		c.probe = probe{base: 10, began: 10, over: 0.1, returning: true}
		c.latest.at, c.measure = 98*sec, 0.1 // two units of one second
		c.raise(100*sec, 1e3)
		assert.Greater(t, c.pace, 11.0)
	})
	t.Run("wait before the return to the best pace", func(t *testing.T) {
		c := swift()
		c.heardOn, c.best, c.cost, c.busy, c.measure = 100*sec, 100, 0.1, 1, 0.1
		c.raise(100*sec, 1e3)
		assert.True(t, c.returning)
	})
}

func TestRefusalsWithAnUnknownSendTimeRaiseTheBoundOfTheTimeThatRefusalsTake(t *testing.T) {
	c := New(100*ms, []Mark{{}}, 9, 0, sec)
	c.Refused(300*ms, Send{}, sec)
	assert.InDelta(t, 0.3, c.notice, 1e-9)
	c.notices(0.01)
	c.Refused(900*ms, Send{}, sec)
	assert.InDelta(t, 0.01, c.notice, 1e-9, "no bound is needed once a refusal has been timed")
}

func TestFirstGuessCountsRequestsInFlightOnlyAfterTwiceTheTimeThatRefusalsTake(t *testing.T) {
	for _, after := range []time.Duration{10 * ms, 20 * ms} {
		c := &Controller{Constants: constants, notice: 0.01, noticed: true, closed: 20 * sec}
		c.last, c.flight.flying = 20*sec, 19
		c.marks, c.begin, c.total, c.ended = []Mark{{20 * sec, 0}}, 20*sec, 1, 20*sec
		c.judgeFirst(20*sec+after, 1)
		assert.Equal(t, after == 20*ms, c.burst0 > 10, "after %v", after)
	}
}

func TestAcceptedRequestsInFlightEndASeriesOfProbes(t *testing.T) {
	c := swift()
	c.heardOn = 9 * sec
	c.probes = 3
	c.Sent(10*sec, 9)
	s := c.Sent(10*sec, 9)
	require.True(t, c.Refused(10*sec+10*ms, s, 0))
	require.Equal(t, 4, c.Probes(), "it is too early to know about the other request")
	c.Next(c.Paused(), 9)
	assert.Equal(t, 1, c.Probes())
}

func TestRefusalThatTakesLessThanTwiceAsLongCountsInFull(t *testing.T) {
	c := swift()
	c.notices(0.018)
	assert.InDelta(t, 0.018, c.notice, 1e-9)
}
