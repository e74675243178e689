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

	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/cancelctx"
	"github.com/iamhttp/iamhttp/internal/limit"
	"github.com/iamhttp/iamhttp/internal/neterr"
	"github.com/iamhttp/iamhttp/internal/resend"
	"github.com/iamhttp/iamhttp/internal/schedule"
	"github.com/iamhttp/iamhttp/internal/target"
)

const (
	defaultAttempts = 8
	defaultMaxWait  = 2 * time.Minute
	manyAttempts    = time.Second // the shortest wait before the ninth and any later attempt, if the number of attempts is not limited
)

// A patience says how many attempts a call may make, and how long it may wait before each
// retry.
type patience struct {
	attempts int           // the maximum number; math.MaxInt: as many as fit before the deadline
	maxWait  time.Duration // the longest wait, not counting jitter; math.MaxInt64: until the deadline
}

// patience combines the settings and the deadline. A setting in the context overrides the
// same setting of the Transport.
func (t *Transport) patience(ctx context.Context, o options) patience {
	p := patience{defaultAttempts, defaultMaxWait}
	if _, limited := ctx.Deadline(); limited {
		p = patience{math.MaxInt, math.MaxInt64}
	}
	p.attempts = cmp.Or(o.maxAttempts, max(t.MaxAttempts, 0), p.attempts)
	p.maxWait = cmp.Or(o.maxWait, max(t.MaxWait, 0), p.maxWait)
	return p
}

// A failedAttempt is what is known about an attempt that failed: what the rules take into
// account, and what becomes part of the error.
type failedAttempt struct {
	req          *http.Request
	answered     bool           // whether there is a response, possibly a proxy's
	code         Code           // the response's status code
	header       http.Header    // the response's header
	asked        time.Duration  // the response's Retry-After
	hasAsked     bool           // whether the response has a valid Retry-After
	resp         *http.Response // nil if there is no response, or only a proxy's, and during the wait
	err          error          // the error of an attempt that received no response
	at           time.Time      // when the response header or the error arrived
	fastest      time.Duration  // the shortest time to a response in this call so far; 0 if unknown
	attempts     int            // the number of attempts so far, including those of a Transport below
	patience     patience
	expires      time.Time    // when the request's signature expires; zero: no limit
	retriedBelow bool         // whether a Transport below has already retried
	reported     bool         // whether a Transport below has reported the failure to its own OnFailure
	replayable   bool         // whether the request body can be sent again
	gated        bool         // whether the attempt was throttled and the gate decides when to retry
	proxy        *StatusError // the proxy's refusal, if a proxy refused the request
	cause        error        // GetBody's error or errStuck, if that ended the call
}

// error returns the typed error for a response. data is the part of the body that was
// read and kept.
func (f *failedAttempt) error(stop StopReason, data []byte, truncated bool) *StatusError {
	var e *StatusError
	if f.proxy != nil {
		copied := *f.proxy // an error that was reported must not change later
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

// final reads the response body within the limits of package bounded, closes the body,
// and returns the typed error. It also reports whether the body is stuck (see
// [bounded.ReadAndClose]).
func (f *failedAttempt) final(stop StopReason) (e *StatusError, stuck bool) {
	if f.resp == nil {
		return f.error(stop, nil, false), false
	}
	ctx := f.req.Context()
	data, truncated, stuck := bounded.ReadAndClose(ctx, f.resp, bounded.Max, bounded.Time(ctx))
	return f.error(stop, data, truncated), stuck
}

// decide returns how long to wait, counted from f.at, before the request is sent again,
// or the reason not to send it again. interval returns the schedule's next interval.
// decide calls it at most once, and only if a retry is allowed. Afterwards, statedWait or
// the gate may make the wait longer.
func (t *Transport) decide(f *failedAttempt, interval func() time.Duration) (wait time.Duration, stop StopReason) {
	switch {
	case !f.answered && cancelctx.Ended(f.req) != nil:
		return 0, StopCanceled // the request was canceled, which is probably why there is no response
	case !f.answered && !t.mayRetryUnanswered(f.req, f.err),
		f.answered && !t.mayRetry(f.req, f.code, f.hasAsked),
		f.proxy != nil && !resend.Idempotent(f.req) && !neterr.Unsent(f.err, f.proxy): // another host may have got it
		return 0, StopNotRetryable
	case !f.replayable:
		return 0, StopBodyNotReplayable
	case f.retriedBelow || f.attempts >= f.patience.attempts:
		return 0, StopAttempts
	}
	next := interval()
	switch {
	case next < 0:
		return 0, StopBackoff
	case f.asked > f.patience.maxWait:
		return 0, StopWaitTooLong
	case cancelctx.Ended(f.req) != nil:
		return 0, StopCanceled
	}
	wait = max(min(next, f.patience.maxWait), f.leastWait())
	left, end := f.left()
	switch {
	case f.gated:
		wait = max(f.asked, f.leastWait()) // the shortest wait to expect; the gate decides
	case f.asked > 0:
		// Never retry earlier than asked. The jitter keeps callers that were told the
		// same time from all retrying at that time. The longer the schedule's interval,
		// the longer the jitter may be. The draw is limited to the time that is left. If
		// the jitter were drawn first and then cut to that time, callers would retry
		// together at its end.
		jitter := min(wait, left-min(f.asked, left)) // left may be negative, and f.asked math.MaxInt64
		if wait = f.asked; jitter > 0 {
			wait += rand.N(jitter)
		}
	}
	if wait >= left {
		// The next response would come too late even if it took only f.fastest. Waiting
		// until http.Client.Timeout expires would cost the caller the typed error,
		// because net/http then replaces any error with an error of its own.
		return 0, end
	}
	return wait, StopUnset
}

// leastWait returns the minimum wait, which applies no matter what Backoff, MaxWait and
// the gate allow. Without it, a call with a distant deadline could retry in a tight loop.
func (f *failedAttempt) leastWait() time.Duration {
	if f.patience.attempts == math.MaxInt && f.attempts >= defaultAttempts {
		return manyAttempts
	}
	return 0
}

// statedWait lengthens a wait according to the limit that the service states. It is meant
// for a throttled response without a valid Retry-After. A stated limit may be wrong, so it
// never shortens the wait, never extends the wait beyond what is allowed, and never ends
// the call.
//
// A request is wasted if it is sent before the limit admits requests again. If several
// limits are stated, [limit.Of] chooses among the waits that, cut to maxWait, end in time.
func (f *failedAttempt) statedWait(wait time.Duration, data []byte) time.Duration {
	left, _ := f.left()
	bound := limit.Bound(left, f.patience.maxWait)
	stated, fromWindow := limit.Stated(f.header, data, int(f.code), f.at, bound).Wait()
	least := min(stated, f.patience.maxWait)
	if stated <= wait || least >= left {
		return wait // the stated wait is no longer than wait, or would end too late
	}
	jitter := wait
	if fromWindow {
		// This wait begins with the caller's own 429, so callers that were refused at
		// different times do not retry together anyway. If some woke much later than
		// others, those would have used up the window with new calls, again and again.
		jitter = min(wait, stated/100)
	}
	// The jitter keeps callers that were told the same limit from all retrying at once.
	if jitter = min(jitter, left-least); jitter > 0 {
		least += rand.N(jitter)
	}
	return max(wait, least)
}

// left returns the time below which a wait must stay: a response that takes f.fastest
// must still arrive before the deadline and before the request's signature expires. The
// StopReason is StopSignature if the signature expires before the deadline, StopDeadline if
// it does not, and StopWaitTooLong if there is neither.
func (f *failedAttempt) left() (time.Duration, StopReason) {
	left, first := time.Duration(math.MaxInt64), StopWaitTooLong
	if deadline, limited := f.req.Context().Deadline(); limited {
		left, first = deadline.Sub(f.at)-f.fastest, StopDeadline
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
	return resend.Idempotent(req)
}

// mayRetryUnanswered applies RetryConnectionErrors to a request that received no
// response. go-retryablehttp judges the error, unless no retry can help or a Transport
// below has already decided.
func (t *Transport) mayRetryUnanswered(req *http.Request, err error) bool {
	if !t.RetryConnectionErrors || !resend.Idempotent(req) && !neterr.DialFailed(err) || neterr.Hopeless(err) ||
		err == errNoAnswer || err == errNoBase || errors.Is(err, errNilPointer) || find[*StatusError](err) != nil || find[*NotSentError](err) != nil {
		return false
	}
	ok, _ := retryablehttp.ErrorPropagatedRetryPolicy(req.Context(), nil, &url.Error{Op: req.Method, URL: target.Redact(req.URL), Err: err})
	return ok
}

// newSchedule returns a new schedule for one request.
func (t *Transport) newSchedule() backoff.BackOff {
	if t.Backoff != nil {
		if b := t.Backoff(); b != nil {
			return b
		}
	}
	return schedule.Default()
}

// proxyRefusal returns the error that CheckProxyConnect has built from a proxy's refusal,
// or nil if err holds no such error. The final error of a Transport below does not count;
// such an error has Attempts and Stop set.
func proxyRefusal(err error) *StatusError {
	if err == nil { // the usual case
		return nil
	}
	e := find[*StatusError](err)
	if e == nil || e.Method != http.MethodConnect || e.Attempts != 0 || e.Stop != StopUnset {
		return nil
	}
	return e
}
