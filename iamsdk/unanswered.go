package iamsdk

import (
	"context"
	"net/http"
	"reflect"
)

// An unanswered keeps a RoundTripper from resending requests that got no response. A
// floor below that RoundTripper turns the connection's error into a response, which the
// RoundTripper passes on. The unanswered above the RoundTripper turns that response back
// into the error. This way, the caller gets the original error, whereas the RoundTripper
// would keep only its text.
type unanswered struct {
	sends http.RoundTripper // the RoundTripper that would resend
	all   bool              // whether to prevent even the resends of requests that may be sent twice
}

// guard puts a floor below rt, and returns the unanswered to put above rt. It returns nil
// if it cannot find the RoundTripper that rt passes its requests to.
func guard(rt http.RoundTripper, all bool) *unanswered {
	v := reflect.ValueOf(rt)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	found := false
	for i := range v.Elem().NumField() {
		f := v.Elem().Field(i)
		if f.Type() != reflect.TypeFor[http.RoundTripper]() || !f.CanSet() || f.IsNil() {
			continue
		}
		found = true
		below, _ := reflect.TypeAssert[http.RoundTripper](f)
		if _, done := below.(*floor); !done {
			f.Set(reflect.ValueOf(&floor{below}))
		}
	}
	if !found {
		return nil
	}
	return &unanswered{rt, all}
}

func (u *unanswered) RoundTrip(req *http.Request) (*http.Response, error) {
	hasBody := req.Body != nil && req.Body != http.NoBody // a resend would have an empty body
	if !u.all && !hasBody && maySendTwice(req) {
		return u.sends.RoundTrip(req)
	}
	var failed error
	resp, err := u.sends.RoundTrip(req.WithContext(context.WithValue(req.Context(), floorKey{}, &failed)))
	if failed == nil {
		return resp, err
	}
	if resp != nil {
		resp.Body.Close()
	}
	return nil, failed
}

// CloseIdleConnections closes the idle connections of the RoundTripper below.
func (u *unanswered) CloseIdleConnections() { closeIdle(u.sends) }

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes convention.
func (u *unanswered) WrappedRoundTripper() http.RoundTripper { return u.sends }

// A floor works together with an unanswered. It sits below the RoundTripper that would
// resend, and the unanswered sits above.
type floor struct{ base http.RoundTripper }

type floorKey struct{}

func (f *floor) RoundTrip(req *http.Request) (*http.Response, error) {
	failed, ok := req.Context().Value(floorKey{}).(*error)
	if ok && *failed != nil { // the RoundTripper is resending, because it mistook the 503 made below for one from the service
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, *failed
	}
	resp, err := f.base.RoundTrip(req)
	if err == nil || !ok {
		return resp, err
	}
	*failed = err
	return &http.Response{
		Status:     "503 no answer",
		StatusCode: http.StatusServiceUnavailable,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     http.Header{},
		Body:       http.NoBody,
		Request:    req,
	}, nil
}

// CloseIdleConnections closes the idle connections of the RoundTripper below.
func (f *floor) CloseIdleConnections() { closeIdle(f.base) }

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes convention.
func (f *floor) WrappedRoundTripper() http.RoundTripper { return f.base }

func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
