// Package bounded reads the bodies of failing answers, bounded in size and in time.
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

// Time returns how long reading a body may take that is kept: as long as the
// deadline of ctx leaves time to do something with it.
func Time(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(MaxTime, time.Until(deadline)/2)
	}
	return MaxTime
}

// ReadAndClose reads at most Max bytes of the body in at most d, or until ctx ends,
// and returns the first keep of them and whether there would have been more. It
// closes the body.
func ReadAndClose(ctx context.Context, resp *http.Response, keep int, d time.Duration) (data []byte, truncated bool) {
	data, truncated, _ = read(ctx, resp, keep, d, new(bodyCloser), nil)
	return data, truncated
}

// A Drain is room for discarding one body, which a caller may have as a part of
// something larger.
type Drain struct {
	closer bodyCloser
	buffer [208]byte // of which an error has seldom more
}

// ReadAndClose discards a body like the function of that name, and returns its
// beginning, which may be a part of the Drain.
// It reports whether the body is stuck: it could not be closed, so that its
// connection is still in use.
func (d *Drain) ReadAndClose(ctx context.Context, resp *http.Response, in time.Duration) (data []byte, truncated, stuck bool) {
	return read(ctx, resp, Kept, in, &d.closer, d.buffer[:0])
}

func read(ctx context.Context, resp *http.Response, keep int, d time.Duration, g *bodyCloser, buf []byte) (data []byte, truncated, stuck bool) {
	switch {
	case resp.Body == http.NoBody:
		return nil, false, false
	case resp.Uncompressed:
		return readAside(ctx, resp, keep, d)
	}
	data, truncated = readInTime(ctx, resp, keep, d, g, buf)
	return data, truncated, false
}

func readInTime(ctx context.Context, resp *http.Response, keep int, d time.Duration, g *bodyCloser, buf []byte) (data []byte, truncated bool) {
	g.body = resp.Body
	defer g.close()
	// Only Close interrupts a Read that waits for a slow server.
	end := g.close
	defer time.AfterFunc(d, end).Stop()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, end)()
	}
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
	// What is read to its end leaves a connection that can be used again.
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
	go func() {
		data, truncated := readInTime(ctx, resp, keep, d, new(bodyCloser), nil)
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
	// A server may announce more than it sends: only a small size is believed.
	// One byte more lets the last Read meet the end.
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
