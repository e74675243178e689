// Package roundtriptest holds an [http.RoundTripper] that is put around another
// one to its contract: the documentation of net/http, and the RFCs where the
// RoundTripper repeats requests.
//
//	func TestContract(t *testing.T) {
//		roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
//			return &mine.Transport{Base: base}
//		}, roundtriptest.Options{Repeats: http.StatusTooManyRequests})
//	}
//
// Each trap is one clause that implementations are known to break. Nearly all
// of them run in virtual time, so that the waits of the RoundTripper need not
// be shortened; those about connections put a real http.Transport and
// http.Server into it, over connections in memory. Run the suite with -race:
// some of what the traps provoke only the race detector sees.
package roundtriptest

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"testing"
)

// Options say what kind of RoundTripper it is. The zero value is one that makes
// one send out of each request and returns what comes.
type Options struct {
	// StatusErrors says that answers of 400 and above come as errors, though
	// the contract forbids it. What else the contract asks for is asked all
	// the same: no response beside the error, and its body closed.
	StatusErrors bool

	// Repeats is a status code that is answered by sending the request again,
	// whatever its method: 429, say. It must be tried at least once more, and
	// after 100 seconds still, if the server asks for that; where the code alone
	// does not do, wrap can put what is missing into the answers. 0 means that
	// nothing is repeated, and makes the traps about repeating not applicable.
	Repeats int

	// Shared says that what one caller is told by a Repeats answer holds the
	// others back as well.
	Shared bool
}

// ErrNotApplicable is what Check returns where a trap asks nothing of a
// RoundTripper of this kind.
var ErrNotApplicable = errors.New("not applicable")

// A Trap is one clause of the contract, and the situation in which it is easily
// broken.
type Trap struct {
	Name   string // a sentence that holds if the trap was avoided
	Clause string // what it follows from, with the source

	check func(*trial) error
}

// Check tries the trap on the RoundTripper that wrap puts around a base, and
// returns nil if it was avoided, [ErrNotApplicable], or what went wrong. wrap
// is called several times, also around its own result.
//
// t is lent for the virtual time that it makes possible: Check does not fail
// it, save for data races that the race detector finds. It must not be called
// from within a synctest bubble.
func (tr Trap) Check(t *testing.T, wrap func(base http.RoundTripper) http.RoundTripper, o Options) error {
	t.Helper()
	return tr.check(&trial{t: t, wrap: wrap, Options: o})
}

// Traps ranges over all traps, always in the same order.
func Traps() iter.Seq[Trap] { return slices.Values(traps) }

// Run tries every trap in a subtest of its name. A trap that is not applicable
// is skipped.
func Run(t *testing.T, wrap func(base http.RoundTripper) http.RoundTripper, o Options) {
	t.Helper()
	for trap := range Traps() {
		t.Run(trap.Name, func(t *testing.T) {
			switch err := trap.Check(t, wrap, o); {
			case errors.Is(err, ErrNotApplicable):
				t.Skip(err)
			case err != nil:
				t.Errorf("%v\nwhich breaks %s", err, trap.Clause)
			}
		})
	}
}

var traps = []Trap{
	// What comes back.
	{"an answer is a response or else an error", `http.RoundTripper: "RoundTrip must return err == nil if it obtained a response, regardless of the response's HTTP status code."`, eitherOr},
	{"a client's timeout does not hide the answer", `http.RoundTripper: "A non-nil err should be reserved for failure to obtain a response." The answer was there; http.Client replaces whatever comes after its Timeout by a text of its own.`, clientTimeoutKeepsAnswer},
	// What becomes of the request.
	{"the request is not modified", `http.RoundTripper: "RoundTrip should not modify the request, except for consuming and closing the Request's Body." and: "must be safe for concurrent use by multiple goroutines".`, requestUnmodified},
	{"the body is always closed", `http.RoundTripper: "RoundTrip must always close the body, including on errors".`, bodyClosed},
	{"a body is not used again while it may be read", `http.RoundTripper: the body may be closed "in a separate goroutine even after RoundTrip returns. This means that callers wanting to reuse the body for subsequent requests must arrange to wait for the Close call before doing so."`, bodyNotReused},
	{"a body that is gone is not sent again as an empty one", `http.Request.GetBody: "an optional func to return a new copy of Body"; RFC 9110 §9.2.2 speaks of repeating the request, and one without its content is another.`, noEmptyRepeat},
	// What is not its business.
	{"redirects belong to the client", `http.RoundTripper: "RoundTrip should not attempt to handle higher-level protocol details such as redirects, authentication, or cookies."`, redirectsLeft},
	{"an answer is returned with its body untouched", `http.RoundTripper: "RoundTrip should not attempt to interpret the response." http.Response.Body: it "will also implement io.Writer on a successful "101 Switching Protocols" response".`, bodyUntouched},
	{"CloseIdleConnections reaches the base", `http.Client.CloseIdleConnections: "If Client.Transport does not have a Client.CloseIdleConnections method then this method does nothing."`, closeIdle},
	// What becomes of the answers that are not returned.
	{"the connection of an interim answer is used again", `http.Response.Body: "It is the caller's responsibility to close Body. The default HTTP client's Transport may not reuse HTTP/1.x "keep-alive" TCP connections if the Body is not read to completion and closed."`, interimReleased},
	{"a body that does not end is not read to its end", `http.Response.Body: "The response body is streamed on demand as the Body field is read." Nothing but its reader bounds it.`, readingBounded},
	{"a broken base gives no panic", `http.Response.Body: only "the http Client and Transport guarantee that Body is always non-nil"; other bases leave it out, or return (nil, nil), or a response beside an error.`, brokenBase},
	// Waiting.
	{"a canceled wait ends at once and says why", `http.NewRequestWithContext: "the context controls the entire lifetime of a request and its response"; http.Transport's error is context.Cause.`, canceledWait},
	{"nothing goes on after a canceled call", `http.NewRequestWithContext: "the context controls the entire lifetime of a request and its response".`, nothingLeft},
	{"a client's timeout ends the wait", `http.Client.Timeout: "The Client cancels requests to the underlying Transport as if the Request's Context ended."`, clientTimeoutEndsWait},
	{"Retry-After is understood in all its forms", `RFC 9110 §10.2.3: "Retry-After = HTTP-date / delay-seconds", "delay-seconds = 1*DIGIT"; §5.6.7: "A recipient that parses a timestamp value in an HTTP field MUST accept all three HTTP-date formats."`, retryAfterForms},
	{"a wrong clock does not matter", `RFC 9110 §6.6.1: Date is when the message was originated, by the same clock as the HTTP-date of Retry-After (§10.2.3).`, wrongClock},
	{"a server is not asked again earlier than it said", `RFC 9110 §10.2.3: Retry-After says "how long the user agent ought to wait before making a follow-up request".`, neverEarly},
	{"callers that were throttled are no storm", `RFC 6585 §4: 429 "indicating how long to wait before making a new request"; RFC 9110 §9.2.2: "A client SHOULD NOT automatically retry a failed automatic retry."`, noStorm},
	{"without Retry-After there is a pause as well", `RFC 6585 §4: 429 means that "the user has sent too many requests in a given amount of time", and MAY include Retry-After.`, pauseWithoutHint},
	{"an odd answer gives no panic", `RFC 9110 §15: "a client MUST understand the class of any status code [...] A client that receives a response with an invalid status code SHOULD process the response as if it had a 5xx".`, oddAnswer},
	// What the sends look like.
	{"Content-Length stays", `http.Request.ContentLength: "records the length of the associated content"; RFC 9112 §6.2: without it the body is chunked, which many servers refuse.`, contentLengthStays},
	{"an error tells no secret", `RFC 9110 §17.9: "URIs are intended to be shared, not secured, even when they identify secure resources"; the user info, and credentials in fields (§11.6), are not to be shared.`, noSecrets},
	{"errors of one kind have one pointer type", `errors.As: "finds the first error in err's tree that matches target", by its type; errors.Is compares, which a struct with a header cannot be.`, pointerErrors},
	{"GetBody is handed on", `http.Transport: "only retries a request upon encountering a network error if [...] the request [...] either has no body or has its Request.GetBody defined"; HTTP/2 replays a refused stream from it.`, getBodyKept},
	{"wrapped twice it sends as often as once", `RFC 9110 §9.2.2: "A client SHOULD NOT automatically retry a failed automatic retry."`, wrappedTwice},
}

// A trial is a trap with what it is tried on.
type trial struct {
	t    *testing.T
	wrap func(http.RoundTripper) http.RoundTripper
	Options
}

// repeats fails where nothing is repeated.
func (c *trial) repeats() error {
	if c.Repeats == 0 {
		return fmt.Errorf("%w: nothing is repeated", ErrNotApplicable)
	}
	return nil
}
