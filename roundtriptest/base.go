package roundtriptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	// mostSends is the number of attempts after which a memory returns only errors, to
	// stop a RoundTripper that would otherwise retry forever.
	mostSends = 1000
	// longest is the virtual time after which a call is considered to hang.
	longest = 24 * time.Hour
)

// bubble runs f in virtual time. Goroutines may still be running when f returns; bubble
// gives them time to end.
func (c *trial) bubble(f func() error) error {
	return c.bubbleThatEnds(func() error {
		defer time.Sleep(2 * longest)
		return f()
	})
}

// bubbleThatEnds is like bubble, but gives goroutines no time to end: it returns an error
// if one is still waiting when f has returned.
func (c *trial) bubbleThatEnds(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil { // synctest panics if goroutines are left over
			err = errors.Join(err, errors.New("a goroutine that the call started has not ended"))
		}
	}()
	synctest.Test(c.t, func(*testing.T) {
		defer panicked(&err) // reading or closing a body may panic
		err = f()
	})
	return err
}

// panicked turns a panic into an error. A function that uses panicked must defer it.
func panicked(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("the call panicked: %v", v)
	}
}

// An outcome is the result and the duration of a call.
type outcome struct {
	resp *http.Response
	err  error
	took time.Duration
}

// close closes the response's body, if there is one.
func (o outcome) close() {
	if o.resp != nil && o.resp.Body != nil {
		o.resp.Body.Close()
	}
}

// errHangs means that a call did not return in time.
var errHangs = fmt.Errorf("the call had not returned after %v", longest)

// do makes one call in virtual time. It returns an error if the call panics or hangs.
func do(rt http.RoundTripper, req *http.Request) (outcome, error) {
	return doFunc(func() (*http.Response, error) { return rt.RoundTrip(req) })
}

func doFunc(f func() (*http.Response, error)) (outcome, error) {
	type result struct {
		outcome
		panicked error
	}
	done := make(chan result, 1)
	start := time.Now()
	go func() {
		var r result
		defer func() {
			r.took = time.Since(start)
			done <- r
		}()
		defer panicked(&r.panicked)
		r.resp, r.err = f()
	}()
	select {
	case r := <-done:
		return r.outcome, r.panicked
	case <-time.After(longest):
		return outcome{}, errHangs
	}
}

// A reply produces the result of one attempt.
type reply func(*http.Request) (*http.Response, error)

// status replies with a status code and a short text. fields are header lines such as
// "Retry-After: 1".
func status(code int, fields ...string) reply {
	return func(req *http.Request) (*http.Response, error) {
		return newResponse(req, code, newBody("a short text"), fields...), nil
	}
}

func newResponse(req *http.Request, code int, body io.ReadCloser, fields ...string) *http.Response {
	h := make(http.Header)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Add(name, value)
	}
	return &http.Response{
		Status: fmt.Sprint(code, " ", http.StatusText(code)), StatusCode: code,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: body, ContentLength: -1, Request: req,
	}
}

// failure replies without a response, and with err, which may be nil.
func failure(err error) reply {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// A send is one request that a memory has received and read.
type send struct {
	req  *http.Request
	body string
	at   time.Time
}

// A memory is a base that replies from memory. It obeys the contract if its replies do.
type memory struct {
	replies []reply // the results of the attempts, in order; the last one is used for all later attempts

	mu     sync.Mutex
	sends  []send
	bodies []*body // the responses' bodies that are a *body
	closed int     // the number of calls to CloseIdleConnections
}

func replies(r ...reply) *memory { return &memory{replies: r} }

func (m *memory) RoundTrip(req *http.Request) (*http.Response, error) {
	s := send{req: req, at: time.Now()}
	if req.Body != nil {
		defer req.Body.Close()
	}
	if req.URL == nil {
		return nil, errors.New("the request has no URL")
	}
	if req.Context().Err() != nil {
		return nil, context.Cause(req.Context())
	}
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		s.body = string(b)
	}
	m.mu.Lock()
	n := len(m.sends)
	m.sends = append(m.sends, s)
	m.mu.Unlock()
	if n >= mostSends {
		return nil, fmt.Errorf("%d requests have been sent already, so the base now returns only errors", n)
	}
	resp, err := m.replies[min(n, len(m.replies)-1)](req)
	if resp != nil {
		if b, ok := resp.Body.(*body); ok {
			m.mu.Lock()
			m.bodies = append(m.bodies, b)
			m.mu.Unlock()
		}
	}
	return resp, err
}

func (m *memory) CloseIdleConnections() { m.closed++ }

// sent returns the requests received so far.
func (m *memory) sent() []send {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sends
}

// retried returns an error if there was no second attempt.
func (m *memory) retried(code int, o outcome) error {
	if n := len(m.sent()); n < 2 {
		return fmt.Errorf("a %d was to be retried, but the base received only %d request(s) (error: %v)", code, n, o.err)
	}
	return nil
}

// gap returns the time between the first two attempts.
func (m *memory) gap() time.Duration {
	s := m.sent()
	return s[1].at.Sub(s[0].at)
}

// A body counts the bytes that are read and the calls to Close. After its text, the body
// ends or, if stall is set, blocks until it is closed.
type body struct {
	text  io.Reader
	stall bool

	mu     sync.Mutex
	read   int
	closes int
	done   chan struct{} // a channel that the first call to Close closes
}

func newBody(text string) *body { return bodyOf(strings.NewReader(text)) }

func bodyOf(r io.Reader) *body { return &body{text: r, done: make(chan struct{})} }

func (b *body) Read(p []byte) (int, error) {
	select {
	case <-b.done:
		return 0, errors.New("the body was read after it was closed")
	default:
	}
	n, err := b.text.Read(p)
	b.mu.Lock()
	b.read += n
	b.mu.Unlock()
	if n == 0 && err == io.EOF && b.stall {
		<-b.done
		return 0, errors.New("the body was closed while it was being read")
	}
	return n, err
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closes++; b.closes == 1 {
		close(b.done)
	}
	return nil
}

func (b *body) count() (read, closes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read, b.closes
}

// address is the URL of the requests; noSecrets adds a query.
const address = "http://service.example/v3/users"

func newRequest(method, text string) *http.Request {
	var r io.Reader
	if text != "" {
		r = strings.NewReader(text)
	}
	req, err := http.NewRequest(method, address, r)
	if err != nil {
		panic(err) // cannot happen: all callers are in this package and pass valid arguments
	}
	return req
}

// A wire is a server together with a net/http transport that connects to it in memory,
// so that virtual time works.
type wire struct {
	*http.Transport
	server http.Server
	conns  chan net.Conn
	done   chan struct{}

	mu     sync.Mutex
	opened int
}

func serve(h http.Handler) *wire {
	w := &wire{conns: make(chan net.Conn), done: make(chan struct{})}
	w.server.Handler = h
	w.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, server := net.Pipe()
		select {
		case w.conns <- server:
			w.mu.Lock()
			w.opened++
			w.mu.Unlock()
			return client, nil
		case <-w.done:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}}
	go w.server.Serve(w)
	return w
}

func (w *wire) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opened
}

// stop closes all connections.
func (w *wire) stop() {
	w.server.Close()
	w.Transport.CloseIdleConnections()
}

// Accept, Close and Addr make w the net.Listener of its own server.
func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	close(w.done)
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{} }
