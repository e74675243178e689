package iamsdk

import (
	"bytes"
	"crypto/sha256"
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

// A request holds what two requests have in common if they are the same.
type request struct {
	method, url string
	body        [sha256.Size]byte
}

type answer struct {
	*iamhttp.StatusError
	at time.Time
}

// resendWithin is the longest time that an SDK waits before it resends. A request
// after that is a new call.
const resendWithin = 5 * time.Second

// keep keeps a response for the next request that is the same.
func (r *resends) keep(codes []iamhttp.Code, req *http.Request, e *iamhttp.StatusError) {
	if !slices.Contains(codes, e.Code) || maySendTwice(req) {
		return
	}
	key, now := same(req), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[request]answer{}
	}
	for k, a := range r.kept { // those that were not picked up
		if now.Sub(a.at) > resendWithin {
			delete(r.kept, k)
		}
	}
	r.kept[key] = answer{e, now}
	r.count.Store(int32(len(r.kept))) //nolint:gosec // it is a few
}

// answer returns the response that was kept for a request, once, or nil. It then
// closes the body of the request, as a RoundTripper has to.
func (r *resends) answer(req *http.Request) *http.Response {
	if r.count.Load() == 0 || maySendTwice(req) {
		return nil
	}
	key := same(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	a, found := r.kept[key]
	if !found {
		return nil
	}
	delete(r.kept, key)
	r.count.Store(int32(len(r.kept))) //nolint:gosec // it is a few
	if time.Since(a.at) > resendWithin {
		return nil
	}
	if req.Body != nil {
		req.Body.Close()
	}
	body := a.Body()
	return &http.Response{
		Status:        strconv.Itoa(int(a.Code)) + " " + http.StatusText(int(a.Code)),
		StatusCode:    int(a.Code),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        a.Header(),
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// same returns what a request has in common with its resend. A body that cannot be
// read again is left out: the SDK has used it up and would send an empty one.
func same(req *http.Request) request {
	r := request{method: req.Method, url: req.URL.String()}
	if req.GetBody == nil {
		return r
	}
	if body, err := req.GetBody(); err == nil {
		defer body.Close()
		h := sha256.New()
		_, _ = io.Copy(h, body)
		h.Sum(r.body[:0])
	}
	return r
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
