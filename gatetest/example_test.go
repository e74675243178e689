package gatetest_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/gatetest"
)

// A counted gate is a gate of your own around another one.
type counted struct {
	gate.Adaptive
	waits atomic.Int64
}

func (c *counted) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	c.waits.Add(1)
	return c.Adaptive.Wait(ctx, r)
}

// In a test of your own, t is the one that it is given.
var t *testing.T

func Example() {
	gatetest.Run(t, func(testing.TB) gate.Gate { return new(counted) })
}

// Cleanup runs at the end of each check: close there a gate that has to be closed.
func ExampleRun() {
	gatetest.Run(t, func(t testing.TB) gate.Gate {
		c := new(counted)
		t.Cleanup(func() { t.Logf("%d requests have waited", c.waits.Load()) })
		return c
	})
}
