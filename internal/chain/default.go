package chain

import (
	"context"
	"net/http"
	"net/url"
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
// transport that is not plain, or to a RoundTripper that might.
type markKey struct{ by http.RoundTripper }

type mark struct {
	url   *url.URL    // the request's URL
	times int         // how many marks of the same RoundTripper there are, including this one
	outer *mark       // the previous one of these marks
	over  atomic.Bool // whether the attempt has ended: its context may be used for another request
}

// RoundTrip passes req, with the mark of by, to rt.
func RoundTrip(rt http.RoundTripper, req *http.Request, by http.RoundTripper) (*http.Response, error) {
	m := &mark{url: req.URL, times: Marks(req, by) + 1, outer: latest(req, by)}
	defer m.over.Store(true)
	return rt.RoundTrip(req.WithContext(context.WithValue(req.Context(), markKey{by}, m)))
}

// latest returns the latest mark of by whose attempt has not ended, or nil.
func latest(req *http.Request, by http.RoundTripper) *mark {
	m, _ := req.Context().Value(markKey{by}).(*mark)
	for m != nil && m.over.Load() {
		m = m.outer
	}
	return m
}

// Marks returns how many times by has marked the context of req.
func Marks(req *http.Request, by http.RoundTripper) int {
	if m := latest(req, by); m != nil {
		return m.times
	}
	return 0
}

// Returned reports whether req has the mark of by and still the same URL: then it is one of
// the attempts that by has passed on, which has come back.
func Returned(req *http.Request, by http.RoundTripper) bool {
	m := latest(req, by)
	return m != nil && target.Redact(m.url) == target.Redact(req.URL)
}
