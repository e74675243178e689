// Package resend says which requests may be sent again, and builds their retries. It marks
// the context of a retry, so that RoundTrippers below the Transport can distinguish the
// retry from a first attempt. For go-retryablehttp, it marks some first attempts too.
package resend

import (
	"context"
	"net/http"
	"time"

	"github.com/iamhttp/iamhttp/internal/target"
)

// A Resend holds the information that the context of a retry carries.
type Resend struct {
	Count   int           // the number of attempts before this one
	Began   int64         // when the call began, in nanoseconds since 1970, because a time.Time is larger, and many calls may wait; 0: unknown
	skipped int           // the number of attempts of other requests, with whose contexts this one was made, directly or indirectly
	request *http.Request // the retry; nil: there is none
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

// For is like Of, but a count that belongs to another request does not count. There is such
// a count if a RoundTripper makes a request, say for a token, with the context of a retry.
func For(req *http.Request) Resend {
	r := Of(req.Context())
	if r.request == nil || r.isOf(req) {
		return r
	}
	return Resend{skipped: r.skipped + r.Count}
}

// isOf reports whether r belongs to req, or to a request that redirects have led from to req.
func (r Resend) isOf(req *http.Request) bool {
	for ; req != nil; req = req.Response.Request {
		if target.Same(r.request, req) {
			return true
		}
		if req.Response == nil {
			return false
		}
	}
	return false
}

// Below returns how many retries a Transport below has made, according to the response to
// an attempt that was sent at the given time. It returns 0 if that Transport's call began
// earlier, because then the response may come from a cache. If a layer below shares one
// response among concurrent requests, the number may be another request's; this cannot be
// detected.
func Below(resp *http.Response, attempt *http.Request, sent time.Time) int {
	if resp == nil || resp.Request == nil {
		return 0
	}
	below, own := Of(resp.Request.Context()), Of(attempt.Context())
	if below.Began < sent.UnixNano() {
		return 0
	}
	return max(below.Count+below.skipped-own.Count-own.skipped, 0) // skipped differs if a RoundTripper in between has changed the URL
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
