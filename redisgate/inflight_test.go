package redisgate

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// Without a cap, the leader would take the limit for one on the rate, and the calls would take
// three times as long.
func TestALimitOnTheNumberInFlightIsUsedWellByAFleet(t *testing.T) {
	const most, calls, trip = 20, 400, 500 * time.Millisecond
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(4)
		var mu sync.Mutex
		flying, sent := 0, 0
		serve := func() (throttled bool) {
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
