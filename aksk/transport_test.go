package aksk_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/iamtest"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

const users = "https://iam.example/v3/users"

// signedAt returns a request that was signed at the given time, as an SDK would sign it.
func signedAt(t testing.TB, method, body string, at time.Time) *http.Request {
	t.Helper()
	req := newRequest(t, method, users, body)
	require.NoError(t, aksk.Sign(req, permanent, at))
	return req
}

// once removes GetBody, so that the request's body can be read only once.
func once(req *http.Request) *http.Request {
	req.GetBody = nil
	return req
}

func TestRequestIsSignedAgainOnlyIfItsSignatureIsStaleAndReplaceable(t *testing.T) {
	const yes, no = true, false
	token := func(t *testing.T) *http.Request {
		t.Helper()
		r := newRequest(t, "GET", users, "")
		r.Header.Set("X-Auth-Token", "token")
		return r
	}
	for name, tt := range map[string]struct {
		request  func(*testing.T) *http.Request
		unsigned bool // value of SignUnsigned
		again    bool
	}{
		"a fresh signature": {func(t *testing.T) *http.Request { t.Helper(); return signedAt(t, "GET", "", time.Now()) }, no, no},
		"a signature that is a minute old": {func(t *testing.T) *http.Request {
			t.Helper()
			return signedAt(t, "GET", "", time.Now().Add(-time.Minute))
		}, no, no},
		"a signature older than a minute": {func(t *testing.T) *http.Request {
			t.Helper()
			return signedAt(t, "GET", "", time.Now().Add(-61*time.Second))
		}, no, yes},
		"an old signature, and a body": {func(t *testing.T) *http.Request {
			t.Helper()
			return signedAt(t, "PUT", "body", time.Now().Add(-time.Hour))
		}, no, yes},
		"a signature more than a minute in the future": {func(t *testing.T) *http.Request {
			t.Helper()
			return signedAt(t, "GET", "", time.Now().Add(61*time.Second))
		}, no, yes},
		"an old signature, and a body that can be read only once": {func(t *testing.T) *http.Request {
			t.Helper()
			return once(signedAt(t, "PUT", "body", time.Now().Add(-10*time.Minute)))
		}, no, no},
		"an old signature, and a body with X-Sdk-Content-Sha256": {func(t *testing.T) *http.Request {
			t.Helper()
			r := newRequest(t, "PUT", users, "body")
			r.Header.Set("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD")
			require.NoError(t, aksk.Sign(r, permanent, time.Now().Add(-10*time.Minute)))
			return once(r)
		}, no, yes},
		"a signature with another access key": {func(t *testing.T) *http.Request {
			t.Helper()
			r := newRequest(t, "GET", users, "")
			require.NoError(t, aksk.Sign(r, aksk.Credentials{AccessKey: "OLD", SecretKey: "old"}, time.Now()))
			return r
		}, no, yes},
		"an unsigned request":                    {func(t *testing.T) *http.Request { t.Helper(); return newRequest(t, "GET", users, "") }, no, no},
		"an unsigned request, with SignUnsigned": {func(t *testing.T) *http.Request { t.Helper(); return newRequest(t, "GET", users, "") }, yes, yes},
		"a token":                                {token, no, no},
		"a token, with SignUnsigned":             {token, yes, no},
		"basic authentication": {func(t *testing.T) *http.Request {
			t.Helper()
			r := newRequest(t, "GET", users, "")
			r.SetBasicAuth("a", "b")
			return r
		}, yes, no},
		"a signature for OBS": {func(t *testing.T) *http.Request {
			t.Helper()
			r := newRequest(t, "GET", users, "")
			r.Header.Set("Authorization", "OBS ak:sig")
			return r
		}, yes, no},
		"a signature that uses SM3": {func(t *testing.T) *http.Request {
			t.Helper()
			r := signedAt(t, "GET", "", time.Now().Add(-time.Hour))
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "SHA256", "SM3", 1))
			return r
		}, yes, no},
		"a redirect from the same host": {func(t *testing.T) *http.Request { t.Helper(); return redirected(t, "https://iam.example/v3") }, no, yes},
		"a redirect from another host":  {func(t *testing.T) *http.Request { t.Helper(); return redirected(t, "https://other.example/v3") }, yes, no},
		"a chain of redirects that began with http": {func(t *testing.T) *http.Request {
			t.Helper()
			r := redirected(t, "https://iam.example/v3")
			r.Response.Request = redirected(t, "http://iam.example/v3")
			return r
		}, yes, no},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &iamtest.Server{}
				tr := &aksk.Transport{Base: s, Credentials: func(*http.Request) (aksk.Credentials, error) { return permanent, nil }, SignUnsigned: tt.unsigned}
				req := tt.request(t)
				before := req.Header.Clone()
				resp, err := tr.RoundTrip(req)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, before, req.Header, "the caller's request must not be modified")
				arrived := s.Requests()[0].Header
				if !tt.again {
					assert.Equal(t, before, arrived)
					return
				}
				assert.Equal(t, time.Now().UTC().Format("20060102T150405Z"), arrived.Get("X-Sdk-Date"))
				assert.Contains(t, arrived.Get("Authorization"), permanent.AccessKey)
			})
		})
	}
}

// redirected returns the request that http.Client makes to follow a redirect from the
// given URL.
func redirected(t *testing.T, from string) *http.Request {
	t.Helper()
	req := signedAt(t, "GET", "", time.Now())
	req.Response = &http.Response{StatusCode: 307, Request: newRequest(t, "GET", from, "")}
	return req
}

func TestARetryIsSignedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Keys: keys}
		s.Next(iamtest.Throttled(time.Second))
		tr := &iamhttp.Transport{Base: signingOver(s)}
		resp, err := tr.RoundTrip(signedAt(t, "POST", "body", time.Now()))
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		s.AssertBodies(t, "body", "body")
		got := s.Requests()
		assert.NotEqual(t, got[0].Header.Get("Authorization"), got[1].Header.Get("Authorization"))
	})
}

func TestSignUnsignedSignsEachAttemptOfAClientThatDoesNotSign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Keys: keys}
		s.Next(iamtest.Throttled(20 * time.Minute))
		client := &http.Client{Timeout: time.Hour, Transport: &iamhttp.Transport{Base: &aksk.Transport{
			Base: s, SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) { return temporary, nil },
		}}}
		resp, err := client.Post(users, "application/json", strings.NewReader(`{}`))
		require.NoError(t, err)
		resp.Body.Close()
		s.AssertCount(t, 2)
	})
}

func TestARequestThatCannotBeSignedFailsOrIsSentUnchanged(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		c    aksk.Credentials
		err  error
		text string
	}{
		"Credentials returns an error":   {permanent, broken, "aksk: get credentials: broken"},
		"no credentials: sent unchanged": {aksk.Credentials{}, nil, ""},
		"no secret key":                  {aksk.Credentials{AccessKey: "ak"}, nil, "aksk: the credentials have no access key or no secret key"},
		"a line break in the access key": {aksk.Credentials{AccessKey: "a\nk", SecretKey: "sk"}, nil, "aksk: the access key or the security token"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &iamtest.Server{}
			tr := &aksk.Transport{Base: s, SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) { return tt.c, tt.err }}
			closed := 0
			req := newRequest(t, "POST", users, "body")
			req.Body = &closing{req.Body, &closed}
			resp, err := tr.RoundTrip(req)
			assert.Equal(t, 1, closed)
			if tt.text == "" {
				require.NoError(t, err)
				resp.Body.Close()
				s.AssertCount(t, 1)
				return
			}
			assert.ErrorContains(t, err, tt.text)
			if tt.err != nil {
				assert.ErrorIs(t, err, tt.err)
			}
			s.AssertCount(t, 0)
		})
	}
	t.Run("a body that can be read only once", func(t *testing.T) {
		s := &iamtest.Server{}
		tr := &aksk.Transport{Base: s, SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) { return permanent, nil }}
		_, err := tr.RoundTrip(once(newRequest(t, "POST", users, "body")))
		assert.ErrorContains(t, err, "provide GetBody")
		s.AssertCount(t, 0)
	})
	t.Run("the zero Transport: sent unchanged", func(t *testing.T) {
		s := httptest.NewServer(new(iamtest.Server))
		defer s.Close()
		tr := new(aksk.Transport)
		resp, err := tr.RoundTrip(newRequest(t, "GET", s.URL, ""))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.DefaultTransport, tr.WrappedRoundTripper())
		tr.CloseIdleConnections()
	})
}

type closing struct {
	io.ReadCloser
	n *int
}

func (c *closing) Close() error { *c.n++; return c.ReadCloser.Close() }

func TestACallThatIsCanceledDuringSigningIsNotSent(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	s := &iamtest.Server{}
	tr := signingOver(s)
	req := signedAt(t, "PUT", "body", time.Now().Add(-time.Hour)).WithContext(ctx)
	req.GetBody = func() (io.ReadCloser, error) { cancel(gone); return io.NopCloser(endless{}), nil }
	_, err := tr.RoundTrip(req)
	assert.Equal(t, gone, err)
	s.AssertCount(t, 0)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// skewed is the response to a signature whose time is wrong.
var skewed = iamtest.Gateway(401, "APIG.0301", "Incorrect IAM authentication information: signature expired, signature time:20260101T000000Z,server time:20260101T002000Z")

func TestA401IsRetriedOnceIfTheClockWasOffAndOnlyThen(t *testing.T) {
	for name, tt := range map[string]struct {
		server func() *iamtest.Server
		req    func(*http.Request) *http.Request
		sent   int
		status int
	}{
		"the clock is off": {func() *iamtest.Server { return &iamtest.Server{Keys: keys, Ahead: 20 * time.Minute} }, nil, 2, 200},
		"the clock is right": {func() *iamtest.Server {
			s := new(iamtest.Server)
			s.On("/", skewed)
			return s
		}, nil, 1, 401},
		"the clock is off, and the second response is also a 401": {func() *iamtest.Server {
			s := &iamtest.Server{Ahead: 20 * time.Minute}
			s.On("/", skewed)
			return s
		}, nil, 2, 401},
		"the clock is off, but the 401 gives another reason": {func() *iamtest.Server {
			s := &iamtest.Server{Ahead: 20 * time.Minute}
			s.On("/", iamtest.Gateway(401, "APIG.0301", "Incorrect IAM authentication information: verify aksk signature fail"))
			return s
		}, nil, 1, 401},
		"a 401 with a Date from a cache": {func() *iamtest.Server {
			s := &iamtest.Server{Ahead: -20 * time.Minute}
			s.On("/", skewed.With("Age", "1200"))
			return s
		}, nil, 1, 401},
		"a 401 with a Date three years off": {func() *iamtest.Server {
			s := &iamtest.Server{Ahead: 3 * 365 * 24 * time.Hour}
			s.On("/", skewed)
			return s
		}, nil, 1, 401},
		"a 401 without a Date": {func() *iamtest.Server {
			s := new(iamtest.Server)
			s.On("/", skewed.With("Date", ""))
			return s
		}, nil, 1, 401},
		"the body can be read only once": {func() *iamtest.Server { return &iamtest.Server{Keys: keys, Ahead: 20 * time.Minute} }, once, 1, 401},
		"GetBody fails the second time": {func() *iamtest.Server { return &iamtest.Server{Keys: keys, Ahead: 20 * time.Minute} }, func(r *http.Request) *http.Request {
			had, get := 0, r.GetBody
			r.GetBody = func() (io.ReadCloser, error) {
				if had++; had > 1 {
					return nil, errors.New("broken")
				}
				return get()
			}
			return r
		}, 1, 401},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := tt.server()
				req := signedAt(t, "POST", "body", time.Now())
				if tt.req != nil {
					req = tt.req(req)
				}
				status, body := send(t, signingOver(s), req)
				assert.Equal(t, tt.status, status)
				if status == 401 {
					assert.Contains(t, body, "APIG.0301", "the body must still be readable")
				}
				s.AssertCount(t, tt.sent)
				for _, r := range s.Requests() {
					assert.Equal(t, "body", r.Body)
				}
			})
		})
	}
}

// A Read that is still running may change the trailers of the base's response.
func TestA401WhoseBodyIsStillBeingReadIsReturnedAsACopy(t *testing.T) {
	for name, change := range map[string]func(*http.Request) *http.Request{
		"as it is": func(r *http.Request) *http.Request { return r }, "not sent again": once,
	} {
		synctest.Test(t, func(t *testing.T) {
			var sent []*http.Response
			tr := signingOver(roundTripper(func(r *http.Request) (*http.Response, error) {
				body, w := io.Pipe()
				go func() {
					_, _ = io.WriteString(w, skewed.Body)
					<-r.Context().Done()
					w.Close()
				}()
				date := http.Header{"Date": {time.Now().Add(20 * time.Minute).UTC().Format(http.TimeFormat)}}
				sent = append(sent, &http.Response{StatusCode: 401, Header: date, Body: body, Request: r})
				return sent[len(sent)-1], nil
			}))
			req := change(signedAt(t, "POST", "body", time.Now()))
			ctx, cancel := context.WithCancel(t.Context())
			resp, err := tr.RoundTrip(req.WithContext(ctx))
			require.NoError(t, err)
			assert.NotSame(t, sent[len(sent)-1], resp, name)
			assert.Equal(t, 401, resp.StatusCode, name)
			cancel()
			resp.Body.Close()
		})
	}
}

func TestARequestSentTwiceBecauseOfTheClockCountsAsOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Keys: keys, Ahead: 20 * time.Minute}
		s.On("/", iamtest.Keystone(404, "Could not find user."))
		failures := 0
		client := &http.Client{
			Transport: &iamhttp.Transport{
				Base:      signingOver(s),
				OnFailure: func(context.Context, iamhttp.Failure) { failures++ },
			},
			Timeout: time.Minute,
		}
		_, err := client.Do(signedAt(t, "GET", "", time.Now()))
		var e *iamhttp.StatusError
		require.ErrorAs(t, err, &e)
		assert.Equal(t, iamhttp.ErrNotFound, e.Code)
		assert.Equal(t, 1, e.Attempts)
		assert.Equal(t, 1, failures)
		s.AssertCount(t, 2)
	})
}

func TestClockOffsetFromOneResponseIsUsedForLaterRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Keys: keys, Ahead: -50 * time.Minute}
		other := &iamtest.Server{Keys: keys}
		tr := signingOver(roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "other.example" {
				return other.RoundTrip(r)
			}
			return s.RoundTrip(r)
		}))
		for range 3 {
			status, _ := send(t, tr, signedAt(t, "GET", "", time.Now()))
			assert.Equal(t, 200, status)
			time.Sleep(time.Hour)
		}
		s.AssertCount(t, 4) // the first request is sent twice
		r := newRequest(t, "GET", "https://other.example/", "")
		require.NoError(t, aksk.Sign(r, permanent, time.Now()))
		status, _ := send(t, tr, r)
		assert.Equal(t, 200, status, "one host's clock offset must not be applied to another host")
		other.AssertCount(t, 1)
	})
}

func TestACorrectionOfTheHostsClockIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &iamtest.Server{Keys: keys, Ahead: 20 * time.Minute}
		tr := signingOver(roundTripper(func(r *http.Request) (*http.Response, error) { return service.RoundTrip(r) }))
		status, _ := send(t, tr, signedAt(t, "GET", "", time.Now()))
		assert.Equal(t, 200, status)
		service = &iamtest.Server{Keys: keys}
		for range 3 {
			status, _ := send(t, tr, signedAt(t, "GET", "", time.Now()))
			assert.Equal(t, 200, status)
		}
		service.AssertCount(t, 4) // the first request to the corrected service is sent twice
		last := service.Requests()[3]
		assert.Equal(t, time.Now().UTC().Format("20060102T150405Z"), last.Header.Get("X-Sdk-Date"))
	})
}

func TestTheDateOfASlowResponseDoesNotChangeTheTimeOfSignatures(t *testing.T) {
	for name, ends := range map[string]bool{"a Date from the end of the delay": true, "a Date from the start of the delay": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(iamtest.Server)
				a := iamtest.Answer{Delay: 30 * time.Minute}
				if !ends {
					a = a.With("Date", time.Now().UTC().Format(http.TimeFormat))
				}
				s.Next(a)
				tr := signingOver(s)
				for range 2 {
					status, _ := send(t, tr, signedAt(t, "GET", "", time.Now()))
					assert.Equal(t, 200, status)
				}
				got := s.Requests()
				assert.Equal(t, got[1].At.UTC().Format("20060102T150405Z"), got[1].Header.Get("X-Sdk-Date"))
			})
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestATransportKeepsTheRoundTripperContract(t *testing.T) {
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
		return &aksk.Transport{Base: base, SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) { return permanent, nil }}
	}, roundtriptest.Options{})
}

func TestSeveralGoroutinesCanShareATransport(t *testing.T) {
	s := &iamtest.Server{Keys: keys, Ahead: time.Hour}
	tr := signingOver(s)
	done := make(chan int)
	for range 50 {
		go func() {
			resp, err := tr.RoundTrip(signedAt(t, "GET", "", time.Now()))
			if err != nil {
				done <- 0
				return
			}
			resp.Body.Close()
			done <- resp.StatusCode
		}()
	}
	for range 50 {
		assert.Equal(t, 200, <-done)
	}
}

// A Transport passes these requests on with the signature that they have, which expires.
func TestSignsEachAttemptIsFalseForRequestsThatCannotBeSignedAgain(t *testing.T) {
	tr := &aksk.Transport{Credentials: func(*http.Request) (aksk.Credentials, error) { return permanent, nil }}
	assert.True(t, tr.SignsEachAttempt(signedAt(t, "GET", "", time.Now())), "a signed request")
	for name, change := range map[string]func(*http.Request){
		"an Authorization header with too few parts": func(r *http.Request) {
			r.Header.Set("Authorization", "SDK-HMAC-SHA256 Credential=AK/20000101/eu-de, SignedHeaders=host;x-sdk-date, Signature=00")
		},
		"a host name that is not ASCII": func(r *http.Request) { r.Host = "bücher.example" },
		"an opaque URL":                 func(r *http.Request) { r.URL.Opaque = "//iam.example/" },
	} {
		req := signedAt(t, "GET", "", time.Now())
		change(req)
		assert.False(t, tr.SignsEachAttempt(req), name)
	}
}
