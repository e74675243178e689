// Package gate decides when the requests of one account may leave.
//
// A rate limit belongs to an account, not to one call. Once the service answers 429,
// every caller of that account has to wait, and then they have to come back one by
// one. A gate sees to that: an iamhttp.Transport asks it before each attempt, and
// tells it the outcome.
//
//	shared := new(gate.Adaptive) // one for all clients of the process
//	client := &http.Client{Transport: &iamhttp.Transport{Gate: shared}}
//
// [Adaptive] is the gate for one process. Module redisgate has one for many
// processes. To write your own, implement [Gate], and test it with package
// gatetest.
package gate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Gate decides when requests that share a key, the limit of one account, may
// be sent. Many goroutines use it at once, and keys do not affect each other.
//
// A Transport that has a gate does not wait by itself after a 429, unless the call has
// no deadline and half of its attempts are used up. It tells the gate, and asks it
// again: the gate has to hold the requests back.
type Gate interface {
	// Wait blocks until the request may be sent, and then returns a nil error:
	// the caller sends now. Any error means that the request must not be sent:
	// an [*Error] if the gate refuses it, ctx.Err() if the context ends first.
	// After an error there is no Observe.
	Wait(ctx context.Context, r Request) (Ticket, error)

	// Observe tells the gate the outcome of a request that Wait let out, with the
	// Request and the Ticket of that Wait. It is called exactly once for each Wait
	// that returned nil, even if nothing was sent after all. It must not block.
	//
	// After a Throttled outcome, no request with that key may leave until
	// RetryAfter has elapsed or, if there is none, for a while that the gate
	// chooses. Of several such pauses the one that ends last counts.
	Observe(r Request, t Ticket, o Outcome)
}

// A Request is what a [Gate] knows about a request.
type Request struct {
	// Key names the account whose limit the request counts against. It is never
	// empty.
	Key string

	// Resend is the resend count: 0 for the first attempt, 1 for the first retry.
	Resend int

	// MaxWait is the longest pause that the caller waits for. A gate refuses the
	// request with [ErrPaused] while a longer one is in force. Zero means that
	// only the context bounds it. The Transport fills it in from its MaxWait.
	MaxWait time.Duration
}

// A Ticket identifies one request that a [Gate] let out. The gate chooses its
// value; it means nothing to anybody else.
type Ticket uint64

// An Outcome is the result of a request that a [Gate] let out.
type Outcome struct {
	Result     Result
	RetryAfter time.Duration // the wait that the service asked for, with Throttled; 0: none
	Limit      Limit         // what the service stated of its limit, with Throttled; zero: nothing
}

// A Limit is a rate limit that the service states in a failing response: a number of
// requests in a window of time. It may be wrong, and it may not be the limit that the
// request exceeded. Fields that are not stated are zero.
type Limit struct {
	Requests  int           // requests allowed in a window
	Per       time.Duration // the length of the window
	Remaining int           // requests left in the current window; 0 is meaningful only if Requests or Reset is set
	Reset     time.Duration // until the current window ends, or requests are taken again
	Policy    string        // the service's name for the limit
}

// String returns "200 per 5m0s (user)", with "new in 30s" for a Reset, and nothing
// for the zero value.
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

// The results, with what each one says about the limit.
const (
	Unknown   Result = iota // nothing: no response, a 5xx, an expected 429, a panic
	Accepted                // the request was within the limit
	Throttled               // the request was over the limit
	NotSent                 // the request did not reach the service: a gate below refused it
)

// String returns the result in a word or two.
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

// The reasons that [Adaptive] puts into an [Error]. Use them with errors.Is.
var (
	// ErrDeadline means that the request cannot be sent before the deadline of its
	// context.
	ErrDeadline = errors.New("request cannot be sent before its deadline")

	// ErrPaused means that a pause is in force that is longer than the request's
	// MaxWait.
	ErrPaused = errors.New("pause is longer than MaxWait")
)

// An Error means that a [Gate] refuses to let a request out. The Transport returns it
// inside an iamhttp.NotSentError or, after an attempt that was answered, as the Cause
// of an iamhttp.StatusError.
type Error struct {
	RetryAfter time.Duration // until a request with that key may be sent; 0: unknown
	Err        error         // why: ErrDeadline, ErrPaused, or the gate's own
}

// Error says why, and when to come back.
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
