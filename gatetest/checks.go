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
	{"a request is admitted after any outcomes except Throttled", `Gate.Wait: "blocks until the request may be sent and then returns a nil error".`, onward},
	{"many concurrent callers are all admitted", `Gate: "It must be safe for concurrent use".`, manyCallers},
	{"keys do not affect each other", `Gate: "keys do not affect each other".`, keysApart},
	{"Observe does not block", `Gate.Observe: "It must not block."`, observeReturns},
	// These checks are about pauses.
	{"requests for a throttled key wait until Retry-After has elapsed", `Gate.Observe: "no request with that key may be sent until RetryAfter has elapsed".`, retryAfterObeyed},
	{"requests for a throttled key wait even without Retry-After", `Gate.Observe: "or, if RetryAfter is zero, for a time that the gate chooses".`, pauseOfItsOwn},
	{"a later, longer pause also applies to waiting requests", `Gate.Observe: "If several of these pauses overlap, the one that ends last applies."`, pauseExtended},
	{"a later, shorter pause does not shorten an earlier one", `Gate.Observe: "If several of these pauses overlap, the one that ends last applies."`, pauseNotShortened},
	{"a late success does not end a pause", `Gate.Observe: "no request with that key may be sent until RetryAfter has elapsed".`, pauseSurvives},
	// These checks are about canceled and refused requests.
	{"a canceled wait returns ctx.Err()", `Gate.Wait: "ctx.Err() if the context ends first".`, canceledWait},
	{"a context may be of any type", `Gate.Wait's signature: a context.Context is an interface, so a gate must not assume anything about its dynamic type.`, anyContext},
	{"a wait does not outlast its context's deadline", `Gate.Wait: "It is an [*Error] if the gate refuses the request, and ctx.Err() if the context ends first."`, deadlineKept},
	{"a request is refused during a pause longer than its MaxWait", `Request.MaxWait: "A gate refuses the request with [ErrPaused] while a longer pause is in force." Gate.Wait: "an [*Error] if the gate refuses the request".`, maxWaitKept},
	{"a request with a zero MaxWait is not refused during a pause", `Request.MaxWait: "Zero means that only the context limits the wait."`, zeroMaxWait},
	{"a canceled request does not occupy a slot", `Gate.Wait: "Observe is not called after an error."`, canceledKeepNothing},
	{"a refused request does not occupy a slot", `Gate.Wait: "Observe is not called after an error."`, refusedKeepNothing},
}

// onward finds a gate that does not free a slot after some outcomes, and therefore runs
// out of slots.
func onward(t *trial) error {
	for _, result := range []gate.Result{gate.Accepted, gate.Unknown, gate.NotSent} {
		for i := range 100 {
			r := t.request("key")
			r.Resend = i % 3
			if err := t.pass(r, gate.Outcome{Result: result}); err != nil {
				return fmt.Errorf("request %d of a series with the result %q: %w", i+1, result, err)
			}
		}
	}
	// Nearly every request of a program has a deadline.
	ctx, cancel := context.WithTimeout(t.ctx, time.Hour)
	defer cancel()
	c := t.start(ctx, t.request("key"))
	if err := c.left(); err != nil {
		return fmt.Errorf("with a deadline in an hour: %w", err)
	}
	t.tell(c, accepted)
	return nil
}

// manyCallers finds a gate that wakes up only one of several waiters. A test with a
// single caller would not notice that mistake.
func manyCallers(t *trial) error {
	if _, err := t.throttle("throttled", pause); err != nil {
		return err
	}
	const callers, each, late = 16, 20, 3
	return concurrently(callers+late, func(i int) error {
		if i >= callers { // few requests, because a gate may admit them slowly
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
			<-time.After(time.Millisecond) // the time that the service takes to respond
			t.tell(c, accepted)
		}
		return nil
	})
}

// concurrently makes n calls to f at the same time and returns the first error.
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

// keysApart finds a gate that has one pause for all keys, or that holds a lock while a
// request waits. In either case, one account would hold up another.
func keysApart(t *trial) error {
	if _, err := t.throttle("one", long); err != nil {
		return err
	}
	t.startWaiting(t.ctx, t.request("one"))
	for range 3 {
		if err := t.pass(t.request("another"), accepted); err != nil {
			return fmt.Errorf("while key %q is paused, key %q should not be: %w", "one", "another", err)
		}
	}
	return nil
}

// observeReturns checks that Observe does not block, because a Transport calls Observe
// before it returns a response.
func observeReturns(t *trial) error {
	one, another, err := t.together()
	if err != nil {
		return err
	}
	if err := t.observe(one, throttled(long)); err != nil {
		return fmt.Errorf("after a 429 with Retry-After %v: %w", long, err)
	}
	if another != nil {
		t.startWaiting(t.ctx, t.request("key"))
		if err := t.observe(another, accepted); err != nil {
			return fmt.Errorf("after an accepted request, while another request waits: %w", err)
		}
	}
	for _, result := range []gate.Result{gate.Unknown, gate.NotSent} {
		c := t.start(t.ctx, t.request("other"))
		if c.returned() != nil || c.err != nil { // another check reports this
			continue
		}
		if err := t.observe(c, gate.Outcome{Result: result}); err != nil {
			return fmt.Errorf("after a request with the result %q: %w", result, err)
		}
	}
	return nil
}

// together returns two calls whose requests are in flight at the same time. The second
// one is nil if the gate does not admit its request within a second.
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

// retryAfterObeyed sends first attempts and retries, because both have to wait, and because
// the 429 for either of them counts.
func retryAfterObeyed(t *trial) error {
	return errors.Join(t.obeyed("first", 0), t.obeyed("retry", 1))
}

func (t *trial) obeyed(key string, resend int) error {
	r := t.request(key)
	r.Resend = resend
	began := time.Now()
	if err := t.pass(r, throttled(pause)); err != nil {
		return err
	}
	return concurrently(4, func(i int) error {
		r := t.request(key)
		r.Resend = i
		c := t.start(t.ctx, r)
		if err := c.left(); err != nil {
			return fmt.Errorf("after a pause of %v: %w", pause, err)
		}
		t.tell(c, accepted)
		if took := c.at.Sub(began); took < pause {
			return fmt.Errorf("a request with Resend %d got a 429 with Retry-After %v, but one with Resend %d was admitted after %v", resend, pause, r.Resend, took)
		}
		return nil
	})
}

// pauseOfItsOwn finds a gate that does not pause after a 429 without Retry-After. With
// such a gate, the Transport would send several attempts without waiting.
func pauseOfItsOwn(t *trial) error {
	const least = 10 * time.Millisecond
	began, err := t.throttle("key", 0)
	if err != nil {
		return err
	}
	c := t.start(t.ctx, t.request("key"))
	if err := c.left(); err != nil {
		return fmt.Errorf("after a 429 without Retry-After: %w", err)
	}
	if took := c.at.Sub(began); took < least {
		return fmt.Errorf("after a 429 without Retry-After, the next request was admitted after %v; want at least %v", took, least)
	}
	return nil
}

// twoPauses sends two requests together, and both of them are throttled. It starts a
// third request before the second 429 if before is true, and after the second 429
// otherwise. It returns how long after each 429 the third request was admitted. ok is
// false if these times prove nothing.
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
	slow := time.Since(began[0]) >= first // the third request may have been admitted before the second response
	if !before {
		third = t.start(t.ctx, t.request("key"))
	}
	if err := third.left(); err != nil {
		return took, false, fmt.Errorf("after pauses of %v and %v: %w", first, second, err)
	}
	return [2]time.Duration{third.at.Sub(began[0]), third.at.Sub(began[1])}, !slow, nil
}

// pauseExtended finds a gate whose timer for the first pause ignores the second pause.
func pauseExtended(t *trial) error {
	took, ok, err := t.twoPauses(pause, 3*pause, true)
	if err != nil {
		return err
	}
	if ok && took[1] < 3*pause {
		return fmt.Errorf("Retry-After was %v and then %v, but a request that was waiting was admitted %v after the second response", pause, 3*pause, took[1])
	}
	return nil
}

// pauseNotShortened finds a gate that replaces a pause with a later, shorter one. The
// responses to requests that were sent together can arrive in any order.
func pauseNotShortened(t *trial) error {
	took, ok, err := t.twoPauses(3*pause, pause, false)
	if err != nil {
		return err
	}
	if ok && took[0] < 3*pause {
		return fmt.Errorf("Retry-After was %v and then %v, but a request was admitted %v after the first response", 3*pause, pause, took[0])
	}
	return nil
}

// pauseSurvives finds a gate whose pause ends when a request that was sent before the 429
// succeeds.
func pauseSurvives(t *trial) error {
	for _, result := range []gate.Result{gate.Accepted, gate.Unknown, gate.NotSent} {
		one, another, err := t.together()
		if another == nil || err != nil {
			return err
		}
		began := time.Now()
		t.tell(one, throttled(pause))
		t.tell(another, gate.Outcome{Result: result})
		c := t.start(t.ctx, t.request("key"))
		if err := c.left(); err != nil {
			return err
		}
		t.tell(c, accepted)
		if took := c.at.Sub(began); took < pause {
			return fmt.Errorf("Retry-After was %v, but after the outcome %q of a request that was sent before the 429, a request was admitted after %v", pause, result, took)
		}
	}
	return nil
}

// canceledWait checks that Wait returns ctx.Err() even if the context has a cause. The
// Transport itself adds the cause.
func canceledWait(t *trial) error {
	if _, err := t.throttle("key", long); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(t.ctx)
	c := t.startWaiting(ctx, t.request("key"))
	cancel(errors.New("the user closed the window"))
	if err := c.canceled(ctx); err != nil {
		return fmt.Errorf("context canceled while the request waited: %w", err)
	}
	c = t.start(ctx, t.request("key"))
	if err := c.canceled(ctx); err != nil {
		return fmt.Errorf("context canceled before the call to Wait, during a pause: %w", err)
	}
	return nil
}

// A foreign context has a type that cannot be a map key, and creates its Done channel
// when Done is first called.
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

// anyContext uses a foreign context, because SDKs have their own context types, and the
// Transport has one for http.Request.Cancel.
func anyContext(t *trial) error {
	ctx := newForeign()
	defer ctx.end(context.Canceled)
	c := t.start(ctx, t.request("key"))
	if err := c.left(); err != nil {
		return fmt.Errorf("with a custom context type: %w", err)
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
		return fmt.Errorf("with a custom context type, canceled while the request waited: %w", err)
	}
	return nil
}

// deadlineKept also accepts a gate that waits until the deadline. Refusing the request at
// once would be better, but a gate need not know when it can admit a request.
func deadlineKept(t *trial) error {
	if _, err := t.throttle("key", long); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.ctx, pause/4)
	defer cancel()
	c := t.start(ctx, t.request("key"))
	if err := c.returned(); err != nil {
		return fmt.Errorf("with a deadline of %v: %w", pause/4, err)
	}
	switch e := (*gate.Error)(nil); {
	case c.err == nil:
		return fmt.Errorf("Wait admitted a request during a pause of %v, with a deadline of %v", long, pause/4)
	case errors.As(c.err, &e), ctx.Err() != nil && errors.Is(c.err, ctx.Err()):
		return nil
	}
	return fmt.Errorf("with a deadline of %v, Wait returned the error %q, which contains neither a *gate.Error nor ctx.Err()", pause/4, c.err)
}

// maxWaitKept checks that a gate refuses without first waiting for MaxWait, because a
// caller that does not want to wait for a minute needs to know immediately.
func maxWaitKept(t *trial) error {
	if _, err := t.throttle("key", long); err != nil {
		return err
	}
	r := t.request("key")
	r.MaxWait = long / 2
	c := t.start(t.ctx, r)
	if err := c.returned(); err != nil {
		return fmt.Errorf("during a pause of %v, with a MaxWait of %v: %w", long, r.MaxWait, err)
	}
	switch e := (*gate.Error)(nil); {
	case c.err == nil:
		return fmt.Errorf("Wait admitted a request during a pause of %v", long)
	case !errors.As(c.err, &e):
		return fmt.Errorf("Wait refused with the error %q, which contains no *gate.Error", c.err)
	case !errors.Is(c.err, gate.ErrPaused):
		return fmt.Errorf("during a pause of %v, with a MaxWait of %v, Wait refused with the error %q, for which errors.Is(err, gate.ErrPaused) is false", long, r.MaxWait, c.err)
	case e.RetryAfter < 0:
		return fmt.Errorf("Wait refused with a RetryAfter of %v; want at least 0 (0 means unknown)", e.RetryAfter)
	}
	return nil
}

// zeroMaxWait finds a gate that treats a zero MaxWait as a limit of zero.
func zeroMaxWait(t *trial) error {
	if _, err := t.throttle("key", pause); err != nil {
		return err
	}
	c := t.start(t.ctx, gate.Request{Key: t.request("key").Key})
	if err := c.left(); err != nil {
		return fmt.Errorf("during a pause of %v, without MaxWait: %w", pause, err)
	}
	return nil
}

const places = 100 // how many slots a check tries to make a faulty gate lose at a time; a faulty gate with more slots may pass

// canceledKeepNothing finds a gate in which a canceled waiter keeps its slot, for example
// if the waiter is admitted and canceled at the same moment.
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
			return fmt.Errorf("context canceled while the request waited: %w", err)
		}
		if c.err == nil {
			t.tell(c, accepted)
		}
	}
	if err := t.pass(t.request("paused"), accepted); err != nil {
		return fmt.Errorf("after more than %d requests were canceled during a pause: %w", places, err)
	}
	// A gate may admit requests at any time, so cancel at random times.
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
		return fmt.Errorf("context canceled at a random time: %w", err)
	}
	if err := t.pass(t.request("open"), accepted); err != nil {
		return fmt.Errorf("after the contexts of %d requests were canceled at random times: %w", 8*places, err)
	}
	return nil
}

// refusedKeepNothing finds a gate in which a request takes a slot before it is refused.
// The gate never gets that slot back, because Observe is not called for a refused
// request.
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
		if c.err == nil { // the pause is over, or maxWaitKept reports this
			t.tell(c, accepted)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("during a pause of %v, with a MaxWait of %v: %w", pause, r.MaxWait, err)
	}
	if err := t.pass(t.request("key"), accepted); err != nil {
		return fmt.Errorf("after %d requests were refused during a pause: %w", places, err)
	}
	return nil
}
