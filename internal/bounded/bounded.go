// Package bounded reads the bodies of failing responses, with limits on size and time.
package bounded

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// The limits for reading the body of a failing response.
const (
	Max       = 64 << 10               // the maximum number of bytes that are read
	Kept      = 4 << 10                // the maximum number of bytes that are kept during the wait for a retry
	MaxTime   = 5 * time.Second        // the longest time limit for reading a body that is returned
	MaxDrain  = time.Second            // the longest time limit for reading a body that is discarded
	MinDrain  = 50 * time.Millisecond  // the shortest time limit for reading a body that is discarded
	closeTime = 100 * time.Millisecond // how long Close may take to interrupt a Read
)

// Time returns the time limit for reading a body that is returned. It is at most half the
// time until ctx's deadline, and is negative after the deadline.
func Time(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(MaxTime, time.Until(deadline)/2)
	}
	return MaxTime
}

// ReadAndClose reads at most Max bytes of the body, until d has passed or ctx ends, and
// closes the body. If ctx has ended already, it reads for at most MinDrain. The time that
// Peeks have waited for the body counts. It returns the first keep bytes, whether the body
// is, or may be, longer, and whether it is stuck: it could not be closed in time, and its
// connection is still in use. Only a body that net/http inflates can be stuck; then there
// is no data (see readAside) except what a Peek has read.
func ReadAndClose(ctx context.Context, resp *http.Response, keep int, d time.Duration) (data []byte, truncated, stuck bool) {
	memory := NewDrain()
	defer memory.Release()
	return memory.read(ctx, resp, keep, d, nil)
}

// A Drain holds the memory for discarding one body, and for a wait afterwards. Get one from
// NewDrain, and return it with Release.
type Drain struct {
	closer bodyCloser
	end    func()      // closer.late, stored because a method value allocates each time
	buffer [256]byte   // enough for most error bodies
	busy   bool        // whether a timer or a context may still use the Drain
	wait   *time.Timer // ends the wait; nil: there is none
}

// A Drain in the pool does not keep its timer, because under testing/synctest a timer
// belongs to the test that created it.
var drains = sync.Pool{New: func() any {
	d := new(Drain)
	d.end = d.closer.late
	return d
}}

// NewDrain returns a Drain that is not in use.
func NewDrain() *Drain { return drains.Get().(*Drain) }

// Release returns the Drain to the pool, unless a timer or a context may still use it.
// After that, the data that its ReadAndClose returned must not be used.
func (d *Drain) Release() {
	running := d.wait != nil && !d.wait.Stop() && d.closer.waiting() // the wait ends at this moment
	d.wait = nil
	if !d.busy && !running {
		d.closer = bodyCloser{}
		drains.Put(d)
	}
}

// After returns a channel that is closed once in has passed, unless Release is called
// before. Call After at most once, and after ReadAndClose, whose timer it uses again if it
// can: time.NewTimer makes three allocations.
func (d *Drain) After(in time.Duration) <-chan struct{} {
	ended := make(chan struct{})
	switch g := &d.closer; {
	case d.busy:
		d.wait = time.AfterFunc(in, func() { close(ended) })
	case g.timer == nil:
		g.ended = ended
		d.wait = time.AfterFunc(in, d.end)
	default:
		g.ended = ended
		d.wait = g.timer
		d.wait.Reset(in)
	}
	return ended
}

// ReadAndClose reads and closes a body that is discarded, like the function ReadAndClose.
// It returns the first Kept bytes, which may be stored in the Drain.
func (d *Drain) ReadAndClose(ctx context.Context, resp *http.Response, in time.Duration) (data []byte, truncated, stuck bool) {
	return d.read(ctx, resp, Kept, in, d.buffer[:0])
}

// read does the work of both. It fills buf before it allocates.
func (d *Drain) read(ctx context.Context, resp *http.Response, keep int, in time.Duration, buf []byte) (data []byte, truncated, stuck bool) {
	earlier, waited := peeked(resp)
	switch {
	case resp.Body == http.NoBody:
		return nil, false, false
	case earlier != nil && waited >= in && ctx.Err() == nil:
		data, truncated = earlier.unread()
		return data[:min(len(data), keep)], truncated || len(data) > keep, earlier.closeInTime(resp)
	case resp.Uncompressed:
		return readAside(ctx, resp, keep, in-waited)
	}
	d.busy = true // busy stays true if Read panics
	data, truncated, d.busy = readInTime(ctx, resp, keep, in-waited, &d.closer, d.end, buf)
	return data, truncated, false
}

// readInTime does the work of read. end is g.late. busy reports whether a timer
// or ctx may still call g.closeAside after readInTime has returned.
func readInTime(ctx context.Context, resp *http.Response, keep int, d time.Duration, g *bodyCloser, end func(), buf []byte) (data []byte, truncated, busy bool) {
	g.body = resp.Body
	read := false
	defer func() {
		if !read { // Read has panicked
			g.close()
		}
	}()
	if ctx.Err() != nil {
		ctx, d = context.Background(), MinDrain // data that is already in memory can be read although ctx has ended
	}
	g.start(ctx, d, end)
	data, truncated = readAll(resp, buf, keep)
	read = true
	busy = g.stop()
	return data, truncated, g.closeInTime(resp) || busy
}

// closeInTime closes the body of resp, and reports whether that is still going on.
func (g *bodyCloser) closeInTime(resp *http.Response) (busy bool) {
	if mayBlock(resp) {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			g.closeAside()
		}()
		timer := time.NewTimer(closeTime)
		defer timer.Stop()
		select {
		case <-closed:
		case <-timer.C:
			return true
		}
	}
	g.close()
	return false
}

// Close closes the body of resp, which was not read.
func Close(resp *http.Response) {
	switch {
	case resp.Body == nil: // http.Client permits this, and in package iamsdk a RoundTripper may be above the Transport
	case !mayBlock(resp):
		resp.Body.Close()
	default:
		(&bodyCloser{body: resp.Body}).closeInTime(resp)
	}
}

// mayBlock reports whether closing the body may take long. Over HTTP/2, net/http's Close
// writes to the connection and, while the request is still being sent, waits for a Read of
// the request's body.
func mayBlock(resp *http.Response) bool { return resp.ProtoMajor >= 2 }

// readAll reads at most Max bytes and returns the first keep of them.
func readAll(resp *http.Response, buf []byte, keep int) (data []byte, truncated bool) {
	data, err := readUpTo(resp.Body, buf, keep, resp.ContentLength)
	if err != nil {
		return data, err != io.EOF
	}
	if keep == Max { // a Read with an empty buffer may reveal that the body has ended
		_, err = resp.Body.Read(nil)
		return data, err != io.EOF
	}
	if resp.ContentLength > Max {
		return data, true
	}
	// An HTTP/1 connection can be reused only if the body was read to its end.
	n, err := io.CopyN(io.Discard, &impatient{r: resp.Body}, int64(Max-keep))
	return data, n > 0 || err != io.EOF
}

// An impatient reader fails after 100 Reads in a row that return neither data nor an error,
// because io.Copy would continue for ever.
type impatient struct {
	r    io.Reader
	idle int
}

func (i *impatient) Read(p []byte) (n int, err error) {
	if n, err = i.r.Read(p); n > 0 {
		i.idle = 0
	} else if i.idle++; err == nil && i.idle >= 100 {
		err = io.ErrNoProgress
	}
	return n, err
}

// A bodyCloser closes a body at most once; concurrent callers block until the body is
// closed. Closing the body interrupts a Read that waits for a slow server.
type bodyCloser struct {
	once     sync.Once
	body     io.Closer
	err      error // what Close returned
	panicked any   // the value of the panic, if Close panicked

	mu      sync.Mutex
	ctx     context.Context
	timer   *time.Timer
	left    time.Duration // how long the body may be read after the timer has first fired
	ended   chan struct{} // closed when the timer fires, because it ends a wait; nil: it does not
	unwatch func() bool   // nil: ctx is not watched
}

// soon is how long a body is read before the bodyCloser watches the context. Most bodies
// have arrived by then, and watching costs two allocations.
const soon = time.Millisecond

// start makes the bodyCloser close the body after d, or when ctx ends. late is g.late.
func (g *bodyCloser) start(ctx context.Context, d time.Duration, late func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := d
	if ctx.Done() != nil {
		first = min(d, soon)
	}
	g.ctx, g.left = ctx, d-first
	g.timer = time.AfterFunc(first, late)
}

// late runs when the timer fires.
func (g *bodyCloser) late() {
	g.mu.Lock()
	if g.ended != nil {
		close(g.ended)
		g.ended = nil
		g.mu.Unlock()
		return
	}
	d := g.left
	if d > 0 {
		g.left = 0
		g.unwatch = context.AfterFunc(g.ctx, g.closeAside)
		g.timer.Reset(d)
	}
	g.mu.Unlock()
	if d <= 0 {
		g.closeAside()
	}
}

// waiting reports whether the timer has yet to end a wait.
func (g *bodyCloser) waiting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended != nil
}

// stop stops the timer, and stops watching the context. It reports whether one of them
// may still close the body.
func (g *bodyCloser) stop() (busy bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = 0
	busy = !g.timer.Stop()
	if g.unwatch != nil {
		busy = !g.unwatch() || busy
	}
	return busy
}

// close closes the body. If the body's Close panics, here or earlier in another goroutine,
// so does close, because its caller can recover.
func (g *bodyCloser) close() {
	g.closeAside()
	if g.panicked != nil {
		panic(g.panicked)
	}
}

// closeAside closes the body. It keeps a panic for close, because in the goroutine of a
// timer or a context, a panic would end the process.
func (g *bodyCloser) closeAside() {
	g.once.Do(func() {
		defer func() {
			g.panicked = recover()
			g.body = nil // the body may be large, and the Drain is kept during the wait for a retry
		}()
		g.err = g.body.Close()
	})
}

// readAside does the work of readInTime for a body that net/http inflates. In Go 1.26,
// closing such a body blocks while a Read waits for the gzip header. If that happens,
// readAside leaves the Read running in the background, until the server or the request's
// context ends it, and reports the body as stuck. If a body that is not stuck panics, so
// does readAside, because its caller can recover.
func readAside(ctx context.Context, resp *http.Response, keep int, d time.Duration) (data []byte, truncated, stuck bool) {
	type read struct {
		data      []byte
		truncated bool
		panicked  any
	}
	if ctx.Err() != nil {
		d = MinDrain
	}
	done := make(chan read, 1)
	resp = &http.Response{Body: resp.Body, ContentLength: resp.ContentLength} // a copy, because the caller may change the original at the same time
	go func() {
		var r read
		defer func() {
			r.panicked = recover()
			done <- r
		}()
		g := new(bodyCloser)
		r.data, r.truncated, _ = readInTime(ctx, resp, keep, d, g, g.late, nil)
	}()
	timer := time.NewTimer(d + min(closeTime, d/2)) // at most 1.5 times d, because d may be half the time until the deadline
	defer timer.Stop()
	select {
	case r := <-done:
		if r.panicked != nil {
			panic(r.panicked)
		}
		return r.data, r.truncated, false
	case <-timer.C:
		return nil, true, true
	}
}

// readUpTo reads n bytes from r; if it reads fewer, it returns r's error, or
// io.ErrNoProgress. It fills buf before it allocates. size is the announced length, or -1
// if unknown.
func readUpTo(r io.Reader, buf []byte, n int, size int64) ([]byte, error) {
	// A server may announce more than it sends, so only a small size is trusted. One
	// extra byte lets the last Read find the end of the body.
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
