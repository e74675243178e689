// Package chain finds out which RoundTrippers a request passes through.
package chain

import (
	"cmp"
	"iter"
	"net/http"
	"reflect"
	"runtime"
)

// Of returns an iterator over rt and the RoundTrippers below it, as far as they reveal
// what they wrap. The chain ends at a RoundTripper that says it wraps itself.
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
			next := w.WrappedRoundTripper()
			if v := reflect.ValueOf(next); v.IsValid() && v.Comparable() && next == rt {
				return
			}
			rt = next
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

// MayLimitConns reports whether rt may limit its connections per host, as an http.Transport
// with MaxConnsPerHost does. A RoundTripper in between may hide that setting.
func MayLimitConns(rt http.RoundTripper) bool {
	base, ok := Find[*http.Transport](rt)
	return !ok || base.MaxConnsPerHost > 0
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

// callers returns an iterator over the names of the functions on the stack, from the
// innermost. A skip of 0 starts with the function that calls callers.
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
