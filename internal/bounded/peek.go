package bounded

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Peek reads at most Max bytes of the body, in at most d or until ctx ends, and
// puts them back: the reader of resp.Body gets the whole body. It reports whether
// there is, or may be, more than it returns.
func Peek(ctx context.Context, resp *http.Response, d time.Duration) (data []byte, truncated bool) {
	if resp.Body == nil || resp.Body == http.NoBody {
		resp.Body = http.NoBody
		return nil, false
	}
	p := &peekedBody{rest: resp.Body, inflated: resp.Uncompressed, closer: bodyCloser{body: resp.Body}, ended: make(chan struct{})}
	resp.Body = p
	// A Read that waits for a slow server cannot be interrupted. It goes on in the
	// background, and its data is read first.
	go p.readAhead(ctx, resp.ContentLength)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ended:
		p.mu.Lock() // ctx may end just now
		defer p.mu.Unlock()
		if p.panicked != nil {
			panic(p.panicked) // here the caller can recover it
		}
		return slices.Clone(p.data), p.err != io.EOF
	case <-timer.C:
		return p.stop(nil), true
	case <-ctx.Done():
		return p.stop(ctx.Err()), true
	}
}

// A peekedBody is a body whose beginning was read, or is being read.
type peekedBody struct {
	rest     io.ReadCloser
	inflated bool          // by net/http
	closer   bodyCloser    // of rest, which a context may close as well
	ended    chan struct{} // closed when reading ahead has ended; from then on nothing changes but at

	mu      sync.Mutex
	data    []byte // that was read ahead
	at      int    // how much of it was read again
	err     error  // met behind data; nil: go on with rest
	stopped bool   // read ahead no more
	closed  bool   // by the reader

	panicked any // what a Read of rest has panicked with
}

var (
	errPanicked = errors.New("iamhttp: panic while reading the body")
	errClosed   = errors.New("read on closed response body") // as net/http says
)

// readAhead reads until it is stopped. It closes the body when the context ends,
// because not every body ends with the context of its request.
func (p *peekedBody) readAhead(ctx context.Context, size int64) {
	defer close(p.ended)
	defer context.AfterFunc(ctx, func() {
		p.stop(ctx.Err())
		p.closer.close()
	})()
	defer func() {
		if v := recover(); v != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.panicked, p.err = v, errPanicked
		}
	}()
	room := make([]byte, 512)
	if 512 < size && size < Max {
		room = make([]byte, size+1) // the last Read is to meet the end
	}
	for idle := 0; ; idle++ {
		n, err := p.rest.Read(room[:min(len(room), Max-len(p.data))])
		if n > 0 {
			idle = 0
		}
		p.mu.Lock()
		if p.err == nil { // else nothing comes after that
			p.data = append(p.data, room[:n]...)
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
		if n == len(room) && n < 32<<10 {
			room = make([]byte, 2*n)
		}
	}
}

// stop ends reading ahead after the current Read. It returns the data so far; err, if
// not nil, follows that data.
func (p *peekedBody) stop(err error) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.err == nil {
		p.err = err
	}
	return slices.Clone(p.data)
}

func (p *peekedBody) Read(b []byte) (int, error) {
	if n, err := p.readData(b); n > 0 || err != nil || len(b) == 0 {
		return n, err
	}
	<-p.ended
	if n, err := p.readData(b); n > 0 || err != nil {
		return n, err
	}
	return p.rest.Read(b)
}

// readData returns the data that was read ahead, and then the error that follows it,
// if any.
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

// Close closes the body. Before Go 1.27, net/http's own Close may wait for a Read
// that waits for the gzip header, so Close does not wait for such a Read.
func (p *peekedBody) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	if !p.inflated {
		p.closer.close()
		return nil
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.closer.close()
	}()
	select {
	case <-closed:
	case <-time.After(closeTime):
	}
	return nil
}
