package gate

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// queueOf makes n calls at once to a service that accepts 10 per second, and returns once the
// gate knows that limit. The timeout of each call is given; 0 means that it has only a
// MaxWait of two minutes. wait returns how many calls were answered.
func queueOf(t *testing.T, n int, timeout time.Duration) (c *crowd, wait func() int) {
	c = &crowd{g: new(Adaptive), service: bucket(10, 10, time.Second), timeout: time.Minute}
	c.list(100, 20)
	c.answered = 0
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if timeout > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), timeout)
			}
			defer cancel()
			c.call(ctx)
		})
	}
	time.Sleep(time.Second)
	return c, func() int { wg.Wait(); return c.answered }
}

// short makes a call with a timeout of three seconds.
func (c *crowd) short() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return c.attempts(ctx)
}

func TestCallsWithLittleTimeOvertakeThoseThatHavePlenty(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"a deadline": 2 * time.Minute, "no deadline": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, wait := queueOf(t, 500, timeout)
				for range 20 {
					assert.True(t, c.short(), "a call with a timeout of three seconds was answered")
				}
				assert.Equal(t, 500, wait(), "calls that were overtaken were answered")
			})
		})
	}
}

// It waits in order of arrival otherwise.
func TestALateRetryWithLittleTimeOvertakesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, wait := queueOf(t, 500, 2*time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		r := Request{Key: "k", Resend: lateResend}
		ticket, err := c.g.Wait(ctx, r)
		assert.NoError(t, err)
		c.g.Observe(r, ticket, Outcome{Result: Accepted})
		wait()
	})
}

// A call may be refused whatever the pace, because of what it asks for. If all its retries
// went first, half of the others would fail.
func TestACallThatIsAlwaysRefusedDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		always := func(result Result) func() Outcome { return func() Outcome { return Outcome{Result: result} } }
		others := &crowd{g: g, service: always(Accepted)}
		refused := &crowd{g: g, service: always(Throttled)}
		start := func(c *crowd, timeout time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			c.call(ctx)
		}
		var calls sync.WaitGroup
		for n := range 5 * 300 {
			if n >= 600 && n%150 == 0 { // after two minutes
				calls.Go(func() { start(refused, 20*time.Second) })
			}
			calls.Go(func() { start(others, 10*time.Second) })
			time.Sleep(200 * time.Millisecond)
		}
		calls.Wait()
		assert.Zero(t, refused.answered)
		t.Logf("%d of 1500 other calls were answered", others.answered)
		assert.GreaterOrEqual(t, others.answered, 1400)
	})
}

// The second call must not overtake the first, which then would be too late.
func TestSeveralCallsWithLittleTimeOvertakeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, wait := queueOf(t, 500, 2*time.Minute)
		var short sync.WaitGroup
		for range 5 {
			short.Go(func() { assert.True(t, c.short(), "a call with a timeout of three seconds was answered") })
			time.Sleep(time.Millisecond)
		}
		short.Wait()
		assert.Equal(t, 500, wait(), "calls that were overtaken were answered")
	})
}

func TestACallOvertakesNoneThatWouldThenBeTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, wait := queueOf(t, 200, 21*time.Second)
		for range 100 {
			c.short()
			time.Sleep(50 * time.Millisecond)
		}
		assert.GreaterOrEqual(t, wait(), 195, "calls with a timeout of 21 seconds were answered")
	})
}

// Otherwise, calls with little time could take all turns.
func TestCallsThatHaveWaitedForLongAreNoLongerOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, wait := queueOf(t, 900, 0)
		all, cancel := context.WithCancel(t.Context())
		var short sync.WaitGroup
		for range 40 {
			short.Go(func() {
				for all.Err() == nil {
					c.short()
				}
			})
		}
		began := time.Now()
		assert.Equal(t, 900, wait(), "calls without a deadline were answered")
		assert.Less(t, time.Since(began), 3*time.Minute)
		cancel()
		short.Wait()
	})
}
