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
	manyAttempts    = time.Second // at least, between attempts beyond the default, if a deadline alone limits them
	windowShare     = 3           // see statedWait
)

// A patience says how long a call goes on trying.
type patience struct {
	attempts int           // at most; math.MaxInt: as many as fit
	maxWait  time.Duration // math.MaxInt64: until the deadline
}

// patience combines the settings and the deadline. A setting of the context overrides
// that of the Transport.
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
	hasAsked     bool           // there is a valid one
	resp         *http.Response // nil: no response, or that of a proxy
	err          error          // Base's, if there is no response
	at           time.Time      // when the header of the response arrived, or the error
	fastest      time.Duration  // response of the call so far: how long one takes at least
	attempts     int            // so far, those of a Transport below included
	patience     patience
	expires      time.Time    // the signature of the request; zero: it has none
	retriedBelow bool         // a Transport below has retried already
	reported     bool         // a Transport below has told its OnFailure
	replayable   bool         // the body can be sent again
	gated        bool         // it was throttled, and the gate knows when to come back
	proxy        *StatusError // a proxy refused the request
	cause        error        // why the body cannot be sent again
}

// error returns the typed error of a response, with the part of the body that was
// read.
func (f *failedAttempt) error(stop StopReason, data []byte, truncated bool) *StatusError {
	var e *StatusError
	if f.proxy != nil {
		copied := *f.proxy // each report tells how it stood then
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

// decide says how long to wait, counted from f.at, before the request is sent
// again, or why it is not. interval yields the next interval of the schedule; it
// is asked once per retry, and only if a retry is allowed. Once the body was read,
// statedWait may make the wait longer.
func (t *Transport) decide(f *failedAttempt, interval func() time.Duration) (wait time.Duration, stop StopReason) {
	switch {
	case !f.answered && cancelctx.Ended(f.req) != nil:
		return 0, StopCanceled // which is why there is no response
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
		wait = max(f.asked, f.leastWait()) // at least: the gate lets later ones wait longer
	case f.asked > 0:
		// Never earlier than asked. The jitter on top keeps callers that were told
		// the same time from coming back as the same herd. It grows with the
		// schedule, and is drawn from what the deadline leaves, not cut to it: that
		// would gather them at the deadline.
		jitter := min(wait, left-min(f.asked, left)) // left may be negative, and f.asked the longest there is
		if wait = f.asked; jitter > 0 {
			wait += rand.N(jitter)
		}
	}
	if wait >= left {
		// The answer would come too late, judged by the responses before. Waiting
		// into http.Client.Timeout would cost the caller the typed error: net/http
		// then replaces any error by a text of its own.
		return 0, end
	}
	return wait, StopUnset
}

// leastWait returns the least wait whatever Backoff and the gate say: a deadline that
// is far away must not make a loop of requests without a pause.
func (f *failedAttempt) leastWait() time.Duration {
	if f.patience.attempts == math.MaxInt && f.attempts >= defaultAttempts {
		return manyAttempts
	}
	return 0
}

// statedWait makes a wait longer by what the service states of its limit, where it
// asks for no time itself. A statement may be wrong: it never makes the wait shorter
// or longer than allowed, and never ends the call.
//
// Until the limit takes requests again, all that is sent is lost. If the service
// names only its window, say 200 requests in 5 minutes, nobody knows when that has
// begun. A third of it is waited for: shorter waits would use the attempts up before
// the window ends, and cost a request each; longer ones would find it open for long
// already. Three such waits reach its end, if it had just begun, as it has where many
// requests were sent at once.
func (f *failedAttempt) statedWait(wait time.Duration, data []byte) time.Duration {
	l := limit.Of(f.header, "", f.at)
	if l == (limit.Limit{}) && limit.Mentioned(data) {
		l = limit.Of(nil, answer.OneLine(answer.Decode(f.header, data, int(f.code)).Message), f.at)
	}
	least, jitter := l.Reset, wait
	if least == 0 && l.Requests > 0 {
		least = l.Per / windowShare
		jitter = min(wait, least/10) // three of them must not miss much of the next window
	}
	if least <= wait || l.Remaining > 0 { // it is another limit that is used up
		return wait
	}
	least = min(least, f.patience.maxWait)
	left, _ := f.left()
	if least >= left {
		return wait // it would be too late
	}
	// The jitter keeps callers that were told the same from coming back together.
	if jitter = min(jitter, left-least); jitter > 0 {
		least += rand.N(jitter)
	}
	return max(wait, least)
}

// left returns how long a wait must not take, so that a response that takes as long
// as those before it comes before the deadline, and the request before its signature
// expires. The reason is what comes first.
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
// answer. The judgement is that of go-retryablehttp, without what cannot get better
// and what a Transport below has decided.
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

// newSchedule returns the intervals of one retried request.
func (t *Transport) newSchedule() backoff.BackOff {
	if t.Backoff != nil {
		if b := t.Backoff(); b != nil {
			return b
		}
	}
	return schedule.Default()
}

// idempotent reports whether a request may be sent again though nothing says that
// it was not carried out: by its method (RFC 9110 §9.2.2), or by the presence of
// a key, the convention of net/http.
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

// proxyRefusal returns the refusal of a proxy that CheckProxyConnect has made an
// error, nil for any other error: one that a Transport below has returned has
// attempts, and is the last word.
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
