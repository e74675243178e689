// Package gate decides when the requests of an account may be sent.
//
// A rate limit belongs to an account, not to a single call. Once the service returns 429,
// every caller of that account has to wait, and then they must not all resume at once. A
// gate coordinates them: an iamhttp.Transport asks its gate before each attempt and
// reports the outcome to it after the attempt.
//
//	shared := new(gate.Adaptive) // one for all clients of the process
//	client := &http.Client{Transport: &iamhttp.Transport{Gate: shared}, Timeout: time.Minute}
//
// [Adaptive] is a gate for one process; the module redisgate provides a gate for many
// processes. To write your own, implement [Gate] and test it with package gatetest.
package gate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Gate decides when requests may be sent. It must be safe for concurrent use. Requests
// with the same key share one limit, and keys do not affect each other.
//
// After a 429, a Transport with a gate reports the 429 to the gate and, to retry, calls
// Wait again, so the gate has to hold the request back. The Transport itself waits in two
// cases only: once half of the attempts are used up, if only their number limits the call;
// and for a second before the ninth and each later attempt, if their number is not limited.
type Gate interface {
	// Wait blocks until the request may be sent and then returns a nil error; the caller
	// must send the request at once. A non-nil error means that the request must not be
	// sent. It is an [*Error] if the gate refuses the request, and ctx.Err() if the
	// context ends first. Observe is not called after an error.
	Wait(ctx context.Context, r Request) (Ticket, error)

	// Observe reports the outcome of a request that Wait admitted. r is the Request that
	// was passed to Wait, and t is the Ticket that Wait returned. Observe is called
	// exactly once for each call to Wait that returned a nil error, even if the request
	// was not sent after all. It must not block.
	//
	// After a Throttled outcome, no request with that key may be sent until RetryAfter
	// has elapsed or, if RetryAfter is zero, for a time that the gate chooses. If several
	// of these pauses overlap, the one that ends last applies. [Adaptive] makes an exception
	// for other endpoints if it has noticed that only requests to one endpoint are refused.
	Observe(r Request, t Ticket, o Outcome)
}

// A Request is what a [Gate] is told about an HTTP request.
type Request struct {
	// Key names the limit that the request counts against, usually an account's. It is
	// never empty.
	Key string

	// Resend is the number of times the request was sent before: 0 for the first attempt, 1 for the
	// first retry.
	Resend int

	// MaxWait is the longest pause that the caller is willing to wait out. A gate refuses
	// the request with [ErrPaused] while a longer pause is in force. Zero means that only
	// the context limits the wait. The Transport sets it from its own MaxWait or from
	// iamhttp.WithMaxWait. Without either, it is zero if the context has a deadline, and
	// otherwise 2 minutes.
	MaxWait time.Duration

	// Method and Path are the HTTP request's method and the path of its URL. With them, a
	// gate can tell apart requests with the same key of which only some are refused. They
	// may be empty.
	Method, Path string
}

// A Ticket is a value that a [Gate] returns for an admitted request and gets back with the
// outcome. It is opaque to callers, and several requests may have the same ticket.
type Ticket uint64

// An Outcome is the result of a request that a [Gate] admitted.
type Outcome struct {
	Result     Result
	RetryAfter time.Duration // the wait that the service asked for, if Throttled; 0: none
	Limit      Limit         // the limit that the service stated, if Throttled; zero: none
}

// A Limit is a rate limit that the service states in a failing response: a number of
// requests per window of time. It may be wrong, and it may not be the limit that the
// request exceeded. Fields that the service did not state are zero.
type Limit struct {
	Requests  int           // requests allowed in a window
	Per       time.Duration // length of the window
	Remaining int           // requests left in the current window; 0: none, or not stated
	Reset     time.Duration // time until the current window ends, or until requests are accepted again
	Policy    string        // the service's name for the limit
}

// String returns a description such as "200 per 5m0s (user) new in 30s", where 30s is
// Reset, or "" for the zero value. It leaves out Remaining, and Per without Requests.
func (l Limit) String() string {
	var parts []string
	if l.Requests > 0 {
		parts = append(parts, strconv.Itoa(l.Requests))
		if l.Per > 0 {
			parts = append(parts, "per", l.Per.String())
		}
	}
	if l.Policy != "" {
		parts = append(parts, "("+l.Policy+")")
	}
	if l.Reset > 0 {
		parts = append(parts, "new in", l.Reset.String())
	}
	return strings.Join(parts, " ")
}

// A Result states whether a request was within the limit. The zero value is Unknown, and
// an Adaptive treats undefined values as Unknown.
type Result uint8

// The results of a request.
const (
	Unknown   Result = iota // the outcome says nothing about the limit: no response, most 5xx, an expected 429, or a panic
	Accepted                // the request was within the limit: a response below 400, or most 4xx other than 429
	Throttled               // the request was over the limit: a 429, or a code in the Transport's AlsoRetry with Retry-After or X-Retry-After
	NotSent                 // the request was not sent, because the gate of a Transport below refused it
)

// String returns the result in one or two words.
func (r Result) String() string {
	switch r {
	case Unknown:
		return "unknown"
	case Accepted:
		return "accepted"
	case Throttled:
		return "throttled"
	case NotSent:
		return "not sent"
	}
	return fmt.Sprintf("Result(%d)", uint8(r))
}

// The reasons that [Adaptive] gives in the Err field of an [Error]. Test for them with
// errors.Is.
var (
	// ErrDeadline means that the request can probably not be sent in time to get a
	// response before its context's deadline, that it should leave its distant turn to a
	// request with more time, or that the queue is too long for others to be served.
	ErrDeadline = errors.New("request cannot be sent before its deadline")

	// ErrPaused means that the rest of the current pause is longer than the request's
	// MaxWait.
	ErrPaused = errors.New("pause is longer than MaxWait")
)

// An Error is the error with which a [Gate] refuses to admit a request. Unless the call
// was canceled, the Transport returns it inside an iamhttp.NotSentError or, if an earlier
// attempt was sent, together with that attempt's error: in the Cause of an
// iamhttp.StatusError if there was a response.
type Error struct {
	RetryAfter time.Duration // time until the request could be sent at the earliest; 0: unknown
	Err        error         // ErrDeadline, ErrPaused, or the gate's own error
}

// Error returns the reason and, if RetryAfter is set, how long to wait before trying
// again.
func (e *Error) Error() string {
	text := "request refused"
	if e.Err != nil {
		text = e.Err.Error()
	}
	if e.RetryAfter > 0 {
		text += "; earliest in " + e.RetryAfter.String()
	}
	return text
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
