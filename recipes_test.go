package iamhttp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// These are the recipes from docs/tutorial.md, each followed by its test. Another test
// compares the document with this file.

func attemptsOfTenSeconds() *http.Client {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = 10 * time.Second // for one attempt
	return &http.Client{
		Transport: &iamhttp.Transport{Base: base, RetryConnectionErrors: true},
		Timeout:   time.Minute, // for the whole call
	}
}

func TestRecipeHungAttemptIsRetriedWithinTheDeadlineOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := attemptsOfTenSeconds()
		base := client.Transport.(*iamhttp.Transport).Base.(*http.Transport)
		defer base.CloseIdleConnections()
		dialed := 0
		base.DialContext = func(context.Context, string, string) (net.Conn, error) {
			dialed++
			ours, theirs := net.Pipe()
			answers := dialed > 1
			go func() {
				_, err := http.ReadRequest(bufio.NewReader(theirs))
				if err == nil && answers {
					fmt.Fprint(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				}
			}()
			return ours, nil
		}
		start := time.Now()
		resp, err := client.Get("http://iam.example/v3/users")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 2, dialed)
		assert.GreaterOrEqual(t, time.Since(start), 10*time.Second)
		assert.Less(t, time.Since(start), time.Minute)
	})
}

// throughProxy returns a client that trusts the PEM certificates in ca and uses proxy.
func throughProxy(ca []byte, proxy *url.URL) (*http.Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca contains no certificate")
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig = &tls.Config{RootCAs: roots}
	base.Proxy = http.ProxyURL(proxy) // default: HTTPS_PROXY
	base.OnProxyConnectResponse = iamhttp.CheckProxyConnect
	return &http.Client{Transport: &iamhttp.Transport{Base: base}, Timeout: time.Minute}, nil
}

func TestRecipeProxyRefusalIsATypedErrorAndTheNextTunnelWorks(t *testing.T) {
	service := httptest.NewTLSServer(iamtest.Answer{})
	defer service.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: service.Certificate().Raw})
	proxy, asked := newProxy(t, "HTTP/1.1 407 Proxy Authentication Required\nContent-Length: 0\n\n")
	client, err := throughProxy(ca, proxy)
	require.NoError(t, err)
	defer client.CloseIdleConnections()

	_, err = client.Get(service.URL)
	assert.ErrorIs(t, err, iamhttp.ErrProxyAuthRequired)
	resp, err := client.Get(service.URL)
	require.NoError(t, err)
	resp.Body.Close()
	assert.EqualValues(t, 2, asked.Load())

	_, err = throughProxy(nil, proxy)
	assert.Error(t, err)
}

// A session logs in when it has no token, and when the service refuses its
// token. Many goroutines may use a session at once: one logs in, the others wait.
type session struct {
	client   *http.Client
	endpoint string
	auth     []byte // body of POST /auth/tokens

	mu      sync.Mutex
	token   string
	refused error // set if the service refused the password or locked the account; the password is then not sent again
}

// renew returns the session's token. If it equals old, renew logs in first.
func (s *session) renew(ctx context.Context, old string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != old || s.refused != nil {
		return s.token, s.refused
	}
	// A 429 can mean that the account is locked: do not retry it.
	ctx = iamhttp.WithExpected(ctx, iamhttp.ErrTooManyRequests)
	req, err := http.NewRequestWithContext(ctx, "POST", s.endpoint+"/auth/tokens", bytes.NewReader(s.auth))
	if err != nil {
		return "", err
	}
	// RetryConnectionErrors may resend this request: a second token does no harm.
	req.Header["Idempotency-Key"] = []string{} // without a value, the header is not sent
	resp, err := s.client.Do(req)
	if errors.Is(err, iamhttp.ErrUnauthorized) {
		s.refused = err // several wrong passwords may lock the account
	}
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if err := iamhttp.CheckResponse(resp); err != nil { // the 429
		if errors.Is(err, iamhttp.ReasonAccountLocked) {
			s.refused = err // each attempt may prolong the lock
		}
		return "", err
	}
	s.token = resp.Header.Get("X-Subject-Token")
	return s.token, nil
}

func (s *session) get(ctx context.Context, path string) (*http.Response, error) {
	var token string
	for again := false; ; again = true {
		fresh, err := s.renew(ctx, token)
		if err != nil {
			return nil, fmt.Errorf("log in: %w", err)
		}
		token = fresh
		req, err := http.NewRequestWithContext(ctx, "GET", s.endpoint+path, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-Auth-Token", token)
		resp, err := s.client.Do(req)
		if again || !errors.Is(err, iamhttp.ErrUnauthorized) {
			return resp, err
		}
	}
}

func newSession(service *iamtest.Server) *session {
	return &session{
		client: &http.Client{
			Transport: &iamhttp.Transport{Base: service, RetryConnectionErrors: true},
			Timeout:   time.Minute,
		},
		endpoint: "https://iam.example/v3",
		auth:     []byte(`{"auth":{}}`),
	}
}

func TestRecipeOnlyOneGoroutineLogsInAgainAfterA401(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		logins := 0
		service := &iamtest.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			valid := fmt.Sprint("token ", logins)
			switch {
			case r.Method == "POST":
				logins++
				w.Header().Set("X-Subject-Token", fmt.Sprint("token ", logins))
				w.WriteHeader(201)
			case r.Header.Get("X-Auth-Token") != valid:
				iamtest.Keystone(401, "The token has expired.").ServeHTTP(w, r)
			}
		})}
		s := newSession(service)
		s.token = "expired"
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				resp, err := s.get(t.Context(), "/users")
				if assert.NoError(t, err) {
					resp.Body.Close()
				}
			})
		}
		callers.Wait()
		assert.Equal(t, 1, logins)
	})
}

func TestRecipeLoginIsResentAfterABrokenConnectionButThePasswordOfALockedAccountIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := new(iamtest.Server)
		service.Next(iamtest.Answer{Fault: iamtest.Reset}, iamtest.Answer{Status: 201}.With("X-Subject-Token", "t"))
		resp, err := newSession(service).get(t.Context(), "/users")
		require.NoError(t, err)
		resp.Body.Close()
		service.AssertCount(t, 3)

		service = new(iamtest.Server)
		service.On("GET /", iamtest.Keystone(401, "No."))
		service.On("POST /", iamtest.Answer{Status: 201}.With("X-Subject-Token", "new"))
		s := newSession(service)
		s.token = "t"
		_, err = s.get(t.Context(), "/users")
		assert.ErrorIs(t, err, iamhttp.ErrUnauthorized)
		service.AssertCount(t, 3) // without a second login

		for want, tt := range map[error]struct {
			login iamtest.Answer
			sent  int
		}{
			iamhttp.ErrUnauthorized:     {iamtest.Keystone(401, "No."), 1},
			iamhttp.ReasonAccountLocked: {iamtest.Keystone(429, "The account is locked."), 1},
			iamhttp.ErrTooManyRequests:  {iamtest.Throttled(0), 10}, // each caller may try once
		} {
			service = new(iamtest.Server)
			service.On("/", tt.login)
			s = newSession(service)
			var callers sync.WaitGroup
			for range 10 {
				callers.Go(func() {
					_, err := s.get(t.Context(), "/users/bob") //nolint:bodyclose // there is no response
					assert.ErrorIs(t, err, want)
				})
			}
			callers.Wait()
			service.AssertCount(t, tt.sent)
		}
	})
}

func exists(ctx context.Context, client *http.Client, url string) (bool, error) {
	ctx = iamhttp.WithExpected(ctx, iamhttp.ErrNotFound)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	return resp.StatusCode != http.StatusNotFound, nil
}

func TestRecipeA404MeansThatTheUserDoesNotExist(t *testing.T) {
	var service iamtest.Server
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: time.Minute}
	service.Next(iamtest.Answer{}, iamtest.Keystone(404, "Could not find user."), iamtest.Keystone(403, "No."))
	for _, want := range []bool{true, false} {
		found, err := exists(t.Context(), client, "https://iam.example/v3/users/bob")
		assert.NoError(t, err)
		assert.Equal(t, want, found)
	}
	_, err := exists(t.Context(), client, "https://iam.example/v3/users/bob")
	assert.ErrorIs(t, err, iamhttp.ErrForbidden)
}

// ensured makes "it exists already" a success.
func ensured(err error) error {
	if errors.Is(err, iamhttp.ErrConflict) || errors.Is(err, iamhttp.ReasonAlreadyExists) {
		return nil
	}
	return err
}

func TestRecipeAlreadyExistsIsASuccess(t *testing.T) {
	assert.NoError(t, ensured(nil))
	assert.NoError(t, ensured(iamhttp.NewStatusError(409, nil, nil)))
	assert.NoError(t, ensured(iamhttp.NewStatusError(400, nil, []byte(`{"error_code":"1109","error_msg":"Taken."}`))))
	assert.Error(t, ensured(iamhttp.NewStatusError(400, nil, nil)))
}

// failedAttempts counts failures, and serves the counts to Prometheus.
type failedAttempts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *failedAttempts) onFailure(_ context.Context, f iamhttp.Failure) {
	code := "none" // no response, or not sent
	if e, ok := f.Status(); ok {
		code = fmt.Sprint(int(e.Code))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[fmt.Sprintf("iam_failures_total{code=%q,retry=\"%t\"}", code, f.Retry)]++
}

func (c *failedAttempts) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for series, n := range c.n {
		fmt.Fprintln(w, series, n)
	}
}

func TestRecipeFailedAttemptsAreCountedForPrometheus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(time.Second), iamtest.Keystone(404, "No."), iamtest.Answer{Fault: iamtest.Reset})
		var counted failedAttempts
		client := &http.Client{
			Transport: &iamhttp.Transport{Base: &service, OnFailure: counted.onFailure},
			Timeout:   time.Minute,
		}
		for range 2 {
			_, err := client.Get("https://iam.example/v3/users/bob")
			assert.Error(t, err)
		}
		w := httptest.NewRecorder()
		counted.ServeHTTP(w, nil)
		assert.ElementsMatch(t, []string{
			`iam_failures_total{code="429",retry="true"} 1`,
			`iam_failures_total{code="404",retry="false"} 1`,
			`iam_failures_total{code="none",retry="false"} 1`,
		}, strings.Split(strings.TrimSpace(w.Body.String()), "\n"))
	})
}

func signing(accessKey, secretKey string) *http.Client {
	signer := &aksk.Transport{
		SignUnsigned: true,
		Credentials: func(*http.Request) (aksk.Credentials, error) {
			return aksk.Credentials{AccessKey: accessKey, SecretKey: secretKey}, nil
		},
	}
	return &http.Client{Transport: &iamhttp.Transport{Base: signer}, Timeout: time.Hour}
}

func TestRecipeEachAttemptIsSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &iamtest.Server{Keys: func(key, _ string) (string, bool) { return "secret", key == "key" }}
		service.Next(iamtest.Throttled(20 * time.Minute)) // a signature is valid for 15 minutes
		client := signing("key", "secret")
		client.Transport.(*iamhttp.Transport).Base.(*aksk.Transport).Base = service
		resp, err := client.Get("https://iam.example/v3/users")
		require.NoError(t, err)
		resp.Body.Close()
		service.AssertCount(t, 2)

		client = signing("key", "wrong")
		client.Transport.(*iamhttp.Transport).Base.(*aksk.Transport).Base = service
		_, err = client.Get("https://iam.example/v3/users")
		assert.ErrorIs(t, err, iamhttp.ErrUnauthorized)
	})
}

func clientOf(account string, shared *gate.Adaptive) *http.Client {
	return &http.Client{
		Transport: &iamhttp.Transport{
			Gate:    shared,
			GateKey: func(r *http.Request) string { return r.URL.Host + " " + account },
		},
		Timeout: 30 * time.Second,
	}
}

func TestRecipeTenantDoesNotWaitForAnotherTenantsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(time.Minute))
		shared := new(gate.Adaptive)
		a, b := clientOf("a", shared), clientOf("b", shared)
		a.Transport.(*iamhttp.Transport).Base = &service
		b.Transport.(*iamhttp.Transport).Base = &service
		for range 2 {
			_, err := a.Get("https://iam.example/v3/users")
			assert.ErrorIs(t, err, iamhttp.ErrTooManyRequests)
		}
		resp, err := b.Get("https://iam.example/v3/users")
		require.NoError(t, err)
		resp.Body.Close()
		service.AssertCount(t, 2)
	})
}
