// Package resend marks the context of a retry, so that RoundTrippers below the
// Transport can tell it from a first attempt.
package resend

import "context"

// A Resend is what the context of a retry holds.
type Resend struct {
	Count int   // attempts before this one
	Began int64 // when the call of this retry began, in nanoseconds, because many calls may wait; 0: unknown
}

type key struct{}

// Of returns what ctx holds, the zero Resend in a first attempt.
func Of(ctx context.Context) Resend {
	r, _ := ctx.Value(key{}).(*Resend)
	if r == nil {
		return Resend{}
	}
	return *r
}

// A Context is the context of a retry.
type Context struct {
	context.Context
	Resend
}

// Value returns the Resend for the key of this package.
func (c *Context) Value(k any) any {
	if k == (key{}) {
		return &c.Resend
	}
	return c.Context.Value(k)
}

// String keeps fmt from printing the fields of a context.
func (c *Context) String() string { return "iamhttp.resendContext" }
