// Package note stores a value with a response, for hooks that cannot otherwise tell which
// call the response belongs to. The value is stored in the context of resp.Request,
// because other hooks are unlikely to replace that context.
package note

import (
	"context"
	"net/http"
	"net/url"
)

// A note is a value together with the response that it belongs to. Another response does
// not share the note, even if its Request has the same context.
type note struct {
	resp  *http.Response
	value any
}

type key struct{}

// Put stores v with resp.
func Put(resp *http.Response, v any) {
	req := Request(resp)
	resp.Request = req.WithContext(context.WithValue(req.Context(), key{}, note{resp, v}))
}

// Request returns resp.Request. If that is nil (some RoundTrippers do not set it), Request
// returns a GET request with an empty URL.
func Request(resp *http.Response) *http.Request {
	if resp.Request != nil {
		return resp.Request
	}
	return &http.Request{Method: http.MethodGet, URL: new(url.URL), Header: http.Header{}}
}

// Get returns the value that is stored with resp, or the zero T if there is no value of
// type T. resp may be nil.
func Get[T any](resp *http.Response) (v T) {
	if resp == nil || resp.Request == nil {
		return v
	}
	if n, ok := resp.Request.Context().Value(key{}).(note); ok && n.resp == resp {
		v, _ = n.value.(T)
	}
	return v
}
