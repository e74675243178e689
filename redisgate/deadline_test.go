package redisgate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

// serveUntil makes one call, and retries it until it is accepted, the gate refuses it or
// ctx ends.
func (a *account) serveUntil(ctx context.Context, g gate.Gate) error {
	for r := (gate.Request{Key: "k", Method: "GET", Path: somePath()}); ; r.Resend++ {
		ticket, err := g.Wait(ctx, r)
		if err != nil {
			return err
		}
		throttled := a.serve()
		if err := ctx.Err(); err != nil {
			g.Observe(r, ticket, gate.Outcome{})
			return err
		}
		if !throttled {
			g.Observe(r, ticket, gate.Outcome{Result: gate.Accepted})
			return nil
		}
		g.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: a.retryAfter})
	}
}

// fleetThatKnows returns four gates that have already learned the account's limit.
func (w *world) fleetThatKnows(a *account) []*Gate {
	gates, _ := w.gates(4)
	c := start(gates, 25, int(40*a.rate), "k", a)
	c.wait(w.t)
	return gates
}

func TestFleetRefusesRequestsThatCannotMeetTheirDeadlineAtOnce(t *testing.T) {
	const rounds = 10
	served, early, late := 0, 0, 0
	for range rounds {
		inVirtualTime(t, func(t *testing.T, w *world) {
			a := newAccount(20, 10, time.Second)
			a.trip = 10 * time.Millisecond
			gates := w.fleetThatKnows(a)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range 1000 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // each caller has its own deadline
					defer cancel()
					began := time.Now()
					err := a.serveUntil(ctx, gates[i%len(gates)])
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						served++
					case errors.Is(err, gate.ErrDeadline) && time.Since(began) < 300*time.Millisecond:
						early++
					default:
						late++
					}
				})
				time.Sleep(20 * time.Microsecond)
			}
			wg.Wait()
		})
	}
	t.Logf("of 1000 callers per round, %d were served, %d refused at once, and %d failed later", served/rounds, early/rounds, late/rounds)
	assert.GreaterOrEqual(t, served/rounds, 40)
	assert.GreaterOrEqual(t, early/rounds, 650, "too few callers per round were refused at once; there would be none if the processes did not know the fleet's pace")
}

func TestRequestsWithDeadlinesWasteFewTurnsOfAFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates more than half an hour, with up to 500 calls per second")
	}
	const rate, long, rounds = 50, 60, 3
	for _, load := range []float64{1.5, 3, 10} {
		for _, trip := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprint("load ", load, ", responses after ", trip), func(t *testing.T) {
				served, sent := 0, 0
				for range rounds {
					inVirtualTime(t, func(t *testing.T, w *world) {
						a := newAccount(rate, 10, time.Second)
						a.trip = trip
						gates := w.fleetThatKnows(a)
						before, _, _ := a.counts()
						var mu sync.Mutex
						var wg sync.WaitGroup
						for i := range int(long * rate * load) {
							wg.Go(func() {
								ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
								defer cancel()
								if a.serveUntil(ctx, gates[i%len(gates)]) == nil {
									mu.Lock()
									served++
									mu.Unlock()
								}
							})
							time.Sleep(time.Duration(float64(time.Second) / (rate * load)))
						}
						wg.Wait()
						after, _, _ := a.counts()
						sent += after - before
					})
				}
				share, perSuccess := float64(served)/(rounds*long*rate), float64(sent)/float64(served)
				t.Logf("%.1f%% of the limit, %.3f requests sent per success", 100*share, perSuccess)
				assert.GreaterOrEqual(t, share, 0.9)
				assert.LessOrEqual(t, perSuccess, 1.1)
			})
		}
	}
}

func TestResponsesThatSayNothingAboutTheLimitDoNotRaiseTheFleetsPace(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		a := newAccount(100, 10, time.Second)
		gates := w.fleetThatKnows(a)
		before, _ := gates[0].local.Stats("k")
		end := time.Now().Add(time.Minute)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				g, r := gates[i%len(gates)], gate.Request{Key: "k"}
				for time.Now().Before(end) {
					ticket, err := g.Wait(t.Context(), r)
					assert.NoError(t, err)
					time.Sleep(20 * time.Millisecond)
					g.Observe(r, ticket, gate.Outcome{}) // such as a 503
				}
			})
		}
		wg.Wait()
		after, _ := gates[0].local.Stats("k")
		t.Log(before.Pace, after.Pace)
		assert.Less(t, after.Pace, 1.5*before.Pace, "the pace rose too much: the gate may try 1.4 times the pace, and would reach 4 times the pace if these responses counted as accepted")
	})
}
