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

// In a test of your own, t is the test's parameter.
var t *testing.T

// The test that package gatetest is for; the README shows it.
func TestMyGateObeysTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes three seconds of real time")
	}
	t.Parallel()
	gatetest.Run(t, func(testing.TB) gate.Gate { return new(gate.Adaptive) }) // yours
}

func Example() {
	gatetest.Run(t, func(testing.TB) gate.Gate { return new(counted) })
}

// Cleanup runs at the end of each check. Close your gate there, if it has to be closed:
// the checks make many gates, and each that is left open keeps its goroutines.
func ExampleRun() {
	gatetest.Run(t, func(t testing.TB) gate.Gate {
		c := new(counted)
		t.Cleanup(func() { t.Logf("%d requests have waited", c.waits.Load()) })
		return c
	})
}
