package bracket

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// capped returns a controller with a cap of 20 and the given number of requests in
// flight.
func capped(confirmed bool, flying int) *Controller {
	c := paced()
	c.measure, c.flying = 1, flying
	c.flight = flight{flying: flying, cap: 20, confirmed: confirmed, hold: 10, since: 90 * sec}
	return c
}

// with returns a request that was sent with the given number in flight, including itself.
func with(flying int) Send {
	return Send{waited: true, epoch: 7, flying: flying, pace: 10, at: 99 * sec}
}

func TestCapIsSetIfHalfOfTheRequestsInFlightHaveNoResponseAfterAPause(t *testing.T) {
	for name, tt := range map[string]struct {
		accepted, refused, unknown int // outcomes of 20 other requests in flight that arrive during the pause
		want                       int
	}{
		"no request has an outcome":                     {0, 0, 0, 20},
		"half of the requests were accepted":            {10, 0, 0, 20},
		"more than half of the requests were accepted":  {11, 0, 0, 0},
		"refused requests do not count":                 {0, 10, 0, 10},
		"requests with an unknown outcome do not count": {0, 0, 10, 10},
		"two requests without an outcome are enough":    {0, 18, 0, 2},
		"one request without an outcome is not enough":  {0, 19, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(sec, []Mark{{}, {sec, 10}}, 21, 0, sec)
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
			assert.False(t, c.flight.confirmed)
		})
	}
}

func TestTwoRefusalsWithTheSameNumberInFlightSetACap(t *testing.T) {
	for name, tt := range map[string]struct {
		suspect, flying, accepted int // numbers in flight when the two refused requests and the accepted one were sent
		cap, then                 int
	}{
		"the first refusal only makes the number suspect":            {0, 50, 40, 0, 50},
		"the second refusal with the same number sets a cap":         {50, 50, 40, 49, 50},
		"a number that is ten percent larger sets a cap":             {50, 55, 40, 49, 55},
		"a slightly smaller number sets a cap":                       {50, 46, 40, 45, 46},
		"a number that is twelve percent larger sets no cap":         {50, 56, 40, 0, 56},
		"a small number that is larger by one sets a cap":            {4, 5, 3, 3, 5},
		"a small number that is larger by two sets no cap":           {4, 6, 3, 0, 6},
		"no cap if a request with two more in flight was accepted":   {50, 50, 52, 0, 0},
		"an accepted request with one more in flight does not count": {50, 50, 51, 49, 50},
		"a single request in flight sets no cap":                     {1, 1, 1, 0, 0},
		"no cap if nothing was accepted":                             {50, 50, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.refused = with(tt.flying)
			c.flight.suspect, c.flight.accepted = tt.suspect, tt.accepted
			c.suspectCap(100 * sec)
			assert.Equal(t, []int{tt.cap, tt.then}, []int{c.flight.cap, c.flight.suspect})
			assert.False(t, c.flight.confirmed, "the cap should not count as confirmed, because the cause may be a rate")
			if tt.cap > 0 {
				assert.Equal(t, 100*sec, c.flight.since)
				assert.Equal(t, c.Hold, c.flight.hold)
			}
		})
	}
}

func TestNoCapIsSetIfItIsUncertainThatTheNumberInFlightIsTheCause(t *testing.T) {
	for name, set := range map[string]func(*Controller){
		"no other request was waiting":         func(c *Controller) { c.refused.waited = false },
		"a cap was wrong 10 s ago":             func(c *Controller) { c.flight.dropped, c.flight.doubt = 90*sec, 20 },
		"there is no doubt, so the cap is set": func(*Controller) {},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.refused = with(50)
			c.flight.suspect, c.flight.accepted = 50, 40
			set(c)
			c.suspectCap(100 * sec)
			assert.Equal(t, name == "there is no doubt, so the cap is set", c.flight.cap > 0)
		})
	}
}

// Otherwise, a fleet would refuse far more requests than a single process, or use less of the limit.
func TestCapIsAlsoSetIfOutcomesAreReportedLate(t *testing.T) {
	c := paced()
	c.Late = true
	c.refused = with(50)
	c.flight.suspect, c.flight.accepted = 50, 40
	assert.False(t, c.Capped())
	c.suspectCap(100 * sec)
	assert.True(t, c.Capped())
}

// The requests that have no response may be long polls.
func TestCapWithoutResponsesIsDroppedIfARequestBeyondItIsNotRefused(t *testing.T) {
	c := capped(false, 20)
	c.trip, c.last, c.epoch = 0.5, 90*sec, 7
	c.Next(92*sec-1, 100)
	require.Zero(t, c.flight.extra, "a request beyond the cap should not be sent before four round trips are over")
	require.Equal(t, 92*sec, c.Next(92*sec, 100))
	require.Equal(t, 1, c.flight.extra)
	c.Sent(92*sec, 100)
	assert.Equal(t, 93*sec, c.Next(92*sec, 100), "within two round trips, the request may still be refused")
	assert.Equal(t, 20, c.flight.cap)
	assert.Equal(t, 93*sec, c.Next(93*sec, 100))
	assert.Zero(t, c.flight.cap)
	assert.Equal(t, []any{uint32(8), 93 * sec, 0}, []any{c.epoch, c.begin, c.sent}, "the requests without a response should not count in the next judgement")
}

func TestRequestSentBeforeACapWasLoweredDoesNotRaiseIt(t *testing.T) {
	c := capped(true, 20)
	before := with(20)
	before.at = 99 * sec
	require.True(t, c.capRefused(100*sec, with(20)))
	require.Equal(t, 19, c.flight.cap)
	c.Accepted(101*sec, before)
	assert.Equal(t, []int{19, 1}, []int{c.flight.cap, c.flight.strikes})
}

func TestLargestAcceptedNumberInFlightIsCountedPerEpoch(t *testing.T) {
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

func TestCapReplacesThePace(t *testing.T) {
	c := capped(true, 18)
	c.next = time.Hour
	before := c.tally
	for range 2 {
		require.Equal(t, 100*sec, c.Next(100*sec, 9), "the request should be sent although its paced turn is far away")
		s := c.Sent(100*sec, 9)
		assert.Equal(t, c.flight.flying, s.flying)
	}
	assert.Equal(t, 101*sec+ms, c.Next(100*sec, 9), "the next request should wait until another one has landed, or may be lost")
	c.Unsend(c.Sent(100*sec, 9))
	before.flying, before.sent, before.last, before.gap = 20, 2, 100*sec, 100
	assert.Equal(t, before, c.tally, "nothing else in the tally should change")

	c.trip = 2
	c.Accepted(101*sec, with(20))
	assert.Equal(t, 101*sec, c.Next(101*sec, 9))
	assert.InDelta(t, 20/c.trip, c.pace, 1e-9, "the pace should follow Little's law")
}

func TestRequestIsSentBeyondACapIfAResponseMayBeLost(t *testing.T) {
	for name, tt := range map[string]struct {
		trip   float64
		stalls int
		want   time.Duration
	}{
		"after a second":                                       {0.1, 0, 100*sec + ms},
		"after four round trips":                               {0.5, 0, 101 * sec},
		"later if such a request was refused":                  {0.1, 2, 103*sec + 4*ms},
		"after 15 seconds if such requests were refused often": {0.1, 100, 114 * sec},
		"after four long round trips, likewise":                {5, 100, 119 * sec},
	} {
		t.Run(name, func(t *testing.T) {
			c := capped(true, 20)
			c.last, c.trip, c.accepted, c.flight.stalls = 99*sec, tt.trip, 1, tt.stalls
			assert.Equal(t, tt.want, c.Next(100*sec, 9))
			assert.Equal(t, time.Hour, c.nextByCap(time.Hour), "the result should not be before now")
		})
	}
}

// Requests such as watches stay open for hours. If they were taken for a limit on the number
// in flight, one request in 15 s would be sent.
func TestACapIsRaisedByARequestThatIsSentAlthoughNoneHasLanded(t *testing.T) {
	c := capped(true, 20)
	c.last, c.trip, c.accepted, c.timed = 99*sec, 0.1, 1, true
	require.Equal(t, 100*sec+ms, c.Next(99*sec, 9))
	s := c.Sent(100*sec, 9)
	require.Equal(t, 21, s.flying)
	assert.Equal(t, 101*sec+ms, c.Next(100*sec, 9), "a service that hangs gets about one request per second")
	c.Accepted(100*sec, s)
	assert.Equal(t, 21, c.flight.cap)

	c = capped(true, 20)
	c.last, c.trip, c.accepted, c.unknown = 99*sec, 0.1, 1, 1
	assert.Equal(t, 114*sec, c.Next(100*sec, 9), "a request failed, so responses may be lost")

	c = capped(true, 20)
	c.last, c.trip, c.accepted = 99*sec, 0.1, 1
	c.Refused(100*sec, c.Sent(100*sec, 9), 0)
	assert.Equal(t, 20, c.flight.cap, "a refused one confirms the cap")
	assert.Equal(t, 1, c.flight.stalls)
}

func TestNoRequestIsSentDuringAPauseEvenIfTheCapAllowsIt(t *testing.T) {
	c := capped(true, 3)
	c.Refused(100*sec, with(21), 5*sec)
	assert.Equal(t, 105*sec, c.Next(100*sec, 9))
}

func TestUnconfirmedCapIsTestedByOneExtraRequest(t *testing.T) {
	c := capped(false, 20)
	c.last, c.trip, c.silence, c.lo = 100*sec, 2, 3, 1
	assert.Greater(t, c.Next(100*sec, 9), 100*sec, "there should be no trial before a request has been accepted")
	c.accepted, c.flight.accepted = 1, 20
	assert.Equal(t, 100*sec+25*time.Millisecond, c.Next(100*sec, 9), "requests should not all be sent at once")
	s := c.Sent(100*sec+25*time.Millisecond, 9)
	assert.Greater(t, c.Next(101*sec, 9), 101*sec, "only one extra request should be sent")
	t.Run("extra request is accepted", func(t *testing.T) {
		c := *c
		c.Accepted(101*sec, s)
		assert.Equal(t, flight{flying: 20, dropped: c.last, doubt: leastDoubt}, c.flight, "the cap should be dropped")
	})
	t.Run("extra request is refused", func(t *testing.T) {
		burst := c.burst
		assert.True(t, c.Refused(101*sec, s, 0))
		assert.Equal(t, []int{20, 0, 0}, []int{c.flight.cap, c.flight.extra, c.flight.strikes})
		assert.True(t, c.flight.confirmed)
		assert.Equal(t, 20.0, c.flight.hold, "the next trial should come later")
		assert.Equal(t, 101*sec, c.flight.since)
		c.Accepted(101*sec, with(20))
		require.Equal(t, 101*sec, c.Next(101*sec, 9), "there should be no pause without Retry-After")
		assert.Equal(t, []float64{10, burst, 4}, []float64{c.pace, c.burst, c.silence}, "nothing should be learned about a rate")
		assert.Empty(t, c.past)
	})
}

// A rate limit with slow responses keeps looking like a limit on the number in flight.
func TestEachWrongCapPreventsTheNextOneForLonger(t *testing.T) {
	c := capped(false, 20)
	c.last = 100 * sec
	for _, want := range []float64{20, 80, 320, mostDoubt, mostDoubt} {
		c.dropCap()
		require.Zero(t, c.flight.cap)
		assert.Equal(t, want, c.flight.doubt)
		now := c.flight.dropped + duration(want) - 1
		c.suspectCap(now)
		assert.Zero(t, c.flight.cap, "no cap should be set so soon after a wrong one")
		c.suspectCap(now + 1)
		assert.Equal(t, 20, c.flight.cap)
	}
	c.flight.confirmed = true
	c.dropCap()
	assert.Equal(t, leastDoubt, c.flight.doubt, "a limit that existed may come back, so the doubt should be short")
}

// As many requests as a wrong cap allowed were accepted at once, so they were a burst, unless
// a refusal had confirmed the cap.
func TestWrongCapShowsHowManyRequestsTheLimitCanSaveUp(t *testing.T) {
	for confirmed, want := range map[bool]float64{false: 20, true: 5.9} {
		c := capped(confirmed, 20)
		c.dropCap()
		assert.InDelta(t, want, c.burst0, 1e-9, "a request beyond the cap was refused: %v", confirmed)
	}
}

func TestTrialsBeyondACapBecomeRarerButNotRarerThanProbes(t *testing.T) {
	c := capped(true, 20)
	for _, want := range []float64{20, 40, 40} {
		require.True(t, c.capRefused(100*sec, with(21)))
		assert.Equal(t, want, c.flight.hold)
	}
}

func TestCapIsTestedAgainAfterTenUnitsOrTenRoundTrips(t *testing.T) {
	for trip, want := range map[float64]time.Duration{0.1: 100 * sec, 5: 140 * sec} {
		c := capped(true, 20)
		c.trip, c.notice, c.noticed = trip, 0.01, true // quick refusals, so the unit does not depend on the round trip
		require.Equal(t, 1.0, c.unit())
		c.nextByCap(want)
		assert.Zero(t, c.flight.extra, "round trips of %v s", trip)
		c.nextByCap(want + 1)
		assert.Equal(t, 1, c.flight.extra, "round trips of %v s", trip)
	}
}

func TestConfirmedCapGrowsByStepsThatDouble(t *testing.T) {
	c := capped(true, 20)
	c.last, c.accepted, c.trip = 100*sec, 1, 0 // without a round trip, requests may be sent together
	assert.Greater(t, c.Next(100*sec, 9), 100*sec, "there should be no trial within ten units")
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
	assert.Equal(t, 10, c.flight.extra, "the first step should be a twentieth of the cap")
}

func TestCapIsLoweredOnTheFirstRefusalWithinItAndDroppedOnTheSecond(t *testing.T) {
	c := capped(true, 20)
	require.True(t, c.capRefused(100*sec, with(19)))
	assert.Equal(t, []int{18, 1}, []int{c.flight.cap, c.flight.strikes})
	assert.False(t, c.capRefused(100*sec, with(18)))
	assert.Equal(t, flight{flying: 20, doubt: leastDoubt}, c.flight)

	c = capped(true, 20)
	require.True(t, c.capRefused(100*sec, with(19)))
	require.True(t, c.capRefused(100*sec, with(20)), "a refusal beyond the cap should confirm it")
	assert.Zero(t, c.flight.strikes)

	c = capped(true, 20)
	require.True(t, c.capRefused(100*sec, with(14)))
	c = capped(true, 20)
	require.True(t, c.capRefused(100*sec, with(13)), "one refusal far below the cap should not disprove it, because it may be a fault")
	assert.Equal(t, []int{20, 1}, []int{c.flight.cap, c.flight.strikes})
	require.True(t, c.capRefused(111*sec, with(13)), "a refusal after more than ten units should count as the first one")
	assert.Equal(t, 1, c.flight.strikes)
	assert.False(t, c.capRefused(112*sec, with(13)), "two refusals far below the cap should disprove it")
	c = capped(false, 20)
	assert.False(t, c.capRefused(100*sec, with(20)), "a refusal within an unconfirmed cap should disprove it")

	c = capped(true, 1)
	c.flight.cap = 1
	require.True(t, c.capRefused(100*sec, with(1)))
	assert.Equal(t, 1, c.flight.cap, "the cap should be at least one")
}

// A token bucket accepts requests beyond the cap until its tokens are used up.
func TestCapIsDroppedAfterThreeRaisesThatRefusalsHaveUndone(t *testing.T) {
	raise := func(c *Controller, at time.Duration, refusedBeyond bool) (explained bool) {
		if refusedBeyond {
			c.capRefused(at, with(c.flight.cap+1))
		}
		c.flight.extra = 1
		c.flight.raise(c.flight.cap + 1)
		c.flight.strikes = 0
		return c.capRefused(at, with(c.flight.cap))
	}
	c := capped(true, 20)
	for i, want := range []bool{true, true, false} {
		assert.Equal(t, want, raise(c, time.Duration(100+20*i)*sec, false))
	}
	assert.Zero(t, c.flight.cap)
	c = capped(true, 20)
	for i := range 9 {
		assert.True(t, raise(c, time.Duration(100+20*i)*sec, true), "a refusal beyond the cap should confirm it")
	}
}

func TestControllerContinuesWithThePaceAfterACapIsDropped(t *testing.T) {
	c := capped(true, 20)
	c.accepted, c.hi, c.refused.pace, c.flight.strikes = 99, 16, 10, 1
	require.True(t, c.Refused(100*sec, with(5), 0))
	assert.Equal(t, 250*ms, c.Paused()-100*sec)
	c.flight.flying = 0 // all requests have landed
	c.Next(101*sec, 9)
	assert.Len(t, c.past, 1)
	assert.Zero(t, c.flight.cap)
}

func TestFirstBurstAndTheNextRefusalSetACap(t *testing.T) {
	for name, tt := range map[string]struct{ sent, flying, cap int }{
		"as many in flight as the burst had accepted requests":     {40, 21, 20},
		"one more in flight, because a response may be on its way": {40, 22, 21},
		"fewer in flight than the burst had accepted requests":     {40, 15, 0},
		"more in flight than the burst had accepted requests":      {40, 30, 0},
		"nearly all of the second burst is still in flight":        {25, 21, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(sec, []Mark{{}, {sec, 10}}, 22, 0, sec)
			for range 20 {
				c.Accepted(sec, Send{})
			}
			c.Refused(sec, Send{}, sec)
			c.Next(2*sec, 100)
			require.Zero(t, c.flight.cap)
			c.sent, c.refused, c.flight.accepted = tt.sent, with(tt.flying), 14
			c.suspectCap(3 * sec)
			assert.Equal(t, tt.cap, c.flight.cap)
			assert.False(t, c.flight.confirmed)
		})
	}
}

func TestWithoutRetryAfterOnlyARefusalFarBelowTheCapCausesAWait(t *testing.T) {
	for flying, pause := range map[int]time.Duration{3: 250 * ms, 20: 0, 21: 0} {
		c := capped(true, flying)
		c.accepted = 99
		require.True(t, c.Refused(100*sec, with(flying), 0))
		assert.Equal(t, pause, max(c.Paused()-100*sec, 0), "wrong pause after a refusal with %d in flight", flying)
		assert.NotZero(t, c.flight.cap)
	}
}

func TestPaceThatResultsFromACapIsRememberedIfItLasted(t *testing.T) {
	for lasted, best := range map[time.Duration]float64{4 * sec: 0, 5 * sec: 50} {
		c := capped(true, 20)
		c.begin, c.last, c.accepted = 100*sec-lasted, 100*sec, int(50*lasted.Seconds())
		require.True(t, c.Refused(100*sec, with(21), 0))
		assert.InDelta(t, best, c.best, 0.01)
	}
}

// The number in flight may explain a refusal before any rate has been proven.
func TestRefusalExplainedByTheNumberInFlightDoesNotAffectAStatement(t *testing.T) {
	c := capped(true, 20)
	c.accepted, c.proven = 1, nil
	require.True(t, c.Refused(100*sec, with(21), 0))
	c.Stated(60, time.Minute)
	c.Next(100*sec, 9)
	assert.Equal(t, unheard, c.statement.belief)
}

func TestUnknownChangesOnlyCountsOfRequests(t *testing.T) {
	for name, epoch := range map[string]uint32{"request of this epoch": 7, "request of an earlier epoch": 6} {
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
	assert.Zero(t, c.flight.flying, "the number in flight should not become negative")
}

// concurrency simulates a limit on the number of requests in flight. Accepted requests
// get their responses after the time answer, and refused requests get theirs at once.
// concurrency returns how long the calls took, and how many requests were refused, not
// counting the first 64.
func concurrency(t *testing.T, limit int, answer, retryAfter time.Duration, calls int) (took time.Duration, refused int) {
	t.Helper()
	type flying struct {
		at time.Duration
		s  Send
	}
	var served []flying // in the order of their responses
	// 64 requests were sent at once; limit of them are served.
	c := New(0, []Mark{{}}, 64, 0, retryAfter)
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

func TestLimitOnTheNumberInFlightIsFoundAndKept(t *testing.T) {
	for name, tt := range map[string]struct {
		limit      int
		answer     time.Duration
		retryAfter time.Duration
		most       float64 // largest duration allowed, in multiples of the ideal duration
	}{
		"5 in flight, response after 2 s":                  {5, 2 * sec, 0, 1.3},
		"20 in flight, response after 2 s":                 {20, 2 * sec, 0, 1.3},
		"20 in flight, response after 5 s":                 {20, 5 * sec, 0, 1.3},
		"20 in flight, response after 2 s, Retry-After: 1": {20, 2 * sec, sec, 1.5},
		"50 in flight, response after 500 ms":              {50, 500 * ms, 0, 1.5},
	} {
		t.Run(name, func(t *testing.T) {
			const calls = 500
			took, refused := concurrency(t, tt.limit, tt.answer, tt.retryAfter, calls)
			times := seconds(took) / (seconds(tt.answer) * calls / float64(tt.limit))
			t.Logf("%.2f times the ideal duration, %d requests refused after the first 64", times, refused)
			assert.LessOrEqual(t, times, tt.most)
			assert.LessOrEqual(t, refused, 30)
		})
	}
}

func TestExtraRequestsBeyondACapStayWithinHalfOfIt(t *testing.T) {
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

func TestDroppingACapRestoresThePace(t *testing.T) {
	c := capped(true, 20)
	c.Accepted(100*sec, with(5))
	require.NotEqual(t, 10.0, c.pace)
	c.dropCap()
	assert.InDelta(t, 10, c.pace, 1e-9)
}

// Requests that wait for the result of an inner request are in flight, but not on their
// way to the service. One late refusal therefore rules out a cap.
func TestNoCapIsSetIfRoundTripsAreLongerThanThePauseAndThereAreInnerRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		inner func(c *Controller)
		want  int
	}{
		"no inner request":          {func(*Controller) {}, 20},
		"an inner request was sent": {func(c *Controller) { c.SentInner(10*sec, 9) }, 0},
		"an inner request waits":    {func(c *Controller) { c.NextInner(10*sec, 9) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.trip = 3
			c.flight.flying, c.flying = 21, 21
			s := c.Sent(10*sec, 9)
			tt.inner(c)
			require.True(t, c.Refused(10*sec, s, sec))
			require.False(t, c.Refused(10*sec, Send{epoch: s.epoch, at: 9 * sec}, sec))
			c.Next(12*sec, 9)
			assert.Equal(t, tt.want, c.flight.cap)
		})
	}
}

func TestNoCapIsSetIfMostLateRequestsAreRefusedAndRoundTripsAreLongerThanThePause(t *testing.T) {
	for _, refused := range []int{10, 30} {
		c := paced()
		c.trip = 3
		c.flight.flying, c.flying = 50, 50
		s := c.Sent(10*sec, 9)
		require.True(t, c.Refused(10*sec, s, sec))
		for range refused {
			c.Refused(10*sec, Send{epoch: s.epoch, at: 9 * sec}, 0)
		}
		c.Next(12*sec, 9)
		assert.Equal(t, refused > 25, c.flight.cap == 0, "%d requests refused", refused)
	}
}

// If response times vary, two of thirty requests may be slow.
func TestCapIsNotTheNumberOfSlowRequestsAfterAPause(t *testing.T) {
	c := paced()
	c.trip = 0.5
	c.flight.flying, c.flying = 30, 30
	var sent []Send
	for range 30 {
		sent = append(sent, Send{epoch: c.epoch, at: 9500 * ms, flying: 30, waited: true})
	}
	s := c.Sent(10*sec, 9)
	require.True(t, c.Refused(10*sec, s, sec))
	for _, s := range sent[:28] {
		c.Accepted(10500*ms, s)
	}
	c.Next(12*sec, 9)
	assert.Zero(t, c.flight.cap)
	assert.Equal(t, 31, c.flight.suspect, "the number in flight at the refusal is the one to compare with the next")
}

// The estimate includes the time in which few requests were in flight, so after a long quiet
// time it is far too high.
func TestAnEstimatedRoundTripLongerThanTheLongestPauseDoesNotPreventACap(t *testing.T) {
	for _, timed := range []bool{false, true} {
		c := paced()
		c.trip, c.timed = 90, timed
		c.flight.flying, c.flying = 50, 50
		s := c.Sent(10*sec, 9)
		require.True(t, c.Refused(10*sec, s, sec))
		for range 30 {
			c.Refused(10*sec, Send{epoch: s.epoch}, 0)
		}
		c.Next(12*sec, 9)
		assert.Equal(t, timed, c.flight.cap == 0, "the round trip was measured: %v", timed)
	}
}

// If refusals of inner requests did not count, a cap that is really a rate limit could
// be kept forever.
func TestCapIsDroppedAfterTwoRefusalsOfInnerRequests(t *testing.T) {
	c := capped(true, 20)
	for i := range time.Duration(mostCapStrikes) {
		now := (100 + 2*i) * sec
		require.True(t, c.Refused(now, c.SentInner(now, 9), sec))
		require.Equal(t, i+1 < mostCapStrikes, c.flight.cap == 20)
		c.Next(now+sec, 9)
	}
}
