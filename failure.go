package iamhttp

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/iamhttp/iamhttp/internal/resend"
)

// A Failure is one attempt that failed: the response had a failing status, there was no
// response, or the gate refused the attempt. OnFailure receives each Failure, except those
// that a Transport below, on the same goroutine, has reported to its own OnFailure. A call
// that fails ends with exactly one Failure whose Retry is false. If the wait for a retry is
// canceled or the gate refuses the retry, this final Failure is the second one for the same
// attempt. To a Transport below, each attempt from above is a separate call.
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
	var e *StatusError
	if !errors.As(f.Err, &e) || f.Err != error(e) && e.URL != f.URL && e.Method != http.MethodConnect {
		return nil, false
	}
	return e, true
}

// Tee returns an OnFailure function that calls each f in turn, such as the result of
// [LogFailures] and a function that counts failures. Nil functions are skipped.
func Tee(f ...func(context.Context, Failure)) func(context.Context, Failure) {
	return func(ctx context.Context, failure Failure) {
		for _, each := range f {
			if each != nil {
				each(ctx, failure)
			}
		}
	}
}

// reportedKey marks the context of a failing response's Request: OnFailure has received
// the failure. The value is a report.
type reportedKey struct{}

type report struct {
	url string // the request's, because a RoundTripper above may return the response to another request
	at  time.Time
}

// tellAbove marks the result of a failed call, so that a Transport above counts the
// attempts and does not report the failure again. RoundTrippers in between can fail too:
// only a mark on the result itself shows what it is about.
func (c *call) tellAbove(resp *http.Response, err error) error {
	above := resend.Error{Err: err, Attempts: 1}
	if c.reported {
		above.Reported = redact(c.req.URL)
	}
	switch {
	case err == nil:
		req := cmp.Or(resp.Request, c.current)
		resp.Request = req.WithContext(context.WithValue(req.Context(), reportedKey{}, report{above.Reported, time.Now()}))
		return nil
	case !errors.As(err, new(*StatusError)): // a StatusError has Attempts
		above.Attempts = max(c.attempts, 1)
	case !c.reported:
		return err
	}
	return &above
}

// reportedBelow reports whether a Transport below has reported a response to this attempt
// to its own OnFailure. A response from a cache may have been reported in an earlier call.
func (c *call) reportedBelow(resp *http.Response) bool {
	if resp.Request == nil {
		return false
	}
	r, ok := resp.Request.Context().Value(reportedKey{}).(report)
	return ok && r.url == redact(c.req.URL) && !r.at.Before(c.sent)
}
