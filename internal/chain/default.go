package chain

import (
	"context"
	"net/http"
	"net/url"

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
	url   *url.URL // the request's URL
	times int      // how many marks of the same RoundTripper there are, including this one
}

// Mark returns a copy of req with the mark of by.
func Mark(req *http.Request, by http.RoundTripper) *http.Request {
	return req.WithContext(context.WithValue(req.Context(), markKey{by}, mark{req.URL, Marks(req, by) + 1}))
}

// Marks returns how many times by has marked the context of req.
func Marks(req *http.Request, by http.RoundTripper) int {
	m, _ := req.Context().Value(markKey{by}).(mark)
	return m.times
}

// Returned reports whether req has the mark of by and still the same URL: then it is one of
// the attempts that by has passed on, which has come back.
func Returned(req *http.Request, by http.RoundTripper) bool {
	m, marked := req.Context().Value(markKey{by}).(mark)
	return marked && target.Redact(m.url) == target.Redact(req.URL)
}
