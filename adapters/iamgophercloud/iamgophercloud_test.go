package iamgophercloud_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamgophercloud"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// keystone is a service with the parts of Keystone that gophercloud uses in these tests:
// version discovery with a 300, tokens that expire, and users.
type keystone struct {
	*httptest.Server
	script iamtest.Server // responds first, if a test has scripted a response

	mu     sync.Mutex
	logins int
	token  string
	locked bool // whether logins are refused
}

func newKeystone(t *testing.T) *keystone {
	k := new(keystone)
	k.script.Handler = k
	k.Server = httptest.NewServer(&k.script)
	t.Cleanup(k.Close)
	return k
}

func (k *keystone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	call := r.Method + " " + r.URL.Path
	switch {
	case call == "GET /":
		w.WriteHeader(http.StatusMultipleChoices)
		fmt.Fprintf(w, `{"versions":{"values":[{"id":"v3.14","status":"stable","links":[{"rel":"self","href":"%s/v3/"}]}]}}`, k.URL)
	case call == "POST /v3/auth/tokens" && k.locked:
		iamtest.Keystone(401, "The account is locked.").ServeHTTP(w, r)
	case call == "POST /v3/auth/tokens":
		k.logins++
		k.token = fmt.Sprintf("token-%d", k.logins)
		w.Header().Set("X-Subject-Token", k.token)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token":{"expires_at":"2100-01-01T00:00:00.000000Z","catalog":[{"type":"identity","name":"keystone","endpoints":[{"interface":"public","region":"R","url":"%s/v3/"}]}]}}`, k.URL)
	case r.Header.Get("X-Auth-Token") != k.token:
		iamtest.Keystone(401, "The request you have made requires authentication.").ServeHTTP(w, r)
	case call == "GET /v3/users/alice":
		fmt.Fprint(w, `{"user":{"id":"alice","name":"alice"}}`)
	case call == "POST /v3/users":
		iamtest.Keystone(409, "Conflict occurred attempting to store user.").ServeHTTP(w, r)
	default:
		iamtest.Keystone(404, "Could not find it.").ServeHTTP(w, r)
	}
}

func (k *keystone) expire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.token = "another"
}

func (k *keystone) count(call string) int {
	n := 0
	for _, r := range k.script.Requests() {
		if r.String() == call {
			n++
		}
	}
	return n
}

// connect returns a client that has logged in.
func connect(t *testing.T, k *keystone, tr *iamhttp.Transport, change ...func(*gophercloud.ProviderClient)) *gophercloud.ServiceClient {
	t.Helper()
	p, err := openstack.NewClient(k.URL)
	require.NoError(t, err)
	for _, f := range change {
		f(p)
	}
	iamgophercloud.Configure(p, tr)
	require.NoError(t, openstack.Authenticate(t.Context(), p, gophercloud.AuthOptions{
		IdentityEndpoint: k.URL, Username: "admin", Password: "p", DomainName: "Default", AllowReauth: true,
	}))
	c, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{})
	require.NoError(t, err)
	return c
}

func quick() *iamhttp.Transport {
	return &iamhttp.Transport{Backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} }}
}

// both asserts that errors.As finds gophercloud's error and the typed error.
func both(t *testing.T, err error, code int) *iamhttp.StatusError {
	t.Helper()
	assert.True(t, gophercloud.ResponseCodeIs(err, code), "%v", err)
	var own gophercloud.ErrUnexpectedResponseCode
	assert.ErrorAs(t, err, &own)
	assert.ErrorIs(t, err, iamhttp.Code(code))
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	require.True(t, ok)
	return e
}

func TestLoginWorksAfterAVersionDiscoveryWithA300(t *testing.T) {
	k := newKeystone(t)
	connect(t, k, nil)
	k.script.AssertRequests(t, "GET /", "POST /v3/auth/tokens")
}

func TestAFailureHoldsGophercloudsErrorAndTheTypedError(t *testing.T) {
	k := newKeystone(t)
	c := connect(t, k, nil)
	_, err := users.Create(t.Context(), c, users.CreateOpts{Name: "x"}).Extract()
	e := both(t, err, 409)
	assert.Equal(t, "Conflict occurred attempting to store user.", e.Message)
	assert.Equal(t, "POST", e.Method)
	assert.Equal(t, k.URL+"/v3/users", e.URL)
	assert.NotEmpty(t, e.RequestID)
	assert.Contains(t, err.Error(), "Expected HTTP response code", "the text must be gophercloud's")
	assert.Equal(t, 1, k.count("POST /v3/users"))

	_, err = users.Get(t.Context(), c, "nobody").Extract()
	both(t, err, 404)
}

func TestTheTypedErrorHasAttemptsAndStopHoweverItIsObtained(t *testing.T) {
	k := newKeystone(t)
	client := connect(t, k, quick())
	k.script.Next(iamtest.Throttled(0))
	ctx, rec := iamhttp.WithRecorder(t.Context())
	_, err := users.Get(ctx, client, "bob").Extract()
	for name, err := range map[string]error{"as returned": err, "Recorder": rec.Wrap(err), "Wrap": iamgophercloud.Wrap(err)} {
		var e *iamhttp.StatusError
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, 2, e.Attempts, name)
		assert.Equal(t, iamhttp.StopNotRetryable, e.Stop, name)
		assert.True(t, gophercloud.ResponseCodeIs(err, 404), "gophercloud's own error must still be found: %s", name)
	}
}

func TestNovaAndNeutronMessagesAreRead(t *testing.T) {
	k := newKeystone(t)
	client := connect(t, k, nil)
	for body, message := range map[string]string{
		`{"itemNotFound":{"code":404,"message":"Instance x could not be found."}}`:                          "Instance x could not be found.",
		`{"NeutronError":{"type":"NetworkNotFound","message":"Network x could not be found.","detail":""}}`: "Network x could not be found.",
	} {
		k.script.Next(iamtest.Answer{Status: 404, Body: body})
		_, err := users.Get(t.Context(), client, "bob").Extract()
		var e *iamhttp.StatusError
		require.ErrorAs(t, err, &e)
		assert.Equal(t, message, e.Message)
	}
}

func TestA404ThatGophercloudTreatsAsAResultIsNotAnError(t *testing.T) {
	k := newKeystone(t)
	c := connect(t, k, nil)
	valid, err := tokens.Validate(t.Context(), c, "some-token")
	assert.NoError(t, err)
	assert.False(t, valid)
	member, err := users.IsMemberOfGroup(t.Context(), c, "group", "alice").Extract()
	assert.NoError(t, err)
	assert.False(t, member)
}

func TestAnExpiredTokenIsRenewedOnce(t *testing.T) {
	k := newKeystone(t)
	c := connect(t, k, nil)
	k.expire()
	_, err := users.Get(t.Context(), c, "alice").Extract()
	require.NoError(t, err)
	assert.Equal(t, 2, k.logins)
	assert.Equal(t, 2, k.count("GET /v3/users/alice"))

	t.Run("a failure after the renewal holds the typed error", func(t *testing.T) {
		k.expire()
		_, err := users.Get(t.Context(), c, "nobody").Extract()
		after := errors.As(err, new(*gophercloud.ErrErrorAfterReauthentication))
		assert.True(t, after)
		both(t, err, 404)
	})
	t.Run("a 401 that persists causes one renewal", func(t *testing.T) {
		logins := k.logins
		k.script.On("GET /v3/users/alice", iamtest.Answer{Status: 401})
		_, err := users.Get(t.Context(), c, "alice").Extract()
		both(t, err, 401)
		assert.Equal(t, logins+1, k.logins)
	})
}

func TestRecorderAndWrapAddTheTypedErrorIfRenewingTheTokenFails(t *testing.T) {
	k := newKeystone(t)
	c := connect(t, k, nil)
	k.expire()
	k.mu.Lock()
	k.locked = true
	k.mu.Unlock()
	ctx, rec := iamhttp.WithRecorder(t.Context())
	_, err := users.Get(ctx, c, "alice").Extract()
	unable := errors.As(err, new(*gophercloud.ErrUnableToReauthenticate))
	require.True(t, unable, "%v", err)
	for name, wrapped := range map[string]error{"Recorder": rec.Wrap(err), "Wrap": iamgophercloud.Wrap(err)} {
		t.Run(name, func(t *testing.T) {
			var e *iamhttp.StatusError
			ok := errors.As(wrapped, &e)
			require.True(t, ok)
			assert.ErrorIs(t, wrapped, iamhttp.ErrUnauthorized)
			assert.ErrorIs(t, wrapped, err, "gophercloud's own error must still be found")
			if name == "Wrap" {
				assert.Equal(t, "The account is locked.", e.Message)
			}
		})
	}
}

func TestA429IsRetriedByTheTransportAlone(t *testing.T) {
	throttled := iamtest.Throttled(0)
	for name, throttled := range map[string]iamtest.Answer{"with Retry-After": throttled.With("Retry-After", "0"), "without Retry-After": throttled} {
		t.Run(name, func(t *testing.T) {
			k := newKeystone(t)
			waits := 0
			tr := &iamhttp.Transport{
				Backoff: func() backoff.BackOff { waits++; return backoff.NewConstantBackOff(time.Millisecond) },
				OnFailure: func(_ context.Context, f iamhttp.Failure) {
					assert.Equal(t, f.Retry, f.Wait > 0, "there must be a wait if and only if the failure is retried")
				},
			}
			c := connect(t, k, tr, func(p *gophercloud.ProviderClient) {
				p.RetryBackoffFunc = func(context.Context, *gophercloud.ErrUnexpectedResponseCode, error, uint) error {
					t.Error("gophercloud's own back-off must be switched off")
					return nil
				}
			})
			k.script.Next(throttled, throttled)
			_, err := users.Get(t.Context(), c, "alice").Extract()
			require.NoError(t, err)
			assert.Equal(t, 3, k.count("GET /v3/users/alice"))
			assert.Equal(t, 1, waits)

			k.script.On("GET /v3/users/alice", throttled)
			before := k.count("GET /v3/users/alice")
			ctx, rec := iamhttp.WithRecorder(t.Context())
			_, err = users.Get(ctx, c, "alice").Extract()
			e := both(t, err, 429)
			assert.Equal(t, iamhttp.ReasonThrottled, e.Reason())
			assert.Equal(t, before+8, k.count("GET /v3/users/alice"))
			last, _ := rec.Last()
			assert.Equal(t, last, e)
			assert.Equal(t, 8, e.Attempts)
			assert.Equal(t, iamhttp.StopAttempts, e.Stop)
		})
	}
}

func TestRetryAfterIsWaitedOutInFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(time.Minute), iamtest.Answer{Body: `{"user":{"id":"alice"}}`})
		p := &gophercloud.ProviderClient{}
		p.HTTPClient.Transport = &service
		iamgophercloud.Configure(p, nil)
		c := &gophercloud.ServiceClient{ProviderClient: p, Endpoint: "https://iam.example/v3/"}
		_, err := users.Get(t.Context(), c, "alice").Extract()
		require.NoError(t, err)
		service.AssertSpacing(t, time.Minute)
	})
}

func TestA503IsNotRetried(t *testing.T) {
	k := newKeystone(t)
	c := connect(t, k, nil)
	k.script.Next(iamtest.Page(503))
	_, err := users.Get(t.Context(), c, "alice").Extract()
	both(t, err, 503)
	assert.Equal(t, 1, k.count("GET /v3/users/alice"))
}

func TestARetryFuncIsStillCalled(t *testing.T) {
	k := newKeystone(t)
	var seen []error
	c := connect(t, k, quick(), func(p *gophercloud.ProviderClient) {
		p.RetryFunc = func(_ context.Context, _, _ string, _ *gophercloud.RequestOpts, err error, n uint) error {
			seen = append(seen, err)
			if gophercloud.ResponseCodeIs(err, 502) && n < 3 {
				return nil
			}
			return err
		}
	})
	k.script.On("GET /v3/users/alice", iamtest.Page(502))
	_, err := users.Get(t.Context(), c, "alice").Extract()
	both(t, err, 502)
	assert.Equal(t, 3, k.count("GET /v3/users/alice"))
	require.Len(t, seen, 3)
	assert.Equal(t, 502, seen[0].(gophercloud.ErrUnexpectedResponseCode).Actual, "RetryFunc must get gophercloud's own error")
}

func TestTheErrorOfACallWithoutAResponseIsNotTyped(t *testing.T) {
	k := newKeystone(t)
	c := connect(t, k, nil)
	k.Close()
	_, err := users.Get(t.Context(), c, "alice").Extract()
	require.Error(t, err)
	ok := errors.As(err, new(*iamhttp.StatusError))
	assert.False(t, ok)
}

func TestTheErrorOfACanceledWaitHoldsTheCancellationAndThe429(t *testing.T) {
	k := newKeystone(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := connect(t, k, &iamhttp.Transport{OnFailure: func(context.Context, iamhttp.Failure) { cancel() }})
	k.script.Next(iamtest.Throttled(time.Minute))
	_, err := users.Get(ctx, c, "alice").Extract()
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, iamhttp.ErrTooManyRequests)
}

// refusing is a gate that refuses every request.
type refusing struct{}

func (refusing) Wait(context.Context, gate.Request) (gate.Ticket, error) {
	return 0, &gate.Error{Err: gate.ErrPaused, RetryAfter: time.Minute}
}

func (refusing) Observe(gate.Request, gate.Ticket, gate.Outcome) {}

func TestARefusalByTheGateReachesTheCallerAsANotSentError(t *testing.T) {
	k := newKeystone(t)
	tr := quick()
	c := connect(t, k, tr)
	requests := len(k.script.Requests())
	tr.Gate = refusing{} // no request is using the Transport at this moment
	ctx, rec := iamhttp.WithRecorder(t.Context())
	_, err := users.Get(ctx, c, "alice").Extract()
	k.script.AssertCount(t, requests)
	for name, err := range map[string]error{"as returned": err, "Wrap": iamgophercloud.Wrap(err), "Recorder": rec.Wrap(err)} {
		t.Run(name, func(t *testing.T) {
			var e *iamhttp.NotSentError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, time.Minute, e.RetryAfter)
			assert.ErrorIs(t, err, gate.ErrPaused)
			assert.ErrorIs(t, err, iamhttp.ErrTooManyRequests)
			assert.NotErrorAs(t, err, new(*iamhttp.StatusError), "without a response, there must be no StatusError")
			assert.False(t, gophercloud.ResponseCodeIs(err, 429))
		})
	}
}

func TestALoginThatTheGateRefusesIsReportedAsNotSentAndNotAsA401(t *testing.T) {
	k := newKeystone(t)
	tr := quick()
	c := connect(t, k, tr)
	k.expire()
	tr.OnFailure = func(_ context.Context, f iamhttp.Failure) {
		if errors.Is(f.Err, iamhttp.ErrUnauthorized) {
			tr.Gate = refusing{} // set after the 401, so that the gate refuses the login
		}
	}
	_, err := users.Get(t.Context(), c, "alice").Extract()
	require.ErrorAs(t, err, new(*gophercloud.ErrUnableToReauthenticate))
	wrapped := iamgophercloud.Wrap(err)
	assert.ErrorIs(t, wrapped, err)
	assert.ErrorIs(t, wrapped, gate.ErrPaused)
	assert.ErrorAs(t, wrapped, new(*iamhttp.NotSentError))
	assert.NotErrorAs(t, wrapped, new(*iamhttp.StatusError), "Wrap must not report the 401, because the call failed for another reason")
	assert.Equal(t, err.Error(), wrapped.Error())
}

func TestTheClientsRoundTripperBecomesTheBaseUnlessABaseIsSet(t *testing.T) {
	p, err := openstack.NewClient("http://127.0.0.1:1/")
	require.NoError(t, err)
	own := &http.Transport{}
	p.HTTPClient.Transport = own
	tr := new(iamhttp.Transport)
	iamgophercloud.Configure(p, tr)
	assert.Same(t, own, tr.Base)
	assert.True(t, tr.PassThrough)

	base := &http.Transport{}
	another := &iamhttp.Transport{Base: base}
	iamgophercloud.Configure(p, another)
	assert.Same(t, base, another.Base)
}

func TestOneTransportCanServeSeveralClients(t *testing.T) {
	k := newKeystone(t)
	tr := new(iamhttp.Transport)
	c := connect(t, k, tr)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := users.Get(t.Context(), c, "alice").Extract()
		assert.NoError(t, err)
	})
	connect(t, k, tr) // while the first client is in use, so that the race detector finds unsynchronized writes
	wg.Wait()
}

func TestANilClientIsIgnored(t *testing.T) {
	assert.NotPanics(t, func() { iamgophercloud.Configure(nil, nil) })
}

func TestConfiguringAClientAgainDoesNotMakeTheTransportItsOwnBase(t *testing.T) {
	k := newKeystone(t)
	tr := new(iamhttp.Transport)
	c := connect(t, k, tr, func(p *gophercloud.ProviderClient) { iamgophercloud.Configure(p, tr) })
	require.Nil(t, tr.Base)
	_, err := users.Get(t.Context(), c, "alice").Extract()
	assert.NoError(t, err)
}

func TestWrapAddsAMissingTypedErrorToErrorsWithAResponseAndReturnsOthersUnchanged(t *testing.T) {
	plain := errors.New("plain")
	value := gophercloud.ErrUnexpectedResponseCode{Actual: 404, Method: "GET", URL: "https://user:p@iam.example/v3/users?q=1", Body: []byte(`{"error":{"message":"m"}}`)}
	typed := iamhttp.NewStatusError(404, nil, nil)
	notSent := &iamhttp.NotSentError{Err: gate.ErrPaused}
	var nilCode *gophercloud.ErrUnexpectedResponseCode
	var nilReauth *gophercloud.ErrUnableToReauthenticate
	for name, tt := range map[string]struct {
		err   error
		typed bool
	}{
		"a value":                                            {value, true},
		"a pointer":                                          {&value, true},
		"a wrapped value":                                    {fmt.Errorf("x: %w", value), true},
		"a pointer that is wrapped twice":                    {fmt.Errorf("y: %w", fmt.Errorf("x: %w", &value)), true},
		"a value joined with another error":                  {errors.Join(plain, value), true},
		"an error that Wrap has already wrapped":             {iamgophercloud.Wrap(value), true},
		"already typed":                                      {fmt.Errorf("x: %w", typed), true},
		"an error after re-authentication":                   {&gophercloud.ErrErrorAfterReauthentication{ErrOriginal: value}, true},
		"failed re-authentication":                           {&gophercloud.ErrUnableToReauthenticate{ErrOriginal: value, ErrReauth: plain}, true},
		"failed re-authentication, as a value":               {gophercloud.ErrUnableToReauthenticate{ErrOriginal: value, ErrReauth: plain}, true},
		"failed re-authentication, twice":                    {&gophercloud.ErrUnableToReauthenticate{ErrReauth: gophercloud.ErrUnableToReauthenticate{ErrOriginal: value}}, true},
		"failed re-authentication, without errors":           {&gophercloud.ErrUnableToReauthenticate{}, false},
		"an error without a response":                        {plain, false},
		"a NotSentError in a url.Error":                      {&url.Error{Op: "Get", URL: "https://iam.example/", Err: notSent}, false},
		"a NotSentError joined with an error for a response": {errors.Join(notSent, value), false},
		"an empty error":                                     {&gophercloud.ErrUnexpectedResponseCode{}, false},
		"a URL that cannot be parsed":                        {gophercloud.ErrUnexpectedResponseCode{Actual: 500, URL: "::\x00"}, true},
		"a wrapped nil ErrUnexpectedResponseCode":            {nilOf(nilCode), false},
		"a wrapped nil ErrUnableToReauthenticate":            {nilOf(nilReauth), false},
	} {
		t.Run(name, func(t *testing.T) {
			got := iamgophercloud.Wrap(tt.err)
			var e *iamhttp.StatusError
			ok := errors.As(got, &e)
			assert.Equal(t, tt.typed, ok)
			if !ok {
				assert.Same(t, tt.err, got)
				return
			}
			if errors.As(tt.err, new(*iamhttp.StatusError)) {
				assert.Same(t, tt.err, got)
			}
			assert.Equal(t, tt.err.Error(), got.Error())
			if gophercloud.ResponseCodeIs(tt.err, 404) {
				assert.True(t, gophercloud.ResponseCodeIs(got, 404))
				if name != "already typed" {
					assert.Equal(t, "https://iam.example/v3/users", e.URL)
					assert.Equal(t, "m", e.Message)
				}
			}
		})
	}
	assert.NoError(t, iamgophercloud.Wrap(nil))
}

// nilOf wraps a nil pointer of an error type, as careless code does.
func nilOf(err error) error { return &holder{err} }

type holder struct{ err error }

func (*holder) Error() string   { return "holder" }
func (h *holder) Unwrap() error { return h.err }

func TestASuccessfulCallCostsAtMostFourAllocations(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	p := &gophercloud.ProviderClient{}
	p.HTTPClient.Transport = always{resp} // a function, which may hide another RoundTripper, would cost one more
	iamgophercloud.Configure(p, nil)
	req, err := http.NewRequestWithContext(t.Context(), "POST", "https://iam.example/", strings.NewReader("x"))
	require.NoError(t, err)
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = p.HTTPClient.Transport.RoundTrip(req) }), 4.0)
}

type always struct{ resp *http.Response }

func (a always) RoundTrip(*http.Request) (*http.Response, error) { return a.resp, nil }
