package gatetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/gate"
)

var checks = []check{
	{"requests leave one after the other whatever came of them", `Gate.Wait: "blocks until the request may be sent, and then returns a nil error".`, onward},
	{"many callers at once all get out", `Gate: "Many goroutines use it at once".`, manyCallers},
	{"keys do not affect each other", `Gate: "keys do not affect each other".`, keysApart},
	{"Observe does not block", `Gate.Observe: "It must not block."`, observeReturns},
	// Pauses.
	{"a throttled key waits until Retry-After has elapsed", `Gate.Observe: "no request with that key may leave until RetryAfter has elapsed".`, retryAfterObeyed},
	{"a throttled key waits without Retry-After as well", `Gate.Observe: "or, if there is none, for a while that the gate chooses".`, pauseOfItsOwn},
	{"a later, longer pause holds requests that wait already", `Gate.Observe: "Of several such pauses the one that ends last counts."`, pauseExtended},
	{"a later, shorter pause shortens nothing", `Gate.Observe: "Of several such pauses the one that ends last counts."`, pauseNotShortened},
	// Errors.
	{"a canceled wait returns ctx.Err()", `Gate.Wait: "ctx.Err() if the context ends first".`, canceledWait},
	{"a context may be of any type", `Gate.Wait takes a context.Context: an interface, and gates know nothing of its type.`, anyContext},
	{"a wait does not outlast the deadline of its context", `Gate.Wait: "an [*Error] if the gate refuses it, ctx.Err() if the context ends first".`, deadlineKept},
	{"a pause longer than MaxWait is refused", `Request.MaxWait: "A gate refuses the request with [ErrPaused] while a longer one is in force." Gate.Wait: "an [*Error] if the gate refuses it".`, maxWaitKept},
	{"a pause is waited for if MaxWait is zero", `Request.MaxWait: "Zero means that only the context bounds it."`, zeroMaxWait},
	{"a canceled wait keeps no place", `Gate.Wait: "After an error there is no Observe."`, canceledKeepNothing},
	{"a refused request keeps no place", `Gate.Wait: "After an error there is no Observe."`, refusedKeepNothing},
}

// onward: a place that is given back after a success only is lost one day.
func onward(t *trial) error {
	for _, result := range []gate.Result{gate.Accepted, gate.Unknown, gate.NotSent} {
		for i := range 100 {
			r := t.request("key")
			r.Resend = i % 3
			if err := t.pass(r, gate.Outcome{Result: result}); err != nil {
				return fmt.Errorf("request %d of those with the result %q: %w", i+1, result, err)
			}
		}
	}
	return nil
}

// manyCallers: a wakeup that reaches one waiter instead of each is not missed
// by a single caller.
func manyCallers(t *trial) error {
	if _, err := t.throttle("throttled", pause); err != nil {
		return err
	}
	const callers, each, late = 16, 20, 3
	return concurrently(callers+late, func(i int) error {
		if i >= callers { // few, because a gate may let them out slowly
			if err := t.pass(t.request("throttled"), accepted); err != nil {
				return fmt.Errorf("after a pause: %w", err)
			}
			return nil
		}
		for range each {
			c := t.start(t.ctx, t.request("key"))
			if err := c.left(); err != nil {
				return err
			}
			<-time.After(time.Millisecond) // the service answers
			t.tell(c, accepted)
		}
		return nil
	})
}

// concurrently calls f n times at once. It returns the first error.
func concurrently(n int, f func(i int) error) error {
	failed := make(chan error, n)
	for i := range n {
		go func() { failed <- f(i) }()
	}
	var first error
	for range n {
		if err := <-failed; first == nil {
			first = err
		}
	}
	return first
}

// keysApart: one time for all keys, or one lock that is held while a request
// waits, lets an account pay for another.
func keysApart(t *trial) error {
	if _, err := t.throttle("one", long); err != nil {
		return err
	}
	t.startWaiting(t.ctx, t.request("one"))
	for range 3 {
		if err := t.pass(t.request("another"), accepted); err != nil {
			return fmt.Errorf("key %q is paused, key %q is not: %w", "one", "another", err)
		}
	}
	return nil
}

// observeReturns: Observe is called before a response is returned.
func observeReturns(t *trial) error {
	one, another, err := t.together()
	if err != nil {
		return err
	}
	if err := t.observe(one, throttled(long)); err != nil {
		return fmt.Errorf("throttled, Retry-After %v: %w", long, err)
	}
	if another == nil {
		return nil
	}
	t.startWaiting(t.ctx, t.request("key"))
	if err := t.observe(another, accepted); err != nil {
		return fmt.Errorf("accepted, while a request waits: %w", err)
	}
	return nil
}

// together returns two requests that are in flight at the same time. The second
// one is nil if the gate lets out one at a time only.
func (t *trial) together() (one, another *call, err error) {
	one = t.start(t.ctx, t.request("key"))
	if err := one.left(); err != nil {
		return nil, nil, err
	}
	another = t.start(t.ctx, t.request("key"))
	select {
	case <-another.done:
		return one, another, another.left()
	case <-time.After(5 * pause):
		return one, nil, nil
	}
}

// retryAfterObeyed: retries are no exception, nor is a request that comes first.
func retryAfterObeyed(t *trial) error {
	began, err := t.throttle("key", pause)
	if err != nil {
		return err
	}
	return concurrently(4, func(i int) error {
		r := t.request("key")
		r.Resend = i % 2
		c := t.start(t.ctx, r)
		if err := c.left(); err != nil {
			return fmt.Errorf("after a pause of %v: %w", pause, err)
		}
		t.tell(c, accepted)
		if took := c.at.Sub(began); took < pause {
			return fmt.Errorf("Retry-After was %v, and a request with Resend %d left after %v", pause, r.Resend, took)
		}
		return nil
	})
}

// pauseOfItsOwn: without a pause the Transport would send again at once, as
// often as it may.
func pauseOfItsOwn(t *trial) error {
	const least = 10 * time.Millisecond
	began, err := t.throttle("key", 0)
	if err != nil {
		return err
	}
	c := t.start(t.ctx, t.request("key"))
	if err := c.left(); err != nil {
		return fmt.Errorf("throttled without Retry-After: %w", err)
	}
	if took := c.at.Sub(began); took < least {
		return fmt.Errorf("throttled without Retry-After, a request left after %v; %v is the least that makes sense", took, least)
	}
	return nil
}

// twoPauses throttles a key twice, with the responses to two requests that were sent
// together, and lets a third one wait: from before the second response on, or from
// after it. It returns how long the third request waited after each of the responses,
// and false if that says nothing.
func (t *trial) twoPauses(first, second time.Duration, before bool) (took [2]time.Duration, ok bool, err error) {
	one, another, err := t.together()
	if another == nil || err != nil {
		return took, false, err
	}
	var began [2]time.Time
	var third *call
	began[0] = time.Now()
	t.tell(one, throttled(first))
	if before {
		third = t.startWaiting(t.ctx, t.request("key"))
	}
	began[1] = time.Now()
	t.tell(another, throttled(second))
	slow := time.Since(began[0]) >= first // the third request may have left before the second response
	if !before {
		third = t.start(t.ctx, t.request("key"))
	}
	if err := third.left(); err != nil {
		return took, false, fmt.Errorf("after pauses of %v and %v: %w", first, second, err)
	}
	return [2]time.Duration{third.at.Sub(began[0]), third.at.Sub(began[1])}, !slow, nil
}

// pauseExtended: a timer that was set for the first pause knows nothing of the
// second one.
func pauseExtended(t *trial) error {
	took, ok, err := t.twoPauses(pause, 3*pause, true)
	if err != nil {
		return err
	}
	if ok && took[1] < 3*pause {
		return fmt.Errorf("Retry-After was %v and then %v, and a request that waited since the first left %v after the second", pause, 3*pause, took[1])
	}
	return nil
}

// pauseNotShortened: answers to requests that were sent together come in any
// order.
func pauseNotShortened(t *trial) error {
	took, ok, err := t.twoPauses(3*pause, pause, false)
	if err != nil {
		return err
	}
	if ok && took[0] < 3*pause {
		return fmt.Errorf("Retry-After was %v and then %v, and a request left %v after the first", 3*pause, pause, took[0])
	}
	return nil
}

// canceledWait: the Transport looks for ctx.Err(), and adds the cause itself.
func canceledWait(t *trial) error {
	if _, err := t.throttle("key", long); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(t.ctx)
	c := t.startWaiting(ctx, t.request("key"))
	cancel(errors.New("the user closed the window"))
	if err := c.canceled(ctx); err != nil {
		return fmt.Errorf("canceled while it waited: %w", err)
	}
	c = t.start(ctx, t.request("key"))
	if err := c.canceled(ctx); err != nil {
		return fmt.Errorf("canceled before Wait, in a pause: %w", err)
	}
	return nil
}

// A foreign context is of a type that cannot be a map's key, and makes its Done
// channel when it is asked for it.
type foreign struct {
	*foreignState
	_ []struct{}
}

type foreignState struct {
	context.Context
	mu    sync.Mutex
	done  chan struct{}
	err   error
	asked chan struct{}
}

func newForeign() foreign {
	return foreign{foreignState: &foreignState{Context: context.Background(), asked: make(chan struct{})}}
}

func (s *foreignState) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		close(s.asked)
		if s.err != nil {
			close(s.done)
		}
	}
	return s.done
}

func (s *foreignState) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *foreignState) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	if s.done != nil {
		close(s.done)
	}
}

// anyContext: SDKs bring contexts of their own, and a Transport makes one that
// ends with http.Request.Cancel.
func anyContext(t *trial) error {
	ctx := newForeign()
	defer ctx.end(context.Canceled)
	c := t.start(ctx, t.request("key"))
	if err := c.left(); err != nil {
		return fmt.Errorf("with a context of a type of its own: %w", err)
	}
	t.tell(c, throttled(long))
	ctx = newForeign()
	c = t.start(ctx, t.request("key"))
	select {
	case <-ctx.asked:
	case <-c.done:
	case <-time.After(pause / 4):
	}
	ctx.end(context.Canceled)
	if err := c.canceled(ctx); err != nil {
		return fmt.Errorf("with a context of a type of its own, canceled while it waited: %w", err)
	}
	return nil
}

// deadlineKept: to refuse at once is better, but a gate need not know when it
// can let a request out.
func deadlineKept(t *trial) error {
	if _, err := t.throttle("key", long); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.ctx, pause/4)
	defer cancel()
	c := t.start(ctx, t.request("key"))
	if err := c.returned(); err != nil {
		return fmt.Errorf("under a deadline of %v: %w", pause/4, err)
	}
	switch e := (*gate.Error)(nil); {
	case c.err == nil:
		return fmt.Errorf("it let a request out in a pause of %v, under a deadline of %v", long, pause/4)
	case errors.As(c.err, &e), ctx.Err() != nil && errors.Is(c.err, ctx.Err()):
		return nil
	}
	return fmt.Errorf("under a deadline of %v it returned the error %q, in which there is neither a *gate.Error nor ctx.Err()", pause/4, c.err)
}

// maxWaitKept: a caller that is not to wait for a minute wants to know so now.
func maxWaitKept(t *trial) error {
	if _, err := t.throttle("key", long); err != nil {
		return err
	}
	r := t.request("key")
	r.MaxWait = long / 2
	c := t.start(t.ctx, r)
	if err := c.returned(); err != nil {
		return fmt.Errorf("in a pause of %v, with a MaxWait of %v: %w", long, r.MaxWait, err)
	}
	switch e := (*gate.Error)(nil); {
	case c.err == nil:
		return fmt.Errorf("it let a request out in a pause of %v", long)
	case !errors.As(c.err, &e):
		return fmt.Errorf("it refused with the error %q, in which there is no *gate.Error", c.err)
	case !errors.Is(c.err, gate.ErrPaused):
		return fmt.Errorf("in a pause of %v, with a MaxWait of %v, it refused with the error %q, in which errors.Is does not find ErrPaused", long, r.MaxWait, c.err)
	case e.RetryAfter < 0:
		return fmt.Errorf("it refused with a RetryAfter of %v; 0 means unknown", e.RetryAfter)
	}
	return nil
}

// zeroMaxWait: zero is not a bound of zero.
func zeroMaxWait(t *trial) error {
	if _, err := t.throttle("key", pause); err != nil {
		return err
	}
	c := t.start(t.ctx, gate.Request{Key: t.request("key").Key})
	if err := c.left(); err != nil {
		return fmt.Errorf("in a pause of %v, without MaxWait: %w", pause, err)
	}
	return nil
}

const places = 50 // more than a gate may lose

// canceledKeepNothing: a waiter that gives up must give up its place too, also
// if it is let out in that moment.
func canceledKeepNothing(t *trial) error {
	if _, err := t.throttle("paused", pause); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.ctx)
	var calls []*call
	for range places {
		calls = append(calls, t.start(ctx, t.request("paused")))
	}
	calls = append(calls, t.startWaiting(ctx, t.request("paused")))
	cancel()
	for _, c := range calls {
		if err := c.returned(); err != nil {
			return fmt.Errorf("canceled while it waited: %w", err)
		}
		if c.err == nil {
			t.tell(c, accepted)
		}
	}
	if err := t.pass(t.request("paused"), accepted); err != nil {
		return fmt.Errorf("after %d requests that were canceled in a pause: %w", places, err)
	}
	// Not knowing when a gate lets requests out, cancel at any time.
	err := concurrently(8, func(int) error {
		for range places {
			ctx, cancel := context.WithCancel(t.ctx)
			timer := time.AfterFunc(rand.N(200*time.Microsecond), cancel)
			c := t.start(ctx, t.request("open"))
			err := c.returned()
			if err == nil && c.err == nil {
				t.tell(c, accepted)
			}
			timer.Stop()
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("canceled at any time: %w", err)
	}
	if err := t.pass(t.request("open"), accepted); err != nil {
		return fmt.Errorf("after %d requests that were canceled at any time: %w", 8*places, err)
	}
	return nil
}

// refusedKeepNothing: a place that is taken before the refusal is never given
// back, because there is no Observe.
func refusedKeepNothing(t *trial) error {
	if _, err := t.throttle("key", pause); err != nil {
		return err
	}
	r := t.request("key")
	r.MaxWait = time.Millisecond
	err := concurrently(places, func(int) error {
		c := t.start(t.ctx, r)
		if err := c.returned(); err != nil {
			return err
		}
		if c.err == nil { // another check finds that
			t.tell(c, accepted)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("in a pause of %v, with a MaxWait of %v: %w", pause, r.MaxWait, err)
	}
	if err := t.pass(t.request("key"), accepted); err != nil {
		return fmt.Errorf("after %d requests that were refused in a pause: %w", places, err)
	}
	return nil
}
