package chain

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/iamhttp/iamhttp/internal/target"
)

// Original is http.DefaultTransport as it was when this package was initialized.
var Original = http.DefaultTransport

// IsPlain reports whether rt is a transport of net/http, which passes requests to no other
// RoundTripper.
func IsPlain(rt http.RoundTripper) bool {
	_, plain := rt.(*http.Transport)
	return plain
}

// A markKey marks the context of an attempt that a RoundTripper passes to a default
// transport that is not plain, or to a RoundTripper that may pass it on to that transport.
type markKey struct{ owner http.RoundTripper }

type mark struct {
	req   *http.Request
	times int         // how many marks of the same RoundTripper there are, including this one
	outer *mark       // the previous one of these marks
	over  atomic.Bool // whether the attempt has ended; its context may then be used for another request
}

// RoundTrip passes req, with a mark of owner, to rt.
func RoundTrip(rt http.RoundTripper, req *http.Request, owner http.RoundTripper) (*http.Response, error) {
	m := &mark{req: req, times: Marks(req, owner) + 1, outer: latest(req, owner)}
	defer m.over.Store(true)
	return rt.RoundTrip(req.WithContext(context.WithValue(req.Context(), markKey{owner}, m)))
}

// latest returns the latest mark of owner whose attempt has not ended, or nil.
func latest(req *http.Request, owner http.RoundTripper) *mark {
	m, _ := req.Context().Value(markKey{owner}).(*mark)
	for m != nil && m.over.Load() {
		m = m.outer
	}
	return m
}

// Marks returns how many times owner has marked the context of req.
func Marks(req *http.Request, owner http.RoundTripper) int {
	if m := latest(req, owner); m != nil {
		return m.times
	}
	return 0
}

// Returned reports whether req is an attempt that owner has passed on and that has come
// back: it has a mark of owner, and its method, host and path are still the same.
func Returned(req *http.Request, owner http.RoundTripper) bool {
	m := latest(req, owner)
	return m != nil && target.Same(m.req, req)
}
