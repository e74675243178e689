package iamhttp

import (
	"context"
	"errors"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/chain"
	"github.com/iamhttp/iamhttp/internal/resend"
)

// A Transport is an [http.RoundTripper] that retries requests by the IAM API's rules and
// returns the remaining failures as errors (with PassThrough, as responses).
//
// The zero value is ready to use. A Transport is safe for concurrent use; do not
// copy or change it after first use.
type Transport struct {
	// Base sends each attempt. If nil, http.DefaultTransport is used. If you have made the
	// Transport a part of http.DefaultTransport, its attempts go to the original default
	// transport instead, whether they come from the Transport or from a Base that uses
	// http.DefaultTransport. The response bodies that Base returns must allow Close during a
	// Read, as net/http's bodies do.
	//
	// Set Base in these cases:
	//   - The Transport is a part of http.DefaultTransport, inside a RoundTripper that does not
	//     reveal the next one with a method WrappedRoundTripper() http.RoundTripper. Without a
	//     Base, that RoundTripper runs twice per attempt. If it also replaces the request's
	//     context and changes the goroutine, the request goes around forever.
	//   - The Transport is registered for http or https with the RegisterProtocol method of
	//     http.DefaultTransport. Without another http.Transport as its Base, each request
	//     overflows the stack.
	//   - http.DefaultTransport is a RoundTripper of your own, such as a mock, to which one
	//     Transport without a Base passes a request, and which then sends a request of its own
	//     through another, on the same goroutine. That request goes to the original default
	//     transport, unless the other Transport has http.DefaultTransport as its Base.
	Base http.RoundTripper

	// MaxAttempts is the maximum number of times a request is sent; 1 means no retries.
	// Zero or negative means as many attempts as fit before the context's deadline
	// (http.Client.Timeout sets one), from the ninth on at least 1 s apart. Without a
	// deadline it means 8 attempts, which the default Backoff spreads over about a minute
	// and a half. See also [WithMaxAttempts].
	MaxAttempts int

	// MaxWait is the longest wait before a retry, not counting random jitter and the time
	// in the Gate's queue. If Retry-After or the Gate's pause is longer, the call fails at
	// once; a longer Backoff interval is shortened. Even with a MaxWait below 1 s, the ninth
	// and later attempts are 1 s apart where MaxAttempts says so. Zero or negative means
	// until the context's deadline or, without a deadline, 2 minutes. See also
	// [WithMaxWait].
	MaxWait time.Duration

	// Backoff returns a new schedule (of package github.com/cenkalti/backoff/v4) and must be
	// safe for concurrent use. It is called at most once per RoundTrip, and NextBackOff at
	// most once per attempt. A negative interval ends the call. The interval is the wait
	// itself (a 429 that states a limit may lengthen it, as may X-Retry-After with a code in
	// AlsoRetry) or, if the service asks for a wait, the upper bound of the random jitter that
	// is added to that wait. If Backoff is nil or returns nil: 1 s, doubled each time, ±50%,
	// at most 30 s.
	Backoff func() backoff.BackOff

	// AlsoRetry lists codes to retry in addition to 408 and 429, even where the
	// documentation does not mention a retry or advises against one. A listed 413 is
	// retried if it carries Retry-After; any other listed code is retried if the request is
	// idempotent by its method (RFC 9110 §9.2.2) or has an Idempotency-Key or
	// X-Idempotency-Key.
	AlsoRetry []Code

	// RetryConnectionErrors makes the Transport also retry requests that received no
	// response. Such a request must be idempotent, as defined for AlsoRetry, or its
	// connection must have failed to open; its body must be replayable; and the error must
	// not be final. Some errors may come from the body: then the Transport first reads a body
	// from GetBody, for at most a second, and makes no retry if that body fails, or if a Read
	// of it does not end. An error from your own dialer, Proxy function or VerifyConnection is
	// final if it wraps a *tls.CertificateVerificationError. If the last attempt received no
	// response, RoundTrip returns Base's error. Off by default, because the documentation
	// covers only responses.
	RetryConnectionErrors bool

	// Expected lists status codes that are not failures for this caller: responses with
	// these codes are returned, and are not retried, reported or recorded. See also
	// [WithExpected].
	Expected []Code

	// PassThrough makes RoundTrip return the last response, with its body unread, instead
	// of a *StatusError. This keeps the contract of http.RoundTripper. Retries are the
	// same as without PassThrough. You still get a *StatusError for a failing response that
	// cannot be returned, for example because the call was canceled before a retry, the
	// Gate refused a retry, or the response is a proxy's refusal to connect
	// ([CheckProxyConnect]). For a Recorder, OnFailure or the Gate, up to 64 KiB of the
	// body is read ahead and put back; the response may then be a copy of Base's.
	PassThrough bool

	// Gate, if not nil, decides when an account's requests are sent, so that all calls
	// back off when one of them is throttled; see [gate.Adaptive]. With a Gate, the
	// Transport itself does not wait after a 429, except to keep the ninth and later
	// attempts 1 s apart (see MaxAttempts) and, if neither a deadline nor a signature
	// limits the call, in the second half of the attempts. It reports the 429 to the gate
	// and asks the gate again, within MaxAttempts, MaxWait and the deadline. When stacking
	// Transports, set Gate only on the innermost. If nil, calls are not coordinated.
	Gate gate.Gate

	// GateKey returns a key, which must not be empty, that names the limit that the request
	// counts against, usually an account's. Set GateKey if one host serves several accounts,
	// or if several hosts share one limit. It must be safe for concurrent use. If nil,
	// [gate.KeyByHostAndMethod] is used.
	GateKey func(*http.Request) string

	// OnFailure, if not nil, is called for each [Failure], in PassThrough mode too,
	// before RoundTrip continues. It receives the request's context and must be safe for
	// concurrent use. [LogFailures] returns a function that logs failures, and [Tee]
	// combines several functions.
	OnFailure func(context.Context, Failure)

	// SignatureLife is how long an AK/SK signature that is added above the Transport stays
	// valid; a call fails at once if its wait would outlast the signature. A signature that
	// had expired before the first attempt does not count. Zero means 15 minutes. A
	// negative value means no limit, and so does an aksk.Transport below that signs each
	// attempt, provided that each RoundTripper in between reveals the next one with a method
	// WrappedRoundTripper() http.RoundTripper.
	SignatureLife time.Duration

	closing int32 // 1 while CloseIdleConnections runs; not an atomic.Int32, because an unused Transport may be copied
}

var (
	errNoAnswer   = errors.New("iamhttp: Base returned neither response nor error")
	errNilPointer = errors.New("iamhttp: Base returned a nil pointer as an error")
	errNoBase     = errors.New("iamhttp: there is neither a Base nor an http.DefaultTransport")
)

// RoundTrip sends req and retries it where the documentation or a setting allows a retry.
// It deliberately breaks the contract of [http.RoundTripper]: for a failing response it
// returns a nil response and a *StatusError. So put the Transport outermost, where no
// other layer can mistake its errors for broken connections and retry them. To keep the
// contract, set PassThrough.
//
// A response with a code from 100 to 399 is returned unchanged. The request is never
// modified. A body is sent again only if the request has GetBody; it is never buffered.
// GetBody must return a new reader each time, not the earlier one rewound, because Base may
// still be reading the earlier body.
// If the last attempt received no response, RoundTrip returns Base's error, joined with
// the reason if a planned retry was canceled or refused by the Gate; the service may still
// have carried out the request. If the Gate refuses the first attempt, the error is a
// *[NotSentError].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.within(req) {
		return chain.Original.RoundTrip(req)
	}
	c := call{t: t, req: req, current: resend.First(req), fastest: math.MaxInt64, open: http.NoBody}
	return c.run()
}

// CloseIdleConnections closes Base's idle connections, if Base supports that.
func (t *Transport) CloseIdleConnections() {
	base := t.base()
	switch {
	case atomic.CompareAndSwapInt32(&t.closing, 0, 1):
		defer atomic.StoreInt32(&t.closing, 0)
	case chain.Depth(0) > 1:
		base = chain.Original // http.DefaultTransport has passed the call back to t
	default:
		return // another goroutine is making the same call
	}
	if c, ok := base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// WrappedRoundTripper returns the RoundTripper that t wraps: Base or, if that is nil,
// http.DefaultTransport (the original one if t is a part of http.DefaultTransport).
// Kubernetes uses this method name.
func (t *Transport) WrappedRoundTripper() http.RoundTripper { return t.base() }

func (t *Transport) base() http.RoundTripper {
	switch {
	case t.Base != nil:
		return t.Base
	case !chain.IsPlain(http.DefaultTransport) && chain.Depth(0) > 1:
		return t // leadsTo is asking a RoundTripper that passes the question on to t; this ends the chain
	case leadsTo(http.DefaultTransport, t):
		return chain.Original
	}
	return http.DefaultTransport
}

// self returns t. A RoundTripper that embeds a Transport has this method too, and so reveals
// the Transport; its WrappedRoundTripper may also be the Transport's, which does not.
func (t *Transport) self() *Transport { return t }

// leadsTo reports whether a request that is passed to rt would come back to t. This happens
// if a program installs t as the default transport, or as a part of the default transport.
// If a RoundTripper does not reveal what it wraps, leadsTo may return false although the
// request would come back.
func leadsTo(rt http.RoundTripper, t *Transport) bool {
	return chain.Has(rt, func(h interface{ self() *Transport }) bool { return h.self() == t })
}

// within reports whether req is one of t's own attempts, which the default transport has
// passed back to t. If so, t only has to send req.
func (t *Transport) within(req *http.Request) bool {
	return !chain.IsPlain(http.DefaultTransport) && // usually, it is plain
		chain.Returned(req, t) && (t.Base == nil || leadsTo(http.DefaultTransport, t))
}

// passDown sends an attempt to Base or, without a Base, to the default transport.
func (t *Transport) passDown(req *http.Request) (*http.Response, error) {
	switch {
	case t.Base == nil:
		return t.viaDefault(req)
	case chain.IsPlain(t.Base) || chain.IsPlain(http.DefaultTransport):
		return t.Base.RoundTrip(req)
	}
	return t.viaBase(req)
}

// viaDefault sends an attempt for a Transport without a Base.
func (t *Transport) viaDefault(req *http.Request) (*http.Response, error) {
	base := t.base()
	switch {
	case base == nil:
		resend.CloseBody(req)
		return nil, errNoBase
	case chain.IsPlain(base):
		return base.RoundTrip(req)
	case chain.Marks(req, t) > 0 || chain.Depth(0) > 1:
		// The default transport has passed the request back with another URL, or with
		// another context or to another Transport.
		return chain.Original.RoundTrip(req)
	}
	return chain.RoundTrip(base, req, t)
}

// maxDepth is the largest number of Transports that pass an attempt on to each other while
// the default transport is not an *http.Transport.
const maxDepth = 10

// viaBase sends an attempt for a Transport whose Base might pass the attempt back: a Base
// that uses http.DefaultTransport, as an oauth2.Transport without a Base does, if t is a part
// of the default transport. If the default transport does not reveal t, the number of
// marks shows whether the attempt keeps coming back. If the context with the marks has been
// replaced, only the depth of the stack shows that.
func (t *Transport) viaBase(req *http.Request) (*http.Response, error) {
	_, revealed := chain.Find[*http.Transport](http.DefaultTransport)
	switch {
	case revealed && !leadsTo(http.DefaultTransport, t):
		return t.Base.RoundTrip(req)
	case chain.Marks(req, t) >= maxDepth || chain.Depth(0) > maxDepth:
		return chain.Original.RoundTrip(req)
	}
	return chain.RoundTrip(t.Base, req, t)
}
