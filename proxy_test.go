package iamhttp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// newProxy starts a proxy that responds to CONNECT requests with answers, one after the
// other, and opens tunnels once they are used up. asked counts the CONNECT requests.
func newProxy(t *testing.T, answers ...string) (proxy *url.URL, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	address, _ := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || !assert.Equal(t, "CONNECT", req.Method) {
			return
		}
		if n := int(asked.Add(1)); n <= len(answers) {
			fmt.Fprint(c, strings.ReplaceAll(answers[n-1], "\n", "\r\n"))
			return
		}
		target, err := net.Dial("tcp", req.Host)
		if !assert.NoError(t, err) {
			return
		}
		defer target.Close()
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(target, r)
		_, _ = io.Copy(c, target)
	})
	proxy, err := url.Parse(strings.Replace(address, "http://", "http://user:s3cr3t@", 1))
	require.NoError(t, err)
	return proxy, asked
}

// behind returns a client that uses tr and the proxy, and the URL of a service.
func behind(t *testing.T, proxy *url.URL, tr *iamhttp.Transport) (*http.Client, string) {
	service := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, "stored: ", string(b))
	}))
	t.Cleanup(service.Close)
	base := service.Client().Transport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	base.Proxy = http.ProxyURL(proxy)
	base.OnProxyConnectResponse = iamhttp.CheckProxyConnect
	tr.Base = base
	return &http.Client{Transport: tr}, service.URL
}

func TestProxyRefusalIsATypedError(t *testing.T) {
	for code, answer := range map[int]string{
		403: "HTTP/1.1 403 Forbidden\nX-Request-Id: r\nContent-Length: 0\n\n",
		407: "HTTP/1.1 407 Proxy Authentication Required\nX-Request-Id: r\nProxy-Authenticate: Basic realm=x\nContent-Length: 6\n\nsorry!",
		503: "HTTP/1.1 503 Service Unavailable\nX-Request-Id: r\nRetry-After: 1\n\n",
	} {
		for _, passThrough := range []bool{false, true} {
			t.Run(fmt.Sprint(code, " pass-through ", passThrough), func(t *testing.T) {
				proxy, asked := newProxy(t, answer, answer)
				var stops []iamhttp.StopReason
				client, service := behind(t, proxy, &iamhttp.Transport{PassThrough: passThrough, RetryConnectionErrors: true,
					OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) { stops = append(stops, e.Stop) })})
				ctx, rec := iamhttp.WithRecorder(t.Context())
				req, err := http.NewRequestWithContext(ctx, "POST", service+"/v3/users?secret=1", strings.NewReader("x"))
				require.NoError(t, err)
				resp, err := client.Do(req)
				assert.Nil(t, resp)
				require.ErrorIs(t, err, iamhttp.Code(code))
				e := statusError(t, err)
				assert.Equal(t, "CONNECT", e.Method)
				assert.Equal(t, "http://"+proxy.Host, e.URL, "URL must be the proxy's, without user info")
				assert.Equal(t, "r", e.RequestID)
				assert.Equal(t, 1, e.Attempts)
				assert.Equal(t, iamhttp.StopNotRetryable, e.Stop)
				assert.Equal(t, code == 403, !e.Truncated, "Truncated must be set unless Content-Length is 0")
				assert.Equal(t, code == 503, e.RetryAfter == time.Second)
				assert.Equal(t, []iamhttp.StopReason{iamhttp.StopNotRetryable}, stops)
				last, _ := rec.Last()
				assert.Same(t, e, last)
				assert.EqualValues(t, 1, asked.Load())
			})
		}
	}
}

func Test408And429FromAProxyAreRetried(t *testing.T) {
	for _, code := range []int{408, 429} {
		proxy, asked := newProxy(t, fmt.Sprintf("HTTP/1.1 %d x\nRetry-After: 0\nContent-Length: 0\n\n", code))
		var failures []string
		client, service := behind(t, proxy, &iamhttp.Transport{Backoff: zero,
			OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) {
				failures = append(failures, fmt.Sprint(int(e.Code), e.Attempts, e.Stop))
			})})
		resp, err := client.Post(service, "text/plain", strings.NewReader("whole"))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		assert.Equal(t, "stored: whole", string(body))
		assert.EqualValues(t, 2, asked.Load())
		assert.Equal(t, []string{fmt.Sprint(code, 1, iamhttp.StopUnset)}, failures)
	}
}

func TestProxyThatKeepsThrottlingUsesUpTheAttempts(t *testing.T) {
	const throttled = "HTTP/1.1 429 x\nContent-Length: 0\n\n"
	proxy, asked := newProxy(t, throttled, throttled, throttled, throttled)
	client, service := behind(t, proxy, &iamhttp.Transport{Backoff: zero, MaxAttempts: 3})
	_, err := client.Get(service)
	e := statusError(t, err)
	assert.Equal(t, 3, e.Attempts)
	assert.Equal(t, iamhttp.StopAttempts, e.Stop)
	assert.EqualValues(t, 3, asked.Load())
}

func TestRetryAfterFromAProxyIsRespected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(fail(connectError(429, "Retry-After: 60")), answer(200, ""))
		start := time.Now()
		_, err := (&iamhttp.Transport{Base: base}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(start), time.Minute)
	})
}

func TestCancelAfterAProxysRefusalDoesNotChangeTheEarlierReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		below := connectError(429, "Retry-After: 60")
		var reported []*iamhttp.StatusError
		tr := &iamhttp.Transport{Base: script(fail(below)), PassThrough: true, OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) {
			reported = append(reported, e)
			cancel()
		})}
		_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		e := statusError(t, err)
		assert.Equal(t, iamhttp.StopCanceled, e.Stop)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, "CONNECT", e.Method)
		require.Len(t, reported, 2)
		assert.Equal(t, iamhttp.StopUnset, reported[0].Stop, "the first report must announce a retry")
		assert.Same(t, e, reported[1])
		var left *iamhttp.StatusError
		require.ErrorAs(t, below, &left)
		assert.Equal(t, withoutContent(statusError(t, connectError(429, "Retry-After: 60"))), withoutContent(left), "Base's error was changed")
	})
}

func TestExpectedRefusalFromAProxyIsReturnedUnchanged(t *testing.T) {
	below := connectError(407)
	tr := &iamhttp.Transport{Base: script(fail(below)), Expected: []iamhttp.Code{407},
		OnFailure: onAnswer(func(context.Context, *iamhttp.StatusError, time.Duration) {
			t.Error("OnFailure was called for an expected code")
		})}
	_, err := tr.RoundTrip(newRequest(t, "GET", ""))
	assert.Same(t, below, err)
}

func TestProxyRefusalIsRetriedOnlyByTheInnermostTransport(t *testing.T) {
	base := script(fail(connectError(429)))
	tr := &iamhttp.Transport{Base: &iamhttp.Transport{Base: base, Backoff: zero, MaxAttempts: 2}, Backoff: zero, MaxAttempts: 5}
	_, err := tr.RoundTrip(newRequest(t, "GET", ""))
	assert.Equal(t, 2, statusError(t, err).Attempts)
	assert.Equal(t, 2, base.count())
}

func TestCheckProxyConnectAcceptsSuccessesAndRedirects(t *testing.T) {
	for _, code := range []int{200, 204, 302} {
		assert.NoError(t, iamhttp.CheckProxyConnect(t.Context(), nil, nil, &http.Response{StatusCode: code}))
	}
	err := iamhttp.CheckProxyConnect(t.Context(), nil, nil, &http.Response{StatusCode: 407})
	assert.Empty(t, statusError(t, err).URL)
}

// connectError returns CheckProxyConnect's error for a proxy's refusal. header contains
// lines in the format that the function answer expects.
func connectError(code int, header ...string) error {
	proxy := &url.URL{Scheme: "http", Host: "proxy.example"}
	return iamhttp.CheckProxyConnect(context.Background(), proxy, nil, response(nil, code, http.NoBody, 0, header...))
}

// An inner Transport's final error must not be taken for a proxy's response.
func TestFinalErrorAboutCONNECTIsNotRetried(t *testing.T) {
	for _, below := range []*iamhttp.StatusError{
		{Code: 429, Method: "CONNECT", Attempts: 2},
		{Code: 429, Method: "CONNECT", Stop: iamhttp.StopGate},
	} {
		base := script(fail(below))
		_, err := (&iamhttp.Transport{Base: base, Backoff: zero}).RoundTrip(newRequest(t, "GET", ""))
		assert.Same(t, below, err)
		assert.Equal(t, 1, base.count())
	}
}
