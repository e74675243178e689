package iamhttp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A StatusError is an answer that the IAM API counts as a failure: any status
// code outside 100 to 399 that the caller did not declare Expected.
//
// It is always a pointer; reach it through whatever wraps it with
//
//	if e, ok := errors.AsType[*iamhttp.StatusError](err); ok { … }
//
// and ask for a single code with errors.Is(err, iamhttp.ErrNotFound). A
// StatusError is not changed once it has been returned or reported, so it may
// be read from several goroutines.
type StatusError struct {
	Code        Code          // the status code
	ServiceCode string        // the service's own code, "IAM.0004" or "APIG.0308"; empty if none, or if it only repeats the status
	Message     string        // the service's own message, made one line, control characters removed
	RequestID   string        // of X-Openstack-Request-Id, X-Request-Id, X-IAM-Trace-Id or the body, in this order
	Method      string        // of the request
	URL         string        // of the request, without user info, query and fragment
	Header      http.Header   `json:"-"` // of the answer, complete, an own copy; holds secrets such as X-Subject-Token
	Body        []byte        `json:"-"` // at most 64 KiB, at most 4 KiB of an answer that was repeated
	Truncated   bool          // Body is not all: it was longer, or may be, broke off, or did not arrive in time
	RetryAfter  time.Duration // the wait the service asked for, whatever the code; 0: none, or none left
	Attempts    int           // how often the request was sent; 0: unknown, or not at all
	Stop        StopReason    // why it was not, or no longer, repeated
	// Cause is what ended the call beside the answer. For StopCanceled it
	// wraps ctx.Err() and, where that differs, context.Cause(ctx); for
	// StopBodyNotReplayable it is the error of GetBody, for StopGate that of the
	// Gate, a *GateError as a rule. Otherwise nil.
	Cause error `json:"-"`
}

// Error returns one line: the code, the service's message quoted and cut at
// 200 bytes, and in brackets what is known of the service's code, the request
// id, the number of sends and the reason for stopping:
//
//	iam: 429 TooManyRequests: "Slow down." (APIG.0308, request req-1, sent 3 times: attempts used up)
//
// It names neither method nor URL, because [url.Error] around it does. Beside
// the service's code, message and request id nothing of the exchange is in it.
func (e *StatusError) Error() string {
	b := append(make([]byte, 0, 160), "iam: "...)
	b = append(b, e.Code.Error()...)
	if e.Message != "" {
		b = strconv.AppendQuote(append(b, ": "...), cut(e.Message, 200))
	}
	sep := " ("
	part := func(texts ...string) {
		b = append(b, sep...)
		for _, s := range texts {
			b = append(b, s...)
		}
		sep = ", "
	}
	if e.ServiceCode != "" {
		part(word(e.ServiceCode))
	}
	if e.RequestID != "" {
		part("request ", word(e.RequestID))
	}
	var reason string
	if e.Stop != StopUnset {
		reason = ": " + e.Stop.String()
	}
	switch {
	case e.Attempts == 1:
		part("sent once", reason)
	case e.Attempts > 1:
		part("sent ", strconv.Itoa(e.Attempts), " times", reason)
	case reason != "":
		part("not sent", reason)
	}
	if sep == ", " {
		b = append(b, ')')
	}
	return string(b)
}

// word is a label that stands among the words of Error, quoted where it could
// be taken for several of them.
func word(s string) string {
	if s = label(s); strings.ContainsAny(s, ` ,()"`) {
		return strconv.Quote(s)
	}
	return s
}

// GoString returns Error, so that %#v, which test libraries print, shows no
// header and no body either.
func (e *StatusError) GoString() string { return e.Error() }

// LogValue groups the fields that are safe to log: all but Header, Body and
// Cause. The message is cut as in Error.
func (e *StatusError) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 10)
	text := func(key, s string) {
		if s != "" {
			attrs = append(attrs, slog.String(key, s))
		}
	}
	attrs = append(attrs, slog.Int("code", int(e.Code)))
	text("title", Classify(int(e.Code)).Title)
	text("service_code", label(e.ServiceCode))
	text("message", cut(oneLine(e.Message), 200))
	text("request_id", label(e.RequestID))
	text("method", e.Method)
	text("url", e.URL)
	if e.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	if e.Attempts > 0 {
		attrs = append(attrs, slog.Int("attempts", e.Attempts))
	}
	if e.Stop != StopUnset {
		attrs = append(attrs, slog.String("stop", e.Stop.String()))
	}
	return slog.GroupValue(attrs...)
}

// Is reports whether target is the Code or the Reason of e.
func (e *StatusError) Is(target error) bool {
	switch target := target.(type) {
	case Code:
		return target == e.Code
	case Reason:
		return target == e.Reason()
	}
	return false
}

// Unwrap returns Code, the Reason if it is known, and Cause if it is set:
// errors.As finds the first two, errors.Is the context's error behind a
// canceled wait.
func (e *StatusError) Unwrap() []error {
	errs := append(make([]error, 0, 3), e.Code)
	if r := e.Reason(); r != ReasonUnknown {
		errs = append(errs, r)
	}
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	return errs
}

// Timeout reports whether time ran out: at the service (408, 504) or for the
// caller (a deadline in Cause). It is false for StopDeadline: that deadline has
// not passed. Through it (*url.Error).Timeout tells the truth. There is no
// Temporary method on purpose: layers above would repeat what has been
// repeated here.
func (e *StatusError) Timeout() bool {
	return e.Code == ErrRequestTimeout || e.Code == ErrGatewayTimeout || errors.Is(e.Cause, context.DeadlineExceeded)
}

// RetryableError returns false. It tells the retryer of the AWS SDK that all
// repeating which the documentation allows has been done.
func (e *StatusError) RetryableError() bool { return false }

// NonRetriable tells Azure's azcore the same; it does nothing.
func (e *StatusError) NonRetriable() {}

// StopReason is why a request was not, or no longer, repeated. Of several that
// hold, the first in the order of the constants is reported, but StopCanceled
// rather than StopDeadline: who no longer waits has no deadline to meet.
type StopReason uint8

const (
	StopUnset             StopReason = iota // no Transport decided, or the request will be sent again
	StopNotRepeatable                       // the documentation does not allow a repeat
	StopBodyNotReplayable                   // the request has a body and no GetBody, or GetBody failed
	StopAttempts                            // MaxAttempts are used up, or a Transport below has repeated already
	StopBackoff                             // the BackOff returned a negative interval (backoff.Stop)
	StopWaitTooLong                         // the service asked for more than MaxWait
	StopDeadline                            // the wait would not end before the context's deadline
	StopCanceled                            // the context ended before or during the wait
	StopGate                                // the Gate refused; Attempts 0 means that nothing was sent
)

// String describes the reason in a few words.
func (s StopReason) String() string {
	switch s {
	case StopUnset:
		return "not stopped"
	case StopNotRepeatable:
		return "not repeatable"
	case StopBodyNotReplayable:
		return "body not replayable"
	case StopAttempts:
		return "attempts used up"
	case StopBackoff:
		return "back-off stopped"
	case StopWaitTooLong:
		return "wait longer than allowed"
	case StopDeadline:
		return "deadline before end of wait"
	case StopCanceled:
		return "canceled"
	case StopGate:
		return "refused by the gate"
	}
	return "StopReason(" + strconv.Itoa(int(s)) + ")"
}

// CheckResponse returns nil for a status code from 100 to 399, else what a
// Transport would return: a *StatusError, here with Attempts 0 and StopUnset.
// It is for callers who keep the http.RoundTripper contract.
//
// It reads up to 64 KiB of resp.Body ahead, until the context of resp.Request
// ends at the latest, and puts them back: resp.Body can be read from its start
// and remains the caller's to close.
func CheckResponse(resp *http.Response) error {
	if succeeded(resp.StatusCode) {
		return nil
	}
	ctx := context.Background()
	if resp.Request != nil {
		ctx = resp.Request.Context()
	}
	e := newStatusError(resp, resp.Request, time.Now())
	e.peek(ctx, resp)
	return e
}

// CheckProxyConnect makes a proxy's refusal of CONNECT a *StatusError, where
// net/http would make it a text. Set it as OnProxyConnectResponse of the
// http.Transport at the bottom:
//
//	base.OnProxyConnectResponse = iamhttp.CheckProxyConnect
//
// It returns nil for an answer from 100 to 399. Method is CONNECT, URL that of
// the proxy. Only the header is used, because nothing bounds a read there. The
// error has Attempts 0 and StopUnset, by which a Transport above tells it from
// the final word of another: it repeats a 408 or 429 like any other, and
// returns the rest as its own errors, in PassThrough too, as there is no
// response.
func CheckProxyConnect(_ context.Context, proxyURL *url.URL, _ *http.Request, connectRes *http.Response) error {
	if succeeded(connectRes.StatusCode) {
		return nil
	}
	e := newStatusError(connectRes, &http.Request{Method: http.MethodConnect, URL: proxyURL}, time.Now())
	e.setBody(nil, connectRes.ContentLength != 0)
	return e
}

// NewStatusError builds the error of an answer of which only these parts are
// at hand, as in the hooks of some SDKs. It copies header and body, both of
// which may be nil. It does not ask whether the code is a failure and never
// returns nil. Method, URL, Attempts and Stop are left unset.
func NewStatusError(statusCode int, header http.Header, body []byte) *StatusError {
	e := newStatusError(&http.Response{StatusCode: statusCode, Header: header}, nil, time.Now())
	e.setBody(bytes.Clone(body[:min(len(body), maxBody)]), len(body) > maxBody)
	return e
}

// succeeded reports whether a status code is no failure. Redirections belong
// to the client above, 101 and 304 are data.
func succeeded(statusCode int) bool { return 100 <= statusCode && statusCode < 400 }

// newStatusError fills in all that does not need the body. req is the request
// that was sent, nil if unknown; at is when the answer arrived.
func newStatusError(resp *http.Response, req *http.Request, at time.Time) *StatusError {
	e := &StatusError{Code: Code(resp.StatusCode), Header: resp.Header.Clone()}
	e.RetryAfter, _ = retryAfter(resp.Header, at)
	if req != nil {
		e.ofRequest(req)
	}
	return e
}

func (e *StatusError) ofRequest(req *http.Request) {
	e.Method = cmp.Or(req.Method, http.MethodGet)
	e.URL = redact(req.URL)
}

// redact returns u without user info, query and fragment. Opaque goes too: it
// may hold the first two.
func redact(u *url.URL) string {
	if u == nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// setBody takes over body, or the part of it that arrived, and what it says.
func (e *StatusError) setBody(body []byte, truncated bool) {
	e.Body, e.Truncated = body, truncated
	d := decode(body, int(e.Code))
	e.ServiceCode = label(d.code)
	e.Message = oneLine(d.message)
	e.RequestID = label(cmp.Or(
		e.Header.Get("X-Openstack-Request-Id"),
		e.Header.Get("X-Request-Id"),
		e.Header.Get("X-Iam-Trace-Id"),
		d.requestID,
	))
}
