package iamtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// ways runs f three times: in memory, in a synctest bubble; over a connection with
// HTTP/1.1; and over a connection with HTTP/2.
func ways(t *testing.T, f func(t *testing.T, s *iamtest.Server, client *http.Client, url string)) {
	t.Run("in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := new(iamtest.Server)
			f(t, s, &http.Client{Transport: s}, "http://iam.example")
		})
	})
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("over a connection, with HTTP/2: ", h2), func(t *testing.T) {
			s := new(iamtest.Server)
			srv := httptest.NewUnstartedServer(s)
			srv.EnableHTTP2 = h2
			srv.Config.ErrorLog = log.New(io.Discard, "", 0) // hides failed handshakes of unused connections
			srv.StartTLS()
			defer srv.Close()
			f(t, s, srv.Client(), srv.URL)
		})
	}
}

// do sends a request and returns the response's status and body.
func do(t *testing.T, c *http.Client, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := c.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// The package comment and README.md contain a copy of this test.
func TestClientWaitsForRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(30 * time.Second)) // then 200
		client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: time.Minute}
		resp, err := client.Post("https://iam.example/v3/users", "application/json", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		service.AssertBodies(t, `{}`, `{}`)
		service.AssertSpacing(t, 30*time.Second)
	})
}

func TestZeroServerRespondsWithAnEmptyJSONObject(t *testing.T) {
	ways(t, func(t *testing.T, _ *iamtest.Server, c *http.Client, url string) {
		status, body := do(t, c, "GET", url, "")
		assert.Equal(t, 200, status)
		assert.Equal(t, "{}", body)
	})
}

func TestNextTakesPrecedenceOverRoutesAndRoutesOverTheHandler(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		s.On("GET /v3/users/{id}", iamtest.Answer{Status: 201}, iamtest.Answer{Status: 202})
		s.On("/v3/nothing")
		s.Next(iamtest.Answer{Status: 401})
		s.Next(iamtest.Answer{Status: 403})
		var got []int
		get := func(path string) {
			status, _ := do(t, c, "GET", url+path, "")
			got = append(got, status)
		}
		for range 5 {
			get("/v3/users/alice")
		}
		get("/v3/nothing")
		get("/v3/else")
		assert.Equal(t, []int{401, 403, 201, 202, 202, 200, 404}, got)

		s.On("GET /v3/users/{id}", iamtest.Answer{Status: 410})
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(418) })
		got = nil
		get("/v3/users/alice")
		get("/v3/else")
		get("/v3//users/alice") // a ServeMux would redirect this path
		assert.Equal(t, []int{410, 418, 418}, got)
	})
}

func TestRequestWithoutAPathMatchesTheRoutesOfTheRoot(t *testing.T) {
	for _, pattern := range []string{"/", "GET /", "GET /{$}"} {
		ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
			s.On(pattern, iamtest.Answer{Status: 300})
			status, _ := do(t, c, "GET", url, "")
			assert.Equal(t, 300, status, pattern)
			s.AssertRequests(t, "GET /")
		})
	}
}

func TestOnPanicsForAnInvalidPattern(t *testing.T) {
	assert.Panics(t, func() { new(iamtest.Server).On("GET") })
}

func TestRequestsAreRecorded(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v3/users?name=a%20b", strings.NewReader("body"))
		require.NoError(t, err)
		req.Header.Set("X-Auth-Token", "token")
		before := time.Now()
		resp, err := c.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		got := s.Requests()
		require.Len(t, got, 1)
		assert.Equal(t, "POST", got[0].Method)
		assert.Equal(t, "/v3/users?name=a%20b", got[0].Target)
		assert.Equal(t, "token", got[0].Header.Get("X-Auth-Token"))
		assert.Equal(t, "body", got[0].Body)
		assert.False(t, got[0].At.Before(before))
		assert.Equal(t, "POST /v3/users?name=a%20b", got[0].String())

		got[0].Method = "changed"
		s.AssertRequests(t, "POST /v3/users?name=a%20b")
	})
}

func TestHandlerReceivesAServerSideRequest(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			assert.Empty(t, r.URL.Host)
			assert.NotEmpty(t, r.RemoteAddr)
			assert.Equal(t, url, "http"+map[bool]string{true: "s"}[strings.HasPrefix(url, "https")]+"://"+r.Host)
			assert.Equal(t, "/v3/users?name=alice", r.RequestURI)
			fmt.Fprint(w, r.Method, " ", r.FormValue("name"), " ", string(body))
		})
		status, body := do(t, c, "PUT", url+"/v3/users?name=alice", "data")
		assert.Equal(t, 200, status)
		assert.Equal(t, "PUT alice data", body)
	})
}

func TestAnswerArrivesWithTheHeaderAndBodyThatNetHTTPWouldSend(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		for name, tt := range map[string]struct {
			answer      iamtest.Answer
			method      string
			contentType string
			body        string
			length      int64
		}{
			"JSON":                     {iamtest.Answer{Status: 201, Body: `[1]`}, "GET", "application/json", "[1]", 3},
			"HTML":                     {iamtest.Answer{Body: "<html>"}, "GET", "text/html; charset=utf-8", "<html>", 6},
			"an explicit Content-Type": {iamtest.Answer{Body: `{}`}.With("Content-Type", "text/x"), "GET", "text/x", "{}", 2},
			"no body":                  {iamtest.Answer{}, "GET", "", "", 0},
			"204":                      {iamtest.Answer{Status: 204, Body: "{}"}, "GET", "application/json", "", 0},
			"304":                      {iamtest.Answer{Status: 304}, "GET", "", "", 0},
			"HEAD, JSON":               {iamtest.Answer{Status: 404, Body: `{"code":404}`}, "HEAD", "application/json", "", 12},
			"HEAD, HTML":               {iamtest.Answer{Body: "<html>"}, "HEAD", "text/html; charset=utf-8", "", 6},
			"HEAD, no body":            {iamtest.Answer{}, "HEAD", "", "", -1},
		} {
			a := tt.answer.With("X-Twice", "1")
			a.Header.Add("X-Twice", "2")
			s.Next(a)
			req, err := http.NewRequestWithContext(t.Context(), tt.method, url, nil)
			require.NoError(t, err)
			resp, err := c.Do(req)
			require.NoError(t, err, name)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err, name)
			resp.Body.Close()
			assert.Equal(t, tt.body, string(body), name)
			assert.Equal(t, tt.contentType, resp.Header.Get("Content-Type"), name)
			assert.Equal(t, []string{"1", "2"}, resp.Header.Values("X-Twice"), name)
			assert.NotEmpty(t, resp.Header.Get("Date"), name)
			assert.Equal(t, tt.length, resp.ContentLength, name)
			length := fmt.Sprint(tt.length)
			if tt.length < 0 || resp.StatusCode == 204 || resp.StatusCode == 304 {
				length = ""
			}
			assert.Equal(t, length, resp.Header.Get("Content-Length"), name)
		}
	})
}

func TestWithDoesNotChangeTheOriginalAnswer(t *testing.T) {
	a := iamtest.Answer{}.With("A", "1")
	b := a.With("A", "2")
	assert.Equal(t, []string{"1"}, a.Header["A"])
	assert.Equal(t, []string{"2"}, b.Header["A"])
}

func TestStallAndDelayEndWhenTheClientCancels(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		for _, a := range []iamtest.Answer{{Fault: iamtest.Stall}, {Delay: time.Hour}} {
			ctx, cancel := context.WithCancel(t.Context())
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.AfterFunc(time.Millisecond, cancel) // cancel the request only after it has arrived
				a.ServeHTTP(w, r)
			})
			req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
			require.NoError(t, err)
			_, err = c.Do(req)
			assert.ErrorIs(t, err, context.Canceled)
		}
		s.AssertCount(t, 2)
	})
}

func TestReadOfAStalledBodyFailsOnceTheBodyIsClosedOrTheRequestCanceled(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		for name, end := range map[string]func(*http.Response, context.CancelFunc){
			"closed":   func(resp *http.Response, _ context.CancelFunc) { resp.Body.Close() },
			"canceled": func(_ *http.Response, cancel context.CancelFunc) { cancel() },
		} {
			s.Next(iamtest.Answer{Status: 429, Body: "begin", Fault: iamtest.Stall})
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
			require.NoError(t, err)
			resp, err := c.Do(req)
			require.NoError(t, err, name)
			assert.Equal(t, 429, resp.StatusCode)
			assert.EqualValues(t, -1, resp.ContentLength)
			b := make([]byte, 5)
			_, err = io.ReadFull(resp.Body, b)
			require.NoError(t, err)
			assert.Equal(t, "begin", string(b))
			read := make(chan error)
			go func() {
				_, err := resp.Body.Read(b)
				read <- err
			}()
			end(resp, cancel)
			err = <-read
			require.Error(t, err, name)
			if name == "canceled" {
				assert.ErrorIs(t, err, context.Canceled)
			}
			resp.Body.Close()
			cancel()
		}
	})
}

func TestStalledResponseToAHEADDoesNotDelayTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // synctest also fails if a goroutine is left over
		s := new(iamtest.Server)
		s.Next(iamtest.Answer{Status: 200, Body: "begin", Fault: iamtest.Stall})
		resp, err := (&http.Client{Transport: s}).Head("https://iam.example/")
		require.NoError(t, err)
		assert.Equal(t, http.NoBody, resp.Body)
	})
}

func TestClosingTheBodyEndsTheHandlersContext(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		gone := make(chan struct{})
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(gone)
			iamtest.Answer{Status: 200, Body: "begin", Fault: iamtest.Stall}.ServeHTTP(w, r)
		})
		resp, err := c.Get(url)
		require.NoError(t, err)
		resp.Body.Close()
		<-gone
	})
}

func TestResetFaultBreaksTheRequestOrTheResponseBody(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		s.Next(iamtest.Answer{Fault: iamtest.Reset})
		_, err := c.Post(url, "text/plain", strings.NewReader("body"))
		require.Error(t, err)

		s.Next(iamtest.Answer{Status: 200, Body: "begin", Fault: iamtest.Reset})
		resp, err := c.Post(url, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		assert.Equal(t, "begin", string(b))
		require.Error(t, err)
		s.AssertCount(t, 2)
	})
}

func TestResetFaultIsAnECONNRESETOverPlainTCPAndInMemory(t *testing.T) {
	s := new(iamtest.Server)
	s.Next(iamtest.Answer{Fault: iamtest.Reset})
	srv := httptest.NewServer(s)
	defer srv.Close()
	_, err := srv.Client().Get(srv.URL)
	assert.ErrorIs(t, err, syscall.ECONNRESET)

	s.Next(iamtest.Answer{Fault: iamtest.Reset})
	_, err = (&http.Client{Transport: s}).Get("http://iam.example")
	assert.ErrorIs(t, err, syscall.ECONNRESET, "a reset in memory must look like a reset of a connection")
}

func TestResponseArrivesAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(iamtest.Server)
		s.Next(iamtest.Answer{Delay: time.Minute})
		start := time.Now()
		status, _ := do(t, &http.Client{Transport: s}, "GET", "http://iam.example", "")
		assert.Equal(t, 200, status)
		assert.Equal(t, time.Minute, time.Since(start))
	})
}

func TestRequestWhoseContextHasEndedIsNotSent(t *testing.T) {
	s := new(iamtest.Server)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://iam.example", nil)
	require.NoError(t, err)
	_, err = s.RoundTrip(req)
	assert.ErrorIs(t, err, io.ErrClosedPipe)
	s.AssertCount(t, 0)
}

func TestRequestWithABrokenBodyIsNotRecorded(t *testing.T) {
	ways(t, func(t *testing.T, s *iamtest.Server, c *http.Client, url string) {
		_, err := c.Post(url, "text/plain", io.MultiReader(strings.NewReader("begin"), broken{}))
		require.ErrorIs(t, err, errBroken)
		s.AssertCount(t, 0)
	})
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func TestRequestBodyIsClosed(t *testing.T) {
	closed := 0
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://iam.example", closer{strings.NewReader("x"), &closed})
	require.NoError(t, err)
	resp, err := new(iamtest.Server).RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 1, closed)
}

type closer struct {
	io.Reader
	closed *int
}

func (c closer) Close() error { *c.closed++; return nil }

func TestLimitHoldsInEveryWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Limit: 2, Window: 10 * time.Second}
		s.On("/", iamtest.Answer{Status: 201}, iamtest.Answer{Status: 202}, iamtest.Answer{Status: 203})
		var got []string
		send := func(after time.Duration) {
			time.Sleep(after)
			resp, err := (&http.Client{Transport: s}).Get("http://iam.example/")
			require.NoError(t, err)
			resp.Body.Close()
			got = append(got, strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Retry-After"))))
		}
		send(0)
		send(4 * time.Second)
		send(500 * time.Millisecond) // the next request is accepted in 5.5 s
		send(5500 * time.Millisecond)
		send(0)
		assert.Equal(t, []string{"201", "202", "429 6", "203", "429 4"}, got, "a throttled request must not use up an Answer of the script")
	})
}

func TestDefaultWindowOfTheLimitIsOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Limit: 1}
		for _, want := range []int{200, 429} {
			status, _ := do(t, &http.Client{Transport: s}, "GET", "http://iam.example", "")
			assert.Equal(t, want, status)
		}
		time.Sleep(time.Second)
		status, _ := do(t, &http.Client{Transport: s}, "GET", "http://iam.example", "")
		assert.Equal(t, 200, status)
	})
}

// JSON bodies need only be equal as JSON, and nginx's version does not matter.
func TestBodiesMatchTheRecordedResponses(t *testing.T) {
	for file, a := range map[string]iamtest.Answer{
		"ks-404-unknown-user":  iamtest.Keystone(404, "Could not find user: 0123456789abcdef0123456789abcdef."),
		"ks-401-bad-password":  iamtest.Keystone(401, "The request you have made requires authentication."),
		"hap-429-date":         iamtest.Gateway(429, "APIG.0308", "The throttling threshold has been reached: policy ip over ratelimit,limit:5,time:1 second").With("Retry-After", "3"),
		"ngx-502-refused":      iamtest.Page(502),
		"ngx-503-maintenance":  iamtest.Page(503),
		"ngx-504-hang":         iamtest.Page(504),
		"ngx-405-trace":        iamtest.Page(405),
		"ngx-414-uri-too-long": iamtest.Page(414),
		"ngx-429-limit-req":    iamtest.Page(429),
	} {
		t.Run(file, func(t *testing.T) {
			raw, err := os.ReadFile("../testdata/recorded/" + file + ".http")
			require.NoError(t, err)
			head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
			assert.Contains(t, string(head), fmt.Sprint("HTTP/1.1 ", a.Status, " "))
			a.Header.Del("X-Request-Id") // the recorded gateway was a proxy that does not send this header
			for name := range a.Header {
				assert.Contains(t, strings.ToLower(string(head)), "\r\n"+strings.ToLower(name)+":")
			}
			if json.Valid(body) {
				assert.JSONEq(t, string(body), a.Body)
				return
			}
			assert.Equal(t, strings.Replace(string(body), "nginx/1.22.1", "nginx", 1), a.Body)
		})
	}
}

func TestPageHasTheTitlesOfNginx(t *testing.T) {
	for status, title := range map[int]string{
		400: "Bad Request", 401: "Authorization Required", 403: "Forbidden", 404: "Not Found", 405: "Not Allowed", 408: "Request Time-out",
		409: "Conflict", 413: "Request Entity Too Large", 414: "Request-URI Too Large", 429: "Too Many Requests", 500: "Internal Server Error",
		501: "Not Implemented", 502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out",
	} {
		assert.Contains(t, iamtest.Page(status).Body, fmt.Sprintf("<title>%d %s</title>", status, title))
	}
}

func TestRetryAfterOfThrottledIsRoundedUpToSeconds(t *testing.T) {
	for d, want := range map[time.Duration][]string{0: nil, 1: {"1"}, time.Second: {"1"}, 90*time.Second + 1: {"91"}} {
		assert.Equal(t, want, iamtest.Throttled(d).Header["Retry-After"], d)
	}
}

func TestIamhttpReadsTheLimitsThatTheAnswersState(t *testing.T) {
	for _, per := range []time.Duration{time.Second, 90 * time.Second, 5 * time.Minute, 2 * time.Hour, 24 * time.Hour} {
		want := gate.Limit{Requests: 200, Per: per, Reset: 7 * time.Second}
		for name, a := range map[string]iamtest.Answer{
			"SAP":     iamtest.ThrottledSAP(200, per, 6500*time.Millisecond),
			"Envoy":   iamtest.ThrottledEnvoy(200, per, 6500*time.Millisecond),
			"IETF":    iamtest.ThrottledIETF(200, per, 6500*time.Millisecond),
			"gateway": iamtest.ThrottledGateway(200, per),
		} {
			e := iamhttp.NewStatusError(a.Status, a.Header, []byte(a.Body))
			assert.ErrorIs(t, e, iamhttp.ReasonThrottled)
			assert.Zero(t, e.RetryAfter)
			got, want := e.Limit, want
			got.Policy = ""
			if name == "gateway" {
				want.Reset = 0
			}
			assert.Equal(t, want, got, "%s, %v", name, per)
		}
	}
	e := iamtest.Throttled(0)
	assert.Zero(t, iamhttp.NewStatusError(e.Status, e.Header, []byte(e.Body)).Limit)
}

func TestServerStatesItsLimitIfTheWindowIsAWholeNumberOfSeconds(t *testing.T) {
	for window, want := range map[time.Duration]gate.Limit{
		0:                      {Requests: 1, Per: time.Second, Policy: "user"},
		time.Minute:            {Requests: 1, Per: time.Minute, Policy: "user"},
		100 * time.Millisecond: {},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := &http.Client{Transport: &iamhttp.Transport{Base: &iamtest.Server{Limit: 1, Window: window}, MaxAttempts: 1}, Timeout: time.Minute}
			do(t, c, "GET", "http://iam.example", "")
			_, err := c.Get("http://iam.example")
			var e *iamhttp.StatusError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, want, e.Limit, window)
			assert.NotZero(t, e.RetryAfter)
		})
	}
}

func TestPageOfA408HasConnectionClose(t *testing.T) {
	assert.Equal(t, "close", iamtest.Page(408).Header.Get("Connection"))
	assert.Contains(t, iamtest.Page(408).Body, "<h1>408 Request Time-out</h1>")
}

// failures is a testing.TB that records the errors reported to it.
type failures struct {
	testing.TB
	texts []string
}

func (f *failures) Helper() {}
func (f *failures) Errorf(format string, a ...any) {
	f.texts = append(f.texts, fmt.Sprintf(format, a...))
}

func TestFailedAssertionsSayWhatArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(iamtest.Server)
		client := &http.Client{Transport: s}
		do(t, client, "POST", "http://iam.example/v3/users", "a")
		time.Sleep(1500 * time.Millisecond)
		do(t, client, "GET", "http://iam.example/v3/users?name=a", "")

		s.AssertCount(t, 2)
		s.AssertRequests(t, "POST /v3/users", "GET /v3/users?name=a")
		s.AssertBodies(t, "a", "")
		s.AssertSpacing(t, 1500*time.Millisecond)
		new(iamtest.Server).AssertBodies(t)

		const arrived = "\n\t\t0s  POST /v3/users\n\t\t1.5s  GET /v3/users?name=a"
		f := &failures{TB: t}
		s.AssertCount(f, 3)
		s.AssertRequests(f, "POST /v3/users")
		s.AssertBodies(f, "a", "b")
		s.AssertSpacing(f, 2*time.Second)
		s.AssertSpacing(f)
		new(iamtest.Server).AssertCount(f, 1)
		assert.Equal(t, []string{
			"iamtest: got 2 requests, want 3:" + arrived,
			"iamtest: got the requests:" + arrived + "\n\twant:\n\t\tPOST /v3/users",
			`iamtest: got the bodies ["a" ""], want ["a" "b"]`,
			"iamtest: request 2 arrived 1.5s after the previous one, want at least 2s:" + arrived,
			"iamtest: got 2 requests, want 1:" + arrived,
			"iamtest: got 0 requests, want 1:",
		}, f.texts)
	})
}

func TestAssertBodiesComparesJSONAsJSON(t *testing.T) {
	for _, tt := range []struct {
		got, want string
		same      bool
	}{
		{"{\"a\":1,\"b\":[2]}\n", `{"b": [2], "a": 1}`, true},
		{`[1,2]`, `[2,1]`, false},
		{`9007199254740993`, `9007199254740992`, false},
		{`{} x`, `{}`, false},
		{"a b", "a  b", false},
	} {
		s := new(iamtest.Server)
		do(t, &http.Client{Transport: s}, "POST", "http://iam.example", tt.got)
		f := &failures{TB: t}
		s.AssertBodies(f, tt.want)
		assert.Equal(t, tt.same, len(f.texts) == 0, tt)
	}
}

func TestServerIsSafeForConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Limit: 50, Window: time.Minute}
		s.On("/", iamtest.Answer{Delay: time.Second})
		done := make(chan int)
		for range 100 {
			go func() {
				status, _ := do(t, &http.Client{Transport: s}, "GET", "http://iam.example/", "")
				done <- status
			}()
		}
		n := map[int]int{}
		for range 100 {
			n[<-done]++
		}
		assert.Equal(t, map[int]int{200: 50, 429: 50}, n)
	})
}

func TestIamhttpUnderstandsTheErrorBodies(t *testing.T) {
	for _, a := range []iamtest.Answer{
		iamtest.Keystone(400, "Said so."),
		iamtest.IAM(400, "1109", "Said so."),
		iamtest.Gateway(400, "APIG.0101", "Said so."),
	} {
		e := iamhttp.NewStatusError(a.Status, a.Header, []byte(a.Body))
		assert.Equal(t, "Said so.", e.Message)
		assert.NotEmpty(t, e.RequestID)
		assert.Equal(t, a.Header.Get("X-Openstack-Request-Id") == "", e.ServiceCode != "")
	}
}
