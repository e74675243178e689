// Package gate decides when the requests of one account may be sent.
//
// A rate limit belongs to an account, not to one call. Once the service answers 429,
// every caller of that account has to wait, and then they have to come back one by one.
// A gate takes care of that: an iamhttp.Transport asks it before each attempt, and
// reports the outcome to it.
//
//	shared := new(gate.Adaptive) // one for all clients of the process
//	client := &http.Client{Transport: &iamhttp.Transport{Gate: shared}}
//
// [Adaptive] is the gate for one process. The module redisgate has a gate for many
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
// with the same key share the limit of one account, and keys do not affect each other.
//
// A Transport with a gate does not wait by itself after a 429, unless the call has no
// deadline and half of its attempts are used up. It reports the 429 to the gate and
// calls Wait again: the gate has to hold the request back.
type Gate interface {
	// Wait blocks until the request may be sent, and then returns a nil error: the
	// caller sends it at once. Any error means that the request must not be sent: an
	// [*Error] if the gate refuses it, ctx.Err() if the context ends first. After an
	// error, Observe is not called.
	Wait(ctx context.Context, r Request) (Ticket, error)

	// Observe reports the outcome of a request that Wait admitted: r is the Request
	// that Wait got, t the Ticket that it returned. It is called exactly once for each
	// Wait that returned nil, even if nothing was sent after all. It must not block.
	//
	// After a Throttled outcome, no request with that key may be sent until RetryAfter
	// has elapsed or, if it is zero, for a time that the gate chooses. If several such
	// pauses overlap, the one that ends last counts.
	Observe(r Request, t Ticket, o Outcome)
}

// A Request is what a [Gate] knows about a request.
type Request struct {
	// Key names the account whose limit the request counts against. It is never empty.
	Key string

	// Resend is the resend count: 0 for the first attempt, 1 for the first retry.
	Resend int

	// MaxWait is the longest pause that the caller waits for. A gate refuses the
	// request with [ErrPaused] while a longer pause is in force. Zero means that only
	// the context limits the wait. The Transport sets it from its own MaxWait.
	MaxWait time.Duration
}

// A Ticket identifies one request that a [Gate] admitted. The gate chooses its value,
// which is opaque to callers.
type Ticket uint64

// An Outcome is the result of a request that a [Gate] admitted.
type Outcome struct {
	Result     Result
	RetryAfter time.Duration // with Throttled: the wait that the service asked for; 0: none
	Limit      Limit         // with Throttled: what the service stated about its limit; zero: nothing
}

// A Limit is a rate limit that the service states in a failing response: a number of
// requests per window of time. It may be wrong, and it may not be the limit that the
// request exceeded. Fields that the service did not state are zero.
type Limit struct {
	Requests  int           // requests allowed in a window
	Per       time.Duration // length of the window
	Remaining int           // requests left in the current window; 0 is meaningful only if Requests or Reset is set
	Reset     time.Duration // time until the current window ends, or until requests are accepted again
	Policy    string        // the service's name for the limit
}

// String returns, for example, "200 per 5m0s (user) new in 30s", where 30s is Reset. It
// returns "" for the zero value.
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

// A Result is what an [Outcome] says about the limit. The zero value is Unknown.
type Result uint8

// The results, and what each one says about the limit.
const (
	Unknown   Result = iota // nothing: no response, a 5xx, an expected 429, a panic
	Accepted                // the request was within the limit
	Throttled               // the request was over the limit
	NotSent                 // the request did not reach the service: a gate below refused it
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

// The reasons that [Adaptive] puts into an [Error]. Test for them with errors.Is.
var (
	// ErrDeadline means that the request cannot be sent before the deadline of its
	// context.
	ErrDeadline = errors.New("request cannot be sent before its deadline")

	// ErrPaused means that the pause in force is longer than the request's MaxWait.
	ErrPaused = errors.New("pause is longer than MaxWait")
)

// An Error means that a [Gate] refuses to admit a request. The Transport returns it
// inside an iamhttp.NotSentError or, if an earlier attempt got a response, as the Cause
// of an iamhttp.StatusError.
type Error struct {
	RetryAfter time.Duration // time until a request with that key may be sent; 0: unknown
	Err        error         // ErrDeadline, ErrPaused, or an error of the gate's own
}

// Error returns the reason, and the earliest time to try again.
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
