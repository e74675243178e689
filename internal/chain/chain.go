// Package chain finds out which RoundTrippers a request passes through.
package chain

import (
	"iter"
	"net/http"
	"runtime"
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

// Nested reports whether the function that calls Nested has called itself, directly or
// through other functions, so that it is on the stack more than once. A skip of 1 asks
// this about the caller of that function, and so on. Nested looks at no more than 256 calls
// on the goroutine's stack. It is slow: a few microseconds.
func Nested(skip int) bool {
	var callers [256]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(skip+2, callers[:])])
	first, more := frames.Next()
	for more {
		var frame runtime.Frame
		if frame, more = frames.Next(); frame.Function == first.Function {
			return true
		}
	}
	return false
}
