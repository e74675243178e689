package iamhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// observed holds the arguments of one call to Observe.
type observed struct {
	key     string
	ticket  gate.Ticket
	outcome gate.Outcome
}

// scriptedGate is a Gate whose Wait calls the function wait. If wait is nil, Wait returns
// the tickets 101, 102 and so on. The gate records all calls to Wait and Observe.
type scriptedGate struct {
	wait func(ctx context.Context, r gate.Request) (gate.Ticket, error)

	mu    sync.Mutex
	asked []gate.Request
	told  []observed
}

func (g *scriptedGate) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	g.mu.Lock()
	g.asked = append(g.asked, r)
	n := len(g.asked)
	g.mu.Unlock()
	if g.wait != nil {
		return g.wait(ctx, r)
	}
	return gate.Ticket(100 + n), nil
}

func (g *scriptedGate) Observe(r gate.Request, t gate.Ticket, o gate.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = append(g.told, observed{r.Key, t, o})
}

// resends returns the resend counts that were passed to Wait, in order.
func (g *scriptedGate) resends() (n []int) {
	for _, r := range g.asked {
		n = append(n, r.Resend)
	}
	return n
}

func TestEachAttemptIsReportedToTheGateOnce(t *testing.T) {
	broken := errors.New("connection reset")
	accepted, unknown := gate.Outcome{Result: gate.Accepted}, gate.Outcome{}
	throttled := func(d time.Duration) gate.Outcome { return gate.Outcome{Result: gate.Throttled, RetryAfter: d} }
	for name, tt := range map[string]struct {
		steps []step
		set   func(*iamhttp.Transport)
		want  []gate.Outcome
	}{
		"a success":                              {[]step{answer(200, "")}, nil, []gate.Outcome{accepted}},
		"a 304":                                  {[]step{answer(304, "")}, nil, []gate.Outcome{accepted}},
		"a 429 with Retry-After, then a success": {[]step{answer(429, "", "Retry-After: 7"), answer(200, "")}, nil, []gate.Outcome{throttled(7 * time.Second), accepted}},
		"a 429 without Retry-After, then a success": {[]step{answer(429, ""), answer(200, "")}, nil, []gate.Outcome{throttled(0), accepted}},
		"a 408, then a 404":                         {[]step{answer(408, ""), answer(404, "", "Retry-After: 9")}, nil, []gate.Outcome{accepted, accepted}},
		"a 503 with Retry-After":                    {[]step{answer(503, "", "Retry-After: 9")}, nil, []gate.Outcome{unknown}},
		"an expected 429": {[]step{answer(429, "", "Retry-After: 7")},
			func(t *iamhttp.Transport) { t.Expected = []iamhttp.Code{429} }, []gate.Outcome{unknown}},
		"no response":                          {[]step{fail(broken)}, nil, []gate.Outcome{unknown}},
		"a 429 returned by an inner Transport": {[]step{fail(fromBelow(2, iamhttp.StopAttempts))}, nil, []gate.Outcome{throttled(5 * time.Second)}},
		"a request refused by an inner gate":   {[]step{fail(&iamhttp.NotSentError{Err: gate.ErrPaused})}, nil, []gate.Outcome{{Result: gate.NotSent}}},
		"a 429 on the token request of an inner RoundTripper": {[]step{fail(&iamhttp.StatusError{Code: 429, Method: "POST", URL: "https://iam.example/v3/auth/tokens", Attempts: 1})},
			nil, []gate.Outcome{unknown}},
		"a proxy's 403, which the service never saw": {[]step{fail(connectRefusal(403))}, nil, []gate.Outcome{unknown}},
		"a proxy's 429": {[]step{fail(connectRefusal(429, "Retry-After: 3")), answer(200, "")}, nil, []gate.Outcome{throttled(3 * time.Second), accepted}},
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
				var want []observed
				for i, o := range tt.want {
					want = append(want, observed{"iam.example", gate.Ticket(101 + i), o})
				}
				assert.Equal(t, want, g.told)
			})
		})
	}
}

func TestResponseThatAsksForAWaitIsReportedAsThrottledIfAlsoRetryListsItsCode(t *testing.T) {
	throttled := gate.Outcome{Result: gate.Throttled, RetryAfter: 7 * time.Second}
	stated := gate.Outcome{Result: gate.Throttled, Limit: gate.Limit{Reset: 7 * time.Second}}
	for name, tt := range map[string]struct {
		code   int
		method string
		header []string
		want   gate.Outcome
	}{
		"a 503":                              {503, "GET", []string{"Retry-After: 7"}, throttled},
		"a 403":                              {403, "GET", []string{"Retry-After: 7"}, throttled},
		"a 503 on a POST":                    {503, "POST", []string{"Retry-After: 7"}, throttled},
		"a 503 without Retry-After":          {503, "GET", nil, gate.Outcome{}},
		"a 403 without Retry-After":          {403, "GET", nil, gate.Outcome{Result: gate.Accepted}},
		"an unlisted 502":                    {502, "GET", []string{"Retry-After: 7"}, gate.Outcome{}},
		"a 498 with X-Retry-After":           {498, "GET", []string{"X-Retry-After: 7"}, stated},
		"a 503 with X-RateLimit-Retry-After": {503, "GET", []string{"X-RateLimit-Retry-After: 7"}, stated},
		"a 498 with both":                    {498, "GET", []string{"X-Retry-After: 8", "Retry-After: 7"}, gate.Outcome{Result: gate.Throttled, RetryAfter: 7 * time.Second, Limit: gate.Limit{Reset: 8 * time.Second}}},
		"a 503 with X-Retry-After: 0":        {503, "GET", []string{"X-Retry-After: 0"}, gate.Outcome{}},
		"a 503 with a limit's headers":       {503, "GET", []string{"X-RateLimit-Limit: 60", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 7"}, gate.Outcome{}},
		"an unlisted 502 with X-Retry-After": {502, "GET", []string{"X-Retry-After: 7"}, gate.Outcome{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(scriptedGate)
				tr := &iamhttp.Transport{Base: script(answer(tt.code, "", tt.header...), answer(200, "")), Gate: g, AlsoRetry: []iamhttp.Code{503, 403, 498}, Backoff: zero}
				start := time.Now()
				_, _ = tr.RoundTrip(newRequest(t, tt.method, ""))
				assert.Equal(t, tt.want, g.told[0].outcome)
				assert.Zero(t, time.Since(start), "the Transport must not wait")
			})
		})
	}
}

// fromBelow returns an inner Transport's error for a 429.
func fromBelow(attempts int, stop iamhttp.StopReason) error {
	return &iamhttp.StatusError{Code: 429, Method: "GET", URL: "https://iam.example/v3/users", RetryAfter: 5 * time.Second, Attempts: attempts, Stop: stop}
}

// connectRefusal returns CheckProxyConnect's error for a proxy's response.
func connectRefusal(code int, header ...string) error {
	resp := response(nil, code, http.NoBody, 0, header...)
	return iamhttp.CheckProxyConnect(context.Background(), nil, nil, resp)
}

func TestAttemptWhoseBasePanicsIsReportedToTheGate(t *testing.T) {
	g := new(scriptedGate)
	tr := &iamhttp.Transport{Gate: g, Base: script(func(*http.Request) (*http.Response, error) { panic("base") })}
	assert.Panics(t, func() { _, _ = tr.RoundTrip(newRequest(t, "GET", "")) })
	assert.Len(t, g.told, 1)
}

func TestTransportLeavesTheWaitsAfterTheFirst429sToTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(scriptedGate)
		base := script(answer(429, "", "Retry-After: 60"), answer(429, ""), answer(200, ""))
		start := time.Now()
		resp, err := (&iamhttp.Transport{Base: base, Gate: g}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Zero(t, time.Since(start), "this gate never waits, so the Transport must not wait either")
		assert.Equal(t, []int{0, 1, 2}, g.resends())
	})
}

func TestMaxWaitStopsTheCallButTheGateStaysPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
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

func TestPanicInWaitOrGateKeyClosesTheBodyAndPropagates(t *testing.T) {
	for name, tr := range map[string]*iamhttp.Transport{
		"in Wait":    {Gate: &scriptedGate{wait: func(context.Context, gate.Request) (gate.Ticket, error) { panic("x") }}},
		"in GateKey": {Gate: new(scriptedGate), GateKey: func(*http.Request) string { panic("x") }},
	} {
		t.Run(name, func(t *testing.T) {
			req := newRequest(t, "POST", "body")
			body := watch(strings.NewReader("body"))
			req.Body = body
			assert.PanicsWithValue(t, "x", func() { _, _ = tr.RoundTrip(req) })
			_, closes := body.counts()
			assert.Equal(t, 1, closes)
		})
	}
}

func TestGateCanDeriveContextsUnderClientTimeout(t *testing.T) {
	kept := make(chan context.Context, 1)
	g := &scriptedGate{wait: func(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
		inner, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		keeps, leave := context.WithCancel(ctx) // a gate is allowed to keep a derived context after Wait returns
		t.Cleanup(leave)
		kept <- keeps
		return 1, inner.Err()
	}}
	service := httptest.NewServer(http.NotFoundHandler())
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Gate: g}, Timeout: time.Minute}
	_, err := client.Get(service.URL)
	assert.ErrorIs(t, err, iamhttp.ErrNotFound)
	left := <-kept
	<-left.Done()
	assert.ErrorIs(t, left.Err(), context.Canceled, "the derived context must be canceled before the timeout expires")
}

func TestRequestRefusedByTheGateFailsWithANotSentError(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		why := errors.New("the gate's own reason")
		for name, tt := range map[string]struct {
			err        error
			retryAfter time.Duration
			text       string
		}{
			"a gate.Error":                                      {&gate.Error{RetryAfter: time.Minute, Err: why}, time.Minute, "iamhttp: gate: the gate's own reason; earliest in 1m0s"},
			"a gate.Error with a negative wait":                 {&gate.Error{RetryAfter: -time.Minute, Err: why}, 0, "iamhttp: gate: the gate's own reason"},
			"any other error":                                   {why, 0, "iamhttp: gate: the gate's own reason"},
			"a long error text on two lines":                    {errors.New("a\nb" + strings.Repeat("c", 300)), 0, "iamhttp: gate: a b" + strings.Repeat("c", 197)},
			"context.Canceled although the context is not done": {context.Canceled, 0, "iamhttp: gate: context canceled"},
		} {
			t.Run(name, func(t *testing.T) {
				g := &scriptedGate{wait: func(context.Context, gate.Request) (gate.Ticket, error) { return 0, tt.err }}
				var reported []iamhttp.Failure
				tr := &iamhttp.Transport{Base: script(), Gate: g, PassThrough: passThrough,
					OnFailure: func(_ context.Context, f iamhttp.Failure) { reported = append(reported, f) }}
				ctx, rec := iamhttp.WithRecorder(t.Context())
				req := newRequest(t, "POST", "body").WithContext(ctx)
				body := watch(strings.NewReader("body"))
				req.Body = body
				_, err := tr.RoundTrip(req)
				var e *iamhttp.NotSentError
				require.ErrorAs(t, err, &e)
				assert.NotErrorAs(t, err, new(*iamhttp.StatusError), "without a response there must not be a StatusError")
				assert.ErrorIs(t, err, iamhttp.ErrTooManyRequests)
				assert.ErrorIs(t, err, iamhttp.ReasonThrottled)
				assert.ErrorIs(t, err, tt.err)
				var code iamhttp.Code
				require.ErrorAs(t, err, &code)
				assert.Equal(t, iamhttp.ErrTooManyRequests, code)
				assert.EqualError(t, err, tt.text)
				assert.Equal(t, tt.retryAfter, e.RetryAfter)
				wait, ok := iamhttp.RetryAfter(err)
				assert.Equal(t, tt.retryAfter, wait)
				assert.Equal(t, tt.retryAfter > 0, ok)
				assert.Equal(t, "POST", e.Method)
				assert.Equal(t, "https://iam.example/v3/users", e.URL)
				assert.False(t, e.RetryableError())
				assert.Equal(t, []iamhttp.Failure{{Err: e, Method: "POST", URL: e.URL, Stop: iamhttp.StopGate}}, reported)
				_, ok = rec.Last()
				assert.False(t, ok, "Last must not return a StatusError, because there was no response")
				assert.ErrorIs(t, rec.Wrap(errors.New("sdk: failed")), iamhttp.ErrTooManyRequests)
				assert.Empty(t, g.told, "Observe must not be called after Wait has failed")
				_, closes := body.counts()
				assert.Equal(t, 1, closes)
			})
		}
	})
}

func TestRetryRefusedByTheGateReturnsTheStatusErrorOfTheLastResponse(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		refusal := &gate.Error{RetryAfter: 5 * time.Second, Err: errors.New("not now")}
		g := &scriptedGate{wait: func(_ context.Context, r gate.Request) (gate.Ticket, error) {
			if r.Resend > 0 {
				return 0, refusal
			}
			return 1, nil
		}}
		var reports []iamhttp.Failure
		tr := &iamhttp.Transport{Base: script(answer(429, keystoneBody, "Retry-After: 2")), Gate: g, PassThrough: passThrough,
			OnFailure: func(_ context.Context, f iamhttp.Failure) { reports = append(reports, f) }}
		ctx, rec := iamhttp.WithRecorder(t.Context())
		req := newRequest(t, "POST", "body").WithContext(ctx)
		again := watch(strings.NewReader("body"))
		req.GetBody = func() (io.ReadCloser, error) { return again, nil }
		_, err := tr.RoundTrip(req)
		e := statusError(t, err)
		assert.Equal(t, iamhttp.StopGate, e.Stop)
		assert.Equal(t, 1, e.Attempts)
		assert.Equal(t, 5*time.Second, e.RetryAfter, "RetryAfter must come from the gate, not from the response")
		assert.Equal(t, "Could not find user: 0123456789abcdef0123456789abcdef.", e.Message)
		assert.ErrorIs(t, err, refusal)
		assert.EqualError(t, err, `iamhttp: 429 TooManyRequests: "Could not find user: 0123456789abcdef0123456789abcdef." (sent once: refused by the gate: not now; earliest in 5s)`)
		require.Len(t, reports, 2, "OnFailure must be called for the response and again for the gate's refusal")
		assert.True(t, reports[0].Retry)
		assert.Equal(t, iamhttp.Failure{Err: e, Method: "POST", URL: e.URL, Attempt: 1, Stop: iamhttp.StopGate}, reports[1])
		last, _ := rec.Last()
		assert.Same(t, e, last)
		_, closes := again.counts()
		assert.Equal(t, 1, closes, "the body of the unsent retry must be closed")
	})
}

// A request that got no response may have been processed. A NotSentError, or the
// StatusError of an earlier response, would suggest the opposite.
func TestGateRefusalAfterAConnectionErrorKeepsThatError(t *testing.T) {
	broken := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	refusal := &gate.Error{Err: errors.New("not now")}
	for name, steps := range map[string][]step{
		"on the first attempt":  {fail(broken)},
		"on the retry of a 429": {answer(429, "", "Retry-After: 2"), fail(broken)},
	} {
		for end, want := range map[string]error{"refused": refusal, "canceled": context.Canceled} {
			t.Run(name+", "+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					g := &scriptedGate{wait: func(ctx context.Context, r gate.Request) (gate.Ticket, error) {
						if r.Resend < len(steps) {
							return 1, nil
						}
						if end == "canceled" {
							cancel()
							return 0, ctx.Err()
						}
						return 0, refusal
					}}
					tr := &iamhttp.Transport{Base: script(steps...), Gate: g, RetryConnectionErrors: true}
					_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
					assert.ErrorIs(t, err, syscall.ECONNRESET)
					assert.ErrorIs(t, err, want)
					ok := errors.As(err, new(*iamhttp.StatusError))
					assert.False(t, ok, err)
					cancel()
				})
			})
		}
	}
}

func TestCancelEndsTheWaitInTheGate(t *testing.T) {
	cause := errors.New("the user left")
	for name, tt := range map[string]struct {
		resends int
		steps   []step
	}{
		"before the first attempt, without a StatusError":           {0, nil},
		"before a retry, with the StatusError of the last response": {1, []step{answer(429, "", "Retry-After: 2")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				g := &scriptedGate{wait: func(ctx context.Context, r gate.Request) (gate.Ticket, error) {
					if r.Resend < tt.resends {
						return 1, nil
					}
					<-ctx.Done()
					return 0, ctx.Err()
				}}
				time.AfterFunc(time.Second, func() { cancel(cause) })
				_, err := (&iamhttp.Transport{Base: script(tt.steps...), Gate: g}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, cause)
				var e *iamhttp.StatusError
				ok := errors.As(err, &e)
				assert.Equal(t, tt.resends > 0, ok)
				if ok {
					assert.Equal(t, iamhttp.StopCanceled, e.Stop)
					assert.Equal(t, tt.resends, e.Attempts)
				}
			})
		})
	}
}

func TestRequestCancelChannelEndsTheWaitInTheGate(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"without a deadline": 0, "with a deadline": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(gate.Adaptive)
				throttle(t, g, 20*time.Second)
				req := newRequest(t, "GET", "")
				if timeout > 0 {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					req = req.WithContext(ctx)
				}
				cancel := make(chan struct{})
				req.Cancel = cancel
				time.AfterFunc(time.Second, func() { close(cancel) })
				start := time.Now()
				_, err := (&iamhttp.Transport{Base: script(), Gate: g}).RoundTrip(req)
				assert.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, time.Second, time.Since(start))
			})
		})
	}
}

// For a request with a Cancel channel, the gate gets a derived context.
func TestContextOfARequestWithACancelChannelEndsTheWaitInTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		throttle(t, g, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		req := newRequest(t, "GET", "").WithContext(ctx)
		req.Cancel = make(chan struct{})
		time.AfterFunc(time.Second, cancel)
		_, err := (&iamhttp.Transport{Base: script(), Gate: g}).RoundTrip(req)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

// throttle reports a 429 for iam.example to g.
func throttle(t *testing.T, g gate.Gate, retryAfter time.Duration) {
	r := gate.Request{Key: "iam.example"}
	ticket, err := g.Wait(t.Context(), r)
	require.NoError(t, err)
	g.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: retryAfter})
}

func TestRequestCancelChannelLeaksNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left behind
		g := new(gate.Adaptive)
		throttle(t, g, time.Minute)
		req := newRequest(t, "GET", "").WithContext(context.Background())
		req.Cancel = make(chan struct{})
		resp, err := (&iamhttp.Transport{Base: script(answer(200, "")), Gate: g}).RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
	})
}

func TestGateKeyNamesTheAccount(t *testing.T) {
	header := func(r *http.Request) string { return "account " + r.Header.Get("X-Account") }
	for name, tt := range map[string]struct {
		url     string
		gateKey func(*http.Request) string
		want    string
	}{
		"the default is the host":                   {"https://iam.example/v3", nil, "iam.example"},
		"the host is lowercased":                    {"https://IAM.Example/v3", nil, "iam.example"},
		"the default port of https is dropped":      {"https://iam.example:443/v3", nil, "iam.example"},
		"the default port of http is dropped":       {"http://IAM.example:80/v3", nil, "iam.example"},
		"an empty port is dropped":                  {"https://iam.example:/v3", nil, "iam.example"},
		"the trailing dot of a host is dropped":     {"https://iam.example./v3", nil, "iam.example"},
		"the trailing dot before a port is dropped": {"https://iam.example.:8443/v3", nil, "iam.example:8443"},
		"another port is kept":                      {"https://iam.example:80/v3", nil, "iam.example:80"},
		"an IPv6 address without a port":            {"https://[2001:DB8::1]/v3", nil, "[2001:db8::1]"},
		"an IPv6 address with the default port":     {"https://[2001:db8::1]:443/v3", nil, "[2001:db8::1]"},
		"an IPv6 address with another port":         {"https://[2001:db8::1]:5000/v3", nil, "[2001:db8::1]:5000"},
		"GateKey overrides the host":                {"https://iam.example/v3", header, "account 7"},
	} {
		t.Run(name, func(t *testing.T) {
			g := new(scriptedGate)
			req := newRequest(t, "GET", "")
			var err error
			req.URL, err = url.Parse(tt.url)
			require.NoError(t, err)
			req.Header.Set("X-Account", "7")
			resp, err := (&iamhttp.Transport{Base: script(answer(200, "")), Gate: g, GateKey: tt.gateKey}).RoundTrip(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, tt.want, g.told[0].key)
		})
	}
}

func TestRequestWithoutAGateKeyFailsUnsent(t *testing.T) {
	for name, tt := range map[string]struct {
		url     *url.URL
		gateKey func(*http.Request) string
		want    string
	}{
		"the request has no URL":        {nil, nil, "iamhttp: the request has no URL"},
		"the request's URL has no host": {&url.URL{Scheme: "https", Path: "/v3"}, nil, "iamhttp: the request's URL has no host"},
		"GateKey returns an empty key":  {&url.URL{Scheme: "https", Host: "iam.example"}, func(*http.Request) string { return "" }, "iamhttp: GateKey returned an empty key"},
	} {
		t.Run(name, func(t *testing.T) {
			g := new(scriptedGate)
			req := newRequest(t, "POST", "body")
			req.URL = tt.url
			body := watch(strings.NewReader("body"))
			req.Body = body
			reports := 0
			_, err := (&iamhttp.Transport{Base: script(), Gate: g, GateKey: tt.gateKey,
				OnFailure: func(_ context.Context, f iamhttp.Failure) { reports++; assert.False(t, f.Retry) }}).RoundTrip(req)
			assert.EqualError(t, err, tt.want)
			assert.Equal(t, 1, reports)
			assert.Empty(t, g.asked)
			_, closes := body.counts()
			assert.Equal(t, 1, closes)
		})
	}
}

func TestGateIsAskedWithTheCallersMaxWait(t *testing.T) {
	for name, tt := range map[string]struct {
		maxWait time.Duration
		ctx     func(context.Context) context.Context
		want    time.Duration
	}{
		"default":             {0, nil, 2 * time.Minute},
		"MaxWait field":       {time.Second, nil, time.Second},
		"WithMaxWait":         {time.Second, func(ctx context.Context) context.Context { return iamhttp.WithMaxWait(ctx, time.Hour) }, time.Hour},
		"WithMaxWait of zero": {time.Second, func(ctx context.Context) context.Context { return iamhttp.WithMaxWait(ctx, 0) }, time.Second},
		"nested WithMaxWait":  {0, func(ctx context.Context) context.Context { return iamhttp.WithMaxWait(iamhttp.WithMaxWait(ctx, 1), 2) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := new(scriptedGate)
			req := newRequest(t, "GET", "")
			if tt.ctx != nil {
				req = req.WithContext(tt.ctx(req.Context()))
			}
			resp, err := (&iamhttp.Transport{Base: script(answer(200, "")), Gate: g, MaxWait: tt.maxWait}).RoundTrip(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, tt.want, g.asked[0].MaxWait)
		})
	}
}

func TestGateAddsNoAllocationToASuccess(t *testing.T) {
	for name, req := range map[string]*http.Request{
		"GET":  newRequest(t, "GET", ""),
		"POST": newRequest(t, "POST", "body"),
	} {
		t.Run(name, func(t *testing.T) {
			base := fixedAnswers(nil, "", 200)
			floor := allocs(t, base, req)
			assert.Equal(t, floor, allocs(t, &iamhttp.Transport{Base: base, Gate: new(gate.Adaptive)}, req))
		})
	}
}

func TestDuringAnOutageTheGateSendsOnlyAFewProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		var sent atomic.Int64
		base := script(func(req *http.Request) (*http.Response, error) {
			sent.Add(1)
			time.Sleep(10 * time.Millisecond)
			return response(req, 429, http.NoBody, 0, "Retry-After: 1"), nil
		})
		tr := &iamhttp.Transport{Base: base, Gate: g, MaxAttempts: 100}
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				assert.Error(t, err)
			})
		}
		wg.Wait()
		assert.Less(t, sent.Load(), int64(64+90), "the gate must send at most StartWindow requests, then a few probes, and soon only one per 8 s (8 times Retry-After)")
	})
}

func TestOnlyA429PausesTheGateByDefault(t *testing.T) {
	for _, code := range []int{400, 401, 403, 404, 409, 413, 500, 502, 503, 504} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &iamhttp.Transport{Base: script(answer(code, "", "Retry-After: 60")), Gate: new(gate.Adaptive), MaxAttempts: 1}
				start := time.Now()
				for range 10 {
					_, err := tr.RoundTrip(newRequest(t, "GET", ""))
					assert.Error(t, err)
				}
				assert.Zero(t, time.Since(start))
			})
		})
	}
}

// A gate probes early because other callers might be waiting. These probes must not make
// a lone caller use up its attempts much sooner than it would without a gate.
func TestGateDoesNotUseUpALoneCallersAttemptsMuchSooner(t *testing.T) {
	for name, header := range map[string][]string{"no Retry-After": nil, "Retry-After": {"Retry-After: 1"}} {
		for _, attempts := range []int{0, 3, 4, 20} {
			t.Run(fmt.Sprint(name, ", MaxAttempts ", attempts), func(t *testing.T) {
				lasts := make(map[bool]time.Duration)
				for _, gated := range []bool{false, true} {
					for range 50 {
						synctest.Test(t, func(t *testing.T) {
							tr := &iamhttp.Transport{Base: script(answer(429, "", header...)), MaxAttempts: attempts}
							if gated {
								tr.Gate = new(gate.Adaptive)
							}
							start := time.Now()
							_, err := tr.RoundTrip(newRequest(t, "GET", ""))
							assert.Equal(t, iamhttp.StopAttempts, statusError(t, err).Stop)
							lasts[gated] += time.Since(start) / 50
						})
					}
				}
				t.Logf("a call took %v on average without a gate, and %v with a gate", lasts[false], lasts[true])
				assert.GreaterOrEqual(t, lasts[true], lasts[false]*6/10)
			})
		}
	}
}
