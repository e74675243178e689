package iamhttp

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/iamhttp/iamhttp/internal/answer"
	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/cancelctx"
	"github.com/iamhttp/iamhttp/internal/limit"
	"github.com/iamhttp/iamhttp/internal/neterr"
	"github.com/iamhttp/iamhttp/internal/schedule"
)

const (
	defaultAttempts = 8
	defaultMaxWait  = 2 * time.Minute
	manyAttempts    = time.Second // the least wait before the ninth attempt and later ones, if only a deadline limits them
	windowShare     = 3           // see statedWait
)

// A patience says how many attempts a call may make, and how long it may wait before
// each.
type patience struct {
	attempts int           // the maximum; math.MaxInt: as many as fit before the deadline
	maxWait  time.Duration // math.MaxInt64: until the deadline
}

// patience combines the settings and the deadline. A setting of the context overrides
// one of the Transport.
func (t *Transport) patience(ctx context.Context, o options) patience {
	p := patience{defaultAttempts, defaultMaxWait}
	if _, limited := ctx.Deadline(); limited {
		p = patience{math.MaxInt, math.MaxInt64}
	}
	p.attempts = cmp.Or(o.maxAttempts, max(t.MaxAttempts, 0), p.attempts)
	p.maxWait = cmp.Or(o.maxWait, max(t.MaxWait, 0), p.maxWait)
	return p
}

// A failedAttempt is what the rules know about an attempt that failed.
type failedAttempt struct {
	req          *http.Request
	answered     bool
	code         Code           // of the response
	header       http.Header    // of the response
	asked        time.Duration  // the Retry-After of the response
	hasAsked     bool           // the response has a valid Retry-After
	resp         *http.Response // nil: no response, or a proxy's
	err          error          // Base's, if there is no response
	at           time.Time      // when the header of the response arrived, or the error
	fastest      time.Duration  // time to a response in this call so far
	attempts     int            // so far, including those of a Transport below
	patience     patience
	expires      time.Time    // when the request's signature expires; zero: it has none
	retriedBelow bool         // a Transport below has retried already
	reported     bool         // a Transport below has called its OnFailure
	replayable   bool         // the body can be sent again
	gated        bool         // it was throttled, and the gate decides when to retry
	proxy        *StatusError // a proxy refused the request
	cause        error        // why the body cannot be sent again, or errStuck
}

// error returns the typed error of a response, from the part of the body that was read.
func (f *failedAttempt) error(stop StopReason, data []byte, truncated bool) *StatusError {
	var e *StatusError
	if f.proxy != nil {
		copied := *f.proxy // a report must not change later
		e = &copied
	} else {
		e = newStatusError(f.code, f.header, f.req, f.at)
		e.setContent(f.header, data, truncated)
	}
	e.Attempts, e.Stop, e.Cause = f.attempts, stop, f.cause
	if stop == StopCanceled {
		e.Cause = cancelctx.Ended(f.req)
	}
	return e
}

// final returns the typed error of a response. It reads and closes the body.
func (f *failedAttempt) final(stop StopReason) *StatusError {
	if f.resp == nil {
		return f.error(stop, nil, false)
	}
	ctx := f.req.Context()
	data, truncated := bounded.ReadAndClose(ctx, f.resp, bounded.Max, bounded.Time(ctx))
	return f.error(stop, data, truncated)
}

// decide returns how long to wait, counted from f.at, before the request is sent again,
// or the reason why it is not. interval returns the next interval of the schedule.
// decide calls it at most once, and only if a retry is allowed. Once the body has been
// read, statedWait may make the wait longer.
func (t *Transport) decide(f *failedAttempt, interval func() time.Duration) (wait time.Duration, stop StopReason) {
	switch {
	case !f.answered && cancelctx.Ended(f.req) != nil:
		return 0, StopCanceled // this is why there is no response
	case !f.answered && !t.mayRetryUnanswered(f.req, f.err),
		f.answered && !t.mayRetry(f.req, f.code, f.hasAsked):
		return 0, StopNotRetryable
	}
	if !f.replayable {
		return 0, StopBodyNotReplayable
	}
	if f.retriedBelow || f.attempts >= f.patience.attempts {
		return 0, StopAttempts
	}
	next := interval()
	if next < 0 {
		return 0, StopBackoff
	}
	if f.asked > f.patience.maxWait {
		return 0, StopWaitTooLong
	}
	if cancelctx.Ended(f.req) != nil {
		return 0, StopCanceled
	}
	wait = max(min(next, f.patience.maxWait), f.leastWait())
	left, end := f.left()
	switch {
	case f.gated:
		wait = max(f.asked, f.leastWait()) // the least; the gate may make it longer
	case f.asked > 0:
		// Never retry earlier than asked. The jitter keeps callers that were told the
		// same time from coming back together. It grows with the schedule. It is drawn
		// from the time that the deadline leaves. If it were cut to that time, callers
		// would come back together at the deadline.
		jitter := min(wait, left-min(f.asked, left)) // left may be negative, and f.asked math.MaxInt64
		if wait = f.asked; jitter > 0 {
			wait += rand.N(jitter)
		}
	}
	if wait >= left {
		// Judging by earlier responses, the next one would come too late. Waiting until
		// http.Client.Timeout expires would cost the caller the typed error, because
		// net/http then replaces any error by a text of its own.
		return 0, end
	}
	return wait, StopUnset
}

// leastWait returns the minimum wait, whatever Backoff and the gate say. Without it, a
// call with a distant deadline could retry in a tight loop.
func (f *failedAttempt) leastWait() time.Duration {
	if f.patience.attempts == math.MaxInt && f.attempts >= defaultAttempts {
		return manyAttempts
	}
	return 0
}

// statedWait lengthens a wait according to the limit that the service states, if the
// service does not ask for a wait. A statement may be wrong, so it never makes the wait
// shorter, or longer than allowed, and it never ends the call.
//
// Requests that are sent before the limit admits any are wasted. If the service states
// only its window, say 200 requests in 5 minutes, the beginning of the window is
// unknown. Then the wait is a third of the window. Shorter waits would use up the
// attempts before the window ends, and each would waste a request; longer ones might
// end long after the window has. If many requests were sent at once, the window has
// just begun, and three such waits reach its end.
func (f *failedAttempt) statedWait(wait time.Duration, data []byte) time.Duration {
	l := limit.Of(f.header, "", f.at)
	if l == (limit.Limit{}) && limit.Mentioned(data) {
		l = limit.Of(nil, answer.OneLine(answer.Decode(f.header, data, int(f.code)).Message), f.at)
	}
	least, jitter := l.Reset, wait
	if least == 0 && l.Requests > 0 {
		least = l.Per / windowShare
		jitter = min(wait, least/10) // three waits must not reach far into the next window
	}
	if least <= wait || l.Remaining > 0 { // if requests remain, another limit is used up
		return wait
	}
	least = min(least, f.patience.maxWait)
	left, _ := f.left()
	if least >= left {
		return wait // the stated wait would end too late
	}
	// The jitter keeps callers that were told the same limit from coming back together.
	if jitter = min(jitter, left-least); jitter > 0 {
		least += rand.N(jitter)
	}
	return max(wait, least)
}

// left returns what a wait must be shorter than, so that a response that takes as long
// as the fastest so far still comes before the deadline, and before the signature of
// the request expires. The StopReason says which of the two comes first.
func (f *failedAttempt) left() (time.Duration, StopReason) {
	left, first := time.Duration(math.MaxInt64), StopDeadline
	if deadline, limited := f.req.Context().Deadline(); limited {
		left = deadline.Sub(f.at) - f.fastest
	}
	if signed := f.expires.Sub(f.at) - f.fastest; !f.expires.IsZero() && signed < left {
		left, first = signed, StopSignature
	}
	return left, first
}

// mayRetry applies the documented rule and AlsoRetry to a response.
func (t *Transport) mayRetry(req *http.Request, code Code, hasRetryAfter bool) bool {
	rule := Classify(int(code)).Retry
	switch {
	case rule == RetryAnytime || rule == RetryAfterDelay:
		return true
	case !slices.Contains(t.AlsoRetry, code):
		return false
	case rule == RetryIfTemporary:
		return hasRetryAfter
	}
	return idempotent(req)
}

// mayRetryUnanswered applies RetryConnectionErrors to a request that received no
// response. go-retryablehttp judges the error, unless no retry can help or a Transport
// below has already decided.
func (t *Transport) mayRetryUnanswered(req *http.Request, err error) bool {
	if !t.RetryConnectionErrors || !idempotent(req) && !neterr.DialFailed(err) || neterr.Hopeless(err) ||
		err == errNoAnswer || errors.As(err, new(*StatusError)) || errors.As(err, new(*NotSentError)) {
		return false
	}
	ok, _ := retryablehttp.ErrorPropagatedRetryPolicy(req.Context(), nil, &url.Error{
		Op:  req.Method,
		URL: redact(req.URL),
		Err: err,
	})
	return ok
}

// newSchedule returns the schedule of one retried request.
func (t *Transport) newSchedule() backoff.BackOff {
	if t.Backoff != nil {
		if b := t.Backoff(); b != nil {
			return b
		}
	}
	return schedule.Default()
}

// idempotent reports whether a request may be sent again although it may have been
// carried out: because of its method (RFC 9110 §9.2.2) or because it has an idempotency
// key, as in net/http.
func idempotent(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	_, key := req.Header["Idempotency-Key"]
	_, xkey := req.Header["X-Idempotency-Key"]
	return key || xkey
}

// replayable reports whether the body, if any, can be sent again.
func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// proxyRefusal returns the refusal of a proxy that CheckProxyConnect has turned into an
// error, nil for any other error. An error of a Transport below is another error: it
// has Attempts, and is final.
func proxyRefusal(err error) *StatusError {
	if err == nil {
		return nil
	}
	var e *StatusError
	if !errors.As(err, &e) || e.Method != http.MethodConnect || e.Attempts != 0 || e.Stop != StopUnset {
		return nil
	}
	return e
}
