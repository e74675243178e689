package iamhttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/iamhttp/iamhttp/internal/answer"
	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/chain"
	"github.com/iamhttp/iamhttp/internal/note"
	"github.com/iamhttp/iamhttp/internal/resend"
)

// ConfigureRetryable makes a go-retryablehttp client follow t's rules: it retries what t
// would retry, after the same waits, and returns failures as a *StatusError. Call it once
// per client: it sets CheckRetry, Backoff, ErrorHandler and RetryMax, and wraps
// PrepareRetry and RequestLogHook. Set your own before, because one that you set later
// replaces ours: without both, attempts are not counted, so only RetryMax and the context's
// deadline limit them, and ResendCount is always 0; the waits still grow, from 1 s on. If you
// replace CheckRetry, set MaxAttempts or RetryMax, too: otherwise, RetryMax is so large that
// without a deadline, a call may never end.
//
// Only Expected, AlsoRetry, MaxAttempts, MaxWait, Backoff, a Recorder and the settings in
// a context apply; WithMaxAttempts cannot raise a MaxAttempts that is set, and Backoff is
// called for each retry, not once per call. Errors without a response are never retried,
// nor is a non-idempotent request, such as a POST, that a redirect turned into a GET.
// Hooks and response handlers see as much of a failure's body as the *StatusError holds.
// The client may replace a request's context, so do not send one request concurrently.
// If a handler or PrepareRetry fails too, the error wraps both. Otherwise the client works
// as before: it buffers bodies, follows redirects itself, empties the connection pool after
// failures, and returns only the context's error from a canceled wait.
func (t *Transport) ConfigureRetryable(c *retryablehttp.Client) {
	c.RetryMax = cmp.Or(max(t.MaxAttempts, 0), math.MaxInt32) - 1
	c.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		v := note.Get[*verdict](resp)
		if v != nil && v.err.Attempts != resend.Count(ctx)+1 {
			v = nil // the verdict is for an earlier attempt that got the same *http.Response
		}
		if v == nil {
			resend.Arrived(ctx)
		}
		if v == nil && err == nil && resp != nil {
			v = t.judge(t.answer(ctx, resp, c.RetryMax), c)
		}
		var f Failure
		if v != nil {
			f = Failure{Err: v.err}
		}
		optionsOf(ctx).recorder.record(f)
		switch {
		case v == nil: // no response, a redirect that failed, or not a failure
			return false, nil
		case err != nil: // the error is from the response handler, which is called between two checks
			return false, fmt.Errorf("%w: %w", v.err, err)
		case v.err.Stop == StopUnset:
			return true, nil
		}
		return false, v.err
	}
	c.Backoff = func(lowest, highest time.Duration, retry int, resp *http.Response) time.Duration {
		if v := note.Get[*verdict](resp); v != nil && v.err.Stop == StopUnset {
			wait := max(time.Until(v.retryAt), 0)
			if retry >= v.err.Attempts { // the count was lost, because other hooks have replaced ours
				ctx := resp.Request.Context()
				wait = max(wait, manyAttempts, min(t.intervalAfter(retry+1), t.patience(ctx, optionsOf(ctx)).maxWait))
			}
			return wait
		}
		return retryablehttp.DefaultBackoff(lowest, highest, retry, resp) // a CheckRetry other than ours asked for the retry
	}
	c.ErrorHandler = func(resp *http.Response, err error, attempts int) (*http.Response, error) {
		if resp == nil {
			return nil, err
		}
		defer bounded.Close(resp)
		v := note.Get[*verdict](resp)
		switch {
		case v == nil && err != nil: // there is no verdict after another CheckRetry, a success or a redirect that failed
			return nil, err
		case v == nil:
			e, _ := t.answer(note.Request(resp).Context(), resp, c.RetryMax).final(StopAttempts)
			v = &verdict{err: e}
		}
		final := v.giveUp(attempts, err == nil)
		switch {
		case err == nil, err == error(v.err):
			return nil, final
		case errors.Is(err, v.err): // a CheckRetry wraps ours
			return nil, &fuller{err, final}
		}
		return nil, fmt.Errorf("%w: %w", final, err) // the error is from PrepareRetry, or from a CheckRetry that hides ours
	}
	prepare, hook := c.PrepareRetry, c.RequestLogHook
	if prepare == nil {
		prepare = func(*http.Request) error { return nil }
	}
	if hook == nil {
		hook = func(retryablehttp.Logger, *http.Request, int) {}
	}
	c.PrepareRetry = func(req *http.Request) error {
		return resend.Next(req, func() error { return prepare(req) })
	}
	c.RequestLogHook = func(l retryablehttp.Logger, req *http.Request, retry int) {
		optionsOf(req.Context()).recorder.record(Failure{}) // in case the attempt panics
		resend.Start(req, retry, func() { hook(l, req, retry) })
	}
}

// A verdict is CheckRetry's decision about a failing response. It is stored with the
// response, where Backoff, ErrorHandler and a second CheckRetry find it.
type verdict struct {
	err      *StatusError // Stop is StopUnset if the request is to be sent again
	retryAt  time.Time
	recorder *Recorder // the Recorder that holds err; nil: none
}

// giveUp returns the final error, which also holds what only the client knows: the number
// of attempts, and that RetryMax is used up. It does not change v.err, which the Recorder
// may have handed out already.
func (v *verdict) giveUp(attempts int, usedUp bool) *StatusError {
	final := *v.err
	final.Attempts = max(final.Attempts, attempts)
	if usedUp {
		final.Stop = StopAttempts
	}
	if final.Attempts == v.err.Attempts && final.Stop == v.err.Stop {
		return v.err
	}
	v.recorder.record(Failure{Err: &final})
	return &final
}

// judge applies the rules to a response. It closes the body of a failure and replaces the
// body with the part that was read. It returns nil if the response is not a failure.
func (t *Transport) judge(f *failedAttempt, c *retryablehttp.Client) *verdict {
	if succeeded(int(f.code)) || t.expects(optionsOf(f.req.Context()), f.code) {
		return nil
	}
	wait, stop := t.decide(f, func() time.Duration { return t.intervalAfter(f.attempts) })
	// The client retries the first request, not the request that a redirect led to, whose
	// method may differ. Since the redirect was the response to the first request, the
	// service may have carried out that first request.
	first := f.req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	if stop == StopUnset && first.Method != f.req.Method && !resend.Idempotent(first) {
		stop = StopNotRetryable
	}
	f.header = f.header.Clone() // hooks may change the response's header
	e, stuck := f.final(stop)
	if stuck && stop == StopUnset && chain.MayLimitConns((&Transport{Base: c.HTTPClient.Transport}).base()) {
		e.Stop, e.Cause = StopWaitTooLong, errStuck
	}
	v := &verdict{err: e, recorder: optionsOf(f.req.Context()).recorder}
	if stop == StopUnset && !f.hasAsked && t.throttled(f.code, 0, f.header) {
		wait = f.statedWait(wait, v.err.Body())
	}
	v.retryAt = f.at.Add(wait)
	f.resp.Body = bounded.Again(v.err.Body(), v.err.Truncated)
	note.Put(f.resp, v)
	return v
}

// intervalAfter returns the schedule's interval after a number of attempts. The client does
// not keep a schedule, so each decision creates a new one and skips the earlier intervals.
func (t *Transport) intervalAfter(attempts int) time.Duration {
	s := t.newSchedule()
	for range attempts - 1 {
		s.NextBackOff()
	}
	return s.NextBackOff()
}

// answer collects what the rules need to know about a response. In the result, the
// request has the context ctx and no Cancel channel.
func (t *Transport) answer(ctx context.Context, resp *http.Response, retryMax int) *failedAttempt {
	req := note.Request(resp).WithContext(ctx)
	//lint:ignore SA1019 http.Client sets Cancel for its Timeout, which here limits one attempt
	req.Cancel = nil
	f := &failedAttempt{
		req: req, resp: resp, at: time.Now(),
		answered: true, code: Code(resp.StatusCode), header: resp.Header,
		attempts: resend.Count(ctx) + 1, patience: t.patience(ctx, optionsOf(ctx)),
		fastest:    resend.Fastest(ctx),
		replayable: true, // the client can rewind the body
	}
	if retryMax != math.MaxInt32-1 { // MaxAttempts is set, or the program has changed RetryMax: the client counts the attempts
		f.patience.attempts = cmp.Or(optionsOf(ctx).maxAttempts, math.MaxInt-1)
	}
	f.asked, f.hasAsked = answer.RetryAfter(f.header, f.at)
	return f
}
