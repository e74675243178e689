package iamhttp

import (
	"context"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/resend"
)

// WithExpected adds codes to Expected for every request made with the returned context.
// Use it where a failing status is a valid result: a 404 from a lookup, or a 429 from a
// login, which can mean that the account is locked. Nested calls accumulate.
func WithExpected(ctx context.Context, codes ...Code) context.Context {
	o := optionsOf(ctx)
	o.expected = slices.Concat(o.expected, codes)
	return withOptions(ctx, o)
}

// WithMaxAttempts overrides MaxAttempts for every request made with the returned context.
// It has no effect if n is less than 1.
func WithMaxAttempts(ctx context.Context, n int) context.Context {
	if n < 1 {
		return ctx
	}
	o := optionsOf(ctx)
	o.maxAttempts = n
	return withOptions(ctx, o)
}

// WithMaxWait overrides MaxWait for every request made with the returned context. It has
// no effect if d is zero or negative.
func WithMaxWait(ctx context.Context, d time.Duration) context.Context {
	if d <= 0 {
		return ctx
	}
	o := optionsOf(ctx)
	o.maxWait = d
	return withOptions(ctx, o)
}

// options are the settings that a context carries. One value holds them all, so that
// each request costs only one lookup.
type options struct {
	expected    []Code
	maxAttempts int           // 0: use the Transport's setting
	maxWait     time.Duration // 0: use the Transport's setting
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

// expects reports whether the Transport or the context lists code as Expected.
func (t *Transport) expects(o options, code Code) bool {
	return slices.Contains(t.Expected, code) || slices.Contains(o.expected, code)
}

// ResendCount returns how many times the request with this context has been sent before:
// 0 for the first attempt, 1 for the first retry. Use it in a RoundTripper below the
// Transport, or with resp.Request.Context(). The OpenTelemetry attribute
// http.request.resend_count holds the same number. If a RoundTripper makes another request,
// such as one for a token, with the context of an attempt, the count starts at 0 below a
// Transport that sends this request; without such a Transport, it remains the attempt's.
func ResendCount(ctx context.Context) int {
	return resend.Of(ctx).Count
}
