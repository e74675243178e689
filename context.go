package iamhttp

import (
	"context"
	"slices"
	"time"
)

// WithExpected adds codes to Expected for every request under the context. Use it
// where a failure is an answer: a 404 to a look-up, or a 429 to a login, which can
// mean a locked account. Nested calls add up.
func WithExpected(ctx context.Context, codes ...Code) context.Context {
	o := optionsOf(ctx)
	o.expected = slices.Concat(o.expected, codes)
	return withOptions(ctx, o)
}

// WithMaxAttempts sets MaxAttempts for every request under the context. If n is
// less than 1, the setting stays as it is.
func WithMaxAttempts(ctx context.Context, n int) context.Context {
	if n < 1 {
		return ctx
	}
	o := optionsOf(ctx)
	o.maxAttempts = n
	return withOptions(ctx, o)
}

// WithMaxWait sets MaxWait for every request under the context, unless d ≤ 0.
func WithMaxWait(ctx context.Context, d time.Duration) context.Context {
	if d <= 0 {
		return ctx
	}
	o := optionsOf(ctx)
	o.maxWait = d
	return withOptions(ctx, o)
}

// options are the settings that a context carries. One value holds them all, so
// that a request costs one look-up.
type options struct {
	expected    []Code
	maxAttempts int           // 0: that of the Transport
	maxWait     time.Duration // 0: that of the Transport
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

// expects reports whether a failure is an answer to this caller.
func (t *Transport) expects(o options, code Code) bool {
	return slices.Contains(t.Expected, code) || slices.Contains(o.expected, code)
}

// ResendCount returns how many times the request with this context was sent
// before: 0 in the first attempt, 1 in the first retry. Use it in a RoundTripper
// below the Transport, or with resp.Request.Context(). OpenTelemetry records it as
// http.request.resend_count.
func ResendCount(ctx context.Context) int {
	return resendOf(ctx).count
}

// A resend is what the context of a retry holds.
type resend struct {
	count int   // attempts before this one
	began int64 // when the call began whose retry it is, in nanoseconds: there may be many who wait
}

type resendKey struct{}

func resendOf(ctx context.Context) resend {
	r, _ := ctx.Value(resendKey{}).(*resend)
	if r == nil {
		return resend{}
	}
	return *r
}

// A resendContext is the context of a retry.
type resendContext struct {
	context.Context
	resend
}

func (c *resendContext) Value(key any) any {
	if key == (resendKey{}) {
		return &c.resend
	}
	return c.Context.Value(key)
}

// String is for those who print a context, which fmt would do by its fields.
func (c *resendContext) String() string { return "iamhttp.resendContext" }
