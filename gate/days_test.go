package gate

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These tests run callers against a service for hours of fake time.

// A service decides what happens to a request that arrives now.
type service func() Outcome

// bucket is a service with a token bucket. Its 429s have the given Retry-After.
func bucket(rate, depth float64, retryAfter time.Duration) service {
	tokens, at := depth, time.Now()
	return func() Outcome {
		tokens = math.Min(depth, tokens+time.Since(at).Seconds()*rate)
		at = time.Now()
		if tokens < 1 {
			return Outcome{Result: Throttled, RetryAfter: retryAfter}
		}
		tokens--
		return accepted
	}
}

// window is a service that accepts n requests per period, and says so. If resets is set,
// its 429s have a Retry-After.
func window(n int, per time.Duration, resets bool) service {
	from, used := time.Now(), 0
	return func() Outcome {
		for time.Since(from) >= per {
			from, used = from.Add(per), 0
		}
		if used++; used <= n {
			return accepted
		}
		o := Outcome{Result: Throttled, Limit: Limit{Requests: n, Per: per}}
		if resets {
			o.RetryAfter = per - time.Since(from)
		}
		return o
	}
}

// A tried counts what happened to calls.
type tried struct{ accepted, throttled, late, refused int }

// run makes calls with a number of workers, for the given time. Each call has the given
// timeout, if it is positive, and gets its outcome after the time that took returns. After
// each call, a worker waits for rest; after a refusal, for at least 0.1 s.
func run(g *Adaptive, s service, workers int, length, timeout, rest time.Duration, took func() time.Duration) (n tried) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	all, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	call := func() (refused bool) {
		ctx, cancel := all, context.CancelFunc(func() {})
		if timeout > 0 {
			ctx, cancel = context.WithTimeout(all, timeout)
		}
		defer cancel()
		ticket, err := g.Wait(ctx, plain)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			n.refused++
			return true
		}
		o, d := s(), took()
		mu.Unlock()
		select {
		case <-time.After(d):
		case <-ctx.Done():
			o = Outcome{Result: Unknown}
		}
		g.Observe(plain, ticket, o)
		mu.Lock()
		switch o.Result {
		case Accepted:
			n.accepted++
		case Throttled:
			n.throttled++
		default:
			n.late++
		}
		return false
	}
	for range workers {
		wg.Go(func() {
			for all.Err() == nil {
				if call() {
					time.Sleep(max(rest, 100*time.Millisecond))
					continue
				}
				time.Sleep(rest)
			}
		})
	}
	wg.Wait()
	return n
}

func briefly() time.Duration { return 20 * time.Millisecond }

func TestPaceRisesEvenIfNeverMoreThanOneRequestWaits(t *testing.T) {
	for _, timeout := range []time.Duration{0, 5 * time.Second, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			n := run(new(Adaptive), bucket(20, 1, 30*time.Second), 1, 2*time.Hour, timeout, 0, briefly)
			assert.Greater(t, n.accepted, 2*3600*20*3/4, "a timeout of %v: %+v", timeout, n)
			assert.Less(t, n.throttled, 100, "a timeout of %v", timeout)
		})
	}
}

func TestNoStatementStopsAnAccountForDays(t *testing.T) {
	for name, l := range map[string]Limit{"one in a month": {Requests: 1, Per: 31 * 24 * time.Hour}, "ten in a month": {Requests: 10, Per: 31 * 24 * time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			g, calls := new(Adaptive), 0
			s := func() Outcome {
				if calls++; calls == l.Requests+1 {
					return Outcome{Result: Throttled, Limit: l}
				}
				return accepted
			}
			start := time.Now()
			for range l.Requests + 5 {
				passes(t, g, 0, 0, 0, s())
			}
			assert.Less(t, time.Since(start), 3*time.Hour, name)
		})
	}
}

func TestMaxWaitAppliesToAStatedWindowThatIsUsedUp(t *testing.T) {
	for _, per := range []time.Duration{5 * time.Minute, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			g, s, start := new(Adaptive), window(200, per, false), time.Now()
			r := Request{Key: "k", MaxWait: 2 * time.Minute}
			var longest time.Duration
			throttled := 0
			for time.Since(start) < 3*per {
				began := time.Now()
				ticket, err := g.Wait(t.Context(), r)
				longest = max(longest, time.Since(began))
				require.NoError(t, err, "no call should fail because of a statement")
				time.Sleep(20 * time.Millisecond)
				o := s()
				g.Observe(r, ticket, o)
				if o.Result == Throttled {
					throttled++
					time.Sleep(per / 50)
				}
			}
			assert.LessOrEqual(t, longest, (2*60+2)*time.Second, "a window of %v", per)
			assert.LessOrEqual(t, throttled, 3*50, "a window of %v", per)
		})
	}
}

func TestMaxWaitAppliesToWaitersWhenAStatedWindowIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := new(Adaptive), window(200, 5*time.Minute, false)
		_ = run(g, s, 10, 8*time.Minute, 0, 0, briefly) // learns the window
		var mu sync.Mutex
		var longest time.Duration
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				r, began := Request{Key: "k", MaxWait: 2 * time.Minute}, time.Now()
				ticket, err := g.Wait(t.Context(), r)
				mu.Lock()
				defer mu.Unlock()
				longest = max(longest, time.Since(began))
				if assert.NoError(t, err) {
					g.Observe(r, ticket, s())
				}
			})
		}
		wg.Wait()
		assert.Less(t, longest, 5*time.Minute)
	})
}

func TestAccountWhoseCallersAreAllRefusedIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := new(Adaptive), window(100, 24*time.Hour, false)
		first := run(g, s, 20, 24*time.Hour, 30*time.Second, 10*time.Second, briefly)
		second := run(g, s, 20, 24*time.Hour, 30*time.Second, 10*time.Second, briefly)
		assert.Less(t, second.throttled, 200, "first day: %+v, second day: %+v", first, second)
		assert.Greater(t, second.accepted, 90)
	})
}

func TestStartWindowOfOneDoesNotHoldBackRequestsThatAreSpreadOverTime(t *testing.T) {
	for _, size := range []int{1, 2, 3} {
		synctest.Test(t, func(t *testing.T) {
			g := &Adaptive{StartWindow: size}
			for range size {
				_, err := g.Wait(t.Context(), plain) // stays open
				assert.NoError(t, err)
			}
			for range 5 {
				time.Sleep(500 * time.Millisecond)
				assert.Zero(t, passes(t, g, 0, 0, 0, accepted), "StartWindow %d", size)
			}
		})
	}
}

// In a steady overload, a request is sent when just as much time is left as a response is
// expected to take. If that were the mean, half of the responses would be late.
func TestFewDeadlinesAreMissedIfResponseTimesVary(t *testing.T) {
	for name, tt := range map[string]struct {
		median, sigma float64 // of the response time: seconds, and a lognormal distribution's sigma
		timeout       time.Duration
	}{
		"0.5 s, up to 8 s; timeout 10 s": {0.5, 1.2, 10 * time.Second},
		"0.2 s, up to 2 s; timeout 2 s":  {0.2, 1, 2 * time.Second},
		"0.08 s; timeout 30 s":           {0.08, 0.5, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			took := func() time.Duration {
				return time.Duration(tt.median * math.Exp(tt.sigma*rng.NormFloat64()) * 1e9)
			}
			workers := int(24 * tt.timeout.Seconds()) // if each call takes its whole timeout, they make 24 calls per second
			mean := 0                                 // of four runs, because single runs vary by some percent
			for range 4 {
				mean += run(new(Adaptive), bucket(20, 20, 0), workers, 10*time.Minute, tt.timeout, time.Second, took).accepted / 4
			}
			assert.Greater(t, mean, 600*20*88/100, name)
		})
	}
}

// The end that the service states is that of an hourly limit, but the limit that requests
// exceed is another one.
func TestStatedEndOfAnotherWindowDelaysRequestsOnlyAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bucket(20, 20, 0)
		stating := func() Outcome {
			o := s()
			if o.Result == Throttled {
				o.Limit = Limit{Requests: 50000, Reset: 40 * time.Minute}
			}
			return o
		}
		g, r := new(Adaptive), Request{Key: "k", MaxWait: 2 * time.Minute}
		var wg sync.WaitGroup
		var mu sync.Mutex
		n, start := 0, time.Now()
		for range 50 {
			wg.Go(func() {
				for time.Since(start) < 30*time.Minute {
					ticket, err := g.Wait(t.Context(), r)
					var refusal *Error
					if errors.As(err, &refusal) {
						time.Sleep(time.Second)
						continue
					}
					mu.Lock()
					o := stating()
					if o.Result == Accepted {
						n++
					}
					mu.Unlock()
					time.Sleep(50 * time.Millisecond)
					g.Observe(r, ticket, o)
				}
			})
		}
		wg.Wait()
		assert.Greater(t, n, 1800*20*3/4)
	})
}

// Requests that the hold would make late must not wait for its end, only to be refused.
func TestWaitersThatTheStatedEndWouldMakeLateAreSentBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		do := func(trip time.Duration, o Outcome) {
			ticket, err := g.Wait(t.Context(), plain)
			assert.NoError(t, err)
			time.Sleep(trip)
			g.Observe(plain, ticket, o)
		}
		do(100*time.Millisecond, accepted)
		do(10*time.Millisecond, Outcome{Result: Throttled, RetryAfter: time.Second})
		for i := range 200 { // response times that vary
			do([]time.Duration{4 * time.Second, 100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond}[i%4], accepted)
		}
		a := g.account("k")
		a.mu.Lock()
		answered := a.answered()
		a.mu.Unlock()
		do(10*time.Millisecond, Outcome{Result: Throttled, Limit: Limit{Reset: 20 * time.Second}})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				passes(t, g, 0, 20*time.Second+answered+550*time.Millisecond, 0, accepted)
			})
		}
		wg.Wait()
	})
}
