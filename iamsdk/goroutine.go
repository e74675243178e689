package iamsdk

import (
	"bytes"
	"runtime"
)

// goroutine returns the name of the current goroutine, with its ID. Go never reuses an ID.
// The SDKs send all requests of a call in one goroutine. Nothing else distinguishes the
// resend of one caller from the first send of another caller with the same request.
func goroutine() string {
	var b [64]byte
	stack := b[:runtime.Stack(b[:], false)] // "goroutine 1 [running]: …"
	name, _, _ := bytes.Cut(stack, []byte(" ["))
	return string(name)
}
