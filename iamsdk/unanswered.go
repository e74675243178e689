package iamsdk

import (
	"context"
	"net/http"
	"reflect"
	"sync/atomic"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/inside1"
)

// An unanswered keeps a RoundTripper from resending requests that got no response. Unless
// all is set, requests without a body that may be sent twice are exempt. A floor below
// that RoundTripper turns the connection's error into a response, which the RoundTripper
// usually passes on. The unanswered above the RoundTripper turns that response back into
// the error. This way, the caller gets the original error; the RoundTripper alone might
// keep only the error's text.
type unanswered struct {
	sends http.RoundTripper // the RoundTripper that would resend, or one above it
	all   bool              // whether to prevent even the resends of requests that may be sent twice
}

// protect puts an unanswered and a floor around the RoundTripper below t, and around those
// below Transports further down. It does nothing if t.Base is nil or already protected, or
// if it cannot find where a floor belongs.
func protect(t *iamhttp.Transport, depth int, seen map[http.RoundTripper]bool) {
	switch t.Base.(type) {
	case *unanswered, nil:
		return
	}
	base, found := lay(t.Base, depth, seen)
	if _, isTransport := base.(*iamhttp.Transport); found && !isTransport {
		t.Base = &unanswered{base, t.RetryConnectionErrors}
	}
}

// lay puts a floor below the lowest RoundTripper inside rt whose exported field for the
// next one can hold a floor, and returns rt or, if a struct value has to change, a copy.
// It reports whether it found such a field, or a RoundTripper that needs no floor. A
// Transport needs none, because it resends unanswered requests only as its
// RetryConnectionErrors allows, and with a floor its OnFailure would report a response
// that never arrived. The results for pointers are kept in seen; until there is one, the
// result is that there is such a field, because RoundTrippers may form a cycle.
func lay(rt http.RoundTripper, depth int, seen map[http.RoundTripper]bool) (_ http.RoundTripper, found bool) {
	switch w := rt.(type) {
	case *floor, *unanswered, *session:
		return rt, true
	case *iamhttp.Transport:
		if w != nil && depth > 0 {
			protect(w, depth-1, seen)
		}
		return rt, true
	}
	v := reflect.ValueOf(rt)
	isValue := v.Kind() == reflect.Struct
	if isValue {
		v = reflect.New(v.Type())
		v.Elem().Set(reflect.ValueOf(rt))
	}
	if v.Kind() != reflect.Pointer || v.IsNil() || depth == 0 {
		return rt, false
	}
	if !isValue {
		if found, ok := seen[rt]; ok {
			return rt, found
		}
		seen[rt] = true
		defer func() { seen[rt] = found }()
	}
	for _, f := range inside1.Slots(v.Elem()) {
		below, _ := reflect.TypeAssert[http.RoundTripper](f)
		if k := f.Kind(); below == nil || (k == reflect.Pointer || k == reflect.Interface) && f.IsNil() {
			continue
		}
		next, ok := lay(below, depth-1, seen)
		switch {
		case ok && f.CanSet() && reflect.ValueOf(next).Kind() == reflect.Struct:
			f.Set(reflect.ValueOf(next))
		case !ok && f.CanSet() && reflect.TypeFor[*floor]().AssignableTo(f.Type()):
			f.Set(reflect.ValueOf(&floor{below}))
			ok = true
		}
		found = found || ok
	}
	if isValue && found {
		rt, _ = reflect.TypeAssert[http.RoundTripper](v.Elem())
	}
	return rt, found
}

func (u *unanswered) RoundTrip(req *http.Request) (*http.Response, error) {
	hasBody := req.Body != nil && req.Body != http.NoBody // a resend would have an empty body
	if !u.all && !hasBody && maySendTwice(req) {
		return u.sends.RoundTrip(req)
	}
	once := &once{req: req}
	resp, err := u.sends.RoundTrip(req.WithContext(context.WithValue(req.Context(), onceKey{}, once)))
	failed := once.failed.Load()
	if failed == nil || err == nil && resp != nil && resp.StatusCode != http.StatusServiceUnavailable { // another pass of the request, sent at the same time, got a response
		return resp, err
	}
	if resp != nil {
		bounded.Close(resp)
	}
	return nil, *failed
}

// A once is a request that must not be sent again if it gets no response.
type once struct {
	req    *http.Request
	failed atomic.Pointer[error] // why it got no response; atomic, because the RoundTripper may return before this is set
}

type onceKey struct{}

// is reports whether a request is the one in question, rather than one that the
// RoundTripper makes itself, for example to get its keys.
func (o *once) is(req *http.Request) bool {
	return req.Method == o.req.Method && req.URL != nil && o.req.URL != nil && req.URL.Path == o.req.URL.Path
}

// CloseIdleConnections closes the idle connections of the RoundTripper below.
func (u *unanswered) CloseIdleConnections() { closeIdle(u.sends) }

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes convention.
func (u *unanswered) WrappedRoundTripper() http.RoundTripper { return u.sends }

// A floor works together with an unanswered. It sits below the RoundTripper that would
// resend, and the unanswered sits above.
type floor struct{ base http.RoundTripper }

func (f *floor) RoundTrip(req *http.Request) (*http.Response, error) {
	once, ok := req.Context().Value(onceKey{}).(*once)
	if !ok || !once.is(req) {
		return f.base.RoundTrip(req)
	}
	if failed := once.failed.Load(); failed != nil { // the RoundTripper is resending, because it mistook this floor's 503 for one from the service
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, *failed
	}
	resp, err := f.base.RoundTrip(req)
	if err == nil {
		return resp, nil
	}
	once.failed.Store(&err)
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
