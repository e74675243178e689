package gate_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
)

var (
	plain    = gate.Request{Key: "account"}
	accepted = gate.Outcome{Result: gate.Accepted}
)

func throttled(retryAfter time.Duration) gate.Outcome {
	return gate.Outcome{Result: gate.Throttled, RetryAfter: retryAfter}
}

// outcome returns accepted if ok is true, and throttled otherwise.
func outcome(ok bool, retryAfter time.Duration) gate.Outcome {
	if ok {
		return accepted
	}
	return throttled(retryAfter)
}

// enter calls Wait, which must admit the request.
func enter(t testing.TB, g *gate.Adaptive, resend int) gate.Ticket {
	t.Helper()
	ticket, err := g.Wait(t.Context(), gate.Request{Key: plain.Key, Resend: resend})
	require.NoError(t, err)
	return ticket
}

// throttle sends one request that gets a 429.
func throttle(t testing.TB, g *gate.Adaptive, retryAfter time.Duration) {
	t.Helper()
	g.Observe(plain, enter(t, g, 0), throttled(retryAfter))
}

func TestNoRequestOfAThrottledAccountIsSentBeforeRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		throttle(t, g, 10*time.Second)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				ticket := enter(t, g, 0)
				assert.GreaterOrEqual(t, time.Since(start), 10*time.Second)
				g.Observe(plain, ticket, accepted)
			})
		}
		wg.Wait()
	})
}

func TestThrottledAccountDoesNotSlowDownAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		throttle(t, g, time.Minute)
		start := time.Now()
		_, err := g.Wait(t.Context(), gate.Request{Key: "another"})
		require.NoError(t, err)
		assert.Zero(t, time.Since(start))
	})
}

func TestRequestsAreSentInTheOrderOfArrival(t *testing.T) {
	for name, resend := range map[string]int{"first attempts": 0, "retries": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(gate.Adaptive)
				throttle(t, g, time.Second)
				var mu sync.Mutex
				var left []int
				var wg sync.WaitGroup
				for i := range 200 {
					wg.Go(func() {
						ticket := enter(t, g, resend)
						mu.Lock()
						left = append(left, i)
						mu.Unlock()
						g.Observe(plain, ticket, accepted)
					})
					synctest.Wait()
				}
				wg.Wait()
				assert.Len(t, left, 200)
				assert.True(t, slices.IsSorted(left), "%v", left)
			})
		})
	}
}

func TestRetriesAreSentBeforeFirstAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		throttle(t, g, time.Second)
		order := make(chan int, 2)
		for _, resend := range []int{0, 1} {
			go func() {
				ticket := enter(t, g, resend)
				order <- resend
				g.Observe(plain, ticket, accepted)
			}()
			synctest.Wait()
		}
		assert.Equal(t, 1, <-order)
		assert.Equal(t, 0, <-order)
	})
}

func TestBurstsToAnUnlimitedAccountAreHeldBackLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		burst := func() (most int64, took time.Duration) {
			var flying, peak atomic.Int64
			start := time.Now()
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					ticket := enter(t, g, 0)
					n := flying.Add(1)
					p := peak.Load()
					for n > p && !peak.CompareAndSwap(p, n) {
						p = peak.Load()
					}
					time.Sleep(100 * time.Millisecond)
					flying.Add(-1)
					g.Observe(plain, ticket, accepted)
				})
			}
			wg.Wait()
			return peak.Load(), time.Since(start)
		}
		most, took := burst()
		assert.Less(t, most, int64(1000))
		assert.LessOrEqual(t, took, 600*time.Millisecond, "should take at most six round trips, of 64, 96, 144, 216, 324 and 156 requests")
		for range 6 {
			_, took = burst()
		}
		assert.LessOrEqual(t, took, 300*time.Millisecond, "the window should be remembered and continue to grow")
	})
}

func TestStartWindowLimitsRequestsBeforeTheFirstResponse(t *testing.T) {
	for window, want := range map[int]int{0: 64, 10: 10, -1: 1000, math.MinInt: 1000, math.MaxInt: 1000} {
		t.Run(fmt.Sprint("StartWindow ", window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate.Adaptive{StartWindow: window}
				ctx, cancel := context.WithCancel(t.Context())
				var left atomic.Int64
				var wg sync.WaitGroup
				for range 1000 {
					wg.Go(func() {
						if _, err := g.Wait(ctx, plain); err == nil {
							left.Add(1)
						}
					})
				}
				synctest.Wait()
				assert.EqualValues(t, want, left.Load())
				cancel()
				wg.Wait()
			})
		})
	}
}

func TestSlowAnswersDoNotStallOtherRequests(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *gate.Adaptive){
		"before any throttling": func(t *testing.T, g *gate.Adaptive) {
			for range 64 { // these requests stay in flight
				enter(t, g, 0)
			}
		},
		"after a pause": func(t *testing.T, g *gate.Adaptive) {
			throttle(t, g, time.Second)
			enter(t, g, 0)
		},
		"while probing": func(t *testing.T, g *gate.Adaptive) {
			throttle(t, g, time.Second)
			g.Observe(plain, enter(t, g, 0), throttled(time.Second))
			enter(t, g, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(gate.Adaptive)
				begin(t, g)
				start := time.Now()
				for range 20 {
					enter(t, g, 0)
				}
				assert.Less(t, time.Since(start), time.Minute)
			})
		})
	}
}

func TestRequestThatCannotBeSentBeforeItsDeadlineIsRefusedAtOnce(t *testing.T) {
	t.Run("the request arrives during the pause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate.Adaptive)
			throttle(t, g, 20*time.Second)
			time.Sleep(10 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			_, err := g.Wait(ctx, plain)
			assert.Zero(t, time.Since(start))
			var e *gate.Error
			ok := errors.As(err, &e)
			require.True(t, ok, err)
			assert.GreaterOrEqual(t, e.RetryAfter, 10*time.Second)
			assert.Less(t, e.RetryAfter, 11*time.Second)
			assert.ErrorContains(t, err, "deadline")
		})
	})
	t.Run("the pause begins while the request waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate.Adaptive)
			throttle(t, g, time.Second)
			probe := enter(t, g, 0)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			refused := make(chan error)
			for range 50 { // enough requests that some have to wait
				go func() {
					ticket, err := g.Wait(ctx, plain)
					if err == nil {
						<-ctx.Done()
						g.Observe(plain, ticket, accepted)
						return
					}
					refused <- err
				}()
			}
			synctest.Wait()
			g.Observe(plain, probe, throttled(90*time.Second))
			start := time.Now()
			ok := errors.As(<-refused, new(*gate.Error))
			assert.True(t, ok)
			assert.Zero(t, time.Since(start))
			cancel()
			synctest.Wait()
			for {
				select {
				case <-refused:
					continue
				default:
				}
				break
			}
		})
	})
}

func TestPauseLongerThanMaxWaitIsRefusedAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		maxWait, retryAfter time.Duration
		refused             bool
	}{
		"Retry-After is shorter than MaxWait":       {2 * time.Minute, 110 * time.Second, false},
		"Retry-After is exactly as long as MaxWait": {2 * time.Minute, 2 * time.Minute, false},
		"Retry-After is longer than MaxWait":        {2 * time.Minute, 121 * time.Second, true},
		"Retry-After is twice as long as MaxWait":   {10 * time.Second, 20 * time.Second, true},
		"there is no MaxWait":                       {0, 10 * time.Hour, false},
		"a huge Retry-After is clamped to a day":    {24 * time.Hour, 1 << 62, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(gate.Adaptive)
				throttle(t, g, tt.retryAfter)
				start := time.Now()
				r := gate.Request{Key: plain.Key, MaxWait: tt.maxWait}
				ticket, err := g.Wait(t.Context(), r)
				if !tt.refused {
					require.NoError(t, err)
					assert.GreaterOrEqual(t, time.Since(start), min(tt.retryAfter, 24*time.Hour))
					assert.Less(t, time.Since(start), 25*time.Hour)
					g.Observe(r, ticket, accepted)
					return
				}
				var e *gate.Error
				require.ErrorAs(t, err, &e)
				assert.ErrorIs(t, err, gate.ErrPaused)
				assert.GreaterOrEqual(t, e.RetryAfter, tt.retryAfter)
				assert.Less(t, e.RetryAfter, tt.retryAfter+time.Second)
				assert.Zero(t, time.Since(start))
			})
		})
	}
}

func TestWaitersAreRefusedWhenThePauseBecomesLongerThanTheirMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		first, second := enter(t, g, 0), enter(t, g, 0)
		g.Observe(plain, first, throttled(time.Second))
		start := time.Now()
		var wg sync.WaitGroup
		for _, maxWait := range []time.Duration{0, 10 * time.Second, time.Minute} {
			wg.Go(func() {
				r := gate.Request{Key: plain.Key, MaxWait: maxWait}
				ticket, err := g.Wait(t.Context(), r)
				if maxWait == 10*time.Second {
					assert.ErrorIs(t, err, gate.ErrPaused)
					assert.Zero(t, time.Since(start))
					return
				}
				assert.NoError(t, err)
				assert.GreaterOrEqual(t, time.Since(start), 30*time.Second)
				g.Observe(r, ticket, accepted)
			})
		}
		synctest.Wait()
		g.Observe(plain, second, throttled(30*time.Second))
		wg.Wait()
	})
}

func TestLaterResponseCanLengthenThePauseButNotShortenIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		a, b, c := enter(t, g, 0), enter(t, g, 0), enter(t, g, 0)
		g.Observe(plain, a, throttled(5*time.Second))
		g.Observe(plain, b, throttled(50*time.Second))
		g.Observe(plain, c, throttled(time.Second))
		start := time.Now()
		enter(t, g, 1)
		assert.GreaterOrEqual(t, time.Since(start), 50*time.Second)
		assert.Less(t, time.Since(start), 52*time.Second)
	})
}

func TestPausesWithoutRetryAfterGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		throttle(t, g, 0)
		var pauses []time.Duration
		for i := range 12 {
			start := time.Now()
			ticket := enter(t, g, i+1)
			pauses = append(pauses, time.Since(start))
			g.Observe(plain, ticket, throttled(0))
		}
		assert.GreaterOrEqual(t, pauses[0], 250*time.Millisecond)
		assert.True(t, slices.IsSorted(pauses[:6]), "%v", pauses)
		assert.LessOrEqual(t, slices.Max(pauses), 16*time.Second)
		assert.GreaterOrEqual(t, pauses[11], 15*time.Second)
	})
}

// Callers that wait for at most half a minute form a short queue. Even so, they must be
// served soon after the service accepts requests again.
func TestCallersAreServedSoonAfterAnOutage(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates callers for almost two hours")
	}
	for name, tt := range map[string]struct {
		lasts, retryAfter, within time.Duration
	}{
		"outage of half a minute, Retry-After 1 s":     {30 * time.Second, time.Second, 30 * time.Second},
		"outage of half an hour, Retry-After 1 s":      {30 * time.Minute, time.Second, 40 * time.Second},
		"outage of half a minute, without Retry-After": {30 * time.Second, 0, 7 * time.Minute},
		"outage of half an hour, without Retry-After":  {30 * time.Minute, 0, time.Minute},
		"outage of half an hour, Retry-After 1 min":    {30 * time.Minute, time.Minute, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(gate.Adaptive)
				begin := time.Now().Add(time.Minute)
				end := begin.Add(tt.lasts)
				served := end.Add(tt.within)
				var failed atomic.Int64 // number of failed calls that began later than served
				var wg sync.WaitGroup
				for now := time.Now(); now.Before(served.Add(time.Minute)); now = time.Now() {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
						defer cancel()
						for n := range 8 {
							ticket, err := g.Wait(ctx, gate.Request{Key: plain.Key, Resend: n})
							if err != nil {
								break
							}
							ok := time.Now().Before(begin) || !time.Now().Before(end)
							time.Sleep(50 * time.Millisecond)
							g.Observe(plain, ticket, outcome(ok, tt.retryAfter))
							if ok {
								return
							}
						}
						if now.After(served) {
							failed.Add(1)
						}
					})
					time.Sleep(50 * time.Millisecond)
				}
				wg.Wait()
				assert.Zero(t, failed.Load())
			})
		})
	}
}

func TestCanceledWaitReturnsAtOnceAndLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		throttle(t, g, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		for range 1000 {
			go func() {
				_, err := g.Wait(ctx, plain)
				done <- err
			}()
		}
		synctest.Wait()
		start := time.Now()
		cancel()
		for range 1000 {
			assert.ErrorIs(t, <-done, context.Canceled)
		}
		assert.Zero(t, time.Since(start))
		enter(t, g, 0) // no canceled request is ahead of this one
		assert.Less(t, time.Since(start), 63*time.Second)
	})
}

// A waiter that is canceled at the moment when it is admitted must pass its turn on to
// the next waiter.
func TestNoTurnIsLostWhenWaitersAreCanceled(t *testing.T) {
	g := &gate.Adaptive{StartWindow: 2}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 300 {
				ctx, cancel := context.WithCancel(context.Background())
				timer := time.AfterFunc(time.Duration(r.IntN(200))*time.Microsecond, cancel)
				if ticket, err := g.Wait(ctx, plain); err == nil {
					runtime.Gosched()
					g.Observe(plain, ticket, outcome(r.IntN(200) > 0, time.Millisecond))
				}
				timer.Stop()
				cancel()
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ticket, err := g.Wait(ctx, plain)
	require.NoError(t, err)
	g.Observe(plain, ticket, accepted)
}

func TestMisuseOfObserveDoesNoHarm(t *testing.T) {
	for name, misuse := range map[string]func(*testing.T, *gate.Adaptive){
		"Observe without Wait for an unknown account": func(_ *testing.T, g *gate.Adaptive) {
			g.Observe(gate.Request{Key: "unknown"}, 0, accepted)
			g.Observe(gate.Request{Key: "unknown"}, 7, throttled(time.Hour))
		},
		"Observe without Wait": func(t *testing.T, g *gate.Adaptive) {
			g.Observe(plain, enter(t, g, 0), accepted)
			for range 1000 {
				g.Observe(plain, 0, accepted)
			}
		},
		"Observe twice": func(t *testing.T, g *gate.Adaptive) {
			ticket := enter(t, g, 0)
			g.Observe(plain, ticket, accepted)
			g.Observe(plain, ticket, accepted)
		},
		"Observe twice after throttling": func(t *testing.T, g *gate.Adaptive) {
			throttle(t, g, time.Second)
			ticket := enter(t, g, 0)
			g.Observe(plain, ticket, accepted)
			g.Observe(plain, ticket, throttled(100*time.Second))
		},
		"Observe with a ticket that was never issued": func(t *testing.T, g *gate.Adaptive) {
			throttle(t, g, time.Second)
			g.Observe(plain, 1<<60, throttled(100*time.Second))
			g.Observe(plain, 1<<60, accepted)
		},
		"Observe with a negative RetryAfter": func(t *testing.T, g *gate.Adaptive) {
			throttle(t, g, -time.Hour)
		},
		"Observe with an undefined Result": func(t *testing.T, g *gate.Adaptive) {
			g.Observe(plain, enter(t, g, 0), gate.Outcome{Result: 99})
			throttle(t, g, time.Second)
			g.Observe(plain, enter(t, g, 0), gate.Outcome{Result: 99})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate.Adaptive{StartWindow: 3}
				misuse(t, g)
				start := time.Now()
				var flying []gate.Ticket
				for range 3 {
					flying = append(flying, enter(t, g, 0))
				}
				assert.Less(t, time.Since(start), 10*time.Second)
				for _, ticket := range flying {
					g.Observe(plain, ticket, accepted)
				}
			})
		})
	}
}

func TestUndefinedResultCountsAsUnknown(t *testing.T) {
	const undefined = gate.Result(99)
	t.Run("before any throttling", func(t *testing.T) {
		g := &gate.Adaptive{StartWindow: 10}
		for range 100 { // an accepted request would widen the window
			for range 10 {
				enter(t, g, 0)
			}
			for range 10 {
				g.Observe(plain, 0, gate.Outcome{Result: undefined})
			}
		}
		assert.Equal(t, 10, admitted(t, g), "the window should not have grown")
	})
	t.Run("before the stated end of a window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate.Adaptive)
			g.Observe(plain, enter(t, g, 0), gate.Outcome{Result: gate.Throttled, Limit: gate.Limit{Reset: time.Minute}})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // too early to wait for the stated end
			defer cancel()
			ticket, err := g.Wait(ctx, plain)
			require.NoError(t, err)
			g.Observe(plain, ticket, gate.Outcome{Result: undefined})
			assert.Positive(t, stats(t, g).Pause, "an accepted request would disprove the stated end")
		})
	})
}

func TestMemoryOfAMillionAccountsIsFreed(t *testing.T) {
	accounts := 1_000_000
	if raceDetector || testing.Short() { // with the race detector, the test takes twenty times as long
		accounts /= 10
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		before, peak := heap(), uint64(0)
		for i := range accounts {
			r := gate.Request{Key: fmt.Sprint(i)}
			ticket, err := g.Wait(t.Context(), r)
			require.NoError(t, err)
			g.Observe(r, ticket, outcome(i%1000 > 0, time.Second))
			if i%(accounts/5) == 0 {
				peak = max(peak, heap())
			}
		}
		assert.Less(t, peak-min(before, peak), uint64(8<<20), "memory should be bounded, because unused accounts are forgotten")
		time.Sleep(time.Hour)
		synctest.Wait()
		after := heap()
		t.Logf("heap: %d KiB before, at most %d KiB more in five samples, %d KiB after the test", before>>10, (peak-min(before, peak))>>10, after>>10)
		assert.Less(t, after-min(before, after), uint64(256<<10))
		runtime.KeepAlive(g)
	})
}

func TestAccountInUseIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		throttle(t, g, time.Second)
		held := enter(t, g, 0)
		time.Sleep(24 * time.Hour) // held is in flight all the time
		g.Observe(plain, held, throttled(60*time.Second))
		start := time.Now()
		enter(t, g, 1)
		assert.GreaterOrEqual(t, time.Since(start), time.Minute)
	})
}

func TestAccountsCanBeForgottenAndUsedConcurrently(t *testing.T) {
	g := new(gate.Adaptive)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5000 {
				r := gate.Request{Key: fmt.Sprint((i + j) % 3000)} // enough keys to cause hurried sweeps
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				ticket, err := g.Wait(ctx, r)
				if assert.NoError(t, err) {
					g.Observe(r, ticket, accepted)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

// A service that does not respond must not get more and more requests.
func TestPaceIsNotRaisedWhileNoRequestIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, up = 20.0, time.Minute // the service is up for a minute
		g, start := new(gate.Adaptive), time.Now()
		r := gate.Request{Key: "k"}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var mu sync.Mutex
		tokens, last := limit, start
		sent := map[time.Duration]int{} // by minute
		accepts := func(now time.Time) bool {
			mu.Lock()
			defer mu.Unlock()
			sent[now.Sub(start)/time.Minute]++
			tokens, last = min(limit, tokens+limit*now.Sub(last).Seconds()), now
			if tokens < 1 {
				return false
			}
			tokens--
			return true
		}
		for range 3000 {
			go func() {
				for {
					ticket, err := g.Wait(ctx, r)
					if err != nil {
						return
					}
					o := gate.Outcome{}
					now := time.Now()
					time.Sleep(50 * time.Millisecond)
					switch {
					case now.Sub(start) > up:
						time.Sleep(30 * time.Second)
					case accepts(now):
						o.Result = gate.Accepted
					default:
						o = gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second}
					}
					g.Observe(r, ticket, o)
				}
			}()
		}
		time.Sleep(up + 2*time.Minute)
		s, ok := g.Stats("k")
		require.True(t, ok)
		assert.Less(t, s.Pace, 2*limit)
		assert.Less(t, s.Flying, int(2*limit*30), "in half a minute, no more requests should be sent than at twice the limit")
		assert.Greater(t, sent[0], 1000, "before, the gate should have used most of the limit")
		cancel()
		time.Sleep(time.Minute)
	})
}

// In order of arrival, each request would be sent just before its caller gives up.
func TestCallersThatGiveUpWithoutADeadlineAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, length = 20.0, time.Minute
		g, start := new(gate.Adaptive), time.Now()
		r := gate.Request{Key: "k"}
		var mu sync.Mutex
		tokens, last, answered, sent := limit, start, 0, 0
		call := func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer time.AfterFunc(time.Second, cancel).Stop()
			ticket, err := g.Wait(ctx, r)
			if err != nil {
				return
			}
			mu.Lock()
			now := time.Now()
			tokens, last = min(limit, tokens+limit*now.Sub(last).Seconds()), now
			ok := tokens >= 1
			if ok {
				tokens--
			}
			sent++
			mu.Unlock()
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				g.Observe(r, ticket, gate.Outcome{})
				return
			}
			if !ok {
				g.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second})
				return
			}
			g.Observe(r, ticket, gate.Outcome{Result: gate.Accepted})
			mu.Lock()
			answered++
			mu.Unlock()
		}
		var all sync.WaitGroup
		for range 60 {
			all.Go(func() {
				for time.Since(start) < length {
					call()
				}
			})
		}
		all.Wait()
		assert.Greater(t, float64(answered), 0.9*limit*length.Seconds())
		assert.Less(t, float64(sent), 1.2*float64(answered))
	})
}
