package iamhttp

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/iamhttp/iamhttp/internal/answer"
	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/cancelctx"
	"github.com/iamhttp/iamhttp/internal/chain"
	"github.com/iamhttp/iamhttp/internal/neterr"
	"github.com/iamhttp/iamhttp/internal/resend"
	"github.com/iamhttp/iamhttp/internal/schedule"
	"github.com/iamhttp/iamhttp/internal/signature"
	"github.com/iamhttp/iamhttp/internal/target"
)

// A call is the state of one RoundTrip, across all its attempts and waits. It does not
// outlive RoundTrip, so it stays off the heap.
type call struct {
	t        *Transport
	req      *http.Request // the caller's request
	current  *http.Request // the request of the current attempt; in the first attempt, req itself
	opts     options
	patience patience
	key      string // the account's key at the gate
	attempts int
	began    time.Time       // when the first attempt was sent or, if the request is signed, asked the gate
	sent     time.Time       // when the latest attempt was sent
	fastest  time.Duration   // the shortest time to a response so far; math.MaxInt64 before the first response
	schedule backoff.BackOff // nil until it is first needed
	open     io.Closer       // the response body that must still be closed; http.NoBody: none
	latest   error           // the previous attempt's error, in case the gate refuses the retry
}

// run makes the call. If Base, the gate or a callback panics, run clears the Recorder and
// closes the open response body, if any.
func (c *call) run() (*http.Response, error) {
	returned := false
	defer func() {
		if !returned {
			c.opts.recorder.record(Failure{})
			c.open.Close()
		}
		schedule.Release(c.schedule)
	}()
	resp, err := c.loop()
	returned = true
	return resp, err
}

// loop sends the request until it has a result for the caller, or a reason not to
// retry.
func (c *call) loop() (*http.Response, error) {
	c.opts = optionsOf(c.req.Context())
	c.patience = c.t.patience(c.req.Context(), c.opts)
	if err := c.findAccount(); err != nil {
		return nil, c.fail(nil, Failure{Err: err, Stop: StopNotRetryable})
	}
	for {
		resp, err := c.attempt()
		if err == nil && c.accepts(resp.StatusCode) {
			c.opts.recorder.record(Failure{})
			return resp, nil
		}
		if r, ok := err.(*gateRefusal); ok {
			return nil, c.refusedByGate(r.err)
		}
		if proxy := proxyRefusal(err); proxy != nil && c.accepts(int(proxy.Code)) {
			c.opts.recorder.record(Failure{})
			return nil, err
		}
		f := c.describe(resp, err)
		wait, stop := c.t.decide(&f, c.interval) // StopUnset: retry
		// If the caller gives up while BodyFailed reads the body, c.wait ends the call. The
		// body must not be used then, because BodyFailed may still be reading.
		if stop == StopUnset && !f.answered && neterr.BodyFailed(c.req, err) && cancelctx.Ended(c.req) == nil {
			stop = StopNotRetryable
		}
		var body io.ReadCloser
		if stop == StopUnset && cancelctx.Ended(c.req) == nil {
			if body, err = resend.Body(c.req); err != nil {
				stop, f.cause = StopBodyNotReplayable, err
			}
		}
		if stop != StopUnset {
			return c.finish(&f, stop)
		}
		if err := c.wait(&f, wait, body); err != nil {
			return nil, err
		}
	}
}

// accepts reports whether a status code is not a failure, or is Expected. If so, the
// caller gets Base's result.
func (c *call) accepts(statusCode int) bool {
	return succeeded(statusCode) || c.t.expects(c.opts, Code(statusCode))
}

// attempt asks the gate, if there is one, and sends the request once. The error is a
// *gateRefusal if the gate refuses.
func (c *call) attempt() (*http.Response, error) {
	if c.t.Gate == nil {
		return c.send()
	}
	return c.sendGated()
}

// send sends the request now and normalizes Base's result: either a response with a
// body, or an error.
func (c *call) send() (*http.Response, error) {
	c.sent = time.Now()
	c.attempts++
	if c.began.IsZero() {
		c.began = c.sent
	}
	resp, err := c.t.passDown(c.current)
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		if neterr.HasNil(err) {
			err = fmt.Errorf("%w: %v", errNilPointer, err)
		}
		method, url := target.Of(c.current)
		below, cause := resend.Attempts(err, method, url) // below counts the attempts of a Transport below
		c.attempts += below - 1
		return nil, cause
	case resp == nil:
		return nil, errNoAnswer
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	c.open = resp.Body
	return resp, nil
}

// describe collects what the rules need to know about a failed attempt.
func (c *call) describe(resp *http.Response, err error) failedAttempt {
	f := failedAttempt{
		req:        c.req,
		resp:       resp,
		err:        err,
		at:         time.Now(),
		attempts:   c.attempts,
		patience:   c.patience,
		expires:    c.expires(),
		replayable: resend.Replayable(c.req),
	}
	if f.proxy = proxyRefusal(err); f.proxy != nil {
		f.answered, f.code, f.header = true, f.proxy.Code, f.proxy.Header()
	} else if resp != nil {
		f.answered, f.code, f.header = true, Code(resp.StatusCode), resp.Header
	}
	if f.answered {
		f.asked, f.hasAsked = answer.RetryAfter(f.header, f.at)
		// If only the number of attempts limits the call, then in the second half of the
		// attempts the waits are at least as long as without a gate. If the gate alone
		// decided, it might send this request early, as a probe for other waiting
		// requests, and the call would run out of attempts.
		_, limited := c.req.Context().Deadline()
		f.gated = c.t.Gate != nil && c.t.throttled(f.code, f.asked, f.header) && (limited || !f.expires.IsZero() || 2*f.attempts < f.patience.attempts)
		c.fastest = min(c.fastest, f.at.Sub(c.sent))
		if more := resend.Below(resp, c.current, c.sent); more > 0 {
			f.attempts += more
			f.retriedBelow = true
		}
	}
	if c.fastest < math.MaxInt64 {
		f.fastest = c.fastest
	}
	if c.t.OnFailure != nil && f.proxy == nil {
		f.reported = c.t.reportsBelow(c.opts, &f)
	}
	return f
}

// expires returns when the request's signature expires. It returns the zero Time if there
// is no signature, if SignatureLife is negative, or if a RoundTripper below can and does
// sign each attempt. It also returns the zero Time if the signature expired before the
// call began, because then one of the clocks is probably wrong, and the signature's time
// cannot be trusted.
func (c *call) expires() time.Time {
	end := signature.Expires(c.req.Header, c.t.SignatureLife)
	if end.IsZero() {
		return time.Time{}
	}
	if c.began.IsZero() { // the first attempt is about to wait at the gate
		c.began = time.Now()
	}
	if end.Before(c.began) {
		return time.Time{}
	}
	if s, found := chain.Find[signature.Signer](c.t.base()); found && signature.CanSign(c.req) && s.SignsEachAttempt(c.req) {
		return time.Time{}
	}
	return end
}

// interval returns the schedule's next interval.
func (c *call) interval() time.Duration {
	if c.schedule == nil {
		c.schedule = c.t.newSchedule()
	}
	return c.schedule.NextBackOff()
}

// wait reports a failure that is to be retried, and waits until it is time for the retry.
// It returns an error for the caller if there can be no retry because the wait was
// canceled or the connection cannot be freed.
func (c *call) wait(f *failedAttempt, d time.Duration, body io.ReadCloser) error {
	ready := false
	defer func() {
		if !ready && body != nil { // there will be no retry, or OnFailure panicked
			body.Close()
		}
	}()
	drain := bounded.NewDrain()
	defer drain.Release()
	data, truncated, stuck := discard(f, d, drain)
	c.open = http.NoBody
	if stuck && chain.MayLimitConns(c.t.base()) {
		f.cause = errStuck
		return c.fail(f, Failure{Err: f.error(StopWaitTooLong, data, truncated), Attempt: f.attempts, Stop: StopWaitTooLong})
	}
	if !f.hasAsked && c.t.Gate == nil && c.t.throttled(f.code, 0, f.header) {
		d = f.statedWait(d, data)
	}
	c.latest = f.err
	f.resp = nil // so that the response can be freed during the wait
	if f.answered && (c.observed() || c.t.Gate != nil) {
		c.latest = f.error(StopUnset, bytes.Clone(data), truncated)
	}
	c.report(f, Failure{Err: c.latest, Attempt: f.attempts, Retry: true, Wait: d})
	if f.gated {
		d = f.leastWait() // the gate decides how long to wait
	}
	if end := cancelctx.Wait(f.req, time.Until(f.at.Add(d)), drain.After); end != nil {
		var err error = f.error(StopCanceled, bytes.Clone(data), truncated)
		if !f.answered {
			err = fmt.Errorf("%w: %w", f.err, end)
		}
		return c.fail(nil, Failure{Err: err, Attempt: f.attempts, Stop: StopCanceled})
	}
	ready = true
	c.current = resend.Request(c.req, c.attempts, c.began, body)
	return nil
}

// discard closes the response body of a request that will be retried. Except after a 408,
// it first reads the body, so that the connection can be reused, and returns the
// beginning of the body. It also reports whether the body is stuck (see
// [bounded.Drain.ReadAndClose]).
func discard(f *failedAttempt, wait time.Duration, drain *bounded.Drain) (data []byte, truncated, stuck bool) {
	if f.resp == nil {
		return nil, false, false
	}
	if f.resp.StatusCode == http.StatusRequestTimeout {
		// The server is about to close this connection (RFC 9110 §15.5.9). Closing the
		// body unread keeps the connection out of the pool. From Go 1.27 on, net/http
		// reads the rest of a short body itself: persistConn.readLoop has "tryDrain :=
		// alive && resp.ContentLength <= maxPostCloseReadBytes". A large ContentLength
		// prevents that; TestTheConnectionOfADiscarded408IsNotUsedAgain checks this with
		// each Go version.
		f.resp.ContentLength = math.MaxInt64
		bounded.Close(f.resp)
		return nil, f.resp.Body != http.NoBody, false
	}
	return drain.ReadAndClose(f.req.Context(), f.resp, min(bounded.MaxDrain, max(wait, bounded.MinDrain)))
}

// errStuck is the Cause if a call ends because its retry might wait for a connection
// forever. In Go 1.26, net/http cannot close a compressed body while the server stalls
// within the gzip header, and the body's connection still counts toward MaxConnsPerHost.
var errStuck = errors.New("iamhttp: the response's connection cannot be freed, and MaxConnsPerHost may limit connections")

// finish ends a call whose failure is not retried. It returns an error or, in PassThrough
// mode, the service's response, unless the call was canceled.
func (c *call) finish(f *failedAttempt, stop StopReason) (*http.Response, error) {
	switch {
	case !f.answered:
		method, url := target.Of(c.req)
		below, typed := Failure{Err: f.err, Method: method, URL: url}.Status()
		if typed { // the final error of a Transport below
			stop = cmp.Or(below.Stop, stop)
		}
		err := c.fail(f, Failure{Err: f.err, Attempt: f.attempts, Stop: stop})
		if !typed && c.attempts > 1 && chain.Depth(1) > 1 { // a Transport above must count these attempts
			err = &resend.Error{Err: err, Attempts: c.attempts, Method: method, URL: url}
		}
		return nil, err
	case !c.t.PassThrough || stop == StopCanceled || f.proxy != nil:
		e, _ := f.final(stop)
		c.open = http.NoBody
		return nil, c.fail(f, Failure{Err: e, Attempt: f.attempts, Stop: stop})
	case c.observed():
		e := f.error(stop, nil, false)
		e.peek(c.req.Context(), f.resp, bounded.Time(c.req.Context()))
		c.report(f, Failure{Err: e, Attempt: f.attempts, Stop: stop})
	}
	return bounded.Own(f.resp), nil
}

// refusedByGate reports that the gate refused the request, and returns the error for the
// caller.
func (c *call) refusedByGate(err error) error {
	end, stop, cause := cancelctx.Ended(c.req), StopGate, err
	switch {
	case end != nil:
		stop, cause = StopCanceled, end
	case c.outlivesSignature(err):
		stop, cause = StopSignature, fmt.Errorf("its signature would expire: %w", err)
	}
	f := Failure{Attempt: c.attempts, Stop: stop}
	answered, _ := c.latest.(*StatusError)
	switch {
	case answered != nil:
		e := *answered
		e.Stop, e.Cause = stop, cause
		if stop != StopCanceled {
			e.RetryAfter = earliest(err)
		}
		f.Err = &e
	case c.latest != nil: // the request may have been processed; a NotSentError would deny that
		f.Err = fmt.Errorf("%w: %w", c.latest, cause)
	case end != nil:
		f.Err = end
	default:
		f.Err = newNotSentError(c.req, cause)
	}
	return c.fail(nil, f)
}

// observed reports whether OnFailure or a Recorder receives failures.
func (c *call) observed() bool { return c.t.OnFailure != nil || c.opts.recorder != nil }

// fail reports the failure that ends the call, and returns its error.
func (c *call) fail(f *failedAttempt, end Failure) error {
	c.report(f, end)
	return end.Err
}

// report passes a failure to the Recorder and, unless a Transport below has reported it,
// to OnFailure. f is the failed attempt, or nil if the account's key is missing, the gate
// refused an attempt, or a wait was canceled.
func (c *call) report(f *failedAttempt, failed Failure) {
	if !c.observed() {
		return
	}
	failed.Method, failed.URL = target.Of(c.req)
	c.opts.recorder.record(failed)
	if c.t.OnFailure != nil && (f == nil || !f.reported) {
		c.t.OnFailure(c.req.Context(), failed)
	}
}
