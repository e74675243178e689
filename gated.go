package iamhttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/answer"
	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/cancelctx"
	"github.com/iamhttp/iamhttp/internal/limit"
	"github.com/iamhttp/iamhttp/internal/neterr"
	"github.com/iamhttp/iamhttp/internal/resend"
	"github.com/iamhttp/iamhttp/internal/target"
)

// A gateRefusal is the error of an attempt that the gate did not admit.
type gateRefusal struct{ err error }

func (r *gateRefusal) Error() string { return r.err.Error() }

// findAccount sets the key of the account whose rate limit applies to the request, if the
// Transport has a gate. If no key can be found, findAccount closes the request body and
// returns an error.
func (c *call) findAccount() error {
	if c.t.Gate == nil {
		return nil
	}
	defer func() {
		if c.key == "" { // GateKey may have panicked
			resend.CloseBody(c.req)
		}
	}()
	switch {
	case c.req.URL == nil:
		return errors.New("iamhttp: the request has no URL")
	case c.t.GateKey != nil:
		if c.key = c.t.GateKey(c.req); c.key == "" {
			return errors.New("iamhttp: GateKey returned an empty key")
		}
	case c.req.URL.Host == "":
		return errors.New("iamhttp: the request's URL has no host")
	default:
		c.key = gate.KeyByHostAndMethod(c.req)
	}
	return nil
}

// sendGated asks the gate. If the gate admits the request, sendGated sends it once and
// reports the outcome to the gate.
func (c *call) sendGated() (resp *http.Response, err error) {
	r := gate.Request{Key: c.key, Resend: c.attempts, MaxWait: c.patience.maxWait, Method: cmp.Or(c.req.Method, http.MethodGet), Path: c.req.URL.Path}
	if r.MaxWait == math.MaxInt64 {
		r.MaxWait = 0 // 0 means no limit
	}
	var ticket gate.Ticket
	waiting, sending := true, false
	defer func() { // runs even if the gate or Base panics
		switch {
		case waiting:
			resend.CloseBody(c.current)
		case sending:
			c.t.Gate.Observe(r, ticket, gate.Outcome{})
		}
	}()
	ticket, err = c.pass(r)
	if err != nil {
		if neterr.HasNil(err) {
			err = fmt.Errorf("nil pointer as an error: %v", err)
		}
		return nil, &gateRefusal{err}
	}
	waiting, sending = false, true
	resp, err = c.send()
	o := gate.Outcome{Result: gate.Accepted}
	if err != nil || !succeeded(resp.StatusCode) {
		o = c.outcome(resp, err)
	}
	sending = false
	c.t.Gate.Observe(r, ticket, o)
	return resp, err
}

// outcome returns what a failed attempt reveals about the account's rate limit.
func (c *call) outcome(resp *http.Response, err error) gate.Outcome {
	var code Code
	var asked time.Duration
	var stated gate.Limit
	var header http.Header
	switch {
	case err == nil:
		code, header = Code(resp.StatusCode), resp.Header
		asked, _ = answer.RetryAfter(header, time.Now())
	case find[*NotSentError](err) != nil:
		return gate.Outcome{Result: gate.NotSent}
	default:
		if e := answerIn(c.current, err); e != nil {
			code, asked, stated, header = e.Code, e.RetryAfter, e.Limit, e.Header()
		}
	}
	switch {
	case c.t.throttled(code, asked, header) && !c.accepts(int(code)):
		if err == nil {
			stated = c.stated(resp, asked)
		}
		return gate.Outcome{Result: gate.Throttled, RetryAfter: asked, Limit: stated}
	case 400 <= code && code < 500 && code != ErrTooManyRequests && proxyRefusal(err) == nil:
		return gate.Outcome{Result: gate.Accepted}
	}
	// There was no response of the service, or it was a server error or a 429 that the
	// caller expects.
	return gate.Outcome{}
}

// stated returns the limit that a throttled response states in its header or its body. Like
// statedWait, it prefers waits that end in time. It reads the body only if the header does
// not say when requests are accepted again, and puts back what it has read. It does not
// wait long for a slow body, because the account's other callers must learn of the 429 at
// once.
func (c *call) stated(resp *http.Response, asked time.Duration) gate.Limit {
	f := failedAttempt{req: c.req, at: time.Now(), fastest: min(c.fastest, time.Since(c.sent)), patience: c.patience, expires: c.expires()}
	left, _ := f.left()
	bound := limit.Bound(left, c.patience.maxWait)
	l := limit.Of(resp.Header, f.at, bound)
	if wait, guess := l.Wait(); asked == 0 && (guess || wait == 0) {
		ctx := c.current.Context()
		data, _ := bounded.Peek(ctx, resp, min(bounded.MinDrain, bounded.Time(ctx)))
		l = limit.Stated(resp.Header, data, resp.StatusCode, f.at, bound)
	}
	return gate.Limit(l)
}

// throttled reports whether a response means that the account is over its limit. Such a
// response is a 429, or it asks for a wait and has a code that AlsoRetry lists. asked is its
// Retry-After.
func (t *Transport) throttled(code Code, asked time.Duration, h http.Header) bool {
	return code == ErrTooManyRequests || slices.Contains(t.AlsoRetry, code) && (asked > 0 || limit.Asks(h, time.Now()))
}

// answerIn returns the *StatusError for req that Base's error holds: a proxy's refusal,
// or the final error of a Transport below. It returns nil if there is none, or if its
// method or URL shows that it belongs to another request, such as a request for a token.
func answerIn(req *http.Request, err error) *StatusError {
	if e := proxyRefusal(err); e != nil {
		return e
	}
	e := find[*StatusError](err)
	if method, url := target.Of(req); e == nil || e.Attempts == 0 || e.Method != method || e.URL != url {
		return nil
	}
	return e
}

// pass waits at the gate, at most until the request's signature expires. A signature that
// has already expired does not limit the wait.
func (c *call) pass(r gate.Request) (gate.Ticket, error) {
	ctx := c.current.Context()
	// Cancel is deprecated, but callers still use it to cancel a request.
	if cancel := c.current.Cancel; cancel != nil {
		both := cancelctx.New(ctx, cancel)
		defer both.Stop()
		ctx = both
	}
	if expires := c.expires(); !expires.IsZero() && time.Until(expires) > 0 {
		limited, cancel := context.WithDeadline(ctx, expires)
		defer cancel()
		ticket, err := c.t.Gate.Wait(limited, r)
		if limited.Err() != nil && ctx.Err() == nil && !neterr.HasNil(err) && errors.Is(err, context.DeadlineExceeded) {
			err = gate.ErrDeadline // the signature's, not the caller's: see StatusError.Timeout
		}
		return ticket, err
	}
	return c.t.Gate.Wait(ctx, r)
}

// outlivesSignature reports whether the gate did not admit the request because its
// signature would expire, or did expire, before the caller's own deadline.
func (c *call) outlivesSignature(err error) bool {
	expires := c.expires()
	deadline, limited := c.req.Context().Deadline()
	return !expires.IsZero() && (!limited || expires.Before(deadline)) && errors.Is(err, gate.ErrDeadline)
}

// earliest returns how long to wait before trying again, according to the gate's error, or
// 0 if err does not say.
func earliest(err error) time.Duration {
	if e := find[*gate.Error](err); e != nil {
		return max(e.RetryAfter, 0)
	}
	return 0
}
