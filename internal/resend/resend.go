// Package resend says which requests may be sent again, and builds their retries. It marks
// the context of a retry, so that RoundTrippers below the Transport can distinguish the
// retry from a first attempt. For go-retryablehttp, it marks some first attempts too.
package resend

import "context"

// A Resend holds the information that the context of a retry carries.
type Resend struct {
	Count int   // the number of attempts before this one
	Began int64 // when the call began, in nanoseconds since 1970, because a time.Time is larger, and many calls may wait; 0: unknown
}

type key struct{}

// Of returns the Resend in ctx, or the zero Resend if there is none (a first attempt).
func Of(ctx context.Context) Resend {
	r, _ := ctx.Value(key{}).(*Resend)
	if r == nil {
		return Resend{}
	}
	return *r
}

// A Context is a context that carries a Resend.
type Context struct {
	context.Context
	Resend
}

// Value returns the Resend for this package's key.
func (c *Context) Value(k any) any {
	if k == (key{}) {
		return &c.Resend
	}
	return c.Context.Value(k)
}

// String keeps the contexts that wrap a Context from printing its fields.
func (c *Context) String() string { return "iamhttp.resendContext" }
