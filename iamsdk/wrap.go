package iamsdk

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/iamhttp/iamhttp"
)

// Wrap adds iamhttp's typed error to an error that the SDK returned. The typed error is
// usually the *[iamhttp.StatusError] of the response that caused the SDK's error.
// errors.Is and errors.As find both errors, and search the SDK's first, unless that might
// panic, hang or find a nil pointer. The error text remains the SDK's. Wrap returns err
// unchanged if it is nil, was not caused by a failing response, already holds a
// *StatusError or a *[iamhttp.NotSentError], or is of an unknown form. It also does so if
// the SDK keeps only the text of an error, as when an access key's login to an agency
// cannot look up the domain.
//
// Wrap recognizes an error by its fields URL, Method, Actual and Body, whatever its type
// is called. If the SDK's error is about logging in again, Wrap also looks at the fields
// ErrOriginal and ErrReauth. If the login failed, the typed error comes from the login: a
// *StatusError or, if the gate refused the login, a *NotSentError. If the login got no
// response, the typed error is the *StatusError of the 401 that led to the login. If
// ErrReauth is missing or nil, Wrap uses the failure of the client's latest login, provided
// that this login failed after the 401. In that case, call Wrap at once, because a later
// login, possibly by another caller, may succeed or may fail for another reason.
//
// If the response is among the last 200 failed responses of all clients that were set up
// with [Install], the typed error is complete: it has the header, the request ID,
// Attempts and, unless the Transport expected the status code, Stop. If several of these
// responses have the same method, URL, status and body, Wrap uses the latest one, which
// may belong to another caller. For any other response, the typed error is built from the
// fields of the SDK's error. Wrap is safe for concurrent use.
func Wrap(err error) error {
	has, s := search{left: mostErrors}, search{left: mostErrors, deduces: true}
	if has.typed(err) != nil {
		return err
	}
	if e := s.typed(err); e != nil {
		return &wrapped{err, e, has.unsafe || has.left == 0}
	}
	return err
}

// wrapped joins an SDK's error and the typed error.
type wrapped struct {
	err, typed error
	unsafe     bool // whether errors.As or errors.Is may panic on err, never return, or find a nil pointer
}

func (w *wrapped) Error() string { return w.err.Error() }

func (w *wrapped) Unwrap() []error {
	if w.unsafe { // errors.As and errors.Is must find the typed error before they reach err
		return []error{w.typed, w.err}
	}
	return []error{w.err, w.typed}
}

// isTyped reports whether err holds an iamhttp error where errors.As finds it. It does
// not call errors.As, which might panic or never return.
func isTyped(err error) bool {
	s := search{left: mostErrors}
	return s.typed(err) != nil
}

// These are the maximum number of errors that a search looks at, and how deep it looks.
// Without these limits, Wrap might never return, because an error that is not a pointer,
// such as a slice of errors, may hold itself too, and seen does not show that. Because of
// mostDeep, such an error does not use up mostErrors, which would hide the errors after it.
const (
	mostErrors = 20_000
	mostDeep   = 1000
)

// A search looks for an iamhttp error in another error. A method of that error may panic,
// for example one with a value receiver that is called on a nil pointer. Each function
// that calls such a method recovers, so that one bad error does not hide the others.
type search struct {
	left    int            // number of errors that the search may still look at
	depth   int            // number of errors that hold the current one
	seen    map[error]bool // the pointers that the search has looked at
	deduces bool           // whether to also deduce the iamhttp error from what the errors hold
	unsafe  bool           // whether errors.As or errors.Is may panic on these errors, never return, or find a nil pointer
}

// typed returns the iamhttp error that err holds, or nil.
func (s *search) typed(err error) error {
	if err == nil || s.left == 0 {
		return nil
	}
	if s.depth == mostDeep {
		s.unsafe = true
		return nil
	}
	s.left--
	s.depth++
	defer func() { s.depth-- }()
	if reflect.ValueOf(err).Kind() == reflect.Pointer {
		if s.seen[err] {
			s.unsafe = true // err may hold itself
			return nil
		}
		if s.seen == nil {
			s.seen = map[error]bool{}
		}
		s.seen[err] = true
	}
	if _, ok := err.(interface{ Is(target error) bool }); ok {
		s.unsafe = true // unlike As, Is is not needed here, so it is not called to see whether it panics
	}
	switch e := err.(type) {
	case *iamhttp.StatusError, *iamhttp.NotSentError:
		if !reflect.ValueOf(err).IsNil() {
			return err
		}
		s.unsafe = true // errors.As would find the nil pointer, instead of the typed error
	case interface{ As(target any) bool }:
		if found := s.as(e); found != nil {
			return found
		}
	}
	if s.deduces {
		if e := s.explain(err); e != nil {
			return e
		}
	}
	for _, each := range s.unwrap(err) {
		if e := s.typed(each); e != nil {
			return e
		}
	}
	return nil
}

func (s *search) recover() {
	if recover() != nil {
		s.unsafe = true
	}
}

// as returns the iamhttp error that an error's As method finds, or nil.
func (s *search) as(e interface{ As(target any) bool }) (found error) {
	defer s.recover()
	var status *iamhttp.StatusError
	var notSent *iamhttp.NotSentError
	hasStatus := e.As(&status)
	if hasStatus && status != nil {
		return status
	}
	hasNotSent := e.As(&notSent)
	if hasNotSent && notSent != nil {
		return notSent
	}
	s.unsafe = s.unsafe || hasStatus || hasNotSent // an As that returns true without an error hides the typed error
	return nil
}

// unwrap returns the errors that err wraps. If s deduces, unwrap also knows what errors.As
// does not: it returns the elements of a slice of errors, because the Unwrap method of such
// a slice may leave some out, and if err has no Unwrap method, it calls err's method Cause
// or WrappedErrors.
func (s *search) unwrap(err error) (errs []error) {
	defer s.recover()
	if v, t := reflect.ValueOf(err), reflect.TypeFor[[]error](); s.deduces && v.CanConvert(t) {
		errs, _ = reflect.TypeAssert[[]error](v.Convert(t))
		return errs
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return []error{u.Unwrap()}
	case interface{ Unwrap() []error }:
		return u.Unwrap()
	case interface{ Cause() error }:
		if s.deduces {
			return []error{u.Cause()}
		}
	case interface{ WrappedErrors() []error }: // as in github.com/hashicorp/errwrap
		if s.deduces {
			return u.WrappedErrors()
		}
	}
	return nil
}

// explain returns the iamhttp error that it deduces from err's fields, or nil.
func (s *search) explain(err error) error {
	v := indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct {
		return nil
	}
	if e := ofAnswer(v); e != nil {
		return e.StatusError
	}
	return s.ofLogin(v)
}

// indirect follows pointers and interfaces, starting at v, and returns the value that they
// lead to. It returns the zero Value if one is nil, or if there are too many, because a
// pointer may point to itself.
func indirect(v reflect.Value) reflect.Value {
	for range 10 {
		if v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface {
			return v
		}
		v = v.Elem()
	}
	return reflect.Value{}
}

// ofAnswer returns the failure behind an SDK's error that was caused by a response, or nil
// for any other error. If the failure is still remembered, the result includes the time
// of the failure and the client's logins.
func ofAnswer(v reflect.Value) *remembered { return ofEmbedded(v, 10) }

// ofEmbedded does the work of ofAnswer. It looks at no more than depth levels of embedded
// errors.
func ofEmbedded(v reflect.Value, depth int) *remembered {
	if r := ofFields(v); r != nil || depth == 0 {
		return r
	}
	// An outer field may hide a field of an embedded error, or there may be two embedded
	// structs with fields of the same name.
	for i := range v.NumField() {
		if !v.Type().Field(i).Anonymous {
			continue
		}
		if inner := indirect(v.Field(i)); inner.Kind() == reflect.Struct {
			if r := ofEmbedded(inner, depth-1); r != nil {
				return r
			}
		}
	}
	return nil
}

func ofFields(v reflect.Value) *remembered {
	address, method, code, body := field(v, "URL"), field(v, "Method"), field(v, "Actual"), field(v, "Body")
	if address.Kind() != reflect.String || method.Kind() != reflect.String || !code.IsValid() || !code.CanInt() ||
		body.Kind() != reflect.Slice || body.Type().Elem().Kind() != reflect.Uint8 {
		return nil
	}
	// Without a status, the SDK made the error itself. From 100 to 399, it may have done so
	// too, or it did not expect a response that reports no failure. A Transport counts every
	// other status as a failure, even one that HTTP does not define.
	if n := code.Int(); n <= 0 || 100 <= n && n < 400 {
		return nil
	}
	target := redact(address.String())
	if r, found := recent.find(method.String(), target, int(code.Int()), body.Bytes()); found {
		return &r
	}
	var header http.Header
	if h := field(v, "ResponseHeader"); h.IsValid() && h.CanInterface() {
		header, _ = reflect.TypeAssert[http.Header](h)
	}
	e := iamhttp.NewStatusError(int(code.Int()), header, body.Bytes())
	e.Method, e.URL = method.String(), target
	if id := field(v, "RequestId"); id.Kind() == reflect.String && e.RequestID == "" {
		e.RequestID = id.String()
	}
	return &remembered{StatusError: e}
}

// ofLogin returns the typed error behind an SDK's error about logging in again, or nil.
// The SDK's error may hold two failures; the call failed because of the later one.
func (s *search) ofLogin(v reflect.Value) error {
	original, again := failure(v, "ErrOriginal"), failure(v, "ErrReauth")
	if e := s.typed(again); e != nil {
		return e
	}
	if original == nil {
		return nil
	}
	// Some SDKs drop the login's error. In that case, only the name of the SDK's error
	// type distinguishes a failed login from a failure after a successful login.
	dropped := again == nil && v.Type().Name() != "ErrErrorAfterReauthentication"
	if o := indirect(reflect.ValueOf(original)); dropped && o.Kind() == reflect.Struct {
		if r := ofAnswer(o); r != nil && r.logins != nil && r.Code == iamhttp.ErrUnauthorized {
			if e := r.logins.failedSince(r.at); e != nil {
				return e
			}
		}
	}
	return s.typed(original)
}

// failure returns the error in the field with the given name, or nil.
func failure(v reflect.Value, name string) error {
	f := field(v, name)
	if !f.IsValid() || !f.CanInterface() {
		return nil
	}
	err, _ := reflect.TypeAssert[error](f)
	return err
}

// field returns the field with the given name, or the zero Value. The field may be in an
// embedded struct.
func field(v reflect.Value, name string) reflect.Value {
	if f, ok := v.Type().FieldByName(name); ok {
		if found, err := v.FieldByIndexErr(f.Index); err == nil {
			return found
		}
	}
	return reflect.Value{}
}

// redact returns a URL in the form that StatusError.URL has: without user info, query or
// fragment. It drops an empty port, as http.NewRequest does. It returns "" for an invalid
// URL.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: strings.TrimSuffix(u.Host, ":"), Path: u.Path, RawPath: u.RawPath}).String()
}
