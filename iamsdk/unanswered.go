package iamsdk

import (
	"context"
	"net/http"
	"reflect"
)

// An unanswered keeps a RoundTripper from sending a request again that got no
// answer. Below that RoundTripper a floor makes the error a response, which it hands
// on; here the response becomes the error again. So the caller gets the error itself,
// of which such RoundTrippers keep the text alone.
type unanswered struct {
	sends http.RoundTripper // the one that would send again
	all   bool              // also what may be sent twice
}

// guard puts a floor below rt, and returns what to put above it; nil if it cannot
// find out where rt hands its requests on to.
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
	hasBody := req.Body != nil && req.Body != http.NoBody // the second time it would be empty
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

// CloseIdleConnections closes those below.
func (u *unanswered) CloseIdleConnections() { closeIdle(u.sends) }

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes' convention.
func (u *unanswered) WrappedRoundTripper() http.RoundTripper { return u.sends }

// A floor is below a RoundTripper that an unanswered is above.
type floor struct{ base http.RoundTripper }

type floorKey struct{}

func (f *floor) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.base.RoundTrip(req)
	failed, ok := req.Context().Value(floorKey{}).(*error)
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

// CloseIdleConnections closes those below.
func (f *floor) CloseIdleConnections() { closeIdle(f.base) }

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes' convention.
func (f *floor) WrappedRoundTripper() http.RoundTripper { return f.base }

func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
