package resend

import (
	"context"
	"math"
	"net/http"
	"time"
)

// An attempt is the context of one attempt by a go-retryablehttp client.
type attempt struct {
	Context
	sent    time.Time
	fastest time.Duration // the shortest time to a response so far; math.MaxInt64: none
	earlier int           // the part of Count that an earlier call with the same request has left behind
	arrived bool          // whether a response or an error has arrived
}

type attemptKey struct{}

// Value returns the attempt for this package's attemptKey.
func (a *attempt) Value(k any) any {
	if k == (attemptKey{}) {
		return a
	}
	return a.Context.Value(k)
}

// attemptOf returns the attempt with this context, or nil if there is none.
func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// Count returns the number of attempts before the one with this context, in the call of the
// go-retryablehttp client and, if there is one, of the Transport above it.
func Count(ctx context.Context) int {
	n := Of(ctx).Count
	if a := attemptOf(ctx); a != nil {
		n -= a.earlier
	}
	return n
}

// above returns the number of attempts of req by a Transport above the go-retryablehttp
// client.
func above(ctx context.Context, req *http.Request) int {
	if a := attemptOf(ctx); a != nil {
		return above(a.Context.Context, req)
	}
	if r := Of(ctx); r.Began != 0 && r.isOf(req) {
		return r.Count
	}
	return 0
}

// Next records in the context of req that a go-retryablehttp client is about to retry
// req, and calls the program's own hook. The new count replaces the previous attempt's.
func Next(req *http.Request, hook func() error) error {
	n := For(req).Count
	if a := attemptOf(req.Context()); a != nil {
		n -= a.earlier
	}
	set(req.Context(), req, n+1)
	return keep(req, hook)
}

// Start must be called when a go-retryablehttp client is about to send req for the first
// time (retry 0), or again. It records the time and the count in the context of req, and
// calls the program's own hook. In the first attempt, req may be the caller's own request,
// so Start leaves its context alone unless the context has a deadline or holds a count that
// is not from a Transport above.
func Start(req *http.Request, retry int, hook func()) {
	ctx, count := req.Context(), above(req.Context(), req)+retry
	a := attemptOf(ctx)
	_, limited := ctx.Deadline()
	switch {
	case retry > 0 && a != nil && Of(ctx).Count == count:
		a.sent = time.Now()
	case retry > 0:
		set(ctx, req, count)
	case limited || Of(ctx).Count != count:
		set(context.Background(), req, count)
	}
	_ = keep(req, func() error { hook(); return nil })
}

// keep calls a hook, which may replace the context of req. If so, keep puts the attempt into
// the new context.
func keep(req *http.Request, hook func() error) error {
	a := attemptOf(req.Context())
	err := hook()
	if a != nil && attemptOf(req.Context()) != a {
		again := *a
		again.Context.Context = req.Context()
		*req = *req.WithContext(&again)
	}
	return err
}

// set stores count in the context of req. It takes the shortest response time so far from
// previous.
func set(previous context.Context, req *http.Request, count int) {
	next := &attempt{sent: time.Now(), fastest: math.MaxInt64}
	if a := attemptOf(previous); a != nil {
		next.fastest = a.fastest
	}
	ctx := req.Context()
	if a, ok := ctx.(*attempt); ok {
		ctx = a.Context.Context
	}
	next.Context = Context{Context: ctx, Resend: Resend{Count: count, skipped: For(req).skipped, request: req}}
	*req = *req.WithContext(next)
}

// Arrived must be called when a response or an error has just arrived. Each attempt has only
// one. A second one belongs to a later call with the same request, whose first attempt Start
// has not seen, because the program has replaced the hook that calls it. Then Arrived makes
// Count start again.
func Arrived(ctx context.Context) {
	switch a := attemptOf(ctx); {
	case a == nil:
	case a.arrived:
		a.earlier, a.sent = Of(ctx).Count-above(ctx, a.request), time.Now()
	default:
		a.arrived = true
	}
}

// Fastest must be called when a response has just arrived. It measures the time that the
// response took, and returns the shortest time so far in the call of the go-retryablehttp
// client, or 0 if the times are unknown. ctx is the context of the attempt.
func Fastest(ctx context.Context) time.Duration {
	a := attemptOf(ctx)
	if a == nil {
		return 0
	}
	a.fastest = min(a.fastest, time.Since(a.sent))
	return a.fastest
}
