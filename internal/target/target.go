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
