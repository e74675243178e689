package bounded

import (
	"context"
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
	p := &peekedBody{rest: resp.Body, closer: bodyCloser{body: resp.Body}, ended: make(chan struct{})}
	resp.Body = p
	// A Read that waits for a slow server cannot be taken back: it goes on beside
	// the caller, and what it brings is read first.
	go p.readAhead(ctx, resp.ContentLength)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.data, p.err != io.EOF
	case <-timer.C:
		return p.stop(nil), true
	case <-ctx.Done():
		return p.stop(ctx.Err()), true
	}
}

// A peekedBody is a body whose beginning was read, or is being read, already.
type peekedBody struct {
	rest   io.ReadCloser
	closer bodyCloser    // of rest, which a context may close as well
	ended  chan struct{} // closed when reading ahead has ended; from then on nothing changes but at

	mu      sync.Mutex
	data    []byte // that was read ahead
	at      int    // how much of it was read again
	err     error  // met behind data; nil: go on with rest
	stopped bool   // read ahead no more
}

// readAhead reads until it is stopped. Not every body ends with the context of its
// request: it is closed then.
func (p *peekedBody) readAhead(ctx context.Context, size int64) {
	defer close(p.ended)
	defer context.AfterFunc(ctx, func() {
		p.stop(ctx.Err())
		p.closer.close()
	})()
	for idle := 0; ; {
		room := make([]byte, 512)
		if 512 < size && size < Max {
			room = make([]byte, size+1) // the last Read is to meet the end
		} else if len(p.data) > len(room) {
			room = make([]byte, min(len(p.data), Max-len(p.data)))
		}
		n, err := p.rest.Read(room)
		if idle++; n > 0 {
			idle = 0
		}
		p.mu.Lock()
		p.data = append(p.data, room[:n]...)
		if p.err == nil {
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
	}
}

// stop ends reading ahead after the Read that is on its way. It returns what there
// is by now; err, if not nil, is what follows it.
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

// readData reads what was read ahead, and then the error behind it, if any.
func (p *peekedBody) readData(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == len(p.data) {
		return 0, p.err
	}
	n := copy(b, p.data[p.at:])
	p.at += n
	return n, nil
}

func (p *peekedBody) Close() error {
	p.closer.close()
	return nil
}
