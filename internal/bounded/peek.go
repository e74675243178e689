package bounded

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Peek reads at most Max bytes of the body, for at most d or until ctx ends, and puts
// them back: resp.Body still yields the whole body and its error. But if ctx ends while the
// body is being read ahead, and the body does not end or fail within closeTime, the body is
// closed, and resp.Body yields only the data read by then and then ctx's cause. If ctx has
// ended already, this happens only if reading ahead takes longer than MinDrain, because the
// body may be in memory, as after io.ReadAll. Peek also reports whether the body is, or may
// be, longer than the returned data. The time that earlier Peeks have waited for the body
// counts, so that several layers that peek do not multiply the time.
//
// Reading ahead may go on after Peek has returned, and net/http may then add trailers to
// resp. A RoundTripper must therefore return Own(resp).
func Peek(ctx context.Context, resp *http.Response, d time.Duration) (data []byte, truncated bool) {
	if resp.Body == nil || resp.Body == http.NoBody {
		resp.Body = http.NoBody
		return nil, false
	}
	ended, start := context.Cause(ctx), time.Now()
	earlier, waited := peeked(resp)
	switch {
	case ended != nil:
		ctx, d = context.Background(), MinDrain
	case earlier != nil && waited >= d:
		return earlier.unread()
	default:
		d -= waited
	}
	p := &peekedBody{rest: resp.Body, inflated: resp.Uncompressed, closer: bodyCloser{body: resp.Body}, ended: make(chan struct{})}
	p.resp, p.source = resp, Own(resp)
	p.own = *p.source
	p.own.Body, p.own.Trailer = p, maps.Clone(p.source.Trailer)
	resp.Body = p
	defer func() { p.waited = waited + time.Since(start) }()
	// Interrupting a Read that waits for a slow server would end the body. The Read
	// therefore runs in the background, and resp.Body begins with the data read there.
	go p.readAhead(ctx, resp.ContentLength)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ended:
		p.mu.Lock() // ctx may end at this moment
		defer p.mu.Unlock()
		if p.panicked != nil {
			panic(p.panicked) // panic here, where the caller can recover
		}
		return slices.Clip(p.data), p.err != io.EOF
	case <-timer.C:
		data = p.stop(ended)
		if ended != nil {
			go p.closer.closeAside() // as readAhead does when ctx ends
		}
		return data, true
	case <-ctx.Done():
		p.closeSoon(ctx) // the function that readAhead has registered need not have run yet
		return p.stop(nil), true
	}
}

// Own returns the response that a RoundTripper returns after Peek(resp): resp itself if its
// body has been read ahead to the end, and otherwise a copy that net/http does not change.
// The copy gets its trailers when its reader reaches the end of the body.
func Own(resp *http.Response) *http.Response {
	if resp == nil {
		return nil
	}
	p, _ := peeked(resp)
	if p == nil || p.resp != resp {
		return resp
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == io.EOF {
		return resp
	}
	return &p.own
}

// A peekedBody is a body whose beginning has been, or is being, read ahead.
type peekedBody struct {
	rest     io.ReadCloser
	inflated bool          // net/http inflates the body
	closer   bodyCloser    // closes rest, either for the caller or when the context ends
	ended    chan struct{} // closed when reading ahead has ended, after which data no longer changes
	waited   time.Duration // how long Peeks have waited for the body

	resp   *http.Response // the response that was passed to Peek
	source *http.Response // the response to which rest adds trailers; nil: own has got them
	own    http.Response  // what Own returns

	mu      sync.Mutex
	data    []byte // what was read ahead; Peek's callers hold the same bytes, so they never change
	at      int    // how many bytes of data the caller has read
	err     error  // the error that ends the body; nil: the body continues with rest after data
	stopped bool   // reading ahead must stop
	closed  bool   // the caller has closed the body

	panicked any // the value of the panic, if a Read of rest panicked
}

// peeked returns the body of resp if Peek has read it ahead, and how long Peeks have waited
// for it.
func peeked(resp *http.Response) (p *peekedBody, waited time.Duration) {
	if p, _ = resp.Body.(*peekedBody); p != nil {
		waited = p.waited
	}
	return p, waited
}

// unread returns the data that was read ahead and that the caller has not read yet, and
// whether the body is, or may be, longer.
func (p *peekedBody) unread() (data []byte, truncated bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fit(p.data[p.at:]), p.err != io.EOF
}

// fit returns data without spare capacity, in a smaller array if most of the present one is
// not used: errors may be kept for a long time.
func fit(data []byte) []byte {
	if cap(data) > 2*len(data)+512 {
		return bytes.Clone(data)
	}
	return slices.Clip(data)
}

var (
	errPanicked = errors.New("iamhttp: panic while reading the body")
	errClosed   = errors.New("read on closed response body") // as in net/http, without its prefix
)

// readAhead reads until the body ends, Max bytes are read, or it is stopped. If the context
// ends in the meantime, a body that does not end or fail soon is closed.
func (p *peekedBody) readAhead(ctx context.Context, size int64) {
	defer close(p.ended)
	defer context.AfterFunc(ctx, func() { p.closeSoon(ctx) })()
	defer func() {
		if v := recover(); v != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.panicked, p.err = v, errPanicked
		}
	}()
	first := 512
	if 0 <= size && size < Max {
		first = int(size) + 1 // one more byte lets the last Read find the end
	}
	p.grow(first)
	for idle := 0; ; idle++ {
		n, err := p.rest.Read(p.data[len(p.data):cap(p.data)])
		if n > 0 {
			idle = 0
		}
		p.mu.Lock()
		if p.err == nil { // if not nil, stop has set the error that ends the data
			p.data = p.data[:len(p.data)+n]
			p.err = err
		}
		if idle == 100 && p.err == nil {
			p.err = io.ErrNoProgress
		}
		enough := p.err != nil || p.stopped || len(p.data) >= Max
		p.mu.Unlock()
		if enough {
			return
		}
		if len(p.data) == cap(p.data) {
			p.grow(min(2*len(p.data), Max))
		}
	}
}

// closeSoon closes the body closeTime after the context has ended, unless by then the body
// has ended or failed. A body of net/http fails when the context of its request ends, but
// not every body does, and one that still yields data would otherwise be read to its end.
func (p *peekedBody) closeSoon(ctx context.Context) {
	time.AfterFunc(closeTime, func() {
		if p.interrupt(context.Cause(ctx)) {
			p.closer.closeAside()
		}
	})
}

// interrupt makes err the error that follows the data read so far, and reports whether the
// body must then be closed.
func (p *peekedBody) interrupt(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return false
	}
	p.stopped, p.err = true, err
	return true
}

// grow moves data to an array of n bytes.
func (p *peekedBody) grow(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.data = append(make([]byte, 0, n), p.data...)
}

// stop makes readAhead end after its current Read, and returns the data read so far. If
// err is not nil, readers of the body get err after that data, unless the body has
// already ended.
func (p *peekedBody) stop(err error) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.err == nil {
		p.err = err
	}
	return fit(p.data)
}

func (p *peekedBody) Read(b []byte) (int, error) {
	n, err := p.read(b)
	if err == io.EOF && p.source != nil {
		if p.own.Trailer == nil && p.source.Trailer != nil {
			p.own.Trailer = http.Header{}
		}
		maps.Copy(p.own.Trailer, p.source.Trailer)
		p.source = nil
	}
	return n, err
}

func (p *peekedBody) read(b []byte) (int, error) {
	if n, err := p.readData(b); n > 0 || err != nil || len(b) == 0 {
		return n, err
	}
	<-p.ended
	if n, err := p.readData(b); n > 0 || err != nil {
		return n, err
	}
	n, err := p.rest.Read(b)
	return n, p.follow(err)
}

// follow returns the error for a Read of rest that has returned err. If the body was closed
// during that Read because the context has ended, err is only a consequence.
func (p *peekedBody) follow(err error) error {
	if err == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	return p.err
}

// readData copies data that was read ahead into b. After the last of that data, it
// returns the error, if any.
func (p *peekedBody) readData(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return 0, errClosed
	case p.at == len(p.data):
		return 0, p.err
	}
	n := copy(b, p.data[p.at:])
	p.at += n
	return n, nil
}

// Close closes the body. In Go 1.26, closing a body that net/http inflates blocks while a
// Read waits for the gzip header, so Close waits at most closeTime for such a body. If that
// is not enough, Close returns nil, and otherwise the body's error.
func (p *peekedBody) Close() error {
	if p.end() {
		return nil
	}
	return p.closer.err
}

// end does the work of Close, and reports whether the body is still being closed.
func (p *peekedBody) end() (stuck bool) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	if !p.inflated {
		p.closer.close()
		return false
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.closer.closeAside()
	}()
	select {
	case <-closed:
		p.closer.close() // panics if Close has panicked, and otherwise does nothing
		return false
	case <-time.After(closeTime):
		return true
	}
}

// closeInTime closes the body, and reports whether resp is stuck (see ReadAndClose).
func (p *peekedBody) closeInTime(resp *http.Response) (stuck bool) {
	if mayBlock(resp) {
		Close(resp)
		return false
	}
	return p.end()
}
