package iamhuaweicloud_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/global"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/httphandler"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/invoker/retry"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/region"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/response"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	iam "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/iam/v3"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/iam/v3/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamhuaweicloud"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

const (
	keystone404 = `{"error":{"code":404,"message":"Could not find user: bob.","title":"Not Found"}}`
	alice       = `{"user":{"id":"alice","name":"alice"}}`
)

// long is a body that is too long for a StatusError to keep in full.
var long = `{"error":{"message":"m"},"padding":"` + strings.Repeat("x", 200<<10) + `"}`

var (
	found      = iamtest.Answer{Body: alice}
	notFound   = iamtest.Answer{Status: 404, Body: keystone404}.With("X-Request-Id", "req-42")
	badGateway = iamtest.Page(502)
	throttled  = iamtest.IAM(429, "APIGW.0308", "slow down").With("Retry-After", "0").With("X-Request-Id", "req-42")
)

// A service returns its responses one after the other, and keeps returning the last one.
type service struct {
	*httptest.Server
	script iamtest.Server
}

func newService(t *testing.T, answers ...iamtest.Answer) *service {
	s := new(service)
	s.script.On("/", answers...)
	s.Server = httptest.NewServer(&s.script)
	t.Cleanup(s.Close)
	return s
}

// quick returns a Transport that does not wait before a retry unless the service asks for
// a wait.
func quick(attempts int) *iamhttp.Transport {
	return &iamhttp.Transport{MaxAttempts: attempts, Backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} }}
}

func credentials(t *testing.T) auth.ICredential {
	t.Helper()
	c, err := global.NewCredentialsBuilder().WithAk("ak").WithSk("sk").WithDomainId("domain").SafeBuild()
	require.NoError(t, err)
	return c
}

// finish sets the endpoint and the credentials, and builds the client.
func finish(t *testing.T, b *core.HcHttpClientBuilder, endpoint string) *iam.IamClient {
	t.Helper()
	hc, err := b.WithEndpoint(endpoint).WithCredential(credentials(t)).SafeBuild()
	require.NoError(t, err)
	return iam.NewIamClient(hc)
}

func connect(t *testing.T, s *service, c *config.HttpConfig, tr *iamhttp.Transport) *iam.IamClient {
	t.Helper()
	return finish(t, iamhuaweicloud.Configure(iam.IamClientBuilder(), c, tr), s.URL)
}

func show(c *iam.IamClient) error {
	_, err := c.KeystoneShowUser(&model.KeystoneShowUserRequest{UserId: "bob"})
	return err
}

func create(c *iam.IamClient) error {
	_, err := c.KeystoneCreateUser(&model.KeystoneCreateUserRequest{
		Body: &model.KeystoneCreateUserRequestBody{User: &model.KeystoneCreateUserOption{Name: "bob"}},
	})
	return err
}

// both asserts that errors.As finds the SDK's error and the typed error.
func both(t *testing.T, err error, code int) (*iamhttp.StatusError, *sdkerr.ServiceResponseError) {
	t.Helper()
	assert.ErrorIs(t, err, iamhttp.Code(code))
	var own *sdkerr.ServiceResponseError
	require.ErrorAs(t, err, &own)
	assert.Equal(t, code, own.StatusCode)
	var e *iamhttp.StatusError
	require.ErrorAs(t, err, &e)
	return e, own
}

func TestAFailureHoldsTheSDKsErrorAndTheTypedError(t *testing.T) {
	s := newService(t, notFound)
	err := show(connect(t, s, nil, nil))
	e, own := both(t, err, 404)
	assert.Equal(t, "Could not find user: bob.", e.Message)
	assert.Equal(t, "req-42", e.RequestID)
	assert.Equal(t, "GET", e.Method)
	assert.Equal(t, s.URL+"/v3/users/bob", e.URL)
	assert.Equal(t, 1, e.Attempts)
	assert.Equal(t, keystone404, string(e.Body()))
	assert.Equal(t, keystone404, own.ErrorMessage, "the SDK's error must be unchanged")
	assert.Equal(t, `iamhttp: 404 NotFound: "Could not find user: bob." (request req-42, sent once)`, err.Error())
	s.script.AssertCount(t, 1)
}

func TestTheReasonComesFromTheServicesOwnCodeIfThereIsOne(t *testing.T) {
	for name, tt := range map[string]struct {
		iamtest.Answer
		own     string
		reason  iamhttp.Reason
		message string
	}{
		"a gateway code": {
			iamtest.Gateway(403, "APIGW.0302", "The IAM user is not authorized to access the API."),
			"APIGW.0302", iamhttp.ReasonPermissionMissing, "The IAM user is not authorized to access the API.",
		},
		"an IAM code": {
			iamtest.Answer{Status: 400, Body: `{"error":{"message":"The username already exists.","code":"1109"}}`},
			"1109", iamhttp.ReasonAlreadyExists, "The username already exists.",
		},
		"a gateway code in a nested object": {
			iamtest.Answer{Status: 403, Body: `{"forbidden":{"code":"APIGW.0302","message":"No\nuser."}}`},
			"APIGW.0302", iamhttp.ReasonPermissionMissing, "No user.",
		},
		"a body that is not JSON": {
			iamtest.Page(429),
			"", iamhttp.ReasonThrottled, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, tt.Answer)
			err := create(connect(t, s, nil, quick(1)))
			e, own := both(t, err, tt.Status)
			assert.ErrorIs(t, err, tt.reason)
			assert.Equal(t, tt.own, own.ErrorCode)
			assert.Equal(t, tt.own, e.ServiceCode)
			assert.Equal(t, tt.message, e.Message)
			assert.Contains(t, err.Error(), tt.message)
			assert.NotContains(t, err.Error(), "{")
			assert.NotContains(t, err.Error(), "<")
		})
	}
}

func TestA429IsRetriedByTheTransport(t *testing.T) {
	t.Run("until the call succeeds", func(t *testing.T) {
		s := newService(t, throttled, throttled, found)
		require.NoError(t, create(connect(t, s, nil, quick(0))))
		const body = `{"user":{"name":"bob"}}`
		s.script.AssertBodies(t, body, body, body)
	})
	t.Run("until the attempts are used up", func(t *testing.T) {
		s := newService(t, throttled)
		tr, stop := quick(3), iamhttp.StopUnset
		tr.OnFailure = func(_ context.Context, f iamhttp.Failure) { stop = f.Stop }
		err := show(connect(t, s, nil, tr))
		e, own := both(t, err, 429)
		assert.Equal(t, 3, e.Attempts)
		s.script.AssertCount(t, 3)
		assert.Equal(t, "APIGW.0308", own.ErrorCode)
		assert.Equal(t, iamhttp.StopAttempts, stop)
		assert.Equal(t, `iamhttp: 429 TooManyRequests: "slow down" (APIGW.0308, request req-42, sent 3 times)`, err.Error())
	})
	t.Run("even if an SDK request handler reads the body", func(t *testing.T) {
		s := newService(t, throttled, found)
		c := config.DefaultHttpConfig().WithHttpHandler(httphandler.NewHttpHandler().AddRequestHandler(func(r http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		require.NoError(t, create(connect(t, s, c, quick(0))))
		const body = `{"user":{"name":"bob"}}`
		s.script.AssertBodies(t, body, body)
	})
}

func TestTheHttpConfigTimeoutIsTheCallsDeadline(t *testing.T) {
	s := newService(t, iamtest.Throttled(time.Minute))
	stop := iamhttp.StopUnset
	tr := &iamhttp.Transport{OnFailure: func(_ context.Context, f iamhttp.Failure) { stop = f.Stop }}
	e, _ := both(t, show(connect(t, s, config.DefaultHttpConfig().WithTimeout(30*time.Second), tr)), 429)
	assert.Equal(t, time.Minute, e.RetryAfter)
	assert.Equal(t, iamhttp.StopDeadline, stop)
	s.script.AssertCount(t, 1)
}

func TestAnInvokerRetriesWhatItsCheckerAsksFor(t *testing.T) {
	s := newService(t, badGateway, badGateway, found)
	c := connect(t, s, nil, nil)
	var seen []int
	inv := c.KeystoneShowUserInvoker(&model.KeystoneShowUserRequest{UserId: "alice"})
	inv.WithRetry(5, func(_ any, err error) bool {
		var own *sdkerr.ServiceResponseError
		if !errors.As(err, &own) {
			return false
		}
		seen = append(seen, own.StatusCode)
		return own.StatusCode == 502
	}, retry.None{})
	got, err := inv.Invoke()
	require.NoError(t, err)
	assert.Equal(t, "alice", got.User.Id)
	assert.Equal(t, []int{502, 502}, seen)
	s.script.AssertCount(t, 3)
}

func TestATypeAssertionWorksOnlyWithTheSDKsOwnHandler(t *testing.T) {
	s := newService(t, notFound)
	err := show(connect(t, s, nil, nil))
	_, ok := err.(*sdkerr.ServiceResponseError)
	assert.False(t, ok, "the SDK's error is wrapped, so the type assertion must fail")

	c := finish(t, iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, nil).WithErrorHandler(sdkerr.DefaultErrorHandler{}), s.URL)
	err = show(c)
	_, ok = err.(*sdkerr.ServiceResponseError)
	assert.True(t, ok)
	e, _ := both(t, iamhuaweicloud.Wrap(err), 404)
	assert.Equal(t, "Could not find user: bob.", e.Message)
	assert.Equal(t, "req-42", e.RequestID)
}

func TestTheErrorHandlerWorksWithoutATransport(t *testing.T) {
	s := newService(t, notFound)
	c := finish(t, iam.IamClientBuilder(), s.URL)
	c.HcClient.WithErrorHandler(iamhuaweicloud.ErrorHandler{})
	both(t, show(c), 404)
}

func TestAnExpectedFailureIsStillAnSDKError(t *testing.T) {
	s := newService(t, notFound)
	reported := 0
	tr := &iamhttp.Transport{
		Expected:  []iamhttp.Code{iamhttp.ErrNotFound},
		OnFailure: func(context.Context, iamhttp.Failure) { reported++ },
	}
	both(t, show(connect(t, s, nil, tr)), 404)
	assert.Zero(t, reported)
}

// This test shows why Configure sets PassThrough.
func TestInErrorModeTheSDKsErrorIsLost(t *testing.T) {
	s := newService(t, badGateway)
	c := connect(t, s, nil, nil)
	tr := new(iamhttp.Transport)
	hc, err := iam.IamClientBuilder().WithHttpConfig(config.DefaultHttpConfig().WithHttpRoundTripper(tr)).
		WithErrorHandler(iamhuaweicloud.ErrorHandler{}).WithEndpoint(s.URL).WithCredential(credentials(t)).SafeBuild()
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		client  *iam.IamClient
		checked bool
	}{"PassThrough": {c, true}, "error mode": {iam.NewIamClient(hc), false}} {
		t.Run(name, func(t *testing.T) {
			checked := false
			inv := tt.client.KeystoneShowUserInvoker(&model.KeystoneShowUserRequest{UserId: "alice"})
			inv.WithRetry(1, func(_ any, err error) bool {
				var own *sdkerr.ServiceResponseError
				checked = errors.As(err, &own)
				return false
			}, retry.None{})
			_, err := inv.Invoke()
			assert.ErrorIs(t, err, iamhttp.ErrBadGateway)
			assert.Equal(t, tt.checked, checked)
		})
	}
}

func TestTheErrorOfACallWithoutAResponseIsNotTyped(t *testing.T) {
	s := newService(t, found)
	c := connect(t, s, nil, nil)
	s.Close()
	err := show(c)
	isURL := errors.As(err, new(*url.Error))
	isStatus := errors.As(err, new(*iamhttp.StatusError))
	assert.True(t, isURL)
	assert.False(t, isStatus)
}

// refusing is a gate that lets the first n requests pass and refuses all others.
type refusing struct{ n int }

func (g *refusing) Wait(context.Context, gate.Request) (gate.Ticket, error) {
	if g.n--; g.n < 0 {
		return 0, &gate.Error{Err: gate.ErrPaused, RetryAfter: time.Minute}
	}
	return 0, nil
}

func (*refusing) Observe(gate.Request, gate.Ticket, gate.Outcome) {}

func TestARefusalByTheGateReachesTheCallerAsANotSentError(t *testing.T) {
	s := newService(t, found)
	tr := quick(0)
	tr.Gate = new(refusing)
	err := show(connect(t, s, nil, tr))
	s.script.AssertCount(t, 0)
	var e *iamhttp.NotSentError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, time.Minute, e.RetryAfter)
	assert.ErrorIs(t, err, gate.ErrPaused)
	assert.ErrorIs(t, err, iamhttp.ErrTooManyRequests)
	assert.NotErrorAs(t, err, new(*iamhttp.StatusError), "without a response, there must be no StatusError")
	assert.NotErrorAs(t, err, new(*sdkerr.ServiceResponseError))
	assert.Same(t, err, iamhuaweicloud.Wrap(err))
}

func TestTheErrorIsThe429IfTheGateRefusesTheRetry(t *testing.T) {
	s := newService(t, throttled)
	tr := quick(0)
	tr.Gate = &refusing{n: 1}
	err := show(connect(t, s, nil, tr))
	s.script.AssertCount(t, 1)
	var e *iamhttp.StatusError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, iamhttp.ErrTooManyRequests, e.Code)
	assert.Equal(t, iamhttp.StopGate, e.Stop)
	assert.ErrorIs(t, err, gate.ErrPaused)
	assert.NotErrorAs(t, err, new(*sdkerr.ServiceResponseError), "the SDK got no response, so there must be no ServiceResponseError")
	assert.Same(t, err, iamhuaweicloud.Wrap(err))
}

func TestASuccessThatTheSDKCannotDecodeIsNotAStatusError(t *testing.T) {
	s := newService(t, iamtest.Answer{Body: "<html>"})
	err := show(connect(t, s, nil, nil))
	own, ok := err.(*sdkerr.ServiceResponseError)
	require.True(t, ok, "%v", err)
	assert.Equal(t, 200, own.StatusCode)
	assert.Same(t, err, iamhuaweicloud.Wrap(err))
}

func TestARedirectIsNotAFailure(t *testing.T) {
	s := newService(t, iamtest.Answer{Status: 302, Body: "{}"}.With("Location", "/elsewhere"))
	c := connect(t, s, nil, nil)
	got, err := c.KeystoneShowUser(&model.KeystoneShowUserRequest{UserId: "alice"})
	require.NoError(t, err)
	assert.Equal(t, 302, got.HttpStatusCode)
}

func TestTheBodyReachesTheSDKsHandlersAndBothErrors(t *testing.T) {
	for name, body := range map[string]string{"a short body": keystone404, "a body that is only partly kept": long} {
		for _, timeout := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprint(name, ", timeout ", timeout), func(t *testing.T) {
				s := newService(t, iamtest.Answer{Status: 404, Body: body})
				var heard string
				c := config.DefaultHttpConfig().WithTimeout(timeout).WithHttpHandler(
					httphandler.NewHttpHandler().AddResponseHandler(func(r http.Response) {
						b, _ := io.ReadAll(r.Body)
						heard = string(b)
					}))
				reported := 0
				tr := &iamhttp.Transport{OnFailure: func(context.Context, iamhttp.Failure) { reported++ }}
				e, own := both(t, show(connect(t, s, c, tr)), 404)
				assert.Equal(t, body, heard)
				assert.Equal(t, body, own.ErrorMessage)
				assert.True(t, strings.HasPrefix(body, string(e.Body())))
				assert.NotEmpty(t, e.Message)
				assert.Equal(t, 1, reported)
			})
		}
	}
}

// logger is a handler that reads the body with the SDK's GetBody before it calls our
// ErrorHandler. GetBody closes the body and puts the bytes back.
type logger struct{ log string }

func (l *logger) HandleError(req *request.DefaultHttpRequest, resp *response.DefaultHttpResponse) error {
	l.log = resp.GetBody()
	return iamhuaweicloud.ErrorHandler{}.HandleError(req, resp)
}

func TestAnErrorHandlerAroundOursCanReadTheBody(t *testing.T) {
	for _, body := range []string{keystone404, long} {
		s, l := newService(t, iamtest.Answer{Status: 404, Body: body}), new(logger)
		c := connect(t, s, nil, nil)
		c.HcClient.WithErrorHandler(l)
		e, own := both(t, show(c), 404)
		assert.Equal(t, body, l.log)
		assert.Equal(t, body, own.ErrorMessage)
		assert.NotEmpty(t, e.Message)
	}
}

// The SDK does not call the ErrorHandler for its requests for credentials and IDs.
func TestWrapAddsATypedErrorToErrorsOfRequestsForCredentialsAndIDsIfTheSDKKeepsThem(t *testing.T) {
	denied := iamtest.Keystone(403, "You are not authorized.").With("X-Iam-Trace-Id", "trace")
	idToken := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(idToken, []byte("token"), 0o600))
	for name, tt := range map[string]struct {
		// The access keys differ, because the SDK caches the IDs for each key.
		credentials func(s *service) (auth.ICredential, error)
		text        string // text of the error that Wrap returns; empty if Wrap returns the error unchanged
	}{
		"looking up the domain": {func(s *service) (auth.ICredential, error) {
			return global.NewCredentialsBuilder().WithAk("ak-domain").WithSk("sk").WithIamEndpointOverride(s.URL).SafeBuild()
		}, `failed to get domain id automatically, iamhttp: 403 Forbidden: "You are not authorized."`},
		"getting a token during a call": {func(s *service) (auth.ICredential, error) {
			return global.NewCredentialsBuilder().WithIdpId("idp").WithIdTokenFile(idToken).WithDomainId("domain").
				WithIamEndpointOverride(s.URL).SafeBuild()
		}, `iamhttp: 403 Forbidden: "You are not authorized."`},
		"looking up the project, where the SDK keeps only the error's text": {func(s *service) (auth.ICredential, error) {
			return basic.NewCredentialsBuilder().WithAk("ak-project").WithSk("sk").WithIamEndpointOverride(s.URL).SafeBuild()
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, throttled, denied)
			c, err := tt.credentials(s)
			require.NoError(t, err)
			hc, err := iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, quick(0)).
				WithRegion(region.NewRegion("r", s.URL)).WithCredential(c).SafeBuild()
			if err == nil {
				err = show(iam.NewIamClient(hc))
			}
			require.ErrorContains(t, err, "You are not authorized.")
			s.script.AssertCount(t, 2) // two requests, because the Transport retries the 429
			typed := errors.As(err, new(*iamhttp.StatusError))
			assert.False(t, typed, "there must be no typed error, because the SDK does not call the handler")

			wrapped := iamhuaweicloud.Wrap(err)
			if tt.text == "" {
				assert.Same(t, err, wrapped)
				return
			}
			assert.EqualError(t, wrapped, tt.text)
			both(t, wrapped, 403)
		})
	}
}

func TestTheBaseIsTheRoundTripperThatTheSDKWouldHaveUsedUnlessABaseIsSet(t *testing.T) {
	own, other, tr := new(http.Transport), &iamhttp.Transport{}, &iamhttp.Transport{}
	for name, tt := range map[string]struct {
		config *config.HttpConfig
		t      *iamhttp.Transport
		base   http.RoundTripper // nil means a new http.Transport
	}{
		"the HttpTransport": {config.DefaultHttpConfig().WithHttpTransport(own), new(iamhttp.Transport), own},
		"the HttpTransport, even if there is a RoundTripper": {config.DefaultHttpConfig().WithHttpTransport(own).WithHttpRoundTripper(other), new(iamhttp.Transport), own},
		"the RoundTripper":                                            {config.DefaultHttpConfig().WithHttpRoundTripper(other), new(iamhttp.Transport), other},
		"a new RoundTripper for the default config":                   {config.DefaultHttpConfig(), new(iamhttp.Transport), nil},
		"a new RoundTripper for a nil config":                         {nil, new(iamhttp.Transport), nil},
		"a new RoundTripper if the config holds the Transport itself": {config.DefaultHttpConfig().WithHttpRoundTripper(tr), tr, nil},
		"the Base that is already set":                                {config.DefaultHttpConfig().WithHttpTransport(own), &iamhttp.Transport{Base: http.DefaultTransport}, http.DefaultTransport},
	} {
		t.Run(name, func(t *testing.T) {
			var before config.HttpConfig
			if tt.config != nil {
				before = *tt.config
			}
			iamhuaweicloud.Configure(iam.IamClientBuilder(), tt.config, tt.t)
			assert.True(t, tt.t.PassThrough)
			if tt.base != nil {
				assert.Same(t, tt.base, tt.t.Base)
			} else {
				assert.IsType(t, own, tt.t.Base)
				assert.NotSame(t, http.DefaultTransport, tt.t.Base)
			}
			if tt.config != nil {
				assert.Same(t, before.HttpTransport, tt.config.HttpTransport, "the caller's config must not be changed")
				assert.Equal(t, before.RoundTripper, tt.config.RoundTripper)
			}
		})
	}
}

// visible counts calls and reveals the RoundTripper below.
type visible struct {
	Next  http.RoundTripper
	calls *int
}

func (v visible) RoundTrip(req *http.Request) (*http.Response, error) {
	*v.calls++
	return v.Next.RoundTrip(req)
}

type hidden struct{ next http.RoundTripper }

func (h hidden) RoundTrip(req *http.Request) (*http.Response, error) { return h.next.RoundTrip(req) }

func TestARoundTripperThatLeadsToTheTransportStaysAboveItIfVisibleAndFailsIfHidden(t *testing.T) {
	calls := 0
	for name, tt := range map[string]struct {
		wrap func(http.RoundTripper) http.RoundTripper
		ok   bool
	}{
		"visible":    {func(rt http.RoundTripper) http.RoundTripper { return &visible{rt, &calls} }, true},
		"a value":    {func(rt http.RoundTripper) http.RoundTripper { return visible{rt, &calls} }, true},
		"hidden":     {func(rt http.RoundTripper) http.RoundTripper { return hidden{rt} }, false},
		"a function": {func(rt http.RoundTripper) http.RoundTripper { return roundTripper(rt.RoundTrip) }, false},
	} {
		for _, signed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", signed ", signed), func(t *testing.T) {
				s := newService(t, throttled, found)
				tr := quick(0)
				c := config.DefaultHttpConfig().WithHttpRoundTripper(tt.wrap(tr))
				var keys []auth.ICredential
				if signed {
					keys = append(keys, credentials(t))
				}
				for range 2 { // the second client finds the Base set
					calls = 0
					err := show(finish(t, iamhuaweicloud.Configure(iam.IamClientBuilder(), c, tr, keys...), s.URL))
					if !tt.ok {
						assert.ErrorContains(t, err, "leads back to the Transport")
						continue
					}
					require.NoError(t, err)
					assert.Equal(t, 1, calls, "want one call of the RoundTripper above, whatever the number of attempts")
				}
			})
		}
	}
}

func TestTheConfigsConnectionSettingsStayInForce(t *testing.T) {
	s := newService(t, notFound)
	t.Run("with an HttpTransport, a 429 is retried", func(t *testing.T) {
		s := newService(t, throttled, found)
		require.NoError(t, show(connect(t, s, config.DefaultHttpConfig().WithHttpTransport(new(http.Transport)), quick(0))))
		s.script.AssertCount(t, 2)
	})
	t.Run("DialContext", func(t *testing.T) {
		dialed := ""
		c := config.DefaultHttpConfig().WithDialContext(func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialed = addr
			return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
		})
		both(t, show(finish(t, iamhuaweicloud.Configure(iam.IamClientBuilder(), c, nil), "http://iam.invalid")), 404)
		assert.Equal(t, "iam.invalid:80", dialed)
	})
	t.Run("IgnoreSSLVerification", func(t *testing.T) {
		secure := httptest.NewTLSServer(&s.script)
		defer secure.Close()
		c := config.DefaultHttpConfig().WithIgnoreSSLVerification(true)
		both(t, show(finish(t, iamhuaweicloud.Configure(iam.IamClientBuilder(), c, nil), secure.URL)), 404)
	})
	t.Run("without IgnoreSSLVerification, an untrusted certificate is refused", func(t *testing.T) {
		secure := httptest.NewUnstartedServer(&s.script)
		secure.Config.ErrorLog = log.New(io.Discard, "", 0) // otherwise the server logs the handshake that the client aborts
		secure.StartTLS()
		defer secure.Close()
		err := show(finish(t, iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, nil), secure.URL))
		refused := errors.As(err, new(*tls.CertificateVerificationError))
		assert.True(t, refused, "%v", err)
	})
	t.Run("a refusal by the HttpProxy is typed", func(t *testing.T) {
		connects := 0
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			connects++
			assert.Equal(t, "CONNECT iam.invalid:443", r.Method+" "+r.Host)
			w.WriteHeader(http.StatusProxyAuthRequired)
		}))
		defer proxy.Close()
		u, err := url.Parse(proxy.URL)
		require.NoError(t, err)
		port, err := strconv.Atoi(u.Port())
		require.NoError(t, err)
		c := config.DefaultHttpConfig().WithProxy(config.NewProxy().WithSchema("http").WithHost(u.Hostname()).WithPort(port))
		err = show(finish(t, iamhuaweicloud.Configure(iam.IamClientBuilder(), c, nil), "https://iam.invalid"))
		assert.ErrorIs(t, err, iamhttp.ErrProxyAuthRequired)
		assert.Equal(t, 1, connects)
	})
	t.Run("an invalid HttpProxy address is ignored, as in the SDK", func(t *testing.T) {
		c := config.DefaultHttpConfig().WithProxy(config.NewProxy().WithSchema("\x00"))
		both(t, show(connect(t, s, c, nil)), 404)
	})
}

func TestOneTransportServesSeveralClients(t *testing.T) {
	s, tr := newService(t, throttled, throttled, notFound), quick(0)
	a := connect(t, s, nil, tr)
	done := make(chan error)
	go func() { done <- show(a) }()
	b := connect(t, s, nil, tr) // while a is in use, so that the race detector finds unsynchronized writes
	both(t, <-done, 404)
	both(t, show(b), 404)
	s.script.AssertCount(t, 4)
}

// inner is a handler that returns err.
type inner struct{ err error }

func (i inner) HandleError(*request.DefaultHttpRequest, *response.DefaultHttpResponse) error {
	return i.err
}

func TestHandleErrorAddsTheTypedErrorToEachFailureThatItsInnerHandlerReports(t *testing.T) {
	plain := errors.New("plain")
	answered := func(code int, body io.ReadCloser) *http.Response {
		return &http.Response{StatusCode: code, Body: body}
	}
	text := func(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
	read := text(keystone404)
	_, _ = io.Copy(io.Discard, read)
	closed := &http.Response{StatusCode: 404, Body: &onceBody{Reader: strings.NewReader(keystone404)}}
	closed.Body.Close()
	var nilErr *sdkerr.ServiceResponseError
	value := sdkerr.ServiceResponseError{StatusCode: 404, ErrorMessage: "own"}
	for name, tt := range map[string]struct {
		inner sdkerr.ErrorHandler
		resp  *http.Response
		code  iamhttp.Code // code of the typed error; 0 if there is no typed error
		text  string
	}{
		"no body":                                        {nil, answered(404, nil), 404, `iamhttp: 404 NotFound`},
		"a body that was read":                           {nil, answered(404, read), 404, `iamhttp: 404 NotFound`},
		"a body that was closed":                         {nil, closed, 404, `iamhttp: 404 NotFound`},
		"a body that breaks off":                         {nil, answered(404, io.NopCloser(io.MultiReader(strings.NewReader(keystone404), iotest.ErrReader(plain)))), 404, `iamhttp: 404 NotFound: "Could not find user: bob."`},
		"a body":                                         {nil, answered(404, text(keystone404)), 404, `iamhttp: 404 NotFound: "Could not find user: bob."`},
		"an ErrorHandler as the inner handler":           {iamhuaweicloud.ErrorHandler{}, answered(404, text(keystone404)), 404, `iamhttp: 404 NotFound: "Could not find user: bob."`},
		"an error of another kind":                       {inner{plain}, answered(404, nil), 404, `plain: iamhttp: 404 NotFound`},
		"an error that is a value":                       {inner{value}, answered(404, nil), 404, `iamhttp: 404 NotFound`},
		"a code and a message in the error, but no body": {inner{&sdkerr.ServiceResponseError{StatusCode: 404, ErrorCode: "CCE.1", ErrorMessage: "own"}}, answered(404, nil), 404, `iamhttp: 404 NotFound: "own" (CCE.1)`},
		"a code and a message in the error, and a body":  {inner{&sdkerr.ServiceResponseError{StatusCode: 404, ErrorCode: "CCE.1", ErrorMessage: "own"}}, answered(404, text(keystone404)), 404, `iamhttp: 404 NotFound: "Could not find user: bob."`},
		"an error around the SDK's":                      {inner{fmt.Errorf("around: %w", value)}, answered(404, nil), 404, `around: iamhttp: 404 NotFound`},
		"a nil pointer as the error":                     {inner{nilErr}, answered(404, nil), 404, `iamhttp: 404 NotFound`},
		"an error around a nil pointer":                  {inner{fmt.Errorf("around: %w", nilErr)}, answered(404, nil), 404, `around: <nil>: iamhttp: 404 NotFound`},
		"a failure that the inner handler accepts":       {inner{nil}, answered(404, text(keystone404)), 0, ``},
		"a success that the inner handler refuses":       {inner{plain}, answered(200, text("x")), 0, `plain`},
		"an invalid status code":                         {inner{plain}, answered(42, nil), 42, `plain: iamhttp: 42`},
	} {
		t.Run(name, func(t *testing.T) {
			err := iamhuaweicloud.ErrorHandler{Inner: tt.inner}.HandleError(nil, response.NewDefaultHttpResponse(tt.resp))
			if tt.text == "" {
				assert.NoError(t, err)
				return
			}
			assert.True(t, strings.HasPrefix(err.Error(), tt.text), err.Error())
			var e *iamhttp.StatusError
			ok := errors.As(err, &e)
			require.Equal(t, tt.code != 0, ok)
			if ok {
				assert.Equal(t, tt.code, e.Code)
			}
			if i, ok := tt.inner.(inner); ok {
				assert.True(t, holds(err, i.err), "the inner handler's error must be found")
				return
			}
			ok = errors.As(err, new(*sdkerr.ServiceResponseError))
			assert.True(t, ok)
		})
	}
	for name, resp := range map[string]*response.DefaultHttpResponse{"a nil response": nil, "a response without an http.Response": {}} {
		t.Run(name, func(t *testing.T) {
			assert.Error(t, iamhuaweicloud.ErrorHandler{}.HandleError(nil, resp))
		})
	}
}

// holds is like errors.Is, but also works for errors that cannot be compared.
func holds(err, target error) bool {
	if fmt.Sprintf("%T %+v", err, err) == fmt.Sprintf("%T %+v", target, target) {
		return true
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return holds(u.Unwrap(), target)
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			if holds(e, target) {
				return true
			}
		}
	}
	return false
}

// A onceBody cannot be read after it is closed, like a body of net/http.
type onceBody struct {
	io.Reader
	closed bool
}

func (b *onceBody) Read(p []byte) (int, error) {
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.Reader.Read(p)
}

func (b *onceBody) Close() error {
	b.closed = true
	return nil
}

// Like a Transport, Wrap counts every status code outside 100 to 399 as a failure.
func TestWrapAddsATypedErrorForAStatusThatHTTPDoesNotDefine(t *testing.T) {
	for _, code := range []int{99, 600, 999} {
		err := iamhuaweicloud.Wrap(&sdkerr.ServiceResponseError{StatusCode: code})
		assert.ErrorIs(t, err, iamhttp.Code(code))
	}
}

func TestWrapAddsATypedErrorToErrorsWithAResponseAndReturnsOthersUnchanged(t *testing.T) {
	plain := errors.New("plain")
	value := sdkerr.ServiceResponseError{StatusCode: 404, RequestId: "req-42", ErrorCode: "IAM.0004", ErrorMessage: "no\nuser"}
	raw := &sdkerr.ServiceResponseError{StatusCode: 404, RequestId: "req-42", ErrorMessage: keystone404}
	notSent := &iamhttp.NotSentError{Err: gate.ErrPaused}
	var nilErr *sdkerr.ServiceResponseError
	var nilValue *byValue
	const cooked, fromRaw = `iamhttp: 404 NotFound: "no user" (IAM.0004, request req-42)`, `iamhttp: 404 NotFound: "Could not find user: bob." (request req-42)`
	for name, tt := range map[string]struct {
		err  error
		text string // text of the result; empty if Wrap returns the error unchanged
	}{
		"a pointer":                                          {&value, cooked},
		"a value":                                            {value, cooked},
		"a raw body":                                         {raw, fromRaw},
		"a raw body with a trace ID":                         {&sdkerr.ServiceResponseError{StatusCode: 404, ErrorMessage: keystone404 + ", X-IAM-Trace-Id=t"}, `iamhttp: 404 NotFound: "Could not find user: bob."`},
		"no body":                                            {&sdkerr.ServiceResponseError{StatusCode: 404}, `iamhttp: 404 NotFound`},
		"a code that is the status":                          {&sdkerr.ServiceResponseError{StatusCode: 404, ErrorCode: "404", ErrorMessage: "m"}, `iamhttp: 404 NotFound: "m"`},
		"a wrapped pointer":                                  {fmt.Errorf("x: %w", &value), "x: " + cooked},
		"a value that is wrapped twice":                      {fmt.Errorf("y: %w", fmt.Errorf("x: %w", value)), "y: x: " + cooked},
		"a pointer joined with another error":                {errors.Join(plain, raw), "plain\n" + fromRaw},
		"a pointer in an error that hides its text":          {&holder{raw}, "holder: " + fromRaw},
		"an error that Wrap has already wrapped":             {iamhuaweicloud.Wrap(&value), ""},
		"an error that is already typed":                     {iamhttp.NewStatusError(404, nil, nil), ""},
		"an error for a success":                             {&sdkerr.ServiceResponseError{StatusCode: 200, ErrorMessage: "m"}, ""},
		"an empty error":                                     {&sdkerr.ServiceResponseError{}, ""},
		"a nil pointer":                                      {nilErr, ""},
		"a wrapped nil pointer":                              {&holder{nilErr}, ""},
		"a nil pointer whose Unwrap panics":                  {nilValue, ""},
		"an error without a response":                        {plain, ""},
		"a NotSentError in a url.Error":                      {&url.Error{Op: "Get", URL: "https://iam.example/", Err: notSent}, ""},
		"a NotSentError joined with an error for a response": {errors.Join(notSent, &value), ""},
		"another SDK error":                                  {sdkerr.NewConnectionError("m"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := iamhuaweicloud.Wrap(tt.err)
			if tt.text == "" {
				assert.Same(t, tt.err, got)
				return
			}
			assert.EqualError(t, got, tt.text)
			assert.ErrorIs(t, got, iamhttp.ErrNotFound)
			assert.True(t, holds(got, tt.err))
		})
	}
	assert.NoError(t, iamhuaweicloud.Wrap(nil))
	both(t, iamhuaweicloud.Wrap(&sdkerr.ServiceResponseError{StatusCode: 400}), 400)

	e, _ := both(t, iamhuaweicloud.Wrap(&value), 404)
	assert.Equal(t, "req-42", e.RequestID)
	assert.Empty(t, e.Body(), "Body must be empty, because the SDK has kept only the code and the message")
	e, _ = both(t, iamhuaweicloud.Wrap(raw), 404)
	assert.True(t, json.Valid(e.Body()))
}

// A byValue panics if it is unwrapped through a nil pointer.
type byValue struct{ err error }

func (byValue) Error() string   { return "by value" }
func (b byValue) Unwrap() error { return b.err }

type holder struct{ err error }

func (*holder) Error() string   { return "holder" }
func (h *holder) Unwrap() error { return h.err }

func TestASuccessAllocatesNothing(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	tr := &iamhttp.Transport{Base: roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil })}
	iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, tr)
	req, err := http.NewRequestWithContext(t.Context(), "POST", "https://iam.example/", strings.NewReader("x"))
	require.NoError(t, err)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = tr.RoundTrip(req) }), "the Transport must not allocate")

	var handler sdkerr.ErrorHandler = iamhuaweicloud.ErrorHandler{}
	sdk := response.NewDefaultHttpResponse(resp)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = handler.HandleError(nil, sdk) }), "the ErrorHandler must not allocate")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
