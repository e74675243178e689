package iamsdk

import (
	"runtime"
	"strings"
)

// A place says where in a call of the SDK a request is sent.
type place uint8

const (
	first   place = iota // it is the first request of a call
	resend               // the call sends its request again
	inLogin              // the call has got a 401, and logs in
)

// placeOf returns the place of the request that is being sent. Only the goroutine's stack
// shows it. In all these SDKs, the function that calls http.Client calls itself to resend a
// request. To log in, it calls other functions, and these call it again.
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
			return inLogin // even if it is a resend in a login
		default:
			found = resend
		}
		if !more {
			return found
		}
	}
}
