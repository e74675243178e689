package neterr

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The limits for reading a request body ahead of its retry.
const (
	maxProbe     = 8 << 20
	probeTime    = 50 * time.Millisecond
	maxProbeTime = time.Second
)

// BodyFailed reports whether a retry of req would fail because its body cannot be read or
// has the wrong length. To find out, it reads up to 8 MiB of a fresh body. After 50 ms, it
// closes that body and waits, at most until 1 s has passed, for a Read that is still
// running. When in doubt, it returns false. But it returns true if a Read is still running
// when the time is over or the request is canceled: if GetBody returns the same reader each
// time, that Read would take bytes out of the retry's body.
//
// If err says that the connection broke or could not be made, it returns false without
// reading. No other error reveals whether it came from the body: net/http returns the
// errors of a body unchanged, and a body may come from a network, too.
func BodyFailed(req *http.Request, err error) bool {
	if req.Body == nil || req.Body == http.NoBody || broken(err) {
		return false
	}
	body, err := req.GetBody()
	if err != nil || body == nil {
		return false
	}
	end := sync.OnceFunc(func() {
		defer func() { _ = recover() }() // a panic would end the process, because end runs in other goroutines
		body.Close()
	})
	failed := make(chan bool, 1)
	var late atomic.Bool
	go func() {
		unreadable := false
		defer func() {
			_ = recover() // a Read that panics probably does so again in the retry, where Base can recover
			end()
			failed <- unreadable
		}()
		unreadable = !sendable(body, req.ContentLength, &late)
	}()
	giveUp := func() {
		late.Store(true)
		go end() // this may end the Read
	}
	slow, over := time.NewTimer(probeTime), time.NewTimer(maxProbeTime)
	defer slow.Stop()
	defer over.Stop()
	for {
		select {
		case f := <-failed:
			return f
		case <-slow.C:
			giveUp()
			continue
		case <-over.C:
		case <-req.Context().Done():
		case <-req.Cancel:
		}
		giveUp()
		return true
	}
}

// broken reports whether err says that a connection broke or could not be made.
func broken(err error) bool {
	return dialFailed(err) || err == io.EOF || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.HasSuffix(err.Error(), "connection reset by peer")
}

// sendable reports whether a body can probably be read to its end and, if length is
// positive, has that length. It stops and returns true after maxProbe bytes, after 100
// empty Reads in a row, or if late is set, because then the body may have been closed.
func sendable(body io.Reader, length int64, late *atomic.Bool) bool {
	var read int64
	buf := make([]byte, 32<<10)
	for idle := 0; read < maxProbe && idle < 100 && !late.Load(); idle++ {
		n, err := body.Read(buf)
		if err != nil {
			return late.Load() || err == io.EOF && (length <= 0 || read+int64(n) == length)
		}
		if n > 0 {
			read, idle = read+int64(n), 0
		}
	}
	return true
}
