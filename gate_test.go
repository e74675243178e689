package iamhttp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// observed is one call of Observe.
type observed struct {
	key        string
	ticket     iamhttp.Ticket
	throttled  bool
	retryAfter time.Duration
}

// scriptedGate does as wait says and notes what it is told.
type scriptedGate struct {
	wait func(ctx context.Context, key string, resend int) (iamhttp.Ticket, error)

	mu      sync.Mutex
	resends []int
	told    []observed
}

func (g *scriptedGate) Wait(ctx context.Context, key string, resend int) (iamhttp.Ticket, error) {
	g.mu.Lock()
	g.resends = append(g.resends, resend)
	n := len(g.resends)
	g.mu.Unlock()
	if g.wait != nil {
		return g.wait(ctx, key, resend)
	}
	return iamhttp.Ticket(100 + n), nil
}

func (g *scriptedGate) Observe(key string, t iamhttp.Ticket, throttled bool, retryAfter time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = append(g.told, observed{key, t, throttled, retryAfter})
}

func TestTheGateIsToldOfEachSendOnce(t *testing.T) {
	broken := errors.New("connection reset")
	for name, tt := range map[string]struct {
		steps []step
		set   func(*iamhttp.Transport)
		want  []observed
	}{
		"a success": {[]step{answer(200, "")}, nil, []observed{{"iam.example", 101, false, 0}}},
		"a 429 with Retry-After, then a success": {[]step{answer(429, "", "Retry-After: 7"), answer(200, "")}, nil,
			[]observed{{"iam.example", 101, true, 7 * time.Second}, {"iam.example", 102, false, 0}}},
		"a 429 that says nothing": {[]step{answer(429, ""), answer(200, "")}, nil,
			[]observed{{"iam.example", 101, true, 0}, {"iam.example", 102, false, 0}}},
		"a 404, 503 or 408 is no throttling": {[]step{answer(408, ""), answer(503, "", "Retry-After: 9")}, nil,
			[]observed{{"iam.example", 101, false, 0}, {"iam.example", 102, false, 0}}},
		"an expected 429 is none either": {[]step{answer(429, "", "Retry-After: 7")},
			func(t *iamhttp.Transport) { t.Expected = []iamhttp.Code{429} }, []observed{{"iam.example", 101, false, 0}}},
		"no answer":                               {[]step{fail(broken)}, nil, []observed{{"iam.example", 101, false, 0}}},
		"a 429 that a Transport below returns":    {[]step{fail(fromBelow(2, iamhttp.StopAttempts))}, nil, []observed{{"iam.example", 101, true, 5 * time.Second}}},
		"what the gate of one below did not send": {[]step{fail(fromBelow(0, iamhttp.StopGate))}, nil, []observed{{"iam.example", 101, false, 0}}},
		"a 429 to another request, of one that fetches tokens": {[]step{fail(&iamhttp.StatusError{Code: 429, Method: "POST", URL: "https://iam.example/v3/auth/tokens", Attempts: 1})},
			nil, []observed{{"iam.example", 101, false, 0}}},
		"a proxy's 429": {[]step{fail(connectRefusal(429, "Retry-After: 3")), answer(200, "")}, nil,
			[]observed{{"iam.example", 101, true, 3 * time.Second}, {"iam.example", 102, false, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(scriptedGate)
				tr := &iamhttp.Transport{Base: script(tt.steps...), Gate: g}
				if tt.set != nil {
					tt.set(tr)
				}
				resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
				if err == nil {
					resp.Body.Close()
				}
				assert.Equal(t, tt.want, g.told)
			})
		})
	}
}

// fromBelow is what a Transport below makes of a 429.
func fromBelow(attempts int, stop iamhttp.StopReason) error {
	return &iamhttp.StatusError{Code: 429, Method: "GET", URL: "https://iam.example/v3/users", RetryAfter: 5 * time.Second, Attempts: attempts, Stop: stop}
}

// connectRefusal is what CheckProxyConnect makes of a proxy's answer.
func connectRefusal(code int, header ...string) error {
	resp := response(nil, code, http.NoBody, 0, header...)
	return iamhttp.CheckProxyConnect(context.Background(), nil, nil, resp)
}

func TestTheGateIsToldWhenBasePanics(t *testing.T) {
	g := new(scriptedGate)
	tr := &iamhttp.Transport{Gate: g, Base: script(func(*http.Request) (*http.Response, error) { panic("base") })}
	assert.Panics(t, func() { _, _ = tr.RoundTrip(newRequest(t, "GET", "")) })
	assert.Len(t, g.told, 1)
}

func TestWithAGateA429IsNotWaitedOutByTheTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(scriptedGate)
		base := script(answer(429, "", "Retry-After: 60"), answer(429, ""), answer(200, ""))
		start := time.Now()
		resp, err := (&iamhttp.Transport{Base: base, Gate: g}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Zero(t, time.Since(start), "the gate lets everything out at once, and it is the gate that decides")
		assert.Equal(t, []int{0, 1, 2}, g.resends)
	})
}

func TestWithAGateMaxWaitStillStopsTheCallAndThePauseStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		tr := &iamhttp.Transport{Base: script(answer(429, "", "Retry-After: 60")), Gate: g, MaxWait: 10 * time.Second}
		_, err := tr.RoundTrip(newRequest(t, "GET", ""))
		e := statusError(t, err)
		assert.Equal(t, iamhttp.StopWaitTooLong, e.Stop)
		assert.Equal(t, 1, e.Attempts)

		patient := &iamhttp.Transport{Base: script(answer(200, "")), Gate: g}
		start := time.Now()
		resp, err := patient.RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		resp.Body.Close()
		assert.GreaterOrEqual(t, time.Since(start), time.Minute)
	})
}

func TestARefusalOfTheGateIsATypedErrorThatWasNotSent(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		why := errors.New("a reason of its own")
		for name, tt := range map[string]struct {
			err        error
			retryAfter time.Duration
		}{
			"a GateError":              {&iamhttp.GateError{RetryAfter: time.Minute, Err: why}, time.Minute},
			"one with a negative wait": {&iamhttp.GateError{RetryAfter: -time.Minute, Err: why}, 0},
			"any other error":          {why, 0},
			"a nil *GateError":         {(*iamhttp.GateError)(nil), 0},
			"a context's error, though the context goes on": {context.Canceled, 0},
		} {
			t.Run(name, func(t *testing.T) {
				g := &scriptedGate{wait: func(context.Context, string, int) (iamhttp.Ticket, error) { return 0, tt.err }}
				var reported []*iamhttp.StatusError
				tr := &iamhttp.Transport{Base: script(), Gate: g, PassThrough: passThrough,
					OnFailure: func(_ context.Context, e *iamhttp.StatusError, wait time.Duration) {
						assert.Zero(t, wait)
						reported = append(reported, e)
					}}
				ctx, rec := iamhttp.WithRecorder(t.Context())
				req := newRequest(t, "POST", "body").WithContext(ctx)
				body := watch(strings.NewReader("body"))
				req.Body = body
				_, err := tr.RoundTrip(req)
				e := statusError(t, err)
				assert.Equal(t, iamhttp.ErrTooManyRequests, e.Code)
				assert.Equal(t, iamhttp.StopGate, e.Stop)
				assert.Zero(t, e.Attempts)
				assert.Equal(t, tt.retryAfter, e.RetryAfter)
				assert.Equal(t, "POST", e.Method)
				assert.Equal(t, "https://iam.example/v3/users", e.URL)
				assert.Equal(t, tt.err, e.Cause)
				assert.NotPanics(t, func() { _ = e.Error() + e.Cause.Error() })
				assert.Equal(t, []*iamhttp.StatusError{e}, reported)
				last, _ := rec.Last()
				assert.Same(t, e, last)
				assert.Empty(t, g.told, "nothing was let out")
				_, closes := body.counts()
				assert.Equal(t, 1, closes)
			})
		}
	})
}

func TestARefusalBeforeARepeatIsTheLastAnswersError(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		refusal := &iamhttp.GateError{RetryAfter: 5 * time.Second, Err: errors.New("not now")}
		g := &scriptedGate{wait: func(_ context.Context, _ string, resend int) (iamhttp.Ticket, error) {
			if resend > 0 {
				return 0, refusal
			}
			return 1, nil
		}}
		reports := 0
		tr := &iamhttp.Transport{Base: script(answer(429, keystoneBody, "Retry-After: 2")), Gate: g, PassThrough: passThrough,
			OnFailure: func(context.Context, *iamhttp.StatusError, time.Duration) { reports++ }}
		ctx, rec := iamhttp.WithRecorder(t.Context())
		req := newRequest(t, "POST", "body").WithContext(ctx)
		again := watch(strings.NewReader("body"))
		req.GetBody = func() (io.ReadCloser, error) { return again, nil }
		_, err := tr.RoundTrip(req)
		e := statusError(t, err)
		assert.Equal(t, iamhttp.StopGate, e.Stop)
		assert.Equal(t, 1, e.Attempts)
		assert.Equal(t, 5*time.Second, e.RetryAfter, "what is left, not what was asked")
		assert.Equal(t, "Could not find user: 0123456789abcdef0123456789abcdef.", e.Message)
		assert.ErrorIs(t, err, refusal)
		assert.Equal(t, 1, reports, "one answer, one report")
		last, _ := rec.Last()
		assert.Same(t, e, last)
		_, closes := again.counts()
		assert.Equal(t, 1, closes, "the body for the repeat")
	})
}

// The request that got no answer may have been processed: an error that says
// that nothing was sent, or tells of an answer before, would hide that.
func TestNotLetOutAfterAConnectionErrorKeepsThatError(t *testing.T) {
	broken := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	refusal := &iamhttp.GateError{Err: errors.New("not now")}
	for name, steps := range map[string][]step{
		"of the first send": {fail(broken)},
		"after a 429":       {answer(429, "", "Retry-After: 2"), fail(broken)},
	} {
		for end, want := range map[string]error{"refused": refusal, "canceled": context.Canceled} {
			t.Run(name+", "+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					g := &scriptedGate{wait: func(ctx context.Context, _ string, resend int) (iamhttp.Ticket, error) {
						if resend < len(steps) {
							return 1, nil
						}
						if end == "canceled" {
							cancel()
							return 0, ctx.Err()
						}
						return 0, refusal
					}}
					tr := &iamhttp.Transport{Base: script(steps...), Gate: g, RepeatConnectionErrors: true}
					_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
					assert.ErrorIs(t, err, syscall.ECONNRESET)
					assert.ErrorIs(t, err, want)
					_, ok := errors.AsType[*iamhttp.StatusError](err)
					assert.False(t, ok, err)
					cancel()
				})
			})
		}
	}
}

func TestCanceledInTheGate(t *testing.T) {
	cause := errors.New("the user left")
	for name, tt := range map[string]struct {
		resends int
		steps   []step
	}{
		"before the first send there is no StatusError": {0, nil},
		"before a repeat it is the last answer's":       {1, []step{answer(429, "", "Retry-After: 2")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				g := &scriptedGate{wait: func(ctx context.Context, _ string, resend int) (iamhttp.Ticket, error) {
					if resend < tt.resends {
						return 1, nil
					}
					<-ctx.Done()
					return 0, ctx.Err()
				}}
				time.AfterFunc(time.Second, func() { cancel(cause) })
				_, err := (&iamhttp.Transport{Base: script(tt.steps...), Gate: g}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, cause)
				e, ok := errors.AsType[*iamhttp.StatusError](err)
				assert.Equal(t, tt.resends > 0, ok)
				if ok {
					assert.Equal(t, iamhttp.StopCanceled, e.Stop)
					assert.Equal(t, tt.resends, e.Attempts)
				}
			})
		})
	}
}

func TestTheOldCancelChannelEndsTheWaitInTheGateToo(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"without a deadline": 0, "before the deadline": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(iamhttp.AdaptiveGate)
				ticket, err := g.Wait(t.Context(), "iam.example", 0)
				require.NoError(t, err)
				g.Observe("iam.example", ticket, true, 20*time.Second)
				req := newRequest(t, "GET", "")
				if timeout > 0 {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					req = req.WithContext(ctx)
				}
				cancel := make(chan struct{})
				//lint:ignore SA1019 that it works is what this tests
				req.Cancel = cancel
				time.AfterFunc(time.Second, func() { close(cancel) })
				start := time.Now()
				_, err = (&iamhttp.Transport{Base: script(), Gate: g}).RoundTrip(req)
				assert.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, time.Second, time.Since(start))
			})
		})
	}
}

// The gate sees a context of its own where a request has a Cancel channel.
func TestWithACancelChannelTheContextEndsTheWaitInTheGateAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(iamhttp.AdaptiveGate)
		throttle(t, g, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		req := newRequest(t, "GET", "").WithContext(ctx)
		//lint:ignore SA1019 that it works is what this tests
		req.Cancel = make(chan struct{})
		time.AfterFunc(time.Second, cancel)
		_, err := (&iamhttp.Transport{Base: script(), Gate: g, GateKey: ofAccount}).RoundTrip(req)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func ofAccount(*http.Request) string { return account }

func TestACancelChannelLeavesNoGoroutineBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if one is left
		g := new(iamhttp.AdaptiveGate)
		throttle(t, g, time.Minute)
		req := newRequest(t, "GET", "").WithContext(context.Background())
		//lint:ignore SA1019 that it works is what this tests
		req.Cancel = make(chan struct{})
		resp, err := (&iamhttp.Transport{Base: script(answer(200, "")), Gate: g, GateKey: ofAccount}).RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
	})
}

func TestGateKeyNamesTheAccount(t *testing.T) {
	for name, tt := range map[string]struct {
		gateKey func(*http.Request) string
		want    string
	}{
		"the host by default": {nil, "iam.example"},
		"or what it says":     {func(r *http.Request) string { return "account " + r.Header.Get("X-Account") }, "account 7"},
	} {
		t.Run(name, func(t *testing.T) {
			g := new(scriptedGate)
			req := newRequest(t, "GET", "")
			req.Header.Set("X-Account", "7")
			resp, err := (&iamhttp.Transport{Base: script(answer(200, "")), Gate: g, GateKey: tt.gateKey}).RoundTrip(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, tt.want, g.told[0].key)
		})
	}
}

func TestAGateKeyThatFailsIsAClearErrorAndNothingIsSent(t *testing.T) {
	for name, tt := range map[string]struct {
		gateKey func(*http.Request) string
		want    string
	}{
		"there is no URL to take it from": {nil, "iam: the request has no URL"},
		"it panics":                       {func(*http.Request) string { panic("no account") }, "iam: GateKey panicked: no account"},
		"it says nothing":                 {func(*http.Request) string { return "" }, "iam: GateKey returned no key: it has to name the account whose limit the request counts against"},
	} {
		t.Run(name, func(t *testing.T) {
			g := new(scriptedGate)
			req := newRequest(t, "POST", "body")
			if tt.gateKey == nil {
				req.URL = nil
			}
			body := watch(strings.NewReader("body"))
			req.Body = body
			_, err := (&iamhttp.Transport{Base: script(), Gate: g, GateKey: tt.gateKey}).RoundTrip(req)
			assert.EqualError(t, err, tt.want)
			assert.Empty(t, g.resends)
			_, closes := body.counts()
			assert.Equal(t, 1, closes)
		})
	}
}

func TestGateErrorSaysWhyAndWhenToComeBack(t *testing.T) {
	why := errors.New("the pause is long")
	for want, e := range map[string]*iamhttp.GateError{
		"iam: refused by the gate":                                      nil,
		"iam: refused by the gate: the pause is long":                   {Err: why},
		"iam: refused by the gate: the pause is long, may leave in 3s":  {RetryAfter: 3 * time.Second, Err: why},
		"iam: refused by the gate: the pause is long, may leave in 1ns": {RetryAfter: 1, Err: why},
	} {
		assert.Equal(t, want, e.Error())
	}
	assert.ErrorIs(t, &iamhttp.GateError{Err: why}, why)
}

func TestAGateAddsNoAllocationToASuccess(t *testing.T) {
	for name, req := range map[string]*http.Request{
		"GET":  newRequest(t, "GET", ""),
		"POST": newRequest(t, "POST", "body"),
	} {
		t.Run(name, func(t *testing.T) {
			base := fixedAnswers(nil, "", 200)
			floor := allocs(t, base, req)
			assert.Equal(t, floor, allocs(t, &iamhttp.Transport{Base: base, Gate: new(iamhttp.AdaptiveGate)}, req))
		})
	}
}
