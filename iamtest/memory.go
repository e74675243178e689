package iamtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errReset is the error that a client gets when its connection is reset.
var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

// errCanceled is what net/http returns if Request.Cancel is closed.
var errCanceled = errors.New("net/http: request canceled")

// RoundTrip responds in memory the way ServeHTTP responds over a connection, whatever
// host the request is for. RoundTrip needs no socket and works under testing/synctest. If
// the request is canceled, by its context or by Cancel, before there is a response,
// RoundTrip returns an error. Reading a stalled body blocks until the body is closed or
// the request is canceled. A response to HEAD has no body, and the handler's context ends
// once the header is sent.
//
// The client and the handler see what they would see with http.Transport, net/http's server
// and HTTP/1.1. For example, a request whose body is shorter than its ContentLength fails,
// a response body that is shorter than its Content-Length ends with io.ErrUnexpectedEOF, and
// a gzip body is inflated if the request has neither Accept-Encoding nor Range. The main
// differences are these:
//   - The handler does not see the header fields User-Agent, Accept-Encoding and
//     Content-Length if http.Transport would add them.
//   - The request's body is read to its end before anything else happens. A header may have
//     any size.
//   - The Server, not net/http, responds to "OPTIONS *" and to an unknown Expect.
//   - The handler's context contains no http.Server. An https request has no TLS state, and
//     neither does its response.
//   - The handler can use Flush, but not Hijack or the other functions of an
//     http.ResponseController. A panic other than http.ErrAbortHandler is not recovered.
//   - A 101, or a success of a CONNECT, does not switch protocols.
//   - An invalid response header causes no error: for example, one with a control character,
//     or with a Content-Length or Transfer-Encoding that http.Transport rejects.
//   - A handler that panics with http.ErrAbortHandler loses no bytes that it has written. A
//     trailer that the handler announces only with http.TrailerPrefix arrives.
//   - An httptrace.ClientTrace is not called.
//   - There is only one attempt. http.Transport sends some requests again, such as a GET, if
//     a connection that has been used before breaks.
func (s *Server) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := check(req); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	var body []byte
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		body = b
	}
	if err := ended(req); err != nil { // net/http does not send a request that has been canceled, either
		return nil, err
	}
	wire, err := sent(req, body)
	if err != nil {
		return nil, err
	}
	in, err := http.ReadRequest(bufio.NewReaderSize(wire, 512))
	if err != nil {
		return http.ReadResponse(bufio.NewReader(strings.NewReader(malformed)), req)
	}
	in.RemoteAddr = "192.0.2.1:1234" // an address that is reserved for documentation
	in.Header.Del("Content-Length")
	if _, set := req.Header["User-Agent"]; !set {
		in.Header.Del("User-Agent")
	}
	served, cancel := context.WithCancel(req.Context())
	x := &exchange{req: req, close: in.Close, header: http.Header{}, cancel: cancel, begun: make(chan struct{}), declared: -1}
	x.changed.L = &x.mu
	go x.serve(s, in.WithContext(served))
	if req.Cancel != nil {
		go func() {
			select {
			case <-req.Cancel:
				cancel()
				x.wake()
			case <-served.Done():
			}
		}()
	}
	select {
	case <-x.begun:
		return x.response()
	case <-req.Context().Done():
	case <-req.Cancel:
	}
	cancel()
	return nil, ended(req)
}

// ended returns why the client no longer waits for the response, or nil if it is still
// waiting. The deprecated Request.Cancel counts, too: http.Client sets it for its
// Timeout.
func ended(req *http.Request) error {
	ctx := req.Context()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-req.Cancel:
		if deadline, limited := ctx.Deadline(); limited && !time.Now().Before(deadline) {
			return context.DeadlineExceeded
		}
		return errCanceled
	default:
		return nil
	}
}

// check returns the error with which http.Transport rejects a request before it connects.
// For a request that is valid so far, it returns nil.
func check(req *http.Request) error {
	switch {
	case req.URL == nil:
		return errors.New("http: nil Request.URL")
	case req.Header == nil:
		return errors.New("http: nil Request.Header")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return fmt.Errorf("unsupported protocol scheme %q", req.URL.Scheme)
	}
	if err := checkFields("header", req.Header); err != nil {
		return err
	}
	if err := checkFields("trailer", req.Trailer); err != nil {
		return err
	}
	switch {
	case req.Method != "" && !isToken(req.Method):
		return fmt.Errorf("net/http: invalid method %q", req.Method)
	case req.URL.Host == "":
		return errors.New("http: no Host in request URL")
	}
	return nil
}

// checkFields returns an error if a field of a header or trailer is invalid.
func checkFields(kind string, fields http.Header) error {
	for name, values := range fields {
		if !isToken(name) {
			return fmt.Errorf("net/http: invalid %s field name %q", kind, name)
		}
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("net/http: invalid %s field value for %q", kind, name) // the value may be a secret
			}
		}
	}
	return nil
}

// isToken reports whether s can be a method or a header field name (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// sent returns the bytes that net/http's client sends for a request. The handler gets the
// request that net/http parses from these bytes, so the target, the header and the length
// are the same as over a connection. If the request cannot be sent, sent returns an error.
func sent(req *http.Request, body []byte) (*bytes.Buffer, error) {
	r := req.WithContext(context.Background()) // Write would call some functions of an httptrace.ClientTrace
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	wire := bytes.NewBuffer(make([]byte, 0, 512))
	return wire, r.Write(wire)
}

// malformed is what net/http's server sends if it cannot read a request, for example one
// with a space in the query.
const malformed = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"

// An exchange connects a client and a handler for one request and its response. The
// handler uses the exchange as its ResponseWriter, and the client reads the response's
// body from it. Data is buffered until the client reads it, so that a Write never waits
// for the client.
type exchange struct {
	req    *http.Request
	close  bool           // whether the request asks the server to close the connection
	header http.Header    // the header that the handler changes
	resp   *http.Response // the client's response; nil until there is one
	cancel context.CancelFunc
	begun  chan struct{} // closed when the header has been sent, or can no longer be sent

	mu       sync.Mutex
	changed  sync.Cond // wakes a Read that is waiting for data
	status   int
	head     http.Header // header when the status was set
	declared int64       // the handler's Content-Length; -1: none
	sent     http.Header // the header as it was sent; nil until then
	trailer  http.Header // the response's Trailer, whose values are set when the body has been read
	data     bytes.Buffer
	written  int64
	read     int64
	length   int64
	plain    bool  // whether the body has neither a length nor chunks
	ended    error // why no more data follows: io.EOF if the response is complete
	closed   bool  // whether the client has closed the body
}

// maxBuffered is how many bytes net/http's server buffers before it sends a response's
// header. If the handler writes more, the server does not add a Content-Length.
const maxBuffered = 2048

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

// WriteHeader sets the status. The header is sent by Flush, by the Write that exceeds
// maxBuffered, or when the handler returns.
func (x *exchange) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	x.decide(status)
}

// decide sets the status, and makes the header final: what the handler changes later does
// not reach the client.
func (x *exchange) decide(status int) {
	x.status, x.head = status, x.header.Clone()
	if n, err := strconv.ParseInt(x.head.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		x.declared = n
	}
}

func (x *exchange) Write(b []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return 0, http.ErrAbortHandler
	case x.bodiless():
		return 0, http.ErrBodyNotAllowed
	case x.declared >= 0 && x.written+int64(len(b)) > x.declared:
		return 0, http.ErrContentLength
	}
	x.written += int64(len(b))
	x.data.Write(b)
	if x.written > maxBuffered {
		x.begin(-1)
	}
	x.changed.Broadcast()
	return len(b), nil
}

// bodiless reports whether a response with this status must not have a body.
func (x *exchange) bodiless() bool {
	return x.status < 200 || x.status == http.StatusNoContent || x.status == http.StatusNotModified
}

// Flush makes the data written so far available to the client.
func (x *exchange) Flush() {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begin(-1)
}

// begin sends the header, unless it has already been sent. length is the length of the
// body if the handler has returned, and otherwise -1.
func (x *exchange) begin(length int64) {
	if x.sent != nil {
		return
	}
	x.sent = asReceived(x.head)
	head := x.req.Method == http.MethodHead
	encoding := x.head.Get("Transfer-Encoding")
	_, set := x.head["Content-Length"] // matters only if the field has an invalid value or no value
	x.trailer = declaredTrailer(x.head)
	switch {
	case x.bodiless():
		length = 0
	case x.declared >= 0 && (encoding == "" || encoding == "identity"):
		length, x.trailer = x.declared, nil // a trailer needs chunked encoding
	case encoding != "", set, len(x.trailer) > 0:
		length = -1
		x.plain = encoding == "identity" && !head // the end of the connection is the end of the body
	}
	if head && (x.bodiless() || length == 0 && x.declared < 0) { // the response to a GET might have had a body
		length = -1
	}
	for _, name := range [...]string{"Transfer-Encoding", "Content-Length"} {
		x.sent.Del(name)
	}
	if length >= 0 && !x.bodiless() {
		x.sent.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	x.length = length
	if !head && length < 0 {
		x.sent.Del("Trailer")
	}
	if x.status == http.StatusNotModified {
		x.sent.Del("Content-Type")
	}
	if _, set := x.head["Content-Type"]; !set && encoding == "" && x.data.Len() > 0 && x.sent.Get("Content-Encoding") == "" {
		x.sent.Set("Content-Type", http.DetectContentType(x.data.Bytes()))
	}
	if _, set := x.head["Date"]; !set {
		x.sent.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	close(x.begun)
}

var newlines = strings.NewReplacer("\r", " ", "\n", " ")

// asReceived returns a header as a client receives it: without fields that net/http's
// server does not send, and with invalid values as that server rewrites them.
func asReceived(h http.Header) http.Header {
	received := http.Header{}
	for name, values := range h {
		if !isToken(name) { // also excludes names with http.TrailerPrefix
			continue
		}
		for _, v := range values {
			received.Add(name, strings.TrimSpace(newlines.Replace(v)))
		}
	}
	return received
}

// declaredTrailer returns the names of the trailer fields: those in the header field
// Trailer, and those of fields with http.TrailerPrefix. The names have no values yet. It
// returns nil if there are none.
func declaredTrailer(h http.Header) http.Header {
	var trailer http.Header
	add := func(name string) {
		if trailer == nil {
			trailer = http.Header{}
		}
		trailer[http.CanonicalHeaderKey(name)] = nil
	}
	for _, line := range h["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); isToken(name) {
				add(name)
			}
		}
	}
	for name := range h {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			add(name)
		}
	}
	return trailer
}

// finish must be called when the handler has returned or aborted.
func (x *exchange) finish(ended error) {
	x.cancel()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case ended == io.EOF:
		if x.status == 0 {
			x.decide(http.StatusOK)
		}
		x.begin(x.written)
		if x.length > x.written && x.req.Method != http.MethodHead {
			ended = io.ErrUnexpectedEOF // the server has sent less than it announced, so it closes the connection
		}
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
	if err := ended(x.req); err != nil { // the client may have stopped waiting just when the response began
		x.cancel()
		return nil, err
	}
	if x.sent == nil {
		return nil, errReset
	}
	text := http.StatusText(x.status)
	if text == "" {
		text = fmt.Sprint("status code ", x.status) // as net/http's server writes it
	}
	resp := &http.Response{
		Status: fmt.Sprint(x.status, " ", text), StatusCode: x.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.sent, Body: &body{x}, ContentLength: x.length, Request: x.req,
		Close: x.close || x.plain || closes(x.sent),
	}
	if resp.Close {
		resp.Header.Del("Connection")
	}
	head := x.req.Method == http.MethodHead
	if head {
		x.cancel() // the response has no body whose Close would cancel the context
	}
	if head || x.bodiless() || x.length == 0 {
		resp.Body = http.NoBody
		return resp, nil
	}
	resp.Trailer, x.resp = x.trailer, resp
	if x.length < 0 && !x.plain {
		resp.TransferEncoding = []string{"chunked"}
	}
	// http.Transport asks for gzip, and inflates the body, unless the caller has asked
	// for an encoding or a range itself.
	if x.req.Header.Get("Accept-Encoding") == "" && x.req.Header.Get("Range") == "" && strings.EqualFold(x.sent.Get("Content-Encoding"), "gzip") {
		resp.Header.Del("Content-Encoding")
		resp.Header.Del("Content-Length")
		resp.ContentLength, resp.Uncompressed = -1, true
		resp.Body = &inflated{body: resp.Body}
	}
	return resp, nil
}

// closes reports whether a response's header says that the connection will be closed.
func closes(h http.Header) bool {
	for _, line := range h["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "close") {
				return true
			}
		}
	}
	return false
}

// An inflated decompresses a gzip body. It reads nothing before the first call to Read.
type inflated struct {
	body io.ReadCloser
	r    *gzip.Reader
	err  error // why r could not be created
}

func (i *inflated) Read(p []byte) (int, error) {
	if i.r == nil && i.err == nil {
		i.r, i.err = gzip.NewReader(i.body)
	}
	if i.err != nil {
		return 0, i.err
	}
	return i.r.Read(p)
}

func (i *inflated) Close() error { return i.body.Close() }

// A body is the client's end of an exchange.
type body struct{ x *exchange }

func (b *body) Read(p []byte) (int, error) {
	x := b.x
	defer context.AfterFunc(x.req.Context(), x.wake)()
	x.mu.Lock()
	defer x.mu.Unlock()
	for {
		switch {
		case x.closed:
			return 0, http.ErrBodyReadAfterClose
		case x.data.Len() > 0:
			n, err := x.data.Read(p)
			x.read += int64(n)
			return n, err
		case x.ended == io.EOF:
			x.endTrailer()
			return 0, io.EOF
		case x.length >= 0 && x.read == x.length: // the handler may still be running
			return 0, io.EOF
		case ended(x.req) != nil:
			return 0, ended(x.req)
		case x.ended != nil:
			return 0, x.ended
		}
		x.changed.Wait()
	}
}

// wake wakes a Read that is waiting for data.
func (x *exchange) wake() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changed.Broadcast()
}

// endTrailer sets the values of the response's Trailer. Fields with http.TrailerPrefix may
// have been added since the header was sent.
func (x *exchange) endTrailer() {
	if x.length >= 0 { // a trailer needs chunked encoding
		return
	}
	for name := range declaredTrailer(x.header) {
		if _, declared := x.trailer[name]; !declared && x.header[http.TrailerPrefix+name] != nil {
			if x.trailer == nil {
				x.trailer = http.Header{}
				x.resp.Trailer = x.trailer
			}
			x.trailer[name] = nil
		}
	}
	for name := range x.trailer {
		for _, key := range [...]string{name, http.TrailerPrefix + name} {
			if values := asReceived(http.Header{"X": x.header[key]})["X"]; len(values) > 0 {
				x.trailer[name] = values
			}
		}
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
