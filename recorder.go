package iamhttp

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// A Recorder holds the latest failure of the requests made under one context.
// It is for callers of an SDK that hides the answer behind an error of its
// own: PassThrough leaves the SDK what it expects, and the Recorder keeps the
// typed error for the caller.
//
//	ctx, rec := iamhttp.WithRecorder(ctx)
//	err := rec.Wrap(sdk.DeleteUser(ctx, id))
//
// Use one per call: requests that run at the same time under one Recorder
// overwrite each other. It is safe for concurrent use. The zero value records
// nothing; make one with WithRecorder.
type Recorder struct {
	last  atomic.Pointer[StatusError]
	outer *Recorder // of the context around, which covers these requests too
}

// WithRecorder returns a context under which every Transport records its
// failures, and the Recorder that holds the latest. A Recorder that ctx
// already has goes on recording.
func WithRecorder(ctx context.Context) (context.Context, *Recorder) {
	o := optionsOf(ctx)
	r := &Recorder{outer: o.recorder}
	o.recorder = r
	return withOptions(ctx, o), r
}

// Last returns the latest answer under the context if it was a failure. A
// success or an Expected answer clears it; a request that got no answer does
// not.
func (r *Recorder) Last() (*StatusError, bool) {
	e := r.last.Load()
	return e, e != nil
}

// Wrap adds the recorded failure to an error that hides it: errors.Is and
// errors.As find both, err first. It returns err itself if that already holds
// a *StatusError or if nothing is recorded, and nil for nil.
func (r *Recorder) Wrap(err error) error {
	e, ok := r.Last()
	if err == nil || !ok {
		return err
	}
	if _, ok := errors.AsType[*StatusError](err); ok {
		return err
	}
	return fmt.Errorf("%w: %w", err, e)
}

// record keeps e, nil for an answer that was no failure. A nil Recorder
// records nothing.
func (r *Recorder) record(e *StatusError) {
	for ; r != nil; r = r.outer {
		r.last.Store(e)
	}
}
