// Package chain finds out which RoundTrippers a request passes through.
package chain

import (
	"cmp"
	"iter"
	"net/http"
	"reflect"
	"runtime"
	"strings"
)

// Of returns an iterator over rt and the RoundTrippers below it, as far as they reveal
// what they wrap.
func Of(rt http.RoundTripper) iter.Seq[http.RoundTripper] {
	return func(yield func(http.RoundTripper) bool) {
		for range 100 { // RoundTrippers from other packages may form a cycle
			if rt == nil || !yield(rt) {
				return
			}
			w, ok := rt.(interface{ WrappedRoundTripper() http.RoundTripper })
			if !ok {
				return
			}
			rt = w.WrappedRoundTripper()
		}
	}
}

// Find returns the first RoundTripper of type T among rt and those below it.
func Find[T any](rt http.RoundTripper) (found T, ok bool) {
	for below := range Of(rt) {
		if found, ok = below.(T); ok {
			break
		}
	}
	return found, ok
}

// Has reports whether ok returns true for a RoundTripper of type T among rt and those
// below it.
func Has[T any](rt http.RoundTripper, ok func(T) bool) bool {
	for below := range Of(rt) {
		if w, is := below.(T); is && ok(w) {
			return true
		}
	}
	return false
}

// Depth returns how many times the function that calls Depth is on the goroutine's stack: 1
// unless it has called itself, directly or through other functions. A skip of 1 asks this
// about the caller of that function, and so on. Depth looks at no more than 256 calls. It is
// slow: a few microseconds.
func Depth(skip int) (n int) {
	first := ""
	for name := range callers(skip + 1) {
		first = cmp.Or(first, name)
		if name == first {
			n++
		}
	}
	return n
}

// Within reports whether the goroutine is in a call of outer's method RoundTrip, and outer
// holds inner in a field, or in a field of a RoundTripper that it holds. It recognizes
// RoundTrippers that do not reveal what they wrap. Only during the call does Within look at
// fields, because then outer has read them, too. Within is as slow as Depth.
func Within(outer, inner http.RoundTripper) bool {
	if outer == nil {
		return false
	}
	method, _ := reflect.TypeOf(outer).MethodByName("RoundTrip")
	running := receiver.Replace(runtime.FuncForPC(method.Func.Pointer()).Name())
	for name := range callers(1) {
		if receiver.Replace(name) == running {
			return holds(reflect.ValueOf(outer), reflect.ValueOf(inner), 10)
		}
	}
	return false
}

// receiver removes the difference between the names of a method that has a value receiver
// and of its equivalent for a pointer, which calls it.
var receiver = strings.NewReplacer("(*", "", ")", "")

// callers returns an iterator over the names of the functions on the stack, from the
// innermost. A skip of 0 starts with the caller of the function that calls callers.
func callers(skip int) iter.Seq[string] {
	var counters [256]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(skip+2, counters[:])])
	return func(yield func(string) bool) {
		for {
			frame, more := frames.Next()
			if !yield(frame.Function) || !more {
				return
			}
		}
	}
}

var roundTripper = reflect.TypeFor[http.RoundTripper]()

// holds reports whether v is the pointer to inner, or leads to it through no more than depth
// fields that are RoundTrippers.
func holds(v, inner reflect.Value, depth int) bool {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		if v.Type() == inner.Type() && v.Pointer() == inner.Pointer() {
			return true
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || depth == 0 {
		return false
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Type().Implements(roundTripper) && holds(f, inner, depth-1) {
			return true
		}
	}
	return false
}
