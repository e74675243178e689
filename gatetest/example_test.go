package gatetest_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/gatetest"
)

// A counted gate is a gate.Adaptive that counts the calls to Wait.
type counted struct {
	gate.Adaptive
	waits atomic.Int64
}

func (c *counted) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	c.waits.Add(1)
	return c.Adaptive.Wait(ctx, r)
}

// In your own test, t is the parameter of the test function.
var t *testing.T

// This test shows how to use package gatetest. The README contains a copy of it.
func TestMyGateObeysTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes six seconds of real time")
	}
	t.Parallel()
	gatetest.Run(t, func(testing.TB) gate.Gate { return new(gate.Adaptive) }) // yours
}

func Example() {
	gatetest.Run(t, func(testing.TB) gate.Gate { return new(counted) })
}

// A function registered with Cleanup runs at the end of the check. If your gate has to be
// closed, close it there, because Run creates a gate for each check, and the goroutines of
// a gate that stays open keep running.
func ExampleRun() {
	gatetest.Run(t, func(t testing.TB) gate.Gate {
		c := new(counted)
		t.Cleanup(func() { t.Logf("Wait was called %d times", c.waits.Load()) })
		return c
	})
}
