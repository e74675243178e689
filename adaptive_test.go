package iamhttp_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

const account = "account"

// enter is Wait with nothing to go wrong.
func enter(t testing.TB, g *iamhttp.AdaptiveGate, resend int) iamhttp.Ticket {
	t.Helper()
	ticket, err := g.Wait(t.Context(), account, resend)
	require.NoError(t, err)
	return ticket
}

// throttle sends one request that is refused.
func throttle(t testing.TB, g *iamhttp.AdaptiveGate, retryAfter time.Duration) {
	t.Helper()
	g.Observe(account, enter(t, g, 0), true, retryAfter)
}

func TestAfterA429NobodyOfTheAccountLeavesBeforeRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		throttle(t, g, 10*time.Second)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				ticket := enter(t, g, 0)
				assert.GreaterOrEqual(t, time.Since(start), 10*time.Second)
				g.Observe(account, ticket, false, 0)
			})
		}
		wg.Wait()
	})
}

func TestAnotherAccountIsNotSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		throttle(t, g, time.Minute)
		start := time.Now()
		_, err := g.Wait(t.Context(), "another", 0)
		require.NoError(t, err)
		assert.Zero(t, time.Since(start))
	})
}

func TestWhoAsksFirstLeavesFirst(t *testing.T) {
	for name, resend := range map[string]int{"first sends": 0, "repeats": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(iamhttp.AdaptiveGate)
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
						g.Observe(account, ticket, false, 0)
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

func TestRepeatsLeaveBeforeThoseWhoHaveNotBeenSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		throttle(t, g, time.Second)
		order := make(chan int, 2)
		for _, resend := range []int{0, 1} {
			go func() {
				ticket := enter(t, g, resend)
				order <- resend
				g.Observe(account, ticket, false, 0)
			}()
			synctest.Wait()
		}
		assert.Equal(t, 1, <-order)
		assert.Equal(t, 0, <-order)
	})
}

func TestABurstOfAnUnlimitedAccountIsHeldBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		burst := func() (most int64, took time.Duration) {
			var flying, peak atomic.Int64
			start := time.Now()
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					ticket := enter(t, g, 0)
					n := flying.Add(1)
					for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
					}
					time.Sleep(100 * time.Millisecond)
					flying.Add(-1)
					g.Observe(account, ticket, false, 0)
				})
			}
			wg.Wait()
			return peak.Load(), time.Since(start)
		}
		most, took := burst()
		assert.Less(t, most, int64(1000))
		assert.LessOrEqual(t, took, 600*time.Millisecond, "six round trips: 64, 96, 144, 216, 324 and the rest")
		for range 6 {
			_, took = burst()
		}
		assert.LessOrEqual(t, took, 300*time.Millisecond, "the window is remembered, and grows where it is used")
	})
}

func TestStartWindowIsHowManyLeaveBeforeTheFirstAnswer(t *testing.T) {
	for window, want := range map[int]int{0: 64, 10: 10, -1: 1000, math.MinInt: 1000, math.MaxInt: 1000} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &iamhttp.AdaptiveGate{StartWindow: window}
				ctx, cancel := context.WithCancel(t.Context())
				var left atomic.Int64
				var wg sync.WaitGroup
				for range 1000 {
					wg.Go(func() {
						if _, err := g.Wait(ctx, account, 0); err == nil {
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

func TestSlowAnswersDoNotStallTheOthers(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *iamhttp.AdaptiveGate){
		"before any throttling": func(t *testing.T, g *iamhttp.AdaptiveGate) {
			for range 64 { // they stay in flight for ever
				enter(t, g, 0)
			}
		},
		"after a pause": func(t *testing.T, g *iamhttp.AdaptiveGate) {
			throttle(t, g, time.Second)
			enter(t, g, 0)
		},
		"while probing": func(t *testing.T, g *iamhttp.AdaptiveGate) {
			throttle(t, g, time.Second)
			g.Observe(account, enter(t, g, 0), true, time.Second)
			enter(t, g, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(iamhttp.AdaptiveGate)
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

func TestARequestThatCannotLeaveBeforeItsDeadlineIsRefusedAtOnce(t *testing.T) {
	t.Run("when it comes during the pause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := new(iamhttp.AdaptiveGate)
			throttle(t, g, 20*time.Second)
			time.Sleep(10 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			_, err := g.Wait(ctx, account, 0)
			assert.Zero(t, time.Since(start))
			e, ok := errors.AsType[*iamhttp.GateError](err)
			require.True(t, ok, err)
			assert.GreaterOrEqual(t, e.RetryAfter, 10*time.Second)
			assert.Less(t, e.RetryAfter, 11*time.Second)
			assert.ErrorContains(t, err, "deadline")
		})
	})
	t.Run("when the pause begins while it waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := new(iamhttp.AdaptiveGate)
			throttle(t, g, time.Second)
			probe := enter(t, g, 0)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			refused := make(chan error)
			for range 50 { // enough to wait
				go func() {
					ticket, err := g.Wait(ctx, account, 0)
					if err == nil {
						<-ctx.Done()
						g.Observe(account, ticket, false, 0)
						return
					}
					refused <- err
				}()
			}
			synctest.Wait()
			g.Observe(account, probe, true, 90*time.Second)
			start := time.Now()
			_, ok := errors.AsType[*iamhttp.GateError](<-refused)
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

// Those who will have given up by then are in nobody's way.
func TestWhoWaitsLongerThanThoseBeforeIsNotRefusedForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		send, done := limitedTo(10, g)
		throttle(t, g, time.Second)
		hasty, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for range 5000 {
			go func() { _ = send(hasty) }()
		}
		time.Sleep(4500 * time.Millisecond) // a refusal has taught the gate that 20/s is too much
		patient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		assert.NoError(t, send(patient))
		e, ok := errors.AsType[*iamhttp.GateError](send(hasty))
		if assert.True(t, ok || hasty.Err() != nil) && ok {
			assert.ErrorContains(t, e, "deadline")
		}
		done()
	})
}

// limitedTo returns a way to send through g to a service that takes so many
// requests a second and no two at once, and to wait for all that were sent.
func limitedTo(rate float64, g *iamhttp.AdaptiveGate) (send func(context.Context) error, done func()) {
	var mu sync.Mutex
	var next time.Time
	var wg sync.WaitGroup
	take := func() bool {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Before(next) {
			return false
		}
		next = now.Add(time.Duration(float64(time.Second) / rate))
		return true
	}
	send = func(ctx context.Context) error {
		wg.Add(1)
		defer wg.Done()
		ticket, err := g.Wait(ctx, account, 0)
		if err != nil {
			return err
		}
		ok := take()
		time.Sleep(10 * time.Millisecond)
		g.Observe(account, ticket, !ok, time.Second)
		return nil
	}
	return send, wg.Wait
}

func TestWhileThePauseIsLongerThanMaxPauseRequestsAreRefusedAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		maxPause, retryAfter time.Duration
		refused              bool
	}{
		"the default bears two minutes": {0, 110 * time.Second, false},
		"exactly that":                  {0, 2 * time.Minute, false},
		"and no more":                   {0, 121 * time.Second, true},
		"it can be less":                {10 * time.Second, 20 * time.Second, true},
		"or more":                       {time.Hour, 30 * time.Minute, false},
		"a lie is cut to a day":         {48 * time.Hour, 1 << 62, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &iamhttp.AdaptiveGate{MaxPause: tt.maxPause}
				throttle(t, g, tt.retryAfter)
				start := time.Now()
				ticket, err := g.Wait(t.Context(), account, 0)
				if !tt.refused {
					require.NoError(t, err)
					assert.GreaterOrEqual(t, time.Since(start), min(tt.retryAfter, 24*time.Hour))
					assert.Less(t, time.Since(start), 25*time.Hour)
					g.Observe(account, ticket, false, 0)
					return
				}
				assert.ErrorContains(t, err, "MaxPause")
				assert.Zero(t, time.Since(start))
			})
		})
	}
}

func TestALaterAnswerCanMakeThePauseLongerButNotShorter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		a, b, c := enter(t, g, 0), enter(t, g, 0), enter(t, g, 0)
		g.Observe(account, a, true, 5*time.Second)
		g.Observe(account, b, true, 50*time.Second)
		g.Observe(account, c, true, time.Second)
		start := time.Now()
		enter(t, g, 1)
		assert.GreaterOrEqual(t, time.Since(start), 50*time.Second)
		assert.Less(t, time.Since(start), 52*time.Second)
	})
}

func TestWithoutRetryAfterThePausesOfTheGateGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &iamhttp.AdaptiveGate{RetryBudget: -1}
		throttle(t, g, 0)
		var pauses []time.Duration
		for i := range 12 {
			start := time.Now()
			ticket := enter(t, g, i+1)
			pauses = append(pauses, time.Since(start))
			g.Observe(account, ticket, true, 0)
		}
		assert.GreaterOrEqual(t, pauses[0], 250*time.Millisecond)
		assert.True(t, slices.IsSorted(pauses[:6]), "%v", pauses)
		assert.LessOrEqual(t, slices.Max(pauses), 31*time.Second)
		assert.GreaterOrEqual(t, pauses[11], 30*time.Second)
	})
}

func TestWhenTheServiceRefusesEverythingOneAsksForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		var sent atomic.Int64
		base := script(func(req *http.Request) (*http.Response, error) {
			sent.Add(1)
			time.Sleep(10 * time.Millisecond)
			return response(req, 429, http.NoBody, 0, "Retry-After: 1"), nil
		})
		tr := &iamhttp.Transport{Base: base, Gate: g, MaxAttempts: 100}
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				assert.Error(t, err)
			})
		}
		wg.Wait()
		assert.Less(t, sent.Load(), int64(64+60), "the first window, and one in up to half a minute")
	})
}

// Callers that do not wait for long are never a long queue. They must be served
// all the same when the service takes requests again.
func TestAfterAnOutageTheCallersAreServedAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		lasts, retryAfter, within time.Duration
	}{
		"half a minute, with Retry-After": {30 * time.Second, time.Second, 30 * time.Second},
		"half an hour, with Retry-After":  {30 * time.Minute, time.Second, 40 * time.Second},
		"half a minute, without":          {30 * time.Second, 0, 7 * time.Minute},
		"half an hour, without":           {30 * time.Minute, 0, time.Minute},
		"half an hour, a minute each":     {30 * time.Minute, time.Minute, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(iamhttp.AdaptiveGate)
				begin := time.Now().Add(time.Minute)
				end := begin.Add(tt.lasts)
				served := end.Add(tt.within)
				var failed atomic.Int64 // of those that came after
				var wg sync.WaitGroup
				for now := time.Now(); now.Before(served.Add(time.Minute)); now = time.Now() {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
						defer cancel()
						for n := range 8 {
							ticket, err := g.Wait(ctx, account, n)
							if err != nil {
								break
							}
							ok := time.Now().Before(begin) || !time.Now().Before(end)
							time.Sleep(50 * time.Millisecond)
							g.Observe(account, ticket, !ok, tt.retryAfter)
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

func TestTheRetryBudgetEndsRepeatsThatLeadNowhere(t *testing.T) {
	for name, tt := range map[string]struct {
		budget  float64
		refused bool
	}{
		"by default":    {0, true},
		"a smaller one": {0.01, true},
		"switched off":  {-1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &iamhttp.AdaptiveGate{RetryBudget: tt.budget}
				throttle(t, g, 0)
				var err error
				n := 1
				for ; n < 40 && err == nil; n++ {
					var ticket iamhttp.Ticket
					if ticket, err = g.Wait(t.Context(), account, n); err == nil {
						g.Observe(account, ticket, true, 0)
					}
				}
				if !tt.refused {
					assert.NoError(t, err)
					return
				}
				assert.ErrorContains(t, err, "budget")
				assert.Greater(t, n, 10, "that many are free")
				ticket, err := g.Wait(t.Context(), account, 1)
				require.NoError(t, err, "the first repeat of a request is never refused")
				g.Observe(account, ticket, false, 0)
			})
		})
	}
}

func TestCanceledWhileWaitingReturnsAtOnceAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		throttle(t, g, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		for range 1000 {
			go func() {
				_, err := g.Wait(ctx, account, 0)
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
		enter(t, g, 0) // and nobody stands before this one
		assert.Less(t, time.Since(start), 63*time.Second)
	})
}

// Waiters that give up in the very moment in which they are let out must give
// their turn to the next.
func TestNoTurnIsLostToACancel(t *testing.T) {
	g := &iamhttp.AdaptiveGate{StartWindow: 2}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 300 {
				ctx, cancel := context.WithCancel(context.Background())
				timer := time.AfterFunc(time.Duration(r.IntN(200))*time.Microsecond, cancel)
				if ticket, err := g.Wait(ctx, account, 0); err == nil {
					runtime.Gosched()
					g.Observe(account, ticket, r.IntN(200) == 0, time.Millisecond)
				}
				timer.Stop()
				cancel()
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ticket, err := g.Wait(ctx, account, 0)
	require.NoError(t, err)
	g.Observe(account, ticket, false, 0)
}

func TestObserveOutOfPlaceDoesNoHarm(t *testing.T) {
	for name, misuse := range map[string]func(*testing.T, *iamhttp.AdaptiveGate){
		"without Wait, of an account that is not known": func(_ *testing.T, g *iamhttp.AdaptiveGate) {
			g.Observe("unknown", 0, false, 0)
			g.Observe("unknown", 7, true, time.Hour)
		},
		"without Wait": func(t *testing.T, g *iamhttp.AdaptiveGate) {
			g.Observe(account, enter(t, g, 0), false, 0)
			for range 1000 {
				g.Observe(account, 0, false, 0)
			}
		},
		"twice": func(t *testing.T, g *iamhttp.AdaptiveGate) {
			ticket := enter(t, g, 0)
			g.Observe(account, ticket, false, 0)
			g.Observe(account, ticket, false, 0)
		},
		"twice, after throttling": func(t *testing.T, g *iamhttp.AdaptiveGate) {
			throttle(t, g, time.Second)
			ticket := enter(t, g, 0)
			g.Observe(account, ticket, false, 0)
			g.Observe(account, ticket, true, 100*time.Second)
		},
		"with a ticket that was never given out": func(t *testing.T, g *iamhttp.AdaptiveGate) {
			throttle(t, g, time.Second)
			g.Observe(account, 1<<60, true, 100*time.Second)
			g.Observe(account, 1<<60, false, 0)
		},
		"with a negative wait": func(t *testing.T, g *iamhttp.AdaptiveGate) {
			throttle(t, g, -time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &iamhttp.AdaptiveGate{StartWindow: 3}
				misuse(t, g)
				start := time.Now()
				var flying []iamhttp.Ticket
				for range 3 {
					flying = append(flying, enter(t, g, 0))
				}
				assert.Less(t, time.Since(start), 10*time.Second)
				for _, ticket := range flying {
					g.Observe(account, ticket, false, 0)
				}
			})
		})
	}
}

func TestOnlyAnUnexpected429ClosesTheGate(t *testing.T) {
	for _, code := range []int{400, 401, 403, 404, 409, 413, 500, 502, 503, 504} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &iamhttp.Transport{Base: script(answer(code, "", "Retry-After: 60")), Gate: new(iamhttp.AdaptiveGate), MaxAttempts: 1}
				start := time.Now()
				for range 10 {
					_, err := tr.RoundTrip(newRequest(t, "GET", ""))
					assert.Error(t, err)
				}
				assert.Zero(t, time.Since(start))
			})
		})
	}
}

func TestAMillionAccountsLeaveNothingBehind(t *testing.T) {
	accounts := 1_000_000
	if raceDetector { // which takes twenty times as long
		accounts /= 10
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		before, peak := heap(), uint64(0)
		for i := range accounts {
			key := fmt.Sprint(i)
			ticket, err := g.Wait(t.Context(), key, 0)
			require.NoError(t, err)
			g.Observe(key, ticket, i%1000 == 0, time.Second)
			if i%(accounts/5) == 0 {
				peak = max(peak, heap())
			}
		}
		assert.Less(t, peak-min(before, peak), uint64(8<<20), "bounded by what is in use while they come")
		time.Sleep(time.Hour)
		synctest.Wait()
		after := heap()
		t.Logf("heap before %d KiB, at most %d KiB more, after %d KiB", before>>10, (peak-min(before, peak))>>10, after>>10)
		assert.Less(t, after-min(before, after), uint64(256<<10))
		runtime.KeepAlive(g)
	})
}

func TestAnAccountThatIsUsedIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		throttle(t, g, time.Second)
		held := enter(t, g, 0)
		time.Sleep(24 * time.Hour) // in flight all the time
		g.Observe(account, held, true, 60*time.Second)
		start := time.Now()
		enter(t, g, 1)
		assert.GreaterOrEqual(t, time.Since(start), time.Minute)
	})
}

// The open path and the forgetting of accounts must not lose anybody.
func TestForgettingAndUsingAtTheSameTime(t *testing.T) {
	g := new(iamhttp.AdaptiveGate)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5000 {
				key := fmt.Sprint((i + j) % 3000) // enough for sweeps in a hurry
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				ticket, err := g.Wait(ctx, key, 0)
				if assert.NoError(t, err) {
					g.Observe(key, ticket, false, 0)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}
