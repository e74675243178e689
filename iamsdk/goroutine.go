package iamsdk

import (
	"bytes"
	"runtime"
)

// goroutine returns the ID of the current goroutine, which is never used again. The
// SDKs make all requests of a call in one goroutine, and nothing else tells the
// resend of one caller from the first send of another one that asks for the same.
func goroutine() string {
	var b [64]byte
	stack := b[:runtime.Stack(b[:], false)] // "goroutine 1 [running]: …"
	name, _, _ := bytes.Cut(stack, []byte(" ["))
	return string(name)
}
