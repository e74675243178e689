package bracket

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A limit reports whether it accepts a request at the given time.
type limit func(now time.Duration) bool

func bucket(rate, tokens float64) limit {
	have, last := tokens, time.Duration(0)
	return func(now time.Duration) bool {
		have = min(tokens, have+rate*seconds(now-last))
		last = now
		if have < 1-1e-9 {
			return false
		}
		have--
		return true
	}
}

func window(n int, length time.Duration) limit {
	used, number := 0, time.Duration(-1)
	return func(now time.Duration) bool {
		if now/length != number {
			used, number = 0, now/length
		}
		used++
		return used <= n
	}
}

// drive runs a controller against a limit for the given time, and reports each outcome to
// the controller at once. It starts with a burst that ends with a refusal. It returns the
// controller, and how many requests were accepted and refused after the burst.
func drive(t *testing.T, l limit, retryAfter, length time.Duration) (c *Controller, accepted, refused int) {
	burst := int64(0)
	for l(0) {
		burst++
	}
	c = New(0, []Mark{{}, {0, burst}}, 1, 0, retryAfter)
	const backlog = 1000
	for now := time.Duration(0); now < length; {
		if at := c.Next(now, backlog); at > now {
			now = at
			continue
		}
		require.GreaterOrEqual(t, now, c.Paused())
		s := c.Sent(now, backlog)
		if l(now) {
			accepted++
			c.Accepted(now, s)
		} else {
			refused++
			require.True(t, c.Refused(now, s, retryAfter))
		}
	}
	return c, accepted, refused
}

func TestPaceComesCloseToTheLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates 90 minutes of requests")
	}
	for _, tt := range []struct {
		name       string
		limit      limit
		rate       float64
		retryAfter time.Duration
		least      float64 // minimum share of the limit that must be used in ten minutes
		refused    float64 // maximum number of refusals per accepted request; 20 more are always allowed
	}{
		{"a bucket of 100/s and 100 tokens", bucket(100, 100), 100, time.Second, 0.95, 0.05},
		{"a bucket of 100/s and 10 tokens", bucket(100, 10), 100, time.Second, 0.93, 0.05},
		{"a bucket of 100/s and 2 tokens", bucket(100, 2), 100, time.Second, 0.9, 0.05},
		{"a bucket of 500/s and 10 tokens", bucket(500, 10), 500, time.Second, 0.9, 0.05},
		{"a bucket of 10/s and 1 token", bucket(10, 1), 10, time.Second, 0.9, 0.05},
		{"a bucket of 1/s and 1 token", bucket(1, 1), 1, time.Second, 0.85, 0.05},
		{"a bucket without Retry-After", bucket(100, 10), 100, 0, 0.95, 0.05},
		{"a bucket with a Retry-After of a nanosecond", bucket(100, 10), 100, 1, 0.95, 0.05},
		{"a window of 60 requests per minute", window(60, time.Minute), 1, 0, 0.85, 0.1}, // after the initial burst, the controller's own pauses add up to a minute
	} {
		t.Run(tt.name, func(t *testing.T) {
			const length = 10 * time.Minute
			c, accepted, refused := drive(t, tt.limit, tt.retryAfter, length)
			share := float64(accepted) / (tt.rate * length.Seconds())
			t.Logf("%.3f of the limit used, %d requests refused, pace %.2f, bracket from %.2f to %.2f", share, refused, c.pace, c.lo, c.hi)
			assert.GreaterOrEqual(t, share, tt.least)
			assert.LessOrEqual(t, float64(refused), tt.refused*float64(accepted)+20)
		})
	}
}

func TestLimitThatChangesIsFoundAgain(t *testing.T) {
	for name, by := range map[string]float64{"halved": 0.5, "doubled": 2} {
		t.Run(name, func(t *testing.T) {
			const half = 10 * time.Minute
			before, after := bucket(100, 10), bucket(100*by, 10)
			c, _, _ := drive(t, func(now time.Duration) bool {
				if now < half {
					return before(now)
				}
				return after(now)
			}, time.Second, 2*half)
			assert.InEpsilon(t, 100*by, c.pace, 0.15)
		})
	}
}

func TestLimitThatRisesFromOneRequestAMinuteIsFoundAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates 45 minutes of requests")
	}
	for _, retryAfter := range []time.Duration{0, 5 * time.Second} {
		t.Run(fmt.Sprint("Retry-After ", retryAfter), func(t *testing.T) {
			const risen = 30 * time.Minute
			before, after := bucket(1./60, 1), bucket(5, 1)
			c, _, _ := drive(t, func(now time.Duration) bool {
				if now < risen {
					return before(now)
				}
				return after(now)
			}, retryAfter, risen+15*time.Minute)
			assert.InEpsilon(t, 5, c.pace, 0.2)
		})
	}
}

// An hour in which everything was refused says nothing about the limit, and must not
// determine the unit of time afterwards.
func TestPaceRecoversAfterAnOutage(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates hours of requests")
	}
	const hour, settled, rate = time.Hour, 6 * time.Minute, 100.0
	for name, before := range map[string]time.Duration{"outage after the initial burst": 0, "outage after ten minutes of service": 10 * time.Minute} {
		for _, retryAfter := range []time.Duration{0, time.Second, time.Minute} {
			t.Run(fmt.Sprintf("%s, Retry-After %v", name, retryAfter), func(t *testing.T) {
				served := bucket(rate, rate)
				accepted := 0
				drive(t, func(now time.Duration) bool {
					ok := (now <= before || now >= before+hour) && served(now)
					if ok && now >= before+hour+settled {
						accepted++
					}
					return ok
				}, retryAfter, before+hour+settled+10*time.Minute)
				least := 0.85
				if retryAfter == time.Minute { // each refusal costs a minute
					least = 0.75
				}
				assert.GreaterOrEqual(t, float64(accepted), least*rate*600)
			})
		}
	}
}

// Idle time, like an outage, must not slow the controller down afterwards.
func TestPaceIsNotSlowAfterAnHourWithoutCallers(t *testing.T) {
	c := New(0, []Mark{{}, {0, 1}}, 1, 0, time.Second)
	now := time.Hour
	served := bucket(100, 10)
	accepted := 0
	for now < time.Hour+2*time.Minute {
		if now = max(now, c.Next(now, 1000)); c.Next(now, 1000) > now {
			continue
		}
		if s := c.Sent(now, 1000); served(now) {
			accepted++
			c.Accepted(now, s)
		} else {
			c.Refused(now, s, time.Second)
		}
	}
	assert.GreaterOrEqual(t, accepted, 120*100/2)
}

func TestMemoryOfAnUnlimitedAccountDoesNotGrow(t *testing.T) {
	c := New(0, []Mark{{}, {0, 10}}, 1, 0, time.Second)
	for now := c.Next(0, 9); now < 24*time.Hour; now += time.Second {
		c.Next(now, 1e9)
		c.Accepted(now, c.Sent(now, 1e9))
	}
	assert.Less(t, len(c.paces), 100)
	assert.LessOrEqual(t, len(c.marks), mostMarks)
}

func TestSingleProbeIsSentAfterAPauseThatWasTooShort(t *testing.T) {
	c := New(0, []Mark{{}}, 1, 0, time.Second)
	now := c.Next(0, 9)
	require.LessOrEqual(t, c.Next(now, 9), now)
	first := c.Sent(now, 9)
	require.True(t, c.Refused(now, first, time.Second))
	now = c.Next(now, 9)
	require.LessOrEqual(t, c.Next(now, 9), now)
	probe := c.Sent(now, 9)
	assert.Greater(t, c.Next(now, 9), now, "the next request should wait for the outcome of the probe")
	c.Accepted(now, probe)
	assert.LessOrEqual(t, c.Next(now, 9)-now, duration(1/c.pace), "the next request should be sent at most 1/pace seconds after the probe was accepted")
}

func TestLateRefusalFromAnEarlierEpochOnlyDelaysTheNextRequest(t *testing.T) {
	c := New(0, []Mark{{}, {0, 100}}, 2, 0, time.Second)
	now := c.Next(0, 9)
	require.LessOrEqual(t, c.Next(now, 9), now)
	c.Sent(now, 9)
	pace := c.pace
	assert.False(t, c.Refused(now, Send{}, 5*time.Second), "the request was sent before the first refusal, so no new pause should begin")
	assert.Equal(t, now+5*time.Second, c.Next(now, 9))
	assert.Equal(t, pace, c.pace)
}

func TestReturnedTurnGoesToTheNextRequest(t *testing.T) {
	c := New(0, []Mark{{}, {0, 5}}, 1, 0, time.Second)
	now := c.Next(0, 9)
	for range 20 {
		now = max(now, c.Next(now, 9))
		s := c.Sent(now, 9)
		c.Unsend(s)
		assert.LessOrEqual(t, c.Next(now, 9), now, "the returned turn was not offered again (burst turn: %v)", s.credit)
		c.Accepted(now, c.Sent(now, 9))
	}
}

func TestUnusedTurnsAreSavedUpToTheBurst(t *testing.T) {
	c := New(0, []Mark{{}, {0, 10}}, 1, 0, time.Second)
	now := c.Next(0, 0)
	for c.credit >= 1 || c.sent == 0 {
		now = max(now, c.Next(now, 0))
		c.Accepted(now, c.Sent(now, 0))
	}
	now += time.Hour
	c.Idle(now)
	atOnce := 0
	for c.Next(now, 0) <= now {
		c.Accepted(now, c.Sent(now, 0))
		atOnce++
	}
	assert.InDelta(t, math.Floor(c.burst), atOnce, 1)
}

func TestEarliestIsNeverLaterThanTheActualSend(t *testing.T) {
	c, _, _ := drive(t, bucket(10, 1), time.Second, time.Minute)
	now := c.last
	for c.Next(now, 100) > now {
		now = c.Next(now, 100)
	}
	for _, ahead := range []int{0, 1, 10, 100} {
		earliest := c.Earliest(now, ahead)
		d := *c // a copy, so that the simulation does not change c
		d.paces = append([]moment(nil), c.paces...)
		at := now
		for range ahead {
			at = max(at, d.Next(at, 100))
			d.Accepted(at, d.Sent(at, 100))
		}
		assert.LessOrEqual(t, earliest, max(at, d.Next(at, 100)), fmt.Sprint(ahead))
	}
}

func FuzzControllerObeysPausesAndStaysFinite(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Add(uint64(3), uint64(0xffff))
	f.Fuzz(func(t *testing.T, seed, shape uint64) {
		r := rand.New(rand.NewPCG(seed, shape))
		asked := []time.Duration{0, 1, time.Millisecond, time.Second, time.Minute, 24 * time.Hour, math.MaxInt64}
		now := time.Duration(r.Int64N(int64(time.Hour)))
		c := New(now, []Mark{{}, {now / 2, int64(r.IntN(100))}}, r.IntN(100), 0, asked[r.IntN(3)])
		var flying []Send
		state := func() {
			if r.IntN(2) == 0 {
				c.Stated([]int{-1, 0, 1, 10, 200, math.MaxInt}[r.IntN(6)], asked[r.IntN(len(asked))])
			}
		}
		state()
		for range 300 {
			switch r.IntN(10) {
			case 0, 1, 2:
				next := c.Next
				if r.IntN(4) == 0 {
					next = c.NextInner
				}
				at := next(now, r.IntN(1000))
				require.GreaterOrEqual(t, max(at, now), c.Paused(), "no request should be sent during a pause")
				if at > now && at-now < time.Hour {
					now = at
					at = c.Next(now, r.IntN(1000))
				}
				if at <= now {
					require.GreaterOrEqual(t, now, c.Paused())
					flying = append(flying, c.Sent(now, r.IntN(1000)))
				}
			case 3, 4, 5:
				if len(flying) > 0 {
					i := r.IntN(len(flying))
					c.Accepted(now, flying[i])
					flying = append(flying[:i], flying[i+1:]...)
				}
			case 6:
				if len(flying) > 0 {
					c.Refused(now, flying[0], asked[r.IntN(5)])
					state()
					flying = flying[1:]
				}
			case 7:
				if len(flying) > 0 {
					c.Unknown(now, flying[0])
					flying = flying[1:]
				}
			case 8:
				if n := len(flying); n > 0 {
					c.Unsend(flying[n-1])
					flying = flying[:n-1]
				}
			case 9:
				now += time.Duration(r.Int64N(int64(10 * time.Second)))
				c.Idle(now)
			}
			for _, x := range []float64{c.pace, c.lo, c.burst, c.credit, c.silence, c.trip} {
				require.False(t, math.IsNaN(x) || math.IsInf(x, 0) || x < 0, "%+v", c)
			}
			require.False(t, math.IsNaN(c.hi) || c.hi < c.lo, "hi %v, lo %v", c.hi, c.lo)
			require.True(t, !c.learned || c.pace > 0)
			require.True(t, c.flight.cap >= 0 && c.flight.flying >= 0, "%+v", c.flight)
			require.GreaterOrEqual(t, c.Earliest(now, r.IntN(10)), c.Paused())
		}
	})
}

func TestPaceIsNotRaisedBeforeTheFirstResponse(t *testing.T) {
	c := New(time.Second, []Mark{{}}, 64, 0, 0) // nothing was accepted before
	now := c.Next(time.Second, 1000)
	for range 20 {
		now = max(now, c.Next(now, 1000))
		c.Sent(now, 1000)
	}
	assert.Zero(t, c.raises)
}

// counter is a limit like HAProxy's. It adds up the requests of the current period and,
// with a weight that falls from 1 to 0, those of the previous one, including refused ones.
func counter(n int, period, phase time.Duration) limit {
	past, used, number := 0, 0, time.Duration(0)
	return func(now time.Duration) bool {
		now += phase
		switch at := now / period; at - number {
		case 0:
		case 1:
			past, used, number = used, 0, at
		default:
			past, used, number = 0, 0, at
		}
		used++
		left := period - now%period
		return float64(used)+math.Floor(float64(past)*seconds(left)/seconds(period)) <= float64(n)
	}
}

// The number of requests that the counter still allows depends on when in its period a
// client begins. A burst or a pace can therefore be accepted once and refused the next
// time.
func TestLimitOfATwoPeriodCounterIsFoundWheneverTheClientBegins(t *testing.T) {
	const length = time.Minute
	for phase := time.Duration(0); phase < time.Second; phase += 50 * time.Millisecond {
		_, accepted, refused := drive(t, counter(100, time.Second, phase), time.Second, length)
		share := float64(accepted) / (100 * length.Seconds())
		assert.GreaterOrEqual(t, share, 0.78, "too small a share of the limit was used in phase %v, with %d requests refused", phase, refused)
		assert.Less(t, refused, 15, phase)
	}
}
