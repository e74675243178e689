package iamsdk

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"

	"github.com/iamhttp/iamhttp"
)

// Wrap adds the typed error to an error of the SDK: the *[iamhttp.StatusError] of the
// response that caused the error. errors.Is and errors.As find both errors, the SDK's
// first. The text remains the SDK's. Wrap returns these unchanged: nil, an error without
// a response, an error that already holds a *StatusError or a *[iamhttp.NotSentError],
// and an error of an unknown form.
//
// Wrap recognizes an error by its fields URL, Method, Actual and Body, whatever the name
// of its type. If logging in again has failed, Wrap looks into the fields ErrOriginal and
// ErrReauth. The typed error is then the login's: a *StatusError or, if the gate refused
// the login, a *NotSentError. If the login got no response, the typed error is the
// *StatusError of the 401 before it. If the SDK's error has no ErrReauth, Wrap uses the
// latest login that failed after the 401. In that case, call Wrap at once; if there are
// several callers, that login may be another caller's.
//
// If the response is among the last 200 failures of all clients that [Install] was called
// for, the typed error is complete: it has the header, the request id, Attempts and Stop.
// If several of these failures have the same method, URL, status and body, Wrap uses the
// latest, which may be another caller's. For any other response, the typed error is made
// from the fields of the SDK's error. Wrap is safe for concurrent use.
func Wrap(err error) (result error) {
	if err == nil {
		return nil
	}
	// A method of a foreign error may panic, such as one with a value receiver that is
	// called on a nil pointer.
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

// wrapped joins an error of an SDK with the typed error.
type wrapped struct{ err, typed error }

func (w *wrapped) Error() string { return w.err.Error() }

func (w *wrapped) Unwrap() []error { return []error{w.err, w.typed} }

func isTyped(err error) bool {
	return errors.As(err, new(*iamhttp.StatusError)) || errors.As(err, new(*iamhttp.NotSentError))
}

// mostErrors is the maximum number of nested errors that Wrap looks at. Without this
// limit Wrap might never return, because an error may hold itself as ErrOriginal and as
// ErrReauth.
const mostErrors = 1000

// typed returns the error of iamhttp that explains err, or nil. It looks at no more than
// *left errors, and decrements *left for each.
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

// ofAnswer returns the failure behind an error about a response, with the time and the
// logins of its client if they are known. It returns nil for any other error.
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

// ofLogin returns the typed error behind an error about logging in again, or nil. Such an
// error may hold two failures; the later one is why the call failed.
func ofLogin(v reflect.Value, left *int) error {
	original, again := failure(v, "ErrOriginal"), failure(v, "ErrReauth")
	if e := typed(again, left); e != nil {
		return e
	}
	if original == nil {
		return nil
	}
	// Some SDKs drop the error of the login. In that case, only the name of the type
	// distinguishes a failed login from a failure after a successful login.
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

// failure returns the error in the field with that name, or nil.
func failure(v reflect.Value, name string) error {
	f := v.FieldByName(name)
	if !f.IsValid() || !f.CanInterface() {
		return nil
	}
	err, _ := reflect.TypeAssert[error](f)
	return err
}

// field returns the field with that name and type, or the zero Value. The field may be in
// an embedded struct.
func field(v reflect.Value, name string, t reflect.Type) reflect.Value {
	if f := v.FieldByName(name); f.IsValid() && f.Type() == t {
		return f
	}
	return reflect.Value{}
}

// redact returns a URL in the form that a StatusError has: without user info, query and
// fragment.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
