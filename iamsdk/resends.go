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

// resends keep responses after which the SDK resends a request that must not be sent
// twice. An error in place of the second response would also prevent that, but the
// SDK would return that error instead of the one that its callers look for.
type resends struct {
	count atomic.Int32 // of kept, so that a request costs no lock as a rule

	mu   sync.Mutex
	kept map[request]answer
}

// A request holds what a request and its resend have in common.
type request struct {
	content   digest // of the method, the URL, the body and the headers that say who asks
	goroutine string // an SDK resends in the one that makes the call
}

type answer struct {
	*iamhttp.StatusError
	at time.Time // when the SDK had read it; until then readWithin ahead
}

// An SDK resends after 500 ms. A request that comes before or after these times is a
// new call.
const (
	resendFrom   = 450 * time.Millisecond
	resendWithin = 2 * time.Second
)

// readWithin bounds how long a response is kept whose body nobody closes.
const readWithin = 10 * time.Minute

// mostKept bounds the responses that are kept, of up to 64 KiB each. Beyond it, a
// request is sent twice, as without Install.
const mostKept = 1000

// keep keeps a response for the next request that is the same.
func (r *resends) keep(codes []iamhttp.Code, req *http.Request, resp *http.Response, e *iamhttp.StatusError) {
	if !slices.Contains(codes, e.Code) || logsIn(req) { // a second token does no harm
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
	// The SDK waits from the end of the body on, and a body may be slow.
	resp.Body = &closing{resp.Body, func() { r.keptAt(key, time.Now()) }}
}

// keptAt sets when the SDK had read a response.
func (r *resends) keptAt(key request, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, found := r.kept[key]; found {
		r.kept[key] = answer{a.StatusError, now}
	}
}

// closing is a body that tells when it is closed.
type closing struct {
	io.ReadCloser
	closed func()
}

func (c *closing) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

// forget drops the responses that were not picked up.
func (r *resends) forget(now time.Time) {
	for k, a := range r.kept {
		if now.Sub(a.at) > resendWithin {
			delete(r.kept, k)
		}
	}
	r.count.Store(int32(len(r.kept))) //nolint:gosec // at most mostKept
}

// answer returns the response that was kept for a request, once, or nil. It then
// closes the body of the request, as a RoundTripper has to.
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

// same returns what a request has in common with its resend. It reports whether that
// is enough to recognize the resend: a body that cannot be read again is not, because
// two calls may differ in nothing else. A request that may be sent twice has no such
// resend.
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

// maySendTwice reports whether a request may be sent again although it is unknown
// whether it was carried out (RFC 9110 §9.2.2).
func maySendTwice(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
