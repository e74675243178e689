package iamsdk

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"

	"github.com/iamhttp/iamhttp"
)

// Wrap adds iamhttp's typed error to an error that the SDK returned. The typed error is
// the *[iamhttp.StatusError] of the response that caused the SDK's error. errors.Is and
// errors.As find both errors, and search the SDK's first. The error text remains the
// SDK's. Wrap returns err unchanged if it is nil, was not caused by a response, already
// holds a *StatusError or a *[iamhttp.NotSentError], or has an unknown form.
//
// Wrap recognizes an error by its fields URL, Method, Actual and Body, whatever its type
// is called. If the SDK failed to log in again, Wrap also looks at the fields ErrOriginal
// and ErrReauth. In that case, the typed error comes from the login: a *StatusError or,
// if the gate refused the login, a *NotSentError. If the login got no response, the typed
// error is the *StatusError of the 401 that led to the login. If the SDK's error has no
// ErrReauth, Wrap uses the latest login that failed after the 401. In that case, call
// Wrap at once, because a later login, possibly by another caller, may succeed or may
// fail for another reason.
//
// If the response is among the last 200 failed responses of all clients that were set up
// with [Install], the typed error is complete: it has the header, the request ID,
// Attempts and Stop. If several of these responses have the same method, URL, status and
// body, Wrap uses the latest one, which may belong to another caller. For any other
// response, the typed error is built from the fields of the SDK's error. Wrap is safe for
// concurrent use.
func Wrap(err error) (result error) {
	if err == nil {
		return nil
	}
	// A foreign error's method may panic, for example a method with a value receiver that
	// is called on a nil pointer.
	defer func() {
		if recover() != nil {
			result = err
		}
	}()
	if isTyped(err) {
		return err
	}
	left := mostErrors
	if e := typed(err, &left); e != nil {
		return &wrapped{err, e}
	}
	return err
}

// wrapped joins an SDK's error and the typed error.
type wrapped struct{ err, typed error }

func (w *wrapped) Error() string { return w.err.Error() }

func (w *wrapped) Unwrap() []error { return []error{w.err, w.typed} }

func isTyped(err error) bool {
	return errors.As(err, new(*iamhttp.StatusError)) || errors.As(err, new(*iamhttp.NotSentError))
}

// mostErrors is the maximum number of nested errors that Wrap looks at. Without this
// limit, Wrap might never return, because an error may hold itself in ErrOriginal and in
// ErrReauth.
const mostErrors = 1000

// typed returns the iamhttp error that explains err, or nil. It looks at no more than
// *left errors, and decrements *left for each one.
func typed(err error, left *int) error {
	if err == nil || *left == 0 {
		return nil
	}
	*left--
	if isTyped(err) {
		return err
	}
	v := reflect.ValueOf(err)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct {
		if e := ofAnswer(v); e != nil {
			return e.StatusError
		}
		if e := ofLogin(v, left); e != nil {
			return e
		}
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return typed(u.Unwrap(), left)
	case interface{ Unwrap() []error }:
		for _, each := range u.Unwrap() {
			if e := typed(each, left); e != nil {
				return e
			}
		}
	}
	return nil
}

// ofAnswer returns the failure behind an SDK's error that was caused by a response. If
// the failure is still remembered, the result includes the time of the failure and the
// logins of the client. For any other error, ofAnswer returns nil.
func ofAnswer(v reflect.Value) *remembered {
	address, method := field(v, "URL", reflect.TypeFor[string]()), field(v, "Method", reflect.TypeFor[string]())
	code, body := field(v, "Actual", reflect.TypeFor[int]()), field(v, "Body", reflect.TypeFor[[]byte]())
	if !address.IsValid() || !method.IsValid() || !code.IsValid() || !body.IsValid() {
		return nil
	}
	if n := code.Int(); n < 100 || n > 599 { // the SDK made the error itself, without a response
		return nil
	}
	target := redact(address.String())
	if r, found := recent.find(method.String(), target, int(code.Int()), body.Bytes()); found {
		return &r
	}
	var header http.Header
	if h := field(v, "ResponseHeader", reflect.TypeFor[http.Header]()); h.IsValid() && h.CanInterface() {
		header, _ = reflect.TypeAssert[http.Header](h)
	}
	e := iamhttp.NewStatusError(int(code.Int()), header, body.Bytes())
	e.Method, e.URL = method.String(), target
	if id := field(v, "RequestId", reflect.TypeFor[string]()); id.IsValid() && e.RequestID == "" {
		e.RequestID = id.String()
	}
	return &remembered{StatusError: e}
}

// ofLogin returns the typed error behind an SDK's error about logging in again, or nil.
// The SDK's error may hold two failures; the call failed because of the later one.
func ofLogin(v reflect.Value, left *int) error {
	original, again := failure(v, "ErrOriginal"), failure(v, "ErrReauth")
	if e := typed(again, left); e != nil {
		return e
	}
	if original == nil {
		return nil
	}
	// Some SDKs drop the login's error. In that case, only the name of the SDK's error
	// type distinguishes a failed login from a failure after a successful login.
	dropped := again == nil && v.Type().Name() != "ErrErrorAfterReauthentication"
	if o := reflect.Indirect(reflect.ValueOf(original)); dropped && o.Kind() == reflect.Struct {
		if r := ofAnswer(o); r != nil && r.logins != nil && r.Code == iamhttp.ErrUnauthorized {
			if e := r.logins.failedSince(r.at); e != nil {
				return e
			}
		}
	}
	return typed(original, left)
}

// failure returns the error in the field with the given name, or nil.
func failure(v reflect.Value, name string) error {
	f := v.FieldByName(name)
	if !f.IsValid() || !f.CanInterface() {
		return nil
	}
	err, _ := reflect.TypeAssert[error](f)
	return err
}

// field returns the field with the given name and type, or the zero Value. The field may
// be in an embedded struct.
func field(v reflect.Value, name string, t reflect.Type) reflect.Value {
	if f := v.FieldByName(name); f.IsValid() && f.Type() == t {
		return f
	}
	return reflect.Value{}
}

// redact returns a URL in the form that StatusError.URL has: without user info, query or
// fragment.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
