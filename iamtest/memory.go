package iamtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// errReset is the error that a client gets when its connection is reset.
var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

// RoundTrip responds in memory the way ServeHTTP responds over a connection, whatever
// host the request is for. RoundTrip needs no socket and works under testing/synctest. If
// the request's context ends before there is a response, RoundTrip returns an error.
// Reading a stalled body blocks until the body is closed or the context ends. A response
// to HEAD has no body, and the handler's context ends once the header is sent.
func (s *Server) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		body = b
	}
	ctx := req.Context()
	if ctx.Err() != nil { // net/http does not send a request whose context has ended, either
		return nil, context.Cause(ctx)
	}
	served, cancel := context.WithCancel(ctx)
	x := &exchange{req: req, header: http.Header{}, cancel: cancel, begun: make(chan struct{})}
	x.changed.L = &x.mu
	go x.serve(s, incoming(req.WithContext(served), body))
	select {
	case <-x.begun:
		return x.response()
	case <-ctx.Done():
		cancel()
		return nil, context.Cause(ctx)
	}
}

// incoming makes a client's request look like one that a server has received.
func incoming(r *http.Request, body []byte) *http.Request {
	r.Method = cmp.Or(r.Method, http.MethodGet)
	r.Host = cmp.Or(r.Host, r.URL.Host)
	r.RequestURI = r.URL.RequestURI()
	r.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if r.Header = r.Header.Clone(); r.Header == nil {
		r.Header = http.Header{}
	}
	r.Body, r.GetBody, r.ContentLength = io.NopCloser(bytes.NewReader(body)), nil, int64(len(body))
	r.RemoteAddr = "192.0.2.1:1234" // an address that is reserved for documentation
	return r
}

// An exchange connects a client and a handler for one request and its response. The
// handler uses the exchange as its ResponseWriter, and the client reads the response's
// body from it. Data is buffered until the client reads it, so that a handler never waits
// for a client.
type exchange struct {
	req    *http.Request
	header http.Header // the header that the handler changes
	cancel context.CancelFunc
	begun  chan struct{} // closed when the header has been sent, or can no longer be sent

	mu      sync.Mutex
	changed sync.Cond // wakes a Read that is waiting for data
	status  int
	sent    http.Header // the header as it was sent; nil until then
	data    bytes.Buffer
	length  int64
	ended   error // why no more data follows: io.EOF if the response is complete
	closed  bool  // whether the client has closed the body
}

func (x *exchange) serve(h http.Handler, r *http.Request) {
	ended := io.EOF
	defer func() {
		// Like net/http, treat ErrAbortHandler as a broken connection. net/http only logs
		// any other panic, but a test must not overlook a panic, so panic again.
		if v := recover(); v == http.ErrAbortHandler {
			ended = io.ErrUnexpectedEOF
		} else if v != nil {
			panic(v)
		}
		x.finish(ended)
	}()
	h.ServeHTTP(x, r)
}

func (x *exchange) Header() http.Header { return x.header }

// WriteHeader sets the status. The header is sent by Flush or when the handler returns.
func (x *exchange) WriteHeader(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status == 0 && status >= 200 {
		x.status = status
	}
}

func (x *exchange) Write(b []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return 0, http.ErrAbortHandler
	}
	if x.bodiless() {
		return 0, http.ErrBodyNotAllowed
	}
	x.changed.Broadcast()
	return x.data.Write(b)
}

// bodiless reports whether a response with this status must not have a body.
func (x *exchange) bodiless() bool {
	return x.status == http.StatusNoContent || x.status == http.StatusNotModified
}

// Flush makes the data written so far available to the client.
func (x *exchange) Flush() {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begin(-1)
}

// begin sends the header, unless it was sent before. length is the Content-Length that
// net/http would set, or -1 if it would not set one.
func (x *exchange) begin(length int64) {
	if x.sent != nil {
		return
	}
	x.sent = x.header.Clone()
	n, err := strconv.ParseInt(x.sent.Get("Content-Length"), 10, 64)
	switch {
	case x.bodiless():
		x.sent.Del("Content-Length")
		length = 0
	case err == nil:
		length = n
	case length == 0 && x.req.Method == http.MethodHead: // the response to a GET might have had a body
		length = -1
	case length >= 0:
		x.sent.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	x.length = length
	if _, set := x.sent["Content-Type"]; !set && x.data.Len() > 0 {
		x.sent.Set("Content-Type", http.DetectContentType(x.data.Bytes()))
	}
	if _, set := x.sent["Date"]; !set {
		x.sent.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	close(x.begun)
}

// finish must be called when the handler has returned or aborted.
func (x *exchange) finish(ended error) {
	x.cancel()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case ended == io.EOF:
		x.status = cmp.Or(x.status, http.StatusOK)
		x.begin(int64(x.data.Len()))
	case x.sent == nil:
		close(x.begun)
	}
	x.ended = ended
	x.changed.Broadcast()
}

// response returns the response or the error that the client gets.
func (x *exchange) response() (*http.Response, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ctx := x.req.Context(); ctx.Err() != nil { // the context may have ended just when the response began
		x.cancel()
		return nil, context.Cause(ctx)
	}
	if x.sent == nil {
		return nil, errReset
	}
	resp := &http.Response{
		Status: fmt.Sprint(x.status, " ", http.StatusText(x.status)), StatusCode: x.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.sent, Body: &body{x}, ContentLength: x.length, Request: x.req,
	}
	head := x.req.Method == http.MethodHead
	if head {
		x.cancel() // the response has no body whose Close would cancel the context
	}
	if head || x.length == 0 {
		resp.Body = http.NoBody
	}
	return resp, nil
}

// A body is the client's end of an exchange.
type body struct{ x *exchange }

func (b *body) Read(p []byte) (int, error) {
	x := b.x
	ctx := x.req.Context()
	defer context.AfterFunc(ctx, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.changed.Broadcast()
	})()
	x.mu.Lock()
	defer x.mu.Unlock()
	for {
		switch {
		case x.closed:
			return 0, http.ErrBodyReadAfterClose
		case x.data.Len() > 0:
			return x.data.Read(p)
		case x.ended == io.EOF:
			return 0, io.EOF
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case x.ended != nil:
			return 0, x.ended
		}
		x.changed.Wait()
	}
}

// Close discards the rest of the response and ends the handler's context.
func (b *body) Close() error {
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	b.x.closed = true
	b.x.cancel()
	b.x.changed.Broadcast()
	return nil
}
