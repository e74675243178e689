package iamhttp

import (
	"cmp"
	"context"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/iamhttp/iamhttp/internal/answer"
)

// ConfigureRetryable makes a go-retryablehttp client follow the same rules: it
// retries what a Transport retries, after the same waits, and returns a
// *StatusError for the failures. It sets CheckRetry, Backoff, ErrorHandler and
// RetryMax, and puts a counter for [ResendCount] in front of PrepareRetry. Call it
// once for a client.
//
// Expected, AlsoRetry, MaxAttempts, MaxWait, Backoff, WithExpected and WithMaxWait
// apply; PassThrough, OnFailure, RetryConnectionErrors, Gate, WithMaxAttempts and
// Recorder do not. Errors without an answer are never retried, nor is a POST that a
// redirect has answered. All else stays as go-retryablehttp does it: it buffers
// bodies, follows redirects inside, empties the connection pool after a failure,
// and returns the context's error alone from a canceled wait.
func (t *Transport) ConfigureRetryable(c *retryablehttp.Client) {
	c.RetryMax = t.maxAttempts() - 1
	c.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if err != nil || resp == nil || succeeded(resp.StatusCode) {
			return false, nil //nolint:nilerr // the client returns err itself
		}
		o := optionsOf(ctx)
		if t.expects(o, Code(resp.StatusCode)) {
			return false, nil
		}
		f := &failure{
			req:        requestOf(ctx, resp),
			answered:   true,
			code:       Code(resp.StatusCode),
			header:     resp.Header,
			resp:       resp,
			at:         time.Now(),
			attempts:   ResendCount(ctx) + 1,
			limit:      math.MaxInt, // RetryMax is the client's to apply
			maxWait:    cmp.Or(o.maxWait, t.maxWait()),
			replayable: true, // the client has buffered the body
		}
		f.asked, f.hasAsked = answer.RetryAfter(f.header, f.at)
		wait, stop := t.decide(f, func() time.Duration {
			// The client keeps no schedule, so each answer gets one of its own.
			s := t.newSchedule()
			for range f.attempts - 1 {
				s.NextBackOff()
			}
			return s.NextBackOff()
		})
		// The client would send the first request again, not the one that a
		// redirect to another method led to: the redirect has answered that.
		if first := firstRequest(resp); stop == StopUnset && first.Method != f.req.Method && !idempotent(first) {
			stop = StopNotRetryable
		}
		if stop != StopUnset {
			return false, f.final(stop)
		}
		// The client asks Backoff next, with this response and no context.
		resp.Body = &scheduledBody{resp.Body, f.at.Add(wait)}
		return true, nil
	}
	c.Backoff = func(lowest, _ time.Duration, _ int, resp *http.Response) time.Duration {
		if resp != nil {
			if b, ok := resp.Body.(*scheduledBody); ok {
				return max(time.Until(b.at), 0)
			}
		}
		return lowest // CheckRetry was replaced
	}
	c.ErrorHandler = func(resp *http.Response, err error, attempts int) (*http.Response, error) {
		if e, ok := err.(*StatusError); ok { // CheckRetry's own; one from below is wrapped
			e.Attempts = max(e.Attempts, attempts)
			return nil, e
		}
		if err != nil || resp == nil {
			return resp, err
		}
		ctx := context.Background()
		if resp.Request != nil {
			ctx = resp.Request.Context()
		}
		f := failure{req: requestOf(ctx, resp), answered: true, code: Code(resp.StatusCode), header: resp.Header, resp: resp, at: time.Now(), attempts: attempts}
		return nil, f.final(StopAttempts)
	}
	prepare := c.PrepareRetry
	c.PrepareRetry = func(req *http.Request) error {
		ctx := req.Context()
		*req = *req.WithContext(&resendContext{ctx, resend{count: ResendCount(ctx) + 1}})
		if prepare != nil {
			return prepare(req)
		}
		return nil
	}
}

// scheduledBody carries the time of the retry from CheckRetry to Backoff.
type scheduledBody struct {
	io.ReadCloser
	at time.Time
}

// firstRequest returns the request that resp answers, or that the redirects
// to it began with.
func firstRequest(resp *http.Response) *http.Request {
	for r := resp.Request; r != nil; r = r.Response.Request {
		if r.Response == nil {
			return r
		}
	}
	return new(http.Request)
}

// requestOf returns the request that resp answers, under the context of the
// whole call instead of that of the single attempt.
func requestOf(ctx context.Context, resp *http.Response) *http.Request {
	req := new(http.Request)
	if resp.Request != nil {
		*req = *resp.Request
	}
	// http.Client sets it for its Timeout, which bounds one attempt.
	req.Cancel = nil
	return req.WithContext(ctx)
}
