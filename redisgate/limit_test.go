package redisgate

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

func TestFleetUsesTheLimitThatTheServiceStatesToOneProcess(t *testing.T) {
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
		time.Sleep(2 * time.Minute)
		for _, l := range locals {
			s, ok := l.Stats("k")
			assert.True(t, ok)
			assert.Equal(t, a.stated, s.Limit)
			assert.InDelta(t, 9.7, s.Pace, 0.01, "the pace should be the stated rate minus the margin")
		}
		sent, accepted, _ := a.counts()
		assert.LessOrEqual(t, sent-accepted, 100, "too many requests were throttled (one per caller is allowed before the limit is known)")
		c.left.Store(0)
		c.wait(t)
	})
}
