package iamsdk

import (
	"errors"
	"iter"
	"net/http"
	"reflect"

	"github.com/iamhttp/iamhttp"
)

// mostInside limits how deep Install looks into a RoundTripper, because a method that
// returns the next one may return a new one each time.
const mostInside = 10

// inside returns an iterator over rt and the RoundTrippers below it, as far as they
// reveal what they wrap, through a method or an exported field.
func inside(rt http.RoundTripper) iter.Seq[http.RoundTripper] {
	return func(yield func(http.RoundTripper) bool) {
		look(rt, mostInside, map[http.RoundTripper]bool{}, yield)
	}
}

// look calls yield for rt and the RoundTrippers inside it, until yield returns false. In
// that case, look returns false. It skips the pointers in seen, and adds those that it
// looks at.
func look(rt http.RoundTripper, depth int, seen map[http.RoundTripper]bool, yield func(http.RoundTripper) bool) bool {
	v := reflect.ValueOf(rt)
	if depth == 0 || !v.IsValid() {
		return true
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() || seen[rt] {
			return true
		}
		seen[rt] = true
	}
	if !yield(rt) {
		return false
	}
	next := func() http.RoundTripper { return nil }
	reveals := true
	switch w := rt.(type) {
	case interface{ WrappedRoundTripper() http.RoundTripper }:
		next = w.WrappedRoundTripper
	case interface{ Unwrap() http.RoundTripper }:
		next = w.Unwrap
	default:
		reveals = false
	}
	for _, f := range slots(reflect.Indirect(v)) {
		// The method may be that of an embedded RoundTripper. It then reveals only what is
		// below that one.
		if reveals && f.Type() != reflect.TypeFor[*iamhttp.Transport]() {
			continue
		}
		if below, ok := reflect.TypeAssert[http.RoundTripper](f); ok && !look(below, depth-1, seen, yield) {
			return false
		}
	}
	return look(next(), depth-1, seen, yield)
}

// slots returns a struct's exported fields of types that implement http.RoundTripper,
// including the fields of embedded structs.
func slots(v reflect.Value) (fields []reflect.Value) {
	if v.Kind() != reflect.Struct {
		return nil
	}
	for _, field := range reflect.VisibleFields(v.Type()) {
		if !field.IsExported() || !field.Type.Implements(reflect.TypeFor[http.RoundTripper]()) {
			continue
		}
		if f, err := v.FieldByIndexErr(field.Index); err == nil {
			fields = append(fields, f)
		}
	}
	return fields
}

// leadsTo reports whether rt is a RoundTripper that visibly passes its requests to t. It
// returns false for t itself.
func leadsTo(rt http.RoundTripper, t *iamhttp.Transport) bool {
	if own, ok := rt.(*iamhttp.Transport); ok && own == t {
		return false
	}
	for below := range inside(rt) {
		if own, ok := below.(*iamhttp.Transport); ok && own == t {
			return true
		}
	}
	return false
}

// isOpaque reports whether rt may pass its requests to a RoundTripper that inside does not
// find, judging by its type: rt is a function, or a struct outside net/http that can hold
// a client, such a function, or a RoundTripper that is not itself an exported field.
func isOpaque(rt http.RoundTripper) bool {
	t := reflect.TypeOf(rt)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() == "net/http" {
		return sends(t)
	}
	seen := map[reflect.Type]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		if found := f.IsExported() && f.Type.Implements(reflect.TypeFor[http.RoundTripper]()); !found && holds(f.Type, seen) {
			return true
		}
	}
	return false
}

// holds reports whether a value of type t can hold something that sends requests. It
// skips the types in seen, and adds those that it looks at.
func holds(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Func:
		return sends(t)
	case reflect.Interface:
		for i := range t.NumMethod() {
			if sends(t.Method(i).Type) {
				return true
			}
		}
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return holds(t.Elem(), seen)
	case reflect.Struct:
		if t.PkgPath() == "net/http" { // a Client leads to other RoundTrippers; so does a Transport after RegisterProtocol, but that is rare
			return t == reflect.TypeFor[http.Client]()
		}
		for i := range t.NumField() {
			if holds(t.Field(i).Type, seen) {
				return true
			}
		}
	default: // numbers, strings and channels
	}
	return false
}

// sends reports whether t is a function that takes a request and returns a response.
func sends(t reflect.Type) bool {
	return t.Kind() == reflect.Func && t.NumIn() == 1 && t.In(0) == reflect.TypeFor[*http.Request]() &&
		t.NumOut() == 2 && t.Out(0) == reflect.TypeFor[*http.Response]()
}

// A loop is the Base of a Transport. If the RoundTripper below passes a request back to
// the Transport, the loop returns an error, because the request would otherwise go around
// forever.
type loop struct{ Below http.RoundTripper } // exported, so that slots finds it

var errLoop = errors.New("iamsdk: the client's RoundTripper leads back to the Transport that was passed to Install; pass another Transport")

func (l *loop) RoundTrip(req *http.Request) (*http.Response, error) {
	s, ok := req.Context().Value(sendingKey{}).(*sending)
	if !ok { // the Transport is used without the session
		s = newSending(req.Context(), req)
		req = &s.request
	}
	outer := s.in.Swap(l)
	defer s.in.Store(outer)
	if outer == l {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, errLoop
	}
	return l.Below.RoundTrip(req)
}

// CloseIdleConnections closes the idle connections of the RoundTripper below.
func (l *loop) CloseIdleConnections() { closeIdle(l.Below) }

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes convention.
func (l *loop) WrappedRoundTripper() http.RoundTripper { return l.Below }
