package iamhttp

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
)

// A Recorder holds the *StatusError or *NotSentError of the latest request made with one
// context, if that request has one. Use a Recorder to call an SDK whose own errors hide
// the response:
//
//	ctx, rec := iamhttp.WithRecorder(ctx)
//	err := rec.Wrap(sdk.DeleteUser(ctx, id))
//
// Use one Recorder per call: concurrent requests that share a Recorder overwrite each
// other's failures. A Recorder is safe for concurrent use. Create one with WithRecorder;
// the zero value records nothing, and the methods of a nil *Recorder panic.
type Recorder struct {
	last  atomic.Pointer[recorded]
	outer *Recorder // the parent context's Recorder, which records these failures too; nil: none
}

// recorded holds a *StatusError or a *NotSentError.
type recorded struct{ err error }

// WithRecorder returns a context, and the Recorder in which every Transport records the
// failures of requests made with that context. If ctx already has a Recorder, that
// Recorder records these failures too.
func WithRecorder(ctx context.Context) (context.Context, *Recorder) {
	o := optionsOf(ctx)
	r := &Recorder{outer: o.recorder}
	o.recorder = r
	return withOptions(ctx, o), r
}

// Last returns the error of the latest request made with the context, if the response was
// a failure. It returns false if there was no request, or if the latest one got a
// successful response, an Expected response or no response, or was not sent.
func (r *Recorder) Last() (*StatusError, bool) {
	last := r.last.Load()
	if last == nil {
		return nil, false
	}
	e, ok := last.err.(*StatusError)
	return e, ok
}

// Wrap adds the recorded *StatusError or *NotSentError to an error that hides it:
// errors.Is and errors.As find both. It returns err itself if err is nil, if nothing is
// recorded, or if err already wraps such an error. Wrap makes one exception: if err wraps a
// StatusError without Attempts, as adapters build it, for the same response as the recorded
// one, it adds the recorded one. The two are for the same response if Code, Method, URL and
// RequestID are equal as far as both have them; a RequestID may come from another header
// field.
func (r *Recorder) Wrap(err error) error {
	last := r.last.Load()
	if err == nil || last == nil || find[*NotSentError](err) != nil {
		return err
	}
	has := find[*StatusError](err)
	if has == nil {
		return fmt.Errorf("%w: %w", err, last.err)
	}
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	e, ok := last.err.(*StatusError)
	if !ok || has.Attempts > 0 || e.Attempts == 0 || has.Code != e.Code || differ(has.Method, e.Method) || differ(has.URL, e.URL) {
		return err
	}
	if ids := requestIDs(e.Header()); differ(has.RequestID, e.RequestID) && !slices.Contains(ids[:], has.RequestID) {
		return err
	}
	return &fuller{err, e}
}

// A fuller is err together with a StatusError that has more detail than the StatusError
// in err, or is a later copy of it.
type fuller struct {
	err    error
	status *StatusError
}

func (f *fuller) Error() string { return f.err.Error() }

// Unwrap returns status first, so that errors.As finds status before the StatusError in
// err.
func (f *fuller) Unwrap() []error { return []error{f.status, f.err} }

// record stores the typed error of a failure. If there is none, for example because there
// was no response or because the response was not a failure, record clears the error
// stored before. A nil Recorder records nothing.
func (r *Recorder) record(f Failure) {
	if r == nil {
		return
	}
	last := typed(f)
	for ; r != nil; r = r.outer {
		r.last.Store(last)
	}
}

func typed(f Failure) *recorded {
	if f.Err == nil { // the usual case
		return nil
	}
	if e, ok := f.Status(); ok {
		return &recorded{e}
	}
	if notSent := find[*NotSentError](f.Err); notSent != nil && notSent.Method == f.Method && notSent.URL == f.URL { // otherwise it is the error of a request for a token
		return &recorded{notSent}
	}
	return nil
}
