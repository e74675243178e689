package bracket

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// taught returns a controller at the end of its first pause. Before that pause, 10
// requests per second were accepted.
func taught(t *testing.T) (c *Controller, now time.Duration) {
	t.Helper()
	c = New(time.Second, []Mark{{}, {At: time.Second, Accepted: 10}}, 1, 0, time.Second)
	_, ok := c.Learned()
	require.False(t, ok, "nothing should be learned during the first pause")
	now = 2 * time.Second
	require.LessOrEqual(t, c.Next(now, 100), now)
	return c, now
}

// most returns how many requests can be sent within a second, up to 1000, if each is
// accepted at once.
func most(c *Controller, now time.Duration) (n int) {
	for end := now + time.Second; n < 1000; n++ {
		if now = max(now, c.Next(now, 1)); now >= end {
			break
		}
		c.Accepted(now, c.Sent(now, 1))
	}
	return n
}

func TestResumedControllerContinuesFromWhatWasLearned(t *testing.T) {
	c, now := taught(t)
	learned, ok := c.Learned()
	require.True(t, ok)
	b, err := json.Marshal(learned)
	require.NoError(t, err, "an unknown upper bound should not prevent marshaling")
	var read Learned
	require.NoError(t, json.Unmarshal(b, &read))

	again := Resume(now-time.Second, read, now)
	now2, ok := again.Learned()
	require.True(t, ok)
	assert.Equal(t, learned, now2)
	assert.InDelta(t, most(c, now), most(again, now), 2)
}

func TestResumedControllerKeepsThePause(t *testing.T) {
	c, now := taught(t)
	learned, _ := c.Learned()
	again := Resume(now, learned, now+time.Minute)
	assert.Equal(t, now+time.Minute, again.Next(now, 1))
	assert.Equal(t, now+time.Minute, again.Paused())
}

func TestResumedControllerHasEverythingThatWasLearned(t *testing.T) {
	l := Learned{Pace: 10, Lo: 8, Hi: 16, Best: 9, Burst: 5, Burst0: 7, Trip: 0.5, Silence: 3, Asked: 2, Holding: 40}
	c := Resume(4*time.Second, l, 5*time.Second)
	got, ok := c.Learned()
	require.True(t, ok)
	assert.Equal(t, l, got)
	assert.Equal(t, []time.Duration{5 * sec, 5 * sec, 5 * sec}, []time.Duration{c.last, c.ended, c.begin}, "the epoch should begin at the end of the pause")
	assert.Equal(t, []float64{3, 3, 3, 3, 3}, []float64{c.quiet, c.wanted, c.measure, c.needed, c.longest})
	assert.True(t, c.open)
	assert.True(t, c.heard)
	assert.True(t, c.timed, "the round trip should count as measured")
	assert.Equal(t, []float64{9, 3, leastPatience}, []float64{c.best, c.cost, c.patience}, "the controller should remember the best pace")
	assert.Equal(t, 4*sec, c.bestAt)
	assert.Equal(t, 5, c.granted)

	c = Resume(4*time.Second, Learned{Pace: 10, Lo: 8, Silence: 1e6}, 0)
	assert.Equal(t, 4*time.Second, c.last, "without a pause, last should be the given time")
	assert.False(t, c.heard, "the round trip should be unknown if it was not learned")
	assert.Equal(t, []float64{0, 0}, []float64{c.credit, float64(c.granted)})
	assert.Equal(t, math.Inf(1), c.hi)
	assert.Equal(t, []float64{1, 1, Standard.Hold, longestWindow}, []float64{c.burst, c.burst0, c.holding, c.measure})
	got, _ = c.Learned()
	assert.Zero(t, got.Hi)
	c.best, c.proven = 0, nil
	got, _ = c.Learned()
	assert.Zero(t, got.Best)
}

func TestScaleChangesOnlyRatesAndBursts(t *testing.T) {
	l := Learned{Pace: 100, Lo: 80, Hi: 160, Best: 90, Burst: 20, Burst0: 40, Trip: 0.5, Silence: 3, Asked: 2, Holding: 40}
	want := l
	want.Pace, want.Lo, want.Hi, want.Best, want.Burst, want.Burst0 = 25, 20, 40, 22.5, 5, 10
	assert.Equal(t, want, l.Scale(0.25))
	small := l.Scale(0.01)
	assert.Equal(t, []float64{1, 1}, []float64{small.Burst, small.Burst0}, "a burst should never be scaled below one request")
}

func TestResumedControllerHasNoBurstIfThePauseIsOver(t *testing.T) {
	c, now := taught(t)
	learned, _ := c.Learned()
	require.Greater(t, learned.Burst, 2.0)
	again := Resume(now, learned, now)
	again.Sent(now, 1)
	assert.InDelta(t, 1/learned.Pace, seconds(again.Next(now, 1)-now), 1e-3)
}

func TestResumedControllerHasABurstAfterIdleTime(t *testing.T) {
	c, now := taught(t)
	learned, _ := c.Learned()
	again := Resume(now, learned, 0)
	now += time.Minute
	again.Idle(now)
	for range int(learned.Burst) {
		require.LessOrEqual(t, again.Next(now, 1), now)
		again.Accepted(now, again.Sent(now, 1))
	}
	assert.Greater(t, again.Next(now, 1), now)
}

func TestShareOfALimitHasALowerPace(t *testing.T) {
	c, now := taught(t)
	learned, _ := c.Learned()
	share := learned.Scale(0.25)
	assert.InDelta(t, learned.Pace/4, share.Pace, 1e-9)
	assert.GreaterOrEqual(t, share.Burst, 1.0, "a burst should never be scaled below one request")
	assert.Less(t, most(Resume(now, share, 0), now), most(Resume(now, learned, 0), now)/2)
}

func TestValidRejectsWhatAControllerCannotHaveLearned(t *testing.T) {
	c, _ := taught(t)
	good, ok := c.Learned()
	require.True(t, ok)
	assert.True(t, good.Valid())
	for _, v := range []float64{-1, math.NaN(), math.Inf(1), math.Inf(-1), 1e300} {
		for _, change := range []func(*Learned){
			func(l *Learned) { l.Pace = v }, func(l *Learned) { l.Lo = v }, func(l *Learned) { l.Hi = v },
			func(l *Learned) { l.Best = v }, func(l *Learned) { l.Burst = v }, func(l *Learned) { l.Burst0 = v },
			func(l *Learned) { l.Trip = v }, func(l *Learned) { l.Silence = v }, func(l *Learned) { l.Asked = v },
			func(l *Learned) { l.Holding = v },
		} {
			l := good
			change(&l)
			assert.False(t, l.Valid(), "%+v", l)
		}
	}
	slow, loud := good, good
	slow.Pace, loud.Silence = 0, 0
	assert.False(t, slow.Valid())
	assert.False(t, loud.Valid(), "a silence of zero should be invalid")
}

func TestTimeThatIsNaNOrTooLongBecomesTheLongestDuration(t *testing.T) {
	for _, s := range []float64{math.NaN(), math.Inf(1), 1e300} {
		assert.Equal(t, time.Duration(math.MaxInt64), duration(s))
	}
	assert.Equal(t, time.Second, duration(1))
}

func TestExtremelySlowPaceSendsRequestsMoreThanAnHourApart(t *testing.T) {
	c := Resume(time.Second, Learned{Pace: 1e-7}.Scale(1e-5), 0)
	now := 2 * time.Second
	for range 3 {
		require.LessOrEqual(t, c.Next(now, 1), now)
		c.Sent(now, 1)
		assert.Greater(t, c.Next(now, 1), now+time.Hour)
		now = c.Next(now, 1)
	}
}

func TestExtremeButPossibleValuesAreValid(t *testing.T) {
	for _, l := range []Learned{{Pace: slowest, Silence: shortest}, {Pace: mostPace, Silence: shortest}, {Pace: 1, Silence: shortest, Burst: largest}} {
		assert.True(t, l.Valid(), "%+v", l)
	}
}

func TestAcquittedControllerSendsAtOnceAtTheBestPace(t *testing.T) {
	c, now := taught(t)
	for range 5 { // refusals that lower the pace
		c.Accepted(now, c.Sent(now, 10))
		c.Refused(now, c.Sent(now, 10), time.Minute)
		now = c.Paused()
		require.LessOrEqual(t, c.Next(now, 10), now)
	}
	c.Refused(now, c.Sent(now, 10), time.Hour)
	require.Less(t, c.Pace(), 1.)
	late := c.Sent(now, 10)

	c.Acquit(now, now)
	learned, _ := c.Learned()
	assert.InDelta(t, max(learned.Best, acquitted), c.Pace(), 0.01)
	assert.Zero(t, learned.Hi, "there is no upper bound")
	assert.LessOrEqual(t, c.Next(now, 10), now+time.Second)
	pace := c.Pace()
	assert.False(t, c.Refused(now, late, 0), "a request of before begins no pause")
	assert.Equal(t, pace, c.Pace())

	c.Acquit(now, now+time.Minute)
	assert.Equal(t, now+time.Minute, c.Next(now, 10))

	fast := Resume(now, Learned{Pace: 2, Lo: 1, Hi: 3, Best: 50, Silence: 1}, now)
	fast.Acquit(now, now)
	assert.InDelta(t, 50, fast.Pace(), 0.01)
}
