package iamsdk

import (
	"bytes"
	"runtime"
)

// goroutine returns the name of the current goroutine, which contains its ID. Go never
// reuses an ID. The SDKs send all requests of a call in one goroutine, so the name
// distinguishes one call's requests from identical requests in other goroutines.
func goroutine() string {
	var b [64]byte
	stack := b[:runtime.Stack(b[:], false)] // "goroutine 1 [running]: …"
	name, _, _ := bytes.Cut(stack, []byte(" ["))
	return string(name)
}
