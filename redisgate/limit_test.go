package redisgate

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

func TestFleetUsesTheLimitThatTheServiceStates(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		var gates []*Gate
		var locals []*gate.Adaptive
		for range 4 {
			client, local := w.client(), new(gate.Adaptive)
			g := New(client, Options{Local: local, Logger: slog.New(slog.DiscardHandler)})
			t.Cleanup(func() { g.Close(); client.Close() })
			gates, locals = append(gates, g), append(locals, local)
		}
		a := newAccount(10, 300, time.Second)
		a.trip = 20 * time.Millisecond
		a.stated = gate.Limit{Requests: 300, Per: 30 * time.Second}
		c := start(gates, 25, 1<<40, "k", a)
		time.Sleep(5 * time.Second)
		sent, accepted, _ := a.counts()
		throttled := sent - accepted
		assert.LessOrEqual(t, throttled, 100, "too many requests were throttled (one per caller is allowed before the limit is known)")
		time.Sleep(2 * time.Minute)
		for _, l := range locals {
			s, ok := l.Stats("k")
			assert.True(t, ok)
			assert.Equal(t, a.stated, s.Limit)
			assert.InDelta(t, 9.7, s.Pace, 0.01, "the pace should be the stated rate minus the margin")
		}
		sent, accepted, _ = a.counts()
		assert.LessOrEqual(t, sent-accepted, throttled+1, "only the request that tests the stated limit may be throttled once the limit is known")
		c.left.Store(0)
		c.wait(t)
	})
}

// The service may state different limits to different processes, for example if it has
// several limits.
func TestStatsShowOnlyTheLimitThatTheLeaderUses(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		var gates []*Gate
		var locals []*gate.Adaptive
		for range 2 {
			client, local := w.client(), new(gate.Adaptive)
			g := New(client, Options{Local: local, Logger: slog.New(slog.DiscardHandler)})
			t.Cleanup(func() { g.Close(); client.Close() })
			gates, locals = append(gates, g), append(locals, local)
		}
		limits := []gate.Limit{{Requests: 21, Per: time.Second}, {Requests: 50, Per: time.Second}}
		a := newAccount(50, 50, time.Second)
		a.trip = 20 * time.Millisecond
		refuse := func(i int) { // process i gets a 429 that states limits[i]
			r := gate.Request{Key: "k"}
			ticket, err := gates[i].Wait(t.Context(), r)
			assert.NoError(t, err)
			gates[i].Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second, Limit: limits[i]})
		}
		shown := func() (both [2]gate.Limit) {
			for i, l := range locals {
				s, ok := l.Stats("k")
				assert.True(t, ok)
				both[i] = s.Limit
			}
			return both
		}
		c := start(gates, 20, 1<<40, "k", a)
		time.Sleep(5 * time.Second)
		refuse(0)
		time.Sleep(2 * time.Second)
		refuse(1)
		time.Sleep(2 * time.Second)
		assert.Equal(t, [2]gate.Limit{{}, limits[1]}, shown())
		for i := range gates { // after many different statements, the controller ignores further ones
			for range 8 {
				limits[i].Requests++
				refuse(i)
				time.Sleep(2 * time.Second)
			}
		}
		assert.NotEqual(t, limits[1], shown()[1])
		c.left.Store(0)
		c.wait(t)
	})
}
