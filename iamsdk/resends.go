package iamsdk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp"
)

// resends keeps the responses after which the SDK resends a request that must not be sent
// twice. The resend gets the kept response. An error would also prevent the second send,
// but the SDK would then return that error instead of the one that its callers expect.
type resends struct {
	count atomic.Int32 // len(kept), which can be read without mu, so that most requests need no lock

	mu   sync.Mutex
	kept map[request]answer
}

// A request is a map key that identifies an HTTP request. The key of a resend equals the
// key of the original request.
type request struct {
	// content is a hash of the method, the URL, the body and the headers that identify the
	// caller. It is a hash because printing a client also prints this key.
	content [sha256.Size]byte
	// goroutine is part of the key, because an SDK resends a request in the goroutine that
	// makes the call.
	goroutine string
}

type answer struct {
	*iamhttp.StatusError
	at time.Time // when the SDK finished reading the response; until then, readWithin after the response arrived
}

// An SDK resends a request 500 ms after it has read the response. An equal request that
// comes less than resendFrom or more than resendWithin after the response belongs to a
// new call.
const (
	resendFrom   = 450 * time.Millisecond
	resendWithin = 2 * time.Second
)

// readWithin limits how long a response is kept if its body is never closed.
const readWithin = 10 * time.Minute

// mostKept is the maximum number of responses that are kept; each one takes up to 64 KiB.
// While the maximum is reached, further requests may be sent twice, as they are without
// Install.
const mostKept = 1000

// keep keeps a response for the resend of its request, and notes when its body is closed.
func (r *resends) keep(codes []iamhttp.Code, req *http.Request, resp *http.Response, e *iamhttp.StatusError) {
	if !slices.Contains(codes, e.Code) || logsIn(req) { // a login may be sent twice, because a second token does no harm
		return
	}
	key, ok := same(req)
	if !ok {
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	if len(r.kept) == mostKept {
		return
	}
	if r.kept == nil {
		r.kept = map[request]answer{}
	}
	r.kept[key] = answer{e, now.Add(readWithin)}
	r.count.Store(int32(len(r.kept))) //nolint:gosec // at most mostKept
	// The SDK starts to wait only after it has read the body, which may take a while.
	resp.Body = &closing{resp.Body, func() { r.keptAt(key, time.Now()) }}
}

// keptAt records when the SDK finished reading a kept response.
func (r *resends) keptAt(key request, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, found := r.kept[key]; found {
		r.kept[key] = answer{a.StatusError, now}
	}
}

// closing is a body that calls a function when it is closed.
type closing struct {
	io.ReadCloser
	closed func()
}

func (c *closing) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

// forget drops responses whose resend did not come in time.
func (r *resends) forget(now time.Time) {
	for k, a := range r.kept {
		if now.Sub(a.at) > resendWithin {
			delete(r.kept, k)
		}
	}
	r.count.Store(int32(len(r.kept))) //nolint:gosec // at most mostKept
}

// answer returns the response that was kept for req, or nil if there is none. It returns
// each response only once. If there is a response, answer closes the body of req, as a
// RoundTripper must.
func (r *resends) answer(req *http.Request) *http.Response {
	if r.count.Load() == 0 {
		return nil
	}
	key, ok := same(req)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	if !ok {
		return nil
	}
	a, found := r.kept[key]
	if !found {
		return nil
	}
	delete(r.kept, key)
	r.count.Store(int32(len(r.kept))) //nolint:gosec // at most mostKept
	if now.Sub(a.at) < resendFrom {
		return nil
	}
	if req.Body != nil {
		req.Body.Close()
	}
	header, body := a.Header(), a.Body()
	if a.Truncated {
		header.Del("Content-Length")
	}
	return &http.Response{
		Status:        strconv.Itoa(int(a.Code)) + " " + http.StatusText(int(a.Code)),
		StatusCode:    int(a.Code),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// same returns the key that a request shares with its resend. It returns false if the
// body cannot be read again, because two calls may differ only in their bodies. It also
// returns false if the request may be sent twice, because then no response needs to be
// kept.
func same(req *http.Request) (r request, ok bool) {
	if maySendTwice(req) {
		return r, false
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", []string{req.Method, req.URL.String()})
	for _, name := range []string{"X-Auth-Token", "X-Project-Id", "X-Domain-Id", "Idempotency-Key"} {
		fmt.Fprintf(h, "%q\n", req.Header.Values(name))
	}
	if req.Body != nil && req.Body != http.NoBody {
		if req.GetBody == nil {
			return r, false
		}
		body, err := req.GetBody()
		if err != nil {
			return r, false
		}
		defer body.Close()
		if _, err := io.Copy(h, body); err != nil {
			return r, false
		}
	}
	r.goroutine = goroutine()
	h.Sum(r.content[:0])
	return r, true
}

// maySendTwice reports whether a request may be sent again even if the service may
// already have carried it out (RFC 9110 §9.2.2).
func maySendTwice(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
