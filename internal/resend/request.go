package resend

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// Idempotent reports whether a request may be sent again even if the service has carried
// it out: because of its method (RFC 9110 §9.2.2) or because it has an idempotency key.
// net/http recognizes the same keys, but does not treat PUT and DELETE as idempotent.
func Idempotent(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	_, key := req.Header["Idempotency-Key"]
	_, xkey := req.Header["X-Idempotency-Key"]
	return key || xkey
}

// Replayable reports whether the body of a request, if any, can be sent again.
func Replayable(req *http.Request) bool { return !hasBody(req) || req.GetBody != nil }

// Body returns a fresh body for a Replayable request, or nil if the request has none. It
// never reuses the body of an earlier attempt, because the RoundTripper below may still be
// reading that body. For the same reason, GetBody must not return the reader of an earlier
// body.
func Body(req *http.Request) (io.ReadCloser, error) {
	if !hasBody(req) {
		return nil, nil
	}
	body, err := req.GetBody()
	if err == nil && body == nil {
		err = errors.New("iamhttp: GetBody returned neither a body nor an error")
	}
	return body, err
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// CloseBody closes the body of a request that is not sent.
func CloseBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// A retry holds the context and the request of the next attempt in one allocation.
type retry struct {
	Context
	request http.Request
}

// First returns the request of the first attempt: req itself unless its context holds
// another request's count, and otherwise a copy whose count is 0.
func First(req *http.Request) *http.Request {
	if r := Of(req.Context()); r.Count == 0 || r.request == nil || r.isOf(req) {
		return req
	}
	return withResend(req, For(req))
}

// Request returns the copy of req that is sent next, with the given body, if any. attempts
// is the number of attempts of this call so far, and began is the time of the first. The
// contract of http.RoundTripper does not allow modifying the original.
func Request(req *http.Request, attempts int, began time.Time, body io.ReadCloser) *http.Request {
	r := For(req)
	r.Count += attempts
	r.Began = began.UnixNano()
	next := withResend(req, r)
	if body != nil {
		next.Body = body
	}
	return next
}

func withResend(req *http.Request, r Resend) *http.Request {
	next := new(retry)
	r.request = &next.request
	next.Context = Context{Context: req.Context(), Resend: r}
	next.request = *req.WithContext(next)
	return &next.request
}
