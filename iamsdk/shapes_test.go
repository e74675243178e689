package iamsdk_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// A shape is how an SDK that logs in endlessly is divided into functions.
type shape struct {
	helper    bool // a helper calls http.Client
	wrapper   bool // the SDK resends through the function that its callers call
	retry     bool // the SDK resends through a function of its own
	loop      bool // the SDK resends in a loop
	goroutine bool // each login after a 401 has a goroutine of its own
	lockless  bool // the SDK has no lock, so it also logs in again after a login's own 401
	deep      int  // number of extra stack frames between a call and its login
	inline    bool // the SDK logs in through a function that the compiler inlines into the one that sends
}

var shapes = map[string]shape{
	"plain":                     {},
	"helper":                    {helper: true},
	"wrapper":                   {wrapper: true},
	"helper and wrapper":        {helper: true, wrapper: true},
	"retry":                     {retry: true},
	"helper and retry":          {helper: true, retry: true},
	"loop":                      {loop: true},
	"helper and loop":           {helper: true, loop: true},
	"goroutine":                 {goroutine: true},
	"goroutine and loop":        {goroutine: true, loop: true},
	"deep":                      {deep: 500},
	"inline":                    {inline: true},
	"lockless":                  {lockless: true},
	"lockless and goroutine":    {lockless: true, goroutine: true},
	"lockless, wrapper, helper": {lockless: true, wrapper: true, helper: true},
	"lockless and loop":         {lockless: true, loop: true},
}

// A shapedSDK is an SDK with a given shape.
type shapedSDK struct {
	shape
	client http.Client
	mu     sync.Mutex // guards token, busy and logins
	token  string
	busy   bool // whether a call is logging in
	logins int
	lock   chan struct{} // held while a call is logging in
}

func (s shape) install(service http.RoundTripper, o iamsdk.Options) *shapedSDK {
	sdk := &shapedSDK{shape: s, lock: make(chan struct{}, 1)}
	sdk.client.Transport = service
	iamsdk.Install(&sdk.client, nil, o)
	return sdk
}

func (s *shapedSDK) Request(method, path string) (*http.Response, error) { return s.do(method, path) }

func (s *shapedSDK) do(method, path string) (*http.Response, error) {
	for {
		req, err := http.NewRequest(method, endpoint+path, nil)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		used := s.token
		if s.busy {
			used = ""
		}
		s.mu.Unlock()
		if used != "" {
			req.Header.Set("X-Auth-Token", used)
		}
		var resp *http.Response
		if s.helper {
			resp, err = s.help(req)
		} else {
			resp, err = s.client.Do(req)
		}
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		if resp.StatusCode >= 400 && resp.StatusCode != 401 {
			return nil, unexpected{endpoint + path, method, nil, resp.StatusCode, nil}
		}
		if resp.StatusCode != 401 {
			return resp, nil
		}
		if s.inline {
			err = s.logInHere(used)
		} else {
			err = s.logInAgain(used, s.deep)
		}
		switch {
		case errors.Is(err, errHangs) || errors.Is(err, errEndless):
			return nil, err
		case err != nil:
			return nil, &unableToLogIn{unexpected{endpoint + path, method, nil, 401, nil}, err}
		case s.loop:
			continue
		case s.wrapper:
			return s.Request(method, path)
		case s.retry:
			return s.again(method, path)
		}
		return s.do(method, path)
	}
}

func (s *shapedSDK) help(req *http.Request) (*http.Response, error) { return s.client.Do(req) }

func (s *shapedSDK) again(method, path string) (*http.Response, error) { return s.do(method, path) }

func (s *shapedSDK) logInHere(used string) error { return s.logInAgain(used, 0) }

func (s *shapedSDK) logInAgain(used string, deep int) error {
	if deep > 0 {
		return s.logInAgain(used, deep-1)
	}
	if !s.lockless {
		select {
		case s.lock <- struct{}{}:
		case <-time.After(24 * time.Hour): // the SDK would wait forever
			return errHangs
		}
		defer func() { <-s.lock }()
	}
	s.mu.Lock()
	renewed := s.token != used && used != ""
	s.busy = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.busy = false
		s.mu.Unlock()
	}()
	if renewed {
		return nil
	}
	if s.goroutine {
		done := make(chan error)
		go func() { done <- s.LogIn() }()
		return <-done
	}
	return s.LogIn()
}

func (s *shapedSDK) LogIn() error {
	s.mu.Lock()
	s.logins++
	endless := s.logins > 60
	s.mu.Unlock()
	if endless {
		return errEndless
	}
	resp, err := s.Request("POST", "/auth/tokens")
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = resp.Header.Get("X-Subject-Token")
	return nil
}

func TestACallEndsHoweverItsSDKIsDividedIntoFunctions(t *testing.T) {
	no := iamtest.Keystone(401, "No.")
	for name, shape := range shapes {
		for options, o := range map[string]iamsdk.Options{"GopherTelekomCloud": iamsdk.GopherTelekomCloud(), "EndlessLogin": {EndlessLogin: true}} {
			for situation, tt := range map[string]struct {
				set    func(*account)
				logins int // number of logins in the call
				ok     bool
			}{
				"the token expired":    {func(a *account) { a.expire() }, 1, true},
				"each GET gets a 401":  {func(a *account) { a.On("GET /v3/groups", no) }, 1, false},
				"the login is refused": {func(a *account) { a.expire(); a.On("POST /v3/auth/tokens", locked) }, 1, false},
				"the login is redirected, and then refused": {func(a *account) {
					a.expire()
					a.On("POST /v3/auth/tokens", iamtest.Answer{Status: 301}.With("Location", endpoint+"/auth/tokens"))
					a.On("GET /v3/auth/tokens", locked) // http.Client changes the method
				}, 1, false},
				"the login returns no token": {func(a *account) { a.expire(); a.On("POST /v3/auth/tokens", iamtest.Answer{Status: 201}) }, 1, false},
				"the login gets a 500":       {func(a *account) { a.expire(); a.On("POST /v3/auth/tokens", iamtest.Page(500)) }, 1, false},
				"the login gets no response": {func(a *account) { a.expire(); a.On("POST /v3/auth/tokens", iamtest.Answer{Fault: iamtest.Reset}) }, 1, false},
				"the token is valid":         {func(*account) {}, 0, true},
			} {
				if strings.HasSuffix(situation, "refused") && !o.LoginHangs && !shape.lockless {
					continue // this SDK needs LoginHangs
				}
				if shape.loop && (situation == "the login returns no token" || shape.goroutine && situation == "each GET gets a 401") {
					tt.logins = 11 // the SDK resembles a program that makes the same call in a loop, so the twelfth 401 ends the call
				}
				t.Run(name+", "+options+", "+situation, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						service := newAccount()
						sdk := shape.install(service, o)
						require.NoError(t, sdk.LogIn())
						for i := range 2 {
							if i == 1 { // one call must not affect the next one, which has to log in
								service.On("POST /v3/auth/tokens", loggedIn)
								service.On("GET /v3/groups", no, iamtest.Answer{})
								tt.ok, tt.logins = true, 1
							} else {
								tt.set(service)
							}
							sdk.logins = 0
							start := time.Now()
							_, err := sdk.Request("GET", "/groups")
							assert.Less(t, time.Since(start), time.Hour)
							assert.Equal(t, tt.logins, sdk.logins)
							if tt.ok {
								require.NoError(t, err)
								continue
							}
							require.Error(t, err)
							require.NotErrorIs(t, err, errEndless)
							require.NotErrorIs(t, err, errHangs)
							assert.ErrorAs(t, iamsdk.Wrap(err), new(*iamhttp.StatusError))
						}
					})
				})
			}
		}
	}
}

func TestARefusedFirstLoginEndsHoweverAnSDKWithoutALockIsDividedIntoFunctions(t *testing.T) {
	for name, shape := range shapes {
		if !shape.lockless {
			continue
		}
		for _, o := range []iamsdk.Options{{EndlessLogin: true}, {LoginHangs: true}, iamsdk.GopherTelekomCloud()} {
			t.Run(fmt.Sprintf("%s, EndlessLogin %t, LoginHangs %t", name, o.EndlessLogin, o.LoginHangs), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var service iamtest.Server
					service.On("/", locked)
					sdk := shape.install(&service, o)
					for range 3 {
						sdk.logins = 0
						assert.ErrorIs(t, iamsdk.Wrap(sdk.LogIn()), iamhttp.ErrUnauthorized)
						assert.Equal(t, 2, sdk.logins)
					}
				})
			})
		}
	}
}

func TestManyCallersOfAnSDKWithALockSucceedWhileTokensExpire(t *testing.T) {
	for name, shape := range shapes {
		if shape.lockless { // without a lock, an SDK logs in for each caller
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := newAccount()
				issue := service.Handler
				service.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(20 * time.Millisecond)
					issue.ServeHTTP(w, r)
				})
				sdk := shape.install(service, iamsdk.GopherTelekomCloud())
				require.NoError(t, sdk.LogIn())
				sdk.logins = -1000
				var callers sync.WaitGroup
				for i := range 50 {
					callers.Go(func() {
						for j := range 10 {
							time.Sleep(time.Duration((i*7+j*13)%90) * time.Millisecond)
							if i == 0 {
								service.expire()
							}
							_, err := sdk.Request("GET", "/groups/"+strconv.Itoa(i))
							assert.NoError(t, err)
						}
					})
				}
				callers.Wait()
			})
		})
	}
}

func TestACallEndsIfItsLoginReturnsNoToken(t *testing.T) {
	for _, callers := range []int{1, 20} {
		eachKind(t, func(t *testing.T, k kind) {
			service := newAccount()
			sdk := k.connect(t, service, nil)
			service.expire()
			service.On("POST /v3/auth/tokens", iamtest.Answer{Status: 201, Body: "{}"})
			before := service.requests()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					_, err := sdk.Request("GET", "/groups", "")
					assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
				})
			}
			wg.Wait()
			if callers == 1 {
				assert.EqualValues(t, 1+1, sdk.logins.Load())
				assert.Equal(t, 2, service.requests()-before)
			}
		})
	}
}

// With access keys, an SDK uses no tokens, but its program may still ask for one.
func TestTheSecond401EndsACallWithoutATokenEvenIfTheProgramAskedForATokenBefore(t *testing.T) {
	for name, made := range map[string]iamtest.Answer{"a token": loggedIn, "no token": {Status: 201, Body: "{}"}} {
		synctest.Test(t, func(t *testing.T) {
			var service iamtest.Server
			service.On("POST /v3/auth/tokens", made)
			service.On("/", locked)
			sdk := endlessKind.newStandIn(&wire{RoundTripper: &service})
			endlessKind.advised(sdk)
			iamsdk.Install(&sdk.HTTPClient, nil, endlessKind.options)
			sdk.steps = []string{}
			sdk.renews.Store(true)
			_, err := sdk.Request("POST", "/auth/tokens", "{}")
			require.NoError(t, err)
			for range 3 {
				before := len(service.Requests())
				_, err = sdk.Request("GET", "/groups", "")
				assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
				assert.Equal(t, 2, len(service.Requests())-before, name)
			}
		})
	}
}

// Without a token, a 401 may be the fault of another call that is logging in.
func TestACallEndsAfterAtMost12RequestsEvenIfItsSDKStoppedUsingTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := endlessKind.connect(t, service, nil)
		_, err := sdk.Request("GET", "/users", "")
		require.NoError(t, err)
		sdk.token.Store(new(string))
		sdk.steps = []string{}
		for range 3 {
			before := service.requests()
			_, err = sdk.Request("GET", "/groups", "")
			assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
			assert.LessOrEqual(t, service.requests()-before, 12)
		}
	})
}

// A client's login may need a second client, which has its own token.
func TestAClientCanLogInWhileAnotherClientIsLoggingIn(t *testing.T) {
	for name, o := range map[string]iamsdk.Options{"": {}, "EndlessLogin": {EndlessLogin: true}, "LoginHangs": {LoginHangs: true}} {
		eachKind(t, func(t *testing.T, k kind) {
			if name != "" {
				k.options = o
			}
			own, others := newAccount(), newAccount()
			other, sdk := k.connect(t, others, nil), k.connect(t, own, nil)
			sdk.asks = func() error {
				_, err := other.Request("GET", "/secrets/1", "")
				return err
			}
			own.expire()
			others.expire()
			_, err := sdk.Request("GET", "/groups", "")
			require.NoError(t, err, name)
			assert.EqualValues(t, 1+1, other.logins.Load())

			if k.habits.endless && !o.EndlessLogin && name != "" {
				return
			}
			others.On("GET /v3/secrets/1", locked)
			own.expire()
			_, err = sdk.Request("GET", "/groups", "")
			require.Error(t, err)
			assert.NotErrorIs(t, err, errEndless)
			assert.EqualValues(t, 1+1+1, other.logins.Load())
		})
	}
}

// asking is a RoundTripper that needs another client for each request.
type asking struct {
	http.RoundTripper
	other *standIn
}

func (a asking) RoundTrip(req *http.Request) (*http.Response, error) {
	a.other.Context = req.Context()
	if _, err := a.other.Request("GET", "/policy", ""); err != nil {
		return nil, err
	}
	return a.RoundTripper.RoundTrip(req)
}

func TestAClientCanLogInBelowAnotherClient(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		own, others := newAccount(), newAccount()
		other := k.connect(t, others, nil)
		sdk := k.connect(t, asking{own, other}, nil)
		others.expire()
		_, err := sdk.Request("GET", "/groups", "")
		require.NoError(t, err)
		own.expire()
		others.expire()
		_, err = sdk.Request("GET", "/groups", "")
		require.NoError(t, err)
		assert.EqualValues(t, 1+1+1, other.logins.Load())
		assert.EqualValues(t, 1+1, sdk.logins.Load())
	})
}

// calling is an SDK that calls back into its caller in the middle of a call.
type calling struct {
	client http.Client
	token  string
}

func (c *calling) request(method, path string, each func() error) (*http.Response, error) {
	req, err := http.NewRequest(method, endpoint+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Auth-Token", c.token)
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode == 401 {
		c.token = ""
		if err := c.logIn(); err != nil {
			return nil, err
		}
		return c.request(method, path, each)
	}
	if each != nil {
		return resp, each()
	}
	return resp, nil
}

func (c *calling) logIn() error {
	resp, err := c.request("POST", "/auth/tokens", nil)
	if err == nil {
		c.token = resp.Header.Get("X-Subject-Token")
	}
	return err
}

func TestACallInTheMiddleOfAnotherCallCanLogIn(t *testing.T) {
	for _, o := range []iamsdk.Options{{EndlessLogin: true}, iamsdk.GolangSDK(), iamsdk.GopherTelekomCloud()} {
		for _, before := range []bool{false, true} { // whether the outer call has to log in, too
			synctest.Test(t, func(t *testing.T) {
				service := newAccount()
				sdk := new(calling)
				sdk.client.Transport = service
				iamsdk.Install(&sdk.client, nil, o)
				require.NoError(t, sdk.logIn())
				if before {
					service.expire()
				}
				_, err := sdk.request("GET", "/groups", func() error {
					service.expire()
					_, err := sdk.request("GET", "/groups/1", nil)
					return err
				})
				assert.NoError(t, err)
			})
		}
	}
}

// A program that calls itself is not an SDK that resends.
func TestCallsOfAProgramThatCallsItselfCanLogIn(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		asAnSDK(5, func(i int) {
			service.expire()
			_, err := sdk.Request("GET", "/groups/"+strconv.Itoa(i), "")
			assert.NoError(t, err)
			service.On("GET /v3/groups/"+strconv.Itoa(i), iamtest.Keystone(401, "No."))
			_, err = sdk.Request("GET", "/groups/"+strconv.Itoa(i), "")
			assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
			service.Next(iamtest.Keystone(401, "No."), locked)
			_, err = sdk.Request("GET", "/groups/"+strconv.Itoa(i), "")
			assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		})
		assert.EqualValues(t, 1+3*5, sdk.logins.Load())
	})
}

func TestEach401OfAProgramThatCallsItselfIsReturnedIfItsSDKDoesNotLogIn(t *testing.T) {
	for options, o := range map[string]iamsdk.Options{"GopherTelekomCloud": iamsdk.GopherTelekomCloud(), "GolangSDK": iamsdk.GolangSDK(), "Gophercloud": iamsdk.Gophercloud()} {
		for name, sdk := range sdks {
			for what, paths := range map[string][]string{
				"visits a tree": {"/projects/a", "/projects/a/b", "/projects/a/c", "/projects/a/b/d"},
				"retries":       {"/projects/a", "/projects/a", "/projects/a"},
			} {
				for _, token := range []string{"", "token"} {
					for _, through := range []bool{false, true} {
						if name == ownSDK && (what == "retries" || through && token == "") {
							continue // the second call looks like an SDK's resend or login
						}
						t.Run(fmt.Sprintf("%s, %s, program %s, token %q, through another function %t", options, name, what, token, through), func(t *testing.T) {
							var service iamtest.Server
							service.On("/", iamtest.Keystone(401, "No."))
							client := &http.Client{Transport: &service}
							iamsdk.Install(client, nil, o)
							walk(through, paths, func(path string) {
								status, err := sdk(client, "GET", path, token, "", 0)
								assert.NoError(t, err)
								assert.Equal(t, 401, status)
							})
							service.AssertCount(t, len(paths))
						})
					}
				}
			}
		}
	}
}

func TestEach401InAProgramsLoopIsReturnedIfTheTokenStaysTheSame(t *testing.T) {
	for name, sdk := range sdks {
		var service iamtest.Server
		service.On("/", iamtest.Keystone(401, "No."))
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		for range 30 {
			status, err := sdk(client, "GET", "/groups", "token", "", 0)
			assert.NoError(t, err, name)
			assert.Equal(t, 401, status)
		}
		service.AssertCount(t, 30)
	}
}

func TestARequestWithoutAURLReturnsAnError(t *testing.T) {
	client := &http.Client{Transport: new(http.Transport)}
	iamsdk.Install(client, nil, iamsdk.ProviderOpenTelekomCloud())
	_, err := client.Transport.RoundTrip(&http.Request{Method: "POST", Header: http.Header{}}) //nolint:bodyclose // there is no response
	assert.Error(t, err)
}
