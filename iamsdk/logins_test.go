package iamsdk_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
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

var locked = iamtest.Keystone(401, "The account is locked.")

func TestARefusedLoginEndsACallEvenIfThePreviousCallGotTwo401s(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
		_, err := sdk.Request("GET", "/groups", "")
		require.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		service.On("POST /v3/auth/tokens", locked)
		for range 3 {
			_, err = sdk.Request("GET", "/groups", "")
			assert.NotErrorIs(t, err, errHangs)
			assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		}
	})
}

func TestARefusedLoginEndsTheCallEvenIfAnotherCallersLoginSucceeded(t *testing.T) {
	for callers := 2; callers <= 4; callers++ {
		t.Run(strconv.Itoa(callers)+" callers", func(t *testing.T) {
			eachKind(t, func(t *testing.T, k kind) {
				service := newAccount()
				sdk := k.connect(t, service, nil)
				service.expire()
				var logins []iamtest.Answer
				for i := range callers - 1 {
					logins = append(logins, iamtest.Answer{Status: 201, Delay: time.Second}.With("X-Subject-Token", service.token(int32(i+2))))
				}
				service.On("POST /v3/auth/tokens", append(logins, locked)...)
				var wg sync.WaitGroup
				for i := range callers {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 100 * time.Millisecond) // each call but the first sends its first request without a token
						_, err := sdk.Request("GET", "/groups/"+strconv.Itoa(i), "")
						assert.NotErrorIs(t, err, errHangs)
					})
				}
				wg.Wait()
			})
		})
	}
}

// loginSteps lists the requests of logins that are not just a single POST. To log in to
// an agency, the SDK sends a second POST, with the token that the first one returned.
// With an access key, the SDK first looks up the domain, which may fail, and the catalog.
// If the SDK was given a token, it looks up that token. In a login after a 401, the SDK
// sends no token with any of these requests.
var loginSteps = map[string][]string{
	"an agency":                  {"POST /auth/tokens", "POST /auth/tokens"},
	"an agency of an access key": {"try GET /auth/domains", "GET /auth/catalog", "POST /auth/tokens"},
	"a given token":              {"GET /auth/tokens"},
}

func TestACallEndsWhicheverRequestOfItsLoginIsRefused(t *testing.T) {
	for name, steps := range loginSteps {
		for refused := range steps {
			t.Run(fmt.Sprint(name, ", request ", refused+1), func(t *testing.T) {
				eachKind(t, func(t *testing.T, k kind) {
					service := newAccount()
					left := 10 // number of further login requests that succeed; all later ones are refused
					issue := service.Handler
					service.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						login := strings.Contains(r.URL.Path, "/auth/")
						if login {
							left--
						}
						switch {
						case login && left < 0:
							locked.ServeHTTP(w, r)
						case login && r.Method == "GET":
							iamtest.Answer{}.With("X-Subject-Token", service.token(service.logins.Add(1))).ServeHTTP(w, r)
						default:
							issue.ServeHTTP(w, r)
						}
					})
					sdk := k.connect(t, service, nil)
					sdk.steps = steps
					require.NoError(t, sdk.LogIn())
					for range 2 { // a call that failed must not affect the next one
						service.expire()
						left = refused
						_, err := sdk.Request("GET", "/groups", "")
						var e *iamhttp.StatusError
						if assert.ErrorAs(t, iamsdk.Wrap(err), &e, "%v", err) {
							assert.Equal(t, "The account is locked.", e.Message)
						}
						more := 0 // number of login requests that the SDK should send after the refused one
						if strings.HasPrefix(steps[refused], "try ") {
							more = 1
						}
						assert.Equal(t, more, -1-left, "wrong number of login requests after the refused one")
					}
				})
			})
		}
	}
}

func TestAFirstLoginEndsIfItsSecondRequestIsRefused(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		handler := service.Handler
		service.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Auth-Token") != "" {
				locked.ServeHTTP(w, r)
				return
			}
			handler.ServeHTTP(w, r)
		})
		sdk := k.newStandIn(&wire{RoundTripper: service})
		k.advised(sdk)
		iamsdk.Install(&sdk.HTTPClient, nil, k.options)
		sdk.steps = loginSteps["an agency"]
		assert.ErrorIs(t, iamsdk.Wrap(sdk.LogIn()), iamhttp.ErrUnauthorized)
		assert.LessOrEqual(t, len(service.Requests()), 5)
	})
}

// endlessKind is an SDK that logs in again after each 401, without limit.
var endlessKind = kinds[0]

func TestTheFirst401DoesNotEndACallHoweverThePreviousCallEnded(t *testing.T) {
	for name, tt := range map[string]struct {
		login, resend iamtest.Answer // responses to the previous call's login and resend
	}{
		"previous call: its login got no response":  {iamtest.Answer{Fault: iamtest.Reset}, iamtest.Answer{}},
		"previous call: its login was refused":      {locked, iamtest.Answer{}},
		"previous call: its login was throttled":    {iamtest.Throttled(0), iamtest.Answer{}},
		"previous call: its login got a 500":        {iamtest.Page(500), iamtest.Answer{}},
		"previous call: its resend got no response": {iamtest.Answer{Status: 201}.With("X-Subject-Token", "token-2"), iamtest.Answer{Fault: iamtest.Reset}},
		"previous call: its resend got a 500":       {iamtest.Answer{Status: 201}.With("X-Subject-Token", "token-2"), iamtest.Page(500)},
		"previous call: its resend got a 401":       {iamtest.Answer{Status: 201}.With("X-Subject-Token", "token-2"), iamtest.Keystone(401, "No.")},
	} {
		for _, pause := range []time.Duration{0, 6 * time.Minute} {
			t.Run(name+", "+pause.String()+" ago", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					service := newAccount()
					sdk := endlessKind.connect(t, service, &iamhttp.Transport{MaxAttempts: 1})
					x := iamtest.Keystone(401, "The token has expired.")
					service.On("GET /v3/x", x, tt.resend)
					service.On("POST /v3/auth/tokens", tt.login,
						iamtest.Answer{Status: 201}.With("X-Subject-Token", "token-3"),
						iamtest.Answer{Status: 201}.With("X-Subject-Token", "token-4"))
					_, err := sdk.Request("GET", "/x", "")
					require.Error(t, err)
					time.Sleep(pause)
					other := make(chan error)
					go func() { // another caller logs in
						service.Next(x)
						_, err := sdk.Request("GET", "/other", "")
						other <- err
					}()
					require.NoError(t, <-other)
					before := sdk.logins.Load()
					service.On("GET /v3/x", x, iamtest.Answer{})
					_, err = sdk.Request("GET", "/x", "")
					require.NoError(t, err)
					assert.EqualValues(t, 1, sdk.logins.Load()-before)
				})
			})
		}
	}
}

func TestEachCallLogsInAgainBeforeItsSecond401EndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := endlessKind.connect(t, service, nil)
		service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
		for i := range 3 {
			_, err := sdk.Request("GET", "/groups", "")
			assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
			assert.EqualValues(t, 1+i+1, sdk.logins.Load())
			assert.Equal(t, 2*(i+1), service.requests())
		}
	})
}

// A program that makes the same call in a loop resembles an SDK that resends in a loop.
func TestEach401InAProgramsLoopIsReturnedWhileAnotherGoroutineLogsIn(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
		for range 11 { // the twelfth 401 in a row ends its call
			sdk.renews.Store(false) // the SDK does not log in by itself
			_, err := sdk.Request("GET", "/groups", "")
			_, own := err.(default401)
			assert.True(t, own, "want the SDK's error, got %T: %v", err, err)
			login := make(chan error)
			go func() { login <- sdk.LogIn() }()
			require.NoError(t, <-login)
		}
	})
}

func TestTheNextCallInAProgramsLoopLogsInAfterALoginWithoutAUsableToken(t *testing.T) {
	for name, page := range map[string]iamtest.Answer{
		"a truncated page":              {Status: 200, Body: "<html>", Fault: iamtest.Reset},
		"a truncated body with a token": iamtest.Answer{Status: 201, Body: "{", Fault: iamtest.Reset}.With("X-Subject-Token", "token-x"),
	} {
		eachKind(t, func(t *testing.T, k kind) {
			service := newAccount()
			sdk := k.connect(t, service, nil)
			service.expire()
			broken := 3 // number of calls whose login fails
			for range broken {
				service.Next(iamtest.Keystone(401, "The token has expired."), page)
			}
			for i := range broken + 2 {
				before := sdk.logins.Load()
				_, err := sdk.Request("GET", "/groups", "")
				if i < broken {
					_, own := err.(*ErrUnableToReauthenticate)
					assert.True(t, own, "%s: want the SDK's error, got %T: %v", name, err, err)
				} else {
					assert.NoError(t, err, name)
				}
				if i <= broken {
					assert.EqualValues(t, 1, sdk.logins.Load()-before, "%s: call %d must log in", name, i)
				}
			}
		})
	}
}

// Version discovery gets a 300, and polling with If-None-Match a 304.
func TestACallLogsInAgainEvenIfThePreviousOneEndedWithA3xxThatIsNoRedirect(t *testing.T) {
	for _, status := range []int{300, 302, 304} {
		eachKind(t, func(t *testing.T, k kind) {
			service := newAccount()
			sdk := k.connect(t, service, nil)
			service.On("GET /v3/groups", slices.Repeat([]iamtest.Answer{iamtest.Keystone(401, "No."), {Status: status}}, 5)...)
			for call := 1; call <= 5; call++ {
				_, err := sdk.Request("GET", "/groups", "")
				assert.ErrorContains(t, err, fmt.Sprint("got ", status))
				assert.EqualValues(t, 1+call, sdk.logins.Load())
			}
		})
	}
}

func TestTheSecond401EndsACallEvenIfEach401TakesAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := endlessKind.connect(t, service, nil)
		slow := iamtest.Keystone(401, "No.")
		slow.Delay = time.Hour
		service.On("GET /v3/groups", slow)
		_, err := sdk.Request("GET", "/groups", "")
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		assert.Equal(t, 2, service.requests())
	})
}

func TestTheSecond401EndsACallThatWasRedirected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := endlessKind.connect(t, service, nil)
		service.On("GET /v3/old", iamtest.Answer{Status: http.StatusFound}.With("Location", endpoint+"/new"))
		service.On("GET /v3/new", iamtest.Keystone(401, "No."))
		_, err := sdk.Request("GET", "/old", "")
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		assert.EqualValues(t, 2, sdk.logins.Load())
	})
}

func TestTheSecond401EndsACallEvenIfTheLoginReturnsTheSameToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		service.On("POST /v3/auth/tokens", iamtest.Answer{Status: 201}.With("X-Subject-Token", "token-1"))
		sdk := endlessKind.connect(t, service, nil)
		service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
		_, err := sdk.Request("GET", "/groups", "")
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		assert.EqualValues(t, 2, sdk.logins.Load())
	})
}

func TestTheOldestOfMoreThan10000OpenCallsIsForgotten(t *testing.T) {
	const most = 10_000
	client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 401, Body: http.NoBody}, nil
	})}
	iamsdk.Install(client, nil, iamsdk.Options{EndlessLogin: true})
	// Each call has a goroutine of its own, which waits between the call's two requests.
	var again [most + 1]chan error
	var get func(i int, token string)
	get = func(i int, token string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", endpoint+"/groups", nil)
		if err == nil {
			req.Header.Set("X-Auth-Token", token)
			var resp *http.Response
			if resp, err = client.Do(req); err == nil {
				resp.Body.Close()
			}
		}
		again[i] <- err
		if token == "token-1" {
			<-again[i]
			get(i, "token-2")
		}
	}
	for i := range again {
		again[i] = make(chan error)
		go get(i, "token-1")
		require.NoError(t, <-again[i])
	}
	second := func(i int) error {
		again[i] <- nil
		return <-again[i]
	}
	assert.ErrorIs(t, second(1), iamhttp.ErrUnauthorized)
	assert.NoError(t, second(0), "the oldest call must be forgotten")
	for i := range most - 1 {
		_ = second(i + 2)
	}
}

func TestARefusedFirstLoginIsReturnedToTheSDKEvenAfterA401WithoutAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("/", locked)
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		for _, post := range []string{"", endpoint + "/auth/tokens", endpoint + "/auth/tokens"} {
			var resp *http.Response
			var err error
			if post == "" {
				resp, err = client.Get(endpoint + "/public")
			} else {
				resp, err = client.Post(post, "", strings.NewReader("{}"))
			}
			require.NoError(t, err, "the SDK must get the response")
			resp.Body.Close()
			assert.Equal(t, 401, resp.StatusCode)
		}
	})
}

func TestAPOSTIsSentAgainAfterA502OnlyIfItIsALogin(t *testing.T) {
	for target, requests := range map[string]int{
		"POST /v3/auth/tokens":             2,
		"POST /identity/v3/auth/tokens":    2,
		"POST /v3/auth/tokens?nocatalog=1": 2,
		"POST /v2.0/tokens":                2,
		"POST /v1/devices/7/tokens":        1,
		"POST /v3/tokens":                  1,
		"POST /v3/auth/tokens/OS-PKI":      1,
	} {
		t.Run(target, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.On("/", iamtest.Page(502))
				client := &http.Client{Transport: &service}
				iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
				asAnSDK(2, func(int) {
					_, path, _ := strings.Cut(target, " ")
					resp, err := client.Post("https://iam.example"+path, "application/json", strings.NewReader("{}"))
					require.NoError(t, err)
					resp.Body.Close()
				})
				service.AssertCount(t, requests)
			})
		})
	}
}

func TestALoginToALockedAccountIsLoggedAsAWarning(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		var lines []slog.Record
		service := newAccount()
		sdk := k.connect(t, service, &iamhttp.Transport{OnFailure: iamhttp.LogFailures(slog.New(records{slog.DiscardHandler, &lines}))})
		service.expire()
		service.On("POST /v3/auth/tokens", iamtest.Keystone(429, "The account is locked."))
		_, err := sdk.Request("GET", "/groups", "")
		require.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ReasonAccountLocked)
		require.Len(t, lines, 3, "want the call's 401, the login's 429, and the end of the login")
		assert.Equal(t, slog.LevelWarn, lines[2].Level, "the caller did not cancel the login")
	})
}

// records is a handler that keeps each record.
type records struct {
	slog.Handler
	all *[]slog.Record
}

func (r records) Enabled(context.Context, slog.Level) bool { return true }

func (r records) Handle(_ context.Context, l slog.Record) error {
	*r.all = append(*r.all, l)
	return nil
}

func TestARedirectedLoginIsNotRetriedIfTheAccountIsLocked(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		service.expire()
		service.On("POST /v3/auth/tokens", iamtest.Answer{Status: 307}.With("Location", endpoint+"/login"))
		service.On("POST /v3/login", iamtest.Keystone(429, "The account is locked."))
		_, err := sdk.Request("GET", "/groups", "")
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ReasonAccountLocked)
		assert.Len(t, service.Requests(), 1+1+2, "want the first login, the call, and a login that is redirected once")
	})
}

func TestALoginIsNotRetriedIfTheAccountIsLocked(t *testing.T) {
	lock := iamtest.Keystone(429, "Too many failed login attempts. The account is locked.").With("Retry-After", "1")
	for name, tt := range map[string]struct {
		login  iamtest.Answer
		logins int
	}{
		"locked":                      {lock, 1},
		"locked, without Retry-After": {iamtest.Keystone(429, "The account is locked."), 1},
		"locked, by the code alone":   {iamtest.Answer{Status: 429, Body: `{"error_code":"IAM.0061","error_msg":"No."}`}, 1},
		"locked after two 429s":       {iamtest.Answer{}, 3},
		"throttled":                   {iamtest.Throttled(time.Second), 8},
	} {
		for gates, newGate := range map[string]func() gate.Gate{
			"no gate":       func() gate.Gate { return nil },
			"a custom gate": func() gate.Gate { return new(counter) },
			"gate.Adaptive": func() gate.Gate { return new(gate.Adaptive) },
		} {
			t.Run(name+", "+gates, func(t *testing.T) {
				eachKind(t, func(t *testing.T, k kind) {
					service := newAccount()
					sdk := k.connect(t, service, &iamhttp.Transport{Gate: newGate()})
					service.expire()
					answers := []iamtest.Answer{tt.login}
					if tt.login.Status == 0 {
						answers = []iamtest.Answer{iamtest.Throttled(time.Second), iamtest.Throttled(0), lock}
					}
					service.On("POST /v3/auth/tokens", answers...)
					_, err := sdk.Request("GET", "/groups", "")
					_, own := err.(*ErrUnableToReauthenticate)
					require.True(t, own, "%T", err)
					var e *iamhttp.StatusError
					require.ErrorAs(t, iamsdk.Wrap(err), &e)
					assert.Equal(t, tt.logins, e.Attempts)
					assert.Len(t, service.Requests(), 1+1+tt.logins)
					if name != "throttled" {
						assert.ErrorIs(t, e, iamhttp.ReasonAccountLocked)
						assert.Equal(t, iamhttp.StopNotRetryable, e.Stop)
						assert.NoError(t, e.Cause)
					}
					service.On("POST /v3/auth/tokens", loggedIn)
					service.On("GET /v3/groups", iamtest.Answer{})
					_, err = sdk.Request("GET", "/groups", "")
					require.NoError(t, err)
				})
			})
		}
	}
}

func TestTheSecond401EndsACallInVersion2OfTheAPIToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("POST /v2.0/tokens", iamtest.Answer{Body: `{"access":{"token":{"id":"token-2"}}}`})
		service.On("/", iamtest.Keystone(401, "No."))
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		var send func(method, path, token string) error
		logIn := func() error { return send("POST", "/v2.0/tokens", "") }
		send = func(method, path, token string) error {
			req, err := http.NewRequestWithContext(t.Context(), method, "https://iam.example"+path, nil)
			require.NoError(t, err)
			req.Header.Set("X-Auth-Token", token)
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			resp.Body.Close()
			if resp.StatusCode != 401 {
				return nil
			}
			require.NoError(t, logIn())
			return send(method, path, "token-2")
		}
		assert.ErrorIs(t, send("GET", "/v2.0/users", "token-1"), iamhttp.ErrUnauthorized)
		service.AssertCount(t, 3)
	})
}

// A failed call must leave no state behind, however its login failed.
func TestTheCallAfterAFailedLoginLogsInAgain(t *testing.T) {
	cut := iamtest.Answer{Status: 201, Body: "{", Fault: iamtest.Reset}
	for name, login := range map[string]iamtest.Answer{
		"401": locked, "403": iamtest.Keystone(403, "Disabled."), "500": iamtest.Page(500), "no response": {Fault: iamtest.Reset}, "truncated response": cut,
	} {
		for _, steps := range []string{"", "an agency", "an agency of an access key", "a given token"} {
			t.Run("login got: "+name+", steps: "+steps, func(t *testing.T) {
				eachKind(t, func(t *testing.T, k kind) {
					service := newAccount()
					issue := service.Handler
					fails := false
					service.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						switch inLogin := strings.Contains(r.URL.Path, "/auth/"); {
						case inLogin && fails:
							login.ServeHTTP(w, r)
						case inLogin && r.Method == "GET":
							iamtest.Answer{}.With("X-Subject-Token", service.token(service.logins.Add(1))).ServeHTTP(w, r)
						default:
							issue.ServeHTTP(w, r)
						}
					})
					sdk := k.connect(t, service, &iamhttp.Transport{MaxAttempts: 1})
					sdk.steps = loginSteps[steps]
					require.NoError(t, sdk.LogIn())
					service.expire()
					fails = true
					_, err := sdk.Request("GET", "/groups/1", "")
					require.Error(t, err)
					require.NotErrorIs(t, err, errHangs)
					fails = false
					for i := range 3 {
						_, err = sdk.Request("GET", "/groups/"+strconv.Itoa(i), "")
						assert.NoError(t, err)
						service.expire()
					}
				})
			})
		}
	}
}

// After a failed login, the SDK has no token, although no other call is logging in.
func TestTheSecond401EndsTheCallAfterAFailedLogin(t *testing.T) {
	for name, login := range map[string]iamtest.Answer{"503": iamtest.Page(503), "no response": {Fault: iamtest.Reset}, "401": locked} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := newAccount()
				sdk := endlessKind.connect(t, service, nil)
				service.On("GET /v3/groups", locked)
				service.On("POST /v3/auth/tokens", login, loggedIn)
				_, err := sdk.Request("GET", "/groups", "")
				require.Error(t, err)
				before := len(service.Requests())
				_, err = sdk.Request("GET", "/groups", "")
				require.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
				assert.Equal(t, 3, len(service.Requests())-before, "want the request, a login, and the request again")
			})
		})
	}
}

func TestA401WithoutATokenDoesNotCountIfAnotherCallIsLoggingInEvenAfterAFailedLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		slow := loggedIn
		slow.Delay = time.Second
		service.On("POST /v3/auth/tokens", loggedIn, iamtest.Page(503), slow, loggedIn)
		service.On("GET /v3/a", locked, locked, iamtest.Answer{})
		service.On("GET /v3/b", iamtest.Answer{Status: 401, Delay: delayOfB}, locked, iamtest.Answer{})
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		var send func(method, path, token string) error
		send = func(method, path, token string) error {
			req, err := http.NewRequestWithContext(t.Context(), method, endpoint+path, nil)
			require.NoError(t, err)
			if token != "" {
				req.Header.Set("X-Auth-Token", token)
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			resp.Body.Close()
			switch {
			case resp.StatusCode == 503:
				return errors.New("no login")
			case resp.StatusCode != 401:
				return nil
			}
			if err := send("POST", "/auth/tokens", ""); err != nil {
				return err
			}
			return send(method, path, "token")
		}
		require.NoError(t, send("POST", "/auth/tokens", ""))
		require.Error(t, send("GET", "/a", "token"))
		var calls sync.WaitGroup
		calls.Go(func() { assert.NoError(t, send("GET", "/a", "")) })
		time.Sleep(slow.Delay / 2)
		calls.Go(func() { assert.NoError(t, send("GET", "/b", "")) })
		calls.Wait()
		service.AssertCount(t, 3+3+5)
	})
}

const delayOfB = 10 * time.Millisecond

func TestACallEndsEvenIfItsRequestIsAlsoPartOfItsLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := endlessKind.connect(t, service, nil)
		sdk.steps = []string{"GET /auth/catalog", "POST /auth/tokens"}
		service.On("GET /v3/auth/catalog", locked)
		_, err := sdk.Request("GET", "/auth/catalog", "")
		assert.NotErrorIs(t, err, errHangs)
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
	})
}

func TestACallEndsEvenIfARequestOfItsLoginIsRedirectedToTheCallsURL(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		service := newAccount()
		sdk := k.connect(t, service, nil)
		sdk.steps = []string{"POST /auth/tokens", "GET /auth/catalog"}
		service.On("GET /v3/auth/catalog", iamtest.Answer{Status: 302}.With("Location", endpoint+"/groups"))
		service.On("GET /v3/groups", locked)
		_, err := sdk.Request("GET", "/groups", "")
		assert.NotErrorIs(t, err, errHangs)
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
	})
}

// Here the SDK uses no tokens, and its login, which renews its keys, sends no requests
// through the client.
func TestTheSecond401EndsACallWithoutAnyTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("/", locked)
		sdk := endlessKind.newStandIn(&wire{RoundTripper: &service})
		endlessKind.advised(sdk)
		iamsdk.Install(&sdk.HTTPClient, nil, endlessKind.options)
		sdk.steps = []string{}
		sdk.renews.Store(true)
		_, err := sdk.Request("GET", "/groups", "")
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
		service.AssertCount(t, 2)
	})
}

func TestEachCallReturnsHoweverTheServiceResponds(t *testing.T) {
	kindsOfLogin := []string{"", "an agency", "an agency of an access key", "a given token"}
	for seed := range uint64(8) { // few, so that the test is fast; hundreds of other seeds passed, too
		eachKind(t, func(t *testing.T, k kind) {
			service := newAccount()
			sdk := k.connect(t, service, &iamhttp.Transport{MaxAttempts: 1})
			sdk.steps = loginSteps[kindsOfLogin[seed%4]]
			draw := numbers{source: rand.New(rand.NewPCG(seed, 0))}
			unauthorized := draw.below(10) // how many of 10 requests outside of logins get a 401, on average
			service.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(time.Duration(draw.below(2000)) * time.Millisecond)
				good, refused := iamtest.Answer{}, draw.below(10) < unauthorized
				if strings.Contains(r.URL.Path, "/auth/") {
					good = iamtest.Answer{Status: 201}.With("X-Subject-Token", strconv.Itoa(draw.below(100)))
					refused = draw.below(6) == 0
				}
				switch other := draw.below(6); {
				case refused:
					locked.ServeHTTP(w, r)
				case other == 0:
					iamtest.Page(502).ServeHTTP(w, r)
				case other == 1:
					iamtest.Answer{Fault: iamtest.Reset}.ServeHTTP(w, r)
				default:
					good.ServeHTTP(w, r)
				}
			})
			var callers sync.WaitGroup
			for range 1 + draw.below(12) {
				callers.Go(func() {
					for range 4 {
						method := []string{"GET", "POST"}[draw.below(2)]
						_, err := sdk.Request(method, "/groups/"+strconv.Itoa(draw.below(3)), "")
						assert.NotErrorIs(t, err, errHangs, "seed %d", seed)
						assert.NotErrorIs(t, err, errEndless, "seed %d", seed)
					}
				})
			}
			callers.Wait()
		})
	}
}

// numbers is a source of random numbers that goroutines can share.
type numbers struct {
	mu     sync.Mutex
	source *rand.Rand
}

func (n *numbers) below(most int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.source.IntN(most)
}
