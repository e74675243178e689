package redisgate

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// Without a cap, the leader would take the limit for one on the rate, and the calls would take
// three times as long.
func TestALimitOnTheNumberInFlightIsUsedWellByAFleet(t *testing.T) {
	const most, calls, way, trip = 20, 400, 5 * time.Millisecond, 500 * time.Millisecond
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(4)
		var mu sync.Mutex
		flying, sent := 0, 0
		serve := func() (throttled bool) {
			time.Sleep(way)
			defer time.Sleep(way)
			mu.Lock()
			sent++
			throttled = flying == most
			if !throttled {
				flying++
			}
			mu.Unlock()
			if throttled {
				return true
			}
			time.Sleep(trip)
			mu.Lock()
			flying--
			mu.Unlock()
			return false
		}
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range calls {
			g := gates[i%len(gates)]
			wg.Go(func() {
				for r := (gate.Request{Key: "k"}); ; r.Resend++ {
					ticket, err := g.Wait(t.Context(), r)
					if !assert.NoError(t, err) {
						return
					}
					result := gate.Accepted
					if serve() {
						result = gate.Throttled
					}
					g.Observe(r, ticket, gate.Outcome{Result: result})
					if result == gate.Accepted {
						return
					}
				}
			})
		}
		wg.Wait()
		took, ideal := time.Since(begin), calls/most*trip
		t.Logf("%v instead of %v, %d requests", took, ideal, sent)
		assert.Less(t, took, ideal*13/10)
		assert.Less(t, sent, calls*12/10)
	})
}

// The number of callers that want turns decides how fast the leader raises the pace.
func TestALeaderCountsCallersThatHaveGivenUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		l := g.leaders[name]
		counts := func() []int {
			l.mu.Lock()
			defer l.mu.Unlock()
			return []int{l.turned, l.missed}
		}
		exchange := func(result gate.Result) {
			r := gate.Request{Key: "k"}
			ticket, err := g.Wait(t.Context(), r)
			assert.NoError(t, err)
			g.Observe(r, ticket, gate.Outcome{Result: result})
		}
		exchange(gate.Accepted) // the probe
		for range 2 {
			l.handle(&report{Name: name, From: "other", Missed: 3})
		}
		assert.Equal(t, []int{6, 0}, counts())
		exchange(gate.Accepted)
		assert.Equal(t, []int{0, 6}, counts())
		exchange(gate.Throttled)
		exchange(gate.Accepted)
		assert.Equal(t, []int{0, 0}, counts(), "after a pause")
	})
}

func TestAProcessReportsEachCallerThatHasGivenUpOnce(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		l := g.leaders[name]
		g.visit("k", func(_ time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
			for _, missed := range []int{0, 3, 5, 5, 1, 2} { // after a pause, the gate begins anew
				p.(*link).Ranked(fleet1.Lanes{}, missed)
			}
			g.out.mu.Lock()
			assert.Empty(t, g.out.reports, "the gate has yet to report how many requests wait")
			g.out.mu.Unlock()
			p.(*link).report(func(*report) {})
			return p
		})
		time.Sleep(time.Second)
		l.mu.Lock()
		defer l.mu.Unlock()
		assert.Equal(t, 6, l.turned)
	})
}

func TestAProcessThatIsAloneForgetsWhatTheLeaderHasTold(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		g.visit("k", func(now time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
			l := p.(*link)
			l.row, l.share = fleet1.Row{N: 2}, 4
			assert.Equal(t, 2, l.Row().N)
			assert.Equal(t, 4, l.Sharing())
			l.goAlone(now)
			assert.Nil(t, l.Row())
			assert.Equal(t, 1, l.Sharing())
			l.Ranked(fleet1.Lanes{}, 5)
			g.out.mu.Lock()
			defer g.out.mu.Unlock()
			assert.NotContains(t, g.out.reports, name)
			return p
		})
	})
}

// A leader may hear of outcomes of requests that it knows nothing of, because an earlier leader or
// a process that was alone has admitted them.
func TestALeaderCountsOnlyRequestsInFlightThatItKnowsOf(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		l := g.leaders[name]
		inFlight := func() int {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.control.InFlight()
		}
		for range 4 {
			_, err := g.Wait(t.Context(), gate.Request{Key: "k"})
			assert.NoError(t, err)
			time.Sleep(2 * time.Second)
		}
		l.handle(&report{Name: name, From: "other", Accepted: []uint64{1, 2}, Others: 2, Throttled: []throttled{{Turn: 3}, {}}})
		time.Sleep(time.Second)
		l.handle(&report{Name: name, From: "other"})
		assert.Equal(t, 4, inFlight())
		l.mu.Lock()
		l.others = 10 // requests from before the first turn whose outcomes are never reported
		l.mu.Unlock()
		l.handle(&report{Name: name, From: "other"})
		assert.Equal(t, 14, inFlight())
		l.handle(&report{Name: name, From: "other", Others: 1, Throttled: []throttled{{}}})
		assert.Equal(t, 12, inFlight())
		time.Sleep(mostOpen)
		l.handle(&report{Name: name, From: "other"})
		assert.Equal(t, 4, inFlight())
	})
}

// A process that gets few turns must not conclude that others need them.
func TestAProcessFindsOutSoonThatResponsesHaveBecomeFaster(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		throttle(t, gates[0], "k", time.Second)
		leader := leaderOf(t, gates, "k")
		call := func(g *Gate, timeout, took time.Duration, result gate.Result) bool {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			ticket, err := g.Wait(ctx, gate.Request{Key: "k"})
			if err != nil {
				return false
			}
			time.Sleep(took)
			g.Observe(gate.Request{Key: "k"}, ticket, gate.Outcome{Result: result})
			return true
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				call(gates[leader], time.Minute, 20*time.Millisecond, gate.Accepted)
			}
		})
		g, faster := gates[1-leader], time.Now().Add(2*time.Minute)
		var ok atomic.Int64
		for range 5 {
			wg.Go(func() {
				for time.Now().Before(faster) {
					call(g, time.Second, time.Second, gate.Unknown)
					time.Sleep(100 * time.Millisecond)
				}
				for range 100 {
					if call(g, time.Second, 20*time.Millisecond, gate.Accepted) {
						ok.Add(1)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		time.Sleep(140 * time.Second)
		cancel()
		wg.Wait()
		assert.Greater(t, ok.Load(), int64(400))
	})
}
