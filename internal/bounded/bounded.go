// Package bounded reads the bodies of failing responses, bounded in size and in time.
package bounded

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// Bounds for reading the body of a failing answer.
const (
	Max       = 64 << 10        // bytes that are read
	Kept      = 4 << 10         // bytes that are kept while a retry is waited for
	MaxTime   = 5 * time.Second // for a body that is returned
	MaxDrain  = time.Second     // for a body that is discarded
	MinDrain  = 50 * time.Millisecond
	closeTime = 100 * time.Millisecond // in which a Close interrupts a Read
)

// Time returns how long reading a body that is kept may take: so long that the
// deadline of ctx still leaves time to use it.
func Time(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(MaxTime, time.Until(deadline)/2)
	}
	return MaxTime
}

// ReadAndClose reads at most Max bytes of the body in at most d, or until ctx ends,
// and returns the first keep of them and whether there was more to read. It closes
// the body.
func ReadAndClose(ctx context.Context, resp *http.Response, keep int, d time.Duration) (data []byte, truncated bool) {
	switch {
	case resp.Body == http.NoBody:
		return nil, false
	case resp.Uncompressed:
		data, truncated, _ = readAside(ctx, resp, keep, d)
		return data, truncated
	}
	g := new(bodyCloser)
	data, truncated, _ = readInTime(ctx, resp, keep, d, g, g.close, nil)
	return data, truncated
}

// A Drain holds what it takes to discard one body. Get one with NewDrain, and give it
// back with Release.
type Drain struct {
	closer bodyCloser
	end    func()    // closer.close: each method value would be an allocation
	buffer [256]byte // an error body is seldom longer
	busy   bool      // a timer may still use it
}

// It holds no timer: in a test with testing/synctest, a timer belongs to the test.
var drains = sync.Pool{New: func() any {
	d := new(Drain)
	d.end = d.closer.close
	return d
}}

// NewDrain returns an unused Drain.
func NewDrain() *Drain { return drains.Get().(*Drain) }

// Release ends the use of a Drain, and of the data that its ReadAndClose has
// returned.
func (d *Drain) Release() {
	if !d.busy {
		d.closer = bodyCloser{}
		drains.Put(d)
	}
}

// ReadAndClose discards a body like the function of that name. It returns the
// beginning, which is stored in the Drain. It reports whether the body is stuck: it
// could not be closed, so that its connection is still in use.
func (d *Drain) ReadAndClose(ctx context.Context, resp *http.Response, in time.Duration) (data []byte, truncated, stuck bool) {
	switch {
	case resp.Body == http.NoBody:
		return nil, false, false
	case resp.Uncompressed:
		return readAside(ctx, resp, Kept, in)
	}
	d.busy = true // also if Read panics
	data, truncated, d.busy = readInTime(ctx, resp, Kept, in, &d.closer, d.end, d.buffer[:0])
	return data, truncated, false
}

// readInTime reports whether g may still be closed when it returns.
func readInTime(ctx context.Context, resp *http.Response, keep int, d time.Duration, g *bodyCloser, end func(), buf []byte) (data []byte, truncated, busy bool) {
	g.body = resp.Body
	defer g.close() // again, if Read panics
	// Only Close interrupts a Read that waits for a slow server.
	timer := time.AfterFunc(d, end)
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, end)
	}
	data, truncated = readAll(resp, buf, keep)
	stopped := timer.Stop()
	stopped = stop() && stopped
	g.close()
	return data, truncated, !stopped
}

// readAll reads at most Max bytes and returns the first keep of them.
func readAll(resp *http.Response, buf []byte, keep int) (data []byte, truncated bool) {
	data, err := readUpTo(resp.Body, buf, keep, resp.ContentLength)
	if err != nil {
		return data, err != io.EOF
	}
	if keep == Max { // a Read of no bytes asks for the end alone
		_, err = resp.Body.Read(nil)
		return data, err != io.EOF
	}
	if resp.ContentLength > Max {
		return data, true
	}
	// A connection can be used again if its body was read to the end.
	n, err := io.CopyN(io.Discard, resp.Body, int64(Max-keep))
	return data, n > 0 || err != io.EOF
}

// bodyCloser closes a body exactly once; concurrent callers block until it is
// closed.
type bodyCloser struct {
	once sync.Once
	body io.Closer
}

func (g *bodyCloser) close() {
	g.once.Do(func() {
		g.body.Close()
		g.body = nil // it may be large, and the Drain may be kept
	})
}

// readAside is readInTime for a body that net/http inflates. Before Go 1.27 its
// Close waits for a Read that waits for the header of gzip, so that such a Read
// has to be left to itself. It ends when the server, or ctx, does.
func readAside(ctx context.Context, resp *http.Response, keep int, d time.Duration) (data []byte, truncated, stuck bool) {
	type read struct {
		data      []byte
		truncated bool
	}
	done := make(chan read, 1)
	resp = &http.Response{Body: resp.Body, ContentLength: resp.ContentLength} // the caller may change the original
	go func() {
		g := new(bodyCloser)
		data, truncated, _ := readInTime(ctx, resp, keep, d, g, g.close, nil)
		done <- read{data, truncated}
	}()
	timer := time.NewTimer(d + min(closeTime, d/2)) // before the deadline that d is half of
	defer timer.Stop()
	select {
	case r := <-done:
		return r.data, r.truncated, false
	case <-timer.C:
		return nil, true, true
	}
}

// readUpTo reads n bytes of r, or fewer and the error that r ended with. buf is
// used as far as it reaches. size is the length announced, -1 if unknown.
func readUpTo(r io.Reader, buf []byte, n int, size int64) ([]byte, error) {
	// A server may announce more than it sends, so only a small size is trusted. One
	// extra byte lets the last Read find the end.
	first := 512
	if 0 <= size && size < Kept {
		first = int(size) + 1
	}
	for idle := 0; idle < 100; {
		if len(buf) == cap(buf) && len(buf) < n {
			grown := make([]byte, len(buf), min(max(first, 2*cap(buf)), n))
			copy(grown, buf)
			buf = grown
		}
		m, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+m]
		if err != nil || len(buf) == n {
			return buf, err
		}
		if m == 0 {
			idle++
		}
	}
	return buf, io.ErrNoProgress
}
