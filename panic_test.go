package iamhttp_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// observing is a gate whose Observe panics.
type observing struct{ scriptedGate }

func (*observing) Observe(gate.Request, gate.Ticket, gate.Outcome) { panic("observe") }

func TestPanicInTheCallersCodeClosesTheResponseBody(t *testing.T) {
	tell := func(context.Context, iamhttp.Failure) { panic("x") }
	for name, tt := range map[string]struct {
		tr   *iamhttp.Transport
		code int
	}{
		"in OnFailure":                           {&iamhttp.Transport{OnFailure: tell}, 403},
		"in OnFailure, with PassThrough":         {&iamhttp.Transport{OnFailure: tell, PassThrough: true}, 403},
		"in OnFailure, before a retry":           {&iamhttp.Transport{OnFailure: tell}, 429},
		"in Backoff":                             {&iamhttp.Transport{Backoff: func() backoff.BackOff { panic("x") }}, 429},
		"in the gate's Observe, after a success": {&iamhttp.Transport{Gate: new(observing)}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := watch(strings.NewReader("text"))
				tr := *tt.tr
				tr.Base = answers(response(nil, tt.code, body, -1))
				assert.Panics(t, func() { _, _ = tr.RoundTrip(newRequest(t, "GET", "")) })
				_, closes := body.counts()
				assert.Equal(t, 1, closes)
			})
		})
	}
}

// A body that net/http inflates is read in another goroutine, where a panic would end the
// process.
func TestPanicInTheBodyOfAResponseReachesTheCaller(t *testing.T) {
	for name, code := range map[string]int{"a final response": 403, "a response before a retry": 429} {
		for _, inflated := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", inflated ", inflated), func(t *testing.T) {
				modes(t, func(t *testing.T, passThrough bool) {
					body := watch(broken{})
					resp := response(nil, code, body, -1)
					resp.Uncompressed = inflated
					tr := &iamhttp.Transport{Base: answers(resp), PassThrough: passThrough, OnFailure: func(context.Context, iamhttp.Failure) {}}
					assert.PanicsWithValue(t, "read", func() { _, _ = tr.RoundTrip(newRequest(t, "GET", "")) })
					_, closes := body.counts()
					assert.Positive(t, closes)
				})
			})
		}
	}
}

// broken is the text of a body whose Read panics.
type broken struct{}

func (broken) Read([]byte) (int, error) { panic("read") }

func TestWaitThatOverflowsStopsTheCallBeforeTheDeadline(t *testing.T) {
	for name, tr := range map[string]*iamhttp.Transport{
		"Retry-After":             {Base: script(slowly(answer(429, "", "Retry-After: 99999999999999999999")))},
		"Backoff":                 {Base: script(slowly(answer(429, ""))), Backoff: constant(1<<63 - 1)},
		"Retry-After with a gate": {Base: script(slowly(answer(429, "", "Retry-After: 99999999999999999999"))), Gate: new(scriptedGate)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				assert.Equal(t, iamhttp.StopDeadline, statusError(t, err).Stop)
				assert.Equal(t, 2*time.Second, time.Since(start), "the call must end with the first response")
			})
		})
	}
}

func TestRateLimitHeadersThatDoNotExplainTheFailureDoNotDelayTheRetry(t *testing.T) {
	for name, first := range map[string]step{
		"a 408 with rate limit headers":              answer(408, "", "X-Ratelimit-Limit: 5000", "X-Ratelimit-Remaining: 4999", "X-Ratelimit-Reset: 3000"),
		"a 429 although requests remain":             answer(429, "", "X-Ratelimit-Limit: 5000", "X-Ratelimit-Remaining: 4999", "X-Ratelimit-Reset: 3000"),
		"a 502 in AlsoRetry with a RateLimit header": answer(502, "", `RateLimit: "default";r=4999;t=3000`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				tr := &iamhttp.Transport{Base: script(first, answer(200, "")), Backoff: constant(time.Second), AlsoRetry: []iamhttp.Code{502}}
				resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
				if assert.NoError(t, err) {
					resp.Body.Close()
				}
				assert.Equal(t, time.Second, time.Since(start))
			})
		})
	}
}

func TestPolicyNameCannotForgeTheErrorText(t *testing.T) {
	e := iamhttp.NewStatusError(429, http.Header{
		"Ratelimit":        {`"po) evil, sent 9 times: (x";r=0;t=30`},
		"Ratelimit-Policy": {`"po) evil, sent 9 times: (x";q=1;w=5`},
	}, nil)
	assert.EqualError(t, e, "iamhttp: 429 TooManyRequests (limit 1 per 5s new in 30s)")
}

// A nil *StatusError that is returned as an error is not nil. This is an old mistake in Go.
func TestNilPointerAsAnErrorDoesNotPanic(t *testing.T) {
	var status *iamhttp.StatusError
	var notSent *iamhttp.NotSentError
	var refused *gate.Error
	var other *url.Error
	modes(t, func(t *testing.T, passThrough bool) {
		for name, err := range map[string]error{
			"a StatusError":           status,
			"a NotSentError":          notSent,
			"an error of the gate":    refused,
			"an error of net/http":    other,
			"a StatusError in errors": fmt.Errorf("outer: %w", &url.Error{Op: "Get", URL: "x", Err: status}),
			"errors, one of them nil": errors.Join(errors.New("broken"), notSent),
		} {
			want := "iamhttp: Base returned a nil pointer as an error"
			for _, body := range []*watchedBody{nil, watch(strings.NewReader(""))} {
				sends := 0
				ctx, rec := iamhttp.WithRecorder(t.Context())
				var log strings.Builder
				tr := &iamhttp.Transport{
					RetryConnectionErrors: true, PassThrough: passThrough, Backoff: zero, Gate: new(scriptedGate),
					OnFailure: iamhttp.LogFailures(slog.New(slog.NewTextHandler(&log, nil))),
					Base: roundTripper(func(req *http.Request) (*http.Response, error) {
						sends++
						if body != nil {
							return response(req, 200, body, 0), err
						}
						return nil, err
					}),
				}
				_, got := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				require.ErrorContains(t, got, want, name)
				assert.Equal(t, 1, sends, name)
				assert.Contains(t, log.String(), "stop=\"not retryable\"", name)
				assert.Same(t, got, rec.Wrap(got), name)
				if body != nil {
					_, closes := body.counts()
					assert.Equal(t, 1, closes, name)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				asked := &scriptedGate{wait: func(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
					<-ctx.Done() // until the signature expires
					return 0, err
				}}
				_, got := (&iamhttp.Transport{Gate: asked, Base: script(answer(200, ""))}).RoundTrip(signedAbove(t, "GET", ""))
				assert.ErrorContains(t, got, "iamhttp: gate: nil pointer as an error", name)
				assert.ErrorIs(t, got, iamhttp.ErrTooManyRequests, name)
			})
		}
	})
	for _, err := range []error{status, notSent} {
		_, answered := iamhttp.Failure{Err: err}.Status()
		assert.False(t, answered)
		d, ok := iamhttp.RetryAfter(err)
		assert.Zero(t, d)
		assert.False(t, ok)
		assert.NotErrorIs(t, err, iamhttp.ErrNotFound)
		assert.NotErrorIs(t, err, iamhttp.ReasonThrottled)
		ctx, rec := iamhttp.WithRecorder(t.Context())
		_, failed := (&iamhttp.Transport{Base: script(answer(404, ""))}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		require.ErrorIs(t, failed, iamhttp.ErrNotFound)
		assert.ErrorIs(t, rec.Wrap(err), iamhttp.ErrNotFound)
	}
}
