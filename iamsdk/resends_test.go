package iamsdk_test

import (
	"fmt"
	"io"
	"maps"
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

// resendWait is how long the stand-in waits before it resends.
const resendWait = 500 * time.Millisecond

func TestEachOfSeveralIdenticalPOSTsIsSentOnce(t *testing.T) {
	const answered = 50 * time.Millisecond
	for _, gap := range []time.Duration{0, 200 * time.Millisecond, resendWait, resendWait + answered, resendWait + 2*answered, time.Second} {
		for _, callers := range []int{2, 10} {
			t.Run(fmt.Sprint(callers, " callers, ", gap, " apart"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					service := newAccount()
					sdk := kinds[0].connect(t, service, nil)
					service.On("POST /v3/eips", iamtest.Answer{Status: 502, Delay: answered})
					start := time.Now()
					var wg sync.WaitGroup
					for i := range callers {
						wg.Go(func() {
							time.Sleep(time.Duration(i) * gap)
							_, err := sdk.Request("POST", "/eips", "{}")
							assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrBadGateway)
						})
					}
					wg.Wait()
					requests := service.Requests()[1:]
					require.Len(t, requests, callers)
					for i, r := range requests {
						assert.Equal(t, time.Duration(i)*gap, r.At.Sub(start), "the first send of each call must reach the service at once, and not get a response from memory")
					}
				})
			})
		}
	}
}

func TestOnlyTheResendGetsAResponseFromMemory(t *testing.T) {
	type call struct {
		body   io.Reader
		header http.Header
	}
	text := func(s string) io.Reader { return strings.NewReader(s) }
	stream := func(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} }
	header := func(name, value string) http.Header { return http.Header{name: {value}} }
	for name, tt := range map[string]struct {
		first, second call
		after         time.Duration
		want          int // number of requests that reach the service
	}{
		"the resend":                       {call{body: text("a")}, call{body: text("a")}, resendWait, 1},
		"the resend, after some delay":     {call{body: text("a")}, call{body: text("a")}, resendWait + time.Second, 1},
		"the resend, without a body":       {call{}, call{}, resendWait, 1},
		"the resend, with the same header": {call{header: header("X-Auth-Token", "a")}, call{header: header("X-Auth-Token", "a")}, resendWait, 1},
		"the same request at once":         {call{body: text("a")}, call{body: text("a")}, 0, 2},
		"too early for a resend":           {call{body: text("a")}, call{body: text("a")}, resendWait - 100*time.Millisecond, 2},
		"too late for a resend":            {call{body: text("a")}, call{body: text("a")}, 3 * time.Second, 2},
		"another body":                     {call{body: text("a")}, call{body: text("b")}, resendWait, 2},
		"a body, and then no body":         {call{body: text("a")}, call{}, resendWait, 2},
		"another stream":                   {call{body: stream("a")}, call{body: stream("b")}, resendWait, 2},
		"a stream, and then no body":       {call{body: stream("a")}, call{}, resendWait, 2},
		"no body, and then a stream":       {call{}, call{body: stream("a")}, resendWait, 2},
		"another token":                    {call{header: header("X-Auth-Token", "a")}, call{header: header("X-Auth-Token", "b")}, resendWait, 2},
		"another project":                  {call{header: header("X-Project-Id", "a")}, call{header: header("X-Project-Id", "b")}, resendWait, 2},
		"another domain":                   {call{header: header("X-Domain-Id", "a")}, call{header: header("X-Domain-Id", "b")}, resendWait, 2},
		"another idempotency key":          {call{header: header("Idempotency-Key", "a")}, call{header: header("Idempotency-Key", "b")}, resendWait, 2},
		"a project in place of a domain":   {call{header: header("X-Project-Id", "a")}, call{header: header("X-Domain-Id", "a")}, resendWait, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.On("/", iamtest.Answer{Status: 502})
				client := &http.Client{Transport: &service}
				iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
				for i, c := range []call{tt.first, tt.second} {
					time.Sleep(time.Duration(i) * tt.after)
					req, err := http.NewRequestWithContext(t.Context(), "POST", endpoint+"/groups", c.body)
					require.NoError(t, err)
					maps.Copy(req.Header, c.header)
					resp, err := client.Do(req)
					require.NoError(t, err)
					resp.Body.Close()
					assert.Equal(t, 502, resp.StatusCode)
				}
				service.AssertCount(t, tt.want)
			})
		})
	}
}

func TestAKeptResponseIsForgottenIfNoResendComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Answer{Status: 502})
		service.On("/", iamtest.Answer{Status: 201})
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		compared := 0
		for i := range 4 {
			req, err := http.NewRequestWithContext(t.Context(), "POST", endpoint+"/groups/"+strconv.Itoa(i), nil)
			require.NoError(t, err)
			req.Body = io.NopCloser(strings.NewReader("a"))
			req.GetBody = func() (io.ReadCloser, error) {
				compared++
				return io.NopCloser(strings.NewReader("a")), nil
			}
			resp, err := client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			time.Sleep(time.Minute)
		}
		assert.LessOrEqual(t, compared, 2, "the body may be read only twice: when the response is kept, and when it turns out to be too old")
	})
}

// slowBody is an empty body whose Read returns io.EOF after a delay.
type slowBody struct{ time.Duration }

func (b slowBody) Read([]byte) (int, error) {
	time.Sleep(b.Duration)
	return 0, io.EOF
}

func TestAPOSTIsSentOnceHoweverLongReadingItsResponseTakes(t *testing.T) {
	for _, takes := range []time.Duration{0, 3 * time.Second, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			sent := 0
			client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				if req.URL.Path != "/v3/groups" {
					return &http.Response{StatusCode: 502, Body: http.NoBody, Request: req}, nil
				}
				sent++
				return &http.Response{StatusCode: 502, Body: io.NopCloser(slowBody{takes}), Request: req}, nil
			})}
			iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
			for i := range 2 {
				resp, err := client.Post(endpoint+"/groups", "", strings.NewReader("a"))
				require.NoError(t, err)
				_, err = io.ReadAll(resp.Body)
				require.NoError(t, err)
				resp.Body.Close()
				time.Sleep(resendWait)
				other, err := client.Post(endpoint+"/users/"+strconv.Itoa(i), "", nil) // makes Install forget old responses
				require.NoError(t, err)
				other.Body.Close()
			}
			assert.Equal(t, 1, sent, "a POST whose response takes %v to read must be sent once", takes)
		})
	}
}

func TestPrintingAClientShowsNoSecretOfTheRequestsItRemembers(t *testing.T) {
	var service iamtest.Server
	service.On("POST /", iamtest.Answer{Status: 502, Body: "secret-body"})
	service.On("GET /", iamtest.Keystone(401, "secret-message"))
	client := &http.Client{Transport: &service}
	iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
	for _, method := range []string{"POST", "GET"} {
		req, err := http.NewRequestWithContext(t.Context(), method, endpoint+"/secret-path?sig=secret-query", strings.NewReader("secret-text"))
		require.NoError(t, err)
		req.Header.Set("X-Auth-Token", "secret-token")
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
	}
	client.Transport.(interface{ WrappedRoundTripper() http.RoundTripper }).WrappedRoundTripper().(*iamhttp.Transport).Base = nil // removes the service, which holds all requests
	printed := fmt.Sprintf("%+v %#v", client.Transport, client.Transport)
	assert.Contains(t, printed, "goroutine", "the printed text must contain what the client remembers")
	for _, secret := range []string{"secret-query", "secret-text", "secret-token", "secret-body"} {
		assert.NotContains(t, printed, secret)
	}
}

func TestAKeptResponseIsTruncatedTo64KiB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("/", iamtest.Answer{Status: 502, Body: strings.Repeat("x", 100_000)}.With("X-Request-Id", "req-1").With("Content-Length", "100000"))
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		for _, want := range []int{100_000, 64 << 10} {
			resp, err := client.Post(endpoint+"/groups", "", strings.NewReader("a"))
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Len(t, body, want)
			assert.Equal(t, "req-1", resp.Header.Get("X-Request-Id"))
			if length := resp.Header.Get("Content-Length"); length != "" {
				assert.Equal(t, strconv.Itoa(want), length)
			}
			time.Sleep(resendWait)
		}
		service.AssertCount(t, 1)
	})
}

func TestAtMost1000ResponsesAreKeptAtATime(t *testing.T) {
	const most, more = 1000, 10
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[0].connect(t, service, nil)
		service.On("POST /v3/eips", iamtest.Answer{Status: 502})
		var wg sync.WaitGroup
		for range most + more {
			wg.Go(func() {
				_, err := sdk.Request("POST", "/eips", "{}")
				assert.Error(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, most+more+more, service.requests())
	})
}
