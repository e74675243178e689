// Package gatetest tests that your own [gate.Gate] obeys the contract that the doc
// comments of package gate define.
//
//	func TestContract(t *testing.T) {
//		gatetest.Run(t, func(testing.TB) gate.Gate { return new(mygate.Gate) })
//	}
//
// The checks run in real time, because a gate may talk to a server; with [gate.Adaptive],
// they take about six seconds in all. A call that has to return may take up to ten
// seconds. All other limits are minimums, so a correct gate also passes on a slow machine.
// Run the checks with -race, because some mistakes are visible only to the race detector.
package gatetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/iamhttp/iamhttp/gate"
)

// Run tests whether the gates that newGate returns obey the contract, with a subtest for
// each check. It calls newGate once per subtest, with the subtest's t, so newGate can use
// t.Cleanup to close the gate. The gates may share a server, because no two of them see
// the same key.
func Run(t *testing.T, newGate func(t testing.TB) gate.Gate) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.try(newGate(t)); err != nil {
				t.Errorf("%v\nThis violates %s", err, c.clause)
			}
		})
	}
}

const (
	patience = 10 * time.Second       // how long the checks wait where Wait or Observe has to return
	pause    = 200 * time.Millisecond // a Retry-After that the checks wait out
	long     = time.Minute            // a Retry-After that the checks do not wait out
)

// A check tests one clause of the contract.
type check struct {
	name   string // a sentence that is true if the gate obeys the contract
	clause string // where the contract contains the clause, usually with a quotation
	run    func(*trial) error
}

// try runs the check with a new gate. It returns an error if the check fails.
func (c check) try(g gate.Gate) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // ends calls that are still waiting
	return c.run(&trial{ctx: ctx, gate: g, suffix: fmt.Sprintf(" %x", rand.Uint64())})
}

// A trial is a single run of a check, with a gate of its own.
type trial struct {
	ctx    context.Context // canceled only at the end of the trial
	gate   gate.Gate
	suffix string // appended to each key
}

// request returns a request whose MaxWait is longer than every pause in the checks. Its
// key is unique to the trial, because gates may share a server that remembers keys.
func (t *trial) request(key string) gate.Request {
	return gate.Request{Key: key + t.suffix, MaxWait: time.Hour}
}

// A call is a call to Wait that runs in a goroutine of its own. The fields after done are
// valid once done is closed.
type call struct {
	request  gate.Request
	done     chan struct{}
	ticket   gate.Ticket
	err      error
	panicked bool
	at       time.Time // when Wait returned
}

func (t *trial) start(ctx context.Context, r gate.Request) *call {
	c := &call{request: r, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer func() {
			c.at = time.Now()
			if v := recover(); v != nil {
				c.panicked, c.err = true, fmt.Errorf("panicked: %v", v)
			}
		}()
		c.ticket, c.err = t.gate.Wait(ctx, r)
	}()
	return c
}

// returned waits until Wait returns. It returns an error if Wait takes too long or
// panics.
func (c *call) returned() error {
	select {
	case <-c.done:
	case <-time.After(patience):
		return fmt.Errorf("gate.Wait has not returned after %v", patience)
	}
	if c.panicked {
		return fmt.Errorf("gate.Wait: %w", c.err)
	}
	return nil
}

// left waits until Wait returns. It returns an error if Wait did not admit the request.
func (c *call) left() error {
	if err := c.returned(); err != nil {
		return err
	}
	if c.err != nil {
		return fmt.Errorf("gate.Wait returned an unexpected error: %w", c.err)
	}
	return nil
}

// canceled waits for Wait to return after the call's context, ctx, has ended. It returns
// an error unless Wait's error is or wraps ctx.Err().
func (c *call) canceled(ctx context.Context) error {
	switch err := c.returned(); {
	case err != nil:
		return err
	case c.err == nil:
		return errors.New("Wait admitted the request instead of returning ctx.Err()")
	case !errors.Is(c.err, ctx.Err()):
		return fmt.Errorf("the context had ended with %q, but Wait returned a different error: %q", ctx.Err(), c.err)
	}
	return nil
}

// pass simulates a request with the outcome o.
func (t *trial) pass(r gate.Request, o gate.Outcome) error {
	c := t.start(t.ctx, r)
	if err := c.left(); err != nil {
		return err
	}
	t.tell(c, o)
	return nil
}

// throttle simulates a request that gets a 429, and returns the time of the response.
func (t *trial) throttle(key string, retryAfter time.Duration) (time.Time, error) {
	c := t.start(t.ctx, t.request(key))
	if err := c.left(); err != nil {
		return time.Time{}, err
	}
	began := time.Now()
	t.tell(c, throttled(retryAfter))
	return began, nil
}

var accepted = gate.Outcome{Result: gate.Accepted}

func throttled(retryAfter time.Duration) gate.Outcome {
	return gate.Outcome{Result: gate.Throttled, RetryAfter: retryAfter}
}

// tell calls Observe for a call that was admitted. It ignores panics and delays in
// Observe, because observeReturns tests for them.
func (t *trial) tell(c *call, o gate.Outcome) { _ = t.observe(c, o) }

// observe is like tell, but returns an error if Observe panics or does not return in
// time.
func (t *trial) observe(c *call, o gate.Outcome) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- fmt.Errorf("gate.Observe panicked: %v", v)
				return
			}
			done <- nil
		}()
		t.gate.Observe(c.request, c.ticket, o)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("gate.Observe has not returned after %v", patience)
	}
}

// A watched context reports when the gate calls its Done method.
type watched struct {
	context.Context
	asked chan struct{}
}

func watch(ctx context.Context) *watched {
	return &watched{ctx, make(chan struct{}, 1)}
}

func (w *watched) Done() <-chan struct{} {
	select {
	case w.asked <- struct{}{}:
	default:
	}
	return w.Context.Done()
}

// startWaiting starts a call that has to wait, and returns when it is probably waiting.
func (t *trial) startWaiting(ctx context.Context, r gate.Request) *call {
	w := watch(ctx)
	c := t.start(w, r)
	select {
	case <-w.asked:
		<-time.After(time.Millisecond) // the gate may need a moment between calling Done and waiting
	case <-c.done:
	case <-time.After(pause / 4): // the gate may detect cancellation in another way
	}
	return c
}
