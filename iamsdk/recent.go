package iamsdk

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp"
)

// recent holds the latest failures of all sessions. Most SDKs' errors do not contain the
// response's header, and none contain the number of attempts. Wrap uses what the errors
// do contain to find the failure here.
var recent memory

// A memory holds the latest failures, except those with a header of more than mostHeader
// bytes. If several of them match an SDK's error, Wrap uses the latest one.
type memory struct {
	mu       sync.Mutex
	failures []remembered // oldest first
}

const (
	mostRemembered = 200
	mostHeader     = 64 << 10 // by default, net/http accepts 10 MiB, so a server could fill the memory with a few failures
)

type remembered struct {
	*iamhttp.StatusError
	method, url string // of the SDK's own request; after redirects, the StatusError has those of the last request
	at          time.Time
	logins      *logins // the logins of the client that got the response
}

func (m *memory) add(req *http.Request, e *iamhttp.StatusError, l *logins) {
	method, address := e.Method, e.URL
	if from := origin(req); from != req {
		method, address = cmp.Or(from.Method, http.MethodGet), redact(from.URL.String())
	}
	body := e.Body()
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.index(method, address, e.Code, body); i >= 0 {
		m.failures = slices.Delete(m.failures, i, i+1)
	}
	if huge(e) {
		return
	}
	if len(m.failures) == mostRemembered {
		m.failures = slices.Delete(m.failures, 0, 1)
	}
	m.failures = append(m.failures, remembered{e, method, address, time.Now(), l})
}

// origin returns the SDK's own request, from which redirects may have led to req.
func origin(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

// huge reports whether the header of e is too large to be kept.
func huge(e *iamhttp.StatusError) bool {
	size := 0
	for name, values := range e.Header() {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	return size > mostHeader
}

// find returns the latest failure that has these values, or false if there is none.
func (m *memory) find(method, url string, code int, body []byte) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.index(method, url, iamhttp.Code(code), body)
	if i < 0 {
		return remembered{}, false
	}
	return m.failures[i], true
}

func (m *memory) index(method, url string, code iamhttp.Code, body []byte) int {
	for i, r := range slices.Backward(m.failures) {
		if r.Code == code && r.method == method && r.url == url && sameBody(r.StatusError, body) {
			return i
		}
	}
	return -1
}

func sameBody(e *iamhttp.StatusError, body []byte) bool {
	if e.Truncated && len(e.Body()) > 0 { // an empty prefix would match every body
		return bytes.HasPrefix(body, e.Body())
	}
	return bytes.Equal(body, e.Body())
}
