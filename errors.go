package iamhttp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/answer"
	"github.com/iamhttp/iamhttp/internal/target"
)

// A StatusError describes a failing response: one whose status code is outside 100 to
// 399. A Transport creates none for an Expected code.
//
// The error is always a pointer: declare var e *iamhttp.StatusError, then call
// errors.As(err, &e). Test for a single code with errors.Is(err, iamhttp.ErrNotFound).
// Once returned, a StatusError does not change: it is safe for concurrent use.
//
// Printing, logging or marshaling a StatusError shows neither header nor body, because it
// keeps them in a function. For that reason, unless both are empty, reflect.DeepEqual
// reports even a copy as different: in tests, compare fields.
type StatusError struct {
	Code        Code          // the status code
	ServiceCode string        // the service's own code, such as "IAM.0004" or "APIG.0308"; empty if there is none, or if it only names a status
	Message     string        // the service's own message on one line, without control characters
	RequestID   string        // the service's ID for the request, from X-Openstack-Request-Id, X-Request-Id, X-IAM-Trace-Id, the body, X-Obs-Request-Id, Request-Id, X-Amzn-RequestId or X-Amz-Request-Id, in this order of preference
	Method      string        // the request's method
	URL         string        // the request's URL, without user info, query and fragment
	Truncated   bool          // whether Body is, or may be, incomplete: it exceeded the limit, was cut off, timed out, or was not read
	RetryAfter  time.Duration // the wait that the service asked for, with any status code, or the Gate's estimate if the Gate refused the retry; 0: none, unknown, or a time in the past
	Limit       gate.Limit    // the rate limit that the service stated; zero: none
	Attempts    int           // how many times the request was sent; 0: unknown, or not at all
	Stop        StopReason    // why the request was not sent again
	// Cause is the error that kept the request from being sent again, if any. For
	// StopCanceled, it wraps context.Canceled or context.DeadlineExceeded and, if that
	// differs, context.Cause(ctx). For StopBodyNotReplayable, it says how GetBody failed,
	// if it did. If the Gate refused the retry, it is or wraps the gate's error, usually a
	// *gate.Error. For StopWaitTooLong, it may say that a connection cannot be freed.
	// Otherwise it is nil.
	Cause error `json:"-" xml:"-" yaml:"-"`

	content func() (http.Header, []byte) // returns the header and the body; a function, because reflection prints only its address; nil: both are empty
}

// Header returns a copy of the response header, including any changes that a RoundTripper
// below has made to it. The header may contain secrets: do not log it.
func (e *StatusError) Header() http.Header {
	if e.content == nil {
		return nil
	}
	h, _ := e.content()
	return h.Clone()
}

// Body returns a copy of the part of the response body that was kept: at most 64 KiB, or
// 4 KiB if the Transport was going to retry. The body may contain secrets: do not log it.
func (e *StatusError) Body() []byte {
	if e.content == nil {
		return nil
	}
	_, b := e.content()
	return bytes.Clone(b)
}

// Error returns one line in the form below; unknown parts are left out. The message is
// cut at 200 bytes. The method and the URL are missing because [url.Error] adds them. For
// StopGate, the gate's error follows the stop reason. The limit is shown only if the
// Reason is ReasonThrottled.
//
//	iamhttp: 429 TooManyRequests: "Slow down." (APIG.0308, limit 5 per 1s, request req-1, sent 3 times: attempts used up)
func (e *StatusError) Error() string {
	b := append(make([]byte, 0, 160), "iamhttp: "...)
	b = append(b, e.Code.Error()...)
	if e.Message != "" {
		b = strconv.AppendQuote(append(b, ": "...), answer.Cut(e.Message, maxQuoted))
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
		part(answer.Word(e.ServiceCode))
	}
	if l := answer.Label(e.Limit.String()); l != "" && e.Reason() == ReasonThrottled {
		part("limit ", l)
	}
	if e.RequestID != "" {
		part("request ", answer.Word(e.RequestID))
	}
	var reason string
	if e.Stop != StopUnset {
		reason = ": " + e.Stop.String()
	}
	if e.Stop == StopGate && e.Cause != nil {
		reason += ": " + answer.Cut(answer.OneLine(e.Cause.Error()), maxQuoted)
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

const maxQuoted = 200 // the longest message, in bytes, that an error or a log record quotes from the service or the gate

// GoString returns the text of Error, so that %#v shows no secret.
func (e *StatusError) GoString() string { return e.Error() }

// LogValue groups the code's title and all fields that are set, except Truncated and
// Cause. It omits the header and the body.
func (e *StatusError) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.Int("code", int(e.Code)))
	attrs = appendText(attrs, "title", Classify(int(e.Code)).Title)
	attrs = appendText(attrs, "service_code", answer.Label(e.ServiceCode))
	attrs = appendText(attrs, "message", answer.Cut(answer.OneLine(e.Message), maxQuoted))
	attrs = appendText(attrs, "request_id", answer.Label(e.RequestID))
	attrs = appendText(attrs, "method", e.Method)
	attrs = appendText(attrs, "url", e.URL)
	if e.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	attrs = appendText(attrs, "limit", answer.Label(e.Limit.String()))
	if e.Attempts > 0 {
		attrs = append(attrs, slog.Int("attempts", e.Attempts))
	}
	if e.Stop != StopUnset {
		attrs = append(attrs, slog.String("stop", e.Stop.String()))
	}
	return slog.GroupValue(attrs...)
}

func appendText(attrs []slog.Attr, key, s string) []slog.Attr {
	if s == "" {
		return attrs
	}
	return append(attrs, slog.String(key, s))
}

// Is reports whether target is e's Code or Reason.
func (e *StatusError) Is(target error) bool {
	switch target := target.(type) {
	case Code:
		return e != nil && target == e.Code
	case Reason:
		return e != nil && target == e.Reason()
	}
	return false
}

// Unwrap returns Code, the Reason if it is known, and Cause if it is set.
func (e *StatusError) Unwrap() []error {
	if e == nil { // errors.As and errors.Is call Unwrap on a nil pointer that is returned as an error
		return nil
	}
	errs := append(make([]error, 0, 3), e.Code)
	if r := e.Reason(); r != ReasonUnknown {
		errs = append(errs, r)
	}
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	return errs
}

// Timeout reports whether time ran out for the service (408, 504) or for the caller
// (Cause wraps context.DeadlineExceeded; StopDeadline alone does not count).
// (*url.Error).Timeout calls it. There is no Temporary method, because it would make
// outer layers retry.
func (e *StatusError) Timeout() bool {
	return e.Code == ErrRequestTimeout || e.Code == ErrGatewayTimeout || errors.Is(e.Cause, context.DeadlineExceeded)
}

// RetryableError returns false, which tells the AWS SDK not to retry.
func (e *StatusError) RetryableError() bool { return false }

// NonRetriable does nothing; its presence tells Azure's azcore not to retry.
func (e *StatusError) NonRetriable() {}

// A NotSentError means that the [gate.Gate] refused the request: nothing was sent. It is
// always a pointer. Like most 429s, it matches ErrTooManyRequests and ReasonThrottled in
// errors.Is. It also matches the gate's reason, such as gate.ErrDeadline or gate.ErrPaused.
type NotSentError struct {
	Method     string        // the request's method
	URL        string        // the request's URL, without user info, query and fragment
	RetryAfter time.Duration // the time until the request could be sent at the earliest; 0: unknown
	Err        error         `json:"-" xml:"-" yaml:"-"` // is or wraps the gate's error, usually a *gate.Error
}

func newNotSentError(req *http.Request, err error) *NotSentError {
	e := &NotSentError{RetryAfter: earliest(err), Err: err}
	e.Method, e.URL = target.Of(req)
	return e
}

// Error returns one line; the gate's reason in it is cut at 200 bytes:
//
//	iamhttp: gate: request cannot be sent before its deadline; earliest in 5s
func (e *NotSentError) Error() string {
	text := "request was refused"
	if e.Err != nil {
		text = answer.Cut(answer.OneLine(e.Err.Error()), maxQuoted)
	}
	return "iamhttp: gate: " + text
}

// LogValue groups the text of Error and, as far as they are set, Method, URL and
// RetryAfter.
func (e *NotSentError) LogValue() slog.Value {
	attrs := append(make([]slog.Attr, 0, 4), slog.String("error", e.Error()))
	attrs = appendText(attrs, "method", e.Method)
	attrs = appendText(attrs, "url", e.URL)
	if e.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	return slog.GroupValue(attrs...)
}

// Unwrap returns ErrTooManyRequests, ReasonThrottled, and Err if it is set.
func (e *NotSentError) Unwrap() []error {
	if e == nil {
		return nil
	}
	errs := append(make([]error, 0, 3), ErrTooManyRequests, ReasonThrottled)
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

// RetryableError returns false, which tells the AWS SDK not to retry.
func (e *NotSentError) RetryableError() bool { return false }

// NonRetriable does nothing; its presence tells Azure's azcore not to retry.
func (e *NotSentError) NonRetriable() {}

// RetryAfter returns how long to wait, from the RetryAfter field of the *StatusError or
// *NotSentError in err. It returns false if there is no such error or the field is 0.
func RetryAfter(err error) (time.Duration, bool) {
	var d time.Duration
	if e := find[*StatusError](err); e != nil {
		d = e.RetryAfter
	} else if e := find[*NotSentError](err); e != nil {
		d = e.RetryAfter
	}
	return d, d > 0
}

// find is [errors.As], except that a nil pointer does not count. It returns nil if err
// holds no E.
func find[E error](err error) (e E) {
	errors.As(err, &e)
	return e
}

// A StopReason says why a request was not sent, or not sent again. If several reasons
// apply, the first in the list of constants is usually reported. But StopCanceled takes
// precedence over StopDeadline and StopSignature and, if there is no response, over all
// others. Between StopDeadline and StopSignature, the one whose time comes first counts.
type StopReason uint8

// The reasons, in order of precedence (see [StopReason] for the exceptions).
const (
	StopUnset             StopReason = iota // unknown: no Transport decided, or the request will be sent again
	StopNotRetryable                        // neither the documentation nor the Transport's settings allow a retry, or it would fail in the same way (the request body cannot be sent, or there is no key for the Gate)
	StopBodyNotReplayable                   // the request has a body and no GetBody, or GetBody failed
	StopAttempts                            // MaxAttempts is used up, or a Transport below has already retried
	StopBackoff                             // the BackOff returned a negative interval (backoff.Stop)
	StopWaitTooLong                         // the service asked for a wait longer than MaxWait, or a connection cannot be freed
	StopDeadline                            // the retry, or the response to it, would come after the context's deadline
	StopSignature                           // the request's signature (AK/SK) would expire before the response to the retry, or while the request waits at the Gate
	StopCanceled                            // the context ended (or Request.Cancel was closed) during an attempt or a wait
	StopGate                                // the Gate refused the request
)

// String describes the reason.
func (s StopReason) String() string {
	texts := [...]string{
		StopUnset:             "unknown",
		StopNotRetryable:      "not retryable",
		StopBodyNotReplayable: "body not replayable",
		StopAttempts:          "attempts used up",
		StopBackoff:           "back-off stopped",
		StopWaitTooLong:       "wait longer than allowed",
		StopDeadline:          "deadline before end of wait",
		StopSignature:         "signature would expire",
		StopCanceled:          "canceled",
		StopGate:              "refused by the gate",
	}
	if int(s) < len(texts) {
		return texts[s]
	}
	return "StopReason(" + strconv.Itoa(int(s)) + ")"
}
