package iamhttp

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/answer"
	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/limit"
	"github.com/iamhttp/iamhttp/internal/target"
)

// CheckResponse returns nil for a status code from 100 to 399, and otherwise the
// *StatusError that a Transport would return, but with Attempts 0 and StopUnset. It reads
// up to 64 KiB of resp.Body and puts these bytes back, so read and close resp.Body as
// usual; until you have read the body to its end, do not use resp.Trailer. Reading stops
// after 5 s or when the context of resp.Request ends (if it has already ended, after 50 ms).
func CheckResponse(resp *http.Response) error {
	if succeeded(resp.StatusCode) {
		return nil
	}
	ctx := context.Background()
	if resp.Request != nil {
		ctx = resp.Request.Context()
	}
	e := newStatusError(Code(resp.StatusCode), resp.Header, resp.Request, time.Now())
	e.peek(ctx, resp, bounded.MaxTime)
	return e
}

// CheckProxyConnect turns a proxy's refusal of CONNECT into a *StatusError; net/http
// itself keeps only the status text. Set it as OnProxyConnectResponse of the
// http.Transport that makes the connections. It returns nil for a status code from 100 to
// 399. The error's Method is CONNECT and its URL is the proxy's; the body is not read. A
// Transport above retries a refusal as it would retry the same response from the service,
// and returns the final refusal as an error, even with PassThrough.
func CheckProxyConnect(_ context.Context, proxyURL *url.URL, _ *http.Request, connectRes *http.Response) error {
	if succeeded(connectRes.StatusCode) {
		return nil
	}
	e := newStatusError(Code(connectRes.StatusCode), connectRes.Header, &http.Request{Method: http.MethodConnect, URL: proxyURL}, time.Now())
	e.setContent(connectRes.Header.Clone(), nil, connectRes.ContentLength != 0)
	return e
}

// NewStatusError builds a StatusError for SDK hooks that do not expose the
// *http.Response. It copies the header and the first 64 KiB of the body; both may be nil.
// It does not check that the code is a failure, and never returns nil. It does not set
// Method, URL, Attempts or Stop.
func NewStatusError(statusCode int, header http.Header, body []byte) *StatusError {
	e := newStatusError(Code(statusCode), header, nil, time.Now())
	e.setContent(header.Clone(), bytes.Clone(body[:min(len(body), bounded.Max)]), len(body) > bounded.Max)
	return e
}

// succeeded reports whether a status code is not a failure. A redirect is not a failure,
// because the client above follows it; 101 and 304 are valid results.
func succeeded(statusCode int) bool { return 100 <= statusCode && statusCode < 400 }

// newStatusError returns a StatusError that lacks what setContent adds. req is the request
// that was sent, or nil if unknown; at is the time when the response arrived.
func newStatusError(code Code, header http.Header, req *http.Request, at time.Time) *StatusError {
	e := &StatusError{Code: code}
	e.RetryAfter, _ = answer.RetryAfter(header, at)
	e.Limit = gate.Limit(limit.Of(header, at, limit.Any))
	if req != nil {
		e.Method, e.URL = target.Of(req)
	}
	return e
}

// peek reads the beginning of the body, puts it back, and passes it to setContent, too.
func (e *StatusError) peek(ctx context.Context, resp *http.Response, d time.Duration) {
	data, truncated := bounded.Peek(ctx, resp, d)
	e.setContent(resp.Header.Clone(), data, truncated)
}

// setContent adds what newStatusError leaves out: the header, the body, and the other
// fields whose values come from them. Neither changes from then on. data may be only the
// beginning of the body; if so, truncated is true.
func (e *StatusError) setContent(header http.Header, data []byte, truncated bool) {
	if len(header) > 0 || len(data) > 0 {
		e.content = func() (http.Header, []byte) { return header, data }
	}
	e.Truncated = truncated
	d := answer.Decode(header, data, int(e.Code))
	e.ServiceCode = answer.Label(d.Code)
	e.Message = answer.OneLine(d.Message)
	e.Limit = gate.Limit(limit.Limit(e.Limit).Longer(limit.OfBody(e.Message, d.RetryDelay), limit.Any))
	ids := requestIDs(header)
	e.RequestID = cmp.Or(ids[0], ids[1], ids[2], answer.Label(d.RequestID), ids[3], ids[4], ids[5], ids[6])
}

// requestIDs returns the IDs in the header, in order of preference. The first three are those
// of the service; the others may also be those of a gateway or a proxy, so that an ID in the
// body comes before them.
func requestIDs(h http.Header) (ids [7]string) {
	for i, name := range [len(ids)]string{"X-Openstack-Request-Id", "X-Request-Id", "X-Iam-Trace-Id", "X-Obs-Request-Id", "Request-Id", "X-Amzn-Requestid", "X-Amz-Request-Id"} {
		ids[i] = answer.Label(h.Get(name))
	}
	return ids
}
