package iamhttp

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// A Failure is one attempt that failed: it was answered with a failing status, it
// was not answered, or the gate did not let it out. OnFailure receives it. Each call
// that fails ends with exactly one Failure whose Retry is false: if the wait for a
// retry is canceled or the gate refuses it, that is one more Failure of the same
// attempt. What a Transport below has reported is not reported again.
type Failure struct {
	Err     error         // *StatusError, *NotSentError, or Base's error
	Method  string        // of the request
	URL     string        // of the request, without user info, query and fragment
	Attempt int           // 1 for the first; 0: nothing was sent
	Stop    StopReason    // why it is final, for errors without an answer too; StopUnset if Retry
	Retry   bool          // the request will be sent again
	Wait    time.Duration // until then, counted from the answer; a Gate may take longer; 0 if final
}

// Status returns the answer, if the attempt was answered. An answer to another
// request that is in Err, such as one for a token, does not count.
func (f Failure) Status() (*StatusError, bool) {
	var e *StatusError
	if !errors.As(f.Err, &e) || f.Err != error(e) && e.URL != f.URL && e.Method != http.MethodConnect {
		return nil, false
	}
	return e, true
}

// Tee returns an OnFailure that calls each of the functions in turn, such as
// [LogFailures] and one that counts. Those that are nil are left out.
func Tee(f ...func(context.Context, Failure)) func(context.Context, Failure) {
	return func(ctx context.Context, failure Failure) {
		for _, each := range f {
			if each != nil {
				each(ctx, failure)
			}
		}
	}
}

// reportsBelow reports whether a Transport below tells an OnFailure of its own of
// failures such as f.
func (t *Transport) reportsBelow(o options, f *failedAttempt) bool {
	for below := range chain(t.Base) {
		if b, ok := below.(*Transport); ok && b.OnFailure != nil {
			return !f.answered || !b.expects(o, f.code)
		}
	}
	return false
}
