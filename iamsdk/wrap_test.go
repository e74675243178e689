package iamsdk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// withHeader imitates the error of an SDK that keeps the header.
type withHeader struct {
	URL, Method    string
	Actual         int
	Body           []byte
	ResponseHeader http.Header
	RequestId      string //nolint:revive // the SDK's name
}

func (e withHeader) Error() string { return fmt.Sprint(e.Method, " ", e.URL, ": ", e.Actual) }

// These errors resemble an SDK's errors, but lack the fields that Wrap needs, or only
// embed or wrap an error that may have them, or panic.
type (
	wrongTypes struct {
		URL    *url.URL
		Method []byte
		Actual string
		Body   string
	}
	someFields struct {
		URL, Method string
		Actual      int
	}
	wrongOriginal struct {
		ErrOriginal string
		ErrReauth   int
	}
	hidden struct { // the error is in a field that reflection must not read
		errOriginal error
	}
	embedsPointer struct{ *unexpected } // the pointer may be nil
	embedsError   struct{ error }
	unwrapsMany   []error
	panics        struct{}
)

func (wrongTypes) Error() string      { return "wrong types" }
func (someFields) Error() string      { return "some fields" }
func (wrongOriginal) Error() string   { return "wrong original" }
func (hidden) Error() string          { return "hidden" }
func (embedsPointer) Error() string   { return "embeds a pointer" }
func (unwrapsMany) Error() string     { return "many" }
func (e unwrapsMany) Unwrap() []error { return e }
func (panics) Error() string          { return "panics" }
func (panics) Unwrap() error          { panic("no") }

// Wrap must find the failure in these errors, although simple reflection would miss it,
// or errors.As would panic or hang.
type (
	ownURL struct { // hides the URL field of the embedded error
		unexpected
		URL *url.URL
	}
	Place   struct{ URL, Method string }
	twoURLs struct { // has two URL fields and two Method fields, at the same depth
		Place
		unexpected
	}
	status      int
	namedFields struct {
		URL, Method string
		Actual      status
		Body        json.RawMessage
	}
	onlyCause  struct{ cause error }
	onlyErrors struct{ errs []error }
	hasAs      struct{ err error }
	selfUnwrap struct{ unexpected }
	selfValue  struct{}
	badAs      struct{ unexpected }
	emptyAs    struct{ unexpected }
	badIs      struct{ unexpected }
	// multi and chain imitate github.com/hashicorp/go-multierror: the Unwrap method of
	// chain drops the first error.
	multi struct{ errs []error }
	chain []error
)

func (ownURL) Error() string                 { return "own URL" }
func (twoURLs) Error() string                { return "two URLs" }
func (namedFields) Error() string            { return "named fields" }
func (e onlyCause) Error() string            { return "cause" }
func (e onlyCause) Cause() error             { return e.cause }
func (e *onlyErrors) Error() string          { return "wrapped errors" }
func (e *onlyErrors) WrappedErrors() []error { return e.errs }
func (e hasAs) Error() string                { return "has As" }
func (e hasAs) As(target any) bool           { return errors.As(e.err, target) }
func (e *selfUnwrap) Unwrap() error          { return e }
func (selfValue) Error() string              { return "self value" }
func (e selfValue) Unwrap() error            { return e }
func (badAs) As(any) bool                    { panic("no") }
func (emptyAs) As(any) bool                  { return true }
func (badIs) Is(error) bool                  { panic("no") }
func (*multi) Error() string                 { return "multi" }
func (e *multi) Unwrap() error               { return chain(e.errs) }
func (e chain) Error() string                { return e[0].Error() }
func (e chain) Is(err error) bool            { return errors.Is(e[0], err) }
func (e chain) As(target any) bool           { return errors.As(e[0], target) }
func (e chain) Unwrap() error {
	if len(e) == 1 {
		return nil
	}
	return e[1:]
}

// An unableToLogIn imitates the error of an SDK that keeps the reason why the login
// failed.
type unableToLogIn struct{ ErrOriginal, ErrReauth error }

func (e *unableToLogIn) Error() string { return "unable to log in again: " + e.ErrOriginal.Error() }

// A ringOf may hold itself in fields that errors.As does not read.
type ringOf struct{ ErrOriginal, ErrReauth error }

func (*ringOf) Error() string { return "ring" }

// A valueReceiver panics if it is unwrapped through a nil pointer.
type valueReceiver struct{ err error }

func (e valueReceiver) Error() string { return "value receiver" }
func (e valueReceiver) Unwrap() error { return e.err }

func TestWrapAddsTheTypedErrorToAnyErrorWithTheFieldsOfAResponse(t *testing.T) {
	answer := unexpected{"https://user:p@iam.example/v3/users?q=1", "GET", nil, 404, []byte(`{"error":{"message":"m"}}`)}
	for name, err := range map[string]error{
		"a value":           answer,
		"a pointer":         &answer,
		"an embedded value": default404{answer},
		"a pointer to a struct with an embedded value": &default404{answer},
		"a wrapped value":                                fmt.Errorf("x: %w", answer),
		"a pointer that is wrapped twice":                fmt.Errorf("y: %w", fmt.Errorf("x: %w", &answer)),
		"a value joined with another error":              errors.Join(errors.New("plain"), default404{answer}),
		"an error with a nil ResponseHeader":             withHeader{URL: answer.URL, Method: "GET", Actual: 404, Body: answer.Body},
		"an error after a login":                         &ErrErrorAfterReauthentication{answer},
		"an error after two logins":                      &ErrErrorAfterReauthentication{&ErrErrorAfterReauthentication{default404{answer}}},
		"the last of many joined errors":                 errors.Join(append(slices.Repeat([]error{errors.New("plain")}, 500), answer)...),
		"an error after a login, wrapped in a value":     valueReceiver{&ErrErrorAfterReauthentication{answer}},
		"a failed login with a nil ErrReauth":            &unableToLogIn{ErrOriginal: answer},
		"a failed login without a field ErrReauth":       &ErrUnableToReauthenticate{answer},
		"a failed login whose ErrReauth has no response": &unableToLogIn{ErrOriginal: answer, ErrReauth: errors.New("plain")},
		"a failed login whose ErrReauth has a response":  &unableToLogIn{ErrOriginal: errors.New("plain"), ErrReauth: answer},
	} {
		t.Run(name, func(t *testing.T) {
			wrapped := iamsdk.Wrap(err)
			var e *iamhttp.StatusError
			require.ErrorAs(t, wrapped, &e)
			assert.Equal(t, iamhttp.ErrNotFound, e.Code)
			assert.Equal(t, "m", e.Message)
			assert.Equal(t, "GET", e.Method)
			assert.Equal(t, "https://iam.example/v3/users", e.URL)
			assert.EqualError(t, wrapped, err.Error())
			assertHolds(t, wrapped, err)
			assert.Equal(t, wrapped, iamsdk.Wrap(wrapped), "Wrap must not wrap its own result again")
		})
	}
}

// One bad error must not hide the others, or make errors.As panic or hang.
func TestWrapFindsTheResponseNextToOrInsideAnUnusualError(t *testing.T) {
	answer := unexpected{"https://iam.example/v3/users?q=1", "GET", nil, 404, []byte(`{"error":{"message":"m"}}`)}
	var nilAnswer *unexpected
	var nilValue *valueReceiver
	selfList := unwrapsMany{nil}
	selfList[0] = selfList
	for name, err := range map[string]error{
		"an embedded error whose URL is hidden":               ownURL{unexpected: answer},
		"an embedded error whose URL is ambiguous":            twoURLs{Place{}, answer},
		"an embedded pointer to an error":                     &embedsPointer{&answer},
		"an embedded error interface":                         embedsError{answer},
		"an embedded error interface with a pointer":          &embedsError{&answer},
		"fields of named types":                               namedFields{answer.URL, "GET", 404, answer.Body},
		"an error with Cause only":                            onlyCause{fmt.Errorf("x: %w", answer)},
		"an error with WrappedErrors only":                    &onlyErrors{[]error{errors.New("plain"), answer}},
		"after an embedded nil pointer":                       errors.Join(embedsPointer{}, answer),
		"after a nil pointer":                                 errors.Join(nilAnswer, answer),
		"after a nil pointer whose Unwrap panics":             errors.Join(nilValue, answer),
		"after a nil StatusError":                             errors.Join((*iamhttp.StatusError)(nil), answer),
		"after a nil NotSentError":                            errors.Join((*iamhttp.NotSentError)(nil), answer),
		"after an error whose Unwrap panics":                  fmt.Errorf("%w %w", panics{}, answer),
		"before an error whose Unwrap panics":                 errors.Join(answer, panics{}),
		"before an error that unwraps to itself":              errors.Join(answer, &selfUnwrap{}),
		"an error that unwraps to itself":                     &selfUnwrap{answer},
		"after a value that unwraps to itself":                errors.Join(selfValue{}, answer),
		"after a list that holds itself":                      errors.Join(selfList, answer),
		"an error whose As panics":                            badAs{answer},
		"an error whose As always returns true":               emptyAs{answer},
		"an error whose Is panics":                            badIs{answer},
		"the only error in a multierror":                      &multi{[]error{answer}},
		"the first error in a multierror":                     &multi{[]error{answer, errors.New("plain")}},
		"the last error in a multierror":                      &multi{[]error{errors.New("plain"), answer}},
		"ErrReauth in a multierror":                           &unableToLogIn{unexpected{Actual: 401}, &multi{[]error{errors.New("plain"), answer}}},
		"ErrOriginal next to an embedded nil pointer":         &unableToLogIn{answer, embedsPointer{}},
		"ErrOriginal next to an Unwrap that panics":           &unableToLogIn{answer, panics{}},
		"ErrOriginal next to an error that unwraps to itself": &unableToLogIn{answer, &selfUnwrap{}},
		"ErrOriginal next to a value that unwraps to itself":  &unableToLogIn{answer, selfValue{}},
		"after 10,000 joined errors":                          errors.Join(append(slices.Repeat([]error{errors.New("plain")}, 10_000), answer)...),
	} {
		t.Run(name, func(t *testing.T) {
			wrapped := iamsdk.Wrap(err)
			var e *iamhttp.StatusError
			require.ErrorAs(t, wrapped, &e)
			assert.Equal(t, iamhttp.ErrNotFound, e.Code)
			assert.Equal(t, "m", e.Message)
			assert.ErrorIs(t, wrapped, iamhttp.ErrNotFound)
		})
	}
	typed := hasAs{iamhttp.NewStatusError(404, nil, nil)}
	assert.Equal(t, error(typed), iamsdk.Wrap(typed))
}

func TestWrapAddsNoTypedErrorForAStatusBelow400(t *testing.T) {
	for _, code := range []int{100, 200, 204, 302, 399} {
		err := unexpected{endpoint + "/groups", "DELETE", []int{202}, code, nil}
		assert.NotErrorAs(t, iamsdk.Wrap(err), new(*iamhttp.StatusError))
	}
}

// Like a Transport, Wrap counts every status code outside 100 to 399 as a failure.
func TestWrapAddsTheTypedErrorForAStatusThatHTTPDoesNotDefine(t *testing.T) {
	for _, code := range []int{99, 600, 999, 1000} {
		var e *iamhttp.StatusError
		require.ErrorAs(t, iamsdk.Wrap(unexpected{endpoint + "/groups", "GET", []int{200}, code, nil}), &e, code)
		assert.Equal(t, iamhttp.Code(code), e.Code)
	}
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.On("/v3/odd", iamtest.Keystone(600, "Odd.").With("X-Openstack-Request-Id", "req-odd"))
		_, err := sdk.Request("GET", "/odd", "")
		var e *iamhttp.StatusError
		require.ErrorAs(t, iamsdk.Wrap(err), &e)
		assert.Equal(t, iamhttp.Code(600), e.Code)
		assert.Equal(t, "req-odd", e.RequestID, "the typed error must be the Transport's")
	})
}

func TestWrapFindsTheFailureOfACallWhoseURLChangedOnTheWay(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		for _, status := range []int{302, 303, 307} {
			eachKind(t, func(t *testing.T, k kind) {
				service := newAccount()
				sdk := k.connect(t, service, nil)
				service.On("/v3/old", iamtest.Answer{Status: status}.With("Location", endpoint+"/newer"))
				service.On("/v3/newer", iamtest.Answer{Status: status}.With("Location", endpoint+"/new"))
				service.On("/v3/new", iamtest.Keystone(404, "No.").With("X-Openstack-Request-Id", "req-new"))
				_, err := sdk.Request(method, "/old", "")
				var e *iamhttp.StatusError
				require.ErrorAs(t, iamsdk.Wrap(err), &e)
				assert.Equal(t, "req-new", e.RequestID)
				assert.Equal(t, endpoint+"/new", e.URL)
				assert.Equal(t, 1, e.Attempts)
				assert.NotEqual(t, iamhttp.StopUnset, e.Stop)
			})
		}
	}
	for _, address := range []string{"https://iam.example:/v3/x", "HTTPS://iam.example/v3/x", "https://IAM.example/v3/x", "https://u:p@iam.example/v3/x#f", "https://iam.example/v3/a%2Fb"} {
		service := new(iamtest.Server)
		service.On("/", iamtest.Answer{Status: 404}.With("X-Openstack-Request-Id", "req-1"))
		client := &http.Client{Transport: service}
		iamsdk.Install(client, nil, iamsdk.GolangSDK())
		resp, err := client.Get(address)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		var e *iamhttp.StatusError
		require.ErrorAs(t, iamsdk.Wrap(unexpected{address, "GET", nil, 404, body}), &e)
		assert.Equal(t, "req-1", e.RequestID, address)
	}
}

func TestWrapReportsTheAttemptsOfACallWhoseCodeIsExpected(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, &iamhttp.Transport{Expected: []iamhttp.Code{iamhttp.ErrNotFound}})
		for attempts := 1; attempts <= 2; attempts++ {
			if attempts == 2 {
				service.Next(iamtest.Throttled(0))
			}
			service.On("GET /v3/groups", iamtest.Keystone(404, "No."))
			_, err := sdk.Request("GET", "/groups", "")
			var e *iamhttp.StatusError
			require.ErrorAs(t, iamsdk.Wrap(err), &e)
			assert.Equal(t, attempts, e.Attempts)
		}
	})
}

// A RoundTripper of the program uses the SDK to get a token, with the context of each
// attempt of another call.
func TestTheAttemptsOfAnSDKCallWithinAnotherCallStartAtOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("/v3/groups", iamtest.Throttled(0))
		service.On("/v3/users", iamtest.Keystone(404, "No."))
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, &iamhttp.Transport{Expected: []iamhttp.Code{404}}, iamsdk.Gophercloud())
		outer := &iamhttp.Transport{MaxAttempts: 3, Base: roundTripper(func(req *http.Request) (*http.Response, error) {
			users, err := http.NewRequestWithContext(req.Context(), "GET", endpoint+"/users", nil)
			require.NoError(t, err)
			resp, err := client.Do(users)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
			var e *iamhttp.StatusError
			require.ErrorAs(t, iamsdk.Wrap(unexpected{endpoint + "/users", "GET", nil, 404, body}), &e)
			assert.Equal(t, 1, e.Attempts)
			return service.RoundTrip(req)
		})}
		_, err := (&http.Client{Transport: outer}).Get(endpoint + "/groups")
		require.Error(t, err)
		service.AssertCount(t, 6)
	})
}

func TestWrapReturnsErrorsWithoutAResponseUnchanged(t *testing.T) {
	var (
		nilAnswer *unexpected
		nilLogin  *unableToLogIn
		nilValue  *valueReceiver
		nilStatus *iamhttp.StatusError
	)
	ring := new(ringOf)
	ring.ErrOriginal = ring
	twice := new(ringOf)
	twice.ErrOriginal, twice.ErrReauth = twice, fmt.Errorf("x: %w", twice)
	other := &ringOf{ErrOriginal: &ringOf{}}
	other.ErrReauth = unwrapsMany{other.ErrOriginal, other.ErrOriginal}
	other.ErrOriginal.(*ringOf).ErrOriginal, other.ErrOriginal.(*ringOf).ErrReauth = other, other
	many := unwrapsMany{} // 40 levels, each of which doubles the number of errors: 2 to the power of 40 on the innermost level
	for range 40 {
		next := &ringOf{many, many}
		many = unwrapsMany{next}
	}
	for name, err := range map[string]error{
		"a plain error": errors.New("plain"),
		"a nil pointer": nilAnswer,
		"a nil pointer to a struct that embeds the SDK's error": (*default404)(nil),
		"a nil pointer to a login error":                        nilLogin,
		"a nil pointer whose Unwrap panics":                     nilValue,
		"a nil StatusError":                                     nilStatus,
		"a wrapped nil pointer":                                 fmt.Errorf("x: %w", error(nilAnswer)),
		"nil pointers in ErrOriginal and ErrReauth":             &unableToLogIn{ErrOriginal: nilAnswer, ErrReauth: nilLogin},
		"fields of other types":                                 wrongTypes{},
		"only some of the fields":                               &someFields{},
		"ErrOriginal of another type":                           wrongOriginal{},
		"a field that is not exported":                          hidden{default404{}},
		"an embedded nil pointer":                               embedsPointer{},
		"an embedded nil error":                                 embedsError{},
		"a failed login without errors":                         &unableToLogIn{},
		"an error that holds itself":                            ring,
		"an error that holds itself twice":                      twice,
		"two errors that hold each other":                       other,
		"2 to the power of 40 errors in one":                    many,
		"a list of errors that holds nil":                       unwrapsMany{nil, errors.New("plain")},
		"an error whose Unwrap panics":                          panics{},
		"a url.Error":                                           &url.Error{Op: "Get", URL: "https://iam.example/", Err: errors.New("reset")},
		"a request that was not sent":                           &url.Error{Op: "Get", URL: "https://iam.example/", Err: &iamhttp.NotSentError{Err: gate.ErrPaused}},
		"an error that is already typed":                        fmt.Errorf("x: %w", iamhttp.NewStatusError(404, nil, nil)),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, err, iamsdk.Wrap(err))
		})
	}
	assert.NoError(t, iamsdk.Wrap(nil))
}

func TestWrapReadsTheHeaderOrTheRequestIDThatTheSDKKept(t *testing.T) {
	err := withHeader{Method: "GET", Actual: 429, Body: []byte("{}"), ResponseHeader: http.Header{"Retry-After": {"7"}, "X-Request-Id": {"req-1"}}, RequestId: "req-2"}
	var e *iamhttp.StatusError
	require.ErrorAs(t, iamsdk.Wrap(err), &e)
	assert.Equal(t, 7*time.Second, e.RetryAfter)
	assert.Equal(t, "req-1", e.RequestID)

	err.ResponseHeader = nil
	require.ErrorAs(t, iamsdk.Wrap(err), &e)
	assert.Equal(t, "req-2", e.RequestID)
}

func TestWrapUsesTheLatestFailedLoginOnlyIfTheErrorDoesNotGiveTheReason(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
		_, after := sdk.Request("GET", "/groups", "")
		time.Sleep(time.Second)
		service.expire()
		service.On("POST /v3/auth/tokens", iamtest.Keystone(403, "Disabled."))
		_, err := sdk.Request("GET", "/other", "") // a second later, the login of this call fails
		require.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrForbidden)

		answer := unexpected{endpoint + "/groups", "GET", nil, 401, []byte(iamtest.Keystone(401, "No.").Body)}
		for _, tt := range []struct {
			name string
			err  error
			want string
		}{
			{"an error after a successful login", after, "No."},
			{"a failed login with ErrReauth", &unableToLogIn{ErrOriginal: answer, ErrReauth: errors.New("reset")}, "No."},
			{"a failed login with a nil ErrReauth", &unableToLogIn{ErrOriginal: answer}, "Disabled."},
			{"a failed login without a field ErrReauth", &ErrUnableToReauthenticate{answer}, "Disabled."},
		} {
			var e *iamhttp.StatusError
			require.ErrorAs(t, iamsdk.Wrap(tt.err), &e)
			assert.Equal(t, tt.want, e.Message, tt.name)
		}
	})
}

func TestWrapDoesNotUseAnotherCallersFailedLoginIfTheLatestLoginGotNoResponse(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.expire()
		disabled := iamtest.Keystone(403, "Disabled.")
		disabled.Delay = time.Second
		service.On("POST /v3/auth/tokens", disabled, iamtest.Answer{Fault: iamtest.Reset})
		go sdk.Request("GET", "/other", "") // the first caller to log in
		time.Sleep(time.Millisecond)
		sdk.again.Store(false) // so that the next request is sent with a token
		_, err := sdk.Request("GET", "/groups", "")
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		assert.NotErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrForbidden)
	})
}

func TestWrapAddsNoTypedErrorWithoutAStatusCode(t *testing.T) {
	err := default404{}
	var e *iamhttp.StatusError
	assert.NotErrorAs(t, iamsdk.Wrap(err), &e)
}
