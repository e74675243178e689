package iamhttp

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/hashicorp/go-retryablehttp"
)

const (
	defaultAttempts = 8
	defaultMaxWait  = 2 * time.Minute
	maxInterval     = 30 * time.Second // of the default schedule
)

// A failure is a failing answer as the rules of repeating see it.
type failure struct {
	req        *http.Request // as it was sent
	resp       *http.Response
	at         time.Time // when the header of the answer arrived
	attempts   int       // sends so far, those of a Transport below included
	limit      int       // of the attempts
	repeated   bool      // a Transport below has repeated already
	replayable bool      // the body can be sent again
	gated      bool      // it was throttled, and the gate knows when to come back

	connect *StatusError // it is a proxy that failed, and there is no response
}

// error is the error of f, with as much of the body as was read. The cause of
// StopCanceled is found here.
func (f *failure) error(stop StopReason, cause error, body []byte, truncated bool) *StatusError {
	var e *StatusError
	if f.connect != nil {
		copied := *f.connect // each report tells how it stood then
		e = &copied
	} else {
		e = newStatusError(f.resp, f.req, f.at)
		e.setBody(body, truncated)
	}
	if stop == StopCanceled {
		cause = ended(f.req)
	}
	e.Attempts, e.Stop, e.Cause = f.attempts, stop, cause
	return e
}

// final is the error of f, whose body it reads and closes.
func (f *failure) final(stop StopReason, cause error) *StatusError {
	d := maxBodyTime
	if deadline, ok := f.req.Context().Deadline(); ok {
		d = min(d, time.Until(deadline)/2)
	}
	body, truncated := readAndClose(f.req.Context(), f.resp, maxBody, d)
	return f.error(stop, cause, body, truncated)
}

// decide says how long to wait, counted from f.at, before f is repeated, or
// why it is not. next yields the interval of the schedule; it is asked once
// per repeat and only when the documentation allows one.
func (t *Transport) decide(f *failure, next func() time.Duration) (wait time.Duration, stop StopReason) {
	asked, valid := retryAfter(f.resp.Header, f.at)
	ctx := f.req.Context()
	if !t.mayRepeat(f.req, Code(f.resp.StatusCode), valid) {
		return 0, StopNotRepeatable
	}
	if !f.replayable {
		return 0, StopBodyNotReplayable
	}
	if f.repeated || f.attempts >= f.limit {
		return 0, StopAttempts
	}
	interval := next()
	if interval < 0 {
		return 0, StopBackoff
	}
	maxWait := t.maxWait()
	if asked > maxWait {
		return 0, StopWaitTooLong
	}
	if ended(f.req) != nil {
		return 0, StopCanceled
	}
	wait = min(interval, maxWait)
	deadline, limited := ctx.Deadline()
	switch {
	case f.gated:
		wait = asked // the least: the gate makes it longer for those whose turn comes later
	case asked > 0:
		// Never earlier than asked. The jitter on top keeps callers that were
		// told the same time from coming back as the same herd; it grows with
		// the schedule, and is drawn from what the deadline leaves, not cut to
		// it, which would gather them there.
		jitter := wait
		if limited {
			jitter = min(jitter, deadline.Sub(f.at)-asked)
		}
		wait = asked
		if jitter = min(jitter, math.MaxInt64-asked); jitter > 0 {
			wait += rand.N(jitter)
		}
	}
	if limited && !f.at.Add(wait).Before(deadline) {
		// Waiting into http.Client.Timeout would cost the caller the typed
		// error: net/http replaces any error by a text of its own then.
		return 0, StopDeadline
	}
	return wait, StopUnset
}

// mayRepeat applies the documented rule and AlsoRepeat.
func (t *Transport) mayRepeat(req *http.Request, code Code, hasRetryAfter bool) bool {
	rule := Classify(int(code)).Repeat
	switch {
	case rule == RepeatAnytime || rule == RepeatAfter:
		return true
	case !slices.Contains(t.AlsoRepeat, code):
		return false
	case rule == RepeatIfTemporary:
		return hasRetryAfter
	}
	return idempotent(req)
}

func (t *Transport) maxAttempts() int {
	return cmp.Or(max(t.MaxAttempts, 0), defaultAttempts)
}

func (t *Transport) maxWait() time.Duration {
	return cmp.Or(max(t.MaxWait, 0), defaultMaxWait)
}

// newSchedule returns the intervals of one repeated request.
func (t *Transport) newSchedule() backoff.BackOff {
	if t.Backoff != nil {
		if b := t.Backoff(); b != nil {
			return b
		}
	}
	b := &exponential{backoff.ExponentialBackOff{
		InitialInterval:     time.Second,
		RandomizationFactor: 0.5,
		Multiplier:          2,
		MaxInterval:         maxInterval,
		Clock:               backoff.SystemClock,
	}}
	b.Reset()
	return b
}

// exponential keeps to its maximum, which backoff's own exceeds by the
// randomization.
type exponential struct{ backoff.ExponentialBackOff }

func (b *exponential) NextBackOff() time.Duration {
	return min(b.ExponentialBackOff.NextBackOff(), maxInterval)
}

// idempotent reports whether a request may be repeated though its answer does
// not say that it was not carried out: by its method (RFC 9110 §9.2.2), or by
// the presence of a key, the convention of net/http.
func idempotent(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	_, key := req.Header["Idempotency-Key"]
	_, xkey := req.Header["X-Idempotency-Key"]
	return key || xkey
}

// replayable reports whether the body, if any, can be had once more.
func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// ended returns why the caller no longer waits for the answer to req: what the
// context says, with its cause where that differs. nil: it still waits.
func ended(req *http.Request) error {
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		if cause := context.Cause(ctx); !errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", err, cause)
		}
		return err
	}
	select {
	//lint:ignore SA1019 deprecated, and still set by http.Client for its Timeout
	case <-req.Cancel:
		return context.Canceled
	default:
		return nil
	}
}

// connectFailure returns the refusal of a proxy that CheckProxyConnect has made
// an error, nil for any other error: one that a Transport below has returned
// has attempts, and is the last word.
func connectFailure(err error) *StatusError {
	e, ok := errors.AsType[*StatusError](err)
	if !ok || e.Method != http.MethodConnect || e.Attempts != 0 || e.Stop != StopUnset {
		return nil
	}
	return e
}

// recoverable reports whether a request that got no answer is worth a second
// try. The judgement is that of go-retryablehttp, which sees certificate
// errors only when nothing is wrapped around them.
func recoverable(req *http.Request, err error) bool {
	_, isStatus := errors.AsType[*StatusError](err)
	_, isVerification := errors.AsType[*tls.CertificateVerificationError](err)
	_, isAuthority := errors.AsType[x509.UnknownAuthorityError](err)
	_, isHostname := errors.AsType[x509.HostnameError](err)
	_, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	if err == errNoAnswer || isStatus || isVerification || isAuthority || isHostname || isInvalid {
		return false
	}
	ok, _ := retryablehttp.ErrorPropagatedRetryPolicy(req.Context(), nil, &url.Error{
		Op:  req.Method,
		URL: redact(req.URL),
		Err: err,
	})
	return ok
}

// retryAfter returns the wait that Retry-After asks for (RFC 9110 §10.2.3),
// rounded up to seconds and saturating, and whether there is a valid one; of
// several header lines the longest. A date is measured against the answer's
// own Date, so that a wrong local clock does no harm, and against now only
// without one. A time that has passed is valid and 0.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, valid bool) {
	for _, line := range h["Retry-After"] {
		line = strings.Trim(line, " \t")
		d, ok := delaySeconds(line)
		if !ok {
			at, err := http.ParseTime(line)
			if err != nil {
				continue
			}
			origin := now
			if date, err := http.ParseTime(h.Get("Date")); err == nil {
				origin = date
			}
			d = untilCeil(century(at, line, origin), origin)
		}
		wait, valid = max(wait, d), true
	}
	return wait, valid
}

// delaySeconds parses 1*DIGIT: no sign, no fraction, no exponent.
func delaySeconds(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), math.MaxInt64/int64(time.Second)+1)
	}
	return seconds(n), true
}

func seconds(n int64) time.Duration {
	if n > math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Second
}

// untilCeil returns the time from one date to another, rounded up to seconds.
func untilCeil(at, from time.Time) time.Duration {
	d := at.Sub(from)
	if rest := d % time.Second; rest > 0 {
		d = seconds(int64(d/time.Second) + 1)
	}
	return d
}

// century moves a date with a two-digit year, which the obsolete format of RFC
// 850 has, to within 50 years after now (RFC 9110 §5.6.7); net/http pivots at
// 1969 instead.
func century(at time.Time, line string, now time.Time) time.Time {
	if _, err := time.Parse(time.RFC850, line); err != nil {
		return at
	}
	if later := at.AddDate(100, 0, 0); !later.After(now.AddDate(50, 0, 0)) {
		return later
	}
	return at
}

// ConfigureRetryable makes a go-retryablehttp client follow the same rules: it
// repeats what Transport repeats, after the same waits, and returns a
// *StatusError for the failures. It sets CheckRetry, Backoff, ErrorHandler and
// RetryMax, and puts a counter in front of PrepareRetry, which makes
// [ResendCount] work there too. Call it once for a client.
//
// Expected, WithExpected, AlsoRepeat, MaxAttempts, MaxWait and Backoff apply.
// Errors without an answer are returned and never repeated. A request that was
// redirected is repeated from its beginning, but not a POST that a redirect has
// answered. All else stays as go-retryablehttp does it: bodies are buffered,
// redirects followed inside, the connection pool is emptied after a failure,
// and a canceled wait returns the context's error alone. PassThrough,
// OnFailure, RepeatConnectionErrors, Gate, WithMaxAttempts and Recorder have no
// effect.
func (t *Transport) ConfigureRetryable(c *retryablehttp.Client) {
	c.RetryMax = t.maxAttempts() - 1
	c.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if err != nil || resp == nil || t.accepts(ctx, resp.StatusCode) {
			return false, nil
		}
		f := &failure{
			req:        requestOf(ctx, resp),
			resp:       resp,
			at:         time.Now(),
			attempts:   ResendCount(ctx) + 1,
			limit:      math.MaxInt, // RetryMax is the client's to apply
			replayable: true,        // the client has buffered the body
		}
		wait, stop := t.decide(f, func() time.Duration {
			// The client keeps no schedule, so that each answer gets its own.
			s := t.newSchedule()
			for range f.attempts - 1 {
				s.NextBackOff()
			}
			return s.NextBackOff()
		})
		// The client would send the first request again, not the one that a
		// redirect to another method led to: that was answered by the redirect.
		if first := firstRequest(resp); stop == StopUnset && first.Method != f.req.Method && !idempotent(first) {
			stop = StopNotRepeatable
		}
		if stop != StopUnset {
			return false, f.final(stop, nil)
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
	c.ErrorHandler = func(resp *http.Response, err error, sent int) (*http.Response, error) {
		if e, ok := err.(*StatusError); ok { // CheckRetry's own; one from below is wrapped
			e.Attempts = max(e.Attempts, sent)
			return nil, e
		}
		if err != nil || resp == nil {
			return resp, err
		}
		ctx := context.Background()
		if resp.Request != nil {
			ctx = resp.Request.Context()
		}
		f := failure{req: requestOf(ctx, resp), resp: resp, at: time.Now(), attempts: sent}
		return nil, f.final(StopAttempts, nil)
	}
	prepare := c.PrepareRetry
	c.PrepareRetry = func(req *http.Request) error {
		*req = *withResendCount(req, ResendCount(req.Context())+1)
		if prepare != nil {
			return prepare(req)
		}
		return nil
	}
}

// scheduledBody carries the time of the repeat from CheckRetry to Backoff.
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
// whole call instead of that of the single send.
func requestOf(ctx context.Context, resp *http.Response) *http.Request {
	req := new(http.Request)
	if resp.Request != nil {
		*req = *resp.Request
	}
	//lint:ignore SA1019 http.Client sets it for its Timeout, which bounds one send
	req.Cancel = nil
	return req.WithContext(ctx)
}
