package resend

import "errors"

// An Error is the final error of a Transport that made several attempts and received no
// response to the last. It tells a Transport above how many attempts there were.
type Error struct {
	Err         error
	Attempts    int
	Method, URL string // the request's; the URL in the form of StatusError.URL
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

// Attempts returns how many attempts of a request led to err, and err itself or, if err is
// an Error, the error in it. The number is 1 if err neither is nor wraps an Error, or if it
// wraps one that belongs to another request, as http.Client wraps the error of a request for
// a token. An Error that is not wrapped counts even if the URL differs, because a
// RoundTripper in between may change the URL.
func Attempts(err error, method, url string) (int, error) {
	var e *Error
	if !errors.As(err, &e) {
		return 1, err
	}
	switch {
	case err == error(e):
		return e.Attempts, e.Err
	case e.Method != method || e.URL != url:
		return 1, err
	}
	return e.Attempts, err
}
