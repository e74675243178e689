package bracket

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// driveStated runs a controller for the given time against a limit. With each refusal, it
// reports requests and per as the stated limit, which may differ from the actual one. The
// counts begin after the first refusal.
func driveStated(t *testing.T, l limit, requests int, per, retryAfter, length time.Duration) (c *Controller, accepted, refused int) {
	t.Helper()
	now, n := time.Duration(1), int64(0)
	for l(now) {
		n++
		now += ms
		require.Less(t, now, length)
	}
	c = New(now, []Mark{{At: 1}, {now, n}}, 1, 0, retryAfter)
	c.Stated(requests, per)
	for end := now + length; ; {
		at := c.Next(now, 1000)
		if now = max(now, at); now > end {
			return c, accepted, refused
		}
		if at = c.Next(now, 1000); at > now {
			continue
		}
		s := c.Sent(now, 1000)
		if l(now) {
			accepted++
			c.Accepted(now, s)
		} else {
			refused++
			c.Refused(now, s, retryAfter)
			c.Stated(requests, per)
		}
	}
}

func TestStatedWindowIsUsedWithoutAnotherRefusal(t *testing.T) {
	c, accepted, refused := driveStated(t, window(200, 5*time.Minute), 200, 5*time.Minute, 5*time.Minute, time.Hour)
	assert.True(t, c.Believed())
	assert.Zero(t, refused)
	assert.GreaterOrEqual(t, accepted, 11*194)
}

// Without Retry-After, the controller learns from probes that the limit is a window,
// and one of these probes is sent when the window ends.
func TestStatedWindowWithoutRetryAfterIsUsedOnceTheFirstWindowHasEnded(t *testing.T) {
	c, accepted, refused := driveStated(t, window(200, 5*time.Minute), 200, 5*time.Minute, 0, time.Hour)
	assert.True(t, c.Believed())
	assert.LessOrEqual(t, refused, 20)
	assert.GreaterOrEqual(t, accepted, 11*194)
}

func TestWrongStatementChangesLittle(t *testing.T) {
	const length = 10 * time.Minute
	for name, l := range map[string]func() limit{
		"bucket":              func() limit { return bucket(10, 10) },
		"bucket of one token": func() limit { return bucket(10, 1) },
		"window":              func() limit { return window(60, time.Minute) },
		"window of a second":  func() limit { return window(100, time.Second) },
	} {
		_, want, refusedThen := driveStated(t, l(), 0, 0, time.Second, length)
		for of, s := range map[string]struct {
			requests int
			per      time.Duration
		}{
			"states ten times the limit":         {map[string]int{"bucket": 100, "bucket of one token": 100, "window": 10, "window of a second": 1000}[name], time.Second},
			"states a tenth of the limit":        {map[string]int{"bucket": 60, "bucket of one token": 60, "window": 6, "window of a second": 600}[name], time.Minute},
			"states the limit of another policy": {30, time.Minute},
			"states an absurdly high limit":      {1 << 30, time.Second},
		} {
			t.Run(name+", "+of, func(t *testing.T) {
				_, accepted, refused := driveStated(t, l(), s.requests, s.per, time.Second, length)
				assert.GreaterOrEqual(t, float64(accepted), 0.98*float64(want))
				assert.LessOrEqual(t, refused, refusedThen+2)
			})
		}
	}
}

// firmly returns a controller that firmly believes in a limit of 200 requests per 5 minutes.
func firmly() *Controller {
	c := New(sec, []Mark{{At: 1}, {sec, 200}}, 1, 0, 5*time.Minute)
	c.Stated(200, 5*time.Minute)
	c.Next(sec+5*time.Minute, 10)
	return c
}

func TestTwoRefusalsAtTheStatedRateDiscardTheStatement(t *testing.T) {
	c := firmly()
	now := sec + 5*time.Minute
	for i := range 2 {
		require.True(t, c.Believed(), i)
		c.Accepted(now+ms, c.Sent(now, 10))
		require.True(t, c.Refused(now+ms, c.Sent(now, 10), time.Minute))
		now += time.Minute + ms
		c.Next(now, 10)
	}
	assert.False(t, c.Believed())
	assert.False(t, c.statement.windowed)
	c.Stated(200, 5*time.Minute)
	assert.False(t, c.Believed(), "the same statement should remain discarded")
	c.Stated(100, 5*time.Minute)
	assert.True(t, c.Believed(), "a different statement should be believed")
}

func TestCountFarAboveTheStatedLimitDiscardsTheStatement(t *testing.T) {
	c := New(sec, []Mark{{At: 1}, {sec, 200}}, 1, 0, time.Second)
	c.Stated(20, 5*time.Minute)
	c.Next(2*sec, 10)
	assert.False(t, c.Believed())
}

func TestStatementsAreIgnoredAfterManyDifferentOnes(t *testing.T) {
	c := firmly()
	for n := range 2 * mostChanges {
		c.Stated(n+1, time.Minute)
	}
	assert.LessOrEqual(t, c.statement.requests, float64(mostChanges))
}

func TestWaitForAStatedEndCountsLikeRetryAfter(t *testing.T) {
	c := firmly()
	now := sec + 5*time.Minute
	c.Kept(now + time.Hour)
	assert.Equal(t, now, max(c.Paused(), now), "Kept should do nothing once the next epoch has begun")
	require.True(t, c.Refused(now, c.Sent(now, 10), sec))
	c.Kept(now + sec)
	assert.Equal(t, 1.0, c.asked, "a wait that is not longer than Retry-After should not count")
	c.Kept(now + time.Minute)
	assert.Equal(t, 60.0, c.asked)
	assert.Equal(t, now+time.Minute, c.Paused())
}

func TestFirmStatementIsTestedSoonUnlessARefusalHasConfirmedIt(t *testing.T) {
	c := firmly()
	c.busy = c.Hold * c.unit()
	assert.False(t, c.tested())
	c.busy++
	assert.True(t, c.tested(), "no refusal has confirmed the statement, so it may agree with the first epoch by chance")
	c.statement.confirmed = true
	c.busy = firmHold
	assert.False(t, c.tested())
	c.busy++
	assert.True(t, c.tested())
	c.base = 1.1 * c.statement.rate()
	assert.True(t, c.tested())
	assert.True(t, c.Believed())
	c.base = 1.3 * c.statement.rate()
	assert.True(t, c.tested())
	assert.False(t, c.Believed(), "a statement far below the proven pace should be discarded")
	assert.True(t, c.tested(), "a discarded statement should not prevent a raise of the pace")
}

// A window begins when the service's window begins, not when a caller arrives.
func TestStatedWindowsBeginWhenTheServicesWindowsBegin(t *testing.T) {
	c := firmly()
	at := c.statement.opened
	c.credit = 0
	assert.Equal(t, at+5*time.Minute, c.byWindow(at+time.Minute))
	assert.Equal(t, at+16*time.Minute, c.byWindow(at+16*time.Minute))
	assert.Equal(t, at+15*time.Minute, c.statement.opened)
	assert.Equal(t, 200.0, c.credit)
}

func TestTheStatementIsTheLatestOneThatWasNotIgnored(t *testing.T) {
	c := New(0, []Mark{{}}, 1, 0, time.Second)
	c.Stated(30, 123456789*time.Nanosecond)
	requests, per := c.Statement()
	assert.Equal(t, 30, requests)
	assert.Equal(t, 123456789*time.Nanosecond, per)
	for n := range mostChanges + 3 {
		c.Stated(n+1, time.Second)
	}
	requests, per = c.Statement()
	assert.Equal(t, mostChanges-1, requests)
	assert.Equal(t, time.Second, per)
}

func TestFailedProbeDoesNotConfirmAStatement(t *testing.T) {
	for name, accepted := range map[string]int{"nothing was accepted": 0, "requests were accepted": 5} {
		t.Run(name, func(t *testing.T) {
			c := firmly()
			c.statement.windowed = false
			c.proven = []float64{c.statement.rate()}
			c.accepted, c.refused = accepted, Send{pace: 2 * c.statement.rate()}
			c.consider(false)
			assert.Equal(t, accepted > 0, c.statement.confirmed)
		})
	}
}

// The bucket's burst equals the stated window by chance. If all requests in a window were
// sent at once, no refusal would ever show that the limit is ten times as high.
func TestStatedWindowThatIsMuchTooLowIsNotUsedForever(t *testing.T) {
	for _, retryAfter := range []time.Duration{time.Second, 3 * time.Second, 10 * time.Second} {
		c, accepted, _ := driveStated(t, bucket(50, 300), 300, time.Minute, retryAfter, 30*time.Minute)
		assert.False(t, c.statement.windowed)
		assert.GreaterOrEqual(t, accepted, 50*1800*8/10, "Retry-After: %v", retryAfter)
	}
}

// A leader's processes give turns back, so a window may turn out not to be used up.
func TestWindowIsUsedUpOnceAllItsRequestsHaveBeenSentUnlessOutcomesAreLate(t *testing.T) {
	for _, late := range []bool{false, true} {
		c := used()
		c.Late = late
		next, ok := c.UsedUp()
		assert.Equal(t, !late, ok)
		assert.Equal(t, map[bool]time.Duration{false: 61 * sec, true: 0}[late], next)
		assert.Equal(t, sec, c.Paused())
	}
}

// used returns a Controller whose stated window is used up from 1 s to 61 s.
func used() *Controller {
	c := Resume(0, Learned{Pace: 5, Lo: 5, Hi: 6, Best: 5, Burst: 10, Burst0: 10, Trip: 0.02, Silence: 60}, sec)
	c.Next(sec, 1)
	c.statement = statement{requests: 100, per: 60, belief: firm, windowed: true, opened: sec, dark: 60}
	c.credit = 0
	return c
}

func TestRefusedTrialChangesNothing(t *testing.T) {
	c := used()
	c.Accepted(2*sec, c.Sent(sec, 0))
	before, burst := c.statement, c.burst
	for at := 10 * sec; at < 50*sec; at += 10 * sec {
		assert.Equal(t, at, c.Trial(at))
		s := c.Sent(at, 0)
		assert.Greater(t, c.Trial(at), at, "only one trial may be in flight")
		c.Refused(at+sec/50, s, 0)
		assert.LessOrEqual(t, c.Paused(), at+2*sec)
		assert.Equal(t, 61*sec, c.Next(at+5*sec, 1))
	}
	assert.Equal(t, before, c.statement)
	assert.InDelta(t, burst, c.burst, 0)
}

func TestAcceptedTrialBeginsAWindowUnlessTheStatedOneHadRequestsLeft(t *testing.T) {
	for unused, credit := range map[float64]float64{0: 9, 3: 0} {
		c := used()
		c.statement.unused = unused
		c.Trial(20 * sec)
		c.Accepted(21*sec, c.Sent(20*sec, 0))
		assert.InDelta(t, credit, c.credit, 0, "%v unused", unused)
	}
}

func TestRetryAfterSupportsAStatementIfItIsMuchOfTheWindowOrTheTimeOfAToken(t *testing.T) {
	for name, tt := range map[string]struct {
		requests, per, asked float64
		want                 bool
	}{
		"no Retry-After":                          {20, 100, 0, true},
		"a quarter of the window":                 {20, 100, 25, true},
		"less than that":                          {20, 100, 24, false},
		"the time of a token":                     {20, 100, 5, true},
		"the time of a token, rounded up":         {20, 100, 6, true},
		"longer than that":                        {20, 100, 6.1, false},
		"much shorter than the time of a token":   {20, 3600, 9, false},
		"a second, although a token takes 0.1 s":  {300, 30, 1, true},
		"two seconds, but a token takes only 0.1": {300, 30, 2, false},
	} {
		c := &Controller{asked: tt.asked, statement: statement{requests: tt.requests, per: tt.per}}
		assert.Equal(t, tt.want, c.supported(), name)
	}
}

func TestTrialThatIsAcceptedAfterTheNextWindowHasBegunChangesNothing(t *testing.T) {
	c := used()
	c.Trial(60 * sec)
	s := c.Sent(60*sec, 0)
	c.Next(61*sec, 1)
	before := c.statement.opened
	credit := c.credit
	c.Accepted(62*sec, s)
	assert.Equal(t, before, c.statement.opened)
	assert.InDelta(t, credit, c.credit, 0)
}

// The service knows best when the next window begins.
func TestWindowBeginsAfterTheRetryAfterOfARefusedTrial(t *testing.T) {
	for retryAfter, credit := range map[time.Duration]float64{0: 0, 20 * sec: 10} {
		c := used()
		c.Accepted(2*sec, c.Sent(sec, 0))
		c.Trial(30 * sec)
		c.Refused(31*sec, c.Sent(30*sec, 0), retryAfter)
		at := c.Paused()
		c.Next(at, 1)
		assert.InDelta(t, credit, c.credit, 0, "Retry-After %v", retryAfter)
	}
}

func TestRefusedTrialsLengthenTheSilence(t *testing.T) {
	c := used()
	for at := 10 * sec; at <= 50*sec; at += 10 * sec {
		c.Trial(at)
		c.Refused(at, c.Sent(at, 0), 0)
		c.Next(at+2*sec, 1)
	}
	assert.Greater(t, c.measure, 5.0)
	assert.Greater(t, c.silence, 8.0)
}

func TestTrialThatWasNotSentMarksNoOtherRequest(t *testing.T) {
	c := used()
	c.Trial(30 * sec)
	c.Next(61*sec, 1)
	assert.False(t, c.Sent(61*sec, 0).trial)
}
