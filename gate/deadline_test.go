package gate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

// bucket simulates a service that accepts rate requests per second, and up to ten at
// once.
type bucket struct {
	mu     sync.Mutex
	rate   float64
	tokens float64
	at     time.Time
	sent   int
}

// call sends a request through g, and retries it when it is throttled. It returns an
// error if the gate refuses the request or the context ends.
func (b *bucket) call(ctx context.Context, g gate.Gate, trip time.Duration) error {
	r := gate.Request{Key: "k"}
	for ; ; r.Resend++ {
		ticket, err := g.Wait(ctx, r)
		if err != nil {
			return err
		}
		b.mu.Lock()
		now := time.Now()
		b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*b.rate, 10)
		b.at = now
		b.sent++
		taken := b.tokens >= 1
		if taken {
			b.tokens--
		}
		b.mu.Unlock()
		select {
		case <-time.After(trip):
		case <-ctx.Done():
			g.Observe(r, ticket, gate.Outcome{})
			return ctx.Err()
		}
		if taken {
			g.Observe(r, ticket, gate.Outcome{Result: gate.Accepted})
			return nil
		}
		g.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second})
	}
}

// learn makes the gate learn the service's limit.
func (b *bucket) learn(t *testing.T, g gate.Gate, trip time.Duration) {
	var wg sync.WaitGroup
	for range int(40 * b.rate) {
		wg.Go(func() { assert.NoError(t, b.call(t.Context(), g, trip)) })
	}
	wg.Wait()
	b.sent = 0
}

func TestMostCallersThatCannotBeServedWithinTheirTimeoutAreRefusedAtOnce(t *testing.T) {
	const rounds = 20 // a single round varies a lot, because a second 429 takes up a third of the time
	for name, apart := range map[string]time.Duration{"all at once": 0, "20 µs apart": 20 * time.Microsecond, "1 ms apart": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			served, early, late := 0, 0, 0
			for range rounds {
				synctest.Test(t, func(t *testing.T) {
					g, b := new(gate.Adaptive), &bucket{rate: 20}
					b.learn(t, g, 10*time.Millisecond)
					var mu sync.Mutex
					var wg sync.WaitGroup
					for range 1000 {
						wg.Go(func() {
							ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
							defer cancel()
							start := time.Now()
							err := b.call(ctx, g, 10*time.Millisecond)
							mu.Lock()
							defer mu.Unlock()
							switch {
							case err == nil:
								served++
							case errors.Is(err, gate.ErrDeadline) && time.Since(start) < 300*time.Millisecond:
								early++
							default:
								late++
							}
						})
						time.Sleep(apart)
					}
					wg.Wait()
				})
			}
			t.Logf("of 1000 calls, on average: %d served, %d refused at once, %d failed later", served/rounds, early/rounds, late/rounds)
			assert.GreaterOrEqual(t, served/rounds, 40)
			if apart < time.Millisecond { // otherwise, the last deadline is a second later than the first
				assert.GreaterOrEqual(t, early/rounds, 800)
			}
		})
	}
}

func TestRequestsTooLateForTheirDeadlinesDoNotWasteTurns(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("simulates 36 minutes of up to 500 callers per second")
	}
	const minute, rounds = 60, 6 // a single round varies a lot, because the learned pace may be too low
	for _, load := range []float64{1.5, 3, 10} {
		for _, trip := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprint("load ", load, ", round trip ", trip), func(t *testing.T) {
				t.Parallel()
				const rate = 50
				served, sent := 0, 0
				for range rounds {
					synctest.Test(t, func(t *testing.T) {
						g, b := new(gate.Adaptive), &bucket{rate: rate}
						b.learn(t, g, trip)
						var mu sync.Mutex
						var wg sync.WaitGroup
						for range int(minute * rate * load) {
							wg.Go(func() {
								ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
								defer cancel()
								if b.call(ctx, g, trip) == nil {
									mu.Lock()
									served++
									mu.Unlock()
								}
							})
							time.Sleep(time.Duration(float64(time.Second) / (rate * load)))
						}
						wg.Wait()
						sent += b.sent
					})
				}
				share, perSuccess := float64(served)/(rounds*minute*rate), float64(sent)/float64(served)
				t.Logf("%.1f%% of the limit used, %.3f requests per success", 100*share, perSuccess)
				assert.GreaterOrEqual(t, share, 0.85, "too small a share of the limit was used (0.08 to 0.34 if requests are sent whose responses would be too late)")
				assert.LessOrEqual(t, perSuccess, 1.1)
			})
		}
	}
}

func TestTheOnlyWaiterIsSentEvenIfEarlierResponsesWereSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, b := new(gate.Adaptive), &bucket{rate: 20}
		b.learn(t, g, 5*time.Second)
		for range 20 { // responses have become fast, and the gate must notice
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			assert.NoError(t, b.call(ctx, g, 10*time.Millisecond))
			cancel()
			time.Sleep(time.Second)
		}
	})
}

func TestRequestsThatWereNotSentDoNotCountAsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, r := new(gate.Adaptive), gate.Request{Key: "k"}
		for range 20 {
			_, err := g.Wait(t.Context(), r)
			assert.NoError(t, err)
		}
		g.Observe(r, 0, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second})
		for range 19 { // refused by a gate below
			g.Observe(r, 0, gate.Outcome{Result: gate.NotSent})
		}
		b := &bucket{rate: 100}
		start := time.Now()
		for range 20 {
			assert.NoError(t, b.call(t.Context(), g, time.Millisecond))
		}
		assert.Less(t, time.Since(start), 15*time.Second, "no request should wait for requests that were not sent")
	})
}

// The requests that have waited longest have the least time left. If all of them were
// sent too late, no request would get a response, and the gate would not learn how long
// responses take.
func TestCallersWithLittleMoreTimeThanARoundTripAreServed(t *testing.T) {
	const lasting = 90 * time.Second
	for _, tt := range []struct {
		name           string
		rate           float64
		trip, later    time.Duration // round trip during and after the first third of the test
		timeout, apart time.Duration
		want           float64 // least share of the limit to be used in the last third, in spite of pauses of a second
	}{
		{"round trip 0.3 s, timeout 0.72 s", 15, 300 * time.Millisecond, 300 * time.Millisecond, 720 * time.Millisecond, 40 * time.Millisecond, 0.75},
		{"round trip 0.3 s, timeout 0.5 s", 5, 300 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond, 40 * time.Millisecond, 0.75},
		{"round trip 0.3 s, timeout 0.32 s", 2, 300 * time.Millisecond, 300 * time.Millisecond, 320 * time.Millisecond, 130 * time.Millisecond, 0.75},
		{"responses become slower", 15, 20 * time.Millisecond, 400 * time.Millisecond, 600 * time.Millisecond, 20 * time.Millisecond, 0.75},
		{"responses become faster", 15, 400 * time.Millisecond, 20 * time.Millisecond, 600 * time.Millisecond, 20 * time.Millisecond, 0.75},
		{"at first, every response arrives after the timeout", 15, time.Second, 20 * time.Millisecond, 600 * time.Millisecond, 20 * time.Millisecond, 0.75},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, b := new(gate.Adaptive), &bucket{rate: tt.rate}
				throttled := gate.Request{Key: "k"}
				ticket, err := g.Wait(t.Context(), throttled)
				assert.NoError(t, err)
				g.Observe(throttled, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second})
				var served atomic.Int64
				var calls sync.WaitGroup
				start := time.Now()
				for time.Since(start) < lasting {
					trip := tt.trip
					if time.Since(start) > lasting/3 {
						trip = tt.later
					}
					calls.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
						defer cancel()
						if b.call(ctx, g, trip) == nil && time.Since(start) > 2*lasting/3 {
							served.Add(1)
						}
					})
					time.Sleep(tt.apart)
				}
				calls.Wait()
				assert.GreaterOrEqual(t, float64(served.Load()), tt.want*tt.rate*(lasting/3).Seconds())
			})
		})
	}
}

func TestLostResponsesDoNotCauseOtherRequestsToBeRefused(t *testing.T) {
	for _, before := range []time.Duration{0, time.Second} { // how long the calls start before the gate learns of the loss; 0: they start afterwards
		synctest.Test(t, func(t *testing.T) {
			g, b := new(gate.Adaptive), &bucket{rate: 20}
			b.learn(t, g, 10*time.Millisecond)
			lost := gate.Request{Key: "k"}
			var tickets []gate.Ticket
			for range 20 {
				ticket, err := g.Wait(t.Context(), lost)
				assert.NoError(t, err)
				tickets = append(tickets, ticket)
			}
			time.Sleep(10 * time.Minute) // the callers of these requests are patient
			var calls sync.WaitGroup
			start := func() {
				for range 200 {
					calls.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
						defer cancel()
						assert.NoError(t, b.call(ctx, g, 10*time.Millisecond))
					})
				}
				time.Sleep(before)
			}
			if before > 0 {
				start()
			}
			for _, ticket := range tickets {
				g.Observe(lost, ticket, gate.Outcome{Result: gate.Unknown})
			}
			if before == 0 {
				start()
			}
			calls.Wait()
		})
	}
}

// The first 429s say little about such a limit: only three requests have been accepted.
func TestGateRefusesNoRequestIfOnlyThreeFastRequestsMayBeInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		var flying atomic.Int64
		var callers sync.WaitGroup
		for range 300 {
			callers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for resend := 0; ; resend++ {
					r := gate.Request{Key: "k", Resend: resend}
					ticket, err := g.Wait(ctx, r)
					if !assert.NoError(t, err) {
						return
					}
					o := gate.Outcome{Result: gate.Accepted}
					if flying.Add(1) > 3 {
						o = gate.Outcome{Result: gate.Throttled, RetryAfter: 3 * time.Second}
					}
					time.Sleep(5 * time.Millisecond)
					flying.Add(-1)
					g.Observe(r, ticket, o)
					if o.Result == gate.Accepted {
						return
					}
				}
			})
		}
		callers.Wait()
	})
}

// Until the first 429, the window alone must not make a caller miss its deadline. After it,
// those that still wait for room in the window follow the gate's pause instead.
func TestARequestDoesNotMissItsDeadlineBecauseTheWindowIsFull(t *testing.T) {
	for _, throttled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate.Adaptive)
			r := gate.Request{Key: "k"}
			var sent, ok atomic.Int64
			var wg sync.WaitGroup
			for range 500 { // a service without a limit that takes a second for each response
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					defer cancel()
					ticket, err := g.Wait(ctx, r)
					if err != nil {
						return
					}
					n := sent.Add(1)
					if throttled && n == 64 {
						time.Sleep(500 * time.Millisecond)
						g.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Minute})
						return
					}
					select {
					case <-time.After(time.Second):
						ok.Add(1)
						g.Observe(r, ticket, gate.Outcome{Result: gate.Accepted})
					case <-ctx.Done():
						g.Observe(r, ticket, gate.Outcome{})
					}
				})
			}
			wg.Wait()
			if throttled {
				assert.EqualValues(t, 64, sent.Load(), "requests were sent although the account is throttled")
			} else {
				assert.EqualValues(t, 500, ok.Load(), "calls were answered in time")
			}
		})
	}
}

// A spell of a low limit must not turn callers away minutes later.
func TestABurstIsServedAfterAQuietTimeAlthoughTheLimitWasLowBefore(t *testing.T) {
	for _, trickle := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate.Adaptive)
			b := &bucket{rate: 0.2, tokens: 5, at: time.Now()}
			var wg sync.WaitGroup
			for range 12 {
				wg.Go(func() { assert.NoError(t, b.call(t.Context(), g, 50*time.Millisecond)) })
			}
			wg.Wait()
			b.rate = 20
			for range 15 {
				time.Sleep(10 * time.Second)
				if trickle {
					assert.NoError(t, b.call(t.Context(), g, 50*time.Millisecond))
				}
				if s, ok := g.Stats("k"); ok && !trickle {
					assert.True(t, s.Throttled, "what was learned is kept until it is needed")
				}
			}
			b.sent = 0
			var ok atomic.Int64
			for range 200 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					if b.call(ctx, g, 50*time.Millisecond) == nil {
						ok.Add(1)
					}
				})
			}
			wg.Wait()
			assert.EqualValues(t, 200, ok.Load(), "calls were answered in time")
			assert.Less(t, b.sent, 300, "requests were sent")
		})
	}
}

// A caller that waits for several minutes before each request must not count as calm.
func TestAnAccountWhoseRequestsWaitForMinutesIsNotForgotten(t *testing.T) {
	for name, retryAfter := range map[string]bool{"with Retry-After": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, r := new(gate.Adaptive), gate.Request{Key: "k"}
				tokens, at, start := 10.0, time.Now(), time.Now() // a token every 3 minutes, at most 10
				throttled := false
				for time.Since(start) < 6*time.Hour {
					ticket, err := g.Wait(t.Context(), r)
					assert.NoError(t, err)
					s, _ := g.Stats("k")
					assert.Equal(t, throttled, s.Throttled, time.Since(start))
					tokens, at = min(tokens+time.Since(at).Minutes()/3, 10), time.Now()
					time.Sleep(50 * time.Millisecond)
					o := gate.Outcome{Result: gate.Accepted}
					if tokens--; tokens < 0 {
						tokens++
						throttled = true
						o = gate.Outcome{Result: gate.Throttled, Limit: gate.Limit{Requests: 10, Per: 30 * time.Minute}}
						if retryAfter {
							o.RetryAfter = time.Duration((1-tokens)*180+1) * time.Second
						}
					}
					g.Observe(r, ticket, o)
				}
			})
		})
	}
}

// The longest Retry-After may be in a 429 that arrives during a pause.
func TestAnAccountIsNotCalmRightAfterALongPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, r := new(gate.Adaptive), gate.Request{Key: "k"}
		for range 2 {
			_, err := g.Wait(t.Context(), r)
			assert.NoError(t, err)
		}
		g.Observe(r, 0, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second})
		g.Observe(r, 0, gate.Outcome{Result: gate.Throttled, RetryAfter: 5 * time.Minute})
		time.Sleep(5*time.Minute + time.Second)
		_, err := g.Wait(t.Context(), r)
		assert.NoError(t, err)
		s, _ := g.Stats("k")
		assert.True(t, s.Throttled)
	})
}

// If each list of 12 pages went behind new lists after a few pages, hardly any would be
// completed in an overload.
func TestListsOfADozenPagesAreCompletedInAnOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		b := &bucket{rate: 10, tokens: 10, at: time.Now()}
		var done atomic.Int64
		var wg sync.WaitGroup
		for range 200 { // 13 pages per second, in 3 minutes
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				for range 12 {
					if b.call(ctx, g, 50*time.Millisecond) != nil {
						return
					}
				}
				done.Add(1)
			})
			time.Sleep(923 * time.Millisecond)
		}
		wg.Wait()
		assert.Greater(t, done.Load(), int64(60), "lists were completed; the limit allows at most 155")
	})
}
