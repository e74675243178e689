package iamsdk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

// An account is a service whose tokens expire.
type account struct {
	iamtest.Server
	logins, expired atomic.Int32 // number of tokens that were issued, and how many of them have expired
}

func newAccount() *account {
	a := new(account)
	a.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/auth/tokens"):
			iamtest.Answer{Status: 201}.With("X-Subject-Token", a.token(a.logins.Add(1))).ServeHTTP(w, r)
		case !a.holds(r.Header.Get("X-Auth-Token")):
			iamtest.Keystone(401, "The token has expired.").ServeHTTP(w, r)
		default:
			iamtest.Answer{Body: `{"group":{}}`}.ServeHTTP(w, r)
		}
	})
	return a
}

func (a *account) token(n int32) string { return "token-" + strconv.Itoa(int(n)) }

// holds reports whether a token is valid: issued after the last call to expire.
func (a *account) holds(token string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(token, "token-"))
	return err == nil && int32(n) > a.expired.Load()
}

// expire makes all tokens issued so far invalid.
func (a *account) expire() { a.expired.Store(a.logins.Load()) }

// requests returns the number of requests other than those to /auth/tokens.
func (a *account) requests() (n int) {
	for _, r := range a.Requests() {
		if !strings.HasSuffix(r.Target, "/auth/tokens") {
			n++
		}
	}
	return n
}

// connect returns a stand-in that was set up with Install and has logged in.
func (k kind) connect(t *testing.T, service http.RoundTripper, tr *iamhttp.Transport) *standIn {
	t.Helper()
	s := k.newStandIn(&wire{RoundTripper: service})
	k.usual(s)
	k.advised(s)
	iamsdk.Install(&s.HTTPClient, tr, k.options)
	require.NoError(t, s.LogIn())
	return s
}

// eachKind runs a test for each kind of SDK, in virtual time.
func eachKind(t *testing.T, test func(t *testing.T, k kind)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, k) })
		})
	}
}

func TestAnExpiredTokenIsRenewedAndTheCallSucceeds(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		for range 5 {
			_, err := sdk.Request("GET", "/groups", "")
			require.NoError(t, err)
			service.expire()
			time.Sleep(24 * time.Hour)
		}
		assert.Equal(t, 5+4, service.requests())
		assert.EqualValues(t, 1+4, sdk.logins.Load())
	})
}

func TestACallLogsInAgainAfterThePreviousCallEndedWithTwo401s(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.On("GET /v3/groups", iamtest.Keystone(401, "No."), iamtest.Keystone(401, "No."), iamtest.Keystone(401, "No."), iamtest.Answer{})
		_, err := sdk.Request("GET", "/groups", "")
		require.Error(t, err)
		time.Sleep(time.Minute)
		_, err = sdk.Request("GET", "/groups", "")
		require.NoError(t, err)
		assert.EqualValues(t, 3, sdk.logins.Load(), "want one login at the start, and one for each call")
	})
}

func TestManyCallersWithAnExpiredTokenSucceedUnlessTheirSDKLogsInOnlyOncePerCall(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.expire()
		var callers sync.WaitGroup
		for i := range 50 {
			callers.Go(func() {
				_, err := sdk.Request("GET", "/groups/"+strconv.Itoa(i%10), "")
				if !k.habits.endless && err != nil {
					// This is a flaw in these SDKs: a request that is sent while another
					// call is logging in has no token, and the SDKs log in only once per
					// call.
					assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
					return
				}
				assert.NoError(t, err)
			})
		}
		callers.Wait()
		if k.habits.endless { // the other SDKs log in once more for each request that had no token
			assert.EqualValues(t, 2, sdk.logins.Load())
		}
	})
}

func TestManyCallersThatAlwaysGetA401AllReturn(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				_, err := sdk.Request("GET", "/groups", "")
				assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
			})
		}
		callers.Wait()
		// A call's second 401 ends it. A 401 does not count if the request had no token
		// because another call was logging in, but after a call's first 401, at most ten
		// are excused in this way.
		assert.LessOrEqual(t, service.requests(), 20*(2+10))
	})
}

func TestManyCallersWhoseLoginIsRefusedAllReturn(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.expire()
		service.On("POST /v3/auth/tokens", iamtest.Keystone(401, "The account is locked."))
		var callers sync.WaitGroup
		for i := range 20 {
			callers.Go(func() {
				_, err := sdk.Request("GET", "/groups/"+strconv.Itoa(i), "")
				var e *iamhttp.StatusError
				if !assert.ErrorAs(t, iamsdk.Wrap(err), &e) {
					return
				}
				assert.Equal(t, iamhttp.ErrUnauthorized, e.Code)
				if k.habits.endless { // with the other SDKs, a call may skip its login because another caller's has just failed
					assert.Equal(t, "The account is locked.", e.Message)
				}
			})
		}
		callers.Wait()
	})
}

func TestARefusedFirstLoginReturnsTheSDKsError(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		var service iamtest.Server
		service.On("/", iamtest.Keystone(401, "Wrong password."))
		sdk := k.newStandIn(&service)
		k.advised(sdk)
		iamsdk.Install(&sdk.HTTPClient, nil, k.options)
		err := sdk.LogIn()
		_, own := err.(default401)
		assert.True(t, own, "%T", err)
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		service.AssertCount(t, 1)
	})
}

func TestWrapReportsTheResponseToAFailedLoginOrElseThe401ThatLedToIt(t *testing.T) {
	for name, tt := range map[string]struct {
		answer iamtest.Answer
		want   error
	}{
		"the login gets a 403":                     {iamtest.Keystone(403, "The account is disabled."), iamhttp.ErrForbidden},
		"the login is throttled":                   {iamtest.Throttled(0), iamhttp.ErrTooManyRequests},
		"the connection is reset during the login": {iamtest.Answer{Fault: iamtest.Reset}, iamhttp.ErrUnauthorized}, // Wrap reports the 401 that led to the login, because the login got no response
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, k kind) {
				service := newAccount()
				sdk := k.connect(t, service, nil)
				service.expire()
				service.On("POST /v3/auth/tokens", tt.answer)
				_, err := sdk.Request("GET", "/groups", "")
				_, own := err.(*ErrUnableToReauthenticate)
				require.True(t, own, "%T", err)
				assert.ErrorIs(t, iamsdk.Wrap(err), tt.want)
			})
		})
	}
}

// refusing is a gate that refuses each request.
type refusing struct{}

func (refusing) Wait(context.Context, gate.Request) (gate.Ticket, error) {
	return 0, &gate.Error{Err: gate.ErrPaused, RetryAfter: time.Minute}
}

func (refusing) Observe(gate.Request, gate.Ticket, gate.Outcome) {}

func TestALoginThatTheGateRefusesIsReportedAsNotSentAndNotAsA401(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		tr := new(iamhttp.Transport)
		sdk := k.connect(t, service, tr)
		service.expire()
		tr.OnFailure = func(_ context.Context, f iamhttp.Failure) {
			if errors.Is(f.Err, iamhttp.ErrUnauthorized) {
				tr.Gate = refusing{} // set after the 401, so that the gate refuses the login
			}
		}
		_, err := sdk.Request("GET", "/groups", "")
		wrapped := iamsdk.Wrap(err)
		assert.ErrorIs(t, wrapped, gate.ErrPaused)
		assert.ErrorAs(t, wrapped, new(*iamhttp.NotSentError))
		assert.NotErrorAs(t, wrapped, new(*iamhttp.StatusError), "Wrap must not report the 401, because the call failed for another reason")
	})
}

func TestARefusedLoginEndsTheCallEvenIfThe401IsExpected(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, &iamhttp.Transport{Expected: []iamhttp.Code{iamhttp.ErrUnauthorized}})
		service.expire()
		service.On("POST /v3/auth/tokens", iamtest.Keystone(401, "The account is locked."))
		_, err := sdk.Request("GET", "/groups", "")
		_, own := err.(*ErrUnableToReauthenticate)
		require.True(t, own, "%T", err)
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
	})
}

func TestAResendGetsTheFirstResponseFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		page := iamtest.Page(502).With("X-Request-Id", "req-1")
		service.On("/", page)
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		var header http.Header
		post := func(i int) {
			resp, err := client.Post("https://iam.example/v3/groups", "application/json", strings.NewReader("a"))
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, 502, resp.StatusCode)
			assert.Equal(t, "req-1", resp.Header.Get("X-Request-Id"))
			if i == 0 {
				header = resp.Header
			}
			assert.Equal(t, header, resp.Header)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, page.Body, string(data))
			time.Sleep(resendWait)
		}
		asAnSDK(2, post)
		service.AssertCount(t, 1)
		asAnSDK(2, post)
		service.AssertCount(t, 2) // this is a new call
		post(0)
		service.AssertCount(t, 3)
	})
}

func TestARequestWithoutAResponseIsResentOnlyIfThatIsSafe(t *testing.T) {
	for _, k := range kinds {
		if k.habits.retriesErrors == 0 {
			continue
		}
		for name, tt := range map[string]struct {
			method, body string
			tr           *iamhttp.Transport
			want         int  // number of requests that reach the service
			kept         bool // whether the caller's error still holds the connection's error
		}{
			"a POST":                             {"POST", "{}", nil, 1, true},
			"a POST without a body":              {"POST", "", nil, 1, true},
			"a PUT with a body":                  {"PUT", "{}", nil, 1, true},
			"a GET":                              {"GET", "", nil, 1 + k.habits.retriesErrors, false},
			"a GET, with RetryConnectionErrors":  {"GET", "", &iamhttp.Transport{RetryConnectionErrors: true}, 8, true},
			"a POST, with RetryConnectionErrors": {"POST", "", &iamhttp.Transport{RetryConnectionErrors: true}, 1, true},
		} {
			t.Run(k.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					service := newAccount()
					sdk := k.connect(t, service, tt.tr)
					service.On("/v3/groups", iamtest.Answer{Fault: iamtest.Reset})
					_, err := sdk.Request(tt.method, "/groups", tt.body)
					assert.Equal(t, tt.want, service.requests())
					assert.Equal(t, tt.kept, errors.Is(err, syscall.ECONNRESET), "%v", err)
					assert.NotErrorAs(t, iamsdk.Wrap(err), new(*iamhttp.StatusError))
				})
			})
		}
	}
}

func TestEachAttemptIsSignedByTheRoundTripperBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[1].connect(t, service, nil)
		service.Next(iamtest.Throttled(time.Minute), iamtest.Throttled(time.Minute))
		_, err := sdk.Request("GET", "/groups", "")
		require.NoError(t, err)
		for _, r := range service.Requests() {
			assert.Equal(t, r.At.UTC().Format("20060102T150405Z"), r.Header.Get("X-Sdk-Date"))
		}
		service.AssertSpacing(t, 0, time.Minute, time.Minute)
	})
}

func TestInstallReusesTheConnectionsThatTheSDKWouldClose(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(iamtest.Answer{Body: "{}"})
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	for name, want := range map[string]int32{"without Install": 10, "with Install": 1} {
		client := http.Client{Transport: new(http.Transport)}
		if name != "without Install" {
			iamsdk.Install(&client, nil, iamsdk.GopherTelekomCloud())
		}
		connections.Store(0)
		for range 10 {
			req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
			require.NoError(t, err)
			req.Close = true
			resp, err := client.Do(req)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			assert.True(t, req.Close, "the caller's request must not be modified")
		}
		assert.Equal(t, want, connections.Load(), "wrong number of connections "+name)
		client.CloseIdleConnections()
	}
}

func TestInstallSetsANilBaseToTheClientsRoundTripper(t *testing.T) {
	iamsdk.Install(nil, nil, iamsdk.Options{}) // a nil client is ignored

	own := new(http.Transport)
	client := &http.Client{Transport: own}
	tr := new(iamhttp.Transport)
	iamsdk.Install(client, tr, iamsdk.Gophercloud())
	assert.Same(t, own, tr.Base)
	assert.True(t, tr.PassThrough)
	assert.Same(t, tr, below(t, client))

	iamsdk.Install(client, tr, iamsdk.Gophercloud())
	assert.Same(t, own, tr.Base, "a second Install must not make the Transport its own Base")
	assert.Same(t, tr, below(t, client))

	another := new(http.Transport)
	iamsdk.Install(client, &iamhttp.Transport{Base: another}, iamsdk.Gophercloud())
	assert.Same(t, another, below(t, client).Base, "a Base that is already set must stay")

	empty := new(http.Client)
	iamsdk.Install(empty, nil, iamsdk.ProviderHuaweiCloud())
	assert.Nil(t, below(t, empty).Base)
}

func below(t *testing.T, c *http.Client) *iamhttp.Transport {
	t.Helper()
	w, ok := c.Transport.(interface{ WrappedRoundTripper() http.RoundTripper })
	require.True(t, ok)
	tr, ok := w.WrappedRoundTripper().(*iamhttp.Transport)
	require.True(t, ok)
	return tr
}

func TestARoundTripperThatRevealsNoInnerRoundTripperIsNotChanged(t *testing.T) {
	for name, rt := range map[string]http.RoundTripper{
		"an http.Transport": new(http.Transport),
		"a struct value":    http.NewFileTransport(http.Dir(".")),
		"a nil pointer":     (*signing)(nil),
		"an empty field":    new(signing),
	} {
		client := &http.Client{Transport: rt}
		iamsdk.Install(client, nil, iamsdk.ProviderOpenTelekomCloud())
		assert.Equal(t, rt, below(t, client).Base, name)
	}
}

// resending is a RoundTripper that resends a request after an error or a 503.
type resending struct{ Rt http.RoundTripper }

func (r *resending) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.Rt.RoundTrip(req)
	if err == nil && resp.StatusCode != http.StatusServiceUnavailable {
		return resp, nil
	}
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		again.Body, _ = req.GetBody()
	}
	return r.Rt.RoundTrip(again)
}

func TestAPOSTWithoutAResponseIsSentOnceEvenIfTheRoundTripperResendsAfterA503(t *testing.T) {
	for _, body := range []string{"", "{}"} {
		synctest.Test(t, func(t *testing.T) {
			var service iamtest.Server
			service.Next(iamtest.Answer{Fault: iamtest.Reset})
			client := &http.Client{Transport: &resending{&service}}
			iamsdk.Install(client, nil, iamsdk.ProviderHuaweiCloud())
			_, err := client.Post(endpoint+"/groups", "", strings.NewReader(body)) //nolint:bodyclose // there is no response
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			service.AssertCount(t, 1)

			service.Next(iamtest.Page(503), iamtest.Answer{Status: 201})
			resp, err := client.Post(endpoint+"/groups", "", strings.NewReader(body))
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 201, resp.StatusCode, "the RoundTripper may resend after a 503 from the service")
			service.AssertCount(t, 3)
		})
	}
}

func TestAPOSTWithoutAResponseIsSentOnceEvenAfterSeveralInstalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[1].newStandIn(service)
		tr := new(iamhttp.Transport)
		for range 3 {
			iamsdk.Install(&sdk.HTTPClient, tr, kinds[1].options)
		}
		service.On("/v3/groups", iamtest.Answer{Fault: iamtest.Reset})
		_, err := sdk.HTTPClient.Post(endpoint+"/groups", "", nil)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		service.AssertCount(t, 1)
		sdk.HTTPClient.CloseIdleConnections() // the call must pass through all RoundTrippers without a panic
	})
}

func TestATransportThatIsInUseCanBeInstalledInAnotherClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		tr := &iamhttp.Transport{Base: service}
		first := kinds[2].connect(t, service, tr)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := first.Request("GET", "/groups", "")
			assert.NoError(t, err)
		})
		iamsdk.Install(new(http.Client), tr, iamsdk.GolangSDK()) // while the first client is in use, so that the race detector finds unsynchronized writes
		wg.Wait()
	})
}

func TestWrapFindsTheResponseOfTheCallAmongTheLatestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[0].connect(t, service, nil)
		call := func(id string) error {
			service.Next(iamtest.Throttled(0), iamtest.Keystone(404, "Could not find "+id+".").With("X-Openstack-Request-Id", "req-"+id).With("Retry-After", "3"))
			_, err := sdk.Request("GET", "/groups/"+id+"?secret=1", "")
			return err
		}
		var errs []error
		for i := range 210 {
			errs = append(errs, call(strconv.Itoa(i)))
		}
		for i, err := range errs {
			var e *iamhttp.StatusError
			require.ErrorAs(t, iamsdk.Wrap(err), &e)
			assert.Equal(t, fmt.Sprintf("Could not find %d.", i), e.Message)
			assert.Equal(t, fmt.Sprintf("%s/groups/%d", endpoint, i), e.URL)
			if i < 10 {
				assert.Zero(t, e.Attempts, "want no Attempts, because only the last 200 failures are kept")
				assert.Empty(t, e.RequestID)
				continue
			}
			assert.Equal(t, 2, e.Attempts)
			assert.Equal(t, iamhttp.StopNotRetryable, e.Stop)
			assert.Equal(t, "req-"+strconv.Itoa(i), e.RequestID)
			assert.Equal(t, 3*time.Second, e.RetryAfter)
		}
	})
}

func TestWrapFindsAFailureWithALongBodyByTheBeginningOfTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[2].connect(t, service, nil)
		service.Next(iamtest.Answer{Status: 404, Body: strings.Repeat("x", 100_000)}.With("X-Request-Id", "req-1"))
		_, err := sdk.Request("GET", "/long", "")
		var e *iamhttp.StatusError
		require.ErrorAs(t, iamsdk.Wrap(err), &e)
		assert.Equal(t, "req-1", e.RequestID)
		assert.True(t, e.Truncated)
	})
}

func TestWrapDoesNotMatchAFailureWhoseBodyDidNotArriveInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			header := http.Header{"X-Request-Id": {"another"}}
			return &http.Response{StatusCode: 404, Header: header, Body: io.NopCloser(slowBody{time.Hour}), ContentLength: -1, Request: req}, nil
		})}
		iamsdk.Install(client, nil, iamsdk.GolangSDK())
		resp, err := client.Get(endpoint + "/groups")
		require.NoError(t, err)
		resp.Body.Close()
		err = iamsdk.Wrap(default404{unexpected{Method: "GET", URL: endpoint + "/groups", Actual: 404, Body: []byte("mine")}})
		var e *iamhttp.StatusError
		require.ErrorAs(t, err, &e)
		assert.Empty(t, e.RequestID)
		time.Sleep(2 * time.Hour) // wait until the Read of the body has returned
	})
}

func TestWrapFindsTheLaterOfTwoEqualFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[2].connect(t, service, nil)
		var err error
		for _, id := range []string{"req-1", "req-2"} {
			service.Next(iamtest.Keystone(403, "No.").With("X-Openstack-Request-Id", id))
			_, err = sdk.Request("GET", "/equal", "")
		}
		var e *iamhttp.StatusError
		require.ErrorAs(t, iamsdk.Wrap(err), &e)
		assert.Equal(t, "req-2", e.RequestID)
	})
}

func TestTheInstalledRoundTripperKeepsTheContractOfARoundTripper(t *testing.T) {
	for name, o := range map[string]iamsdk.Options{"no options": {}, "all options": iamsdk.ProviderOpenTelekomCloud()} {
		t.Run(name, func(t *testing.T) {
			roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
				client := &http.Client{Transport: base}
				iamsdk.Install(client, nil, o)
				return client.Transport
			}, roundtriptest.Options{Retries: 429})
		})
	}
}

func TestACallThatSucceedsCostsAtMostFourAllocationsAndOneMoreIfTheRoundTripperMayHideAnotherOne(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	for most, base := range map[float64]http.RoundTripper{
		4: always{resp},
		5: roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil }),
	} {
		client := &http.Client{Transport: base}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		req, err := http.NewRequestWithContext(t.Context(), "POST", endpoint, strings.NewReader("x"))
		require.NoError(t, err)
		assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = client.Transport.RoundTrip(req) }), most)
	}
}

type always struct{ resp *http.Response }

func (a always) RoundTrip(*http.Request) (*http.Response, error) { return a.resp, nil }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
