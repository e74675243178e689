package iamhttp

import (
	"context"
	"net/http"
	"time"

	"github.com/iamhttp/iamhttp/internal/chain"
)

// A Failure is one attempt that failed: the response had a failing status, there was no
// response, or nothing was sent, because the gate refused the attempt or there was no key
// to ask it with. OnFailure receives each Failure, except those that a Transport below
// reports to its own OnFailure. If a RoundTripper in between has no method
// WrappedRoundTripper() http.RoundTripper, the Transport below is not found, and both
// report. A call that fails ends with exactly one Failure whose Retry is false. If the wait
// for a retry is canceled or the gate refuses the retry, this final Failure is the second
// one for the same attempt. To a Transport below, each attempt from above is a separate
// call.
type Failure struct {
	Err     error         // a *StatusError, a *NotSentError, or another error, usually Base's
	Method  string        // the request's method
	URL     string        // the request's URL, without user info, query and fragment
	Attempt int           // the attempt's number, starting at 1; 0: nothing was sent
	Stop    StopReason    // why the failure is final, even if there was no response; StopUnset if Retry is true
	Retry   bool          // whether a retry is planned
	Wait    time.Duration // the wait from the response or error to the retry, which a Gate may lengthen; 0 if the failure is final
}

// Status returns the typed error if there was a response. It ignores a typed error in Err
// that belongs to another request, such as a request for a token.
func (f Failure) Status() (*StatusError, bool) {
	e := find[*StatusError](f.Err)
	if e == nil || f.Err != error(e) && (e.Method != f.Method || e.URL != f.URL) && e.Method != http.MethodConnect {
		return nil, false
	}
	return e, true
}

// Tee returns an OnFailure function that calls each f in turn, such as the result of
// [LogFailures] and a function that counts failures. Nil functions are skipped. The result
// is safe for concurrent use if each f is.
func Tee(f ...func(context.Context, Failure)) func(context.Context, Failure) {
	return func(ctx context.Context, failure Failure) {
		for _, each := range f {
			if each != nil {
				each(ctx, failure)
			}
		}
	}
}

// reportsBelow reports whether a Transport below reports failures such as f to its
// own OnFailure.
func (t *Transport) reportsBelow(o options, f *failedAttempt) bool {
	return chain.Has(t.base(), func(h interface{ self() *Transport }) bool {
		b := h.self()
		return b != t && b.OnFailure != nil && (!f.answered || !b.expects(o, f.code))
	})
}
