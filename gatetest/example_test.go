package gatetest_test

import (
	"cmp"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/gatetest"
)

// A pauser is a small gate: it pauses each key until Retry-After has elapsed.
type pauser struct {
	mu    sync.Mutex
	until map[string]time.Time // by key
}

func (p *pauser) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	for {
		p.mu.Lock()
		left := time.Until(p.until[r.Key])
		p.mu.Unlock()
		if left <= 0 {
			return 0, nil
		}
		if r.MaxWait > 0 && left > r.MaxWait {
			return 0, &gate.Error{RetryAfter: left, Err: gate.ErrPaused}
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (p *pauser) Observe(r gate.Request, _ gate.Ticket, o gate.Outcome) {
	if o.Result != gate.Throttled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(cmp.Or(o.RetryAfter, time.Second)); until.After(p.until[r.Key]) {
		p.until[r.Key] = until
	}
}

// In a test of your own, t is the one that it is given.
var t *testing.T

func Example() {
	gatetest.Run(t, func(testing.TB) gate.Gate {
		return &pauser{until: make(map[string]time.Time)}
	})
}

// A gate that has to be closed is closed at the end of each check.
func ExampleRun() {
	gatetest.Run(t, func(t testing.TB) gate.Gate {
		p := &pauser{until: make(map[string]time.Time)}
		t.Cleanup(func() { clear(p.until) })
		return p
	})
}

func TestPauserObeysTheContract(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes three seconds of real time")
	}
	gatetest.Run(t, func(testing.TB) gate.Gate {
		return &pauser{until: make(map[string]time.Time)}
	})
}
