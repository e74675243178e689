package resend

import "errors"

// An Error is the final error of a Transport, together with what a Transport above has to
// know about it.
type Error struct {
	Err      error
	Attempts int    // the number of attempts that led to an error without a response; otherwise 1
	Reported string // the URL of the request whose failure OnFailure has received; empty: it has not
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports what Err reports, because a url.Error asks only the error that it
// holds.
func (e *Error) Timeout() bool {
	t, ok := e.Err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// Below returns what a Transport below says about err. Err is err itself or, if err is an
// Error, the error in it.
func Below(err error) Error {
	var e *Error
	if !errors.As(err, &e) {
		return Error{Err: err, Attempts: 1}
	}
	below := *e
	if err != error(e) {
		below.Err = err
	}
	return below
}
