// Package gatetest tests that a [gate.Gate] obeys its contract: the doc comments
// of package gate. Use it when you write a gate of your own.
//
//	func TestContract(t *testing.T) {
//		gatetest.Run(t, func(testing.TB) gate.Gate { return new(mygate.Gate) })
//	}
//
// The checks take about three seconds of real time, so that a gate may talk to
// a server. They wait for events, up to ten seconds for each, and compare times
// only with the least that the contract asks for: a slow machine does not fail
// them. Run them with -race, because only the race detector sees some mistakes.
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

// Run checks each clause of the contract in a subtest of its name. It calls
// newGate once for each of them, with the subtest's t: use t.Cleanup to close the
// gate. The gates may share a server, because no two of them see the same key.
func Run(t *testing.T, newGate func(t testing.TB) gate.Gate) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.try(newGate(t)); err != nil {
				t.Errorf("%v\nwhich breaks %s", err, c.clause)
			}
		})
	}
}

const (
	patience = 10 * time.Second       // for what should happen at once
	pause    = 200 * time.Millisecond // a Retry-After that is waited for
	long     = time.Minute            // one that is not
)

// A check is one clause of the contract.
type check struct {
	name   string // a sentence that holds if the gate obeys
	clause string // where the contract says so, in its words
	run    func(*trial) error
}

// try checks the clause on a new gate. It returns what went wrong.
func (c check) try(g gate.Gate) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // ends the calls that still wait
	return c.run(&trial{ctx: ctx, gate: g, suffix: fmt.Sprintf(" %x", rand.Uint64())})
}

// A trial is a gate that is being checked.
type trial struct {
	ctx    context.Context // for requests that are not canceled
	gate   gate.Gate
	suffix string // of the keys
}

// request returns a request that waits for any pause of the checks. Its key is
// the trial's own: gates may share a server that remembers the keys.
func (t *trial) request(key string) gate.Request {
	return gate.Request{Key: key + t.suffix, MaxWait: time.Hour}
}

// A call is a call of Wait in a goroutine of its own. Its other fields are valid
// once done is closed.
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
				c.panicked, c.err = true, fmt.Errorf("it panicked: %v", v)
			}
		}()
		c.ticket, c.err = t.gate.Wait(ctx, r)
	}()
	return c
}

// returned waits for the call. It returns an error if that takes too long.
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

// left waits for the call, and returns an error if it did not let the request out.
func (c *call) left() error {
	if err := c.returned(); err != nil {
		return err
	}
	if c.err != nil {
		return fmt.Errorf("gate.Wait returned an error and should not: %w", c.err)
	}
	return nil
}

// canceled waits for the call, whose context has ended. It returns an error if
// the call did not return ctx.Err().
func (c *call) canceled(ctx context.Context) error {
	switch err := c.returned(); {
	case err != nil:
		return err
	case c.err == nil:
		return errors.New("the context had ended, and Wait let the request out")
	case !errors.Is(c.err, ctx.Err()):
		return fmt.Errorf("the context had ended with %q, and Wait returned the error %q, in which errors.Is does not find that", ctx.Err(), c.err)
	}
	return nil
}

// pass lets one request out and observes it.
func (t *trial) pass(r gate.Request, o gate.Outcome) error {
	c := t.start(t.ctx, r)
	if err := c.left(); err != nil {
		return err
	}
	t.tell(c, o)
	return nil
}

// throttle sends a request that is answered 429, and returns when that was.
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

// tell calls Observe for a call that let its request out. The check
// of its clause finds a mistake of Observe; the others go on.
func (t *trial) tell(c *call, o gate.Outcome) { _ = t.observe(c, o) }

// observe is tell, and returns an error if Observe panics or has not returned in
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

// A watched context tells when the gate asks for its Done channel.
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

// startWaiting starts a call that has to wait, and returns when it does so.
func (t *trial) startWaiting(ctx context.Context, r gate.Request) *call {
	w := watch(ctx)
	c := t.start(w, r)
	select {
	case <-w.asked:
		<-time.After(time.Millisecond) // from asking to waiting
	case <-c.done:
	case <-time.After(pause / 4): // it may learn of the end in another way
	}
	return c
}
