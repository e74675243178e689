// Package iamhttp is an [http.RoundTripper] that speaks the status codes of
// the IAM API: it knows what each code means by the published table, repeats
// only what the table says may be repeated unchanged (408, and 429 after
// Retry-After), and returns every other failure as a typed error.
//
// In a client of your own, put it outermost and let errors be errors:
//
//	client := &http.Client{Transport: &iamhttp.Transport{}}
//	_, err := client.Get(endpoint + "/v3/users/" + id)
//	if errors.Is(err, iamhttp.ErrNotFound) { … }
//
// Inside an SDK that reads status codes itself, to log in again on a 401 or to
// take a 404 for an answer, use PassThrough: the requests are repeated by the
// same rules and the SDK sees responses. A [Recorder] gives the typed error to
// the SDK's caller.
//
// When to use what:
//
//   - a client of your own: the zero [Transport], and errors.Is with a [Code], or
//     a [Reason] where the status misleads;
//   - a library that reads status codes: PassThrough, and [WithRecorder] around
//     its calls;
//   - a go-retryablehttp client that has to stay: [Transport.ConfigureRetryable];
//   - only a response, or only its parts: [CheckResponse], [NewStatusError];
//   - one call that differs: [WithExpected], [WithMaxAttempts];
//   - many calls of one account at a time: one [AdaptiveGate] for all, so that a
//     limit that one meets is known to the others and they share what the
//     service takes;
//   - logs: OnFailure with [LogFailures]; traces and metrics: module otel;
//   - tests of what uses a Transport: package iamtest; of a RoundTripper of your
//     own: package roundtriptest.
//
// What a call did, and why it was not repeated, is in [StatusError.Stop].
package iamhttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// A Transport repeats requests by the documented rules and returns the other
// failures as errors.
//
// The zero value is ready to use. A Transport is safe for concurrent use; do
// not copy or change it after first use.
type Transport struct {
	// Base makes the single sends. If nil, http.DefaultTransport is used. It
	// must allow that a response body is closed during a Read, as net/http's
	// bodies do.
	Base http.RoundTripper

	// MaxAttempts is how often a request is sent at the most. Zero or negative
	// means 8, which without Retry-After takes about a minute and a half, or
	// what a deadline allows of it; 1 means never to repeat. See also
	// [WithMaxAttempts].
	MaxAttempts int

	// MaxWait is the longest wait. A longer Retry-After stops at once, rather
	// than being waited for in part; an interval of the schedule is cut to it.
	// Zero or negative means 2 minutes.
	MaxWait time.Duration

	// Backoff returns the schedule of one repeated request, each its own. Only
	// NextBackOff is called, once per repeat; a negative interval stops. The
	// schedule decides the wait when the service asks for none, and how much
	// is added at random when it does. If nil, it is exponential: 1 s, doubled
	// each time, ±50 %, at most 30 s.
	Backoff func() backoff.BackOff

	// AlsoRepeat lists codes to repeat beyond 408 and 429, against or without
	// the advice of the documentation. 413 is repeated if it carries
	// Retry-After; the others only if the request is idempotent by its method
	// (RFC 9110 §9.2.2) or has an Idempotency-Key or X-Idempotency-Key.
	AlsoRepeat []Code

	// RepeatConnectionErrors makes requests that got no answer be repeated
	// too, if they are idempotent as in AlsoRepeat, can be replayed, and if
	// go-retryablehttp calls the error recoverable. The error in the end is
	// Base's. Off by default: the documentation speaks of answers only.
	RepeatConnectionErrors bool

	// Expected lists failures that are answers to this caller: they are
	// returned as responses, and neither repeated nor reported nor recorded.
	// See also [WithExpected].
	Expected []Code

	// PassThrough returns the last response with its body unread instead of a
	// *StatusError, which keeps the contract of http.RoundTripper. What is
	// repeated stays the same. Only where there is no response, because the
	// wait for a repeat was canceled, or the Gate or a proxy refused
	// ([CheckProxyConnect]), there is a *StatusError still.
	//
	// If there is a Recorder or OnFailure, up to 64 KiB of the body are read
	// ahead and put back.
	PassThrough bool

	// Gate, if not nil, decides when the requests of one account may leave, so
	// that a limit that one call meets is known to all; see [AdaptiveGate]. The
	// Transport then neither waits out a 429 itself nor adds anything to
	// Retry-After: it tells the gate and asks it again. MaxAttempts, MaxWait and
	// the deadline of the call hold as before. Of stacked Transports give it to
	// the innermost only, which makes the sends. If nil, every call is on its own.
	Gate Gate

	// GateKey returns what names the account whose limit a request counts
	// against. It must not be empty. If nil, it is the host of the URL; set
	// GateKey where one host serves several accounts, or several hosts share
	// the limit of one.
	GateKey func(*http.Request) string

	// OnFailure, if not nil, is called once for each failing answer in both
	// modes, before RoundTrip goes on. If err.Stop is StopUnset, the request
	// will be sent again after wait, counted from the arrival of the answer,
	// which may be 0, or later if a Gate says so; otherwise the answer is final
	// and wait is 0. ctx is that of the request. A wait that is canceled later
	// is not reported again, nor is the Gate's refusal of a repeat; its refusal
	// of the first send is, though nothing was answered.
	OnFailure func(ctx context.Context, err *StatusError, wait time.Duration)
}

var errNoAnswer = errors.New("iam: Base returned neither response nor error")

// RoundTrip sends req and repeats it as the documentation allows. It breaks
// the contract of [http.RoundTripper] knowingly: for a failing answer it
// returns a nil response and a *StatusError, although a response was obtained.
// A Transport therefore belongs outermost, where nothing above takes an error
// for a broken connection and sends again; who has to keep the contract sets
// PassThrough, or calls [CheckResponse] on the responses.
//
// The first send is the caller's own request, and a response with a code from
// 100 to 399 is returned as it came. The request is never modified; a body is
// sent again only if GetBody can provide it anew, and never buffered.
//
// If Base returns an error, that error is returned unchanged. Should it come
// from a later send, the request may have been processed; the failures before
// it went to OnFailure and to the Recorder.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	key, err := t.gateKey(req)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.send(req, key, 0)
	if err == nil && succeeded(resp.StatusCode) {
		optionsOf(req.Context()).recorder.record(nil)
		return resp, nil
	}
	c := call{t: t, opts: optionsOf(req.Context()), req: req, key: key, sent: req, sends: 1}
	return c.settle(resp, err)
}

// CloseIdleConnections closes those of Base, if it can.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// WrappedRoundTripper returns the RoundTripper in use below, by the convention
// of Kubernetes for those who look for the innermost one.
func (t *Transport) WrappedRoundTripper() http.RoundTripper { return t.base() }

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

// send makes one send, through the gate if there is one.
func (t *Transport) send(req *http.Request, key string, resend int) (*http.Response, error) {
	if t.Gate != nil {
		return t.sendGated(req, key, resend)
	}
	return t.sendNow(req)
}

// sendNow makes one send and an orderly answer of what Base makes of it: either
// a response with a body, or an error.
func (t *Transport) sendNow(req *http.Request) (*http.Response, error) {
	resp, err := t.base().RoundTrip(req)
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		return nil, err
	case resp == nil:
		return nil, errNoAnswer
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	return resp, nil
}

// accepts reports whether an answer is no failure to the caller.
func (t *Transport) accepts(ctx context.Context, statusCode int) bool {
	code := Code(statusCode)
	return succeeded(statusCode) || slices.Contains(t.Expected, code) || slices.Contains(optionsOf(ctx).expected, code)
}

// A call is a request whose first send did not simply succeed.
type call struct {
	t        *Transport
	opts     options
	req      *http.Request   // the caller's
	key      string          // for the gate
	sent     *http.Request   // the one that Base was given last
	sends    int             // how often Base was given one
	schedule backoff.BackOff // nil until the first repeat
	latest   *StatusError    // with a gate: the failure that is about to be repeated,
	lost     error           // or the error of a send without an answer that is
}

// settle takes what the latest send brought, and sends again until there is
// something to return.
func (c *call) settle(resp *http.Response, err error) (*http.Response, error) {
	for {
		if r, ok := err.(*refusal); ok {
			return c.refused(r.err)
		}
		var again *http.Request
		refused := connectFailure(err)
		switch {
		case refused != nil && !c.t.accepts(c.req.Context(), int(refused.Code)):
			stand := &http.Response{StatusCode: int(refused.Code), Header: refused.Header, Body: http.NoBody}
			again, resp, err = c.afterFailure(stand, refused)
		case err != nil:
			again, err = c.afterError(err)
		case c.t.accepts(c.req.Context(), resp.StatusCode):
			c.opts.recorder.record(nil)
			return resp, nil
		default:
			again, resp, err = c.afterFailure(resp, nil)
		}
		if again == nil {
			return resp, err
		}
		c.sent = again
		resp, err = c.t.send(again, c.key, c.sends)
		c.sends++
	}
}

// afterFailure waits and returns the request to send again, or else what is to
// be returned to the caller. connect is the refusal of a proxy, for which resp
// only stands in.
func (c *call) afterFailure(resp *http.Response, connect *StatusError) (again *http.Request, _ *http.Response, _ error) {
	f := &failure{
		req:        c.req,
		resp:       resp,
		at:         time.Now(),
		attempts:   c.sends,
		limit:      c.limit(),
		replayable: replayable(c.req),
		gated:      c.t.Gate != nil && resp.StatusCode == http.StatusTooManyRequests,
		connect:    connect,
	}
	// A Transport below leaves its count in the request that was answered.
	if resp.Request != nil {
		if more := ResendCount(resp.Request.Context()) - ResendCount(c.sent.Context()); more > 0 {
			f.attempts += more
			f.repeated = true
		}
	}
	wait, stop := c.t.decide(f, c.next)
	var body io.ReadCloser
	var cause error
	if stop == StopUnset {
		if body, cause = c.replay(); cause != nil {
			stop = StopBodyNotReplayable
		}
	}
	if stop != StopUnset {
		resp, err := c.finish(f, stop, cause)
		return nil, resp, err
	}
	defer func() {
		if again == nil && body != nil { // canceled, or OnFailure panicked
			body.Close()
		}
	}()

	data, truncated := discard(f, wait)
	if c.observed() || c.t.Gate != nil {
		c.latest, c.lost = f.error(StopUnset, nil, data, truncated), nil
		c.report(c.latest, wait)
	}
	until := f.at.Add(wait)
	if f.gated {
		until = f.at
	}
	if c.wait(until) != nil {
		e := f.error(StopCanceled, nil, data, truncated)
		c.opts.recorder.record(e)
		return nil, nil, e
	}
	return c.resend(body), nil, nil
}

// discard closes the body of an answer that will be repeated, after reading it
// so that its connection can be used again, and returns its beginning.
func discard(f *failure, wait time.Duration) (data []byte, truncated bool) {
	if f.resp.StatusCode == http.StatusRequestTimeout {
		// The server has given this connection up (RFC 9110 §15.5.9). Leaving
		// the body unread keeps it out of the pool, unless net/http reads the
		// rest itself, which Go 1.27 does if the length is known to be small.
		f.resp.ContentLength = math.MaxInt64
		f.resp.Body.Close()
		return nil, f.resp.Body != http.NoBody
	}
	return readAndClose(f.req.Context(), f.resp, maxKept, min(maxDrainTime, max(wait, minDrainTime)))
}

// finish returns a final failure in the form that the mode asks for.
func (c *call) finish(f *failure, stop StopReason, cause error) (*http.Response, error) {
	if !c.t.PassThrough || stop == StopCanceled || f.connect != nil {
		e := f.final(stop, cause)
		c.report(e, 0)
		return nil, e
	}
	if c.observed() {
		e := f.error(stop, cause, nil, false)
		e.peek(c.req.Context(), f.resp)
		c.report(e, 0)
	}
	return f.resp, nil
}

// afterError waits and returns the request to send again, or else the error
// for the caller.
func (c *call) afterError(err error) (*http.Request, error) {
	if !c.t.RepeatConnectionErrors || !idempotent(c.req) || !replayable(c.req) ||
		c.sends >= c.limit() || !recoverable(c.req, err) {
		return nil, err
	}
	now, wait := time.Now(), min(c.next(), c.t.maxWait())
	deadline, limited := c.req.Context().Deadline()
	if wait < 0 || limited && !now.Add(wait).Before(deadline) {
		return nil, err
	}
	body, bodyErr := c.replay()
	if bodyErr != nil {
		return nil, err
	}
	if end := c.wait(now.Add(wait)); end != nil {
		if body != nil {
			body.Close()
		}
		return nil, fmt.Errorf("%w: %w", err, end)
	}
	c.lost = err
	return c.resend(body), nil
}

// limit is how often the request may be sent.
func (c *call) limit() int { return cmp.Or(c.opts.maxAttempts, c.t.maxAttempts()) }

// next returns the next interval of the schedule.
func (c *call) next() time.Duration {
	if c.schedule == nil {
		c.schedule = c.t.newSchedule()
	}
	return c.schedule.NextBackOff()
}

// replay returns a fresh body, nil for a request without one. The body of an
// earlier send is never used again: the sender may still be reading it.
func (c *call) replay() (io.ReadCloser, error) {
	if c.req.Body == nil || c.req.Body == http.NoBody {
		return nil, nil
	}
	body, err := c.req.GetBody()
	if err == nil && body == nil {
		err = errors.New("iam: GetBody returned neither body nor error")
	}
	return body, err
}

// resend returns the copy of the caller's request to send next.
func (c *call) resend(body io.ReadCloser) *http.Request {
	r := withResendCount(c.req, ResendCount(c.req.Context())+c.sends)
	if body != nil {
		r.Body = body
	}
	return r
}

// wait returns nil at the time given, or at once why the caller stopped waiting.
func (c *call) wait(until time.Time) error {
	if d := time.Until(until); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.req.Context().Done():
		//lint:ignore SA1019 deprecated, and still set by http.Client for its Timeout
		case <-c.req.Cancel:
		}
	}
	return ended(c.req)
}

// observed reports whether anybody wants to know of failures on the way.
func (c *call) observed() bool { return c.t.OnFailure != nil || c.opts.recorder != nil }

func (c *call) report(e *StatusError, wait time.Duration) {
	c.opts.recorder.record(e)
	if c.t.OnFailure != nil {
		c.t.OnFailure(c.req.Context(), e, wait)
	}
}

// ResendCount returns how many times the request with this context was sent
// before: 0 in the first send, 1 in the first repeat. It is meant for a
// RoundTripper below the Transport, and is what OpenTelemetry records as
// http.request.resend_count. Of a response, ResendCount(resp.Request.Context())
// tells how often the request was repeated until it came.
func ResendCount(ctx context.Context) int {
	n, _ := ctx.Value(resendKey{}).(int)
	return n
}

type resendKey struct{}

// withResendCount returns a shallow copy of req: the contract forbids to
// modify it.
func withResendCount(req *http.Request, n int) *http.Request {
	return req.WithContext(context.WithValue(req.Context(), resendKey{}, n))
}

// WithExpected adds codes to Expected for every request under the context.
// Nested calls add up.
func WithExpected(ctx context.Context, codes ...Code) context.Context {
	o := optionsOf(ctx)
	o.expected = slices.Concat(o.expected, codes)
	return withOptions(ctx, o)
}

// WithMaxAttempts sets MaxAttempts for every request under the context. If n
// is less than 1, the setting stays as it is.
func WithMaxAttempts(ctx context.Context, n int) context.Context {
	if n < 1 {
		return ctx
	}
	o := optionsOf(ctx)
	o.maxAttempts = n
	return withOptions(ctx, o)
}

// options are the settings that a context carries. One value holds them all,
// so that a request costs one look-up.
type options struct {
	expected    []Code
	maxAttempts int // 0: that of the Transport
	recorder    *Recorder
}

type optionsKey struct{}

func optionsOf(ctx context.Context) options {
	o, _ := ctx.Value(optionsKey{}).(options)
	return o
}

func withOptions(ctx context.Context, o options) context.Context {
	return context.WithValue(ctx, optionsKey{}, o)
}
