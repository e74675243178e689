// Package target describes requests in a form that is safe to print.
package target

import (
	"cmp"
	"net/http"
	"net/url"
)

// Of returns the method and the URL of a request in a form that is safe to print.
func Of(req *http.Request) (method, address string) {
	return cmp.Or(req.Method, http.MethodGet), Redact(req.URL)
}

// Redact returns u without user info, query and fragment. It also drops Opaque, which
// may hold user info or a query.
func Redact(u *url.URL) string {
	if u == nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// Same reports whether a and b have the same method, host and path. The query may differ,
// because a RoundTripper may add to it, for example a signature.
func Same(a, b *http.Request) bool {
	if cmp.Or(a.Method, http.MethodGet) != cmp.Or(b.Method, http.MethodGet) {
		return false
	}
	return a.URL == b.URL || a.URL != nil && b.URL != nil && a.URL.Host == b.URL.Host && a.URL.Path == b.URL.Path
}
