package iamsdk

import (
	"runtime"
	"strings"
)

// A place is the point in an SDK call at which a request is sent.
type place uint8

const (
	first   place = iota // the request is the first one of a call
	resend               // the call is sending its request again
	inLogin              // the request is part of a login that a call is waiting for
)

// placeOf returns the place of the request that is being sent. Only the goroutine's stack
// shows the place. In all of these SDKs, the function that calls http.Client calls itself
// to resend a request. To log in, that function calls other functions, which then call it
// again.
func placeOf() place {
	const client = "net/http.(*Client)."
	var pcs [256]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	inClient, sdk, between, found := false, "", 0, first
	for {
		f, more := frames.Next()
		switch {
		case sdk == "" && strings.HasPrefix(f.Function, client):
			inClient = true
		case sdk == "" && inClient && !strings.HasPrefix(f.Function, "net/http."):
			sdk = f.Function
		case sdk == "":
		case f.Function != sdk:
			between++
		case between > 0:
			return inLogin // even if the request is a resend within the login
		default:
			found = resend
		}
		if !more {
			return found
		}
	}
}
