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
}

type attemptKey struct{}

// Value returns the attempt for this package's attemptKey.
func (a *attempt) Value(k any) any {
	if k == (attemptKey{}) {
		return a
	}
	return a.Context.Value(k)
}

// Next records in the context of req that a go-retryablehttp client is about to retry
// req. The new count replaces the previous attempt's.
func Next(req *http.Request) {
	set(req.Context(), req, Of(req.Context()).Count+1)
}

// Start must be called when a go-retryablehttp client is about to send req. It records the
// time in the context of req. In the first attempt, req may be the caller's own request, so
// Start leaves its context alone unless the context has a deadline or holds a count that is
// not from a Transport above.
func Start(req *http.Request, first bool) {
	ctx := req.Context()
	if !first {
		if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
			a.sent = time.Now()
		}
		return
	}
	if a, ok := ctx.(*attempt); ok {
		ctx = a.Context.Context
	}
	above := Of(ctx)
	if above.Began == 0 { // the count is not from a Transport above
		above.Count = 0
	}
	if _, limited := ctx.Deadline(); limited || Of(req.Context()).Count != above.Count {
		set(context.Background(), req, above.Count)
	}
}

// set stores count in the context of req. It takes the shortest response time so far from
// previous.
func set(previous context.Context, req *http.Request, count int) {
	next := &attempt{sent: time.Now(), fastest: math.MaxInt64}
	if a, ok := previous.Value(attemptKey{}).(*attempt); ok {
		next.fastest = a.fastest
	}
	ctx := req.Context()
	if a, ok := ctx.(*attempt); ok {
		ctx = a.Context.Context
	}
	next.Context = Context{Context: ctx, Resend: Resend{Count: count}}
	*req = *req.WithContext(next)
}

// Fastest must be called when a response has just arrived. It measures the time that the
// response took, and returns the shortest time so far in the call of the go-retryablehttp
// client, or 0 if the times are unknown. ctx is the context of the attempt.
func Fastest(ctx context.Context) time.Duration {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return 0
	}
	a.fastest = min(a.fastest, time.Since(a.sent))
	return a.fastest
}
