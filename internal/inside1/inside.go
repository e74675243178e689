// Package inside1 finds the RoundTrippers inside another one, for the packages that put a
// Transport into an SDK's client. Its path contains a number, because iamhuaweicloud imports
// it, and users can combine iamhuaweicloud with a newer root module.
package inside1

import (
	"iter"
	"net/http"
	"reflect"

	"github.com/iamhttp/iamhttp"
)

// Most limits how deep this package looks into a RoundTripper, because a method that
// returns the next one may return a new one each time.
const Most = 10

// All returns an iterator over rt and the RoundTrippers below it, as far as they
// reveal what they wrap, through a method or an exported field.
func All(rt http.RoundTripper) iter.Seq[http.RoundTripper] {
	return func(yield func(http.RoundTripper) bool) {
		look(rt, Most, map[http.RoundTripper]bool{}, yield)
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
	for _, f := range Slots(reflect.Indirect(v)) {
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

// Slots returns a struct's exported fields of types that implement http.RoundTripper,
// including the fields of embedded structs.
func Slots(v reflect.Value) (fields []reflect.Value) {
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

// LeadsTo reports whether rt is a RoundTripper that visibly passes its requests to t, which
// must be a pointer. It returns false for t itself.
func LeadsTo(rt, t http.RoundTripper) bool {
	for below := range All(rt) {
		if below == t { // cannot panic, because t is a pointer
			return rt != t
		}
	}
	return false
}

// isOpaque reports whether rt may pass its requests to a RoundTripper that All does not
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
