package iamsdk

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/iamhttp/iamhttp"
)

// resends keeps the responses after which the SDK resends a request that must not be sent
// twice. The resend gets the kept response. An error would also prevent the second send,
// but the SDK would then return that error instead of the one that its callers expect.
type resends struct{ marks }

// At most mostKept responses are kept, each for keptFor and with up to 64 KiB of its body. If
// the maximum is reached, the responses that have been kept for longer make room. A new
// response for which there is no room, or whose header is huge, is not kept, so its request
// may be sent twice, as without Install. keptFor is much longer than the 500 ms after which
// gophertelekomcloud resends, because the response may arrive slowly.
const (
	mostKept = 1000
	keptFor  = time.Minute
)

// keep stores the response that e reports, for a resend of req or, if req was redirected,
// of the SDK's own request. It does nothing if the SDK does not resend that request after
// this status, if it may be sent twice, or if there is no room.
func (r *resends) keep(codes []iamhttp.Code, req *http.Request, e *iamhttp.StatusError) {
	req = origin(req)
	if !slices.Contains(codes, e.Code) || maySendTwice(req) || logsIn(req) || huge(e) { // a login may be sent twice, because a second token does no harm
		return
	}
	k := &mark{at: time.Now(), stack: callers(), target: targetOf(req), body: bodyOf(req), answer: e}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.of) == mostKept { // make room
		maps.DeleteFunc(r.of, func(_ string, old *mark) bool { return k.at.Sub(old.at) > keptFor })
	}
	if len(r.of) < mostKept {
		r.put(goroutine(), k, mostKept, keptFor)
	}
}

// answer returns the response that was kept for req, or nil if req is not a resend or no
// response was kept for it. Whatever it returns, it forgets the response, because an SDK
// resends only once, and sends nothing else before that: the next request belongs to
// another call, for example of a program that calls itself. If there is a response,
// answer closes the body of req, as a RoundTripper must.
func (r *resends) answer(req *http.Request) *http.Response {
	if r.count.Load() == 0 || maySendTwice(req) {
		return nil
	}
	goroutine := goroutine()
	r.mu.Lock()
	k := r.of[goroutine]
	r.drop(goroutine)
	r.mu.Unlock()
	if k == nil || time.Since(k.at) > keptFor {
		return nil
	}
	if related := k.stack.to(callers()); related == apart || related == equal {
		return nil
	}
	if k.target != targetOf(req) || !sameBodies(k.body, bodyOf(req)) {
		return nil
	}
	if req.Body != nil {
		req.Body.Close()
	}
	return responseOf(k.answer, req)
}

// sameBodies reports whether a and b may be digests of the same body. An unknown body may
// be any body, because an SDK that does not rewind a body resends what is left of it.
func sameBodies(a, b digest) bool {
	return a == b || a == digest{} || b == digest{}
}

// responseOf returns a response to req with the status, header and body in e.
func responseOf(e *iamhttp.StatusError, req *http.Request) *http.Response {
	header, body := e.Header(), e.Body()
	if header == nil {
		header = http.Header{}
	}
	if e.Truncated {
		header.Del("Content-Length")
	}
	return &http.Response{
		Status:        strconv.Itoa(int(e.Code)) + " " + http.StatusText(int(e.Code)),
		StatusCode:    int(e.Code),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// maySendTwice reports whether it is safe to send a request again even if the service has
// already carried it out (RFC 9110 §9.2.2).
func maySendTwice(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
