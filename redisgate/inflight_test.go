package redisgate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A pool simulates a service that limits the number of requests in flight.
type pool struct {
	most              int
	trip, way         time.Duration
	outcome           gate.Outcome // of a request that is refused
	mu                sync.Mutex
	flying, sent, got int
}

func (p *pool) serve() gate.Outcome {
	time.Sleep(p.way)
	defer time.Sleep(p.way)
	p.mu.Lock()
	p.sent++
	full := p.flying == p.most
	if !full {
		p.flying++
	}
	p.mu.Unlock()
	if full {
		return p.outcome
	}
	time.Sleep(p.trip)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying--
	p.got++
	return gate.Outcome{Result: gate.Accepted}
}

// call makes one call through g, unless ctx ends first.
func (p *pool) call(ctx context.Context, g *Gate) error {
	for r := (gate.Request{Key: "k"}); ; r.Resend++ {
		ticket, err := g.Wait(ctx, r)
		if err != nil {
			return err
		}
		o := p.serve()
		g.Observe(r, ticket, o)
		if o.Result == gate.Accepted {
			return nil
		}
	}
}

// Without a cap, the leader would take the limit for one on the rate, and the calls would take
// three times as long. It would also find no cap if it forgot the requests in flight during a
// pause, in which their processes have nothing to report.
func TestALimitOnTheNumberInFlightIsUsedWellByAFleet(t *testing.T) {
	for _, tt := range []struct {
		most, calls, requests int
		trip                  time.Duration
	}{{20, 400, 480, 500 * time.Millisecond}, {1, 60, 140, 5 * time.Second}} {
		t.Run(fmt.Sprintf("%d in flight, for %v", tt.most, tt.trip), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				gates, _ := w.gates(4)
				p := &pool{most: tt.most, trip: tt.trip, way: 5 * time.Millisecond, outcome: gate.Outcome{Result: gate.Throttled}}
				begin := time.Now()
				var wg sync.WaitGroup
				for i := range tt.calls {
					wg.Go(func() { assert.NoError(t, p.call(t.Context(), gates[i%len(gates)])) })
				}
				wg.Wait()
				took, ideal := time.Since(begin), time.Duration(tt.calls/tt.most)*tt.trip
				t.Logf("%v instead of %v, %d requests", took, ideal, p.sent)
				assert.Less(t, took, ideal*13/10)
				assert.Less(t, p.sent, tt.requests)
			})
		})
	}
}

// Responses are so fast that the limit is recognized only if outcomes are reported at once.
func TestAFleetSoonFindsALimitOnTheNumberInFlightWhenResponsesAreFast(t *testing.T) {
	for _, tt := range []struct{ most, workers, gates int }{{47, 82, 4}, {23, 60, 4}, {35, 100, 6}} {
		inVirtualTime(t, func(t *testing.T, w *world) {
			gates, _ := w.gates(tt.gates)
			p := &pool{most: tt.most, trip: 300 * time.Millisecond, way: 5 * time.Millisecond, outcome: gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second}}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			for i := range tt.workers {
				wg.Go(func() {
					var err error
					for err == nil {
						err = p.call(ctx, gates[i%len(gates)])
					}
				})
			}
			time.Sleep(10 * time.Second)
			p.mu.Lock()
			before := p.got
			p.mu.Unlock()
			wg.Wait()
			share := float64(p.got-before) / 20 * (p.trip + 2*p.way).Seconds() / float64(tt.most)
			t.Logf("%d in flight, %d processes: %.0f%% of the limit", tt.most, tt.gates, 100*share)
			assert.Greater(t, share, 0.7)
		})
	}
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

func TestOnlyMembersWithRequestsInFlightAreRememberedDuringAPause(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		l := g.leaders[name]
		throttle(t, g, "k", time.Minute)
		for _, id := range []string{"idle", "busy", "gone"} {
			l.handle(&report{Name: name, From: id})
		}
		l.mu.Lock()
		l.turns[7], l.turns[8] = turn{member: l.members["busy"]}, turn{member: l.members["gone"]}
		l.mu.Unlock()
		l.left("gone")
		known := func() (turns int, members []string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.turns), slices.Collect(maps.Keys(l.members))
		}
		time.Sleep(20 * time.Second)
		turns, members := known()
		assert.Equal(t, 1, turns)
		assert.Equal(t, []string{"busy"}, members)
		time.Sleep(50 * time.Second)
		turns, members = known()
		assert.Zero(t, turns)
		assert.Empty(t, members)
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
