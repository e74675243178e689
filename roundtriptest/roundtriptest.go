// Package roundtriptest tests whether an [http.RoundTripper] that wraps another one
// obeys the RoundTripper contract: the documentation of net/http and, mostly for
// retries, the RFCs.
//
//	func TestContract(t *testing.T) {
//		roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
//			return &mine.Transport{Base: base}
//		}, roundtriptest.Options{Retries: http.StatusTooManyRequests})
//	}
//
// Each trap tests one clause of the contract that existing implementations break.
// Nearly all traps run in virtual time, so you need not shorten the RoundTripper's
// waits. Traps that need connections use a real http.Transport and http.Server, over
// in-memory connections. Run the suite with -race: some mistakes are visible only to
// the race detector.
package roundtriptest

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"testing"
)

// Options describes the RoundTripper under test. The zero value is for a RoundTripper
// that sends each request once and returns the result.
type Options struct {
	// StatusErrors means that the RoundTripper returns responses with a status of 400 or
	// above as errors, although the contract does not allow that. The rest of the
	// contract still applies: no response is returned with the error, and the response's
	// body is closed.
	StatusErrors bool

	// Retries is a status code, such as 429, that the RoundTripper retries whatever the
	// method. The RoundTripper must retry at least once, even if the server asks for a
	// wait of 10 seconds. If the RoundTripper retries only if the response also has,
	// say, a certain header, the function wrap that you pass to [Run] must add that header
	// to the base's responses. Other statuses may be retried too, if the method is idempotent
	// or if Retries is 500 or above. Zero means that the RoundTripper does not retry, so
	// the traps about retries do not apply.
	Retries int

	// Shared means that all callers wait when one of them gets the status in Retries.
	Shared bool
}

// ErrNotApplicable means that a trap does not apply to the RoundTripper under test.
// Use errors.Is to look for ErrNotApplicable in the result of [Trap.Check].
var ErrNotApplicable = errors.New("not applicable")

// A Trap is one clause of the contract, together with a situation in which
// implementations break it. Use Traps to try only some of the traps; [Run] tries them all.
type Trap struct {
	Name   string // a sentence that is true if the RoundTripper avoids the trap
	Clause string // the clause of the contract, with its source

	check func(*trial) error
}

// Check tries the trap on the RoundTripper that wrap builds around a base. It returns nil
// if the RoundTripper avoids the trap, an error that wraps [ErrNotApplicable] if the trap
// does not apply, and otherwise an error that describes what went wrong. Check may call
// wrap several times. For one trap, the base of the second call is the RoundTripper that
// the first call returned.
//
// Check needs t for virtual time. It does not mark t as failed, except for data races
// that the race detector finds. Check must not be called in a synctest bubble.
func (tr Trap) Check(t *testing.T, wrap func(base http.RoundTripper) http.RoundTripper, o Options) error {
	t.Helper()
	return tr.check(&trial{t: t, wrap: wrap, Options: o})
}

// Traps returns an iterator over all traps, always in the same order.
func Traps() iter.Seq[Trap] { return slices.Values(traps) }

// Run tries each trap in a subtest named after the trap. It skips traps that are not
// applicable.
func Run(t *testing.T, wrap func(base http.RoundTripper) http.RoundTripper, o Options) {
	t.Helper()
	for trap := range Traps() {
		t.Run(trap.Name, func(t *testing.T) {
			switch err := trap.Check(t, wrap, o); {
			case errors.Is(err, ErrNotApplicable):
				t.Skip(err)
			case err != nil:
				t.Errorf("%v\nthis breaks %s", err, trap.Clause)
			}
		})
	}
}

var traps = []Trap{
	// These traps are about the result of RoundTrip.
	{"RoundTrip returns either a response or an error", `http.RoundTripper: "RoundTrip must return err == nil if it obtained a response, regardless of the response's HTTP status code."`, eitherOr},
	{"a client's timeout does not hide the response", `http.RoundTripper: "A non-nil err should be reserved for failure to obtain a response." There was a response; http.Client replaces any error that comes after its Timeout with an error of its own.`, clientTimeoutKeepsAnswer},
	{"an error of the base stays an error", `http.RoundTripper: "A non-nil err should be reserved for failure to obtain a response." Without a response from the server, there is nothing else to return.`, errorStays},
	// These traps are about the caller's request.
	{"the request is not modified", `http.RoundTripper: "RoundTrip should not modify the request, except for consuming and closing the Request's Body." and: "must be safe for concurrent use by multiple goroutines".`, requestUnmodified},
	{"the body is always closed", `http.RoundTripper: "RoundTrip must always close the body, including on errors".`, bodyClosed},
	{"a body is not used again while it may be read", `http.RoundTripper: the body may be closed "in a separate goroutine even after RoundTrip returns. This means that callers wanting to reuse the body for subsequent requests must arrange to wait for the Close call before doing so."`, bodyNotReused},
	{"a body that is gone is not sent again as an empty one", `http.Request.GetBody: "an optional func to return a new copy of Body"; RFC 9110 §9.2.2 is about retrying the same request; without its content it is a different request.`, noEmptyRetry},
	// These traps are about tasks that belong to other layers.
	{"redirects belong to the client", `http.RoundTripper: "RoundTrip should not attempt to handle higher-level protocol details such as redirects, authentication, or cookies."`, redirectsLeft},
	{"a response is returned with its body untouched", `http.RoundTripper: "RoundTrip should not attempt to interpret the response." http.Response.Body: the body "will also implement io.Writer on a successful "101 Switching Protocols" response".`, bodyUntouched},
	{"CloseIdleConnections reaches the base", `http.Client.CloseIdleConnections: "If Client.Transport does not have a Client.CloseIdleConnections method then this method does nothing."`, closeIdle},
	// These traps are about responses that are not returned, and about a broken base.
	{"the connection of a retried response is reused", `http.Response.Body: "It is the caller's responsibility to close Body. The default HTTP client's Transport may not reuse HTTP/1.x "keep-alive" TCP connections if the Body is not read to completion and closed."`, interimReleased},
	{"a body that does not end is not read to its end", `http.Response.Body: "The response body is streamed on demand as the Body field is read." Only the reader of a body can limit how much of the body is read.`, readingBounded},
	{"a broken base causes no panic", `http.Response.Body: only "the http Client and Transport guarantee that Body is always non-nil"; other bases may leave it nil, or return (nil, nil), or both a response and an error.`, brokenBase},
	{"a request is sent once", `http.RoundTripper: "RoundTrip executes a single HTTP transaction, returning a Response for the provided Request"; RFC 9110 §9.2.2: "A client SHOULD NOT automatically retry a request with a non-idempotent method unless it has some means to know that the request semantics are actually idempotent".`, sentOnce},
	{"a cancellation reaches the attempt in flight", `http.NewRequestWithContext: "the context controls the entire lifetime of a request and its response: obtaining a connection, sending the request, and reading the response headers and body."`, cancelReachesAttempt},
	// These traps are about waiting; the last one is about odd responses.
	{"a canceled wait ends at once and says why", `http.NewRequestWithContext: "the context controls the entire lifetime of a request and its response"; http.Transport returns context.Cause as the error.`, canceledWait},
	{"nothing goes on after a canceled call", `http.NewRequestWithContext: "the context controls the entire lifetime of a request and its response".`, nothingLeft},
	{"a client's timeout ends the wait", `http.Client.Timeout: "The Client cancels requests to the underlying Transport as if the Request's Context ended."`, clientTimeoutEndsWait},
	{"Retry-After is understood in all its forms", `RFC 9110 §10.2.3: "Retry-After = HTTP-date / delay-seconds", "delay-seconds = 1*DIGIT"; §5.6.7: "A recipient that parses a timestamp value in an HTTP field MUST accept all three HTTP-date formats."`, retryAfterForms},
	{"a wrong clock does not matter", `RFC 9110 §6.6.1: Date is the time at which the message was originated; the HTTP-date in Retry-After (§10.2.3) comes from the same clock.`, wrongClock},
	{"no retry before Retry-After has elapsed", `RFC 9110 §10.2.3: Retry-After says "how long the user agent ought to wait before making a follow-up request".`, neverEarly},
	{"throttled callers do not all retry at once", `RFC 6585 §4: a 429 "MAY include a Retry-After header indicating how long to wait before making a new request"; RFC 9110 §9.2.2: "A client SHOULD NOT automatically retry a failed automatic retry."`, noStorm},
	{"there is a pause without Retry-After too", `RFC 6585 §4: 429 means that "the user has sent too many requests in a given amount of time", and MAY include Retry-After.`, pauseWithoutHint},
	{"an odd response causes no panic", `RFC 9110 §15: "a client MUST understand the class of any status code [...] A client that receives a response with an invalid status code SHOULD process the response as if it had a 5xx".`, oddAnswer},
	// These traps are about the requests that are sent, and about errors.
	{"Content-Length is kept", `http.Request.ContentLength: "records the length of the associated content"; RFC 9112 §6.2: without it the body is chunked, which many servers refuse.`, contentLengthStays},
	{"errors contain no secrets", `RFC 9110 §17.9: "URIs are intended to be shared, not secured, even when they identify secure resources"; user info, and credentials in header fields (§11.6), must not be shared.`, noSecrets},
	{"errors of one kind have one pointer type", `errors.As: "finds the first error in err's tree that matches target", by its type; errors.Is compares values, and a struct that contains a header is not comparable.`, pointerErrors},
	{"GetBody is passed on", `http.Transport: "only retries a request upon encountering a network error if [...] the request [...] either has no body or has its Request.GetBody defined"; HTTP/2 uses GetBody to resend a refused stream.`, getBodyKept},
	{"wrapping twice does not multiply the attempts", `RFC 9110 §9.2.2: "A client SHOULD NOT automatically retry a failed automatic retry."`, wrappedTwice},
}

// A trial is a RoundTripper that is being checked, with its options.
type trial struct {
	t    *testing.T
	wrap func(http.RoundTripper) http.RoundTripper
	Options
}

// retries returns an error that wraps ErrNotApplicable if Options.Retries is 0.
func (c *trial) retries() error {
	if c.Retries == 0 {
		return fmt.Errorf("%w: nothing is retried", ErrNotApplicable)
	}
	return nil
}
