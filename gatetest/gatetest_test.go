package gatetest

import (
	"context"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
)

func TestAdaptiveObeysTheContract(t *testing.T) { //nolint:tparallel // Run starts the subtests
	t.Parallel()
	if testing.Short() {
		t.Skip("takes six seconds of real time")
	}
	Run(t, func(testing.TB) gate.Gate { return new(gate.Adaptive) })
}

func TestAdaptiveObeysTheContractWithAnyStartWindow(t *testing.T) {
	for _, window := range []int{-1, 1, 2, 64, 1000} {
		for _, c := range checks {
			assert.NoError(t, attempt(t, c, &gate.Adaptive{StartWindow: window}), "StartWindow %d: %s", window, c.name)
		}
	}
}

// A model is a gate that passes every check, unless it has a defect. It limits the number
// of requests in flight, counting all keys together.
type model struct {
	capacity int
	defect   string // name of the check that finds the defect

	mu     sync.Mutex
	until  map[string]time.Time
	flying int
	queue  []chan struct{} // requests waiting for a slot
	ctxs   map[context.Context]bool
}

func (g *model) has(defect string) bool { return g.defect == defect }

func (g *model) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	if g.has("a context may be of any type") {
		g.mu.Lock()
		if g.ctxs == nil {
			g.ctxs = make(map[context.Context]bool)
		}
		g.mu.Unlock()
		_ = g.ctxs[ctx]
	}
	early := g.has("a refused request does not occupy a slot") || g.has("a canceled request does not occupy a slot")
	if early {
		if err := g.enter(ctx); err != nil {
			return 0, err
		}
	}
	if err := g.outlast(ctx, r); err != nil {
		if canceled := ctx.Err() != nil; early && canceled == g.has("a refused request does not occupy a slot") {
			g.leave()
		}
		return 0, err
	}
	if early {
		return 0, nil
	}
	return 0, g.enter(ctx)
}

// outlast waits until the pause is over, unless it refuses r or ctx ends first.
func (g *model) outlast(ctx context.Context, r gate.Request) error {
	if r.Resend > 0 && g.has("requests for a throttled key wait until Retry-After has elapsed") {
		return nil // the defect: the gate assumes that a retry has already waited
	}
	for {
		g.mu.Lock()
		left := time.Until(g.until[g.key(r)])
		g.mu.Unlock()
		switch {
		case left <= 0:
			return nil
		case left > r.MaxWait && !g.has("a request is refused during a pause longer than its MaxWait") &&
			(r.MaxWait > 0 || g.has("a request with a zero MaxWait is not refused during a pause")):
			return &gate.Error{RetryAfter: left, Err: gate.ErrPaused}
		}
		select {
		case <-time.After(left):
			if g.has("a later, longer pause also applies to waiting requests") {
				return nil
			}
		case <-ctx.Done():
			switch {
			case g.has("a canceled wait returns ctx.Err()"):
				return context.Cause(ctx)
			case g.has("a wait does not outlast its context's deadline") && ctx.Err() == context.DeadlineExceeded:
				return nil
			}
			return ctx.Err()
		}
	}
}

// enter waits for a slot.
func (g *model) enter(ctx context.Context) error {
	g.mu.Lock()
	if g.flying < g.capacity {
		g.flying++
		g.mu.Unlock()
		return nil
	}
	place := make(chan struct{}, 1)
	if g.has("many concurrent callers are all admitted") {
		g.queue = nil // the defect: the gate remembers only the latest waiter
	}
	g.queue = append(g.queue, place)
	g.mu.Unlock()
	select {
	case <-place:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, p := range g.queue {
		if p == place {
			g.queue = append(g.queue[:i:i], g.queue[i+1:]...)
			return ctx.Err()
		}
	}
	g.next()
	return ctx.Err()
}

// leave frees a slot, or gives it to the request that has waited longest.
func (g *model) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next()
}

func (g *model) next() {
	if len(g.queue) == 0 {
		g.flying--
		return
	}
	g.queue[0] <- struct{}{}
	g.queue = g.queue[1:]
}

func (g *model) key(r gate.Request) string {
	if g.has("keys do not affect each other") {
		return ""
	}
	return r.Key
}

func (g *model) Observe(r gate.Request, _ gate.Ticket, o gate.Outcome) {
	if o.Result != gate.NotSent || !g.has("a request is admitted after any outcomes except Throttled") {
		g.leave()
	}
	if o.Result != gate.Throttled {
		if g.has("a late success does not end a pause") {
			g.mu.Lock()
			delete(g.until, g.key(r))
			g.mu.Unlock()
		}
		return
	}
	pause := o.RetryAfter
	if pause == 0 && !g.has("requests for a throttled key wait even without Retry-After") {
		pause = time.Second
	}
	g.mu.Lock()
	if g.until == nil {
		g.until = make(map[string]time.Time)
	}
	until := time.Now().Add(pause)
	if until.After(g.until[g.key(r)]) || g.has("a later, shorter pause does not shorten an earlier one") {
		g.until[g.key(r)] = until
	}
	g.mu.Unlock()
	if g.has("Observe does not block") {
		time.Sleep(pause)
	}
}

// attempt runs a check in virtual time.
func attempt(t *testing.T, c check, g gate.Gate) (err error) {
	synctest.Test(t, func(*testing.T) {
		err = c.try(g)
		time.Sleep(2 * time.Hour) // so that calls that ignore their contexts end, too
	})
	return err
}

func TestModelWithoutADefectPassesEveryCheck(t *testing.T) {
	for _, capacity := range []int{1, 2, 8, 1000} {
		for _, c := range checks {
			assert.NoError(t, attempt(t, c, &model{capacity: capacity}), "capacity %d: %s", capacity, c.name)
		}
	}
}

func TestEachCheckFindsOnlyItsOwnDefect(t *testing.T) {
	for _, defect := range checks {
		t.Run(defect.name, func(t *testing.T) {
			for _, c := range checks {
				err := attempt(t, c, &model{capacity: 8, defect: defect.name})
				if c.name == defect.name {
					assert.Error(t, err, "the check did not find the defect")
					t.Log(err)
				} else {
					assert.NoError(t, err, "the check of another clause failed because of this defect: %s", c.name)
				}
			}
		})
	}
}

// A flawed gate is an Adaptive with one mistake.
type flawed struct {
	gate.Adaptive
	wait    func(context.Context, gate.Request) (gate.Ticket, error, bool) // the last result says whether Adaptive is not asked
	observe func(gate.Request, gate.Outcome) gate.Outcome
}

func (g *flawed) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	if g.wait != nil {
		if t, err, done := g.wait(ctx, r); done {
			return t, err
		}
	}
	return g.Adaptive.Wait(ctx, r)
}

func (g *flawed) Observe(r gate.Request, t gate.Ticket, o gate.Outcome) {
	if g.observe != nil {
		o = g.observe(r, o)
	}
	g.Adaptive.Observe(r, t, o)
}

func TestMistakesOfGatesAreFound(t *testing.T) {
	for name, mistake := range map[string]*flawed{
		"it refuses every request with a deadline": {wait: func(ctx context.Context, _ gate.Request) (gate.Ticket, error, bool) {
			_, limited := ctx.Deadline()
			return 0, &gate.Error{Err: gate.ErrDeadline}, limited
		}},
		"it ignores the 429 of a retry": {observe: func(r gate.Request, o gate.Outcome) gate.Outcome {
			if r.Resend > 0 {
				return gate.Outcome{Result: gate.Unknown}
			}
			return o
		}},
		"a second retry does not wait": {wait: func(_ context.Context, r gate.Request) (gate.Ticket, error, bool) {
			return 0, nil, r.Resend > 1
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			for _, c := range checks {
				if err := attempt(t, c, &flawed{wait: mistake.wait, observe: mistake.observe}); err != nil {
					found = append(found, c.name)
					t.Log(c.name, err)
				}
			}
			assert.NotEmpty(t, found)
		})
	}
}

// A gateFunc is a gate whose Wait calls the function, and whose Observe does nothing.
type gateFunc func(context.Context, gate.Request) (gate.Ticket, error)

func (f gateFunc) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) { return f(ctx, r) }
func (f gateFunc) Observe(gate.Request, gate.Ticket, gate.Outcome)               {}

func TestGateThatPanicsInWaitFailsEveryCheck(t *testing.T) {
	g := gateFunc(func(context.Context, gate.Request) (gate.Ticket, error) { panic("no") })
	for _, c := range checks {
		assert.ErrorContains(t, attempt(t, c, g), "panicked: no", c.name)
	}
}

func TestGateThatNeverAdmitsARequestFailsEveryCheck(t *testing.T) {
	g := gateFunc(func(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})
	for _, c := range checks {
		assert.ErrorContains(t, attempt(t, c, g), "Wait has not returned after 10s", c.name)
	}
}

func TestGateThatAlwaysRefusesFailsEveryCheck(t *testing.T) {
	g := gateFunc(func(context.Context, gate.Request) (gate.Ticket, error) { return 0, &gate.Error{Err: gate.ErrPaused} })
	for _, c := range checks {
		assert.ErrorIs(t, attempt(t, c, g), gate.ErrPaused, c.name)
	}
}

func TestRefusalMustBeAGateErrorWithErrPaused(t *testing.T) {
	for want, refusal := range map[string]error{
		"contains no *gate.Error":                     gate.ErrPaused,
		"errors.Is(err, gate.ErrPaused) is false":     &gate.Error{Err: gate.ErrDeadline},
		"with a RetryAfter of -1s":                    &gate.Error{RetryAfter: -time.Second, Err: gate.ErrPaused},
		"Wait admitted a request during a pause of 1": nil,
	} {
		g := &waitsFirst{then: func(context.Context) error { return refusal }}
		assert.ErrorContains(t, attempt(t, named(t, "a request is refused during a pause longer than its MaxWait"), g), want)
	}
}

func TestWaitWithADeadlineMustEndWithCtxErrOrARefusal(t *testing.T) {
	for want, then := range map[string]func(context.Context) error{
		"":                                    func(context.Context) error { return &gate.Error{Err: gate.ErrDeadline} },
		"neither a *gate.Error nor ctx.Err()": func(context.Context) error { return context.DeadlineExceeded }, // returned before the deadline
		"Wait has not returned after 10s":     func(context.Context) error { time.Sleep(time.Hour); return nil },
		"Wait admitted a request during a pause of 1m0": func(context.Context) error { return nil },
	} {
		err := attempt(t, named(t, "a wait does not outlast its context's deadline"), &waitsFirst{then: then})
		if want == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, want)
		}
	}
}

func TestCanceledWaitMustReturnAnError(t *testing.T) {
	g := &waitsFirst{then: func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}}
	for _, name := range []string{"a canceled wait returns ctx.Err()", "a context may be of any type"} {
		assert.ErrorContains(t, attempt(t, named(t, name), g), "Wait admitted the request", name)
		g.out = false
	}
}

func TestPanicInObserveIsReported(t *testing.T) {
	for _, result := range []gate.Result{gate.Throttled, gate.Accepted, gate.Unknown, gate.NotSent} {
		err := attempt(t, named(t, "Observe does not block"), panicsInObserve{result})
		assert.ErrorContains(t, err, "Observe panicked: no", result)
	}
}

// waitsFirst admits its first request. For every later request, Wait returns the result
// of the function in the field then.
type waitsFirst struct {
	mu   sync.Mutex
	out  bool
	then func(context.Context) error
}

func (g *waitsFirst) Wait(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
	g.mu.Lock()
	out := g.out
	g.out = true
	g.mu.Unlock()
	if !out {
		return 0, nil
	}
	return 0, g.then(ctx)
}

func (g *waitsFirst) Observe(gate.Request, gate.Ticket, gate.Outcome) {}

type panicsInObserve struct{ after gate.Result }

func (panicsInObserve) Wait(context.Context, gate.Request) (gate.Ticket, error) { return 0, nil }
func (g panicsInObserve) Observe(_ gate.Request, _ gate.Ticket, o gate.Outcome) {
	if o.Result == g.after {
		panic("no")
	}
}

func named(t *testing.T, name string) check {
	t.Helper()
	for _, c := range checks {
		if c.name == name {
			return c
		}
	}
	require.Fail(t, "unknown check", name)
	return check{}
}

func TestQuotationsInClausesMatchTheDocCommentsOfPackageGate(t *testing.T) {
	source, err := os.ReadFile("../gate/gate.go")
	require.NoError(t, err)
	comments := strings.Join(strings.Fields(strings.ReplaceAll(string(source), "//", " ")), " ")
	quoted := regexp.MustCompile(`"[^"]+"`)
	for _, c := range checks {
		for _, quote := range quoted.FindAllString(c.clause, -1) {
			assert.Contains(t, comments, strings.Trim(quote, `".`), c.name)
		}
	}
}
