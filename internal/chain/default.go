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
// transport that is not plain, or to a RoundTripper that might. The value is the request's
// URL.
type markKey struct{ by http.RoundTripper }

// Mark returns a copy of req with the mark of by.
func Mark(req *http.Request, by http.RoundTripper) *http.Request {
	return req.WithContext(context.WithValue(req.Context(), markKey{by}, req.URL))
}

// Marked reports whether the context of req has the mark of by. It also reports whether the
// URL is still the same: then req is one of the attempts that by has passed on, which the
// default transport has passed back.
func Marked(req *http.Request, by http.RoundTripper) (marked, same bool) {
	u, marked := req.Context().Value(markKey{by}).(*url.URL)
	return marked, marked && target.Redact(u) == target.Redact(req.URL)
}
