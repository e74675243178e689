package iamsdk

import (
	"runtime"
	"slices"
	"strings"
)

// A stack holds the program counters of a goroutine's calls, from the function that
// passed a request to the client's RoundTripper up to the goroutine's first function.
type stack []uintptr

// callers returns the current stack. It must be called by a function that
// session.RoundTrip calls.
func callers() stack {
	for size := 64; ; size *= 4 {
		pcs := make(stack, size)
		if n := runtime.Callers(4, pcs); n < size {
			return pcs[:n]
		}
	}
}

// A relation says how a request relates to an earlier request from the same goroutine.
// Only the stacks show this, because the SDKs' requests carry nothing that identifies a
// call.
type relation uint8

const (
	apart   relation = iota // the call that sent the earlier request has returned
	equal                   // both requests were sent from the same lines, in a loop of the SDK or of its caller
	within                  // the SDK's function that sent the earlier request called itself, as an SDK does to resend
	through                 // like within, but through other functions, as an SDK does to log in
)

// to returns how a request with the stack now relates to an earlier one with the stack s.
// The function in which the two stacks diverge sent the earlier request. If the later
// stack contains this function again, the function has called itself, so its earlier call
// has not returned. This holds wherever the SDK calls http.Client: in that function, in a
// helper, or behind a wrapper. But if the function is not in the package that calls
// http.Client, the program has called itself, and the SDK's call has returned.
func (s stack) to(now stack) relation {
	i, j := len(s), len(now)
	for i > 0 && j > 0 && s[i-1] == now[j-1] {
		i, j = i-1, j-1
	}
	if i == 0 && j == 0 {
		return equal
	}
	if i == 0 || j == 0 {
		return apart
	}
	sdk, inner := function(now[j-1]), now[:j-1]
	isSDK := func(pc uintptr) bool { return function(pc) == sdk }
	if !isSDK(s[i-1]) || packageOf(sdk) != packageOf(s.sender()) || !slices.ContainsFunc(inner, isSDK) {
		return apart
	}
	same := func(a, b uintptr) bool { return function(a) == function(b) }
	if len(inner) <= len(s) && slices.EqualFunc(inner, s[:len(inner)], same) {
		return within
	}
	return through
}

// sender returns the name of the function that called http.Client or, if the request was
// sent without one, the RoundTripper.
func (s stack) sender() string {
	isClient := func(pc uintptr) bool { return strings.HasPrefix(function(pc), "net/http.(*Client).") }
	if i := slices.IndexFunc(s, isClient); i >= 0 { // below it are RoundTrippers
		s = s[i:]
	}
	for _, pc := range s {
		if f := function(pc); !strings.HasPrefix(f, "net/http.") {
			return f
		}
	}
	return ""
}

// packageOf returns the import path in the name of a function, such as
// "example.com/sdk.(*Client).Do".
func packageOf(function string) string {
	last := strings.LastIndexByte(function, '/') + 1
	name, _, _ := strings.Cut(function[last:], ".")
	return function[:last] + name
}

// function returns the name of the function that contains a program counter.
func function(pc uintptr) string {
	f, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	return f.Function
}
